"""The two ways an answer comes: as one JSON object, or as a stream of events."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from guard.dialects.sse import EventSplitter

if TYPE_CHECKING:
    from collections.abc import Callable

    from guard.core.query import Usage
    from guard.dialects.base import Tally
    from guard.dialects.sse import Event

LARGEST_ANSWER = 16 << 20
"""A JSON answer of more bytes than this is not parsed; its usage is estimated from its size."""


class JsonMeter:
    """Keeps a copy of a JSON answer, and weighs it when it is whole."""

    def __init__(self, tally: Tally, weigh: Callable[[dict[str, Any]], None]) -> None:
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
        try:
            answer = json.loads(self._body) if self._size <= LARGEST_ANSWER else None
        except (ValueError, RecursionError):
            answer = None
        if isinstance(answer, dict):
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
    """Watches events as they pass; `watch` says of each whether to take it out.

    Where it never does (`holds_back` false), every chunk goes on at once and as it came. Else an event goes
    on when it is whole, which is when a client can first make use of it.
    """

    def __init__(self, tally: Tally, watch: Callable[[Event], bool], *, holds_back: bool) -> None:
        self._tally = tally
        self._watch = watch
        self._holds_back = holds_back
        self._splitter: EventSplitter | None = EventSplitter()

    def feed(self, chunk: bytes) -> bytes:
        """Take in a chunk; returns what to send on."""
        if self._splitter is None:
            self._tally.add_bytes(len(chunk))
            return chunk
        kept = [event.raw for event in self._splitter.feed(chunk) if not self._watch(event)]
        if self._splitter.overlong:
            rest = self._splitter.rest()
            self._tally.add_bytes(len(rest))
            kept.append(rest)
            self._splitter = None
        return b"".join(kept) if self._holds_back else chunk

    def finish(self) -> bytes:
        """What is left of an event that was never completed."""
        rest = self._splitter.rest() if self._splitter is not None else b""
        return rest if self._holds_back else b""

    @property
    def usage(self) -> Usage:
        """What the answer has cost so far."""
        return self._tally.usage
