"""Rates in the notation of `limits`, and the windows that they stand for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import limits as limits_library

from guard.core.calendars import Span
from guard.core.limits import Algorithm, Limit, Window, scale_of, shown
from guard.settings.fields import LARGEST_COUNT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

LONGEST_PERIOD_SECONDS = 10 * 366 * 86_400


def parse_rate(rate: str) -> list[tuple[int, int]]:
    """The counts and periods in seconds of `20/second;600/minute`, in the notation of `limits`."""
    try:
        items = limits_library.parse_many(rate)
    except ValueError:
        raise ValueError(
            f"{rate!r} is not a rate; write `100/minute`, `10 per 30 second`, or `20/second;600/minute`"
        ) from None
    windows = [(item.amount, item.get_expiry()) for item in items]
    for count, _ in windows:
        if not 0 < count <= LARGEST_COUNT:
            raise ValueError(f"{rate!r}: a count is at least 1 and at most {LARGEST_COUNT}")
    periods = [seconds for _, seconds in windows]
    if not all(0 < seconds <= LONGEST_PERIOD_SECONDS for seconds in periods):
        raise ValueError(f"{rate!r}: a window is at least a second and at most ten years long")
    if len(set(periods)) < len(periods):
        raise ValueError(f"{rate!r} has two windows of the same length")
    return windows


def scaled(window: Window, scale: int) -> Window:
    """A window whose amounts are counted in parts of what the settings say."""
    return replace(window, count=window.count * scale, burst=window.burst * scale)


_SPANS: dict[str, Span] = {str(span): span for span in Span}


def parse_calendar(rate: str) -> tuple[Window, ...]:
    """The calendar windows of `1000/day;20000/month`."""
    windows = []
    for item in limits_library.parse_many(rate):
        span = _SPANS.get(item.GRANULARITY.name)
        if span is None or item.multiples != 1:
            raise ValueError(f"{rate!r}: a calendar window is one minute, hour, day, month or year")
        windows.append(Window(item.amount, item.get_expiry(), item.amount, span))
    return tuple(windows)


def counts_by_limit(
    limits: Iterable[Limit], rate: str | None, count: int | None, burst: int | None
) -> dict[Limit, dict[int, tuple[int, int]]]:
    """The (count, burst) by period in seconds that an override gives each of these limits of one name.

    Those without such windows are left out; raises `ValueError` where none has them.
    """
    limits, counts, errors = tuple(limits), {}, []
    if burst is not None and limits and not any(limit.algorithm is Algorithm.GCRA for limit in limits):
        raise ValueError(f'limit {limits[0].name!r} has no burst: `burst` belongs to `algorithm = "gcra"`')
    for limit in limits:
        try:
            counts[limit] = other_counts(limit, rate, count, burst)
        except ValueError as error:
            errors.append(error)
    if not counts and errors:
        raise errors[0]
    return counts


def other_counts(
    limit: Limit, rate: str | None, count: int | None, burst: int | None
) -> dict[int, tuple[int, int]]:
    """The (count, burst) by period in seconds that an override gives a limit.

    Raises `ValueError` where the limit has no such windows.
    """
    leases = limit.algorithm is Algorithm.LEASES
    if count is not None and not leases:
        raise ValueError(
            f"limit {limit.name!r} takes a rate, such as `100/minute`; a count is for concurrency"
        )
    if count is None and leases:
        raise ValueError(f"limit {limit.name!r} is on concurrency: it takes a count, and no rate")
    given = [(count, 0)] if count is not None else parse_rate(rate or "")
    periods = {window.period_seconds for window in limit.windows}
    strange = {seconds for _, seconds in given} - periods
    if strange:
        known = ", ".join(
            f"{shown(limit.unit, window.count)} in {_length(window)}" for window in limit.windows
        )
        raise ValueError(f"limit {limit.name!r} has no window of {min(strange)} s; it has {known}")
    bursts = {window.period_seconds: window.burst / window.count for window in limit.windows}
    gcra = limit.algorithm is Algorithm.GCRA
    scale = scale_of(limit.unit)
    counts = {
        seconds: (
            number * scale,
            burst * scale if burst else max(1, round(number * scale * (bursts[seconds] if gcra else 1))),
        )
        for number, seconds in given
    }
    check_counts(limit.unit, counts.values())
    return counts


def multiplied(counts: Mapping[int, tuple[int, int]], times: float, unit: str) -> dict[int, tuple[int, int]]:
    """So many times these numbers, rounded, 1 at least; raises `ValueError` for too many."""
    times = min(times, LARGEST_COUNT)  # which is too many of anything
    more = {
        period: (max(1, round(count * times)), max(1, round(burst * times)))
        for period, (count, burst) in counts.items()
    }
    check_counts(unit, more.values())
    return more


def _length(window: Window) -> str:
    return f"a {window.span}" if window.span else f"{window.period_seconds} s"


def check_counts(unit: str, counts: Iterable[tuple[int, int]]) -> None:
    """What is counted in parts of a unit may be so much less."""
    if any(max(each) > LARGEST_COUNT for each in counts):
        raise ValueError(f"a count of {unit} is at most {LARGEST_COUNT // scale_of(unit)}")
