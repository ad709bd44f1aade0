"""Bounded copies of what was asked and answered, for whoever reads them when an answer is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_COPIED = 1 << 18
"""Maximum number of bytes of an answer that are kept."""

MOST_OF_AN_ERROR = 1 << 12
"""And of an answer that says why the backend did not take a request."""

MOST_HELD = 64 << 20
"""Maximum number of bytes of all requests of a process that are kept while their answers come."""


class AnswerCopy:
    """The first bytes of an answer, as its client has got them.

    `content_type` is what the answer says it is, and `codings` those in which the bytes are, in the order in
    which they were applied.
    """

    def __init__(self, content_type: str, codings: Sequence[str], most: int = MOST_COPIED) -> None:
        self.content_type = content_type
        self.codings = tuple(codings)
        self._most = most
        self._size = 0
        self._chunks: list[bytes] = []

    def add(self, chunk: bytes) -> None:
        """Keep these bytes, as far as there is room."""
        room = self._most - self._size
        self._size += len(chunk)
        if room > 0:
            self._chunks.append(chunk[:room])

    @property
    def body(self) -> bytes:
        """What was kept."""
        return b"".join(self._chunks)


class Held:
    """The requests of a process that are kept while their answers come, `most` bytes of them at a time."""

    def __init__(self, most: int = MOST_HELD) -> None:
        self._left = most

    def keep(self, body: bytes) -> bytes | None:
        """The request, to be given back by `let_go`; `None` where there is no room for it."""
        if len(body) > self._left:
            return None
        self._left -= len(body)
        return body

    def let_go(self, body: bytes) -> None:
        """It is kept no longer."""
        self._left += len(body)
