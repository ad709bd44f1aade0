"""What tests share: a real redis-server for the session, and stores that do not see each other."""

from __future__ import annotations

import secrets
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest

from guard.store.embedded import EmbeddedServer
from guard.store.keys import Keys
from guard.store.redis import RedisStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


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
    """Where the server is."""
    return f"unix://{redis_server.socket}"


@pytest.fixture
def keys() -> Keys:
    """Names of one test's own: no other test sees its counts."""
    return Keys(secrets.token_bytes(16))


@pytest.fixture
async def store(redis_url: str, keys: Keys) -> AsyncIterator[RedisStore]:
    """A store that is empty, and patient: a slow test machine is not a store that is down."""
    store = RedisStore(keys, url=redis_url, deadline_seconds=5.0)
    yield store
    await store.aclose()
