"""Declared uses: what an operator knows a holder to be for, and which signals mean nothing there."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from guard.core.signals import Signal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from guard.core.identity import Holder, Identity


class Use(StrEnum):
    """What a holder is for, by its own word and the operator's.

    `EVALUATION` runs sets of questions or transcripts, `JUDGE` has answers graded, `BATCH` works through
    documents, `ROUTER` carries many people under one key, and `RED_TEAM` attacks on purpose.
    """

    EVALUATION = "evaluation"
    JUDGE = "judge"
    BATCH = "batch"
    ROUTER = "router"
    RED_TEAM = "red_team"

    def excuses(self, *, one_person: bool) -> frozenset[Signal]:
        """The signals that such a use shows as a matter of course: more of a router's end users together,
        where requests do not say which of them asks, than of `one_person`.
        """
        return _EXCUSED[self] if one_person or not self.per_end_user else _EXCUSED[self] | _ENUMERATING

    @property
    def per_end_user(self) -> bool:
        """Whether evidence is kept for each end user, where the request names one, instead of for all."""
        return self is Use.ROUTER


_TIRELESS = frozenset({Signal.NO_RAMP, Signal.ROUND_THE_CLOCK, Signal.SHIFT})
_ENUMERATING = frozenset({Signal.ENUMERATION, Signal.MIXTURE, Signal.DISTANCE, Signal.YIELD})

_EXCUSED = {
    Use.EVALUATION: _TIRELESS | _ENUMERATING | {Signal.RESAMPLING, Signal.SWEEP, Signal.LINEAGE},
    Use.JUDGE: _TIRELESS | _ENUMERATING | {Signal.GRADING, Signal.RESAMPLING},
    Use.BATCH: _TIRELESS | _ENUMERATING,
    Use.ROUTER: _TIRELESS | {Signal.MIXTURE, Signal.LINEAGE},
    Use.RED_TEAM: _TIRELESS
    | _ENUMERATING
    | {Signal.EXTRACTION, Signal.HAZARD, Signal.REFUSED, Signal.PROBING, Signal.DISGUISE, Signal.RESAMPLING},
}


@dataclass(frozen=True, slots=True)
class Declared:
    """A use that holds until `until_us` (Unix microseconds), or for good."""

    use: Use
    until_us: int | None = None

    def holds(self, now_us: int) -> bool:
        """Whether it is not over."""
        return self.until_us is None or now_us < self.until_us


def declared_of(identity: Identity, uses: Mapping[Holder, Declared], now_us: int) -> tuple[Declared, ...]:
    """What this identity, or one of its attributes, is declared to be for, by the `uses` of holders."""
    if not uses:
        return ()
    found = (uses[holder] for holder in identity.holders if holder in uses)
    return tuple(each for each in found if each.holds(now_us))
