"""The memory of one process for the bodies of requests, shared out to callers.

It is not always the newest body that is refused: else a caller that sends large bodies and never ends them
would keep all others out. Where a caller has more than its share, its largest body that is still arriving
makes room. Where all callers together have too much, the largest one of the caller that holds most does. So a
caller that holds much loses first, and one that asks a short question last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from guard.errors import QueryError

if TYPE_CHECKING:
    from guard.core.identity import Holder
    from guard.settings.body import BodySettings

SHARES = 8
"""One caller may take this part of `max_buffered_bytes` at once, and always one body of `max_bytes`."""

SMALL_BYTES = 64 << 10
"""A body of this size is never refused for what its caller sends besides: keys that guard has not checked are
one caller by their network, and an attacker there is not to stop its neighbours' questions."""


class Held(Protocol):
    """A body of which `size` bytes are held for its `owner`."""

    owner: Holder
    size: int

    def make_room(self, error: QueryError) -> None:
        """End while it arrives, with what is to be answered."""


class Room:
    """Where bodies are held, from their first byte until the app has them."""

    def __init__(self, settings: BodySettings) -> None:
        self._most = settings.max_buffered_bytes
        # With what its pieces cost beside their bytes.
        largest = settings.max_bytes + settings.max_bytes // 8
        self._most_of_one = max(largest, settings.max_buffered_bytes // SHARES)
        self._total = 0
        self._held: dict[Holder, int] = {}
        self._arriving: dict[Holder, dict[Held, None]] = {}

    def add(self, held: Held, size: int) -> None:
        """Hold more of a body that is arriving.

        Ends other bodies where they have to make room; raises `QueryError` where it is this one itself: 429
        for its caller's share, unless it is small, and 503 for all that there is.
        """
        held.size += size
        self._total += size
        owner = held.owner
        self._held[owner] = self._held[owner] + size if owner in self._held else size
        if owner not in self._arriving:
            self._arriving[owner] = {}
        self._arriving[owner][held] = None
        while held.size > SMALL_BYTES and self._held[held.owner] > self._most_of_one:
            self._end_largest(held.owner, held, 429, "You are sending too much at once; try again.")
        while self._total > self._most:
            fullest = max(self._arriving, key=self._held.__getitem__)
            self._end_largest(fullest, held, 503, "The server is reading too much at once; try again.")

    def arrived(self, held: Held) -> None:
        """The body is complete, and makes room no longer before the app has it."""
        owner = held.owner
        if owner in self._arriving and held in self._arriving[owner]:
            del self._arriving[owner][held]
            if not self._arriving[owner]:
                del self._arriving[owner]

    def give_back(self, held: Held) -> None:
        """The body is held no longer."""
        self.arrived(held)
        size, held.size = held.size, 0
        if size:
            self._total -= size
            self._held[held.owner] -= size
            if not self._held[held.owner]:
                del self._held[held.owner]

    def _end_largest(self, owner: Holder, adding: Held, status: int, message: str) -> None:
        error = QueryError(message, status=status)
        largest = max(self._arriving[owner], key=lambda held: held.size)
        if largest is adding:
            raise error
        self.give_back(largest)
        largest.make_room(error)
