"""A Redis Cluster: each call goes to the master that serves its key's slot.

What redis-py knows of the cluster says which master that is, and it is brought up to date in the background,
once at a time, when a call shows that it is out of date: no call waits for that, except the first ones. A
server that serves a slot no longer names the one that does, and the call follows, once:

    MOVED  the slot lives elsewhere now: the call goes there
    ASK    the slot is on its way elsewhere, and this key has gone before: the call goes there, behind ASKING

Neither was executed before it was sent again. All else is an error: a master that is dead fails the calls
to its own slots, until a replica is promoted and has been found.
"""

from __future__ import annotations

import asyncio
import math
import random
from typing import TYPE_CHECKING, Any

from redis import exceptions
from redis.asyncio import RedisCluster
from redis.asyncio.cluster import ClusterNode, NodesManager
from redis.cluster import PRIMARY
from redis.crc import key_slot

from guard.store.transport.connection import ScriptConnection

if TYPE_CHECKING:
    from guard.store.transport.url import RedisURL

DISCOVERY_SECONDS = 3.0
"""The deadline for learning which master serves which slot."""

ANSWER_SECONDS = 1.0
"""The deadline for one node's answer, after which the next one is asked for what all of them know."""

PAUSE_SECONDS = 0.5
"""The time from one such question to the next, which chance makes up to half longer or shorter."""

LOST = (exceptions.ConnectionError, exceptions.TimeoutError, exceptions.ClusterDownError, OSError)
"""What a call ends with when it may have been sent to a master that is none any more."""

Address = tuple[str, int]


class ClusterNodes:
    """The masters of a cluster, with one connection to each that is called."""

    def __init__(self, url: RedisURL, deadline_seconds: float) -> None:
        self._url = url
        self._deadline_seconds = deadline_seconds
        options = {**url.options, "socket_timeout": ANSWER_SECONDS}
        node_options = {**options, "connection_class": url.connection_class}
        nodes = [ClusterNode(host, port, **node_options) for host, port in url.hosts]
        self._named_nodes = {node.name: node for node in nodes}
        # Without full coverage, the slots that are served are served.
        self._topology = NodesManager(nodes, require_full_coverage=False, connection_kwargs=node_options)
        self._client = RedisCluster(startup_nodes=nodes, require_full_coverage=False, ssl=url.tls, **options)
        self._connections: dict[Address, ScriptConnection] = {}
        self._discovery: asyncio.Task[str] | None = None
        self._next_discovery = -math.inf

    def group(self, key: str) -> int:
        """The hash slot."""
        return int(key_slot(key.encode()))

    async def call(self, key: str, *arguments: str | int | bytes) -> Any:
        """The reply to one command, sent to the master of this key's slot."""
        try:
            return await self._call(await self._master(self.group(key)), *arguments)
        except LOST:
            self._discover()
            raise

    async def connect(self, seconds: float) -> None:
        """Find the masters, and connect to all of them."""
        async with asyncio.timeout(seconds):
            await self._discovered(seconds)
            await asyncio.gather(*(self._connection(each).connect(seconds) for each in self._masters()))

    def client(self) -> RedisCluster:
        """A client for what no request waits for; it also raises `RedisClusterException`."""
        return self._client

    async def aclose(self) -> None:
        """Close all connections; calls that are waiting fail."""
        if self._discovery is not None:
            self._discovery.cancel()
            await asyncio.wait({self._discovery})
        await asyncio.gather(*(connection.aclose() for connection in self._connections.values()))
        await self._client.aclose()
        await self._topology.aclose()
        await self._topology.aclose("startup_nodes")

    async def _call(self, master: Address, *arguments: str | int | bytes) -> Any:
        try:
            return await self._connection(master).call(*arguments)
        except exceptions.MovedError as moved:
            self._discover()
            return await self._connection(_named(moved, master)).call(*arguments)
        except exceptions.AskError as ask:
            return await self._connection(_named(ask, master)).call(*arguments, asking=True)

    async def _master(self, slot: int) -> Address:
        slots = self._topology.slots_cache
        if not slots:
            await self._discovered(self._deadline_seconds)
            slots = self._topology.slots_cache
        if not slots.get(slot):
            raise exceptions.ClusterDownError(f"no node serves slot {slot}")
        return slots[slot][0].host, int(slots[slot][0].port)

    def _masters(self) -> set[Address]:
        masters = self._topology.get_nodes_by_server_type(PRIMARY)
        return {(node.host, int(node.port)) for node in masters}

    def _connection(self, address: Address) -> ScriptConnection:
        if address not in self._connections:
            self._connections[address] = ScriptConnection(
                lambda: self._url.new_connection(host=address[0], port=address[1]), self._deadline_seconds
            )
        return self._connections[address]

    async def _discovered(self, seconds: float) -> None:
        """Wait for what is known to be up to date."""
        discovery = self._discover()
        await asyncio.wait({discovery}, timeout=seconds)
        if not discovery.done():
            raise TimeoutError
        if discovery.cancelled() or discovery.result():
            raise exceptions.ConnectionError("closed" if discovery.cancelled() else discovery.result())

    def _discover(self) -> asyncio.Task[str]:
        """Bring up to date what is known, unless that was done a moment ago; the result says what failed."""
        now = asyncio.get_running_loop().time()
        if self._discovery is None or (self._discovery.done() and now >= self._next_discovery):
            self._discovery = asyncio.create_task(self._ask_nodes())
        return self._discovery

    async def _ask_nodes(self) -> str:
        try:
            async with asyncio.timeout(DISCOVERY_SECONDS):
                await self._topology.initialize()
        except TimeoutError:
            return "no node of the cluster answered in time"
        except IndexError:  # redis-py's, where it looks for the first master
            return "the cluster has no masters"
        except (exceptions.RedisError, exceptions.RedisClusterException, OSError) as error:
            return str(error)
        finally:
            # It asks only the nodes that it was told of last, which may be none, or none that lives.
            self._topology.startup_nodes = {**self._named_nodes, **self._topology.startup_nodes}
            pause = PAUSE_SECONDS * random.uniform(0.5, 1.5)  # noqa: S311 - no secret
            self._next_discovery = asyncio.get_running_loop().time() + pause
        for address in self._connections.keys() - self._masters():
            self._connections.pop(address).end()
        return ""


def _named(redirection: exceptions.AskError, asked: Address) -> Address:
    """The server that a redirection names; without a host it is another port of the one that was asked."""
    return redirection.host or asked[0], int(redirection.port)
