"""The two ways an answer comes: as one JSON object, or as a stream of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TypeAlias

from guard.dialects.ndjson import LineSplitter
from guard.dialects.sse import EventSplitter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from guard.core.query import Usage
    from guard.dialects.base import Meter, Tally
    from guard.dialects.splitting import Splitter
    from guard.dialects.strict import Json

    Watch: TypeAlias = Callable[[Json], None]

LARGEST_ANSWER = 16 << 20
"""A JSON answer of more bytes than this is not parsed; its usage is estimated from its size."""


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
) -> Meter:
    """The meter for an answer of this type, an empty one where its bytes cannot be read.

    `whole` takes in an answer in one piece, `part` each object of a stream, and `hidden` says which of those
    are not for the client.
    """
    splitter = STREAMS.get(media_type(content_type))
    return JsonMeter(tally, whole) if splitter is None else StreamMeter(tally, splitter(), part, hidden)


def media_type(content_type: str) -> str:
    """A content type without its parameters."""
    return content_type.partition(";")[0].strip().lower()


class JsonMeter:
    """Keeps a copy of a JSON answer, and weighs it when it is whole."""

    def __init__(self, tally: Tally, weigh: Watch) -> None:
        self._tally = tally
        self._weigh = weigh
        self._body = bytearray()
        self._size = 0

    def feed(self, chunk: bytes) -> bytes:
        """Take in a chunk; it goes on as it is."""
        self._size += len(chunk)
        if self._size <= LARGEST_ANSWER:
            self._body += chunk
        return chunk

    def finish(self) -> bytes:
        """Weigh the answer; nothing was held back."""
        answer = _object(self._body) if self._size <= LARGEST_ANSWER else None
        if answer is not None:
            self._weigh(answer)
        else:
            self._tally.add_bytes(self._size)
        self._body.clear()
        return b""

    @property
    def usage(self) -> Usage:
        """What the answer has cost, once it is finished."""
        return self._tally.usage


class StreamMeter:
    """Watches the parts of a stream as they pass.

    Where nothing is `hidden`, every chunk goes on at once and as it came. Else a part goes on when it is
    whole, which is when a client can first make use of it. A part that an answer ends in is watched as far
    as it has come, since it may lack no more than its last line end.
    """

    def __init__(
        self, tally: Tally, splitter: Splitter, watch: Watch, hidden: Callable[[Json], bool] | None = None
    ) -> None:
        self._tally = tally
        self._splitter: Splitter | None = splitter
        self._watch = watch
        self._hidden = hidden

    def feed(self, chunk: bytes) -> bytes:
        """Take in a chunk; returns what to send on."""
        if self._splitter is None:
            self._tally.add_bytes(len(chunk))
            return chunk
        kept = [part.raw for part in self._splitter.feed(chunk) if self._see(part.data)]
        if self._splitter.overlong:
            rest = self._splitter.rest()
            self._tally.add_bytes(len(rest))
            kept.append(rest)
            self._splitter = None
        return chunk if self._hidden is None else b"".join(kept)

    def finish(self) -> bytes:
        """What is left of a part that was never completed."""
        if self._splitter is None:
            return b""
        rest = self._splitter.rest()
        seen = [self._see(part.data) for part in self._splitter.feed(rest + b"\n\n")]
        self._splitter.rest()
        return rest if self._hidden is not None and all(seen) else b""

    @property
    def usage(self) -> Usage:
        """What the answer has cost so far."""
        return self._tally.usage

    def _see(self, data: bytes) -> bool:
        """Watch a part; whether it is for the client."""
        found = _object(data)
        if found is None:
            return True
        self._watch(found)
        return self._hidden is None or not self._hidden(found)


def _object(data: bytes | bytearray) -> Json | None:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
