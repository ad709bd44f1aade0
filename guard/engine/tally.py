"""Refusals that the store has not counted: from memory, by the ladder, or while the store was down.

An operator reads in an identity's record how often it was refused. The store counts what it refuses itself;
the engine reports the rest once a second, and when it ends. What is only tried out (mode `shadow`) is
counted apart, since the client saw nothing of it.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from guard.core.identity import Holder, Identity

MOST_IDENTITIES = 10_000
"""Maximum number of identities between two reports; the oldest count is dropped first."""


@dataclass(frozen=True, slots=True)
class Count:
    """Refusals of one identity, and those that would have been in mode `enforce`."""

    identity: Identity
    refused: int = 0
    shadowed: int = 0


class Tally:
    """Counts by principal until the counts are taken."""

    def __init__(self, most: int = MOST_IDENTITIES) -> None:
        self._most = most
        self._counts: OrderedDict[Holder, Count] = OrderedDict()

    def add(self, identity: Identity, *, refused: int = 0, shadowed: int = 0) -> None:
        """Count one more, or several."""
        before = self._counts.pop(identity.principal, Count(identity))
        self._counts[identity.principal] = Count(
            identity, before.refused + refused, before.shadowed + shadowed
        )
        if len(self._counts) > self._most:
            self._counts.popitem(last=False)

    def take(self, most: int) -> list[Count]:
        """The oldest counts, which are forgotten here."""
        return [self._counts.popitem(last=False)[1] for _ in range(min(most, len(self._counts)))]

    def take_refused(self, principal: Holder) -> int:
        """The refusals of one principal, which are forgotten here."""
        count = self._counts.pop(principal, None)
        if count is None:
            return 0
        if count.shadowed:
            self._counts[principal] = Count(count.identity, 0, count.shadowed)
        return count.refused

    def __len__(self) -> int:
        return len(self._counts)
