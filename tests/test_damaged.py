"""Requests and what is learnt of them, where Redis holds something that guard has not written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest
from fakes import Clock, Guarded, call
from redis import Redis
from test_detection import chat, holder

from guard.admin import Operator
from guard.core.identity import Attribute, Identity
from guard.demo.model import FakeModel
from guard.installation import Installation
from guard.store.redis.keys import CONTROL, TERMS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from guard.admin import Sheet
    from guard.store.redis.keys import Keys

    MakeGuarded = Callable[..., Guarded]

TEN = {"name": "requests", "unit": "requests", "rate": "3/hour", "holders": "new"}
HOLDS = {"high": {"hold": True}}


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    with Redis(unix_socket_path=redis_url.removeprefix("unix://")) as client:
        yield client
        client.flushdb()


@pytest.fixture
async def app(guarded: MakeGuarded) -> Guarded:
    app = guarded(FakeModel(), TEN, ladder=HOLDS)
    assert await statuses(app, 1) == [200]
    await app.settled()
    return app


async def statuses(app: Guarded, count: int) -> list[int]:
    headers = {"authorization": "Bearer sk-test"}
    return [(await call(app, body=chat("hello"), headers=headers)).status for _ in range(count)]


def keys_of(app: Guarded) -> tuple[Keys, Identity]:
    key = holder(app)
    return Installation.of(app.settings).keys, Identity(key, {Attribute.KEY: key.value})


async def shown(app: Guarded) -> tuple[Sheet, dict[str, str]]:
    async with Operator(app.settings) as operator:
        sheet = await operator.show(holder(app))
        return sheet, dict(operator.damaged)


@pytest.mark.parametrize(
    "data", [b"x", b"foreign bytes" * 30, b"\xff" * 300], ids=["short", "text", "no number"]
)
async def test_evidence_begins_anew(app: Guarded, redis: Redis, data: bytes) -> None:
    keys, caller = keys_of(app)
    redis.set(keys.evidence(caller.principal, caller), data)
    assert (await shown(app))[1]
    fresh = Guarded(FakeModel(), app.settings)  # it learns of this holder for the first time
    assert await statuses(fresh, 1) == [200]
    await fresh.settled()
    await fresh.middleware.aclose()
    sheet, damaged = await shown(app)
    assert damaged == {}
    assert sheet.suspicion is not None


@pytest.mark.parametrize("length", [3, 20, 75])
async def test_a_record_that_is_cut_off_begins_anew(
    guarded: MakeGuarded, app: Guarded, redis: Redis, length: int
) -> None:
    keys, caller = keys_of(app)
    record = cast("bytes", redis.get(keys.record(caller)))
    redis.set(keys.record(caller), record[:length])
    other = Guarded(FakeModel(), app.settings)  # it asks since when the caller is known
    assert await statuses(other, 3) == [200, 200, 429]
    await other.settled()
    await other.middleware.aclose()
    sheet, damaged = await shown(app)
    assert damaged == {}
    assert sheet.record is not None
    assert (sheet.record.admitted, sheet.record.refused) == (2, 1)


@pytest.mark.parametrize(
    ("review", "status"),
    [
        (b"0 foreign", 200),
        (b"0 cleared sight now", 200),
        (b"held", 200),
        (b"0 held req_1 soaring sight 12 key:a", 403),
        (b"0 held ", 403),
        (b"0 held \xff", 403),
    ],
)
async def test_what_says_held_holds_and_nothing_else_does(
    app: Guarded, redis: Redis, clock: Clock, review: bytes, status: int
) -> None:
    keys, caller = keys_of(app)
    redis.hset(TERMS, keys.review_field(caller.principal), cast("Any", review))
    assert await statuses(app, 1) == [status]
    async with Operator(app.settings) as operator:
        await operator.orders.release(caller.principal, None)
    clock.ahead_seconds += 2
    assert await statuses(app, 1) == [200]
    assert (await shown(app))[1] == {}


async def test_orders_for_all_that_cannot_be_read_are_none(app: Guarded, redis: Redis) -> None:
    redis.hset(CONTROL, mapping=cast("Any", {"mode": b"\xff", "generation": b"many"}))
    await app.hear()
    assert await statuses(app, 1) == [200]


async def test_counts_that_cannot_be_read_go_by_on_store_error_until_they_are_reset(
    app: Guarded, redis: Redis
) -> None:
    keys, caller = keys_of(app)
    redis.set(keys.counts(caller.principal, caller), b"foreign")
    assert await statuses(app, 5) == [200] * 3 + [429] * 2
    async with Operator(app.settings) as operator:
        await operator.orders.reset(caller.principal)
    assert (await shown(app))[1] == {}
