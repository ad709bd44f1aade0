"""How far a rule bites: `enforce`, `shadow` or `off`, for everything, for a tier, or for one limit.

The mildest of the three holds: a limit that is enforced in a tier that is shadowed is shadowed. A rule may
bite for a share of the identities only. Every identity has a fixed place between 0 and 100 (a keyed hash of
its principal), and a rule with `enforce_percent = 5` bites for the places below 5, so the same identities
stay chosen as the share is raised.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Mode(StrEnum):
    """`enforce` refuses; `shadow` decides and counts but refuses nothing; `off` only forwards."""

    ENFORCE = "enforce"
    SHADOW = "shadow"
    OFF = "off"


_MILDEST_FIRST = (Mode.OFF, Mode.SHADOW, Mode.ENFORCE)


def mildest(*modes: Mode) -> Mode:
    """The one of them that does least."""
    return min(modes, key=_MILDEST_FIRST.index)


@dataclass(frozen=True, slots=True)
class Rollout:
    """A mode, and for how many percent of the identities it may be `enforce`; the others are shadowed."""

    mode: Mode = Mode.ENFORCE
    enforce_percent: float = 100.0

    def mode_at(self, place: float) -> Mode:
        """The mode for the identity at this place, from 0 (inclusive) to 100 (exclusive)."""
        return self.mode if place < self.enforce_percent else mildest(self.mode, Mode.SHADOW)


ENFORCED = Rollout()
"""For all, without a word from the operator."""
