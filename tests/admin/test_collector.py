"""Gauges of what the store says, asked for by a scrape."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, Self

from fakes import Guarded, call
from patience import PATIENCE_SECONDS
from prometheus_client import CollectorRegistry, generate_latest

from guard.admin import collector
from guard.admin.collector import StoreCollector
from guard.admin.operator import Operator
from guard.core.campaigns import Verdict
from guard.demo.model import FakeModel
from guard.settings.root import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    MakeGuarded = Callable[..., Guarded]

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
TEN = {"name": "requests", "unit": "requests", "rate": "10/hour"}


async def scraped(settings: Settings) -> CollectorRegistry:
    """A registry that has asked the store, on a thread as the metrics port does."""
    registry = CollectorRegistry()
    registry.register(StoreCollector(settings))
    return registry


async def text_of(registry: CollectorRegistry) -> str:
    return (await asyncio.to_thread(generate_latest, registry)).decode()


async def test_it_says_who_looks_for_campaigns_and_how_many_are_held(guarded: MakeGuarded) -> None:
    app = guarded(FakeModel(), TEN)
    told = await text_of(await scraped(app.settings))
    for line in ("guard_worker_leads 0.0", "guard_worker_lag_queries 0.0", "guard_holders_held 0.0"):
        assert line in told.splitlines()
    assert all(f'guard_campaigns{{verdict="{verdict}"}} 0.0' in told for verdict in Verdict)
    assert "guard_limit_remaining" not in told


async def test_what_is_left_of_limits_is_told_of_the_busiest_alone(guarded: MakeGuarded) -> None:
    telemetry: dict[str, Any] = {"remaining": True, "busiest": 2}
    app = guarded(FakeModel(), TEN, telemetry=telemetry)
    for times, secret in ((1, "sk-idle"), (2, "sk-busy"), (3, "sk-busiest")):
        for _ in range(times):
            await call(app, body=CHAT, headers={"authorization": f"Bearer {secret}"})
    told = await text_of(await scraped(app.settings))
    left = [line for line in told.splitlines() if line.startswith("guard_limit_remaining{")]
    assert sorted(line.rpartition(" ")[2] for line in left) == ["7.0", "8.0"]
    assert all('limit="requests",unit="requests",window_seconds="3600"' in line for line in left)
    assert "sk-bus" not in told
    async with Operator(app.settings) as operator:
        names = {operator.label(entry.record) for entry in await operator.top(2)}
    assert {line.split('"')[1] for line in left} == names


async def test_a_store_that_is_down_leaves_its_gauges_out_and_fails_no_scrape() -> None:
    store = {"redis_url": "redis://127.0.0.1:1", "deadline_ms": 50}
    settings = Settings.model_validate({"store": store, "identity": {"pepper": "a pepper of the tests"}})
    told = await text_of(await scraped(settings))
    assert "guard_" not in told


async def test_a_store_that_hangs_holds_up_no_scrape(
    guarded: MakeGuarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Settings] = []
    go_on = threading.Event()

    class Hanging(Operator):
        async def __aenter__(self) -> Self:
            begun.append(self._settings)
            await asyncio.to_thread(go_on.wait)
            return await super().__aenter__()

    monkeypatch.setattr(collector, "Operator", Hanging)
    monkeypatch.setattr(collector, "ASK_SECONDS", PATIENCE_SECONDS)
    monkeypatch.setattr(collector, "WAIT_SECONDS", 0.01)
    registry = await scraped(guarded(FakeModel(), TEN).settings)
    for _ in range(3):
        assert "guard_" not in await text_of(registry)
    assert len(begun) == 1
    go_on.set()
    monkeypatch.setattr(collector, "WAIT_SECONDS", PATIENCE_SECONDS)
    assert "guard_worker_leads" in await text_of(registry)
    assert len(begun) == 1


async def test_the_store_is_asked_once_for_several_scrapes(
    guarded: MakeGuarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Settings] = []

    def counting(settings: Settings) -> Operator:
        opened.append(settings)
        return Operator(settings)

    monkeypatch.setattr(collector, "Operator", counting)
    registry = await scraped(guarded(FakeModel(), TEN).settings)
    for _ in range(3):
        assert "guard_worker_leads" in await text_of(registry)
    assert len(opened) == 1
    monkeypatch.setattr(collector, "KEPT_SECONDS", -1.0)
    await text_of(registry)
    assert len(opened) == 2
