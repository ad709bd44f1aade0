"""Our windows beside those of the library `limits`, on the same arrivals at the same moments.

Where the definitions agree, the verdicts are the same; where they differ, what differs is shown. Moments are
in sixteenths of a period, and periods powers of two, so that neither side rounds.
"""

from __future__ import annotations

import asyncio
import secrets
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import hypothesis.strategies as st
import pytest
from hypothesis import given
from limits import RateLimitItemPerSecond
from limits.storage import MemoryStorage, memory
from limits.strategies import (
    FixedWindowRateLimiter,
    MovingWindowRateLimiter,
    RateLimiter,
    SlidingWindowCounterRateLimiter,
)

from guard.core.calendars import MICROSECONDS, Span
from guard.core.identity import Attribute, Holder, Identity, VouchedBy
from guard.core.limits import Algorithm, Charge, Limit, Window
from guard.store.port import Reservation
from guard.store.redis.keys import Keys
from guard.store.redis.orders import OperatorStore
from guard.store.transport.nodes import SingleNode
from guard.store.transport.url import RedisURL

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from guard.store.embedded.server import EmbeddedServer

ALICE = Identity(Holder(Attribute.KEY, "alice"), {Attribute.KEY: "alice"}, vouched_by=VouchedBy.KEYS_FILE)
STEPS = 16
PERIOD = 64
"""Seconds. A calendar minute has 60, of which a sixteenth is no rounder, but is only added."""

START = 1024
"""A multiple of the period, in periods: `limits` counts its sliding windows from 1970."""

Arrival = tuple[int, int]
"""The step at which a request comes, and what it costs."""


def sliding(count: int) -> Limit:
    return _limit(Algorithm.SLIDING_WINDOW, Window(count, PERIOD, count))


def gcra(count: int, burst: int) -> Limit:
    return _limit(Algorithm.GCRA, Window(count, PERIOD, burst))


def calendar(count: int) -> Limit:
    return _limit(Algorithm.CALENDAR, Window(count, 60, count, Span.MINUTE), ZoneInfo("UTC"))


def _limit(algorithm: Algorithm, window: Window, zone: ZoneInfo | None = None) -> Limit:
    return Limit("l", "units", (Attribute.KEY,), algorithm, (window,), zone=zone)


def moment(step: int, period: int) -> float:
    return (START + step / STEPS) * period


def ours(server: EmbeddedServer, limit: Limit, arrivals: Sequence[Arrival]) -> list[bool]:
    """Which arrivals guard admits."""

    async def ask() -> list[bool]:
        keys = Keys(secrets.token_bytes(16))
        store = OperatorStore(
            keys, partial(SingleNode, RedisURL.of_socket(server.socket), 20), deadline_seconds=20
        )
        admits = [
            store.admit(
                Reservation(f"r{number}", ALICE, [Charge(limit, ALICE.principal, cost)]),
                now_us=int(moment(step, limit.windows[0].period_seconds) * MICROSECONDS),
            )
            for number, (step, cost) in enumerate(arrivals)
        ]
        try:
            return [verdict.admitted for verdict in await asyncio.gather(*admits)]
        finally:
            await store.aclose()

    return asyncio.run(ask())


def theirs(
    strategy: type[RateLimiter], count: int, arrivals: Sequence[Arrival], period: int = PERIOD
) -> list[bool]:
    """Which arrivals the library admits."""
    item = RateLimitItemPerSecond(count, period)
    with clock_of_limits() as clock:
        limiter = strategy(MemoryStorage())
        verdicts = []
        for step, cost in arrivals:
            clock.now = moment(step, period)
            verdicts.append(limiter.hit(item, "alice", cost=cost))
    return verdicts


@contextmanager
def clock_of_limits() -> Iterator[SimpleNamespace]:
    """A clock that the library's memory storage reads in place of the machine's."""
    clock = SimpleNamespace(now=0.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "time", SimpleNamespace(time=lambda: clock.now))
        yield clock


@st.composite
def arrivals_on_the_boundary(draw: st.DrawFn, costs: st.SearchStrategy[int]) -> list[Arrival]:
    """In each window in which anything comes, the first comes where the window begins."""
    made: list[Arrival] = []
    for window in sorted(draw(st.sets(st.integers(0, 6), min_size=1))):
        offsets = draw(st.lists(st.integers(0, STEPS - 1), max_size=8))
        made += [(window * STEPS + offset, draw(costs)) for offset in [0, *sorted(offsets)]]
    return made


def arrivals(costs: st.SearchStrategy[int]) -> st.SearchStrategy[list[Arrival]]:
    steps = st.lists(st.integers(0, 5 * STEPS), min_size=1, max_size=40).map(sorted)
    return steps.flatmap(lambda all_: st.tuples(*(st.tuples(st.just(step), costs) for step in all_))).map(
        list
    )


# Fixed windows: ours follow the calendar, theirs begin with the first hit.


@given(arrivals=arrivals_on_the_boundary(st.just(1)), count=st.integers(1, 6))
def test_fixed_windows_agree_where_each_begins_with_a_hit(
    redis_server: EmbeddedServer, arrivals: list[Arrival], count: int
) -> None:
    assert ours(redis_server, calendar(count), arrivals) == theirs(
        FixedWindowRateLimiter, count, arrivals, 60
    )


def test_a_fixed_window_of_theirs_begins_with_its_first_hit(redis_server: EmbeddedServer) -> None:
    """Half a minute in: our minute ends at the full minute, theirs a minute later."""
    arrivals = [(8, 1), (15, 1), (16, 1), (24, 1)]
    assert ours(redis_server, calendar(1), arrivals) == [True, False, True, False]
    assert theirs(FixedWindowRateLimiter, 1, arrivals, 60) == [True, False, False, True]


def test_a_refused_request_charges_a_fixed_window_of_theirs_and_none_of_ours(
    redis_server: EmbeddedServer,
) -> None:
    """8 of 10 are used. 5 more are refused; then 2 fit, unless what was refused is charged."""
    arrivals = [(0, 8), (1, 5), (2, 2)]
    assert ours(redis_server, calendar(10), arrivals) == [True, False, True]
    assert theirs(FixedWindowRateLimiter, 10, arrivals, 60) == [True, False, False]


# Sliding-window counters: ours begin with the first request, theirs with the clock; theirs round down.


@given(
    arrivals=arrivals_on_the_boundary(st.integers(1, 4).map(lambda cost: cost * STEPS)),
    count=st.integers(4 * STEPS, 10 * STEPS),
)
def test_sliding_windows_agree_where_they_begin_together_and_weigh_whole_units(
    redis_server: EmbeddedServer, arrivals: list[Arrival], count: int
) -> None:
    assert ours(redis_server, sliding(count), arrivals) == theirs(
        SlidingWindowCounterRateLimiter, count, arrivals
    )


@given(arrivals=arrivals_on_the_boundary(st.integers(1, 4)), count=st.integers(4, 12))
def test_where_sliding_windows_weigh_fractions_theirs_is_the_first_to_admit_more(
    redis_server: EmbeddedServer, arrivals: list[Arrival], count: int
) -> None:
    verdicts = zip(
        ours(redis_server, sliding(count), arrivals),
        theirs(SlidingWindowCounterRateLimiter, count, arrivals),
        strict=True,
    )
    assert next((pair for pair in verdicts if pair[0] != pair[1]), None) in (None, (False, True))


def test_a_sliding_window_of_theirs_forgives_a_fraction(redis_server: EmbeddedServer) -> None:
    """One of one was used in the window before: a sixteenth later fifteen sixteenths of it still weigh."""
    arrivals = [(0, 1), (STEPS, 1), (STEPS + 1, 1), (2 * STEPS, 1)]
    assert ours(redis_server, sliding(1), arrivals) == [True, False, False, True]
    assert theirs(SlidingWindowCounterRateLimiter, 1, arrivals) == [True, False, True, False]


def test_a_sliding_window_of_ours_begins_with_the_first_request(redis_server: EmbeddedServer) -> None:
    """Two at the end of a window of the clock: half of them have passed half a period later, or none."""
    arrivals = [(15, 2), (24, 1), (30, 1)]
    assert ours(redis_server, sliding(2), arrivals) == [True, False, False]
    assert theirs(SlidingWindowCounterRateLimiter, 2, arrivals) == [True, True, True]


# GCRA beside a moving window, which knows the moment of every hit: the one has a rate, the other a history.


@given(
    arrivals=arrivals(st.integers(1, 4)), count=st.integers(5, 40), burst=st.integers(4, 20), data=st.data()
)
def test_gcra_admits_its_burst_and_what_drains_at_most(
    redis_server: EmbeddedServer, arrivals: list[Arrival], count: int, burst: int, data: st.DataObject
) -> None:
    verdicts = ours(redis_server, gcra(count, burst), arrivals)
    since = data.draw(st.sampled_from(sorted({step for step, _ in arrivals})))
    till = data.draw(st.sampled_from(sorted({step for step, _ in arrivals if step >= since})))
    used = sum(
        cost
        for (step, cost), admitted in zip(arrivals, verdicts, strict=True)
        if admitted and since <= step <= till
    )
    assert used <= burst + (till - since) / STEPS * count


@given(arrivals=arrivals(st.integers(1, 4)), rate=st.integers(1, 40), burst=st.integers(4, 20))
def test_what_gcra_admits_fits_a_moving_window_of_rate_and_burst_together(
    redis_server: EmbeddedServer, arrivals: list[Arrival], rate: int, burst: int
) -> None:
    verdicts = ours(redis_server, gcra(rate, burst), arrivals)
    admitted = [arrival for arrival, admits in zip(arrivals, verdicts, strict=True) if admits]
    assert all(theirs(MovingWindowRateLimiter, rate + burst, admitted))


def test_gcra_gives_back_bit_by_bit_what_a_moving_window_gives_back_at_once(
    redis_server: EmbeddedServer,
) -> None:
    """16 at once of 16 in a period: a sixteenth of it later one fits again, or none until it is over."""
    arrivals = [(0, 16), (1, 1), (1, 1), (16, 15), (17, 16)]
    assert ours(redis_server, gcra(16, 16), arrivals) == [True, True, False, True, False]
    assert theirs(MovingWindowRateLimiter, 16, arrivals) == [True, False, False, False, True]


def test_a_sliding_window_takes_the_window_before_to_have_been_even(redis_server: EmbeddedServer) -> None:
    """16 at the end of the first window: half a window later half of them weigh, or all of them."""
    arrivals = [(0, 1), (15, 15), (24, 8), (24, 1)]
    assert ours(redis_server, sliding(16), arrivals) == [True, True, True, False]
    assert theirs(MovingWindowRateLimiter, 16, arrivals) == [True, True, False, True]
