from __future__ import annotations

import pytest

from guard.core.signals import Signal
from guard.core.uses import Declared, Use


@pytest.mark.parametrize(
    ("use", "signal", "excused"),
    [
        (Use.EVALUATION, Signal.ENUMERATION, True),
        (Use.EVALUATION, Signal.RESAMPLING, True),
        (Use.EVALUATION, Signal.SWEEP, True),
        (Use.EVALUATION, Signal.GRADING, False),
        (Use.JUDGE, Signal.GRADING, True),
        (Use.JUDGE, Signal.SWEEP, False),
        (Use.BATCH, Signal.ENUMERATION, True),
        (Use.BATCH, Signal.RESAMPLING, False),
        (Use.ROUTER, Signal.MIXTURE, True),
        (Use.ROUTER, Signal.ENUMERATION, False),
        (Use.RED_TEAM, Signal.HAZARD, True),
        (Use.RED_TEAM, Signal.LOGITS, False),
    ],
)
def test_a_use_excuses_what_it_shows_as_a_matter_of_course(
    use: Use, signal: Signal, *, excused: bool
) -> None:
    assert (signal in use.excuses(one_person=True)) is excused


@pytest.mark.parametrize("use", Use)
@pytest.mark.parametrize("signal", [Signal.REASONING, Signal.LOGITS, Signal.GENERATION])
def test_no_use_excuses_taking_the_model_away(use: Use, signal: Signal) -> None:
    assert signal not in use.excuses(one_person=False)


@pytest.mark.parametrize("use", Use)
def test_many_people_of_whom_nobody_says_which_asks_may_look_like_an_enumeration(use: Use) -> None:
    together, one = use.excuses(one_person=False), use.excuses(one_person=True)
    if use is Use.ROUTER:
        assert together - one == {Signal.ENUMERATION, Signal.DISTANCE, Signal.YIELD}
    else:
        assert together == one


@pytest.mark.parametrize("use", Use)
def test_a_declared_machine_may_be_tireless(use: Use) -> None:
    assert {Signal.NO_RAMP, Signal.ROUND_THE_CLOCK, Signal.SHIFT} <= use.excuses(one_person=True)


@pytest.mark.parametrize("use", Use)
def test_only_a_router_is_judged_by_each_of_its_end_users(use: Use) -> None:
    assert use.per_end_user is (use is Use.ROUTER)


@pytest.mark.parametrize(
    ("until_us", "now_us", "holds"), [(None, 10**18, True), (100, 99, True), (100, 100, False)]
)
def test_a_declared_use_holds_until_it_is_over(until_us: int | None, now_us: int, *, holds: bool) -> None:
    assert Declared(Use.JUDGE, until_us).holds(now_us) is holds
