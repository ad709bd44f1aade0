"""What a process admits by its share of each limit while the store is away."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.admin.reading import LogClock
from guard.core.calendars import MICROSECONDS, Span, boundaries
from guard.core.decision import Action, Decision, Reason
from guard.core.demand import Demand
from guard.core.identity import Attribute, Holder, Identity
from guard.core.limits import Algorithm, Charge, Limit, Unit, Window
from guard.core.modes import Mode
from guard.core.policy import OnStoreError
from guard.core.query import Usage
from guard.engine.admission import Admission
from guard.engine.outage.alone import Alone
from guard.store.memory.store import MemoryStore
from guard.store.port import UNKNOWN_WAIT_US

if TYPE_CHECKING:
    from collections.abc import Coroutine

ALICE = Identity(Holder(Attribute.KEY, "alice"), {Attribute.KEY: "alice"})
NOON = datetime(2026, 9, 24, 12, tzinfo=UTC).timestamp()
SLIDING, GCRA, CALENDAR, LEASES = Algorithm
RATES = st.sampled_from([SLIDING, GCRA, CALENDAR])


def limit(
    count: int = 10,
    period: int = 60,
    burst: int | None = None,
    *,
    algorithm: Algorithm = SLIDING,
    unit: str = Unit.REQUESTS,
    span: Span | None = None,
) -> Limit:
    window = Window(count, period, count if burst is None else burst, span)
    zone = ZoneInfo("Europe/Berlin") if span else None
    return Limit(f"{algorithm}-{unit}", unit, (Attribute.KEY,), algorithm, (window,), zone=zone)


def charge(kept: Limit, amount: int = 1, spare: int = 0, *, enforced: bool = True) -> Charge:
    return Charge(kept, ALICE.principal, amount, spare, enforced)


CONCURRENCY = limit(8, 0, algorithm=LEASES, unit=Unit.CONCURRENCY)
TOKENS = limit(100, unit=Unit.TOKENS)


class Process:
    """One of several that serve, without a store, at moments that the test names in seconds after noon."""

    def __init__(self, share: float | None = 1.0) -> None:
        self._clock = LogClock()
        self.alone = Alone(self._clock, lambda: "local", local=MemoryStore(self._clock.date_us), share=share)
        self._under_way: dict[str, Admission] = {}
        self._names = 0

    async def decide(self, *charges: Charge, at: float = 0, name: str | None = None) -> Decision:
        self._clock.now_us = round((NOON + at) * MICROSECONDS)
        self._names += 1
        name = name or f"r{self._names}"
        decision = await self.alone.decide(name, ALICE, charges, Demand(), OnStoreError.LOCAL, Mode.ENFORCE)
        self._under_way[name] = Admission(
            name, ALICE, "key:alice", "default", "/", "POST", Demand(), decision, charges, "connection"
        )
        return decision

    async def admits(self, *charges: Charge, at: float = 0, name: str | None = None) -> bool:
        return not (await self.decide(*charges, at=at, name=name)).refused

    async def admitted_of(self, count: int, *charges: Charge, at: float = 0) -> int:
        return sum([await self.admits(*charges, at=at) for _ in range(count)])

    async def settle(self, name: str, used: int) -> None:
        await self.alone.settle(self._under_way.pop(name), Usage(0, used))

    async def release(self, name: str) -> None:
        await self.alone.release(name)


@pytest.mark.parametrize(
    ("kept", "through"),
    [
        (limit(80), 10),
        (limit(80, burst=40, algorithm=GCRA), 5),
        (limit(80, 86_400, algorithm=CALENDAR, span=Span.DAY), 10),
        (CONCURRENCY, 1),
        (limit(5), 1),
    ],
)
async def test_a_process_admits_its_share(kept: Limit, through: int) -> None:
    assert await Process(1 / 8).admitted_of(50, charge(kept)) == through


async def test_a_request_is_charged_to_all_limits_or_to_none() -> None:
    process = Process()
    wide, narrow = limit(10), limit(2, unit="pages")
    assert await process.admitted_of(5, charge(wide), charge(narrow), charge(CONCURRENCY)) == 2
    assert await process.admitted_of(20, charge(wide)) == 8
    assert await process.admitted_of(20, charge(CONCURRENCY)) == 6


async def test_what_is_only_tried_out_is_not_counted() -> None:
    process = Process()
    one = limit(1)
    assert await process.admits(charge(one, 5, enforced=False), name="r")
    await process.settle("r", 9)
    assert await process.admits(charge(one))


async def test_a_caller_is_told_when_to_come_again_and_not_what_is_left() -> None:
    process = Process()
    first = await process.decide(charge(limit(), 4))
    assert (first.action, first.reason, first.readings) == (Action.ALLOW, Reason.STORE, ())
    refused = await process.decide(charge(limit(), 8), at=15)
    assert (refused.action, refused.reason, refused.readings) == (Action.LIMITED, Reason.QUOTA, ())
    # From 12:01 on, 4 of the window before slide out; 2 are left when half of the next has gone.
    assert refused.retry_after_us == 75 * MICROSECONDS


@pytest.mark.parametrize(
    ("amount", "spare", "wait_us", "reason"),
    [
        (11, 0, None, Reason.TOO_LARGE),
        (10, 0, UNKNOWN_WAIT_US, Reason.QUOTA),  # the store has room for it, a half of it has none
        (5, 0, None, Reason.STORE),
        (500, 496, None, Reason.STORE),
        (500, 490, UNKNOWN_WAIT_US, Reason.QUOTA),
        (500, 489, None, Reason.TOO_LARGE),
    ],
)
async def test_what_no_share_can_hold_waits_for_the_store(
    amount: int, spare: int, wait_us: int | None, reason: Reason
) -> None:
    decision = await Process(0.5).decide(charge(limit(unit=Unit.TOKENS), amount, spare))
    assert (decision.retry_after_us, decision.reason) == (wait_us, reason)
    assert decision.refused is (reason is not Reason.STORE)


async def test_an_estimate_is_trued_up_to_what_was_used() -> None:
    process = Process()
    for name, used in (("a", 10), ("b", 60)):
        assert await process.admits(charge(TOKENS, 40), charge(CONCURRENCY), name=name)
        await process.settle(name, used)
    assert not await process.admits(charge(TOKENS, 31))
    assert await process.admits(charge(TOKENS, 30))
    assert await process.admitted_of(20, charge(CONCURRENCY)) == 8


async def test_what_is_released_is_given_back() -> None:
    process = Process()
    asked = charge(TOKENS, 100), charge(limit(1)), charge(CONCURRENCY)
    assert await process.admits(*asked, name="a")
    await process.release("a")
    await process.release("a")
    await process.release("unknown")
    assert await process.admits(*asked)
    assert await process.admitted_of(20, charge(CONCURRENCY)) == 7


async def test_what_only_the_callers_cap_asked_for_is_charged_when_it_was_used() -> None:
    process = Process(0.5)
    assert await process.admits(charge(TOKENS, 500, 480), name="r")
    await process.settle("r", 90)
    # 90 are counted, where 50 is the share: 40 are carried on, and 1 fits when 9 of the other 50 are left.
    decision = await process.decide(charge(TOKENS, 1))
    assert decision.retry_after_us is not None
    assert decision.retry_after_us / MICROSECONDS == pytest.approx(60 + 60 * (1 - 9 / 50), abs=1e-5)


async def test_a_request_is_settled_by_the_share_that_it_was_admitted_by() -> None:
    process = Process(None)
    slow = limit(5, unit=Unit.TOKENS)
    process.alone.workers = 8
    assert await process.admits(charge(slow), name="r")
    process.alone.workers = 1
    await process.settle("r", 0)
    process.alone.workers = 8
    assert await process.admits(charge(slow))


@dataclass(frozen=True)
class Ask:
    """One of five processes is asked for so much, at a moment."""

    process: int
    at: float
    amount: int


ASKED = st.lists(
    st.builds(Ask, st.integers(0, 4), st.floats(0, 400), st.integers(1, 6)), min_size=1, max_size=120
).map(lambda asked: sorted(asked, key=lambda each: each.at))


def fleet_limit(algorithm: Algorithm, count: int, burst: int) -> Limit:
    span = Span.MINUTE if algorithm is CALENDAR else None
    return limit(count, 60, burst if algorithm is GCRA else count, algorithm=algorithm, span=span)


def run(work: Coroutine[None, None, None]) -> None:
    asyncio.run(work)


@given(asked=ASKED, algorithm=RATES, count=st.integers(1, 40), burst=st.integers(1, 40))
def test_all_processes_together_stay_within_the_limit_or_one_each(
    asked: list[Ask], algorithm: Algorithm, count: int, burst: int
) -> None:
    async def work() -> None:
        processes = [Process(1 / 5) for _ in range(5)]
        kept = fleet_limit(algorithm, count, burst)
        through = [
            each
            for each in asked
            if await processes[each.process].admits(charge(kept, each.amount), at=each.at)
        ]
        most = max(count, 5)
        for first in through:
            later = [each for each in through if each.at >= first.at]
            minute = sum(each.amount for each in later if each.at < first.at + 60)
            if algorithm is GCRA:
                assert minute <= max(burst, 5) + most
            else:
                # A sliding-window counter takes the window before to have been filled evenly.
                assert minute <= 2 * most
        if algorithm is CALENDAR:
            by_minute: Counter[int] = Counter()
            for each in through:
                by_minute[int(each.at // 60)] += each.amount
            assert all(amount <= most for amount in by_minute.values())

    run(work())


@given(asked=ASKED, algorithm=RATES, count=st.integers(1, 4))
def test_a_share_of_less_than_one_is_one_in_the_time_it_takes_to_grow(
    asked: list[Ask], algorithm: Algorithm, count: int
) -> None:
    async def work() -> None:
        process, kept = Process(1 / 5), fleet_limit(algorithm, count, 4)
        free_at, period = 0.0, 60 * 5 / count
        for each in asked:
            fits = await process.admits(charge(kept), at=each.at)
            if abs(each.at - free_at) > 0.001:
                assert fits is (each.at > free_at)
            if fits:
                free_at = each.at + period

    run(work())


@given(
    asked=ASKED, algorithm=RATES, count=st.integers(1, 60), share=st.sampled_from([1.0, 0.5, 1 / 3, 1 / 8])
)
def test_who_comes_again_when_told_is_admitted_and_not_a_moment_sooner(
    asked: list[Ask], algorithm: Algorithm, count: int, share: float
) -> None:
    async def work() -> None:
        process, kept = Process(share), fleet_limit(algorithm, count, max(1, count // 2))
        for each in asked:
            await process.admits(charge(kept, each.amount), at=each.at)
        now = asked[-1].at
        decision = await process.decide(charge(kept), at=now)
        if decision.retry_after_us is not None:
            told = now + decision.retry_after_us / MICROSECONDS
            assert not await process.admits(charge(kept), at=told - 0.000_01)
            assert await process.admits(charge(kept), at=told + 0.000_002)

    run(work())


@given(
    asked=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9), st.booleans()), min_size=1, max_size=80),
    count=st.integers(1, 20),
)
def test_all_processes_together_hold_no_more_leases_than_the_limit_or_one_each(
    asked: list[tuple[int, int, bool]], count: int
) -> None:
    async def work() -> None:
        processes = [Process(1 / 5) for _ in range(5)]
        kept = charge(limit(count, 0, algorithm=LEASES, unit=Unit.CONCURRENCY))
        held: set[tuple[int, str]] = set()
        for number, (place, request, begins) in enumerate(asked):
            if not begins:
                ending = [each for each in held if each[0] == place and each[1].endswith(f"-{request}")]
                for each in ending:
                    await processes[place].release(each[1])
                    held.discard(each)
            elif await processes[place].admits(kept, name=f"{number}-{request}"):
                held.add((place, f"{number}-{request}"))
            assert len(held) <= max(count, len(processes))

    run(work())


@given(asked=ASKED)
def test_a_calendar_period_gets_its_share_once(asked: list[Ask]) -> None:
    async def work() -> None:
        process, kept = Process(0.5), fleet_limit(CALENDAR, 12, 12)
        through: Counter[int] = Counter()
        wanted: Counter[int] = Counter()
        for each in asked:
            start = boundaries(Span.MINUTE, UTC, round((NOON + each.at) * MICROSECONDS))[1]
            wanted[start] += 1
            through[start] += await process.admits(charge(kept), at=each.at)
        assert through == Counter({start: min(count, 6) for start, count in wanted.items()})

    run(work())
