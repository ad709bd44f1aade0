"""What statistics are worth, by how honest holders came out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from lessons import Pupil, asking, enumeration_of

from guard.core.evidence import FAINTEST
from guard.core.signals import Signal
from guard.detection.layout import Drawn
from guard.detection.profile import Profile
from guard.detection.tables import MOST_WORTH, PRIOR, Stratum, Table, stratum_of, table

if TYPE_CHECKING:
    from collections.abc import Sequence

SIGNALS = st.sampled_from(Signal)
STATISTICS = st.floats(-50, 50).map(lambda number: round(number, 4))
MOST = st.lists(STATISTICS, min_size=1, max_size=60)


@given(SIGNALS, MOST, st.lists(STATISTICS, min_size=2))
def test_who_shows_more_is_never_worth_less(signal: Signal, most: list[float], shown: list[float]) -> None:
    of = table(signal, most)
    worths = [of.worth(each) for each in sorted(shown)]
    assert worths == sorted(worths)
    assert 0 <= min(worths) <= max(worths) <= MOST_WORTH


@given(SIGNALS, MOST)
def test_what_everybody_shows_is_worth_nothing(signal: Signal, most: list[float]) -> None:
    of = table(signal, most)
    assert of.worth(min(most)) == pytest.approx(0, abs=1e-9)
    assert of.worth(min(most) - 1) == 0


@given(MOST, st.randoms())
def test_no_order_matters(most: list[float], random: Any) -> None:
    shuffled = list(most)
    random.shuffle(shuffled)
    assert table(Signal.ENUMERATION, shuffled) == table(Signal.ENUMERATION, most)


@pytest.mark.parametrize("holders", [20, 99, 999])
def test_the_kth_of_many_has_the_p_value_of_k_and_one_more(holders: int) -> None:
    of = table(Signal.ENUMERATION, [float(number) for number in range(holders)])
    for kth in (1, 2, 3, 7, holders // 3, holders // 2):
        # A knot may be left out where its p-value is nearly that of the one before.
        assert of.share(holders - kth) == pytest.approx((kth + 1) / (holders + 1), rel=0.04)
    assert of.share(holders) == 1 / (holders + 1)


@given(st.lists(STATISTICS, min_size=40, max_size=80, unique=True), st.randoms())
def test_of_honest_holders_that_were_not_asked_no_more_than_p_show_p(most: list[float], random: Any) -> None:
    random.shuffle(most)
    known, others = most[:-20], most[-20:]
    of = table(Signal.ENUMERATION, known)
    # Held against those who are known, a holder has the rank that it has, up to a knot that was left out.
    for each in others:
        rank = (sum(value >= each for value in known) + 1) / (len(known) + 1)
        assert of.share(each) >= rank * 0.96


@pytest.mark.parametrize(
    ("most", "statistic", "p"),
    [
        ([0.0] * 90 + [1.0] * 9, 1.0, 10 / 100),
        ([0.0] * 9 + [1.0] * 90, 1.0, 91 / 100),
        ([0.0] * 50 + [1.0] * 40 + [2.0] * 9, 1.0, 50 / 100),
    ],
)
def test_holders_that_show_the_same_are_as_rare_as_all_of_them_together(
    most: list[float], statistic: float, p: float
) -> None:
    assert table(Signal.GRADING, most).share(statistic) == pytest.approx(p)


def test_by_weight_ten_holders_of_one_sort_count_like_one_of_another() -> None:
    most = [0.0] * 20 + [1.0] * 10 + [2.0]
    weights = [1.0] * 20 + [0.1] * 10 + [1.0]
    by_head, by_weight = table(Signal.GRADING, most), table(Signal.GRADING, most, weights)
    # Of 22 that count, two show 1 or more; of 31 heads eleven do.
    assert by_head.share(1.0) == pytest.approx(12 / 32)
    assert by_weight.share(1.0) == pytest.approx((2 * 31 / 22 + 1) / 32)


@given(SIGNALS, MOST, STATISTICS)
def test_what_hardly_differs_from_all_others_is_no_evidence_for_being_rare(
    signal: Signal, most: list[float], shown: float
) -> None:
    of = table(signal, most)
    assume(shown > min(most))
    assert of.worth(shown) <= FAINTEST + 20 * (shown - min(most)) / signal.span + 1e-6


def test_what_nobody_ever_showed_is_as_rare_as_one_more_holder_makes_it() -> None:
    of = table(Signal.GRADING, [0.0] * 999)
    assert of.worth(0.0) == 0
    assert of.worth(Signal.GRADING.span * 2) == pytest.approx(30)


class TestOwn:
    SHIPPED = table(Signal.ENUMERATION, [float(number) for number in range(1_000)])

    @given(st.lists(STATISTICS, min_size=1, max_size=200))
    def test_the_shipped_holders_count_for_a_hundred_however_many_they_were(
        self, own: Sequence[float]
    ) -> None:
        mixed = self.SHIPPED.with_own(own)
        assert mixed.holders == PRIOR + len(own)
        for shown in (-10.0, 300.0, 999.0):
            showed = sum(each >= shown for each in own)
            p = (PRIOR * self.SHIPPED.share(shown) + showed) / (PRIOR + len(own))
            assert mixed.share(shown) == pytest.approx(p, rel=0.04)

    def test_sixty_own_holders_who_all_do_a_thing_make_it_usual(self) -> None:
        before = self.SHIPPED.worth(995.0)
        after = self.SHIPPED.with_own([995.0] * 60).worth(995.0)
        assert before > 20
        assert after < 5

    def test_sixty_who_never_do_it_make_it_somewhat_rarer(self) -> None:
        before = self.SHIPPED.worth(990.0)
        assert before < self.SHIPPED.with_own([0.0] * 60).worth(990.0) < before + 2.1


def test_a_table_tells_at_which_statistic_it_begins_to_say_so_much() -> None:
    of = table(Signal.ENUMERATION, [number / 10 for number in range(1_000)])
    for decibans in (5, 10, 20, 25):
        least = of.statistic(decibans)
        assert least is not None
        assert of.worth(least) == pytest.approx(decibans, abs=0.5)
    assert of.statistic(39) is None


@given(MOST)
def test_what_is_written_is_what_is_read(most: list[float]) -> None:
    of = table(Signal.ENUMERATION, most)
    read = Table.of(of.dump())
    assert read.dump() == of.dump()
    assert read.statistics == of.statistics
    assert read.shares == pytest.approx(of.shares, rel=1e-3)


class TestStrata:
    def test_one_wording_round_most_queries(self) -> None:
        pupil = Pupil()
        pupil.ask_all([f"Name the topic of this message in one word: {text}" for text in enumeration_of(60)])
        assert stratum_of(pupil.profile) is Stratum.WORDED

    def test_single_queries_in_any_wording(self) -> None:
        pupil = Pupil()
        pupil.ask_all(enumeration_of(60))
        assert stratum_of(pupil.profile) is Stratum.SINGLE

    def test_conversations_whatever_their_wording(self) -> None:
        pupil = Pupil()
        pupil.ask_all([asking(text, "It is so.", "and why?") for text in enumeration_of(60)])
        assert stratum_of(pupil.profile) is Stratum.CONVERSATIONS

    def test_of_nothing_nothing_is_told(self) -> None:
        assert stratum_of(Profile.new()) is Stratum.SINGLE

    def test_one_query_in_five_makes_conversations(self) -> None:
        profile = Profile.new()
        profile.of_drawn[Drawn.WEIGHT], profile.of_drawn[Drawn.CONTINUED] = 100, 20
        assert stratum_of(profile) is Stratum.CONVERSATIONS
        profile.of_drawn[Drawn.CONTINUED] = 19
        assert stratum_of(profile) is Stratum.SINGLE
