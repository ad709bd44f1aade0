from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.core.evidence import Band
from guard.core.ladder import NO_ACTION, NO_LADDER, Ladder, Rung
from guard.core.limits import Unit
from guard.core.reshape import Reshape

DENY = Rung(deny=True)
SLOW = Rung(slow_seconds=2.0)
LADDER = Ladder({Band.HIGH: SLOW, Band.CRITICAL: DENY})


@pytest.mark.parametrize(
    ("rung", "bites"),
    [
        (NO_ACTION, False),
        (Rung(), False),
        (Rung(Reshape()), False),
        (Rung(throttle=1.0), False),
        (Rung(Reshape(max_n=1)), True),
        (Rung(slow_seconds=0.1), True),
        (Rung(throttle=0.5), True),
        (Rung(novelty_price=2), True),
        (Rung(challenge="Verify."), True),
        (DENY, True),
    ],
)
def test_a_rung_bites_where_it_does_anything(rung: Rung, *, bites: bool) -> None:
    assert rung.bites is bites


def test_a_price_is_for_novelty_and_a_throttle_for_all() -> None:
    assert (Rung(novelty_price=10).left(Unit.NOVELTY), Rung(novelty_price=10).left(Unit.TOKENS)) == (0.1, 1)
    assert (Rung(throttle=0.5).left(Unit.NOVELTY), Rung(throttle=0.5).left(Unit.TOKENS)) == (0.5, 0.5)
    assert Rung(throttle=0.5, novelty_price=2).left(Unit.NOVELTY) == 0.25


@pytest.mark.parametrize(
    ("band", "rung"),
    [(Band.LOW, NO_ACTION), (Band.ELEVATED, NO_ACTION), (Band.HIGH, SLOW), (Band.CRITICAL, DENY)],
)
def test_each_band_has_its_rung_and_the_others_stand_on_the_ground(band: Band, rung: Rung) -> None:
    assert LADDER.rung(band, 0.0) is rung
    assert NO_LADDER.rung(band, 0.0) is NO_ACTION


@pytest.mark.parametrize(
    ("share", "chance", "applied"),
    [(1.0, 0.999, True), (0.3, 0.0, True), (0.3, 0.299, True), (0.3, 0.3, False), (0.0, 0.0, False)],
)
def test_a_rung_is_applied_to_its_share_of_the_requests(
    share: float, chance: float, *, applied: bool
) -> None:
    ladder = Ladder(LADDER.rungs, share)
    assert ladder.rung(Band.CRITICAL, chance) is (DENY if applied else NO_ACTION)


@given(
    band=st.sampled_from(Band),
    chance=st.floats(0, 1, exclude_max=True),
    shares=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_what_a_smaller_share_is_applied_to_a_larger_one_is_too(
    band: Band, chance: float, shares: tuple[float, float]
) -> None:
    less, more = (Ladder(LADDER.rungs, share).rung(band, chance) for share in sorted(shares))
    assert less in (NO_ACTION, more)
