"""What is used beyond a limit is debt, and is carried on until it is paid (W10)."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest

from guard.admin.reading import LogClock
from guard.core.calendars import MICROSECONDS, Span
from guard.core.identity import Attribute, Holder, Identity, VouchedBy
from guard.core.limits import Algorithm, Charge, Limit, Unit, Window
from guard.core.query import NO_USAGE
from guard.store.memory.store import MemoryStore
from guard.store.port import Reservation

if TYPE_CHECKING:
    from guard.core.limits import Reading
    from guard.store.redis.orders import OperatorStore

ALICE = Identity(Holder(Attribute.KEY, "alice"), {Attribute.KEY: "alice"}, vouched_by=VouchedBy.KEYS_FILE)
T0 = 1_800_000_000 * MICROSECONDS
"""The start of a minute, and of an hour."""
SLIDING, GCRA, CALENDAR, LEASES = Algorithm
RATES = [SLIDING, GCRA, CALENDAR]
UNITS = ["pages", *(unit for unit in Unit if unit is not Unit.CONCURRENCY)]


def limit(
    algorithm: Algorithm, count: int = 1000, unit: str = Unit.TOKENS, span: Span = Span.MINUTE
) -> Limit:
    seconds = {Span.MINUTE: 60, Span.HOUR: 3_600, Span.DAY: 86_400, Span.MONTH: 30 * 86_400}[span]
    calendar = algorithm is CALENDAR
    return Limit(
        "l",
        unit,
        (Attribute.KEY,),
        algorithm,
        (Window(count, seconds, count, span if calendar else None),),
        zone=ZoneInfo("Europe/Berlin") if calendar else None,
    )


class Redis:
    """The store on Redis, at moments that the test names."""

    def __init__(self, store: OperatorStore) -> None:
        self.store = store

    async def admit(self, name: str, held: Limit, amount: int, at: float, spare: int = 0) -> Reading:
        charge = Charge(held, ALICE.principal, amount, spare)
        verdict = await self.store.admit(
            Reservation(name, ALICE, [charge]), now_us=T0 + round(at * MICROSECONDS)
        )
        return verdict.readings[0]

    async def settle(self, name: str, held: Limit, amount: int, at: float) -> None:
        charge = Charge(held, ALICE.principal, amount)
        await self.store.settle(
            Reservation(name, ALICE, [charge]), NO_USAGE, now_us=T0 + round(at * MICROSECONDS)
        )


class Memory(Redis):
    """The store of one process."""

    def __init__(self) -> None:
        self.clock = LogClock()
        self.memory = MemoryStore(self.clock.date_us)

    async def admit(self, name: str, held: Limit, amount: int, at: float, spare: int = 0) -> Reading:
        self.clock.now_us = T0 + round(at * MICROSECONDS)
        verdict = await self.memory.admit(
            Reservation(name, ALICE, [Charge(held, ALICE.principal, amount, spare)])
        )
        return verdict.readings[0]

    async def settle(self, name: str, held: Limit, amount: int, at: float) -> None:
        self.clock.now_us = T0 + round(at * MICROSECONDS)
        await self.memory.settle(Reservation(name, ALICE, [Charge(held, ALICE.principal, amount)]), NO_USAGE)


STORES = ["redis", "memory"]


@pytest.fixture
def kept(request: pytest.FixtureRequest, store: OperatorStore) -> Redis:
    return Redis(store) if request.param == "redis" else Memory()


async def used_in(windows: int, kept: Redis, held: Limit, ask: int, use: int) -> int:
    """What a client gets that asks for `ask` as often as it may, and uses `use` each time."""
    at, total, end = 0.0, 0, windows * held.windows[0].period_seconds
    while at < end:
        name = f"r{secrets.token_hex(6)}"
        reading = await kept.admit(name, held, ask, at)
        if reading.fits:
            await kept.settle(name, held, use, at)
            total += use
        else:
            assert reading.wait_us is not None
            at += (reading.wait_us + 2) / MICROSECONDS
    return total


@pytest.mark.parametrize("kept", STORES, indirect=True)
@pytest.mark.parametrize("algorithm", RATES)
@pytest.mark.parametrize("unit", UNITS)
async def test_w10_who_overruns_gets_no_more_than_who_does_not(
    kept: Redis, algorithm: Algorithm, unit: str
) -> None:
    held = limit(algorithm, unit=unit)
    fair = await used_in(12, kept, replace(held, name="fair"), 20, 20)
    assert 11_500 < fair <= 13_000
    assert await used_in(12, kept, held, 100, 3_700) <= fair + 3_700


@pytest.mark.parametrize("kept", STORES, indirect=True)
@pytest.mark.parametrize("algorithm", RATES)
async def test_w10_the_wait_is_until_the_debt_is_paid(kept: Redis, algorithm: Algorithm) -> None:
    held = limit(algorithm)
    assert (await kept.admit("a", held, 1, 0)).fits
    await kept.settle("a", held, 7_500, 0)
    told = await kept.admit("b", held, 400, 15)
    # After seven minutes 500 of 7,500 are left. A sliding window weighs the 1,000 before them, 100 at 7:54.
    last = {SLIDING: 7 * 60 + 54, GCRA: 6.9 * 60, CALENDAR: 7 * 60}[algorithm]
    assert told.wait_us is not None
    assert told.wait_us / MICROSECONDS + 15 == pytest.approx(last, abs=0.01)
    assert not (await kept.admit("c", held, 400, 15 + (told.wait_us - 2_000) / MICROSECONDS)).fits
    assert (await kept.admit("d", held, 400, 15 + (told.wait_us + 2) / MICROSECONDS)).fits


@pytest.mark.parametrize("kept", STORES, indirect=True)
async def test_w10_a_debt_of_months_outlives_them(kept: Redis) -> None:
    day = 86_400
    held = limit(CALENDAR, span=Span.MONTH)
    assert (await kept.admit("a", held, 1, 0)).fits
    await kept.settle("a", held, 3_500, 0)
    # 15 January 2027: the debt is paid on 1 April, and half of that month is left.
    assert not (await kept.admit("b", held, 1, 75 * day)).fits
    assert (await kept.admit("c", held, 500, 77 * day)).fits
    assert not (await kept.admit("d", held, 1, 77 * day)).fits


@pytest.mark.parametrize("kept", ["redis"], indirect=True)
@pytest.mark.parametrize("algorithm", RATES)
async def test_w10_other_numbers_keep_a_debt_and_make_none(kept: Redis, algorithm: Algorithm) -> None:
    wide, narrow = limit(algorithm, 1_000), limit(algorithm, 100)
    assert (await kept.admit("a", wide, 1_000, 0)).fits
    # What was used under 1,000 a minute is no debt under 100: two minutes later at most there is room.
    assert (await kept.admit("", narrow, 100, 121)).fits
    await kept.settle("a", wide, 1_450, 0)
    # The 450 beyond it are: after four minutes 150 are left under 100 a minute, and none under 1,000.
    assert not (await kept.admit("", narrow, 60, 4 * 60)).fits
    assert (await kept.admit("", narrow, 60, 7 * 60)).fits
    assert (await kept.admit("", wide, 500, 2 * 60)).fits


@pytest.mark.parametrize("kept", STORES, indirect=True)
@pytest.mark.parametrize("algorithm", [SLIDING, CALENDAR])
async def test_what_a_reservation_did_not_use_is_taken_off_a_debt(kept: Redis, algorithm: Algorithm) -> None:
    held = limit(algorithm)
    start = 50 if algorithm is CALENDAR else 0
    if algorithm is SLIDING:
        held = replace(held, windows=(Window(1_000, 10, 1_000),))
    assert (await kept.admit("long", held, 900, start)).fits
    assert (await kept.admit("short", held, 100, start)).fits
    await kept.settle("short", held, 600, start)
    told = await kept.admit("early", held, 501, start + 10)
    assert told.wait_us is not None
    assert told.wait_us / MICROSECONDS == pytest.approx(60 if algorithm is CALENDAR else 10.01, abs=0.1)
    await kept.settle("long", held, 100, start + 10)
    # 700 were used in all, and nothing is owed; in a sliding window they weigh still.
    room = 1_000 if algorithm is CALENDAR else 300
    assert not (await kept.admit("more", held, room + 1, start + 10)).fits
    assert (await kept.admit("all", held, room, start + 10)).fits


@pytest.mark.parametrize("kept", STORES, indirect=True)
@pytest.mark.parametrize("algorithm", RATES)
async def test_w10_a_debt_without_measure_is_counted_all_the_same(kept: Redis, algorithm: Algorithm) -> None:
    held = limit(algorithm, 1, span=Span.MONTH)
    assert (await kept.admit("a", held, 1, 0)).fits
    await kept.settle("a", held, 10**15, 0)
    reading = await kept.admit("b", held, 1, 1)
    assert reading.wait_us is not None
    assert reading.wait_us > 99 * 365 * 86_400 * MICROSECONDS
