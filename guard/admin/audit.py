"""The records of what was decided and ordered, as an operator asks for them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from guard.audit.chain import PAGE
from guard.audit.records import Kind, read_record
from guard.audit.verify import Verification, verify
from guard.core.chains import Chain, Head, Seals
from guard.errors import ConfigError, UnknownRequestError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from guard.core.chains import Entry
    from guard.core.pseudonyms import Pseudonyms
    from guard.store.redis.orders import OperatorStore

ANCHOR = "guard/audit-anchor/1"

ABOUT_THE_CHAIN = frozenset({Kind.BEGIN, Kind.TRIM})


@dataclass(frozen=True, slots=True)
class Kept:
    """One record as it is kept: of which chain, its number, what it says, and its seal."""

    chain: Chain
    number: int
    fields: Mapping[str, Any]
    seal: bytes

    @property
    def at_us(self) -> int:
        """When it was written, in Unix microseconds."""
        at: int = self.fields["at"]
        return at


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which records are asked for: those since a moment, of an identity (its label, or the start of it and
    `…`), of a verb or a kind, and of a request; `None` for all.
    """

    since_us: int = 0
    identity: str | None = None
    verb: str | None = None
    request: str | None = None

    def has(self, kept: Kept) -> bool:
        """Whether this is one."""
        fields = kept.fields
        if kept.at_us < self.since_us:
            return False
        if self.identity is not None and not _named(self.identity, fields):
            return False
        if self.verb is not None and self.verb not in (
            fields.get("verb"),
            fields.get("kind"),
            fields.get("action"),
            fields.get("reason"),
        ):
            return False
        return self.request is None or self.request in (fields.get("request"), fields.get("last_request"))


class Audit:
    """The chains of one store."""

    def __init__(self, store: OperatorStore, keys: Pseudonyms) -> None:
        self._store = store
        self._keys = keys

    async def records(self, wanted: Wanted, count: int | None = None) -> list[Kept]:
        """The latest records that are asked for, at most so many (`None`: all), the oldest first."""
        found = []
        for chain in Chain:
            found += await self._latest(chain, wanted.has, wanted.since_us, count)
        found.sort(key=lambda kept: (kept.at_us, kept.chain, kept.number))
        return found if count is None else found[len(found) - min(count, len(found)) :]

    async def after(self, numbers: dict[Chain, int], wanted: Wanted) -> list[Kept]:
        """The records behind these of each chain that are asked for; `numbers` are put forward."""
        found = []
        for chain in Chain:
            for entry in await self._store.records_from(chain, numbers.get(chain, 0) + 1, PAGE):
                numbers[chain] = entry.number
                kept = _kept(chain, entry)
                if kept is not None and wanted.has(kept):
                    found.append(kept)
        return sorted(found, key=lambda kept: kept.at_us)

    async def ends(self) -> dict[Chain, int]:
        """The number of the last record of each chain."""
        ends = {}
        for chain in Chain:
            latest = await self._store.records_back(chain, None, 1)
            ends[chain] = latest[0].number if latest else 0
        return ends

    async def request(self, request_id: str) -> Kept:
        """What is recorded of a request; raises `UnknownRequestError`."""
        found = await self.records(Wanted(request=request_id), 1)
        if not found:
            raise UnknownRequestError(
                f"there is no record of {request_id}: it was admitted, or was one of several equal refusals "
                "within a second, or its record is gone"
            )
        return found[0]

    async def every(self) -> AsyncIterator[tuple[Kept, Kept | None]]:
        """All records, each with the one before it in its chain, the oldest of each chain first."""
        for chain in Chain:
            before = None
            async for entry in self._entries(chain):
                kept = _kept(chain, entry)
                if kept is not None:
                    yield kept, before
                before = kept

    async def verify(self, anchor: Mapping[Chain, Head] | None = None) -> dict[Chain, Verification]:
        """Look whether somebody has tampered with the chains."""
        return {chain: await self._verified(chain, (anchor or {}).get(chain)) for chain in Chain}

    async def _verified(self, chain: Chain, anchor: Head | None) -> Verification:
        seals = Seals(self._keys, chain)
        while True:
            head = await self._store.chain_head(chain)
            entries = [entry async for entry in self._entries(chain)]
            found = verify(seals, entries, head, anchor)
            # Others may have appended and trimmed between the pages that were read.
            if not found.problems or await self._store.chain_head(chain) == head:
                return found

    async def anchor(self) -> dict[str, Any]:
        """The heads of all chains: what to keep somewhere else, as plain JSON."""
        heads = {chain: await self._store.chain_head(chain) for chain in Chain}
        return {
            "schema": ANCHOR,
            **{str(chain): str(head) for chain, head in heads.items() if head is not None},
        }

    async def count(self, names: list[str]) -> int:
        """How many records have one of these names anywhere in them."""
        texts = [json.dumps(name, ensure_ascii=False)[1:-1].encode() for name in names]
        count = 0
        for chain in Chain:
            async for entry in self._entries(chain):
                count += any(text in entry.text for text in texts)
        return count

    async def _latest(
        self, chain: Chain, has: Callable[[Kept], bool], since_us: int, count: int | None
    ) -> list[Kept]:
        found: list[Kept] = []
        last: int | None = None
        while count is None or len(found) < count:
            page = await self._store.records_back(chain, last, PAGE)
            for entry in page:
                kept = _kept(chain, entry)
                if kept is not None and kept.fields.get("kind") not in ABOUT_THE_CHAIN and has(kept):
                    found.append(kept)
            # A process whose clock is slow may have written an older moment behind a newer one.
            if len(page) < PAGE or page[-1].number <= 1 or _old(chain, page, since_us):
                break
            last = page[-1].number - 1
        return found[:count]

    async def _entries(self, chain: Chain, first: int = 0) -> AsyncIterator[Entry]:
        while page := await self._store.records_from(chain, first, PAGE):
            for entry in page:
                yield entry
            first = page[-1].number + 1


def read_anchor(text: str) -> dict[Chain, Head]:
    """The heads of an anchor; raises `ConfigError`."""
    try:
        fields = json.loads(text)
        if fields.get("schema") != ANCHOR:
            raise ValueError(f"its schema is not {ANCHOR}")
        return {chain: Head.parse(fields[chain]) for chain in Chain if chain in fields}
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise ConfigError(f"this is no anchor, as `guard audit anchor` writes it: {error}") from None


def _kept(chain: Chain, entry: Entry) -> Kept | None:
    try:
        return Kept(chain, entry.number, read_record(entry.text), entry.seal)
    except ValueError:
        return None


def _old(chain: Chain, page: list[Entry], since_us: int) -> bool:
    kept = [each for each in (_kept(chain, entry) for entry in page) if each is not None]
    return bool(kept) and all(each.at_us < since_us for each in kept)


def _named(name: str, fields: Mapping[str, Any]) -> bool:
    names = [str(fields.get(field, "")) for field in ("identity", "subject", "campaign")]
    start = name.removesuffix("…").removesuffix("...")
    return name in names if start == name else any(each.startswith(start) for each in names)
