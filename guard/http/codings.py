"""Content codings: gzip and deflate, undone piece by piece."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

LARGEST_PIECE = 1 << 16
"""Never more bytes than this are decoded at once."""

_GZIP = frozenset({"gzip", "x-gzip"})
_DECODABLE = _GZIP | {"deflate"}


def codings(values: Iterable[bytes]) -> list[str]:
    """The codings that `Content-Encoding` names, in the order in which they were applied."""
    names = (name.strip().lower() for value in values for name in value.decode("latin-1").split(","))
    return [name for name in names if name not in ("", "identity")]


def decodable(names: Sequence[str]) -> bool:
    """Whether all of these codings can be undone here."""
    return set(names) <= _DECODABLE and len(names) <= 2


def decoded(data: bytes, names: Sequence[str], most: int) -> bytes | None:
    """About the first `most` bytes of what was encoded in these codings, as far as it has come and is sound;
    `None` where the codings cannot be undone."""
    if not names:
        return data
    if not decodable(names):
        return None
    found = bytearray()
    try:
        for piece in pieces([Stage(name) for name in reversed(names)], data):
            found += piece
            if len(found) >= most:
                break
    except zlib.error:
        pass  # what has come before is sound
    return bytes(found)


def pieces(stages: Sequence[Stage], chunk: bytes) -> Iterator[bytes]:
    """What a chunk holds when each stage has undone its coding; raises `zlib.error`."""
    if not stages:
        yield chunk
        return
    for piece in stages[0].decode(chunk):
        yield from pieces(stages[1:], piece)


class Stage:
    """Undoes one coding."""

    def __init__(self, name: str) -> None:
        self._gzip = name in _GZIP
        self._head = b""
        self._object: zlib._Decompress | None = None

    def decode(self, chunk: bytes) -> Iterator[bytes]:
        """What these bytes hold, in pieces; raises `zlib.error`."""
        chunk = self._head + chunk
        self._head = b""
        while chunk:
            if self._object is None:
                if len(chunk) < 2:
                    self._head = chunk
                    return
                self._object = zlib.decompressobj(self._format(chunk))
            piece = self._object.decompress(chunk, LARGEST_PIECE)
            if piece:
                yield piece
            chunk = self._object.unconsumed_tail
            if self._object.eof:
                # Of gzip's format there may be several behind each other.
                chunk = self._object.unused_data if self._gzip else b""
                self._object = None if self._gzip else self._object

    def _format(self, head: bytes) -> int:
        """What zlib is to expect: "deflate" means its own format, and many send what stands inside it."""
        if self._gzip:
            return zlib.MAX_WBITS | 16
        own = head[0] & 15 == zlib.DEFLATED and int.from_bytes(head[:2], "big") % 31 == 0
        return zlib.MAX_WBITS if own else -zlib.MAX_WBITS
