"""How far up the ladder the evidence against a holder brings one of its requests."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

from guard.core.evidence import NO_RISK, Risk, risk
from guard.core.ladder import NO_ACTION, Rung

if TYPE_CHECKING:
    from collections.abc import Mapping

    from guard.core.detection import Suspect
    from guard.core.evidence import Mark, Weights
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
) -> Climb:
    """What is to be done about the evidence against a request's suspect, at this moment.

    The ladder's delay is for each suspect a share of its own, by its `place` among all (0 to 100).
    """
    if suspect is None or not marks:
        return NO_CLIMB
    delay_us, excused = int(ladder.delay_us * place / 100), suspect.excused
    known = biting = risk(marks, now_us, weights, excused=excused)
    if not all(mark.speaks(now_us, delay_us) for mark in marks.values()):
        biting = risk(marks, now_us, weights, excused=excused, delay_us=delay_us)
    rung = ladder.rung(biting.band, chance(request_id, "ladder"))
    return Climb(known, rung)


def wait_seconds(rung: Rung, request_id: str) -> float:
    """How long a request waits on this rung: between a half and all of what it says."""
    return rung.slow_seconds * (0.5 + chance(request_id, "slow") / 2)


def chance(request_id: str, purpose: str) -> float:
    """An even draw from [0, 1) for one request, the same in every replay."""
    # Not a CRC: those of one id for two purposes differ by the same bits for every id of that length.
    digest = blake2b(f"{purpose}\0{request_id}".encode("utf-8", "surrogatepass"), digest_size=4).digest()
    return int.from_bytes(digest) / (1 << 32)
