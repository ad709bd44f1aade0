"""Appends records to a chain that several processes write to, and lets the oldest go.

Nobody holds a lock. Who writes seals its records behind the head that it knows, and the store takes them if
that is still the head; else it says which one is, and they are sealed once more. So a writer that dies has
written all of a batch or none, and nobody waits for it.

Every writer remembers the last head that it has seen. Where it finds that the chain does not go on from
there, or that records and head do not fit, it goes on all the same and writes a record that says so.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Protocol

from guard.audit.records import Kind, read_record, record, written
from guard.core.calendars import MICROSECONDS
from guard.core.chains import LAST_NUMBER, Chain, End, Entry, Head, Retention, Seals
from guard.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from guard.core.pseudonyms import Pseudonyms

TRIES = 20
"""Compare-and-set attempts when several processes write at the same time."""

PAUSE_SECONDS = 0.01
"""About how long is waited before another attempt, times how many there were."""

LOOK_SECONDS = 600
"""How often a writer looks whether records are too old."""

SLACK = 20
"""One part in so many more than the most may be there before they are trimmed."""

PAGE = 1_000
"""Maximum number of records that are read at once."""


class ChainStore(Protocol):
    """What a chain is kept in; every call raises `StoreError`."""

    async def append_records(
        self, chain: Chain, after: End, entries: Sequence[Entry], head: str, keep_from: int, life_seconds: int
    ) -> End | None:
        """Append entries, and drop those before `keep_from`, if the chain ends so; else how it does."""

    async def records_from(self, chain: Chain, first: int, count: int) -> list[Entry]:
        """At most so many entries, beginning with the first whose number is not below this."""

    async def records_back(self, chain: Chain, last: int | None, count: int) -> list[Entry]:
        """At most so many entries, the latest first, beginning with this number (`None`: with the last)."""

    async def chain_head(self, chain: Chain) -> Head | None:
        """The head of a chain; `None` where there is none, and one that holds nowhere for what is no head."""


class ChainWriter:
    """Appends to one chain; `retention` may be replaced."""

    def __init__(self, store: ChainStore, keys: Pseudonyms, chain: Chain, retention: Retention) -> None:
        self.retention = retention
        self._store = store
        self._chain = chain
        self._seals = Seals(keys, chain)
        self._end = End()
        self._seen: Head | None = None
        self._seen_us = 0
        self._appended = 0
        self._looked_us = 0
        self._writing = asyncio.Lock()

    async def append(self, records: Sequence[Mapping[str, Any]], now_us: int) -> None:
        """Append records, which were made until now (Unix microseconds). Raises `StoreError`."""
        async with self._writing:
            trim = await self._to_trim(now_us, len(records))
            for tries in range(TRIES):
                if await self._try(records, trim, now_us):
                    return
                await asyncio.sleep(random.uniform(0, PAUSE_SECONDS * tries))  # noqa: S311 - no secret
        raise StoreError(
            f"{TRIES} others have written to the chain of {self._chain} first", kind="contention"
        )

    async def _try(self, records: Sequence[Mapping[str, Any]], trim: Entry | None, now_us: int) -> bool:
        number, before, first = self._going_on(now_us)
        texts = [*first, *records]
        if number > LAST_NUMBER - len(texts) - 1:
            raise StoreError(f"the chain of {self._chain} is damaged in Redis: delete it", kind="damaged")
        if trim is not None:
            texts.append(record(Kind.TRIM, now_us, first=trim.number + 1, before=trim.seal.hex()))
        entries = []
        for fields in texts:
            number += 1
            text = written(fields)
            before = self._seals.seal(before, number, text)
            entries.append(Entry(number, text, before))
        head = self._seals.head(number, before)
        keep_from = 0 if trim is None else trim.number + 1
        life_seconds = int(self.retention.keep_seconds)
        end = await self._store.append_records(
            self._chain, self._end, entries, str(head), keep_from, life_seconds
        )
        # An append whose answer was lost is found done at the next try.
        if end is not None and end.head != str(head):
            self._end = end
            return False
        self._end = End(str(head), number, before)
        self._seen, self._seen_us = head, now_us
        self._appended += len(records)
        return True

    def _going_on(self, now_us: int) -> tuple[int, bytes, list[dict[str, Any]]]:
        """The number and the seal behind which the next record stands, and records about how that is."""
        end, seen = self._end, self._seen
        head = self._head(end.head)
        if not end.head and not end.number:
            fresh = seen is not None and now_us - self._seen_us < self.retention.keep_seconds * MICROSECONDS
            gone = seen.number if seen is not None and fresh else None
            return 0, self._seals.first, [record(Kind.BEGIN, now_us, chain=secrets.token_hex(8), gone=gone)]
        broken = []
        if head is None:
            broken.append("the head was missing or false")
        elif (head.number, head.seal) != (end.number, end.seal):
            broken.append(f"the head was of record {head.number}, and the last record {end.number}")
        if seen is not None and end.number < seen.number and (head is None or head.number < seen.number):
            broken.append(f"record {seen.number} had been written before")
        number = max(end.number, head.number if head else 0, seen.number if broken and seen else 0)
        before = head.seal if head is not None and head.number >= end.number else end.seal
        said = [record(Kind.BREAK, now_us, found="; ".join(broken))] if broken else []
        return number, before or self._seals.first, said

    def _head(self, text: str) -> Head | None:
        try:
            head = Head.parse(text)
        except ValueError:
            return None
        return head if self._seals.holds(head) else None

    async def _to_trim(self, now_us: int, count: int) -> Entry | None:
        """The last entry that may go, if it is time to let any go."""
        step = max(1, self.retention.most // SLACK)
        if self._appended + count < step and now_us - self._looked_us < LOOK_SECONDS * MICROSECONDS:
            return None
        self._appended, self._looked_us = 0, now_us
        latest = await self._store.records_back(self._chain, None, 1)
        oldest = await self._store.records_from(self._chain, 0, 1)
        if not latest or not oldest:
            return None
        last_to_go = None
        cutoff_us = now_us - int(self.retention.keep_seconds * MICROSECONDS)
        if at_of(oldest[0]) < cutoff_us:
            page = await self._store.records_from(self._chain, 0, PAGE)
            last_to_go = list(takewhile(lambda entry: at_of(entry) < cutoff_us, page))[-1]
        surplus = latest[0].number + count - self.retention.most
        if surplus - oldest[0].number < step:
            return last_to_go
        found = await self._store.records_from(self._chain, surplus, 1)
        return max((last_to_go, *found), key=lambda entry: entry.number if entry else 0)


def at_of(entry: Entry) -> int:
    """When an entry was written, in Unix microseconds; 0 where it does not say."""
    try:
        at: int = read_record(entry.text)["at"]
    except ValueError:
        return 0
    return at
