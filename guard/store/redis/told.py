"""What somebody has been told of, or has ordered, already, so that of several processes one does it.

Each call is one command on one key, which is a keyed hash of what it is about and has an end.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, cast

from guard.store.redis.keys import PREFIX

if TYPE_CHECKING:
    from guard.store.redis.orders import OperatorStore

_TOLD = PREFIX + "told:"


class Told:
    """What has been told, in one store; every call raises `StoreError`."""

    def __init__(self, store: OperatorStore) -> None:
        self._store = store
        self._secret = store.keys.secret("told")

    async def first(self, about: tuple[str, ...], seconds: float) -> bool:
        """Whether nobody has asked this within the last so many seconds, or however many they named."""
        async with self._store.asking() as client:
            taken = await client.set(self._key(about), "1", nx=True, px=max(1, int(seconds * 1000)))
        return bool(taken)

    async def swap(self, about: tuple[str, ...], state: str, seconds: float) -> str | None:
        """Write down how something stands, for so long; returns how it stood, `None` where that is not
        known.
        """
        async with self._store.asking() as client:
            before = await client.set(self._key(about), state, px=max(1, int(seconds * 1000)), get=True)
        found = cast("bytes | None", before)
        return None if found is None else found.decode("utf-8", "replace")

    async def forget(self, about: tuple[str, ...]) -> None:
        """Have this count as never asked."""
        async with self._store.asking() as client:
            await client.delete(self._key(about))

    def _key(self, about: tuple[str, ...]) -> str:
        text = "\0".join(about).encode("utf-8", "surrogatepass")
        return _TOLD + hmac.digest(self._secret, text, "sha256")[:16].hex()
