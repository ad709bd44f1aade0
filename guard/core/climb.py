"""How far up the ladder the evidence against a holder brings one of its requests."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

from guard.core.evidence import NO_RISK, Risk, risk
from guard.core.holds import Cleared, Held
from guard.core.ladder import NO_ACTION, ON_HOLD, Rung

if TYPE_CHECKING:
    from collections.abc import Mapping

    from guard.core.detection import Suspect
    from guard.core.evidence import Mark, Weights
    from guard.core.holds import Review
    from guard.core.ladder import Ladder
    from guard.core.signals import Signal

NO_MARKS: Mapping[Signal, Mark] = {}


@dataclass(frozen=True, slots=True)
class Climb:
    """A risk, and what is done about it."""

    risk: Risk = NO_RISK
    rung: Rung = NO_ACTION


NO_CLIMB = Climb()
"""Nobody is suspected of anything."""


def climb_of(
    suspect: Suspect | None,
    marks: Mapping[Signal, Mark],
    weights: Weights,
    ladder: Ladder,
    *,
    request_id: str,
    place: float,
    now_us: int,
    review: Review | None = None,
) -> Climb:
    """What is to be done about the evidence against a request's suspect, at this moment.

    The ladder's delay is for each suspect a share of its own, by its `place` among all (0 to 100). `review`
    is how the suspect's stands: one that is held is held whatever its risk, and of one that was cleared the
    groups at which somebody has looked refuse nothing.
    """
    held = isinstance(review, Held)
    if suspect is None or not (marks or held):
        return NO_CLIMB
    delay_us, excused = int(ladder.delay_us * place / 100), suspect.excused
    known = biting = risk(marks, now_us, weights, excused=excused)
    if not all(mark.speaks(now_us, delay_us) for mark in marks.values()):
        biting = risk(marks, now_us, weights, excused=excused, delay_us=delay_us)
    if held:
        return Climb(known, ON_HOLD)
    drawn = chance(request_id, "ladder")
    rung = ladder.rung(biting.band, drawn)
    if rung.refuses and isinstance(review, Cleared):
        looked_at = {signal for signal in marks if signal.group in review.groups}
        rest = risk(marks, now_us, weights, excused=excused | looked_at, delay_us=delay_us)
        rung = ladder.rung(rest.band, drawn)
        if not rung.refuses:
            rung = ladder.short_of_refusal(biting.band)
    return Climb(known, rung)


def wait_seconds(rung: Rung, request_id: str) -> float:
    """How long a request waits on this rung: between a half and all of what it says."""
    return rung.slow_seconds * (0.5 + chance(request_id, "slow") / 2)


def chance(request_id: str, purpose: str) -> float:
    """An even draw from [0, 1) for one request, the same in every replay."""
    # Not a CRC: those of one id for two purposes differ by the same bits for every id of that length.
    digest = blake2b(f"{purpose}\0{request_id}".encode("utf-8", "surrogatepass"), digest_size=4).digest()
    return int.from_bytes(digest) / (1 << 32)
