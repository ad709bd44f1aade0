"""Whose store it is: a fingerprint of the pepper that names its keys.

Another pepper names other keys. A worker with one would count beside the others, and a command with one would
report of nothing and block nobody, without an error. So the first process with a pepper leaves its
fingerprint in the store, and every later one compares. A store that was emptied is claimed again by the next
process that looks, once in `reload_seconds`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from guard.store.redis.keys import FINGERPRINT

if TYPE_CHECKING:
    from redis.asyncio import Redis, RedisCluster

    from guard.store.redis.keys import Keys

CLAIM_SECONDS = 10 * 365 * 86_400
"""Every key has an expiry."""

FOREIGN = (
    "identity.pepper is another one than that of the counts in this store; set the pepper that the other "
    "processes have, or name another database in store.redis_url. To change the pepper, which forgets all "
    f"counts and blocks, stop all processes and delete the key {FINGERPRINT}"
)


async def claim(client: Redis | RedisCluster, keys: Keys) -> bool:
    """Whether the store is this pepper's; one that is nobody's is from now on."""
    found = cast("bytes | None", await client.get(FINGERPRINT))
    if found is None:
        await client.set(FINGERPRINT, keys.fingerprint, nx=True, ex=CLAIM_SECONDS)
        found = cast("bytes | None", await client.get(FINGERPRINT))
    return found is None or found.decode() == keys.fingerprint
