"""Evidence and risk: what speaks against a holder, how surely, and for how long.

**Evidence.** A signal is one number about what a holder did. What it is worth depends on how often an honest
holder shows as much: its p-value, taken from benign reference traffic. Evidence is that p-value in decibans,
-10·log10(p): 10 where one honest holder in ten ever shows as much, 30 where one in a thousand does (I. J.
Good, 1979, on Turing's units).

**Groups.** Signals that tend to fire together belong to one group, and a group counts once, by the strongest
of its signals. What is under `SPEAKING` is not counted at all: every honest holder is a little unusual in
something, and that must not add up. Groups rest on different facts and do add up, each no more than
`GROUP_CAP`: beyond one in a thousand, tables say nothing.

**Decay.** What was seen keeps its weight for a while and loses half of it in each half-life. A signal that is
seen again counts as the larger of what is left and what is new; it is not added up, since the same holder's
next query shows largely the same again.

    half-life 1 day
    Monday 09:00   enumeration 24 dB (content)                              risk 24: high
    Monday 10:00   grading 18 dB (intent), enumeration still 23             risk 41, two groups: critical
    Tuesday 10:00  nothing new: 12 and 9, of which 12 count                 risk 12: elevated

**Bands.** A risk falls in a band by its sum. `CRITICAL` is reserved for what at least two groups say, each
with `SPEAKING` or more: however sure a single one is, it can be wrong in one way. Signals that are weak are
told to the operator, and add nothing to the sum.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from guard.core.signals import Group, Signal

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

GROUP_CAP = 30.0
"""The most that one group can say, in decibans."""

SPEAKING = 10.0
"""A group with less than this says nothing."""

FAINTEST = 3.0
"""Evidence of fewer decibans is not kept: one honest holder in two shows as much."""


class Band(StrEnum):
    """How bad a risk is."""

    LOW = "low"
    ELEVATED = "elevated"
    HIGH = "high"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class Mark:
    """What one signal has said: `decibans` at the moment `at_us`, and since when it has been speaking at all
    (Unix microseconds).
    """

    decibans: float
    at_us: int
    since_us: int

    def left(self, now_us: int, half_life_us: int) -> float:
        """What is left of it."""
        # A clock that was set back counts as standing still.
        return float(self.decibans * 0.5 ** (max(0, now_us - self.at_us) / half_life_us))

    def speaks(self, now_us: int, delay_us: int) -> bool:
        """Whether it is old enough to be acted on."""
        return max(0, now_us - self.since_us) >= delay_us


@dataclass(frozen=True, slots=True)
class Weights:
    """How evidence adds up: the half-life, and the risk at which each band but `LOW` begins (decibans)."""

    half_life_us: int = 3 * 86_400_000_000
    elevated: float = 10.0
    high: float = 17.0
    critical: float = 40.0


@dataclass(frozen=True, slots=True)
class Risk:
    """The sum of what the groups say, in decibans, and where that falls."""

    decibans: float = 0.0
    groups: Mapping[Group, float] = field(default_factory=dict)
    band: Band = Band.LOW


NO_RISK = Risk()


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of one holder, as of `version`; nothing at version 0.

    `profile` is empty where there is none.
    """

    version: int = 0
    profile: bytes = b""
    marks: Mapping[Signal, Mark] = field(default_factory=dict)


NO_EVIDENCE = Evidence()


@dataclass(frozen=True, slots=True)
class Learnt:
    """Whether it was kept, and what is known now: what was sent, or what another process has learnt first."""

    kept: bool
    evidence: Evidence


def merge(
    old: Mapping[Signal, Mark], fresh: Mapping[Signal, float], now_us: int, half_life_us: int
) -> dict[Signal, Mark]:
    """What is known after new evidence in decibans: for each signal the stronger of both, the faint left out.

    A signal that has been silent, and speaks again, speaks since now.
    """
    marks: dict[Signal, Mark] = {}
    if not old and not fresh:
        return marks
    for signal in Signal:
        mark = old.get(signal)
        left = mark.left(now_us, half_life_us) if mark is not None else 0.0
        new = min(GROUP_CAP, fresh.get(signal, 0.0))
        if max(left, new) < FAINTEST:
            continue
        if mark is not None and left > new:
            marks[signal] = mark
        else:
            spoke = mark is not None and left >= SPEAKING
            marks[signal] = Mark(new, now_us, mark.since_us if mark is not None and spoke else now_us)
    return marks


def risk(
    marks: Mapping[Signal, Mark],
    now_us: int,
    weights: Weights,
    *,
    excused: Collection[Signal] = (),
    delay_us: int = 0,
) -> Risk:
    """The risk that evidence amounts to at this moment.

    Signals that are `excused` do not count, nor do those that have been speaking for less than `delay_us`:
    who tries things out is not to see at once what was noticed.
    """
    groups: dict[Group, float] = {}
    for signal, mark in marks.items():
        if signal.weak or signal in excused or not mark.speaks(now_us, delay_us):
            continue
        left = mark.left(now_us, weights.half_life_us)
        if left >= SPEAKING:
            groups[signal.group] = min(GROUP_CAP, max(groups.get(signal.group, 0.0), left))
    total = sum(groups.values())
    return Risk(total, groups, _band(total, len(groups), weights))


def _band(total: float, groups: int, weights: Weights) -> Band:
    if total >= weights.critical and groups >= 2:
        return Band.CRITICAL
    if total >= weights.high:
        return Band.HIGH
    return Band.ELEVATED if total >= weights.elevated else Band.LOW
