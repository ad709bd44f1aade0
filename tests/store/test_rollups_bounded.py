"""Rollups cost the same however many identities there are: in Redis, in what is read, and in the hook."""

from __future__ import annotations

import asyncio
import secrets
import sys
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest
from counting import calls
from patience import PATIENCE_SECONDS

from guard.admin.impact import Impacts
from guard.admin.rollups import By, Rollups
from guard.core.decision import Action, Reason
from guard.core.evidence import Band
from guard.core.identity import Holder
from guard.core.modes import Mode
from guard.core.rollups import HOUR
from guard.settings.root import Settings
from guard.store.embedded.server import EmbeddedServer
from guard.store.redis.keys import Keys
from guard.store.redis.orders import OperatorStore
from guard.store.transport.nodes import nodes_at
from guard.store.transport.url import RedisURL
from guard.telemetry import rollups
from guard.telemetry.events import Event, Times

sys.path.insert(0, str(Path(__file__).parent))

from servers import cluster

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

NOON_US = 1_770_033_600 * 1_000_000
KEPT = 200
"""So many identities of an hour have a use of their own."""


class Noon:
    """A clock that stands at noon."""

    def seconds(self) -> float:
        return 0.0

    def date_us(self) -> int:
        return NOON_US


def event(identity: str, **fields: Any) -> Event:
    named: dict[str, Any] = {
        "request_id": "req_0123456789abcdef01234567",
        "tier": "default",
        "route": "/v1/chat/completions",
        "mode": Mode.ENFORCE,
        "action": Action.ALLOW,
        "reason": None,
        "limits": (),
        "status": 200,
        "input_tokens": 240,
        "output_tokens": 10,
        "store_error": None,
        "cost": 7,
        "model": "small-*",
        "times": Times(1.0, 0.003, 0.0005),
    }
    return Event(identity=identity, **{**named, **fields})


def summing(sink: Any) -> rollups.Rollups:
    return rollups.Rollups(
        sink,
        flush_seconds=3_600,
        identities=KEPT,
        half_life_us=259_200_000_000,
        now=lambda: NOON_US / 1e6,
    )


async def fill(store: OperatorStore, identities: int) -> None:
    hook = summing(store)
    for number in range(identities):
        label = f"key:{number:032x}"
        hook(event(label, input_tokens=number))
        hook(event(label, action=Action.LIMITED, reason=Reason.QUOTA, limits=("tokens",)))
        hook(event(label, band=Band.HIGH, risk=20.0))
        if number % 1_000 == 999:
            await hook.flush()
    await hook.aclose()


@pytest.fixture
async def own() -> AsyncIterator[tuple[OperatorStore, EmbeddedServer]]:
    """A store on a server of its own, whose counts of commands and bytes are this test's."""
    with TemporaryDirectory(prefix="guard-") as folder, EmbeddedServer(Path(folder)) as server:
        url = RedisURL.of_socket(server.socket)
        store = OperatorStore(Keys(secrets.token_bytes(16)), partial(nodes_at, url, PATIENCE_SECONDS))
        await store.start(required=True)
        yield store, server
        await store.aclose()


async def test_ten_times_the_identities_take_no_more_memory_and_no_larger_reads(
    own: tuple[OperatorStore, EmbeddedServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MOST_SUSPECTS", "MOST_REFUSED", "LONGEST_BOARD"):
        monkeypatch.setattr(f"guard.store.redis.rollups.{name}", KEPT)
    store, _ = own
    await fill(store, 1_000)
    few = await _memory(store)
    pages = [await _read(store, question) for question in _questions(store)]
    await fill(store, 10_000)
    assert await _memory(store) < 1.2 * few
    for before, question in zip(pages, _questions(store), strict=True):
        commands, size = await _read(store, question)
        assert commands < 1.2 * before[0] + 10  # a page's identities are in more shards, or in fewer
        assert size < 1.2 * before[1] + 1_000
    assert max(commands for commands, _ in pages[:3]) < 24 * 64


def _questions(store: OperatorStore) -> list[Callable[[], Coroutine[Any, Any, Any]]]:
    asked = Rollups(store, Noon(), 259_200_000_000)
    policy = Settings.model_validate({}).policy()
    impacts = Impacts(store, policy, Noon())
    return [
        partial(asked.busiest, By.TOKENS),
        partial(asked.busiest, By.RISK),
        partial(asked.traffic, NOON_US / 1e6 - 23 * HOUR, NOON_US / 1e6, 900),
        partial(impacts.of_block, Holder.parse(f"key:{7:032x}")),
        partial(impacts.of_block, Holder.parse("org:acme")),
    ]


async def _memory(store: OperatorStore) -> int:
    async with store.asking(PATIENCE_SECONDS) as client:
        keys = [key async for key in client.scan_iter(store.keys.rollup("*"), 1_000)]
        sizes = await asyncio.gather(*(client.memory_usage(key, samples=0) for key in keys))
    return sum(size or 0 for size in sizes)


async def _read(store: OperatorStore, question: Callable[[], Coroutine[Any, Any, Any]]) -> tuple[int, int]:
    """How many commands a question takes, and how many bytes come back."""

    async def stats() -> tuple[int, int]:
        async with store.asking(PATIENCE_SECONDS) as client:
            found = await client.info("stats")
        return found["total_commands_processed"], found["total_net_output_bytes"]

    await question()  # scripts and connections are there
    before = await stats()
    await question()
    after = await stats()
    return after[0] - before[0], after[1] - before[1]


async def test_a_request_costs_the_hook_a_few_calls() -> None:
    hook = summing(None)
    admitted = event("key:a")
    refused = event("key:a", action=Action.LIMITED, reason=Reason.QUOTA, limits=("tokens",))
    suspected = event("key:a", band=Band.HIGH, risk=20.0)
    for each in (admitted, refused, suspected):
        hook(each)
    assert calls(lambda: hook(admitted)) <= 7
    assert calls(lambda: hook(refused)) <= 13
    assert calls(lambda: hook(suspected)) <= 14
    hook._flushing.cancel()


@pytest.mark.slow
async def test_on_a_cluster_all_of_it_is_in_one_slot() -> None:
    with cluster(masters=3) as found:
        keys = Keys(secrets.token_bytes(16), together=True)
        url = f"redis+cluster://{','.join(master.address for master in found.masters)}"
        store = OperatorStore(keys, partial(nodes_at, RedisURL.parse(url), PATIENCE_SECONDS))
        await store.start(required=True)
        await fill(store, 300)
        asked = Rollups(store, Noon(), 259_200_000_000)
        page = await asked.busiest(By.TOKENS, 0, 5)
        assert [each.label for each in page.entries] == [f"key:{n:032x}" for n in range(299, 294, -1)]
        assert page.entries[0].use.refused == 1
        assert len((await asked.busiest(By.RISK, 0, 5)).entries) == 5
        assert len((await asked.traffic(NOON_US / 1e6 - HOUR, NOON_US / 1e6 + 1, HOUR)).buckets) >= 1
        assert (await asked.refusals([f"key:{7:032x}"]))[0].refusal.limits == ("tokens",)
        await store.forget_risk(f"key:{299:032x}")
        await store.aclose()
