"""U19: what an identity's record says of refusals is what its client saw."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fakes import FlakyStore, Guarded, call

from guard.admin import Operator
from guard.core.identity import Attribute, Holder, Identity
from guard.demo.model import FakeModel
from guard.engine.outage.breaker import Breaker
from guard.engine.tally import Tally

sys.path.insert(0, str(Path(__file__).parent / "store"))

from servers import cluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from guard.engine.engine import Engine
    from guard.store.redis.orders import OperatorStore, Record

    MakeGuarded = Callable[..., Guarded]

CHAT = {"model": "m", "messages": [{"role": "user", "content": "one two three"}]}
ONCE = {"name": "requests", "unit": "requests", "rate": "1/hour"}
FROM_A_GATEWAY = {"identity": {"trusted_proxies": ["192.0.2.1"], "headers": {"user": "x-user"}}}
ANN = {"x-user": "ann"}
USER = Holder(Attribute.USER, "ann")


async def record_of(app: Guarded) -> Record:
    async with Operator(app.settings) as operator:
        record = (await operator.show(USER)).record
    assert record is not None
    return record


async def ask(app: Guarded, times: int, **options: Any) -> list[int]:
    return [(await call(app, body=CHAT, headers=ANN, **options)).status for _ in range(times)]


async def test_u19_refusals_from_memory_are_counted_within_a_second(guarded: MakeGuarded) -> None:
    app = guarded(FakeModel(), ONCE, **FROM_A_GATEWAY)
    assert await ask(app, 36) == [200] + [429] * 35
    await app.hear()
    record = await record_of(app)
    assert (record.admitted, record.refused, record.shadowed) == (1, 35, 0)


async def test_u19_and_when_the_process_ends(guarded: MakeGuarded) -> None:
    app = guarded(FakeModel(), ONCE, **FROM_A_GATEWAY)
    await ask(app, 36)
    await app.middleware.aclose()
    assert (await record_of(app)).refused == 35


async def test_u19_also_where_it_ends_while_they_are_reported(guarded: MakeGuarded) -> None:
    app = guarded(FakeModel(), ONCE, **FROM_A_GATEWAY)
    engine: Engine = (await app.middleware._opened()).engine
    note, reporting, go_on = engine._store.note, asyncio.Event(), asyncio.Event()

    async def slow(identity: Identity, **counts: int) -> None:
        reporting.set()
        await go_on.wait()
        await note(identity, **counts)

    engine._store.note = slow  # type: ignore[method-assign]
    await ask(app, 36)
    await reporting.wait()  # by the beat that comes each second
    closing = asyncio.ensure_future(app.middleware.aclose())
    await asyncio.sleep(0)
    go_on.set()
    await closing
    assert (await record_of(app)).refused == 35


async def test_u19_and_where_the_next_request_is_admitted(guarded: MakeGuarded) -> None:
    app = guarded(FakeModel(), ONCE, {**ONCE, "name": "other", "routes": ["/v1/messages"]}, **FROM_A_GATEWAY)
    await ask(app, 3)
    async with Operator(app.settings) as operator:
        await operator.orders.reset(USER)
    app.middleware._service.engine.adopt(app.settings.policy())  # type: ignore[union-attr]
    assert await ask(app, 1) == [200]
    assert (await record_of(app)).refused == 2


@pytest.mark.parametrize(
    "sections", [{"mode": "shadow"}, {"tiers": {"default": {"limits": [ONCE], "mode": "shadow"}}}]
)
async def test_u19_what_was_only_tried_out_is_counted_apart(
    guarded: MakeGuarded, sections: dict[str, Any]
) -> None:
    app = guarded(FakeModel(), ONCE, **sections, **FROM_A_GATEWAY)
    assert await ask(app, 5) == [200] * 5
    await app.settled()
    await app.hear()
    record = await record_of(app)
    assert (record.admitted, record.refused, record.shadowed) == (1, 0, 4)


async def test_u19_refusals_without_the_store_are_counted_when_it_is_back(
    guarded: MakeGuarded, store: OperatorStore
) -> None:
    app = guarded(FakeModel(), ONCE, on_store_error="deny", **FROM_A_GATEWAY)
    await ask(app, 1)
    engine: Engine = (await app.middleware._opened()).engine
    flaky = FlakyStore(engine._store)  # type: ignore[arg-type]
    engine._store = engine._books._store = flaky
    assert await ask(app, 3) == [503] * 3
    assert await engine.watch() is None
    flaky.broken = False
    engine._alone.breaker = Breaker()
    await engine.watch()
    assert (await record_of(app)).refused == 3


def test_counts_are_bounded_and_taken_once() -> None:
    people = [Identity(Holder(Attribute.KEY, str(number))) for number in range(5)]
    tally = Tally(most=3)
    for person in people:
        tally.add(person, refused=2, shadowed=1)
    assert len(tally) == 3
    assert tally.take_refused(people[0].principal) == 0
    assert tally.take_refused(people[4].principal) == 2
    assert tally.take_refused(people[4].principal) == 0
    assert [(count.refused, count.shadowed) for count in tally.take(9)] == [(2, 1), (2, 1), (0, 1)]
    assert not tally.take(9)


@pytest.fixture(scope="module")
def cluster_url() -> Iterator[str]:
    with cluster(masters=3) as several:
        yield f"redis+cluster://{','.join(master.address for master in several.masters)}"


@pytest.mark.parametrize("mode", ["enforce", "shadow"])
async def test_u19_on_a_cluster_too_whichever_slot_refuses(
    guarded: MakeGuarded, cluster_url: str, mode: str
) -> None:
    """A limit that all share lives in another slot than the caller's own, and than the caller's record."""
    shared = {"name": f"all-{mode}", "unit": "requests", "rate": "1/hour", "per": "everything"}
    own = {"name": "own", "unit": "requests", "rate": "100/hour"}
    store = {"redis_url": cluster_url}
    pepper = {"pepper": "x" * 32, **FROM_A_GATEWAY["identity"]}
    app = guarded(FakeModel(), own, shared, mode=mode, store=store, identity=pepper)
    for number in range(6):
        for _ in range(4):
            await call(app, body=CHAT, headers={"x-user": f"{mode}-{number}"})
    await app.settled()
    await app.hear()
    async with Operator(app.settings) as operator:
        holders = [Holder(Attribute.USER, f"{mode}-{number}") for number in range(6)]
        records = [(await operator.show(holder)).record for holder in holders]
    counts = [(record.admitted, record.refused, record.shadowed) for record in records if record]
    refused = [(1, 3, 0), *([(0, 4, 0)] * 5)]
    assert counts == (refused if mode == "enforce" else [(1, 0, 3), *([(0, 0, 4)] * 5)])
