"""A JSON array of objects that is written as they come to be: each found in any chunking, never changed.

What stands between the objects (`[`, `,`, `]`, white space) is not checked, so that a lone object is found
as well.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from guard.dialects.splitting import Splitter, compact

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from guard.dialects.strict import Json

_MARK = re.compile(rb'["{}\[\]]')
_INSIDE = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Item:
    """One object: its bytes as they came, with what stood before it."""

    raw: bytes

    @property
    def data(self) -> bytes:
        """The object alone."""
        return self.raw[self.raw.index(b"{") :]

    @property
    def lead(self) -> bytes:
        """What stands before it, which opens the array or divides it."""
        return self.raw[: self.raw.index(b"{")]

    def behind(self, lead: bytes) -> Item:
        """The same object behind something else."""
        return Item(lead + self.data)

    @property
    def stands_alone(self) -> bool:
        """Whether nothing stands before the object but white space and what divides an array."""
        return not self.lead.strip(b" \t\r\n[],")

    def carrying(self, values: Sequence[Json]) -> bytes:
        """Items with these values. There must be one at least, since what stood before an item opens or
        divides the array."""
        return self.lead + b",".join(compact(value) for value in values)


class ItemSplitter(Splitter):
    """Cuts a stream of bytes after each object that is in no other. All bytes come out again: those of
    items, then `rest`."""

    def __init__(self) -> None:
        super().__init__()
        self._depth = 0
        self._in_string = False

    def feed(self, chunk: bytes) -> Iterator[Item]:
        """The objects that this chunk completes."""
        self._buffer += chunk
        start = 0
        while not self._in_string or self._leave_string():
            found = _MARK.search(self._buffer, self._searched)
            if found is None:
                self._searched = len(self._buffer)
                break
            mark = found[0]
            self._searched = found.end()
            if mark == b'"':
                self._in_string = True
            elif mark in b"{[":
                self._depth += mark == b"{" or self._depth > 0
            elif self._depth > 0:
                self._depth -= 1
                if self._depth == 0:
                    yield Item(bytes(self._buffer[start : self._searched]))
                    start = self._searched
        del self._buffer[:start]
        self._searched -= start

    def _leave_string(self) -> bool:
        """Go on to the end of a string and beyond it; whether it has come."""
        inside = _INSIDE.match(self._buffer, self._searched)
        self._searched = inside.end() if inside else self._searched
        # A backslash comes last where what it escapes has not come.
        if not self._buffer.startswith(b'"', self._searched):
            return False
        self._searched += 1
        self._in_string = False
        return True

    def rest(self) -> bytes:
        """The bytes of the object that is not complete; they are not given again."""
        self._depth, self._in_string = 0, False
        return super().rest()
