"""An answer that a backend has compressed though nobody asked it to: decoded for its meter, within bounds."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from guard.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from guard.core.query import Usage
    from guard.dialects.base import Meter

LARGEST_PIECE = 1 << 16
"""Never more bytes than this are decoded at once."""

MOST_DECODED = 64 << 20
MOST_TIMES = 200
"""What becomes larger than the first, and more than this many times what came, is not decoded on."""

_GZIP = frozenset({"gzip", "x-gzip"})
_DECODABLE = _GZIP | {"deflate"}


def codings(values: Iterable[bytes]) -> list[str]:
    """The codings that `Content-Encoding` names, in the order in which they were applied."""
    names = (name.strip().lower() for value in values for name in value.decode("latin-1").split(","))
    return [name for name in names if name not in ("", "identity")]


def decodable(names: Sequence[str]) -> bool:
    """Whether all of these codings can be undone here."""
    return set(names) <= _DECODABLE and len(names) <= 2


class DecodingMeter:
    """Watches an encoded answer, which goes on as it came, unless something is hidden: then decoded.

    What cannot be decoded counts a token a byte, and is not passed on where something is hidden.
    """

    def __init__(self, meter: Meter, names: Sequence[str]) -> None:
        self._meter = meter
        self._stages = [_Stage(name) for name in reversed(names)]
        self._came = 0
        self._decoded = 0
        self._failed = False

    @property
    def changes(self) -> bool:
        """Whether the answer goes on decoded."""
        return self._meter.changes

    @property
    def holds(self) -> bool:
        """Whether nothing goes on before all has come."""
        return self._meter.holds

    def feed(self, chunk: bytes) -> bytes:
        """Take in a chunk; returns what to send on."""
        self._came += len(chunk)
        shown = bytearray()
        try:
            if self._failed:
                raise zlib.error
            for piece in self._pieces(chunk, 0):
                self._decoded += len(piece)
                if self._decoded > max(MOST_DECODED, MOST_TIMES * self._came):
                    raise zlib.error
                shown += self._meter.feed(piece)
        except zlib.error as error:
            self._failed = True
            if self.changes:
                raise BackendError("The model's answer could not be decoded.") from error
            self._meter.lose(len(chunk))
        return bytes(shown) if self.changes else chunk

    def lose(self, size: int) -> None:
        """Count bytes that could not be read."""
        self._meter.lose(size)

    def finish(self) -> bytes:
        """The answer is over: what was held back and is to be sent after all."""
        return self._meter.finish()

    @property
    def ended(self) -> bool:
        """Whether the model has said that it is done."""
        return self._meter.ended

    @property
    def usage(self) -> Usage:
        """What has been used so far."""
        return self._meter.usage

    def _pieces(self, chunk: bytes, stage: int) -> Iterator[bytes]:
        if stage == len(self._stages):
            yield chunk
            return
        for piece in self._stages[stage].decode(chunk):
            yield from self._pieces(piece, stage + 1)


class _Stage:
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
