"""The benchmark of sizes: a copy of an identity is what guard's own store finds under its name."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
from redis import Redis

from benchmarks.sizing.copies import CopyKeys, charge_of, copy_all, digests_of_all, identity_of
from guard.core.evidence import Evidence, Mark
from guard.core.identity import UNVERIFIED, Attribute, Holder, Identity
from guard.core.limits import Algorithm, Charge, Limit, Unit, Window
from guard.core.query import Usage
from guard.core.signals import Signal
from guard.store.port import Reservation
from guard.store.redis.orders import OperatorStore
from guard.store.transport.nodes import nodes_at
from guard.store.transport.url import RedisURL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

KEYS = CopyKeys(b"a pepper of the tests")
ALICE = Identity(Holder(Attribute.KEY, "alice"), {Attribute.POOL: "192.0.2.0/24"})
OWN, POOL, NEW = (
    Limit(f"of-{per}", Unit.REQUESTS, (per,), Algorithm.SLIDING_WINDOW, (Window(10, 86_400, 10),))
    for per in (Attribute.KEY, Attribute.POOL, Attribute.UNVERIFIED)
)
CHARGES = (
    Charge(OWN, ALICE.principal, 1),
    Charge(POOL, Holder(Attribute.POOL, "192.0.2.0/24"), 1),
    Charge(NEW, UNVERIFIED, 1),
)


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[OperatorStore]:
    found = OperatorStore(KEYS, partial(nodes_at, RedisURL.parse(redis_url), 60.0), deadline_seconds=60.0)
    yield found
    await found.aclose()


async def test_a_copy_has_what_its_original_has_and_shares_what_all_share(
    store: OperatorStore, redis_url: str
) -> None:
    first = Reservation("r1", ALICE, CHARGES)
    assert (await store.admit(first)).admitted
    await store.settle(first, Usage(1, 1))
    mark = Mark(20.0, 1_000_000, 1_000_000)
    await store.learn(ALICE.principal, ALICE, Evidence(0, b"profile", {Signal.GRADING: mark}))
    with Redis.from_url(redis_url) as client:
        made, originals = copy_all(client, digests_of_all(KEYS), 1, 7)
        assert originals >= 4
        assert made == 7 * originals
        assert all(client.pttl(name) > 0 for name in client.scan_iter("guard:5:{*"))
    copy = identity_of(ALICE, 7)
    assert await store.first_seen(copy) == await store.first_seen(ALICE)
    assert (await store.learn(copy.principal, copy, Evidence())).evidence.profile == b"profile"
    verdict = await store.look(copy, tuple(charge_of(each, 7) for each in CHARGES))
    assert [each.remaining for each in verdict.readings] == [9, 9, 9]
    assert (
        await store.admit(Reservation("r2", copy, tuple(charge_of(each, 7) for each in CHARGES)))
    ).admitted
    verdict = await store.look(ALICE, CHARGES)
    assert [each.remaining for each in verdict.readings] == [9, 9, 8]
    stranger = identity_of(ALICE, 8)
    assert await store.first_seen(stranger) is None
