from __future__ import annotations

import pytest

from guard.admin.habits import Habits
from guard.admin.suspicion import Suspicion
from guard.core.evidence import Band, Evidence, Mark, Weights
from guard.core.identity import Attribute, Holder
from guard.core.signals import Signal
from guard.core.uses import Declared, Use
from guard.detection.layout import Sum
from guard.detection.profile import Profile
from guard.detection.reference import Reference
from guard.detection.tables import Stratum
from guard.detection.traits import ENOUGH_DRAWN

ALICE = Holder(Attribute.KEY, "alice")
DAY_US = 86_400_000_000
WEIGHTS = Weights(half_life_us=DAY_US)
MONDAY_US = 1_800_000_000_000_000
EVIDENCE = Evidence(
    7,
    b"",
    {
        Signal.GRADING: Mark(16.0, MONDAY_US, MONDAY_US),
        Signal.ENUMERATION: Mark(28.0, MONDAY_US, MONDAY_US - DAY_US),
        Signal.LOGITS: Mark(6.0, MONDAY_US, MONDAY_US),
    },
)


def test_what_weighs_most_comes_first_and_all_of_it_is_told() -> None:
    found = Suspicion.of(ALICE, EVIDENCE, (), MONDAY_US, WEIGHTS)
    assert [finding.signal for finding in found.findings] == [
        Signal.ENUMERATION,
        Signal.GRADING,
        Signal.LOGITS,
    ]
    assert [finding.group for finding in found.findings] == ["content", "intent", "harvest"]
    assert found.findings[0].since == found.findings[0].at - 86_400 == MONDAY_US / 1e6 - 86_400
    assert (found.risk.decibans, found.risk.band) == (44.0, Band.CRITICAL)


@pytest.mark.parametrize(
    ("days", "left", "band"), [(0, 28.0, Band.CRITICAL), (1, 14.0, Band.ELEVATED), (2, 7.0, Band.LOW)]
)
def test_it_is_as_of_now(days: int, left: float, band: Band) -> None:
    found = Suspicion.of(ALICE, EVIDENCE, (), MONDAY_US + days * DAY_US, WEIGHTS)
    assert (found.findings[0].left, found.findings[0].decibans, found.risk.band) == (left, 28.0, band)


def test_what_a_use_excuses_is_marked_and_does_not_count() -> None:
    found = Suspicion.of(ALICE, EVIDENCE, (Declared(Use.JUDGE), Declared(Use.BATCH)), MONDAY_US, WEIGHTS)
    assert {finding.signal for finding in found.findings if finding.excused} == {
        Signal.ENUMERATION,
        Signal.GRADING,
    }
    assert found.risk.band is Band.LOW


def test_what_speaks_for_an_enumeration_and_against_is_told_where_enough_was_drawn() -> None:
    reference, profile = Reference.load(), Profile.new()
    profile.queries, profile.drawing = 200, ENOUGH_DRAWN - 1
    habits = Habits.of(profile.write(), reference)
    assert habits is not None
    assert habits.told == {}
    profile.drawing = ENOUGH_DRAWN
    habits = Habits.of(profile.write(), reference)
    assert habits is not None
    assert habits.told.keys() == reference.scores.keys()
    score = reference.scores[Signal.ENUMERATION]
    speaks_for, against = score.because(profile)
    told = habits.told[Signal.ENUMERATION]
    assert told.for_it == tuple(each.says for each in speaks_for)
    assert told.against_it == tuple(each.says for each in against)
    assert habits.stratum is Stratum.SINGLE
    shown = score.statistic(profile)
    assert shown is not None
    assert told.one_in == 1 / reference.share(Signal.ENUMERATION, Stratum.SINGLE, shown) >= 1


def test_what_its_answers_draw_and_pay_is_to_an_answer() -> None:
    profile = Profile.new()
    profile.queries, profile.sums[Sum.QUERIES] = 40, 20
    profile.sums[Sum.DREW], profile.sums[Sum.PAID] = 10, 2
    habits = Habits.of(profile.write(), Reference.load())
    assert habits is not None
    assert (habits.draws, habits.pays) == pytest.approx((0.5, 0.1))


def test_a_profile_that_cannot_be_read_has_no_habits() -> None:
    for profile in (b"", b"of another version", Profile.new().write()):
        assert Habits.of(profile, Reference.load()) is None
