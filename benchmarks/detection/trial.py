"""One actor against guard: how soon it is noticed, by what, and what it has carried off by then."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks.detection.actors import actor
from benchmarks.detection.side_by_side import in_order
from benchmarks.detection.sources import Side, load
from benchmarks.detection.watch import DEFAULTS, Eyes, default_budget, watch
from guard.core.evidence import GROUP_CAP, Band
from guard.core.uses import Use
from guard.detection.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from benchmarks.detection.sources import Split
    from benchmarks.detection.watch import Watched
    from guard.core.signals import Signal

NOTICED = (Band.ELEVATED, Band.HIGH, Band.CRITICAL)
"""The bands in which something is done, the mildest first."""


@dataclass(frozen=True, slots=True)
class Case:
    """One instance of a variety, with so many queries; `declared` is whether its owner told the operator.

    A case that `stops` is over when the holder is denied.
    """

    variety: str
    instance: int
    queries: int
    declared: bool = False
    stops: bool = False


@dataclass(slots=True)
class Trial:
    """What comes of a case.

    `queries` were asked, and `answered` all that the diversity budget had room for. `reached` is how many had
    been answered when each band was first reached, `blame` what said most then. `exemplars` is how many
    different ones were answered before the first denial, `denied` when that was. `drawn` is what was charged
    to the budget, in thousandths, `peak` the largest share of it in use. `worst` is the most that each signal
    said, in decibans.
    """

    case: Case
    queries: int = 0
    answered: int = 0
    exemplars: int = 0
    denied: int | None = None
    drawn: int = 0
    peak: float = 0.0
    reached: dict[Band, int] = field(default_factory=dict)
    blame: dict[Band, tuple[Signal, ...]] = field(default_factory=dict)
    worst: dict[Signal, float] = field(default_factory=dict)

    def within(self, band: Band, queries: int) -> bool:
        """Whether a band was reached by so many queries."""
        return self.reached.get(band, queries + 1) <= queries

    def note(self, seen: Watched) -> None:
        """One more query, and what is thought of its holder."""
        self.queries += 1
        if seen.drawn is None:
            return
        self.answered += 1
        self.drawn += seen.drawn
        for band in _bands(seen.risk.band):
            if band not in self.reached:
                self.reached[band] = self.answered
                self.blame[band] = _speaking(seen)
        for signal, mark in seen.marks.items():
            self.worst[signal] = max(self.worst.get(signal, 0.0), mark.decibans)
        if self.denied is None and seen.biting.band is Band.CRITICAL:
            self.denied = self.answered


class Court:
    """What all cases of a side are tried with."""

    def __init__(self, split: Split, seed: int, reference: Reference) -> None:
        self._split = split
        self._seed = seed
        self._reference = reference
        self._eyes = Eyes()

    def hear(self, case: Case) -> Trial:
        """Go through a case."""
        tried = actor(self._split, self._seed, case.queries, case.variety, case.instance)
        use = Use(tried.declared) if case.declared and tried.declared else None
        trial, budget, carried = Trial(case), default_budget(), set()
        for seen in watch(tried, self._eyes, self._reference, use, budget):
            if trial.denied is None and seen.drawn is not None:
                carried.add(seen.look.query.turns)
            trial.note(seen)
            if case.stops and trial.denied is not None:
                break
        trial.exemplars, trial.peak = len(carried), budget.peak
        return trial


def hear(
    folder: Path, side: Side, seed: int, cases: Sequence[Case], *, reference: Path | None, processes: int
) -> Iterator[Trial]:
    """All cases, in their order, by several processes."""
    return in_order(_hear, cases, _open, (folder, side, seed, reference), processes)


def _open(folder: Path, side: Side, seed: int, reference: Path | None) -> None:
    global _court
    _court = Court(load(folder, side), seed, Reference.load(reference))


def _hear(case: Case) -> Trial:
    return _court.hear(case)


_court: Court


def _bands(band: Band) -> Sequence[Band]:
    """The bands that are reached with this one."""
    return NOTICED[: NOTICED.index(band) + 1] if band in NOTICED else ()


def _speaking(seen: Watched) -> tuple[Signal, ...]:
    """The strongest signals of those two groups that say most."""
    now_us, half_life_us = seen.look.now_us, DEFAULTS.detection.weights.half_life_us
    groups = seen.risk.groups
    left = {signal: min(GROUP_CAP, mark.left(now_us, half_life_us)) for signal, mark in seen.marks.items()}
    leading = [signal for signal, decibans in left.items() if decibans == groups.get(signal.group)]
    return tuple(sorted(leading, key=left.__getitem__, reverse=True)[:2])
