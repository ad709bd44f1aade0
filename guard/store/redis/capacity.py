"""What becomes of counts when Redis is full: what its `maxmemory` and its policy say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from redis.asyncio import Redis, RedisCluster

NOEVICTION = "noeviction"


@dataclass(frozen=True, slots=True)
class Capacity:
    """The bound on a server's memory in bytes (0: none), what is used of it, and what it does when full."""

    maxmemory: int
    used: int
    policy: str

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


async def capacity(client: Redis | RedisCluster) -> Capacity:
    """How much room a server has, by `INFO memory`, which managed servers allow; of a cluster the worst."""
    told: dict[str, Any] = await client.info("memory")
    nodes = [each for each in told.values() if isinstance(each, dict)] or [told]
    rooms = [
        Capacity(
            int(node.get("maxmemory", 0)), int(node.get("used_memory", 0)), str(node.get("maxmemory_policy"))
        )
        for node in nodes
    ]
    return max(rooms, key=lambda each: (each.forgets, each.maxmemory > 0))
