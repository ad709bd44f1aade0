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
