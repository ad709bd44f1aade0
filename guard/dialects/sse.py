"""Server-sent events as they pass: found in any chunking, never changed.

The format is that of the HTML standard, section 9.2: lines end in CRLF, LF or CR, an empty line ends an
event.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGEST_EVENT = 1 << 20
"""An event of more bytes than this is not looked at."""

# A CR at the end of what has come may be half of a CRLF: it ends a line when the next byte says so.
_LINE_END = rb"(?:\r\n|\n|\r(?=[^\n]))"
_EVENT_END = re.compile(_LINE_END + _LINE_END)
_DATA = re.compile(rb"^data(?:: ?|$)(.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its bytes as they came, the empty line included, and its data."""

    raw: bytes

    @property
    def data(self) -> bytes:
        """The `data` lines joined by LF; empty for a comment."""
        return b"\n".join(_DATA.findall(self.raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n")))


class EventSplitter:
    """Cuts a stream of bytes into events. All bytes come out again: those of events, then `rest`."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0

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

    @property
    def overlong(self) -> bool:
        """Whether an event has grown larger than anything worth waiting for."""
        return len(self._buffer) > LARGEST_EVENT

    def rest(self) -> bytes:
        """The bytes of the event that is not complete; they are not given again."""
        rest, self._buffer, self._searched = bytes(self._buffer), bytearray(), 0
        return rest
