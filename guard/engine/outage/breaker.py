"""A circuit breaker: while the store is unwell, requests do not wait for it.

Closed, every call goes through. It opens after `FAILURES` failures in a row, or when half of the calls of a
short window failed. Open, none goes through, until a delay is over. Then one does, the probe, and the others
still do not: if it succeeds, the breaker closes; if it fails, the next delay is twice as long. Each delay is
cut by up to a half at random, so that the workers of a fleet do not probe in the same moment.

    12:00:00.00  the fifth timeout in a row: open, for 0.5 s cut to 0.4 s
    12:00:00.40  the first caller is the probe; those that come until it is over are turned away
    12:00:00.45  the probe times out: open, for 1 s cut to 0.7 s
    12:00:01.15  the next caller is the probe, and succeeds: closed
    12:00:01.20  a call of 11:59:59, from before it opened, times out at last: that is old news

What counts is what a call says of the time since the breaker last changed, so the outcome of a call that
began before is not heard. A call that ends without an outcome, because its caller has left, says nothing; if
it was the probe, the next caller is.
"""

from __future__ import annotations

import random
import time
from enum import StrEnum
from typing import TYPE_CHECKING

from guard.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

FAILURES = 5
"""Number of failures in a row that open the breaker."""

SHARE = 0.5
"""So do failures of this share of a window's calls ..."""

LEAST_CALLS = 20
"""... if there were as many as this."""

WINDOW_SECONDS = 5.0

FIRST_DELAY_SECONDS = 0.5
LONGEST_DELAY_SECONDS = 5.0

OPEN = "open"
"""The kind of the `StoreError` that turns a call away."""

UNWELL = frozenset(
    {"timeout", "connection", "readonly", "loading", "memory", "busy", "masterdown", "clusterdown", "misconf"}
)
"""Kinds of `StoreError` that say the store is unwell. Any other is an answer, so the store is there."""


class State(StrEnum):
    """Whether calls go through: all, none, or the one probe that is under way."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Breaker:
    """Guards one store, for one event loop.

    `clock` gives seconds that never run backwards, `chance` a number from 0 to 1.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
        *,
        failures: int = FAILURES,
    ) -> None:
        self._clock = clock
        self._chance = chance
        self._failures = failures
        self._state = State.CLOSED
        self._change = 0
        self._delay_seconds = FIRST_DELAY_SECONDS
        self._probe_at = 0.0
        self._tally = Tally(clock())

    @property
    def state(self) -> State:
        """Whether calls go through now."""
        return self._state

    def call(self) -> Call:
        """One call to the store, made inside: `with breaker.call(): await store.admit(...)`.

        Raises `StoreError` of the kind `open` where the call must not be made, and what the call raises.
        """
        return Call(self)

    def _probe(self) -> None:
        """Let a call in that finds the breaker not closed, if it may be the probe."""
        if self._state is not State.OPEN or self._clock() < self._probe_at:
            raise StoreError("not asked, since it failed a moment ago", kind=OPEN)
        self._become(State.HALF_OPEN)

    def _succeeded(self, change: int) -> None:
        if change != self._change:
            return
        if self._state is State.HALF_OPEN:
            self._become(State.CLOSED)
            self._delay_seconds = FIRST_DELAY_SECONDS
            self._tally = Tally(self._clock())
        else:
            self._tally.add(self._clock(), failed=False)

    def _failed(self, change: int) -> None:
        if change != self._change:
            return
        if self._state is State.CLOSED:
            self._tally.add(self._clock(), failed=True)
            if not self._tally.unwell(self._failures):
                return
        self._become(State.OPEN)
        self._probe_at = self._clock() + self._delay_seconds * (1 - self._chance() / 2)
        self._delay_seconds = min(2 * self._delay_seconds, LONGEST_DELAY_SECONDS)

    def _left(self, change: int) -> None:
        """A call ended without an outcome: the place of a probe is free for the next caller."""
        if change == self._change and self._state is State.HALF_OPEN:
            self._become(State.OPEN)

    def _become(self, state: State) -> None:
        self._state = state
        self._change += 1


class Call:
    """One call that a breaker lets in or not. Every request makes some: a generator would take longer."""

    __slots__ = ("_breaker", "_change")

    def __init__(self, breaker: Breaker) -> None:
        self._breaker = breaker

    def __enter__(self) -> None:
        breaker = self._breaker
        if breaker._state is not State.CLOSED:
            breaker._probe()
        self._change = breaker._change

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or (isinstance(error, StoreError) and error.kind not in UNWELL):
            self._breaker._succeeded(self._change)
        elif isinstance(error, StoreError):
            self._breaker._failed(self._change)
        else:
            self._breaker._left(self._change)


class Tally:
    """Counts the outcomes of calls: in a row, and of a window that began at `since`."""

    def __init__(self, since: float) -> None:
        self._since = since
        self._calls = 0
        self._failed = 0
        self._in_a_row = 0

    def add(self, now: float, *, failed: bool) -> None:
        """Count one outcome."""
        if now - self._since > WINDOW_SECONDS:
            self._since, self._calls, self._failed = now, 0, 0
        self._calls += 1
        self._failed += failed
        self._in_a_row = self._in_a_row + 1 if failed else 0

    def unwell(self, failures: int) -> bool:
        """Whether that is too much."""
        by_share = self._calls >= LEAST_CALLS and self._failed >= SHARE * self._calls
        return by_share or self._in_a_row >= failures
