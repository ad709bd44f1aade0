from __future__ import annotations

import asyncio
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from guard.engine.outage.breaker import LEAST_CALLS, OPEN, UNWELL, WINDOW_SECONDS, Breaker, State
from guard.errors import StoreError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


@dataclass
class Clock:
    now: float = 1_000.0

    def __call__(self) -> float:
        return self.now


def end(call: AbstractContextManager[None], kind: str | None = None) -> None:
    """End a call that has been entered: well, or with a `StoreError` of this kind."""
    error = StoreError("no", kind=kind) if kind else None
    with suppress(StoreError):
        call.__exit__(type(error) if error else None, error, None)


def make(breaker: Breaker, kind: str | None = None) -> None:
    call = breaker.call()
    call.__enter__()
    end(call, kind)


def turned_away(breaker: Breaker) -> bool:
    try:
        with breaker.call():
            return False
    except StoreError as error:
        return error.kind == OPEN


def opened(clock: Clock, chance: float = 0.0) -> Breaker:
    breaker = Breaker(clock, lambda: chance)
    for _ in range(5):
        make(breaker, "timeout")
    assert breaker.state is State.OPEN
    return breaker


def test_five_failures_in_a_row_open_it() -> None:
    breaker = Breaker(Clock())
    for _ in range(4):
        make(breaker, "timeout")
    make(breaker)
    for _ in range(4):
        make(breaker, "connection")
    assert breaker.state is State.CLOSED
    make(breaker, "connection")
    assert turned_away(breaker)


@pytest.mark.parametrize("between_seconds", [0.0, WINDOW_SECONDS / LEAST_CALLS])
def test_a_store_that_fails_every_other_time_is_unwell(between_seconds: float) -> None:
    clock = Clock()
    breaker = Breaker(clock)
    for turn in range(LEAST_CALLS):
        assert breaker.state is State.CLOSED
        make(breaker, "timeout" if turn % 2 else None)
        clock.now += between_seconds
    assert breaker.state is State.OPEN


def test_failures_of_long_ago_do_not_add_up() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    for turn in range(4 * LEAST_CALLS):
        make(breaker, "timeout" if turn % 2 else None)
        clock.now += WINDOW_SECONDS / 10
    assert breaker.state is State.CLOSED


@pytest.mark.parametrize("kind", ["response", "permission", OPEN])
def test_an_error_that_is_an_answer_says_that_the_store_is_there(kind: str) -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += 0.5
    make(breaker, kind)
    assert breaker.state is State.CLOSED
    for _ in range(2 * LEAST_CALLS):
        make(breaker, kind)
    assert breaker.state is State.CLOSED


@pytest.mark.parametrize("kind", sorted(UNWELL))
def test_the_probe_of_a_store_that_is_unwell_opens_it_again(kind: str) -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += 0.5
    make(breaker, kind)
    assert turned_away(breaker)


@pytest.mark.parametrize(
    ("chance", "delays"),
    [(0.0, [0.5, 1, 2, 4, 5, 5]), (1.0, [0.25, 0.5, 1, 2, 2.5, 2.5])],
)
def test_delays_double_up_to_the_longest_and_are_cut_by_up_to_a_half(
    chance: float, delays: list[float]
) -> None:
    clock = Clock()
    breaker = opened(clock, chance)
    for delay in delays:
        clock.now += delay - 0.001
        assert turned_away(breaker)
        clock.now += 0.001
        make(breaker, "timeout")
    clock.now += 5
    make(breaker)
    for _ in range(5):
        make(breaker, "timeout")
    clock.now += delays[0]
    assert not turned_away(breaker)


def test_an_outcome_from_before_it_closed_is_old_news() -> None:
    clock = Clock()
    breaker = Breaker(clock, lambda: 0.0, failures=1)
    late = [breaker.call() for _ in range(3)]
    for call in late:
        call.__enter__()
    end(late[0], "timeout")
    end(late[1])
    assert turned_away(breaker)
    clock.now += 0.5
    make(breaker)
    end(late[2], "timeout")
    assert breaker.state is State.CLOSED


async def test_of_a_hundred_callers_one_is_the_probe() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += 0.5
    asked = 0

    async def ask() -> None:
        nonlocal asked
        with suppress(StoreError), breaker.call():
            asked += 1
            await asyncio.sleep(0)

    await asyncio.gather(*(ask() for _ in range(100)))
    assert asked == 1
    assert breaker.state is State.CLOSED


async def test_a_probe_whose_caller_leaves_makes_room_for_the_next() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += 0.5

    async def ask() -> None:
        with breaker.call():
            await asyncio.Event().wait()

    task = asyncio.create_task(ask())
    await asyncio.sleep(0)
    assert turned_away(breaker)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    make(breaker)
    assert breaker.state is State.CLOSED


class Callers(RuleBasedStateMachine):
    """Calls begin, end and are given up in any order; what the breaker promises holds throughout."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.chance = 0.0
        self.breaker = Breaker(self.clock, lambda: self.chance)
        self.under_way: list[AbstractContextManager[None]] = []
        self.probe: AbstractContextManager[None] | None = None
        self.failed_at = self.clock.now

    @rule(chance=st.floats(0, 1))
    def roll(self, chance: float) -> None:
        self.chance = chance

    @rule(seconds=st.floats(0, 6))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule()
    def begin(self) -> None:
        before = self.breaker.state
        call = self.breaker.call()
        try:
            call.__enter__()
        except StoreError:
            assert before is not State.CLOSED
            assert self.probe is not None or self.clock.now < self.failed_at + 5
            return
        if before is State.CLOSED:
            self.under_way.append(call)
        else:
            assert self.probe is None
            assert self.clock.now >= self.failed_at + 0.25
            self.probe = call

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), kind=st.sampled_from([None, "timeout", "response"]))
    def finish(self, data: st.DataObject, kind: str | None) -> None:
        call = self.under_way.pop(data.draw(st.integers(0, len(self.under_way) - 1)))
        before = self.breaker.state
        end(call, kind)
        after = self.breaker.state
        assert before is after or (before, after, kind) == (State.CLOSED, State.OPEN, "timeout")
        if before is not after:
            self.failed_at = self.clock.now

    @precondition(lambda self: self.probe)
    @rule(kind=st.sampled_from([None, "timeout", "response"]))
    def finish_the_probe(self, kind: str | None) -> None:
        assert self.probe is not None
        end(self.probe, kind)
        self.probe = None
        assert self.breaker.state is (State.OPEN if kind == "timeout" else State.CLOSED)
        self.failed_at = self.clock.now

    @precondition(lambda self: self.probe)
    @rule()
    def leave_the_probe(self) -> None:
        assert self.probe is not None
        with suppress(asyncio.CancelledError), ExitStack() as stack:
            stack.push(self.probe)
            raise asyncio.CancelledError
        self.probe = None
        assert self.breaker.state is State.OPEN

    @invariant()
    def half_open_while_the_probe_is_under_way(self) -> None:
        assert (self.breaker.state is State.HALF_OPEN) == (self.probe is not None)


TestCallers = Callers.TestCase
