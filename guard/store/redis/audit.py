"""Chains of records (guard/audit), as they are kept in Redis: a stream each, and its head beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from guard.core.chains import LAST_NUMBER, End, Entry, Head
from guard.store.redis.campaigns import RedisCampaigns
from guard.store.redis.keys import audit_head, audit_records
from guard.store.redis.scripts import Script

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guard.core.chains import Chain

APPEND = Script.load("chain")


class RedisAudit(RedisCampaigns):
    """Keeps chains beside the rest."""

    async def append_records(
        self, chain: Chain, after: End, entries: Sequence[Entry], head: str, keep_from: int, life_seconds: int
    ) -> End | None:
        """Append entries, and drop those before `keep_from`, if the chain ends so; else how it does."""
        keys = [audit_records(chain), audit_head(chain)]
        arguments: list[str | int | bytes] = [after.head, after.number, head, keep_from, life_seconds * 1000]
        for entry in entries:
            arguments += [entry.number, entry.text, entry.seal]
        told = await self._run(APPEND, keys, arguments)
        if not told:
            return None
        return End(told[0].decode(errors="replace"), int(told[1]), told[2])

    async def records_from(self, chain: Chain, first: int, count: int) -> list[Entry]:
        """At most so many entries, beginning with the first whose number is not below this."""
        if first > LAST_NUMBER:
            return []
        return await self._page(chain, str(max(0, first)), "+", count)

    async def records_back(self, chain: Chain, last: int | None, count: int) -> list[Entry]:
        """At most so many entries, the latest first, beginning with this number (`None`: with the last)."""
        return await self._page(chain, "+" if last is None else str(last), "-", count, back=True)

    async def chain_head(self, chain: Chain) -> Head | None:
        """The head of a chain; `None` where there is none, or nothing that is one."""
        async with self.asking() as client:
            text = cast("bytes | None", await client.get(audit_head(chain)))
        try:
            return None if text is None else Head.parse(text.decode(errors="replace"))
        except ValueError:
            return Head(0, b"", b"")  # which holds nowhere

    async def _page(
        self, chain: Chain, start: str, end: str, count: int, *, back: bool = False
    ) -> list[Entry]:
        """So many entries, and more of the last one's number, which others have put in: the next page begins
        with another number.
        """
        key = audit_records(chain)
        async with self.asking() as client:
            read = client.xrevrange if back else client.xrange
            found = cast("list[Any]", await read(key, start, end, count))
            if len(found) == count:
                last = found[-1][0].decode()
                found += cast("list[Any]", await read(key, f"({last}", last.partition("-")[0], count))
        return _entries(found)


def _entries(found: list[Any]) -> list[Entry]:
    entries = []
    for name, fields in found:
        number = int(name.partition(b"-")[0])
        entries.append(Entry(number, fields.get(b"r", b""), fields.get(b"s", b"")))
    return entries
