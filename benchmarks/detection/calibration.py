"""Whether p-values are true: of honest holders on sources left out, how many come out how unlikely.

A holder counts in each signal and stratum once, at its most suspicious moment, as in the tables themselves;
and each sort of honest use counts alike, however many holders it has. A p-value that is true is .01 or less
for one holder in a hundred.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.detection.figures import Share, Table
from benchmarks.detection.reference import most_shown
from benchmarks.pictures import OURS, SECOND, THEIRS, picture
from guard.core.signals import Signal
from guard.detection.tables import LEAST_HOLDERS, Stratum

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from benchmarks.detection.lives import Life
    from guard.detection.reference import Reference

LEVELS = (0.01, 0.02, 0.05, 0.1)
PROMISED = 0.02
"""The largest share of honest holders that may have a p-value of `LEVELS[0]` or less."""


LEAST_DRAWN = 1e-3
"""Smaller shares are drawn as this one."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A signal in a stratum: the p-value of each holder, with what the holder counts for."""

    signal: Signal
    stratum: Stratum
    ps: Sequence[tuple[float, float]]

    def share(self, level: float) -> float:
        """The share of holders whose p-value is this or less."""
        return sum(weight for p, weight in self.ps if p <= level) / sum(weight for _, weight in self.ps)

    def counted(self, level: float) -> Share:
        """The same by heads, with bounds."""
        return Share(sum(p <= level for p, _ in self.ps), len(self.ps))


def cells(honest: Iterable[tuple[Life, Reference]]) -> list[Cell]:
    """All cells that have holders enough, each holder by the reference that it is judged by."""
    found: dict[tuple[Signal, Stratum], list[tuple[float, Life]]] = defaultdict(list)
    for life, reference in honest:
        for signal in reference.tables.keys() - life.excused:
            for stratum, value in most_shown(signal, life, reference.scores.get(signal)).items():
                found[signal, stratum].append((reference.share(signal, stratum, value), life))
    return [
        Cell(signal, stratum, _weighed(found[signal, stratum]))
        for signal in Signal
        for stratum in Stratum
        if len(found[signal, stratum]) >= LEAST_HOLDERS
    ]


def worst(found: Sequence[Cell]) -> Cell:
    """The cell with the most holders that come out unlikely."""
    return max(found, key=lambda cell: (cell.share(LEVELS[0]), cell.share(LEVELS[1])))


def calibration(found: Sequence[Cell]) -> Table:
    """The shares of all cells."""
    bad = [cell for cell in found if cell.share(LEVELS[0]) > PROMISED]
    most = worst(found)
    note = f"""\
Of honest holders on sources left out, the share whose p-value is ever so small, each sort of use counting
alike; the last column counts heads. Promised is that no share with p ≤ {LEVELS[0]} is above {PROMISED}:
{len(bad)} of {len(found)} cells are. The worst is {most.signal} in {most.stratum}, with
{most.share(LEVELS[0]):.3f}."""
    rows = [
        (
            cell.signal.value,
            cell.stratum.value,
            len(cell.ps),
            *(round(cell.share(level), 4) for level in LEVELS),
            cell.counted(LEVELS[0]),
        )
        for cell in found
    ]
    columns = (
        *("signal", "stratum", "holders"),
        *(f"p ≤ {level}" for level in LEVELS),
        "holders with the first",
    )
    return Table("Calibration, on sources left out", note, columns, tuple(rows))


def draw(found: Sequence[Cell], file: Path) -> None:
    """What share of holders has which p-value: on the line where it is true, above where too many have."""
    with picture(file) as axes:
        for cell in found:
            shares = [max(cell.share(level), LEAST_DRAWN) for level in LEVELS]
            axes.plot(LEVELS, shares, ".-", lw=0.6, color=THEIRS if cell.signal.weak else OURS)
        axes.plot(LEVELS, LEVELS, "--", color=SECOND, label="true")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("p-value")
        axes.set_ylabel("share of honest holders")
        axes.legend(frameon=False)


def _weighed(found: Sequence[tuple[float, Life]]) -> list[tuple[float, float]]:
    number = Counter(life.sort for _, life in found)
    return [(p, 1 / number[life.sort]) for p, life in found]
