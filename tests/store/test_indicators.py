"""What other operators have said, as stores keep it: one on Redis, one on a cluster, one in memory."""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from guard.core.indicators import MOST_INDICATORS, Imported, Indicator, Sighted, Thing
from guard.errors import DAMAGED, StoreError
from guard.store.memory.store import MemoryStore
from guard.store.redis.keys import INDICATORS, SIGHTED, Keys
from guard.store.redis.orders import OperatorStore

sys.path.insert(0, str(Path(__file__).parent))

from admitting import store_at
from servers import cluster, standalone

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

Kept = OperatorStore | MemoryStore

PEPPER = secrets.token_bytes(16)
DAY_US = 86_400_000_000


def now() -> int:
    return time.time_ns() // 1000


def one(number: int = 1, until_us: int | None = None) -> Indicator:
    until_us = now() + DAY_US if until_us is None else until_us
    return Indicator(
        f"indicator--{number}", Thing.TEMPLATE, f"{number:032x}", "g", "identity--a", "Alpha", 70, 1,
        until_us, 2, "ann", "by mail", 3,
    )  # fmt: skip


def by_id(*indicators: Indicator) -> dict[str, Indicator]:
    return {each.id: each for each in indicators}


@pytest.fixture(scope="module")
def several() -> Iterator[str]:
    with cluster(masters=3) as found:
        yield f"redis+cluster://{','.join(master.address for master in found.masters)}"


@pytest.fixture(scope="module")
def single() -> Iterator[str]:
    with standalone() as server:
        yield f"unix://{server.socket}"


@pytest.fixture(params=["redis", "cluster", "memory"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Kept]:
    if request.param == "memory":
        yield MemoryStore(now, keys=Keys(PEPPER))
        return
    found = store_at(request.getfixturevalue("several" if request.param == "cluster" else "single"), PEPPER)
    async with found.asking() as client:
        await client.flushall()
    yield found
    await found.aclose()


@pytest.fixture
async def redis(single: str) -> AsyncIterator[OperatorStore]:
    found = store_at(single, PEPPER)
    async with found.asking() as client:
        await client.flushall()
    yield found
    await found.aclose()


async def kept(store: Kept) -> Imported:
    found = await store.imported()
    assert found is not None
    return found


async def test_indicators_come_back_as_they_were_written(store: Kept) -> None:
    before = await kept(store)
    assert before == Imported()
    assert await store.imported(0) is None
    assert await store.keep_indicators(before, by_id(one(1), one(2)), now())
    after = await kept(store)
    assert after.indicators.keys() == {"indicator--1", "indicator--2"}
    assert after.version > 0
    assert await store.imported(after.version) is None
    assert await store.keep_indicators(after, by_id(one(2)), now())
    assert (await kept(store)).indicators.keys() == {"indicator--2"}


async def test_who_writes_by_an_older_version_writes_nothing(store: Kept) -> None:
    before = await kept(store)
    told = await asyncio.gather(
        *(store.keep_indicators(before, by_id(one(number)), now()) for number in range(5))
    )
    assert sorted(told) == [False] * 4 + [True]
    assert len((await kept(store)).indicators) == 1


async def test_what_is_over_goes_with_the_next_writing(store: Kept) -> None:
    soon = now() + 1_000_000
    assert await store.keep_indicators(await kept(store), by_id(one(1, soon), one(2)), now())
    assert len((await kept(store)).indicators) == 2
    known = await kept(store)
    assert await store.keep_indicators(known, known.indicators, soon)
    assert (await kept(store)).indicators.keys() == {"indicator--2"}


async def test_more_than_there_is_room_for_are_refused_whole(store: Kept) -> None:
    end = now() + DAY_US
    many = {str(number): replace(one(until_us=end), id=str(number)) for number in range(MOST_INDICATORS + 1)}
    with pytest.raises(ValueError, match="at most 10,000 indicators are kept, and these would be 10,001"):
        await store.keep_indicators(Imported(), many, now())
    assert await kept(store) == Imported()
    many.popitem()
    assert await store.keep_indicators(Imported(), many, now())
    assert len((await kept(store)).indicators) == MOST_INDICATORS


async def test_what_was_sighted_is_kept_as_long_as_its_indicator_is(store: Kept) -> None:
    seen = Sighted(1, 2, 3, common=True)
    assert await store.keep_indicators(await kept(store), by_id(one(1), one(2)), now())
    await store.keep_sighted({})
    await store.keep_sighted({"indicator--1": seen, "indicator--9": seen})
    assert await store.sighted() == {"indicator--1": seen}
    assert await store.keep_indicators(await kept(store), by_id(one(2)), now())
    assert await store.sighted() == {}


async def test_all_of_it_expires_with_the_last_that_holds(redis: OperatorStore) -> None:
    both = by_id(one(1, now() + 3 * DAY_US), one(2, now() + 7 * DAY_US))
    assert await redis.keep_indicators(Imported(), both, now())
    await redis.keep_sighted({"indicator--1": Sighted(1, 2, 3)})
    async with redis.asking() as client:
        for key in (INDICATORS, SIGHTED):
            assert 6 * 86_400 < await client.ttl(key) <= 7 * 86_400


@pytest.mark.parametrize("key", [INDICATORS, SIGHTED])
async def test_a_key_of_another_type_is_named_and_fails_no_reading(redis: OperatorStore, key: str) -> None:
    async with redis.asking() as client:
        await client.set(key, "x")
    assert await redis.imported() in (Imported(), None)
    assert await redis.sighted() == {}
    assert len(redis.damaged) == 1
    if key == INDICATORS:
        with pytest.raises(StoreError) as raised:
            await redis.keep_indicators(Imported(), by_id(one()), now())
        assert raised.value.kind == DAMAGED


@pytest.mark.parametrize("text", [b"\xff", b"[]", b"{}", b'{"id":"x","thing":"soul"}'])
async def test_what_cannot_be_read_is_named_and_left_out(redis: OperatorStore, text: bytes) -> None:
    assert await redis.keep_indicators(Imported(), by_id(one()), now())
    async with redis.asking() as client:
        await client.hset(INDICATORS, "bad", text)
        await client.hset(INDICATORS, "version", "x")
    assert (await kept(redis)).indicators.keys() == {"indicator--1"}
    assert set(redis.damaged) == {"the indicator bad"}
    assert await redis.keep_indicators(await kept(redis), by_id(one(2)), now())
