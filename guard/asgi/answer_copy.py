"""A bounded copy of an answer, for whoever reads it when it is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_COPIED = 1 << 18
"""Maximum number of bytes of an answer that are kept."""


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
    def whole(self) -> bool:
        """Whether nothing was left out."""
        return self._size <= self._most

    @property
    def body(self) -> bytes:
        """What was kept."""
        return b"".join(self._chunks)
