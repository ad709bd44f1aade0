"""Server-sent events as they pass: found in any chunking, never changed.

The format is that of the HTML standard, section 9.2: lines end in CRLF, LF or CR, an empty line ends an
event.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from guard.dialects.splitting import Splitter

if TYPE_CHECKING:
    from collections.abc import Iterator

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
