"""Forgetting an identity: all of Redis is swept for what is kept under its names, and swept again as proof.

What one identity has alone stands under keys with its digest in their names. What many have together are
hashes, sorted sets and streams, in which it is found by its label or its digest. Strings that many share
(tables of lineage, counters) hold no names. So nothing has to know what there is: what a later version keeps
by the same rules is found too.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from guard.store.redis.keys import PREFIX, REVIEW_FIELDS, TERMS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from guard.store.redis.tolerant import TolerantStore

READ_AT_ONCE = 1_000
"""How many keys, fields or entries are looked at in one round trip."""

SWEEP_SECONDS = 3_600.0
"""A sweep that takes longer has failed."""

_OWN = re.compile(rf"{PREFIX}\{{[0-9a-f]{{32}}\}}")
"""What the key of one holder begins with."""


class Names:
    """The names of one identity: its labels, and the digests of these."""

    def __init__(self, labels: Collection[str], digests: Collection[str]) -> None:
        self._labels = frozenset(each.encode() for each in labels)
        self._digests = frozenset(each.encode() for each in digests)
        # Behind a plus is what it is a part of: `key:alice+model:m`.
        self._parts = tuple(each + b"+" for each in self._labels)
        quoted = (json.dumps(each).encode() for each in labels)
        self._written = (*self._parts, *quoted, *map(_packed, self._labels))

    def has(self, key: str) -> bool:
        """Whether a key is the identity's own."""
        return any(part.encode() in self._digests for part in re.split("[{}:]", key))

    def is_in(self, name: bytes) -> bool:
        """Whether a field or a member of a key that many share is the identity's."""
        digest = name.removeprefix(REVIEW_FIELDS.encode()).partition(b"/")[0]
        return digest in self._digests or name in self._labels or name.startswith(self._parts)

    def are_in(self, value: bytes) -> bool:
        """Whether a value names the identity, as JSON or as MessagePack writes it."""
        return any(each in value for each in self._written)


@dataclass(slots=True)
class Swept:
    """What a sweep has found of an identity: how many keys of its own, and by key that many share, how many
    fields, members or entries; `searched` is how many keys it has looked at.
    """

    searched: int = 0
    own: int = 0
    shared: dict[str, int] = field(default_factory=dict)

    @property
    def found(self) -> int:
        """How much that is."""
        return self.own + sum(self.shared.values())


async def sweep(
    store: TolerantStore,
    names: Names,
    *,
    remove: bool,
    beside: tuple[str, ...],
    progress: Callable[[int], None] = lambda _: None,
) -> Swept:
    """Look for an identity in all that guard keeps, but for keys that begin so (`beside`), and remove what is
    found, or not. `progress` is told how many keys were looked at. Raises `StoreError`.
    """
    swept, shared = Swept(), []
    async with store.asking(SWEEP_SECONDS) as client:
        batch: list[str] = []
        async for name in client.scan_iter(f"{PREFIX}*", READ_AT_ONCE):
            key = cast("bytes", name).decode(errors="replace")
            swept.searched += 1
            if names.has(key):
                batch.append(key)
            elif not _OWN.match(key) and not key.startswith(beside):
                shared.append(key)
            if swept.searched % READ_AT_ONCE == 0:
                progress(swept.searched)
        swept.own = len(batch)
        for key in batch if remove else ():
            await client.unlink(key)
    for key in shared:
        if count := await _sweep_one(store, key, names, remove=remove):
            swept.shared[key] = count
    return swept


async def _sweep_one(store: TolerantStore, key: str, names: Names, *, remove: bool) -> int:
    """How much there is of an identity in one key that many share."""
    async with store.asking(SWEEP_SECONDS) as client:
        kind = cast("bytes", await client.type(key)).decode()
        found: list[Any] = []
        if kind == "hash":
            fields = [each async for each in client.hscan_iter(key, count=READ_AT_ONCE)]
            # A term is whom its field names; its text is what a person has said, perhaps of others too.
            in_texts = key != TERMS
            found = [
                name for name, value in fields if names.is_in(name) or (in_texts and names.are_in(value))
            ]
            take: Any = client.hdel
        elif kind == "zset":
            found = [
                each async for each, _ in client.zscan_iter(key, count=READ_AT_ONCE) if names.is_in(each)
            ]
            take = client.zrem
        elif kind == "stream":
            last: Any = "-"
            while entries := cast("list[Any]", await client.xrange(key, last, "+", READ_AT_ONCE)):
                found += [place for place, fields in entries if any(map(names.are_in, fields.values()))]
                last = b"(" + entries[-1][0]
            take = client.xdel
        for start in range(0, len(found) if remove else 0, READ_AT_ONCE):
            await take(key, *found[start : start + READ_AT_ONCE])
    return len(found)


def _packed(label: bytes) -> bytes:
    """A text as MessagePack writes it, up to 255 bytes."""
    size = len(label)
    return (bytes([0xA0 | size]) if size < 32 else bytes([0xD9, min(255, size)])) + label
