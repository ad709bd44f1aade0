"""What it says against an account that it sends what was answered to others."""

from __future__ import annotations

import pytest

from guard.campaigns.crossings import MANY_OTHERS, MOST_OTHERS, NEWS, Crossings
from guard.core.evidence import GROUP_CAP, SPEAKING, Weights
from guard.store.slots import Issuer

DAY_US = 86_400_000_000
ACME, ZETA = Issuer(1, True), Issuer(2, True)
ANN, HOME = Issuer(11, False), Issuer(12, False)


def after(count: int, who: Issuer, *others: Issuer, pause_us: int = 0) -> float:
    crossings = Crossings(3 * DAY_US)
    said = 0.0
    for number in range(count):
        said = crossings.add(who, [others[number % len(others)]], number * pause_us) or said
    return said


@pytest.mark.parametrize(("count", "decibans"), [(1, 7), (2, 10), (10, 17), (100, 27), (10_000, GROUP_CAP)])
def test_crossings_between_organisations_add_up(count: int, decibans: float) -> None:
    assert after(count, ZETA, ACME) == pytest.approx(decibans, abs=NEWS)


@pytest.mark.parametrize("count", [1, 3, 10, 10_000])
def test_two_keys_that_may_be_one_persons_never_speak(count: int) -> None:
    assert after(count, ANN, HOME) < SPEAKING
    assert after(count, ANN, HOME, Issuer(13, False)) < SPEAKING
    # A person's own key beside that of its company.
    assert after(count, ANN, ACME) < SPEAKING
    assert after(count, ACME, ANN) < SPEAKING


def test_many_accounts_are_no_second_key() -> None:
    others = [Issuer(100 + number, False) for number in range(10)]
    assert after(MANY_OTHERS - 1, ANN, *others) < SPEAKING
    assert after(MANY_OTHERS, ANN, *others) > SPEAKING
    assert after(20, ANN, *others) > Weights().high


def test_it_is_said_again_only_when_it_says_more() -> None:
    crossings = Crossings(3 * DAY_US)
    said = [crossings.add(ZETA, [ACME], 0) for _ in range(1_000)]
    assert said[0]
    assert sum(each > 0 for each in said) < 25
    assert crossings.add(ZETA, [ACME], 2 * DAY_US)


def test_what_was_long_ago_has_faded() -> None:
    others = [Issuer(100 + number, False) for number in range(10)]
    assert after(10, ANN, *others, pause_us=30 * DAY_US) < SPEAKING
    assert after(10, ZETA, ACME, pause_us=30 * DAY_US) == pytest.approx(7, abs=NEWS)


def test_what_several_have_a_part_in_is_one_crossing() -> None:
    crossings = Crossings(DAY_US)
    many = [Issuer(number, True) for number in range(20, 30)]
    assert crossings.add(ZETA, many, 0) == pytest.approx(7, abs=NEWS)


def test_a_bounded_number_of_others_is_remembered() -> None:
    crossings = Crossings(DAY_US)
    for number in range(10 * MOST_OTHERS):
        crossings.add(ANN, [Issuer(number, False)], 0)
    assert len(crossings._accounts[ANN.digest].others) == MOST_OTHERS
