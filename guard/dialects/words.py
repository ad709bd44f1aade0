"""Limits and waits as people say them: `5 requests per minute`, `1m12s`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guard.core.calendars import MICROSECONDS
from guard.core.limits import Algorithm, Unit

if TYPE_CHECKING:
    from collections.abc import Iterable

    from guard.core.limits import Reading

PERIODS = {604_800: "week", 86_400: "day", 3_600: "hour", 60: "minute", 1: "second"}
"""The words for lengths of windows, in seconds."""

_UNITS = {unit: unit.said for unit in Unit if unit.said}
"""What a client is told of: not of money, nor of units of the operator's own (see ratelimit.py)."""


def refused_by(readings: Iterable[Reading]) -> str:
    """The limit that has no room, with the longest wait; empty where the client is told of none."""
    violated = (reading for reading in readings if not reading.fits and reading.limit.unit in _UNITS)
    longest = max(violated, key=lambda reading: reading.wait_us or 0, default=None)
    return "" if longest is None else limit(longest)


def limit(reading: Reading) -> str:
    """A limit in words, of one of the units that clients are told of."""
    window = reading.window
    count = _counted(window.count, _UNITS[Unit(reading.limit.unit)])
    if reading.limit.algorithm is Algorithm.LEASES:
        return f"{count} at once"
    if window.span is not None:
        return f"{count} per {window.span}"
    number, word = split(window.period_seconds)
    return f"{count} per {word if number == 1 else _counted(number, word)}"


def split(period_seconds: int) -> tuple[int, str]:
    """A period as a number of the longest of our words: 7,200 are 2 hours."""
    seconds = next(seconds for seconds in PERIODS if period_seconds % seconds == 0)
    return period_seconds // seconds, PERIODS[seconds]


def duration(microseconds: int) -> str:
    """A time as OpenAI writes it: `12ms`, `6s`, `1m30s`, `2h0m0s`; rounded up."""
    if microseconds < MICROSECONDS:
        return f"{-(-microseconds // 1000)}ms"
    seconds = -(-microseconds // MICROSECONDS)
    if seconds < 60:
        return f"{seconds}s"
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + f"{seconds}s"


def _counted(number: int, word: str) -> str:
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"
