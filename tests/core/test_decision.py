from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.core.decision import FORWARDED, Action, Decision, Reason, climb, decide
from guard.core.evidence import Band, Risk
from guard.core.identity import EVERYTHING, Attribute, Holder
from guard.core.ladder import NO_ACTION, Rung
from guard.core.limits import Algorithm, Limit, Reading, Unit, Window
from guard.core.modes import Mode
from guard.core.reshape import UNCHANGED, Reshape
from guard.core.signals import Group

KEY = Holder(Attribute.KEY, "k")
MINUTE, HOUR, DAY = (Window(10, seconds, 10) for seconds in (60, 3_600, 86_400))
LIMIT = Limit("l", Unit.REQUESTS, (Attribute.KEY,), Algorithm.GCRA, (MINUTE, HOUR))
RISK = Risk(42.0, {Group.CONTENT: 28.0, Group.INTENT: 14.0}, Band.CRITICAL)
NOW_US = 1_800_000_000_000_000

NARROW = Reshape(max_n=1)
DENY, CHALLENGE, SLOW = Rung(deny=True), Rung(challenge="Verify."), Rung(slow_seconds=2.0)
RESHAPE, THROTTLE = Rung(NARROW), Rung(throttle=0.5)
EVERY_RUNG = [DENY, CHALLENGE, SLOW, RESHAPE, THROTTLE, NO_ACTION]


def reading(
    window: Window = MINUTE,
    *,
    wait_us: int | None = 0,
    enforced: bool = True,
    per: Attribute = Attribute.KEY,
    reset_us: int = 70,
) -> Reading:
    holder = KEY if per is Attribute.KEY else EVERYTHING
    return Reading(replace(LIMIT, per=(per,)), window, holder, 3, reset_us, wait_us, enforced)


ALLOWED = decide([reading(), reading(HOUR)])
REFUSED = decide([reading(wait_us=9)])
TRIED = decide([reading(wait_us=9, enforced=False)])
BLOCKED = decide([], blocked=True)


def climbed(decision: Decision, rung: Rung, mode: Mode = Mode.ENFORCE) -> Decision:
    return climb(decision, RISK, rung, mode, now_us=NOW_US)


@pytest.mark.parametrize(
    ("rung", "action", "forwarded"),
    [
        (NO_ACTION, Action.ALLOW, True),
        (THROTTLE, Action.ALLOW, True),
        (RESHAPE, Action.RESHAPE, True),
        (SLOW, Action.SLOW, True),
        (CHALLENGE, Action.CHALLENGE, False),
        (DENY, Action.DENY, False),
        (Rung(NARROW, slow_seconds=2.0), Action.SLOW, True),
        (Rung(NARROW, slow_seconds=2.0, challenge="Verify."), Action.CHALLENGE, False),
        (Rung(NARROW, 2.0, 0.5, challenge="Verify.", deny=True), Action.DENY, False),
    ],
)
def test_the_hardest_of_what_a_rung_does_is_the_action(
    rung: Rung, action: Action, *, forwarded: bool
) -> None:
    decision = climbed(ALLOWED, rung)
    assert decision.action is action
    assert decision.reason is (None if action is Action.ALLOW else Reason.RISK)
    assert decision.refused is not forwarded
    assert (action in FORWARDED) is forwarded
    assert (decision.retry_after_us is not None) is (action is Action.DENY)


@pytest.mark.parametrize("decision", [ALLOWED, REFUSED, TRIED, BLOCKED])
@pytest.mark.parametrize("rung", EVERY_RUNG)
@pytest.mark.parametrize("mode", Mode)
def test_the_risk_is_told_whatever_is_done_about_it(decision: Decision, rung: Rung, mode: Mode) -> None:
    assert climbed(decision, rung, mode).risk is RISK


@pytest.mark.parametrize("decision", [REFUSED, BLOCKED])
@pytest.mark.parametrize("rung", EVERY_RUNG)
@pytest.mark.parametrize("mode", Mode)
def test_a_refusal_that_is_enforced_stands_as_it_is(decision: Decision, rung: Rung, mode: Mode) -> None:
    assert climbed(decision, rung, mode) == decision._replace(risk=RISK)


@pytest.mark.parametrize("rung", [DENY, CHALLENGE, SLOW, RESHAPE])
def test_a_refusal_that_is_only_tried_out_gives_way_to_a_rung_that_is_enforced(rung: Rung) -> None:
    assert TRIED.action is Action.LIMITED
    decision = climbed(TRIED, rung)
    assert decision == climbed(ALLOWED, rung)._replace(
        readings=decision.readings, retry_after_us=decision.retry_after_us
    )
    assert decision.readings == TRIED.readings
    assert climbed(TRIED, rung, Mode.SHADOW) == TRIED._replace(risk=RISK)


@pytest.mark.parametrize("decision", [ALLOWED, TRIED])
@pytest.mark.parametrize("rung", EVERY_RUNG)
def test_what_is_off_does_nothing(decision: Decision, rung: Rung) -> None:
    assert climbed(decision, rung, Mode.OFF) == decision._replace(risk=RISK)


@pytest.mark.parametrize("rung", EVERY_RUNG)
def test_a_rung_in_the_shadow_is_told_and_touches_nothing(rung: Rung) -> None:
    enforced, shadowed = climbed(ALLOWED, rung), climbed(ALLOWED, rung, Mode.SHADOW)
    assert (shadowed.action, shadowed.reason) == (enforced.action, enforced.reason)
    assert not shadowed.refused
    assert shadowed.reshape is UNCHANGED
    assert shadowed.readings == ALLOWED.readings


@pytest.mark.parametrize("rung", [RESHAPE, Rung(NARROW, slow_seconds=2.0)])
def test_what_is_forwarded_is_narrowed_as_the_rung_says(rung: Rung) -> None:
    assert climbed(ALLOWED, rung).reshape is NARROW


@pytest.mark.parametrize(
    ("readings", "used_up"),
    [
        ([], None),
        ([reading()], 0),
        ([reading(), reading(HOUR)], 1),
        ([reading(HOUR), reading()], 0),
        ([reading(), reading(HOUR, enforced=False)], 0),
        ([reading(), reading(DAY, per=Attribute.EVERYTHING), reading(HOUR)], 2),
        ([reading(DAY, per=Attribute.EVERYTHING)], None),
        ([reading(DAY, enforced=False)], None),
    ],
)
def test_a_deny_looks_like_the_longest_window_that_the_client_sees_used_up(
    readings: list[Reading], used_up: int | None
) -> None:
    decision = climbed(decide(readings), DENY)
    for place, (before, after) in enumerate(zip(readings, decision.readings, strict=True)):
        if place == used_up:
            assert (after.remaining, after.wait_us) == (0, decision.retry_after_us)
            assert after.wait_us is not None
            assert 0 < after.wait_us <= after.reset_us <= 2 * after.window.period_us
        else:
            assert after == before


READINGS = st.builds(
    reading,
    st.sampled_from([MINUTE, HOUR, DAY]),
    wait_us=st.none() | st.integers(0, 9),
    enforced=st.booleans(),
    per=st.sampled_from([Attribute.KEY, Attribute.EVERYTHING]),
)


@given(readings=st.lists(READINGS), rung=st.sampled_from(EVERY_RUNG), mode=st.sampled_from(Mode))
def test_a_ladder_never_lets_through_what_the_limits_refuse(
    readings: list[Reading], rung: Rung, mode: Mode
) -> None:
    before = decide(readings)
    after = climb(before, RISK, rung, mode, now_us=NOW_US)
    assert after.refused or not before.refused
    bites = mode is Mode.ENFORCE and (rung.deny or bool(rung.challenge))
    assert after.refused == (before.refused or bites)
