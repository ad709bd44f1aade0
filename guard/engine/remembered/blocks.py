"""Who is blocked, as the store said last: for when it cannot be asked."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from guard.core.calendars import MICROSECONDS

if TYPE_CHECKING:
    from guard.core.identity import Holder
    from guard.store.port import Block

LONGEST_BLOCK_SECONDS = 3_600.0
"""A block that was seen is held without the store for as long as it says, but no longer than this."""

MOST_BLOCKS = 10_000
"""Maximum number of blocks; beyond it the oldest is forgotten."""


class Blocks:
    """Remembers blocks, for one process; `now` is in seconds of a clock that never goes back.

    `some` says that there may be any.
    """

    def __init__(self) -> None:
        self.some = False
        self._until: OrderedDict[Holder, float] = OrderedDict()

    def hear(self, principal: Holder, block: Block | None, now: float) -> None:
        """Remember what the store says of a principal."""
        self._until.pop(principal, None)
        if block is None:
            return
        seconds = LONGEST_BLOCK_SECONDS
        if block.remaining_us is not None:
            seconds = min(seconds, block.remaining_us / MICROSECONDS)
        self._until[principal] = now + seconds
        self.some = True
        if len(self._until) > MOST_BLOCKS:
            self._until.popitem(last=False)

    def blocked(self, principal: Holder, now: float) -> bool:
        """Whether a principal is blocked, as far as is known."""
        return now < self._until.get(principal, 0.0)
