"""Whose requests are refused until somebody says so, and what a clear is of."""

from __future__ import annotations

from dataclasses import replace

import pytest

from guard.core.climb import climb_of
from guard.core.decision import Action, Decision, Reason, climb, decide
from guard.core.detection import Suspect
from guard.core.evidence import NO_RISK, Band, Mark, Weights
from guard.core.holds import Cleared, Held, HoldTerms, Review
from guard.core.identity import Attribute, Holder
from guard.core.ladder import NO_ACTION, ON_HOLD, Ladder, Rung
from guard.core.modes import Mode
from guard.core.signals import Group, Signal

NOW = 1_800_000_000_000_000
SUSPECT = Suspect(Holder(Attribute.KEY, "a"))
SLOW, HALF = Rung(slow_seconds=1.0), Rung(throttle=0.5)
HOLD, HOLD_HALF, DENY = Rung(hold=True), Rung(throttle=0.5, hold=True), Rung(deny=True)
HELD = Held("req_1", Band.HIGH, (Group.CONTENT,), NOW, NOW + 1)
CONTENT, BOTH = {Signal.ENUMERATION: 28.0}, {Signal.ENUMERATION: 28.0, Signal.GRADING: 28.0}


def cleared(*groups: Group) -> Cleared:
    return Cleared(groups, NOW, None)


def rung(against: dict[Signal, float], review: Review | None, *rungs: Rung, share: float = 1.0) -> Rung:
    """What is done by a ladder of these rungs, from `elevated` on."""
    ladder = Ladder(dict(zip(list(Band)[1:], rungs, strict=False)), share)
    marks = {signal: Mark(worth, NOW, NOW) for signal, worth in against.items()}
    found = climb_of(SUSPECT, marks, Weights(), ladder, request_id="r", place=0, now_us=NOW, review=review)
    return found.rung


@pytest.mark.parametrize(
    ("against", "review", "rungs", "done"),
    [
        (CONTENT, None, (SLOW, HOLD, DENY), HOLD),
        ({}, HELD, (SLOW, HOLD, DENY), ON_HOLD),
        (BOTH, HELD, (SLOW, HOLD, DENY), ON_HOLD),
        # Of its own rung a cleared one has what refuses nothing, else what those below do.
        (CONTENT, cleared(Group.CONTENT), (SLOW, HOLD_HALF, DENY), HALF),
        (CONTENT, cleared(Group.CONTENT), (SLOW, HOLD, DENY), SLOW),
        (CONTENT, cleared(Group.CONTENT), (NO_ACTION, HOLD, DENY), NO_ACTION),
        (BOTH, cleared(Group.CONTENT, Group.INTENT), (SLOW, HOLD_HALF, DENY), HALF),
        # What nobody has looked at is judged by itself.
        (CONTENT, cleared(Group.INTENT), (SLOW, HOLD, DENY), HOLD),
        (BOTH, cleared(Group.CONTENT), (SLOW, HOLD, DENY), HOLD),
        (BOTH, cleared(Group.CONTENT), (SLOW, HALF, DENY), HALF),
        # Nor does a clear do more than nothing.
        ({Signal.ENUMERATION: 12.0}, cleared(Group.CONTENT), (SLOW, HOLD, DENY), SLOW),
        ({}, cleared(Group.CONTENT), (SLOW, HOLD, DENY), NO_ACTION),
        (CONTENT, cleared(Group.CONTENT), (SLOW, Rung(challenge="Who are you?"), DENY), SLOW),
    ],
)
def test_a_review_says_what_is_done(
    against: dict[Signal, float], review: Review | None, rungs: tuple[Rung, ...], done: Rung
) -> None:
    assert rung(against, review, *rungs) == done


def test_a_hold_that_stands_is_climbed_to_by_every_request() -> None:
    assert rung(CONTENT, HELD, SLOW, HOLD, share=0.0) == ON_HOLD
    assert rung(CONTENT, None, SLOW, HOLD, share=0.0) == NO_ACTION


@pytest.mark.parametrize(("mode", "refused"), [(Mode.ENFORCE, True), (Mode.SHADOW, False)])
def test_a_rung_that_holds_refuses_as_far_as_its_mode_says(mode: Mode, refused: bool) -> None:
    found = climb(decide(()), NO_RISK, HOLD_HALF, mode)
    assert (found.action, found.reason, found.retry_after_us) == (Action.HOLD, Reason.RISK, None)
    assert found.refused == refused


def test_a_quota_that_refuses_goes_before_it() -> None:
    limited = Decision(Action.LIMITED, Reason.QUOTA, (), 1)
    assert climb(limited, NO_RISK, HOLD, Mode.ENFORCE) is limited


def test_reviews_that_differ_in_their_end_only_are_the_same() -> None:
    assert replace(HELD, until_us=0) == HELD
    assert replace(HELD, receipt="req_2") != HELD


def test_a_notice_names_the_receipt() -> None:
    assert HoldTerms("Write to us.").notice("req_1") == "Write to us. Receipt: req_1"
