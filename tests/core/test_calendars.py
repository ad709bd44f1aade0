from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from guard.core.calendars import MICROSECONDS, Span, boundaries

HOUR_US = 3_600 * MICROSECONDS
# Midnights that do not exist or come twice, steps of half an hour, and both sides of the date line.
ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Sao_Paulo",
    "America/Santiago",
    "America/Havana",
    "Atlantic/Azores",
    "Africa/Cairo",
    "Africa/Casablanca",
    "Asia/Beirut",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Pacific/Kiritimati",
    "Pacific/Pago_Pago",
]


def microseconds(text: str, zone: str = "UTC") -> int:
    """The moment that is written; one without an offset is the zone's."""
    moment = datetime.fromisoformat(text)
    return (
        int((moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(zone))).timestamp()) * MICROSECONDS
    )


def written(zone: str, moments: tuple[int, ...]) -> list[str]:
    """The moments as the zone's clocks show them, with their offset."""
    shown = (datetime.fromtimestamp(moment // MICROSECONDS, ZoneInfo(zone)) for moment in moments)
    return [f"{moment:%Y-%m-%dT%H:%M}{moment:%z}"[:19] for moment in shown]


@pytest.mark.parametrize(
    ("zone", "now", "starts"),
    [
        # The example at the top of the module.
        (
            "Europe/Berlin",
            "2026-03-29T10:00+02:00",
            ["2026-03-28T00:00+01", "2026-03-29T00:00+01", "2026-03-30T00:00+02", "2026-03-31T00:00+02"],
        ),
        (
            "Europe/Berlin",
            "2026-10-25T12:00+01:00",
            ["2026-10-24T00:00+02", "2026-10-25T00:00+02", "2026-10-26T00:00+01", "2026-10-27T00:00+01"],
        ),
        (
            "America/New_York",
            "2026-03-08T23:59-04:00",
            ["2026-03-07T00:00-05", "2026-03-08T00:00-05", "2026-03-09T00:00-04", "2026-03-10T00:00-04"],
        ),
        (
            "America/New_York",
            "2026-11-01T01:30-04:00",
            ["2026-10-31T00:00-04", "2026-11-01T00:00-04", "2026-11-02T00:00-05", "2026-11-03T00:00-05"],
        ),
        (
            "America/New_York",
            "2026-11-01T01:30-05:00",
            ["2026-10-31T00:00-04", "2026-11-01T00:00-04", "2026-11-02T00:00-05", "2026-11-03T00:00-05"],
        ),
        # No midnight: clocks went from 23:59 to 01:00.
        (
            "America/Sao_Paulo",
            "2018-11-04T01:00-02:00",
            ["2018-11-03T00:00-03", "2018-11-04T01:00-02", "2018-11-05T00:00-02", "2018-11-06T00:00-02"],
        ),
        (
            "America/Sao_Paulo",
            "2018-11-03T23:59-03:00",
            ["2018-11-02T00:00-03", "2018-11-03T00:00-03", "2018-11-04T01:00-02", "2018-11-05T00:00-02"],
        ),
        # Two midnights, an hour apart: the day begins with the first.
        (
            "America/Havana",
            "2026-11-01T00:30-05:00",
            ["2026-10-31T00:00-04", "2026-11-01T00:00-04", "2026-11-02T00:00-05", "2026-11-03T00:00-05"],
        ),
        # The last hour of a day comes twice: clocks went from 23:59 back to 23:00.
        (
            "America/Sao_Paulo",
            "2018-02-17T23:30-03:00",
            ["2018-02-16T00:00-02", "2018-02-17T00:00-02", "2018-02-18T00:00-03", "2018-02-19T00:00-03"],
        ),
        (
            "Pacific/Kiritimati",
            "2026-06-30T10:00+00:00",
            ["2026-06-30T00:00+14", "2026-07-01T00:00+14", "2026-07-02T00:00+14", "2026-07-03T00:00+14"],
        ),
    ],
)
def test_a_day_begins_with_the_zones_day(zone: str, now: str, starts: list[str]) -> None:
    assert written(zone, boundaries(Span.DAY, ZoneInfo(zone), microseconds(now))) == starts


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("UTC", "2026-03-29", 24),
        ("Europe/Berlin", "2026-03-28", 24),
        ("Europe/Berlin", "2026-03-29", 23),
        ("Europe/Berlin", "2026-10-25", 25),
        ("America/New_York", "2026-03-08", 23),
        ("America/New_York", "2026-11-01", 25),
        ("America/Sao_Paulo", "2018-11-04", 23),
        ("America/Sao_Paulo", "2018-02-17", 25),
        ("America/Havana", "2026-11-01", 25),
        ("Australia/Lord_Howe", "2026-04-05", 24.5),
        ("Australia/Lord_Howe", "2026-10-04", 23.5),
    ],
)
def test_a_day_has_the_hours_that_its_clocks_show(zone: str, day: str, hours: float) -> None:
    _, start, end, _ = boundaries(Span.DAY, ZoneInfo(zone), microseconds(f"{day}T12:00", zone))
    assert end - start == hours * HOUR_US


@pytest.mark.parametrize(
    ("span", "now", "starts"),
    [
        (Span.MONTH, "2026-11-30", ["2026-10-01", "2026-11-01", "2026-12-01", "2027-01-01"]),
        (Span.MONTH, "2026-12-31", ["2026-11-01", "2026-12-01", "2027-01-01", "2027-02-01"]),
        (Span.MONTH, "2027-01-01", ["2026-12-01", "2027-01-01", "2027-02-01", "2027-03-01"]),
        (Span.MONTH, "2027-01-31", ["2026-12-01", "2027-01-01", "2027-02-01", "2027-03-01"]),
        (Span.MONTH, "2028-02-29", ["2028-01-01", "2028-02-01", "2028-03-01", "2028-04-01"]),
        (Span.MONTH, "2028-03-01", ["2028-02-01", "2028-03-01", "2028-04-01", "2028-05-01"]),
        (Span.DAY, "2028-02-28", ["2028-02-27", "2028-02-28", "2028-02-29", "2028-03-01"]),
        (Span.DAY, "2027-02-28", ["2027-02-27", "2027-02-28", "2027-03-01", "2027-03-02"]),
        (Span.DAY, "2100-02-28", ["2100-02-27", "2100-02-28", "2100-03-01", "2100-03-02"]),
        (Span.DAY, "2027-01-01", ["2026-12-31", "2027-01-01", "2027-01-02", "2027-01-03"]),
        (Span.YEAR, "2026-07-01", ["2025-01-01", "2026-01-01", "2027-01-01", "2028-01-01"]),
        (Span.YEAR, "2027-12-31", ["2026-01-01", "2027-01-01", "2028-01-01", "2029-01-01"]),
        (Span.YEAR, "2028-12-31", ["2027-01-01", "2028-01-01", "2029-01-01", "2030-01-01"]),
        (Span.YEAR, "2028-01-01", ["2027-01-01", "2028-01-01", "2029-01-01", "2030-01-01"]),
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York"])
def test_days_months_and_years_are_those_of_the_calendar(
    zone: str, span: Span, now: str, starts: list[str]
) -> None:
    for time in ("00:00:00", "12:00:00", "23:59:59"):
        found = boundaries(span, ZoneInfo(zone), microseconds(f"{now}T{time}", zone))
        assert found == tuple(microseconds(f"{start}T00:00", zone) for start in starts)


@pytest.mark.parametrize(
    ("span", "now", "starts"),
    [
        (Span.MINUTE, "10:00:00", ["09:59", "10:00", "10:01", "10:02"]),
        (Span.MINUTE, "10:00:59", ["09:59", "10:00", "10:01", "10:02"]),
        (Span.HOUR, "10:59:59", ["09:00", "10:00", "11:00", "12:00"]),
        (Span.HOUR, "11:00:00", ["10:00", "11:00", "12:00", "13:00"]),
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu", "Australia/Lord_Howe"])
def test_minutes_and_hours_are_those_of_utc(zone: str, span: Span, now: str, starts: list[str]) -> None:
    found = boundaries(span, ZoneInfo(zone), microseconds(f"2026-04-05T{now}"))
    assert found == tuple(microseconds(f"2026-04-05T{start}") for start in starts)


@pytest.mark.parametrize("span", Span)
def test_a_period_ends_with_its_last_microsecond(span: Span) -> None:
    start = microseconds("2027-01-01T00:00")
    assert boundaries(span, UTC, start)[1] == start
    assert boundaries(span, UTC, start - 1)[2] == start


MOMENTS = st.integers(microseconds("2012-01-01T00:00"), microseconds("2100-01-01T00:00"))


@given(span=st.sampled_from(Span), zone=st.sampled_from(ZONES), now_us=MOMENTS)
@example(span=Span.DAY, zone="America/Sao_Paulo", now_us=microseconds("2018-11-04T03:00"))
@example(span=Span.DAY, zone="America/Sao_Paulo", now_us=microseconds("2018-02-18T02:30"))
@example(span=Span.DAY, zone="America/Havana", now_us=microseconds("2026-11-01T05:30"))
@example(span=Span.DAY, zone="Africa/Cairo", now_us=microseconds("2026-10-29T21:30"))
def test_now_is_in_its_period_and_periods_follow_each_other(span: Span, zone: str, now_us: int) -> None:
    found = boundaries(span, ZoneInfo(zone), now_us)
    before, start, end, last = found
    assert before < start <= now_us < end < last
    assert boundaries(span, ZoneInfo(zone), start) == found
    assert boundaries(span, ZoneInfo(zone), end - 1) == found
    assert boundaries(span, ZoneInfo(zone), end)[:3] == found[1:]
    assert boundaries(span, ZoneInfo(zone), start - 1)[1:] == found[:3]


@pytest.mark.parametrize("zone", ZONES)
def test_every_day_of_two_years_follows_the_day_before(zone: str) -> None:
    now_us, until_us = microseconds("2026-01-01T00:00", zone), microseconds("2028-01-01T00:00", zone)
    days = [boundaries(Span.DAY, ZoneInfo(zone), now_us)]
    while days[-1][2] < until_us:
        days.append(boundaries(Span.DAY, ZoneInfo(zone), days[-1][2]))
    assert len(days) == 730
    assert all(earlier[1:] == later[:3] for earlier, later in pairwise(days))
    assert {(end - start) // HOUR_US for _, start, end, _ in days} <= {23, 24, 25}
