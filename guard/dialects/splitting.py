"""What cuts a stream into its parts, however it is chunked."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from guard.dialects.strict import Json

LARGEST_EVENT = 1 << 20
"""Of a part of more bytes than this only the gist is read."""


class Part(Protocol):
    """One part of a stream: its bytes as they came, and what is JSON in them."""

    @property
    def raw(self) -> bytes:
        """All bytes of the part."""

    @property
    def data(self) -> bytes:
        """Those that should be JSON."""

    def carrying(self, values: Sequence[Json]) -> bytes:
        """Parts like this one that have these values instead, one each."""


def compact(value: Json) -> bytes:
    """A value as the JSON of an answer: in ASCII, since a text may be cut in the middle of a character."""
    return json.dumps(value, separators=(",", ":")).encode("ascii")


class Splitter(ABC):
    """Finds the parts of a stream in any chunking. All bytes come out again: those of parts, then `rest`."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0

    @abstractmethod
    def feed(self, chunk: bytes) -> Iterator[Part]:
        """The parts that this chunk completes."""

    def cut(self, chunk: bytes) -> list[bytes] | None:
        """The bytes of the parts that this chunk completes, without their ends; `None` where parts do not all
        end alike, and nothing has been taken in."""
        return None

    def part(self, raw: bytes) -> Part:
        """The part with these bytes, which `cut` has given."""
        raise NotImplementedError

    def whole(self, chunk: bytes) -> int | None:
        """How many bytes of this chunk, in which a part begins, are whole parts; `None` where it takes more
        than a look to say so."""
        return None

    def _cut(self, chunk: bytes, end: bytes) -> list[bytes]:
        start = max(0, len(self._buffer) - len(end) + 1)
        self._buffer += chunk
        if self._buffer.find(end, start) < 0:
            self._searched = max(0, len(self._buffer) - 3)
            return []
        *parts, rest = _split(bytes(self._buffer), end)
        self._buffer = bytearray(rest)
        self._searched = max(0, len(rest) - 3)
        return parts

    @property
    def overlong(self) -> bool:
        """Whether the part that is not complete is too large to be kept."""
        return self.held > LARGEST_EVENT

    def drain(self) -> bytes:
        """The bytes of the part that is not complete, as far as its end has been looked for in them; they
        are not given again, and the next part is what is left of it."""
        drained = bytes(self._buffer[: self._searched])
        del self._buffer[: self._searched]
        self._searched = 0
        return drained

    @property
    def held(self) -> int:
        """How many bytes there are of the part that is not complete."""
        return len(self._buffer)

    def rest(self) -> bytes:
        """The bytes of the part that is not complete; they are not given again."""
        rest, self._buffer, self._searched = bytes(self._buffer), bytearray(), 0
        return rest


def _split(data: bytes, end: bytes) -> list[bytes]:
    """The same as `data.split(end)`, and several times as fast where each part is one line."""
    lines = data.split(b"\n")
    if len(end) == 2 and len(lines) % 2 and not any(lines[1::2]):
        return lines[::2]
    return data.split(end)
