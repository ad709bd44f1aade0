"""`guard worker`, a Redis of its own, and what is left where either is killed."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from fleets import REFERENCE, Fleet, sharing_out
from patience import eventually

from guard.campaigns.worker import PASS_SECONDS, Worker
from guard.clock import SystemClock
from guard.core.campaigns import TieKind
from guard.core.pseudonyms import Pseudonyms
from guard.errors import StoreError
from guard.installation import Installation
from guard.settings.load import load
from guard.settings.root import Settings
from guard.store.memory.store import MemoryStore
from guard.store.redis.keys import LEAD

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from guard.campaigns.observation import Observation
    from guard.core.campaigns import Campaign

HYDRA = Fleet("hydra", sharing_out(), lambda _: {TieKind.PAYMENT: "visa"})


@pytest.fixture(scope="module")
def seen() -> list[Observation]:
    return HYDRA.observed()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    reference = tmp_path / "reference.json"
    REFERENCE.save(reference)
    file = tmp_path / "guard.toml"
    file.write_text(f'[detection]\nreference = "{reference}"\n[store]\ndeadline_ms = 60000\n')
    return file


@asynccontextmanager
async def opened(config: Path) -> AsyncIterator[Installation]:
    """The store of these settings; guard's own redis-server runs as long as anybody needs it."""
    installation = Installation.of(load(config))
    await installation.store.start()
    try:
        yield installation
    finally:
        await installation.store.aclose()


@asynccontextmanager
async def working(config: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """A `guard worker` with these settings, which is killed at the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "guard", "worker", "--config", str(config)),
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def found(installation: Installation, members: int) -> Campaign:
    """The campaign with so many members, when there is one."""

    async def there() -> bool:
        campaigns = await installation.store.campaigns()
        return any(len(each.members) == members for each in campaigns)

    await eventually(there)
    (campaign,) = await installation.store.campaigns()
    return campaign


def written(seen: Sequence[Observation]) -> list[bytes]:
    return [each.write() for each in seen]


async def test_it_is_found_by_one_that_goes_on_where_another_was_killed(
    config: Path, seen: list[Observation]
) -> None:
    async with opened(config) as installation:
        await installation.store.observe(written(seen[:300]))
        async with working(config) as first:
            before = await found(installation, 20)
            first.send_signal(signal.SIGKILL)
            await first.wait()
        later = Fleet("later", sharing_out(seed=77), lambda _: {TieKind.PAYMENT: "visa"}).observed(
            seen[-1].at_us
        )
        await installation.store.observe(written(seen[300:] + later))
        async with working(config):
            after = await found(installation, 40)
        assert after.id == before.id
        assert before.members.keys() < after.members.keys()


async def test_it_ends_when_it_is_told_to_and_lets_another_go_on(config: Path) -> None:
    async with opened(config) as installation, working(config) as process:

        async def leads() -> bool:
            async with installation.store.asking() as client:
                return await client.get(LEAD) is not None

        await eventually(leads)
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
        assert await installation.store.lead("another", 1.0)


async def test_a_membership_is_there_after_redis_was_killed(config: Path, seen: list[Observation]) -> None:
    async with opened(config) as installation:
        await installation.store.observe(written(seen))
        await Worker(installation.store, load(config), date_us=SystemClock().date_us).step()
        membership = await installation.store.membership(0)
        assert membership is not None
        assert len(membership.pools) == 20
        async with installation.store.asking() as client:
            server = (await client.info("server"))["process_id"]
        os.kill(server, signal.SIGKILL)

        async def there() -> bool:
            try:
                return await installation.store.membership(0) == membership
            except StoreError:
                return False

        await eventually(there)


async def test_without_the_store_it_waits_and_goes_on(
    seen: list[Observation], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("guard.campaigns.worker.PASS_SECONDS", PASS_SECONDS / 100)
    monkeypatch.setattr("guard.campaigns.worker.Reference.load", lambda _: REFERENCE)
    store = MemoryStore(SystemClock().date_us, keys=Pseudonyms(b"a pepper of the tests"))
    await store.observe(written(seen))
    keep, calls = store.keep_campaigns, 0

    async def failing(*arguments: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise StoreError("down", kind="connection")
        await keep(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "keep_campaigns", failing)
    running = asyncio.create_task(Worker(store, Settings(), date_us=SystemClock().date_us).run())

    async def kept() -> bool:
        return bool(await store.campaigns())

    await eventually(kept)
    running.cancel()
    assert "campaigns are not looked for" in caplog.text
