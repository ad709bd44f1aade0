"""What speaks against a holder, as an operator reads it: its risk, the signals behind that, plain facts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from guard.core.calendars import MICROSECONDS
from guard.core.evidence import Evidence, Risk, risk
from guard.core.identity import Attribute
from guard.core.signals import Group, Signal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guard.admin.habits import Habits
    from guard.core.evidence import Weights
    from guard.core.identity import Holder
    from guard.core.uses import Declared


@dataclass(frozen=True, slots=True)
class Finding:
    """What one signal has said: `decibans` when it was seen, and what is `left` of that now.

    `at` and `since` are Unix seconds: when it was seen last as strongly, and since when it has been speaking
    at all. It counts for nothing where a declared use has it `excused`.
    """

    signal: Signal
    left: float
    decibans: float
    at: float
    since: float
    excused: bool

    @property
    def group(self) -> Group:
        """What it counts among."""
        return self.signal.group


@dataclass(frozen=True, slots=True)
class Suspicion:
    """What is known of how a holder behaves.

    `uses` are what it is declared to be for, `risk` is that of now, and `findings` are what is behind it, the
    strongest first. `habits` are `None` where there is no profile that this installation can read.
    """

    holder: Holder
    uses: tuple[Declared, ...]
    risk: Risk
    findings: tuple[Finding, ...]
    habits: Habits | None

    @classmethod
    def of(
        cls,
        holder: Holder,
        evidence: Evidence,
        uses: Sequence[Declared],
        now_us: int,
        weights: Weights,
        habits: Habits | None = None,
    ) -> Self:
        """What the evidence against a holder amounts to at this moment, given what it is for."""
        one_person = any(part.attribute is Attribute.END_USER for part in holder.parts)
        excused = frozenset[Signal]().union(*(each.use.excuses(one_person=one_person) for each in uses))
        findings = [
            Finding(
                signal,
                mark.left(now_us, weights.half_life_us),
                mark.decibans,
                mark.at_us / MICROSECONDS,
                mark.since_us / MICROSECONDS,
                signal in excused,
            )
            for signal, mark in evidence.marks.items()
        ]
        return cls(
            holder,
            tuple(uses),
            risk(evidence.marks, now_us, weights, excused=excused),
            tuple(sorted(findings, key=lambda finding: -finding.left)),
            habits,
        )
