"""Rounds of all cases in random order, and what may be said of them.

A machine is busier at one time than at another, so batches that were taken minutes apart say little about
each other. Each round takes one batch of every case, in random order. A ratio is the median of one case over
all rounds divided by the median of the other. Its interval is a bootstrap: rounds are drawn again, each with
both its batches, and 95 % of the ratios of such draws lie in it.
"""

from __future__ import annotations

import random
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

Batch = dict[str, float]
"""What was measured in one batch, by name."""

RESAMPLES = 2_000


@dataclass(frozen=True, slots=True)
class Ratio:
    """A ratio, and the interval that 95 % of its resamples lie in."""

    value: float
    low: float
    high: float

    def rounded(self) -> list[float]:
        """The value and its interval, as JSON has them."""
        return [round(number, 3) for number in (self.value, self.low, self.high)]


def interleave(
    what: str, cases: Mapping[str, Callable[[], Batch]], rounds: int, tell: Callable[[str], None]
) -> dict[str, list[Batch]]:
    """The batches of each case, round by round."""
    batches: dict[str, list[Batch]] = {name: [] for name in cases}
    for round_ in range(rounds):
        for name in random.sample(list(cases), len(cases)):
            batches[name].append(cases[name]())
        tell(f"{what}: round {round_ + 1} of {rounds}")
    return batches


def median(batches: Sequence[Batch], measure: str) -> float:
    return statistics.median(batch[measure] for batch in batches)


def ratio(of: Sequence[Batch], to: Sequence[Batch], measure: str) -> Ratio:
    """How a measure of one case stands to that of another, which was taken in the same rounds."""
    pairs = [(one[measure], other[measure]) for one, other in zip(of, to, strict=True)]
    chance = random.Random(1)
    resampled = sorted(_of_medians(chance.choices(pairs, k=len(pairs))) for _ in range(RESAMPLES))
    low, high = resampled[int(0.025 * RESAMPLES)], resampled[int(0.975 * RESAMPLES)]
    return Ratio(_of_medians(pairs), low, high)


def _of_medians(pairs: Sequence[tuple[float, float]]) -> float:
    ones, others = zip(*pairs, strict=True)
    return float(statistics.median(ones) / statistics.median(others))


def summary(batches: Mapping[str, Sequence[Batch]], bases: Iterable[str]) -> dict[str, dict[str, object]]:
    """The median of each measure of each case, and how its rate stands to those of some."""
    told: dict[str, dict[str, object]] = {}
    for name, of_case in batches.items():
        told[name] = {measure: round(median(of_case, measure), 3) for measure in of_case[0]}
        for base in bases:
            if base in batches:
                told[name][f"rate / {base}"] = ratio(of_case, batches[base], "per_second").rounded()
    return told
