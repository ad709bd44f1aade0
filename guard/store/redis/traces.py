"""What campaigns are found by, as it is kept in Redis: a stream of traces, and which process reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from guard.core.campaigns import Lag
from guard.errors import StoreError
from guard.store.port import FIRST_TRACE, MOST_TRACES, TRACES_SECONDS
from guard.store.redis.keys import LEAD, READ, TRACES
from guard.store.redis.scripts import Script
from guard.store.redis.tolerant import TolerantStore

if TYPE_CHECKING:
    from collections.abc import Sequence

LEADING = Script.load("lead")
OBSERVE = Script.load("observe")
LAG = Script.load("lag")


class RedisTraces(TolerantStore):
    """Keeps about the latest `most_traces`."""

    most_traces = MOST_TRACES

    async def lead(self, name: str, seconds: float, read: str | None = None) -> bool:
        """Be the one process that looks for campaigns, or go on being it; and say up to where it has read."""
        for_ms, kept_ms = max(1, int(seconds * 1000)), TRACES_SECONDS * 1000
        return bool(await self._run(LEADING, [LEAD, READ], [name, for_ms, read or "", kept_ms]))

    async def is_led(self) -> bool:
        """Whether a process looks for campaigns now."""
        async with self.asking() as client:
            return bool(await client.exists(LEAD))

    async def resign(self, name: str) -> None:
        """Let another process do it, if it was this one."""
        await self._run(LEADING, [LEAD, READ], [name, 0, "", 0])

    async def observe(self, records: Sequence[bytes]) -> None:
        """Add traces; of all that are kept, the oldest go."""
        if records:
            await self._run(OBSERVE, [TRACES], [self.most_traces, TRACES_SECONDS * 1000, *records])

    async def traces(self, after: str, count: int) -> list[tuple[str, bytes]]:
        """The next traces after this one, at most so many."""
        first = "-" if after == FIRST_TRACE else f"({after}"
        async with self.asking() as client:
            found = cast("list[Any]", await client.xrange(TRACES, first, "+", count))
        return [(name.decode(), fields.get(b"trace", b"")) for name, fields in found]

    async def lag(self) -> Lag:
        """How far behind it is who looks for campaigns, or was who did so last."""
        try:
            traces, waited_ms = await self._run(LAG, [TRACES, READ], [])
        except StoreError as error:
            self.note_damage("what campaigns are found by", error)
            return Lag()
        return Lag(traces, waited_ms / 1000)
