"""What is said to lie over a limit holds for every course of minutes that the sums may stand for."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.core.excess import Between, Hour, by_unit, excess
from guard.core.limits import Unit, Window
from guard.core.rollups import DAY, HOUR, Use

MIDNIGHT = 1_769_990_400
"""In UTC."""


def window(count: int, seconds: int) -> Window:
    return Window(count, seconds, count)


def over(minutes: list[int], count: int, seconds: int) -> int:
    """What lies over in fixed windows of so many minutes."""
    size = seconds // 60
    sums = (sum(minutes[start : start + size]) for start in range(0, len(minutes), size))
    return sum(max(0, each - count) for each in sums)


@given(
    st.lists(st.integers(0, 60), min_size=60, max_size=60),
    st.integers(1, 80),
    st.sampled_from([60, 120, 300, 600, 1_800]),
)
def test_what_lies_over_is_within_the_bounds(minutes: list[int], count: int, seconds: int) -> None:
    hour = Hour(MIDNIGHT, sum(minutes), Between(max(minutes), max(minutes)))
    found = excess(window(count, seconds), [hour])
    true = over(minutes, count, seconds)
    assert found.least <= true + 1e-9
    assert found.most >= true


@given(st.lists(st.lists(st.integers(0, 9), min_size=60, max_size=60), min_size=1, max_size=4))
def test_of_several_the_most_in_a_minute_is_bounded_too(everybody: list[list[int]]) -> None:
    uses = [Use(requests=sum(minutes), peak_requests=max(minutes)) for minutes in everybody]
    amount = by_unit(Unit.REQUESTS, uses)
    assert amount is not None
    together = [sum(column) for column in zip(*everybody, strict=True)]
    used, peak = amount
    assert used == sum(together)
    assert peak.least <= max(together) <= peak.most
    found = excess(window(10, 60), [Hour(MIDNIGHT, used, peak)])
    assert found.least <= over(together, 10, 60) + 1e-9 <= found.most + 1e-9


@given(st.lists(st.integers(0, 3), min_size=3_600, max_size=3_600), st.integers(1, 4))
def test_windows_of_a_second_are_bounded_by_minutes(seconds: list[int], count: int) -> None:
    peak = max(sum(seconds[start : start + 60]) for start in range(0, HOUR, 60))
    found = excess(window(count, 1), [Hour(MIDNIGHT, sum(seconds), Between(peak, peak))])
    true = sum(max(0, each - count) for each in seconds)
    assert found.least <= true + 1e-9 <= found.most + 1e-9


def test_the_example_of_the_page() -> None:
    hour = Hour(MIDNIGHT, 300, Between(40, 40))
    assert excess(window(20, 60), [hour]) == (20, 140)
    assert excess(window(40, 60), [hour]) == (0, 0)


@pytest.mark.parametrize(
    ("limit", "zone", "least", "most"),
    [
        (window(10, HOUR), None, 15, 15),
        (window(50, DAY), None, 10, 10),
        (window(15, 2 * HOUR), None, 10, 10),
        (window(20, DAY), ZoneInfo("UTC"), 20, 20),
        (window(35, DAY), ZoneInfo("Europe/Berlin"), 5, 5),
        (window(50, 30 * DAY), None, 10, 60),
        (window(100, 30 * DAY), None, 0, 60),
    ],
)
def test_windows_of_hours_and_days_are_exact(
    limit: Window, zone: ZoneInfo | None, least: int, most: int
) -> None:
    used = {21: 10, 22: 10, 23: 0, 24: 20, 25: 0, 26: 15, 27: 5}
    hours = [Hour(MIDNIGHT + (each - 24) * HOUR, count, Between(0, count)) for each, count in used.items()]
    assert excess(limit, hours, zone) == (least, most)


def test_a_unit_that_is_not_summed_up_is_not_known() -> None:
    assert by_unit("pages", [Use()]) is None
    assert by_unit(Unit.CONCURRENCY, [Use()]) is None
    assert by_unit(Unit.INPUT_TOKENS, [Use(input_tokens=9, peak_tokens=4)]) == (9, Between(0, 4))
