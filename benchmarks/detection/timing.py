"""When things are asked: all times in Unix seconds, all streams without end and in order.

Nothing here is measured: people sleep and think, offices close, programs do neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

START = 1_788_220_800.0
"""Every log begins on Tuesday, 1 September 2026, 00:00 UTC."""

HOUR = 3600.0
DAY = 24 * HOUR

_WAKING = (
    *(0.05, 0.02, 0.01, 0.01, 0.01, 0.03, 0.15, 0.4, 0.7, 0.9, 1.0, 0.95),
    *(0.8, 0.85, 0.95, 0.95, 0.9, 0.8, 0.75, 0.8, 0.85, 0.7, 0.4, 0.15),
)
"""How busy an hour of the day is, beside the busiest."""

_WEEKEND = 0.5
_MEAN_BUSYNESS = sum(_WAKING) / 24 * (5 + 2 * _WEEKEND) / 7


def busyness(ts: float, zone_hours: int) -> float:
    """How busy people are at this time where they live, 0 to 1."""
    local = ts + zone_hours * HOUR
    weekday = (int(local // DAY) + 3) % 7  # day 0 was a Thursday
    return _WAKING[int(local % DAY // HOUR)] * (_WEEKEND if weekday >= 5 else 1.0)


def human(rng: Random, per_day: float, zone_hours: int) -> Iterator[float]:
    """About so many times a day, at hours when people are awake: sessions of a person, calls of an app."""
    ts = START + rng.random() * DAY
    peak_gap = DAY / per_day * _MEAN_BUSYNESS
    while True:
        ts += rng.expovariate(1) * peak_gap
        if rng.random() < busyness(ts, zone_hours):
            yield ts


def steady(rng: Random, per_day: float, jitter: float = 0.3) -> Iterator[float]:
    """Round the clock, so many a day, evenly but for a jitter (as a share of the gap)."""
    gap = DAY / per_day
    ts = START + rng.random() * DAY
    while True:
        ts += gap * (1 - jitter + 2 * jitter * rng.random())
        yield ts


def poisson(rng: Random, per_day: float) -> Iterator[float]:
    """Round the clock, so many a day, each at a time of its own."""
    ts = START + rng.random() * DAY
    while True:
        ts += rng.expovariate(per_day) * DAY
        yield ts


def runs(rng: Random, size: int, gap: float, *, hour: float, every_days: int = 1) -> Iterator[float]:
    """A run of so many requests, at the same hour every so many days."""
    day = START + rng.randrange(every_days) * DAY
    while True:
        ts = day + hour * HOUR + rng.random() * 120
        for _ in range(size):
            ts += rng.expovariate(1) * gap
            yield ts
        day = max(day + every_days * DAY, ts - ts % DAY)


def bursts(rng: Random, starts: Iterator[float], size: int, gap: float) -> Iterator[float]:
    """A burst of so many requests at each start, or as soon after it as the last burst is over."""
    ts = START
    for start in starts:
        ts = max(ts, start)
        for _ in range(size):
            ts += rng.expovariate(1) * gap
            yield ts


def pause(rng: Random, read: int, written: int) -> float:
    """How long a person takes before the next turn: reads an answer, thinks, types; by characters."""
    return 3.0 + read / 60 + written / 5 + rng.lognormvariate(2.5, 1.0)
