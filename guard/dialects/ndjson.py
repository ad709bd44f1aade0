"""Lines of JSON as they pass (`application/x-ndjson`): found in any chunking, never changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from guard.dialects.splitting import Splitter, compact

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from guard.dialects.strict import Json


@dataclass(frozen=True, slots=True)
class Line:
    """One line: its bytes as they came, the line's end included."""

    raw: bytes

    @property
    def data(self) -> bytes:
        """The same: JSON does not mind white space round it."""
        return self.raw

    def carrying(self, values: Sequence[Json]) -> bytes:
        """Lines with these values."""
        return b"".join(compact(value) + b"\n" for value in values)


class LineSplitter(Splitter):
    """Cuts a stream of bytes after each LF. All bytes come out again: those of lines, then `rest`."""

    def feed(self, chunk: bytes) -> Iterator[Line]:
        """The lines that this chunk completes."""
        self._buffer += chunk
        start = 0
        while (end := self._buffer.find(b"\n", max(start, self._searched)) + 1) > 0:
            yield Line(bytes(self._buffer[start:end]))
            start = end
        del self._buffer[:start]
        self._searched = len(self._buffer)

    def cut(self, chunk: bytes) -> list[bytes]:
        """The lines that this chunk completes, without their ends."""
        return self._cut(chunk, b"\n")

    def part(self, raw: bytes) -> Line:
        """The line with these bytes."""
        return Line(raw + b"\n")

    def whole(self, chunk: bytes) -> int:
        """How many bytes of this chunk, in which a line begins, are whole lines."""
        return chunk.rfind(b"\n") + 1
