"""The servers that make up one store, whether that is one server, a master that Sentinels know, or a cluster.

The rest of the store does not know which. It asks for the group of a key, since one script may touch the
keys of one group only, and has each call sent to where its key lives. A call is sent again in one case
only: where the server said, before executing it, that another one is to be asked.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any, Protocol

from redis import exceptions
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel

from guard.store.transport.cluster import ClusterNodes
from guard.store.transport.connection import ScriptConnection
from guard.store.transport.url import Kind, RedisURL

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from redis.asyncio import RedisCluster
    from redis.asyncio.connection import AbstractConnection

SENTINEL_SECONDS = 0.5
"""The deadline for one Sentinel, after which the next one is asked."""

FOLLOW_SECONDS = 1.0
"""Sentinels are asked this often who the master is."""


class Nodes(Protocol):
    """The servers of one store, on one event loop.

    Errors are those of redis-py, and `TimeoutError`. Each step of a call (to have a connection, to have the
    reply) ends within the deadline; a call to a server that is connected and well has the second step only.
    """

    def group(self, key: str) -> int:
        """Keys of equal group may be touched by one script."""

    def call(self, key: str, *arguments: str | int | bytes) -> Awaitable[Any]:
        """The reply to one command, sent to where this key lives."""

    async def connect(self, seconds: float) -> None:
        """Find the servers and connect to them, or raise what stands against it."""

    def client(self) -> Redis | RedisCluster:
        """A client for what no request waits for."""

    async def aclose(self) -> None:
        """Close all connections; calls that are waiting fail."""


def nodes_at(url: RedisURL, deadline_seconds: float) -> Nodes:
    """The servers at a URL; nothing is connected yet."""
    match url.kind:
        case Kind.SINGLE:
            return SingleNode(url, deadline_seconds)
        case Kind.SENTINEL:
            return SentinelNodes(url, deadline_seconds)
        case Kind.CLUSTER:
            return ClusterNodes(url, deadline_seconds)


class SingleNode:
    """One server, whose name is looked up anew with each connection."""

    def __init__(self, url: RedisURL, deadline_seconds: float) -> None:
        self._client = Redis.from_pool(ConnectionPool(url.connection_class, **url.first, **url.options))
        self._scripts = ScriptConnection(lambda: url.new_connection(**url.first), deadline_seconds)

    def group(self, key: str) -> int:
        """All keys live together."""
        return 0

    def call(self, key: str, *arguments: str | int | bytes) -> Awaitable[Any]:
        """The reply to one command."""
        return self._scripts.call(*arguments)

    async def connect(self, seconds: float) -> None:
        """Connect to the server."""
        await self._scripts.connect(seconds)

    def client(self) -> Redis:
        """A client for what no request waits for."""
        return self._client

    async def aclose(self) -> None:
        """Close all connections; calls that are waiting fail."""
        await self._scripts.aclose()
        await self._client.aclose()


class SentinelNodes:
    """The master of a service, which Sentinels are asked for with each new connection.

    Sentinels cut a master's connections when they demote it, and a replica refuses scripts that write: then
    they are asked again, and what was refused as READONLY is sent again. But where they promote a replica
    while the master is well, they demote it only some ten seconds later, and what it counts until then is
    lost. So they are also asked in the background, about once a second, who the master is.
    """

    def __init__(self, url: RedisURL, deadline_seconds: float) -> None:
        self._url = url
        timeouts = {"socket_timeout": SENTINEL_SECONDS, "socket_connect_timeout": SENTINEL_SECONDS}
        options = {**url.sentinel_options, **timeouts, "ssl": url.tls}
        self._sentinel = Sentinels(url.hosts, sentinel_kwargs=options)  # type: ignore[no-untyped-call]
        self._client: Redis = self._sentinel.master_for(url.service, ssl=url.tls, **url.options)
        self._scripts = ScriptConnection(self._new_connection, deadline_seconds)
        self._master: tuple[str, int] | None = None
        self._following: asyncio.Task[None] | None = None
        self._next_question = -math.inf

    def group(self, key: str) -> int:
        """All keys live together."""
        return 0

    async def call(self, key: str, *arguments: str | int | bytes) -> Any:
        """The reply to one command."""
        self._follow_soon()
        try:
            return await self._scripts.call(*arguments)
        except exceptions.ReadOnlyError:
            return await self._scripts.call(*arguments)

    async def connect(self, seconds: float) -> None:
        """Find the master, and connect to it."""
        await self._scripts.connect(seconds)

    def client(self) -> Redis:
        """A client for what no request waits for."""
        return self._client

    async def aclose(self) -> None:
        """Close all connections; calls that are waiting fail."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait({self._following})
        await self._scripts.aclose()
        await self._client.aclose()
        await asyncio.gather(*(sentinel.aclose() for sentinel in self._sentinel.sentinels))

    async def _new_connection(self) -> AbstractConnection:
        self._master = await self._sentinel.discover_master(self._url.service)
        host, port = self._master
        return self._url.new_connection(host=host, port=port)

    def _follow_soon(self) -> None:
        """Ask who the master is, unless that was done a moment ago."""
        now = asyncio.get_running_loop().time()
        if now >= self._next_question and (self._following is None or self._following.done()):
            self._next_question = now + FOLLOW_SECONDS
            self._following = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        """Leave a master that is none any more; the next call finds the one that is."""
        try:
            master = await self._sentinel.discover_master(self._url.service)
        except (exceptions.RedisError, OSError):
            return
        if self._master is not None and master != self._master:
            self._scripts.retire()


class Sentinels(Sentinel):
    """redis-py's Sentinels, whose error would tell all that it knows of each connection."""

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        """Host and port of the master, by the first Sentinel that knows one which is up."""
        try:
            host, port = await super().discover_master(service_name)
        except MasterNotFoundError:
            raise MasterNotFoundError(f"no Sentinel knows a master of {service_name!r}") from None
        return host, int(port)
