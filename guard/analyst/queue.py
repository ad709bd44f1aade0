"""What waits to be read: bounded, and with a fair share for each holder.

Holders take turns. A turn is worth so many bytes, and who waits with a larger item lets turns pass until they
are enough for it, so that large items buy nobody more of the time. Where all are too many together, or too
large, the largest queue loses its last item: who sends much drives out its own.

    a turn is worth 4 kB; a has ten items of 1 kB, b one of 12 kB, c two of 1 kB
    order   a c a c a b a a …   b's turns come first in the first two rounds too, and are not enough
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable

T = TypeVar("T")

TURN_BYTES = 4 << 10


class _Waiting(NamedTuple, Generic[T]):
    item: T
    size: int
    room: int


@dataclass(slots=True)
class _Queue(Generic[T]):
    """What one holder waits with, the room that it takes, and how many bytes the turns are worth that it let
    pass.
    """

    waiting: deque[_Waiting[T]] = field(default_factory=deque)
    room: int = 0
    saved: int = 0


class FairQueue(Generic[T]):
    """Holds `most_items` of `most_bytes` together.

    Both bounds are one: an item takes the room of its bytes, and at least that of its share of the items.
    """

    def __init__(self, most_items: int, most_bytes: int) -> None:
        self._room = most_bytes
        self._least = most_bytes // most_items
        self._used = 0
        # In the order of their turns.
        self._queues: OrderedDict[Hashable, _Queue[T]] = OrderedDict()

    def put(self, item: T, size: int, holder: Hashable) -> list[T]:
        """Put an item last in its holder's queue; returns those that have lost their place for it."""
        waiting = _Waiting(item, size, max(size, self._least))
        queue = self._queues.setdefault(holder, _Queue())
        queue.waiting.append(waiting)
        queue.room += waiting.room
        self._used += waiting.room
        lost = []
        while self._used > self._room:
            # Of several, the one whose turn is last.
            largest = max(reversed(self._queues), key=lambda each: self._queues[each].room)
            lost.append(self._taken(largest, self._queues[largest].waiting.pop()))
        return lost

    def take(self) -> T | None:
        """The item whose turn it is; `None` where none waits."""
        while self._queues:
            holder, queue = next(iter(self._queues.items()))
            self._queues.move_to_end(holder)
            queue.saved += TURN_BYTES
            if queue.saved >= queue.waiting[0].size:
                queue.saved = 0
                return self._taken(holder, queue.waiting.popleft())
        return None

    def _taken(self, holder: Hashable, waiting: _Waiting[T]) -> T:
        queue = self._queues[holder]
        queue.room -= waiting.room
        self._used -= waiting.room
        if not queue.waiting:
            del self._queues[holder]
        return waiting.item
