"""Reading what Redis holds one by one: a value that cannot be read fails nothing, and is named."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from guard.core.calendars import MICROSECONDS
from guard.errors import DAMAGED, StoreError
from guard.store.redis.client import OPERATOR_SECONDS
from guard.store.redis.keys import TERMS
from guard.store.redis.store import RedisStore

if TYPE_CHECKING:
    from collections.abc import Iterator

_APART: ContextVar[dict[str, str] | None] = ContextVar("damaged", default=None)


@contextmanager
def damage_apart() -> Iterator[dict[str, str]]:
    """What is found damaged within, by itself: a store that stays open is asked by many."""
    found: dict[str, str] = {}
    token = _APART.set(found)
    try:
        yield found
    finally:
        _APART.reset(token)


class TolerantStore(RedisStore):
    """Takes a value that guard has not written, or not this version of it, for none, and keeps its name."""

    @property
    def damaged(self) -> dict[str, str]:
        """What was found damaged so far, by what it is, and how; in `damage_apart`, what was found there."""
        apart = _APART.get()
        return self._damaged if apart is None else apart

    @cached_property
    def _damaged(self) -> dict[str, str]:
        return {}

    async def _get(self, what: str, key: str) -> bytes:
        """The bytes at a key; none, where there are none, or something else."""
        try:
            async with self.asking() as client:
                return cast("bytes | None", await client.get(key)) or b""
        except StoreError as error:
            self.note_damage(what, error)
            return b""

    async def _hash(self, what: str, key: str) -> dict[bytes, bytes]:
        """Likewise of a hash, field by field."""
        try:
            async with self.asking() as client:
                return cast("dict[bytes, bytes]", await client.hgetall(key))
        except StoreError as error:
            self.note_damage(what, error)
            return {}

    def _read(self, what: str, reply: Any) -> bytes:
        """Likewise of a reply in a pipeline."""
        if isinstance(reply, Exception):
            self.note_damage(what, self._trouble(reply, OPERATOR_SECONDS))
            return b""
        return cast("bytes | None", reply) or b""

    async def _now_us(self) -> int:
        """The server's clock; on a cluster, that of the node with the terms."""
        reply = await self._nodes().call(TERMS, "TIME")
        return int(reply[0]) * MICROSECONDS + int(reply[1])

    def note_damage(self, what: str, error: StoreError) -> None:
        """Note that this is damaged, if that is what the error says; any other is raised."""
        if error.kind != DAMAGED:
            raise error
        self.damaged[what] = str(error)
