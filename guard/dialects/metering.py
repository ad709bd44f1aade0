"""The ways an answer comes: as one JSON object, or as a stream of them.

The content type says which, and the first bytes have the last word, since a backend or a proxy may name
another type. What is not understood counts the estimate of its text: never nothing, and never the JSON round
each token.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from guard.dialects.json_array import ItemSplitter
from guard.dialects.ndjson import LineSplitter
from guard.dialects.splitting import LARGEST_EVENT, compact
from guard.dialects.sse import EventSplitter
from guard.dialects.streamed import (
    LARGEST_HELD,
    TOO_LARGE,
    StreamMeter,
    count_unread,
    looks_like_json,
    read_object,
)
from guard.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from guard.core.query import Usage
    from guard.dialects.hiding import Hiding
    from guard.dialects.splitting import Splitter
    from guard.dialects.streamed import Watch
    from guard.dialects.strict import Json
    from guard.dialects.tally import Tally

ENCODED = "encoded"
"""Stands for the type of an answer whose bytes cannot be decoded."""

_UNREADABLE = "The model's answer could not be read."

STREAMS: Mapping[str, Callable[[], Splitter]] = {
    "text/event-stream": EventSplitter,
    "application/x-ndjson": LineSplitter,
    "application/ndjson": LineSplitter,
    "application/jsonl": LineSplitter,
}
"""The media types in which an answer comes bit by bit, and what finds the bits."""

VECTOR = re.compile(rb"\[[-+.eE0-9,\s]++\]")
"""A list of numbers."""

"""A list of numbers."""

_REDUCED_BY = 1 << 12
"""Vectors are left out of what is kept when it has doubled, and grown by so many bytes."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_BLANK = re.compile(rb"(?:\xef\xbb\xbf|[ \t\r\n])*+")
_FIELDS = (b"data:", b"event:", b"retry:", b"id:", b":")
_BEGINNINGS = (*_FIELDS, _BYTE_ORDER_MARK)


@lru_cache(maxsize=64)
def media_type(content_type: str) -> str:
    """A content type without its parameters."""
    return content_type.partition(";")[0].strip().lower()


class AnswerMeter:
    """Watches an answer in whatever way it comes; `watch` takes in each object of it.

    `known` are names of which each object of this API has at least one: of an object that has none, all
    strings count. `arrays` is whether a stream may be one JSON array. `hidden` says which parts of a stream
    are not for the client, and `may_hide` whether there may be such a part in some bytes; `hiding` takes out
    of an answer what is not for the client. `vectors` is whether lists of numbers are most of an answer, and
    tell nothing.
    """

    def __init__(
        self,
        tally: Tally,
        content_type: str,
        watch: Watch,
        *,
        known: Collection[str] = (),
        arrays: bool = False,
        hidden: Callable[[Json], bool] | None = None,
        hiding: Hiding | None = None,
        may_hide: Callable[[bytes], bool] | None = None,
        vectors: bool = False,
    ) -> None:
        self._tally = tally
        self._arrays = arrays
        self._type = media_type(content_type)
        self._watch = _watching(watch, frozenset(known), tally) if known else watch
        self._hidden = hidden
        self._hiding = hiding
        self._may_hide = may_hide
        self._vectors = vectors
        self._head = b""
        self.changes = hidden is not None or hiding is not None
        """Whether what goes on may be another answer than the one that comes."""
        self._meter: WholeMeter | StreamMeter | EncodedMeter | None = None
        if content_type == ENCODED:
            self._meter = EncodedMeter(tally, hides=hiding is not None)

    @property
    def holds(self) -> bool:
        """Whether nothing goes on before all has come, as far as is known."""
        if self._meter is None:
            return self._hiding is not None and self._type not in STREAMS
        return self._hiding is not None and not isinstance(self._meter, StreamMeter)

    def feed(self, chunk: bytes) -> bytes:
        """Take in a chunk; it goes on as it is, unless something is hidden."""
        if self._meter is not None:
            return self._meter.feed(chunk)
        if chunk[:1] == b"{" and not self._head:
            self._head = chunk
            shown = self._begin(b"")
            return shown if self.changes else chunk
        head = self._head + chunk
        start = _blank(head)
        blank, self._head = head[:start], head[start:]
        if not _undecided(self._head):
            blank = self._begin(blank)
        elif self.holds:
            blank = b""
        return blank if self.changes else chunk

    def finish(self) -> bytes:
        """The answer is over: what was held back and is to be sent after all."""
        shown = self._begin(b"") if self._meter is None and self._head else b""
        return (shown if self.changes else b"") + (self._meter.finish() if self._meter is not None else b"")

    def lose(self, size: int) -> None:
        """Count bytes of the answer that could not be decoded."""
        self._tally.add_opaque(size)

    @property
    def ended(self) -> bool:
        """Whether the model has said that it is done."""
        self._catch_up()
        return self._tally.ended

    @property
    def usage(self) -> Usage:
        """What the answer has cost so far."""
        self._catch_up()
        return self._tally.usage

    def _catch_up(self) -> None:
        if self._meter is not None:
            self._meter.catch_up()

    def _begin(self, blank: bytes) -> bytes:
        """Choose by the first bytes, and take them in."""
        head, self._head = self._head, b""
        splitter = self._splitter(head)
        if splitter is None:
            self._meter = WholeMeter(
                self._tally, self._watch, self._hidden, self._hiding, vectors=self._vectors
            )
        else:
            self._meter = StreamMeter(
                self._tally, splitter, self._watch, self._hidden, self._hiding, self._may_hide
            )
        shown = self._meter.feed(head)
        return blank + shown if blank and not self.holds else shown

    def _splitter(self, head: bytes) -> Splitter | None:
        """What finds the objects; `None` for an answer in one piece."""
        declared = STREAMS.get(self._type)
        if head[:1] != b"{":
            if head.startswith(_FIELDS):
                return EventSplitter()
            if head.startswith(b"[") and (self._arrays or self._hiding is None):
                return ItemSplitter()
            if declared is not None:
                return declared()
        elif declared is LineSplitter:
            return declared()
        # What may be hidden is looked for in each object; there may be several, whatever the type.
        return ItemSplitter() if self._hidden is not None and self._hiding is None else None


def _watching(watch: Watch, known: frozenset[str], tally: Tally) -> Watch:
    """Takes in each object; of one that has none of the known names, all strings."""

    def take(found: Json) -> None:
        if known.isdisjoint(found):
            tally.add_other(found)
        else:
            watch(found)

    return take


class WholeMeter:
    """Keeps a copy of an answer, and reads it when it is whole; one that is too large is read as it passes.

    Where something is hidden, nothing goes on before it is whole: what cannot be looked through is not sent
    at all.
    """

    def __init__(
        self,
        tally: Tally,
        watch: Watch,
        hidden: Callable[[Json], bool] | None,
        hiding: Hiding | None,
        *,
        vectors: bool,
    ) -> None:
        self._tally = tally
        self._watch = watch
        self._hidden = hidden
        self._hiding = hiding
        self._vectors = vectors
        self._body = bytearray()
        self._reduce_at = _REDUCED_BY
        self._large: StreamMeter | None = None

    def feed(self, chunk: bytes) -> bytes:
        """Take in a chunk; it goes on as it is, unless something is hidden."""
        if self._large is not None:
            return self._large.feed(chunk)
        self._body += chunk
        if self._hiding is not None:
            if len(self._body) > LARGEST_HELD:
                raise BackendError(TOO_LARGE)
            return b""
        if self._vectors and len(self._body) > self._reduce_at:
            self._body = bytearray(VECTOR.sub(b"[]", self._body))
            self._reduce_at = 2 * len(self._body) + _REDUCED_BY
        if len(self._body) > LARGEST_EVENT:
            self._large = StreamMeter(self._tally, ItemSplitter(), self._watch)
            self._large.feed(bytes(self._body))
            self._body.clear()
        return chunk

    def catch_up(self) -> None:
        """Read what can be read before the answer is whole."""
        if self._large is not None:
            self._large.catch_up()

    def finish(self) -> bytes:
        """Read the answer; gives it where it was held back."""
        if self._large is not None:
            return self._large.finish()
        body = bytes(self._body)
        self._body.clear()
        answer = read_object(body)
        if answer is not None:
            self._watch(answer)
            if self._hiding is None:
                return b""
            shown = self._hiding.whole(answer)
            return body if shown is answer else compact(shown)
        if looks_like_json(body):
            # Several objects, whatever the type said, or one and something behind it.
            several = StreamMeter(self._tally, ItemSplitter(), self._watch, self._hidden, self._hiding)
            out = several.feed(body) + several.finish()
            if self._hiding is None:
                return b""
            if body.lstrip().startswith(b"{") and out.strip():
                return out
        else:
            count_unread(body, self._tally)
        if self._hiding is not None and body:
            raise BackendError(_UNREADABLE)
        return b""


class EncodedMeter:
    """Passes on what cannot be decoded; each byte of it counts a token, as many as its text may have."""

    def __init__(self, tally: Tally, *, hides: bool) -> None:
        self._tally = tally
        self._hides = hides

    def feed(self, chunk: bytes) -> bytes:
        """Take in a chunk; it goes on as it is."""
        self._tally.add_opaque(len(chunk))
        if self._hides and chunk:
            raise BackendError(_UNREADABLE)
        return chunk

    def catch_up(self) -> None:
        """Nothing was left unread."""

    def finish(self) -> bytes:
        """Nothing was held back."""
        return b""


def _blank(head: bytes) -> int:
    found = _BLANK.match(head)
    return found.end() if found else 0


def _undecided(head: bytes) -> bool:
    """Whether it cannot be said yet how the answer comes."""
    return not head or any(len(head) < len(each) and each.startswith(head) for each in _BEGINNINGS)
