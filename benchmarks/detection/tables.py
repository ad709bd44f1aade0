"""What trials come to: rows of tables, in Markdown and as values."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from math import ceil, exp, inf, lgamma, log
from typing import TYPE_CHECKING

from benchmarks.detection.trial import NOTICED
from guard.core.evidence import Band

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from benchmarks.detection.trial import Trial

BENIGN_WITHIN = 2_000
"""An honest holder is watched for so many queries."""

MILESTONES = (50, 200, 1_000, 5_000)
WINDOW = 500


@dataclass(frozen=True, slots=True)
class Share:
    """So many of so many, with the 95 % bounds of Clopper and Pearson (1934)."""

    some: int
    all: int

    @property
    def bounds(self) -> tuple[float, float]:
        """The smallest and the largest share that is not refuted."""
        low = _solve(lambda p: 1 - _at_most(self.some - 1, self.all, p) - 0.025) if self.some else 0.0
        high = _solve(lambda p: 0.025 - _at_most(self.some, self.all, p)) if self.some < self.all else 1.0
        return low, high

    def __str__(self) -> str:
        if not self.all:
            return "-"
        low, high = self.bounds
        return f"{self.some / self.all:.0%} ({low:.0%} to {high:.0%})"


@dataclass(frozen=True, slots=True)
class Table:
    """One table: what it shows, its columns, and a row for each variety."""

    title: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]

    def markdown(self) -> str:
        """The table under its title."""
        lines = [self.columns, ("---",) * len(self.columns), *self.rows]
        body = "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)
        return f"## {self.title}\n\n{self.note}\n\n{body}\n"

    def values(self) -> dict[str, object]:
        """The same for a program."""
        rows = [dict(zip(self.columns, map(_value, row), strict=True)) for row in self.rows]
        return {"title": self.title, "rows": rows}


def honest(title: str, note: str, trials: Iterable[Trial]) -> Table:
    """How often honest holders come under suspicion."""
    columns = ("variety", "instances", "queries", *NOTICED, "because of", "most of a day's budget")
    rows = []
    for name, group in _by_variety(trials):
        shares = [
            Share(sum(trial.within(band, BENIGN_WITHIN) for trial in group), len(group)) for band in NOTICED
        ]
        asked = sum(trial.queries for trial in group)
        rows.append((name, len(group), asked, *shares, _blamed(group), max(trial.peak for trial in group)))
    return Table(title, note, columns, tuple(rows))


def attacks(title: str, note: str, trials: Iterable[Trial]) -> Table:
    """How soon attackers are noticed, and what they have by then."""
    columns = (
        *("variety", "runs", "queries each"),
        *(f"to {band}: median, p90" for band in NOTICED),
        *(f"high by {number:,}" for number in MILESTONES),
        *("denied", "exemplars: median, p90", "of a day's budget: median"),
    )
    rows = []
    for name, group in _by_variety(trials):
        queries = group[0].case.queries
        soon = [_quantiles([trial.reached.get(band, inf) for trial in group]) for band in NOTICED]
        by = [
            Share(sum(trial.within(Band.HIGH, number) for trial in group), len(group))
            if number <= queries
            else None
            for number in MILESTONES
        ]
        denied = Share(sum(trial.denied is not None for trial in group), len(group))
        carried = _quantiles([trial.exemplars for trial in group])
        peak = _quantile([trial.peak for trial in group], 0.5)
        rows.append((name, len(group), queries, *soon, *by, denied, carried, peak))
    return Table(title, note, columns, tuple(rows))


def dilution(title: str, note: str, trials: Iterable[Trial], covers: Sequence[Trial]) -> Table:
    """How often an attack is found that hides in other traffic, beside the traffic alone."""
    columns = ("cover", "attack in 100", "windows", Band.ELEVATED, Band.HIGH, "because of")
    found: dict[tuple[str, int], list[Trial]] = defaultdict(list)
    for trial in trials:
        name, percent = trial.case.variety.removeprefix("hidden-").rsplit("-", 1)
        found[name, int(percent)].append(trial)
    for trial in covers:
        if trial.case.variety in {cover for cover, _ in found}:
            found[trial.case.variety, 0].append(trial)
    rows = []
    for (cover, share), group in sorted(found.items()):
        shares = [
            Share(sum(trial.within(band, WINDOW) for trial in group), len(group)) for band in NOTICED[:2]
        ]
        rows.append((cover, share, len(group), *shares, _blamed(group)))
    return Table(title, note, columns, tuple(rows))


def _by_variety(trials: Iterable[Trial]) -> list[tuple[str, list[Trial]]]:
    groups: dict[tuple[str, int], list[Trial]] = defaultdict(list)
    for trial in trials:
        groups[trial.case.variety, trial.case.queries].append(trial)
    return [(variety, group) for (variety, _), group in groups.items()]


def _blamed(group: Sequence[Trial]) -> str:
    """What spoke, most often first, when the worst band was reached."""
    spoke = Counter(signal for trial in group if trial.blame for signal in list(trial.blame.values())[-1])
    return ", ".join(f"{signal} {times}" for signal, times in spoke.most_common(4)) or "-"


def _quantile(numbers: Sequence[float], q: float) -> float:
    return sorted(numbers)[min(len(numbers) - 1, ceil(q * len(numbers)) - 1)]


def _quantiles(numbers: Sequence[float]) -> str:
    return ", ".join(
        "never" if number == inf else f"{number:,.0f}"
        for number in (_quantile(numbers, 0.5), _quantile(numbers, 0.9))
    )


def _cell(value: object) -> str:
    match value:
        case None:
            return "-"
        case float():
            return f"{value:.0%}"
        case int():
            return f"{value:,}"
    return str(value)


def _value(value: object) -> object:
    if isinstance(value, Share):
        low, high = value.bounds
        return {"some": value.some, "all": value.all, "low": round(low, 4), "high": round(high, 4)}
    return value


def _at_most(some: int, all_: int, p: float) -> float:
    """The chance of at most so many hits."""
    return sum(
        exp(
            lgamma(all_ + 1)
            - lgamma(hits + 1)
            - lgamma(all_ - hits + 1)
            + hits * log(p)
            + (all_ - hits) * log(1 - p)
        )
        for hits in range(some + 1)
    )


def _solve(rising: Callable[[float], float]) -> float:
    """Where a rising function of (0, 1) is 0."""
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < 0 else (low, middle)
    return (low + high) / 2
