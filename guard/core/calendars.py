"""Calendar windows: which period a moment falls in, and when that period ends.

Days, months and years begin at midnight in a time zone, so they have 23 to 25 hours and 28 to 31 days;
minutes and hours are those of UTC. The clock that counts is the store's, which knows nothing of calendars,
while ours may be wrong. So the store is handed the boundaries round our own moment, and picks the period
by its own clock: a worker whose clock is off by less than a period gets it right all the same.

    Europe/Berlin, a day, at 2026-03-29 10:00 (summer time began at 02:00)
    boundaries   28 Mar 00:00+01   29 Mar 00:00+01   30 Mar 00:00+02   31 Mar 00:00+02
    periods      | 24 hours        | 23 hours, now   | 24 hours        |
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum
from functools import lru_cache

MICROSECONDS = 1_000_000

LONGEST_US = 100 * 365 * 86_400 * MICROSECONDS
"""Waits are no longer than this: a debt may be as large as anyone can make it."""


class Span(StrEnum):
    """How long a calendar window is."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    MONTH = "month"
    YEAR = "year"


_FIXED = {Span.MINUTE: 60 * MICROSECONDS, Span.HOUR: 3_600 * MICROSECONDS}
_SOME_DAYS = {Span.DAY: 1, Span.MONTH: 31, Span.YEAR: 366}


def boundaries(span: Span, zone: tzinfo, now_us: int) -> tuple[int, int, int, int]:
    """Where the period before, that of `now_us`, and the one after begin, and where the last ends.

    All in Unix microseconds.
    """
    if span in _FIXED:
        size = _FIXED[span]
        start = now_us - now_us % size
        return start - size, start, start + size, start + 2 * size
    return _dated(span, zone, datetime.fromtimestamp(now_us // MICROSECONDS, zone).date().toordinal())


@lru_cache(maxsize=1024)
def _dated(span: Span, zone: tzinfo, day: int) -> tuple[int, int, int, int]:
    """The boundaries round a day, given as its ordinal."""
    start = _first_day(span, datetime.fromordinal(day))
    before = _first_day(span, start - timedelta(days=1))
    after = _first_day(span, start + timedelta(days=_SOME_DAYS[span]))
    end = _first_day(span, after + timedelta(days=_SOME_DAYS[span]))
    first, second, third, fourth = (_midnight(each, zone) for each in (before, start, after, end))
    return first, second, third, fourth


def _first_day(span: Span, day: datetime) -> datetime:
    match span:
        case Span.MONTH:
            return day.replace(day=1)
        case Span.YEAR:
            return day.replace(month=1, day=1)
    return day


def _midnight(day: datetime, zone: tzinfo) -> int:
    moment = day.replace(tzinfo=zone).astimezone(UTC)
    return int(moment.timestamp()) * MICROSECONDS
