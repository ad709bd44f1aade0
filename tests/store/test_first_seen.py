"""When identities were first seen, in Redis and in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from guard.admin.reading import LogClock
from guard.core.identity import Attribute, Holder, Identity, VouchedBy
from guard.core.query import NO_USAGE
from guard.store.memory import records
from guard.store.memory.store import MemoryStore
from guard.store.port import Reservation

if TYPE_CHECKING:
    from guard.store.redis.orders import OperatorStore

DAY_US = 86_400_000_000
DAY_MS = 86_400_000
T0 = 1_800_000_000_000_000


def identity(name: str = "a", vouched_by: VouchedBy | None = None) -> Identity:
    return Identity(Holder(Attribute.KEY, name), {Attribute.KEY: name}, vouched_by)


async def answered(
    store: OperatorStore, who: Identity, name: str, now_us: int, *, accepted: bool = True
) -> None:
    reservation = Reservation(name, who, ())
    await store.admit(reservation, now_us=now_us)
    await store.settle(reservation, NO_USAGE, accepted=accepted, now_us=now_us)


async def test_it_is_the_beginning_of_the_record(store: OperatorStore) -> None:
    assert await store.first_seen(identity()) is None
    await answered(store, identity(), "refused", T0, accepted=False)
    assert await store.first_seen(identity()) is None
    await answered(store, identity(), "first", T0 + 1)
    await answered(store, identity(), "second", T0 + DAY_US)
    assert await store.first_seen(identity()) == T0 + 1
    assert await store.first_seen(identity("b")) is None


@pytest.mark.parametrize(
    ("days", "vouched_by", "left_days"),
    [
        (0, None, 1),
        (0.5, None, 1),
        (7, None, 7),
        (99, None, 30),
        (0, VouchedBy.TOKEN, 30),
        (99, VouchedBy.TOKEN, 30),
    ],
)
async def test_a_record_lives_as_long_as_its_identity_was_there(
    store: OperatorStore, days: float, vouched_by: VouchedBy | None, left_days: float
) -> None:
    who, last_us = identity(vouched_by=vouched_by), T0 + int(days * DAY_US)
    moments = [*range(T0, last_us, DAY_US // 2), last_us]
    for moment in moments:
        await answered(store, who, f"r{moment}", moment)
    async with store.asking() as client:
        left_ms = await client.pttl(store.keys.record(who))
    assert left_days * DAY_MS - 60_000 < left_ms <= left_days * DAY_MS
    clock = LogClock()
    memory = MemoryStore(clock.date_us)
    for moment in moments:
        clock.now_us = moment
        await memory.settle(Reservation(f"r{moment}", who, ()), NO_USAGE)
    clock.now_us = last_us + int(left_days * DAY_US) - 1
    assert await memory.first_seen(who) == T0
    clock.now_us += 1
    assert await memory.first_seen(who) is None


async def test_in_memory_the_longest_idle_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MOST_RECORDS", 2)
    memory = MemoryStore(lambda: T0)
    for number, name in enumerate("abac"):
        await memory.settle(Reservation(f"r{number}", identity(name), ()), NO_USAGE)
    assert [await memory.first_seen(identity(name)) for name in "abc"] == [T0, None, T0]
