"""How one honest identity came out, all its life long, in little room.

A trace holds the worst of each signal in up to `MOST_MOMENTS` stretches of an identity's life. When they are
full, neighbours are made one, so that a stretch of a long life is longer. That errs on the safe side: within
a stretch, signals count as if they had been at their worst together, and at its end.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from guard.core.signals import Signal
from guard.detection.layout import PLACES, Sum
from guard.detection.profile import FADE, HORIZON
from guard.detection.reference import Distribution, independent
from guard.detection.signals import LEAST_QUERIES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from guard.detection.profile import Profile

MOST_MOMENTS = 64

SIGNALS = tuple(Signal)

PLACED_QUERIES = 200
"""Least number of queries from which the mean of an identity is known well enough."""

PLACED_IDENTITIES = 30
"""Least number of identities from which it is known how far apart honest ones lie."""

LEAST_SPREAD = 1e-6


@dataclass(slots=True)
class Moment:
    """A stretch of a life: the worst of each of `SIGNALS` (NaN where nothing is known), when it ended, and
    the profile's mean, with the weight of the queries behind it, at the end.
    """

    worst: NDArray[np.float32]
    end_us: int
    mean: NDArray[np.float16]
    weight: float


@dataclass(slots=True)
class Trace:
    """One identity's life. `excused` are the signals that any of its declared uses excuses."""

    excused: frozenset[Signal] = frozenset()
    profile: bytes = b""
    queries: int = 0
    moments: list[Moment] = field(default_factory=list)
    squares: NDArray[np.float64] = field(default_factory=lambda: np.zeros(PLACES))
    squared: int = 0
    _length: int = 1
    _filled: int = 0

    def add(
        self,
        profile: Profile,
        found: Mapping[Signal, float],
        before: NDArray[np.float32],
        now_us: int,
    ) -> None:
        """Take in how the profile stands after one more query: what was `found` in it, its mean `before`."""
        self.queries += 1
        mean = profile.mean
        weight = float(profile.sums[Sum.QUERIES])
        if self.queries > LEAST_QUERIES:
            # What the mean has moved by says where the query lay.
            query = (mean - before * FADE) * HORIZON
            self.squares += (query - before * (HORIZON * FADE / (weight - 1))) ** 2
            self.squared += 1
        worst = np.array([found.get(signal, np.nan) for signal in SIGNALS], np.float32)
        if self._filled == 0:
            self.moments.append(Moment(worst, now_us, mean.astype(np.float16), weight))
        else:
            last = self.moments[-1]
            np.fmax(last.worst, worst, out=last.worst)
            last.end_us, last.mean, last.weight = now_us, mean.astype(np.float16), weight
        self._filled = (self._filled + 1) % self._length
        if self._filled == 0 and len(self.moments) == MOST_MOMENTS:
            self.moments = [_joined(*self.moments[at : at + 2]) for at in range(0, MOST_MOMENTS, 2)]
            self._length *= 2

    def place(self, place: Distribution | None) -> None:
        """Say how far it lay from the mean of honest identities, all its life long."""
        column = SIGNALS.index(Signal.DISTANCE)
        for moment in self.moments:
            distance = np.nan
            if place is not None and moment.weight >= LEAST_QUERIES:
                distance = place.distance_of(moment.mean.astype(np.float32), moment.weight)
            moment.worst[column] = distance

    @property
    def worst(self) -> dict[Signal, float]:
        """The worst that it ever showed of each signal of which enough was known."""
        most = self.moments[0].worst
        for moment in self.moments[1:]:
            most = np.fmax(most, moment.worst)
        return {
            signal: float(value) for signal, value in zip(SIGNALS, most, strict=True) if not np.isnan(value)
        }


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


def _joined(first: Moment, second: Moment) -> Moment:
    return Moment(np.fmax(first.worst, second.worst), second.end_us, second.mean, second.weight)
