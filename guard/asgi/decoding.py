"""An answer that a backend has compressed though nobody asked it to: decoded for its meter, within bounds."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from guard.errors import BackendError
from guard.http.codings import Stage, pieces

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guard.core.query import Usage
    from guard.dialects.base import Meter

MOST_DECODED = 64 << 20
MOST_TIMES = 200
"""What becomes larger than the first, and more than this many times what came, is not decoded on."""


class DecodingMeter:
    """Watches an encoded answer, which goes on as it came, unless something is hidden: then decoded.

    What cannot be decoded counts a token a byte, and is not passed on where something is hidden.
    """

    def __init__(self, meter: Meter, names: Sequence[str]) -> None:
        self._meter = meter
        self._stages = [Stage(name) for name in reversed(names)]
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
            for piece in pieces(self._stages, chunk):
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
