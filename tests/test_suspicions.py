"""What is done for one request about what is known against its suspect."""

from __future__ import annotations

import pytest

from guard.core.climb import NO_CLIMB, Climb, chance, climb_of, wait_seconds
from guard.core.detection import Suspect
from guard.core.evidence import Band, Mark, Weights
from guard.core.holds import Held
from guard.core.identity import Attribute, Holder
from guard.core.ladder import NO_ACTION, Ladder, Rung
from guard.core.signals import Signal
from guard.engine.remembered.suspicions import NOTHING_KNOWN, REMEMBERED, Suspicions

HOUR = 3_600_000_000
NOW = 1_800_000_000_000_000
WEIGHTS = Weights(half_life_us=24 * HOUR)
SLOW, HALF, DENY = Rung(slow_seconds=2.0), Rung(throttle=0.5), Rung(deny=True)
RUNGS = {Band.ELEVATED: SLOW, Band.HIGH: HALF, Band.CRITICAL: DENY}
SUSPECT = Suspect(Holder(Attribute.KEY, "one"))


def marks(*, since_us: int = NOW, **decibans: float) -> dict[Signal, Mark]:
    return {Signal(name): Mark(worth, NOW, since_us) for name, worth in decibans.items()}


def climb(
    against: dict[Signal, Mark],
    *,
    suspect: Suspect | None = SUSPECT,
    ladder: Ladder | None = None,
    place: float = 100.0,
    request_id: str = "request",
    now_us: int = NOW,
) -> Climb:
    ladder = ladder or Ladder(RUNGS)
    return climb_of(suspect, against, WEIGHTS, ladder, request_id=request_id, place=place, now_us=now_us)


@pytest.mark.parametrize(
    ("against", "band", "rung"),
    [
        (marks(enumeration=9.9), Band.LOW, NO_ACTION),
        (marks(enumeration=10), Band.ELEVATED, SLOW),
        (marks(enumeration=16, mixture=16), Band.ELEVATED, SLOW),
        (marks(enumeration=13, grading=12), Band.HIGH, HALF),
        (marks(enumeration=30), Band.HIGH, HALF),
        (marks(enumeration=28, grading=12), Band.CRITICAL, DENY),
    ],
)
def test_each_band_has_its_rung(against: dict[Signal, Mark], band: Band, rung: Rung) -> None:
    found = climb(against)
    assert (found.risk.band, found.rung) == (band, rung)


def test_nobody_and_whom_nothing_speaks_against_stand_on_the_ground() -> None:
    assert climb(marks(enumeration=30), suspect=None) is NO_CLIMB
    assert climb({}) is NO_CLIMB
    assert (NO_CLIMB.rung, NO_CLIMB.risk.band) == (NO_ACTION, Band.LOW)


def test_a_deny_ends_when_the_risk_has_faded() -> None:
    assert climb(marks(enumeration=30, grading=20)).rung == DENY
    assert climb(marks(enumeration=30, grading=20), now_us=NOW + 24 * HOUR).rung == HALF


@pytest.mark.parametrize(
    ("place", "hours", "rung"),
    [(0, 0, SLOW), (25, 0, NO_ACTION), (25, 1, NO_ACTION), (25, 2, SLOW), (75, 5, NO_ACTION), (75, 6, SLOW)],
)
def test_a_ladder_lags_behind_by_a_share_that_is_the_suspect_s_own(
    place: float, hours: int, rung: Rung
) -> None:
    ladder = Ladder(RUNGS, delay_us=8 * HOUR)
    found = climb(marks(enumeration=15, since_us=NOW - hours * HOUR), ladder=ladder, place=place)
    assert found.rung == rung
    assert found.risk.decibans == 15  # which is known at once


def test_what_is_excused_counts_neither_for_the_risk_nor_for_the_rung() -> None:
    judge = Suspect(SUSPECT.holder, frozenset({Signal.GRADING}))
    found = climb(marks(enumeration=28, grading=20), suspect=judge)
    assert (found.risk.decibans, found.rung) == (28, HALF)


def test_a_rung_is_applied_to_its_share_of_the_requests_and_the_risk_is_known_for_all() -> None:
    ladder = Ladder(RUNGS, share=0.3)
    found = [climb(marks(enumeration=15), ladder=ladder, request_id=f"request {n}") for n in range(2_000)]
    assert {each.risk.decibans for each in found} == {15}
    assert sum(each.rung == SLOW for each in found) / 2_000 == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize("ids", ["{}", "{:032x}", "req-2026-{:06}"])
def test_chance_is_even_over_many_requests(ids: str) -> None:
    drawn = [chance(ids.format(number), "ladder") for number in range(10_000)]
    assert all(0 <= each < 1 for each in drawn)
    for tenth in range(10):
        # Nine standard deviations either way.
        assert sum(int(each * 10) == tenth for each in drawn) == pytest.approx(1_000, abs=270)


def test_chance_is_the_same_again_and_another_for_another_purpose() -> None:
    pairs = [(chance(f"{n}", "ladder"), chance(f"{n}", "slow")) for n in range(1_000)]
    assert pairs == [(chance(f"{n}", "ladder"), chance(f"{n}", "slow")) for n in range(1_000)]
    both_low = sum(one < 0.5 and other < 0.5 for one, other in pairs)
    assert both_low == pytest.approx(250, abs=125)


def test_a_wait_is_between_a_half_and_all() -> None:
    waits = [wait_seconds(SLOW, f"request {number}") for number in range(1_000)]
    assert all(1 <= each < 2 for each in waits)
    assert min(waits) < 1.1
    assert max(waits) > 1.9
    assert wait_seconds(HALF, "request") == 0


class TestSuspicions:
    def test_what_was_heard_last_is_remembered_until_nothing_is_heard(self) -> None:
        suspicions = Suspicions()
        assert suspicions.against(SUSPECT) is NOTHING_KNOWN
        suspicions.hear(SUSPECT, marks(enumeration=20))
        suspicions.hear(SUSPECT, marks(grading=12))
        assert suspicions.against(SUSPECT).marks == marks(grading=12)
        assert suspicions.against(Suspect(Holder(Attribute.KEY, "other"))) is NOTHING_KNOWN
        suspicions.hear(SUSPECT, {})
        assert suspicions.against(SUSPECT) is NOTHING_KNOWN

    @pytest.mark.parametrize(
        ("until_us", "later_us", "stands"),
        [
            (NOW + 2 * HOUR, HOUR - 1, True),
            (NOW + 2 * HOUR, HOUR, False),
            (NOW + HOUR // 2, HOUR // 2 - 1, True),
            (NOW + HOUR // 2, HOUR // 2, False),
        ],
    )
    def test_a_hold_is_believed_until_it_ends_and_for_an_hour_at_most(
        self, until_us: int, later_us: int, stands: bool
    ) -> None:
        suspicions, held = Suspicions(), Held("req_1", Band.HIGH, (), NOW, until_us)
        suspicions.hear(SUSPECT, {}, held, NOW)
        assert suspicions.against(SUSPECT).stands(NOW + later_us) == (held if stands else None)

    def test_nobody_has_nothing_against_them(self) -> None:
        suspicions = Suspicions()
        suspicions.hear(None, marks(enumeration=20))
        assert suspicions.against(None) is NOTHING_KNOWN

    def test_beyond_its_room_it_forgets_whom_it_heard_of_longest_ago(self) -> None:
        suspicions = Suspicions()
        suspects = [Suspect(Holder(Attribute.KEY, f"{number}")) for number in range(REMEMBERED)]
        for suspect in suspects:
            suspicions.hear(suspect, marks(enumeration=20))
        suspicions.hear(suspects[0], marks(enumeration=21))
        suspicions.hear(SUSPECT, marks(enumeration=20))
        kept = [
            suspicions.against(each) is not NOTHING_KNOWN
            for each in (suspects[0], suspects[1], suspects[2], SUSPECT)
        ]
        assert kept == [True, False, True, True]
