"""What becomes of one request: what the limits say, and what is done about its risk."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from guard.core.decoy import used_up
from guard.core.evidence import NO_RISK, Risk
from guard.core.ladder import NO_ACTION, Rung
from guard.core.modes import Mode
from guard.core.reshape import UNCHANGED, Reshape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guard.core.limits import Reading


class Action(StrEnum):
    """The outcome of a decision."""

    ALLOW = "allow"
    RESHAPE = "reshape"
    SLOW = "slow"
    LIMITED = "limited"
    CHALLENGE = "challenge"
    HOLD = "hold"
    DENY = "deny"


FORWARDED = frozenset({Action.ALLOW, Action.RESHAPE, Action.SLOW})
"""The actions after which the backend is asked."""


class Reason(StrEnum):
    """Why a request was refused, or narrowed."""

    QUOTA = "quota"
    TOO_LARGE = "too_large"
    BLOCKED = "blocked"
    STORE = "store"
    RISK = "risk"


class Decision(NamedTuple):
    """What becomes of one request.

    `mode` says whether the action is carried out: `shadow` where only what is shadowed asks for it.
    `retry_after_us` is when the same request would be admitted, other traffic aside; `None` means never, or
    that nobody knows. `readings` come from the same call that decided. `answer_cap` is how many tokens each
    answer may have at most, where the caller's own cap has no room in the limits. `notice` is what a client
    is told that is held.
    """

    action: Action
    reason: Reason | None = None
    readings: tuple[Reading, ...] = ()
    retry_after_us: int | None = None
    mode: Mode = Mode.ENFORCE
    risk: Risk = NO_RISK
    rung: Rung = NO_ACTION
    answer_cap: int | None = None
    notice: str = ""

    @property
    def refused(self) -> bool:
        """Whether the request must not reach the backend."""
        return self.action not in FORWARDED and self.mode is Mode.ENFORCE

    @property
    def reshape(self) -> Reshape:
        """How the query and its answer are to be narrowed."""
        reshape = self.rung.reshape if self.mode is Mode.ENFORCE else UNCHANGED
        if self.answer_cap is None:
            return reshape
        return reshape.narrower(Reshape(max_output_tokens=self.answer_cap))

    @property
    def violated(self) -> tuple[Reading, ...]:
        """The windows without room; there are none where nothing is the reason for anything."""
        if self.reason is None:
            return ()
        return tuple(reading for reading in self.readings if not reading.fits)

    @property
    def visible(self) -> tuple[Reading, ...]:
        """What the client sees: not what is only tried out, nor what strangers have left."""
        return _visible(self.readings)


def decide(
    readings: Sequence[Reading],
    mode: Mode = Mode.ENFORCE,
    *,
    blocked: bool = False,
    block_us: int | None = None,
) -> Decision:
    """The decision on what the store has read.

    `mode` is that of everything which is not a limit's own. `block_us` is how long a block still holds,
    `None` for good. The wait is that of the slowest of the violated windows: when it is over, all of them
    have room. What is shadowed is judged only where nothing that is enforced refuses.
    """
    readings = tuple(readings)
    if blocked:
        return Decision(Action.DENY, Reason.BLOCKED, readings, block_us, mode)
    violated = [reading for reading in readings if reading.wait_us != 0]
    if not violated:
        return Decision(Action.ALLOW, None, readings, None, mode)
    enforced = [reading for reading in violated if reading.enforced]
    outcome = Mode.ENFORCE if enforced else Mode.SHADOW
    waits = [reading.wait_us for reading in enforced or violated]
    if None in waits:
        return Decision(Action.DENY, Reason.TOO_LARGE, readings, None, outcome)
    wait_us = max(wait for wait in waits if wait is not None)
    return Decision(Action.LIMITED, Reason.QUOTA, readings, wait_us, outcome)


def climb(
    decision: Decision, risk: Risk, rung: Rung, mode: Mode, *, now_us: int = 0, place: float = 0.0
) -> Decision:
    """The decision with what is done about a risk.

    `mode` is how far that bites. A refusal that is enforced stands as it is; one that is only tried out
    gives way to a rung that is enforced. What the client is told is made up only for a deny that is, by the
    moment in Unix microseconds and the place of the caller among all (guard/core/decoy.py).
    """
    if risk is not decision.risk:
        decision = decision._replace(risk=risk)
    if decision.refused or mode is Mode.OFF or rung is NO_ACTION or not rung.bites:
        return decision
    if decision.action is not Action.ALLOW and mode is not Mode.ENFORCE:
        return decision
    if rung.deny:
        if mode is not Mode.ENFORCE:
            return Decision(Action.DENY, Reason.RISK, decision.readings, None, mode, risk, rung)
        readings, wait_us = used_up(decision.readings, _visible(decision.readings), now_us, place)
        return Decision(Action.DENY, Reason.RISK, readings, wait_us, mode, risk, rung)
    if rung.challenge:
        return Decision(Action.CHALLENGE, Reason.RISK, decision.readings, None, mode, risk, rung)
    if rung.hold:
        return Decision(Action.HOLD, Reason.RISK, decision.readings, None, mode, risk, rung)
    if rung.slow_seconds > 0:
        return Decision(Action.SLOW, Reason.RISK, decision.readings, None, mode, risk, rung)
    if rung.reshape.changes:
        return Decision(Action.RESHAPE, Reason.RISK, decision.readings, None, mode, risk, rung)
    return decision


def _visible(readings: Sequence[Reading]) -> tuple[Reading, ...]:
    return tuple([reading for reading in readings if reading.enforced and reading.limit.for_one])
