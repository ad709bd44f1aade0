"""The two ways an answer comes: as one JSON object, or as a stream of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TypeAlias

from guard.dialects.ndjson import LineSplitter
from guard.dialects.splitting import compact
from guard.dialects.sse import EventSplitter
from guard.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from guard.core.query import Usage
    from guard.dialects.base import Meter, Tally
    from guard.dialects.hiding import Hiding
    from guard.dialects.splitting import Part, Splitter
    from guard.dialects.strict import Json

    Watch: TypeAlias = Callable[[Json], None]

LARGEST_ANSWER = 16 << 20
"""A JSON answer of more bytes than this is not parsed; its usage is estimated from its size."""

_NO_JSON = frozenset({b"", b"[DONE]"})
"""What may be in a stream beside objects, and tells nothing: comments, white space, the end of OpenAI's."""

_TOO_LARGE = "The model's answer is too large to be passed on."
_UNREADABLE = "The model's answer could not be read."

STREAMS: Mapping[str, Callable[[], Splitter]] = {
    "text/event-stream": EventSplitter,
    "application/x-ndjson": LineSplitter,
    "application/ndjson": LineSplitter,
    "application/jsonl": LineSplitter,
}
"""The media types in which an answer comes bit by bit, and what finds the bits."""


def meter_for(
    tally: Tally,
    content_type: str,
    *,
    whole: Watch,
    part: Watch,
    hidden: Callable[[Json], bool] | None = None,
    hiding: Hiding | None = None,
) -> Meter:
    """The meter for an answer of this type, an empty one where its bytes cannot be read.

    `whole` takes in an answer in one piece, `part` each object of a stream, and `hidden` says which of those
    are not for the client. `hiding` takes out of them what is not.
    """
    splitter = STREAMS.get(media_type(content_type))
    if splitter is None:
        return JsonMeter(tally, whole, hiding)
    return StreamMeter(tally, splitter(), part, hidden, hiding)


def media_type(content_type: str) -> str:
    """A content type without its parameters."""
    return content_type.partition(";")[0].strip().lower()


class JsonMeter:
    """Keeps a copy of a JSON answer, and weighs it when it is whole.

    Where something is hidden, nothing goes on before that: what cannot be looked through is not sent at all.
    """

    def __init__(self, tally: Tally, weigh: Watch, hiding: Hiding | None = None) -> None:
        self._tally = tally
        self._weigh = weigh
        self._hiding = hiding
        self._body = bytearray()
        self._size = 0

    @property
    def holds(self) -> bool:
        """Whether nothing goes on before all has come."""
        return self._hiding is not None

    def feed(self, chunk: bytes) -> bytes:
        """Take in a chunk; it goes on as it is, unless something is hidden."""
        self._size += len(chunk)
        if self._size <= LARGEST_ANSWER:
            self._body += chunk
        elif self.holds:
            raise BackendError(_TOO_LARGE)
        return b"" if self.holds else chunk

    def finish(self) -> bytes:
        """Weigh the answer; gives it where it was held back."""
        body, size = bytes(self._body), self._size
        self._body.clear()
        self._size = 0
        answer = _object(body) if size <= LARGEST_ANSWER else None
        if answer is not None:
            self._weigh(answer)
        else:
            self._tally.add_bytes(size)
        if self._hiding is None:
            return b""
        if answer is not None:
            shown = self._hiding.whole(answer)
            return body if shown is answer else compact(shown)
        if size:
            raise BackendError(_UNREADABLE)
        return b""

    @property
    def usage(self) -> Usage:
        """What the answer has cost, once it is finished."""
        return self._tally.usage


class StreamMeter:
    """Watches the parts of a stream as they pass.

    Where nothing is hidden, every chunk goes on at once and as it came. Else a part goes on when it is
    whole, which is when a client can first make use of it. A part that an answer ends in is watched as far
    as it has come, since it may lack no more than its last line end.

    `hidden` says which parts are dropped, and with `hiding` the others are looked through: then those that
    cannot be read are dropped too, and one that is too large ends the stream.
    """

    def __init__(
        self,
        tally: Tally,
        splitter: Splitter,
        watch: Watch,
        hidden: Callable[[Json], bool] | None = None,
        hiding: Hiding | None = None,
    ) -> None:
        self._tally = tally
        self._splitter: Splitter | None = splitter
        self._watch = watch
        self._hidden = hidden
        self._hiding = hiding

    @property
    def holds(self) -> bool:
        """Never: a stream goes on part by part."""
        return False

    def feed(self, chunk: bytes) -> bytes:
        """Take in a chunk; returns what to send on."""
        if self._splitter is None:
            self._tally.add_bytes(len(chunk))
            return chunk
        shown = [self._show(part) for part in self._splitter.feed(chunk)]
        if self._overlong(self._splitter):
            rest = self._splitter.rest()
            self._tally.add_bytes(len(rest))
            if self._hiding is not None:
                raise BackendError(_TOO_LARGE)
            shown.append(rest)
            self._splitter = None
        return b"".join(shown) if self._changes else chunk

    def finish(self) -> bytes:
        """What is left of a part that was never completed."""
        if self._splitter is None:
            return b""
        rest = self._splitter.rest()
        parts = [(part.raw, self._show(part)) for part in self._splitter.feed(rest + b"\n\n")]
        left = self._splitter.rest()
        if not self._changes:
            return b""
        if any(raw != shown for raw, shown in parts):
            return b"".join(shown for _, shown in parts)
        # An array may end in the middle of an object, which no part shows.
        return b"" if self._hiding is not None and b"{" in left else rest

    @property
    def usage(self) -> Usage:
        """What the answer has cost so far."""
        return self._tally.usage

    def _overlong(self, splitter: Splitter) -> bool:
        return splitter.overlong if self._hiding is None else splitter.held > LARGEST_ANSWER

    @property
    def _changes(self) -> bool:
        return self._hidden is not None or self._hiding is not None

    def _show(self, part: Part) -> bytes:
        """Watch a part; gives what the client is sent in its place."""
        found = _object(part.data)
        if found is None:
            return part.raw if self._hiding is None or _tells_nothing(part) else b""
        self._watch(found)
        if self._hidden is not None and self._hidden(found):
            return b""
        if self._hiding is None:
            return part.raw
        shown = self._hiding.part(found)
        return part.raw if len(shown) == 1 and shown[0] is found else part.carrying(shown)


def _tells_nothing(part: Part) -> bool:
    """Whether this is a comment or the like, and no object in an event that clients may read otherwise."""
    return part.data.strip() in _NO_JSON and b"{" not in part.raw


def _object(data: bytes | bytearray) -> Json | None:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
