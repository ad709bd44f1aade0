"""What tests share: a real redis-server for the session, and stores that do not see each other."""

from __future__ import annotations

import os
import secrets
import sys
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
from redis import Redis

from guard.settings.root import Settings
from guard.store.embedded.server import EmbeddedServer
from guard.store.redis.keys import Keys
from guard.store.redis.orders import OperatorStore
from guard.store.transport.nodes import nodes_at
from guard.store.transport.url import RedisURL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator

    from starlette.types import ASGIApp

    from guard.telemetry.events import Hook

# `tests/fakes.py` is imported by name; with `--import-mode=importlib` nothing else puts it on the path.
sys.path.insert(0, str(Path(__file__).parent))

from fakes import Clock, Guarded, Inline
from patience import PATIENCE_SECONDS

# A slow machine is no counterexample. `make fuzz` takes the large profile.
_SLOW = [hypothesis.HealthCheck.too_slow]
hypothesis.settings.register_profile("small", deadline=None, suppress_health_check=_SLOW, max_examples=25)
hypothesis.settings.register_profile("large", deadline=None, suppress_health_check=_SLOW, max_examples=500)
hypothesis.settings.load_profile("small")


@pytest.fixture(autouse=True)
def inline_analyst(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test starts an analyst's process unasked: apps read on their event loop, programs in a thread. And
    none looks for campaigns: tests share a Redis, each with a pepper of its own.
    """
    monkeypatch.setattr("guard.analyst.ways.link_of", Inline)
    monkeypatch.setenv("GUARD_DETECTION__ANALYST", "thread")
    monkeypatch.setenv("GUARD_CAMPAIGNS__WORKER", "apart")


@pytest.fixture(scope="session")
def redis_server() -> Iterator[EmbeddedServer]:
    """A redis-server on a unix socket; it stops when the tests do."""
    with (
        TemporaryDirectory(prefix="guard-", ignore_cleanup_errors=True) as folder,
        EmbeddedServer(Path(folder)) as server,
    ):
        yield server


@pytest.fixture
def redis_url(redis_server: EmbeddedServer) -> str:
    """Where the server is, which knows nothing of other tests."""
    with Redis(unix_socket_path=str(redis_server.socket)) as client:
        client.flushdb()
    return f"unix://{redis_server.socket}"


@pytest.fixture
def keys() -> Keys:
    """Names of one test's own: no other test sees its counts."""
    return Keys(secrets.token_bytes(16))


@pytest.fixture
async def store(redis_url: str, keys: Keys) -> AsyncIterator[OperatorStore]:
    """A store that is empty, and patient: a slow test machine is not a store that is down."""
    store = OperatorStore(keys, partial(nodes_at, RedisURL.parse(redis_url), 60.0), deadline_seconds=60.0)
    yield store
    await store.aclose()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The engine's clock, which the test may put forward."""
    clock = Clock()
    monkeypatch.setattr("guard.clock.time", clock)
    return clock


@pytest.fixture
def make_settings(redis_url: str) -> Callable[..., Settings]:
    """Settings on the test's own part of the server: `make_settings(limits, **sections)`."""
    pepper = secrets.token_hex(16)

    def make(*limits: dict[str, Any], **sections: Any) -> Settings:
        identity = {"pepper": pepper, **sections.pop("identity", {})}
        store = {"redis_url": redis_url, "deadline_ms": 60_000, **sections.pop("store", {})}
        tiers = sections.pop("tiers", {"default": {"limits": limits}})
        return Settings.model_validate({"store": store, "identity": identity, "tiers": tiers, **sections})

    return make


@pytest.fixture
async def guarded(
    make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Callable[..., Guarded]]:
    """Apps behind guard: `guarded(app, limits…, hooks=…, **sections)`; they are closed after the test."""
    # On a busy machine Redis may answer later than an operator would wait for.
    monkeypatch.setattr("guard.store.redis.client.OPERATOR_SECONDS", PATIENCE_SECONDS)
    monkeypatch.setattr("guard.store.transport.connection.OPEN_SECONDS", PATIENCE_SECONDS)
    made: list[Guarded] = []

    def make(app: ASGIApp, *limits: dict[str, Any], hooks: Iterable[Hook] = (), **sections: Any) -> Guarded:
        made.append(Guarded(app, make_settings(*limits, **sections), hooks))
        return made[-1]

    yield make
    for each in made:
        await each.middleware.aclose()


LONG = (
    *("test_serve.py", "test_chaos.py", "test_nodes.py", "test_exact.py", "test_calibrate.py"),
    *("test_embedded.py", "test_sdks.py", "test_sdks_reshaped.py", "test_cli.py", "test_fold.py"),
    *("test_model.py", "test_reference.py", "test_shared.py"),
)
"""Files that take long, the longest first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take long, so that no process is left alone with one at the end."""
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))


def pytest_xdist_auto_num_workers() -> int:
    """One process more than there are cores, since some wait for servers."""
    return len(os.sched_getaffinity(0)) + 1 if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1) + 1


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--model-examples", default="20", help="runs of 50 steps of the store against its model")
    parser.addoption("--soak", action="store_true", help="send a hundred thousand queries")
    parser.addoption("--chaos", action="store_true", help="let the chaos last, at 500 requests a second")
