"""How the servers of a store do: what `INFO`, the clock and the rights of guard's user say."""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import StrEnum
from statistics import median
from typing import TYPE_CHECKING, Any, Self

from redis.asyncio import RedisCluster

from guard.core.calendars import MICROSECONDS
from guard.store.redis.keys import PREFIX, TERMS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from redis.asyncio import Redis

    Call = Callable[..., Awaitable[Any]]
    """Sends a command to the node with the key that is named first; raises errors of redis-py."""

NOEVICTION = "noeviction"

SAMPLES = 15
"""Round trips that the latency is the median of."""

PROBED = PREFIX + "probed"
"""A key that nothing is kept under."""

NEEDED = (
    *(("EVAL", "return 1", "1", PROBED), ("EVALSHA", "0" * 40, "1", PROBED)),
    *(("GET", PROBED), ("SET", PROBED, "1"), ("GETRANGE", PROBED, "0", "1"), ("SETRANGE", PROBED, "0", "1")),
    *(("BITFIELD", PROBED, "GET", "u8", "0"), ("BITCOUNT", PROBED)),
    *(("DEL", PROBED), ("EXISTS", PROBED), ("PEXPIRE", PROBED, "1")),
    *(("HSET", PROBED, "a", "1"), ("HGETALL", PROBED), ("HSCAN", PROBED, "0"), ("HRANDFIELD", PROBED)),
    *(("ZADD", PROBED, "1", "a"), ("ZRANGE", PROBED, "0", "1"), ("ZREMRANGEBYSCORE", PROBED, "0", "1")),
    *(("XADD", PROBED, "*", "a", "1"), ("XRANGE", PROBED, "-", "+")),
    *(("SCAN", "0"), ("TIME",), ("INFO",)),
)
"""Of each kind of command that guard gives, one, as `ACL DRYRUN` tries it."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """The bound on a server's memory in bytes (0: none), what is used of it, and what it does when full."""

    maxmemory: int
    used: int
    policy: str

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Self:
        """The room of a server that has told this by `INFO memory`."""
        return cls(
            int(told.get("maxmemory", 0)), int(told.get("used_memory", 0)), str(told.get("maxmemory_policy"))
        )

    @property
    def forgets(self) -> bool:
        """Whether a full server drops keys: every key of guard has an expiry, so `volatile-` is no help."""
        return self.policy != NOEVICTION

    def __str__(self) -> str:
        bound = f"maxmemory {self.maxmemory >> 20} MB" if self.maxmemory else "no maxmemory"
        line = f"Redis has {bound}, uses {self.used >> 20} MB, and its maxmemory-policy is {self.policy}"
        if self.forgets:
            return (
                f"{line}: when it is full, it forgets counts, so whoever fills it gets more than the limits; "
                "set `noeviction`"
            )
        return f"{line}: when it is full, requests go by `on_store_error`"


class Persistence(StrEnum):
    """What of a server outlives it."""

    LOG = "an append-only file"
    SNAPSHOTS = "snapshots"
    NOTHING = "nothing so far"


@dataclass(frozen=True, slots=True)
class Node:
    """One server. `name` is empty where there is only one; `failed` says that it could not write to its disk
    the last time.
    """

    name: str
    software: str
    version: tuple[int, ...]
    capacity: Capacity
    persistence: Persistence
    failed: bool

    @classmethod
    def of(cls, name: str, told: Mapping[str, Any]) -> Self:
        """The server that has told this by `INFO`, of which managed servers leave parts out."""
        valkey = told.get("server_name") == "valkey"
        version = str(told.get("valkey_version" if valkey else "redis_version", ""))
        persistence, status = Persistence.NOTHING, "rdb_last_bgsave_status"
        if told.get("aof_enabled"):
            persistence, status = Persistence.LOG, "aof_last_write_status"
        elif told.get("rdb_saves"):
            persistence = Persistence.SNAPSHOTS
        return cls(
            name,
            "Valkey" if valkey else "Redis",
            tuple(int(part) for part in version.split(".") if part.isdigit()),
            Capacity.of(told),
            persistence,
            told.get(status) == "err",
        )

    @property
    def is_new_enough(self) -> bool:
        """Whether guard's scripts run on it."""
        return self.software == "Valkey" or self.version >= (7, 0)


@dataclass(frozen=True, slots=True)
class Condition:
    """How a store does. `latency` and `ahead` are in seconds: the time of a round trip, and by how much the
    store's clock is ahead of this machine's. `lacking` are commands that guard's user may not give, `None`
    where Redis does not say.
    """

    nodes: tuple[Node, ...]
    latency: float
    ahead: float
    lacking: tuple[str, ...] | None


async def capacity(client: Redis | RedisCluster) -> Capacity:
    """How much room a server has, by `INFO memory`, which managed servers allow; of a cluster the worst."""
    rooms = [Capacity.of(told) for told in (await info(client, "memory")).values()]
    return max(rooms, key=lambda each: (each.forgets, each.maxmemory > 0))


async def info(client: Redis | RedisCluster, *sections: str) -> dict[str, dict[str, Any]]:
    """What each server tells, by its name; a server that is alone has none."""
    if not isinstance(client, RedisCluster):
        return {"": await client.info(*sections)}
    told: dict[str, dict[str, Any]] = await client.info(*sections, target_nodes=RedisCluster.PRIMARIES)
    return told


async def measured(call: Call) -> tuple[float, float]:
    """The latency and how much the store's clock is ahead; see `Condition`."""
    samples = []
    for _ in range(SAMPLES):
        before = time.time()
        seconds, microseconds = await call(TERMS, "TIME")
        took = time.time() - before
        there = int(seconds) + int(microseconds) / MICROSECONDS
        samples.append((took, there - before - took / 2))
    # What took least says most about the clock.
    return median(took for took, _ in samples), min(samples)[1]


async def lacking(call: Call) -> tuple[str, ...]:
    """The commands that guard gives and its user may not give."""
    user = await call(TERMS, "ACL", "WHOAMI")
    replies = [await call(TERMS, "ACL", "DRYRUN", user, *command) for command in NEEDED]
    refused = (reply not in (b"OK", "OK") for reply in replies)
    return tuple(command[0] for command, each in zip(NEEDED, refused, strict=True) if each)
