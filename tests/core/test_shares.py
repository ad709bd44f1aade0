from __future__ import annotations

import math
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.core.calendars import Span
from guard.core.identity import Attribute
from guard.core.limits import Algorithm, Limit, Unit, Window
from guard.core.shares import share_of

SLIDING, GCRA, CALENDAR, LEASES = Algorithm


def limit(algorithm: Algorithm, *windows: Window) -> Limit:
    unit = Unit.CONCURRENCY if algorithm is LEASES else Unit.REQUESTS
    zone = ZoneInfo("Europe/Berlin") if algorithm is CALENDAR else None
    return Limit("l", unit, (Attribute.KEY,), algorithm, windows, zone=zone)


def sliding(count: int, period: int) -> Window:
    return Window(count, period, count)


DAY = Window(80, 86_400, 80, Span.DAY)


@pytest.mark.parametrize(
    ("algorithm", "windows", "share", "parts"),
    [
        (SLIDING, [sliding(60, 60)], 1.0, [(SLIDING, sliding(60, 60))]),
        (SLIDING, [sliding(60, 60)], 1 / 8, [(SLIDING, sliding(7, 60))]),
        (SLIDING, [sliding(49, 60)], 1 / 49, [(SLIDING, sliding(1, 60))]),
        (SLIDING, [sliding(5, 60)], 1 / 8, [(GCRA, sliding(1, 96))]),
        (SLIDING, [sliding(7, 1)], 1 / 8, [(GCRA, sliding(1, 2))]),
        (
            SLIDING,
            [sliding(2, 1), sliding(5, 60), sliding(600, 3_600)],
            1 / 8,
            [(SLIDING, sliding(75, 3_600)), (GCRA, sliding(1, 96))],
        ),
        (GCRA, [Window(60, 60, 80)], 1 / 8, [(GCRA, Window(7, 60, 10))]),
        (GCRA, [Window(60, 60, 4)], 1 / 8, [(GCRA, Window(7, 60, 1))]),
        (GCRA, [Window(5, 60, 80)], 1 / 8, [(GCRA, Window(1, 96, 10))]),
        (CALENDAR, [DAY], 1 / 8, [(CALENDAR, Window(10, 86_400, 10, Span.DAY))]),
        (CALENDAR, [DAY], 1 / 160, [(GCRA, Window(1, 2 * 86_400, 1))]),
        (LEASES, [Window(20, 0, 20)], 1 / 8, [(LEASES, Window(2, 0, 2))]),
        (LEASES, [Window(4, 0, 4)], 1 / 8, [(LEASES, Window(1, 0, 1))]),
    ],
)
def test_the_share_of_a_limit(
    algorithm: Algorithm, windows: list[Window], share: float, parts: list[tuple[Algorithm, Window]]
) -> None:
    found = share_of(limit(algorithm, *windows), share)
    assert [(part.algorithm, window) for part in found for window in part.windows] == parts


@pytest.mark.parametrize("share", [0.0, -1.0, 1.1, math.nan])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="share"):
        share_of(limit(SLIDING, sliding(5, 60)), share)


@given(
    algorithm=st.sampled_from(Algorithm),
    counts=st.lists(st.tuples(st.integers(1, 10**6), st.integers(1, 10**6)), min_size=1, max_size=3),
    processes=st.integers(1, 1_000),
)
def test_all_shares_together_are_at_most_the_limit_or_one_each(
    algorithm: Algorithm, counts: list[tuple[int, int]], processes: int
) -> None:
    windows = [
        Window(count, 60 * 10**place, burst if algorithm is GCRA else count)
        for place, (count, burst) in enumerate(counts if algorithm is not LEASES else counts[:1])
    ]
    parts = share_of(limit(algorithm, *windows), 1 / processes)
    for window in windows:
        within = [
            part
            for limit in parts
            for part in limit.windows
            if processes * part.count * window.period_seconds <= window.count * part.period_seconds
            or (algorithm is LEASES and part.count == 1)
        ]
        assert any(part.burst == 1 or processes * part.burst <= window.burst for part in within)


@given(counts=st.lists(st.integers(1, 50), min_size=2, max_size=4), processes=st.integers(1, 60))
def test_no_two_windows_of_a_part_are_counted_as_one(counts: list[int], processes: int) -> None:
    windows = [sliding(count, 60 * place) for place, count in enumerate(counts, 1)]
    parts = share_of(limit(SLIDING, *windows), 1 / processes)
    assert all(one.name != other.name for one, other in pairwise(parts))
    for part in parts:
        periods = [window.period_seconds for window in part.windows]
        assert len(set(periods)) == len(periods)
