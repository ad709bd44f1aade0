"""Holds: whose requests are refused until somebody has looked, and whom somebody has cleared.

    Monday 09:00     content signals bring key:a to a rung that holds: it is held
    Thursday 09:00   the risk has faded; key:a is held all the same
    Thursday 10:00   `guard release key:a --for 30d`: it is served, and cleared of content for 30 days
    Friday 10:00     content says what it said on Monday: slowed and cut as its band says, not refused
    Sunday 10:00     intent alone brings it to a rung that holds, at which nobody has looked: held again

Somebody who clears a holder has looked at what spoke against it then. So a clear is of the groups of signals
that spoke, since the signals of a group rest on the same facts, and of no other.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from guard.core.calendars import MICROSECONDS

if TYPE_CHECKING:
    from guard.core.evidence import Band
    from guard.core.signals import Group


@dataclass(frozen=True, slots=True)
class Held:
    """A holder is held until somebody says so, or until `until_us`.

    `receipt` is the id of the request by which it was placed, and what clients are told to name. `band` is
    that of the risk then, and `groups` are those that spoke. Times are Unix microseconds.
    """

    receipt: str
    band: Band
    groups: tuple[Group, ...]
    since_us: int
    until_us: int = field(compare=False)


@dataclass(frozen=True, slots=True)
class Cleared:
    """Somebody has looked: until `until_us`, or for good, these groups refuse nothing to a holder."""

    groups: tuple[Group, ...]
    since_us: int
    until_us: int | None = field(compare=False)
    reason: str = ""


Review = Held | Cleared
"""How the review of a holder stands; two that differ in nothing but their end are the same."""


@dataclass(frozen=True, slots=True)
class HoldTerms:
    """What a client that is held is told, and how long a hold lasts that nobody looks at."""

    message: str = "This account is held for review."
    life_us: int = 30 * 86_400 * MICROSECONDS

    def notice(self, receipt: str) -> str:
        """What a client is told that is held under this receipt."""
        return f"{self.message} Receipt: {receipt}"


DEFAULT_HOLD_TERMS = HoldTerms()
