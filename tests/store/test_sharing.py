"""Settles, and payouts, that come in the same turn of the loop share a call, and nothing else."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from unittest.mock import AsyncMock

import pytest
from redis import Redis

from guard.core.identity import Attribute, Holder, Identity, VouchedBy
from guard.core.limits import Algorithm, Charge, Limit, Unit, Window
from guard.core.novelty import Payout, Piece
from guard.core.query import NO_USAGE
from guard.errors import StoreError
from guard.store.port import Reservation, Settled
from guard.store.redis.scripts import PAY, SETTLE
from guard.store.redis.sharing import MOST_AT_ONCE

if TYPE_CHECKING:
    from guard.store.redis.keys import Keys
    from guard.store.redis.orders import OperatorStore

TOKENS = Limit("tokens", "tokens", (Attribute.KEY,), Algorithm.SLIDING_WINDOW, (Window(1000, 3600, 1000),))


def caller(number: int) -> Identity:
    return Identity(
        Holder(Attribute.KEY, f"k{number}"), {Attribute.KEY: f"k{number}"}, vouched_by=VouchedBy.KEYS_FILE
    )


def charge(number: int, amount: int) -> Charge:
    return Charge(TOKENS, caller(number).principal, amount)


async def admit(store: OperatorStore, *numbers: int) -> None:
    for number in numbers:
        assert (await store.admit(Reservation(f"r{number}", caller(number), [charge(number, 100)]))).admitted


async def settle(store: OperatorStore, *numbers: int) -> list[Settled | BaseException]:
    """Settle all in the same turn of the loop."""
    return await asyncio.gather(
        *(
            store.settle(Reservation(f"r{each}", caller(each), [charge(each, 10 + each)]), NO_USAGE)
            for each in numbers
        ),
        return_exceptions=True,
    )


async def used(store: OperatorStore, number: int) -> int:
    (reading,) = (await store.look(caller(number), [charge(number, 0)])).readings
    return 1000 - reading.remaining


@pytest.fixture
def sent(store: OperatorStore, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of keys of each call of the script."""
    calls: list[int] = []
    run = store._run

    async def counted(script: Any, keys: list[str], arguments: list[str | int | bytes]) -> list[Any]:
        if script in (SETTLE, PAY):
            calls.append(len(keys))
        return await run(script, keys, arguments)

    monkeypatch.setattr(store, "_run", counted)
    return calls


async def test_they_share_a_call_up_to_a_number(store: OperatorStore, sent: list[int]) -> None:
    numbers = range(MOST_AT_ONCE + 2)
    await admit(store, *numbers)
    assert all(await settle(store, *numbers))
    keys_of_one = 5
    assert sent == [MOST_AT_ONCE * keys_of_one, 2 * keys_of_one]
    assert [await used(store, number) for number in numbers] == [10 + number for number in numbers]
    # Each by itself: what was settled before changes nothing, beside what was not.
    await admit(store, 100)
    assert [bool(each) for each in await settle(store, 0, 100)] == [False, True]
    assert await used(store, 0) == 10


async def test_what_one_holder_has_left_behind_fails_its_own_settle_until_it_is_mended(
    store: OperatorStore, keys: Keys, redis_url: str, sent: list[int]
) -> None:
    await admit(store, 1, 2, 3)
    counts = keys.counts(caller(2).principal, caller(2))
    with Redis.from_url(redis_url) as redis:
        redis.rename(counts, "aside")
        redis.set(counts, "not a hash")
        before, failed, after = await settle(store, 1, 2, 3)
        assert len(sent) == 1
        assert before
        assert after
        assert isinstance(failed, StoreError)
        assert failed.kind == "damaged"
        assert (await used(store, 1), await used(store, 3)) == (11, 13)
        redis.rename("aside", counts)
    assert await settle(store, 2) == [Settled(True)]
    assert await used(store, 2) == 12


async def test_a_fault_of_ours_leaves_nobody_waiting(store: OperatorStore) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "_run", AsyncMock(side_effect=TypeError("odd")))
        assert [type(each) for each in await settle(store, 1, 2)] == [TypeError, TypeError]


async def test_a_store_that_is_away_fails_all_and_forgets_none(store: OperatorStore) -> None:
    await admit(store, 1, 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "_run", AsyncMock(side_effect=StoreError("away", kind="connection")))
        failed = await settle(store, 1, 2)
    assert [each.kind for each in failed if isinstance(each, StoreError)] == ["connection"] * 2
    assert all(await settle(store, 1, 2))


async def test_one_that_is_given_up_does_not_hold_up_the_others(store: OperatorStore) -> None:
    await admit(store, 1, 2)
    given_up = asyncio.ensure_future(store.settle(Reservation("r1", caller(1), [charge(1, 11)]), NO_USAGE))
    other = asyncio.ensure_future(store.settle(Reservation("r2", caller(2), [charge(2, 12)]), NO_USAGE))
    await asyncio.sleep(0)
    given_up.cancel()
    assert await other
    assert await used(store, 2) == 12


BUDGET = Limit(
    "novel", Unit.NOVELTY, (Attribute.KEY,), Algorithm.SLIDING_WINDOW, (Window(9_000, 3600, 9_000),)
)


async def test_so_do_payouts(store: OperatorStore, keys: Keys, redis_url: str, sent: list[int]) -> None:
    numbers = range(4)
    asked = [
        Reservation(f"r{each}", caller(each), [Charge(BUDGET, caller(each).principal, 1_000)])
        for each in numbers
    ]
    settled = await asyncio.gather(*(store.settle(each, NO_USAGE) for each in asked))
    del sent[:]

    async def pay(payout: Payout) -> list[int | BaseException | None]:
        works = [store.pay(each, done.receipts, payout) for each, done in zip(asked, settled, strict=True)]
        return await asyncio.gather(*works, return_exceptions=True)

    with Redis.from_url(redis_url) as redis:
        counts = keys.counts(caller(2).principal, caller(2))
        redis.rename(counts, "aside")
        redis.set(counts, "not a hash")
        first, second, failed, last = await pay(Payout((Piece(600, 0, 7), Piece(500, 0, 7)), 0, 1))
        assert sent == [4 * 4]
        assert (first, second, last) == (600, 600, 600)
        assert isinstance(failed, StoreError)
        redis.rename("aside", counts)
    # What has failed is paid for when it is tried again, and nothing else is.
    assert await pay(Payout((), 300, 1)) == [None, None, 300, None]
