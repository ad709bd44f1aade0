"""Server-sent events as they pass: found in any chunking, never changed.

The format is that of the HTML standard, section 9.2: lines end in CRLF, LF or CR, an empty line ends an
event.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from guard.dialects.splitting import Splitter, compact

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from guard.dialects.strict import Json

# A CR at the end of what has come may be half of a CRLF: it ends a line when the next byte says so.
_LINE_END = rb"(?:\r\n|\n|\r(?=[^\n]))"
_EVENT_END = re.compile(_LINE_END + _LINE_END)
_LF, _CRLF = b"\n", b"\r\n"
_NAME = re.compile(rb"event(?::|$)")
_FIELD = re.compile(rb"(?:data|event|id|retry)(?::|$)|:")
DATA = re.compile(rb"^data(?:: ?|$)(.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its bytes as they came, the empty line included, and its data."""

    raw: bytes

    @property
    def data(self) -> bytes:
        """The `data` lines joined by LF; empty for a comment."""
        return b"\n".join(DATA.findall(self._lines))

    def carrying(self, values: Sequence[Json]) -> bytes:
        """Events with these values and all else that this one says; one that names its type names theirs."""
        return b"".join(self._carrying(value) for value in values)

    def _carrying(self, value: Json) -> bytes:
        kept = [line for line in self._lines.split(b"\n") if line and not DATA.match(line)]
        if "type" in value:
            named = b"event: " + str(value["type"]).encode()
            kept = [named if _NAME.match(line) else line for line in kept]
        return b"\n".join([*kept, b"data: " + compact(value), b"", b""])

    @property
    def stray(self) -> bytes:
        """Lines that are of no field that an event may have."""
        lines = (line for line in self._lines.split(b"\n") if line and not _FIELD.match(line))
        return b"\n".join(lines)

    @property
    def _lines(self) -> bytes:
        return self.raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


class EventSplitter(Splitter):
    """Cuts a stream of bytes into events. All bytes come out again: those of events, then `rest`."""

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """The events that this chunk completes."""
        self._buffer += chunk
        start = 0
        while found := _EVENT_END.search(self._buffer, max(start, self._searched)):
            yield Event(bytes(self._buffer[start : found.end()]))
            start = found.end()
            self._searched = 0
        del self._buffer[:start]
        self._searched = max(0, len(self._buffer) - 3)

    def cut(self, chunk: bytes) -> list[bytes] | None:
        """The events that this chunk completes, without their ends; `None` where their lines do not all end
        with LF, or all with CRLF."""
        returns = self._buffer.count(b"\r") + chunk.count(b"\r")
        if not returns:
            return self._cut(chunk, _LF * 2)
        whole = bytes(self._buffer) + chunk
        if not whole.endswith(b"\r") and whole.count(_CRLF) == returns == whole.count(_LF):
            return self._cut(chunk, _CRLF * 2)
        return None

    def part(self, raw: bytes) -> Event:
        """The event with these bytes."""
        return Event(raw)

    def whole(self, chunk: bytes) -> int | None:
        """How many bytes of this chunk, in which an event begins, are whole events; `None` where lines end
        with CR."""
        if chunk.endswith((_LF * 2, _CRLF * 2)):
            return len(chunk)
        if b"\r" in chunk:
            return None
        end = chunk.rfind(_LF * 2)
        return 0 if end < 0 else end + 2
