"""How one honest identity came out, all its life long, in little room.

A trace holds the most of each signal in up to `MOST_MOMENTS` stretches of an identity's life, by the stratum
in which it was shown (guard/detection/tables.py). When they are full, neighbours are made one, so that a
stretch of a long life is longer. That errs on the safe side: within a stretch, signals count as if they had
been at their most together, and at its end, and for as much as answers ever paid out in it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from guard.core.signals import Signal
from guard.detection.layout import PLACES, Sum
from guard.detection.place import Distribution, independent
from guard.detection.profile import FADE, HORIZON, Profile
from guard.detection.reference import Seen
from guard.detection.signals import LEAST_QUERIES
from guard.detection.tables import Stratum

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

MOST_MOMENTS = 64

SIGNALS = tuple(Signal)

PLACED_QUERIES = 200
"""Least number of queries from which the mean of an identity is known well enough."""

PLACED_IDENTITIES = 30
"""Least number of identities from which it is known how far apart honest ones lie."""

LEAST_SPREAD = 1e-6


@dataclass(slots=True)
class Moment:
    """A stretch of a life: the most of each of `SIGNALS` in each stratum (NaN where nothing is known), and of
    the share that content counts for; when it ended, and the profile's mean, with the weight of the queries
    behind it, at the end.
    """

    most: dict[Stratum, NDArray[np.float32]]
    drawn: float
    end_us: int
    mean: NDArray[np.float16]
    weight: float

    def seen(self) -> Iterator[Seen]:
        """What was known of the identity, once for each stratum."""
        for stratum, most in self.most.items():
            yield Seen(_known(most), stratum, self.drawn)

    def followed_by(self, other: Moment) -> Moment:
        """Both as one."""
        most = dict(self.most)
        for stratum, each in other.most.items():
            most[stratum] = np.fmax(most[stratum], each) if stratum in most else each
        return Moment(most, max(self.drawn, other.drawn), other.end_us, other.mean, other.weight)


@dataclass(slots=True)
class Trace:
    """One identity's life, and its `profile` at the end. `excused` are the signals that any of its declared
    uses excuses.
    """

    excused: frozenset[Signal] = frozenset()
    profile: Profile = field(default_factory=Profile.new)
    queries: int = 0
    moments: list[Moment] = field(default_factory=list)
    squares: NDArray[np.float64] = field(default_factory=lambda: np.zeros(PLACES))
    squared: int = 0
    _length: int = 1
    _filled: int = 0

    def add(self, seen: Seen, before: NDArray[np.float32], now_us: int) -> None:
        """Take in how the profile stands after one more query: what is `seen` in it, its mean `before`."""
        self.queries += 1
        mean = self.profile.mean
        weight = float(self.profile.sums[Sum.QUERIES])
        if self.queries > LEAST_QUERIES:
            # What the mean has moved by says where the query lay.
            query = (mean - before * FADE) * HORIZON
            self.squares += (query - before * (HORIZON * FADE / (weight - 1))) ** 2
            self.squared += 1
        most = np.array([seen.statistics.get(signal, np.nan) for signal in SIGNALS], np.float32)
        moment = Moment({seen.stratum: most}, seen.drawn, now_us, mean.astype(np.float16), weight)
        if self._filled == 0:
            self.moments.append(moment)
        else:
            self.moments[-1] = self.moments[-1].followed_by(moment)
        self._filled = (self._filled + 1) % self._length
        if self._filled == 0 and len(self.moments) == MOST_MOMENTS:
            pairs = zip(self.moments[::2], self.moments[1::2], strict=True)
            self.moments = [first.followed_by(second) for first, second in pairs]
            self._length *= 2

    def place(self, place: Distribution | None) -> None:
        """Say how far it lay from the mean of honest identities, all its life long."""
        column = SIGNALS.index(Signal.DISTANCE)
        for moment in self.moments:
            distance = np.nan
            if place is not None and moment.weight >= LEAST_QUERIES:
                distance = place.distance_of(moment.mean.astype(np.float32), moment.weight)
            for most in moment.most.values():
                most[column] = distance

    def most(self, stratum: Stratum) -> dict[Signal, float]:
        """The most that it ever showed in a stratum, or in any, of each signal of which enough was known."""
        shown = [
            each
            for moment in self.moments
            for asked, each in moment.most.items()
            if stratum in (asked, Stratum.ANY)
        ]
        return _known(np.fmax.reduce(shown)) if shown else {}


def place_of(traces: Iterable[Trace], least: int = PLACED_IDENTITIES) -> Distribution | None:
    """Where honest identities lie; `None` where fewer than `least` have asked enough."""
    known = [trace for trace in traces if trace.queries >= PLACED_QUERIES]
    if len(known) < least:
        return None
    last = [trace.moments[-1] for trace in known]
    means = np.array([each.mean.astype(np.float64) * (HORIZON / each.weight) for each in last])
    within = np.mean([trace.squares / trace.squared for trace in known], axis=0)
    behind = np.mean([independent(each.weight) for each in last])
    between = np.maximum(LEAST_SPREAD, means.var(axis=0, ddof=1) - within / behind)
    return Distribution(means.mean(axis=0), between, np.maximum(LEAST_SPREAD, within))


def _known(most: NDArray[np.float32]) -> dict[Signal, float]:
    return {signal: float(value) for signal, value in zip(SIGNALS, most, strict=True) if not np.isnan(value)}
