"""The keys that guard has issued, as they are kept in Redis: decision 0032 says why so.

A hash that has each key's text under its name, and beside it the version in which each was written, so that a
process which knows one version asks for what was written since.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast

from guard.errors import StoreError
from guard.store.issued import read_issued, write_issued
from guard.store.port import NONE_ISSUED, IssuedPage
from guard.store.redis.keys import ISSUED, ISSUED_ENDS, ISSUED_VERSIONS
from guard.store.redis.scripts import Script
from guard.store.redis.tolerant import TolerantStore

if TYPE_CHECKING:
    from guard.core.issued import IssuedKey

MOST_ISSUED = 1_000_000
"""Maximum number of keys that are kept, with those that have ended."""

READ_AT_ONCE = 250
"""Maximum number of keys that are read in one round trip: who reads them takes about 4 ms."""

ISSUE = Script.load("issue")
ISSUED_SINCE = Script.load("issued")

_PLACES = [ISSUED, ISSUED_VERSIONS, ISSUED_ENDS]


class RedisIssued(TolerantStore):
    """Keeps the keys that guard has issued."""

    async def issued_since(self, version: int) -> IssuedPage:
        """Those that were written after a version (0: all), as many as one call should take."""
        try:
            about, count, now_us, *rest = await self._eval(ISSUED_SINCE, version, READ_AT_ONCE)
        except StoreError as error:
            self.note_damage("the issued keys", error)
            return NONE_ISSUED
        names, versions, texts = rest[::3], rest[1::3], rest[2::3]
        return IssuedPage(
            _about(about),
            int(count),
            int(now_us),
            [
                (name.decode(errors="replace"), int(float(written)), text)
                for name, written, text in zip(names, versions, texts, strict=True)
            ],
            last=len(names) < READ_AT_ONCE,
        )

    async def issued_version(self) -> str:
        """The epoch and the version of all keys; empty where there are none."""
        try:
            async with self.asking() as client:
                return _about(cast("bytes | None", await client.hget(ISSUED, "")) or b"")
        except StoreError as error:
            self.note_damage("the issued keys", error)
            return ""

    async def issued_text(self, name: str) -> bytes:
        """How a key is written down; empty where there is none of this name."""
        async with self.asking() as client:
            return cast("bytes | None", await client.hget(ISSUED, name)) or b""

    async def issued_key(self, name: str) -> IssuedKey | None:
        """The key of this name; raises `StoreError` where it is damaged."""
        text = await self.issued_text(name)
        return read_issued(name, text) if text else None

    async def keep_issued(self, key: IssuedKey, *, instead_of: bytes) -> bool:
        """Write a key down; `False` where it does not stand as `instead_of` says (empty: there is none)."""
        forgotten_us = -1 if key.forgotten_us is None else key.forgotten_us
        text = write_issued(key)
        kept = await self._eval(ISSUE, key.name, instead_of, text, forgotten_us, MOST_ISSUED)
        if kept < 0:
            raise StoreError(f"there are {MOST_ISSUED} keys, and there may be no more", kind="full")
        return bool(kept)

    async def _eval(self, script: Script, *arguments: str | int | bytes) -> Any:
        """The reply of a script that no request waits for."""
        self._refuse_foreign()
        async with self.asking() as client:
            return await cast("Any", client.eval(script.text, len(_PLACES), *_PLACES, *arguments))


def _about(text: bytes) -> str:
    """The epoch and the version of all keys; empty for what is not these."""
    return text.decode() if re.fullmatch(rb"[0-9]{1,16} [0-9]{1,16}", text) else ""
