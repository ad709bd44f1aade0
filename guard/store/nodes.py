"""Where commands go: one Redis server, or several that share the keys.

The rest of the store asks `group` which keys one script may touch together, and `call` to send a command to
where a key lives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from redis.asyncio import ConnectionPool, Redis, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from guard.store.connection import ScriptConnection

if TYPE_CHECKING:
    from pathlib import Path

    from redis.asyncio import RedisCluster

CONNECT_SECONDS = 1.0


class Nodes(Protocol):
    """One or several servers, open on one event loop."""

    def group(self, key: str) -> int:
        """Keys of the same group may be touched by one script."""

    async def call(self, key: str, *arguments: str | int) -> Any:
        """The reply to one command, from the server where `key` lives."""

    async def connect(self, seconds: float) -> None:
        """Open what requests will need; raises redis-py's errors and `TimeoutError`."""

    def client(self) -> Redis | RedisCluster:
        """redis-py's client, for what no request waits for."""

    async def aclose(self) -> None:
        """Close every connection."""


class SingleNode:
    """One server, by its URL or its unix socket."""

    def __init__(
        self, url: str | None = None, *, socket: Path | None = None, deadline_seconds: float = 0.05
    ) -> None:
        options: dict[str, Any] = {
            "socket_timeout": None,  # deadlines are ours: they know a busy loop from a slow Redis
            "socket_connect_timeout": CONNECT_SECONDS,
            "retry": Retry(NoBackoff(), 0),
            "protocol": 3,
            "client_name": "guard",
        }
        if socket is not None:
            pool = ConnectionPool(UnixDomainSocketConnection, path=str(socket), **options)
        else:
            pool = ConnectionPool.from_url(url or "", **options)
        self._client = Redis.from_pool(pool)
        self._scripts = ScriptConnection(pool.make_connection, deadline_seconds)

    def group(self, key: str) -> int:
        """All keys live together."""
        return 0

    async def call(self, key: str, *arguments: str | int) -> Any:
        """The reply to one command."""
        return await self._scripts.call(*arguments)

    async def connect(self, seconds: float) -> None:
        """Open the scripts' connection."""
        await self._scripts.connect(seconds)

    def client(self) -> Redis:
        """redis-py's client."""
        return self._client

    async def aclose(self) -> None:
        """Close every connection."""
        await self._scripts.aclose()
        await self._client.aclose()
