"""What a statistic is worth: the share of honest holders that ever show as much, by how they ask.

**p-values.** Each honest holder of the reference traffic counts once, by the most that it ever showed of a
signal. The p-value of a statistic is the share of them that ever showed as much, with one more holder who
always does (a conformal p-value; Vovk, Gammerman and Shafer, 2005), so that it is never 0. It says *how many
honest holders ever look like this*, however long they are watched.

    999 honest holders, whose most of a signal was .02 or more for 50, .10 or more for 9
    .02 → 51 of 1,000, p = .051, 13 dB     .10 → p = .010, 20 dB     above all: p = .001, 30 dB

**Strata.** A person, an app and a batch job differ in what is usual, and one table for all would call the
most unusual use a suspect. So there is a table for each `Stratum`, which is told from the profile alone, and
a holder is held against honest holders of its own, and against all: what counts is the larger p-value. A
stratum has few sorts of use, and one that it has none of can be usual elsewhere.

**A bounded prior.** Nobody's honest traffic is like a simulation. The shipped tables count for `PRIOR`
holders, however many they were made from: with an operator's own n, a p-value is

    p = (PRIOR · p shipped + k) / (PRIOR + n)     where k of the n ever showed as much

so that 60 of one's own move a table, and 1,000 all but replace it.

**What was never seen.** That a few hundred honest holders never did a thing says little of how often others
do it once. So a statistic is worth 20 decibans at the earliest where it is `Signal.span` beyond the least
that anybody showed.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from math import exp, log, log10
from typing import TYPE_CHECKING, Any

import numpy as np

from guard.core.evidence import FAINTEST
from guard.detection.layout import Drawn

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from guard.core.signals import Signal
    from guard.detection.profile import Profile

PRIOR = 100
"""The number of holders that the shipped tables count for beside an operator's own."""

LEAST_HOLDERS = 60
"""Minimum number of holders of a stratum for a table of its own."""

MOST_WORTH = 40.0
"""The most that a table makes of a statistic, in decibans."""

STEP = 0.97
"""A knot is kept if its share is so much of the one's before it, or less."""

DIGITS = 4
"""Decimals of a statistic that count: what is written down is what holds."""


class Stratum(StrEnum):
    """How a holder asks, as far as anybody can see it."""

    CONVERSATIONS = "conversations"
    """One query in five or more goes on with a conversation, of what was drawn."""

    WORDED = "worded"
    """One wording goes round most queries."""

    SINGLE = "single"
    """Single queries, without one wording."""

    ANY = "any"
    """All of them: where a stratum has too few holders for a table."""


def stratum_of(profile: Profile) -> Stratum:
    """How this holder asks."""
    if profile.drawn(Drawn.CONTINUED) >= 0.2:
        return Stratum.CONVERSATIONS
    return Stratum.WORDED if profile.worded >= 0.5 else Stratum.SINGLE


@dataclass(frozen=True, slots=True)
class Table:
    """How honest holders come out in one signal: `statistics` in rising order, and the share of holders that
    ever showed as much as each of them. `holders` is how many there were. Beyond the last one, the share is
    the last one's.
    """

    statistics: tuple[float, ...]
    shares: tuple[float, ...]
    holders: int
    span: float

    def share(self, statistic: float) -> float:
        """The share of honest holders that ever show as much: the p-value of a statistic."""
        place = bisect_right(self.statistics, statistic)
        if place == 0:
            return 1.0
        if place == len(self.statistics):
            return self.shares[-1]
        below, above = self.statistics[place - 1], self.statistics[place]
        within = (statistic - below) / (above - below)
        return exp((1 - within) * log(self.shares[place - 1]) + within * log(self.shares[place]))

    def worth(self, statistic: float) -> float:
        """What a statistic says in decibans, 0 to `MOST_WORTH`."""
        steepest = FAINTEST + 20 * (statistic - self.statistics[0]) / self.span
        return max(0.0, min(MOST_WORTH, steepest, -10 * log10(self.share(statistic))))

    def statistic(self, decibans: float) -> float | None:
        """About the least statistic that is worth this; `None` where none is."""
        least, most = self.statistics[0], self.statistics[-1] + self.span * decibans / 20
        if self.worth(most) < decibans:
            return None
        for _ in range(60):
            middle = (least + most) / 2
            least, most = (least, middle) if self.worth(middle) >= decibans else (middle, most)
        return most

    def with_own(self, most: Sequence[float]) -> Table:
        """The table with holders of an operator's own, of whom each showed this at most."""
        own = np.sort(np.round(np.array(most, float), DIGITS))
        statistics = np.unique(np.concatenate([self.statistics, own]))
        total = PRIOR + len(own)
        shares = [
            (PRIOR * self.share(each) + len(own) - int(np.searchsorted(own, each))) / total
            for each in statistics.tolist()
        ]
        return _made(statistics.tolist(), shares, total, self.span)

    def dump(self) -> dict[str, Any]:
        """As data."""
        return {
            "holders": self.holders,
            "span": self.span,
            "statistics": [round(number, DIGITS) for number in self.statistics],
            "shares": [float(f"{number:.4g}") for number in self.shares],
        }

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Table:
        """From data; raises `ValueError`, `KeyError` or `TypeError`."""
        statistics, shares = numbers(data["statistics"]), numbers(data["shares"])
        (span,) = numbers([data["span"]])
        if len(shares) != len(statistics):
            raise ValueError(f"{len(statistics)} shares expected, one a statistic, not {shares!r}")
        if any(after <= before for before, after in pairwise(statistics)):
            raise ValueError(f"statistics must rise: {statistics!r}")
        if any(after > before for before, after in pairwise(shares)):
            raise ValueError(f"shares must fall: {shares!r}")
        if not 0 < shares[-1] <= shares[0] <= 1:
            raise ValueError(f"shares must be above 0, and 1 at most: {shares!r}")
        if span <= 0:
            raise ValueError(f"span must be above 0, not {span!r}")
        return cls(statistics, shares, int(data["holders"]), span)


def table(signal: Signal, most: Sequence[float], weights: Sequence[float] | None = None) -> Table:
    """The table of a signal from the most that each honest holder ever showed of it.

    `weights` are how much each holder counts; all alike without them.
    """
    values = np.round(np.array(most, float), DIGITS)
    counted = np.ones(len(values)) if weights is None else np.array(weights, float)
    counted *= len(values) / counted.sum()
    order = np.argsort(values)
    values, left = values[order], counted[order][::-1].cumsum()[::-1]
    knots, first = np.unique(values, return_index=True)
    shares = (left[first] + 1) / (len(values) + 1)
    beyond = round(float(knots[-1]) + 10.0**-DIGITS, DIGITS)
    rarest = 1 / (len(values) + 1)
    return _made([*knots.tolist(), beyond], [*shares.tolist(), rarest], len(values), signal.span)


def unheard(signal: Signal) -> Table:
    """The table of a signal that nobody has looked for: as if of `PRIOR` honest holders none had shown it."""
    return table(signal, [0.0] * PRIOR)


def _made(statistics: Sequence[float], shares: Sequence[float], holders: int, span: float) -> Table:
    """A table with as many of these knots as say something: those before and after which a share falls."""
    falling = np.minimum.accumulate(np.minimum(1.0, shares)).tolist()
    kept, last = [0], len(statistics) - 1
    for place in range(1, last + 1):
        falls_next = place == last or falling[place + 1] <= STEP * falling[place]
        if falls_next or falling[place] <= STEP * falling[kept[-1]]:
            kept.append(place)
    return Table(
        tuple(statistics[place] for place in kept), tuple(falling[place] for place in kept), holders, span
    )


def numbers(values: Iterable[Any]) -> tuple[float, ...]:
    """Finite numbers, one at least; raises `ValueError` or `TypeError`."""
    found = tuple(float(value) for value in values)
    if not found or not np.isfinite(found).all():
        raise ValueError(f"numbers expected, not {found!r}")
    return found
