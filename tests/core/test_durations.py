from __future__ import annotations

import pytest

from guard.core.durations import parse_duration, seconds_until


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("30m", 1_800), ("12h", 43_200), ("7d", 604_800), ("2W", 1_209_600), (" 1s ", 1)],
)
def test_lengths_of_time_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "m", "0s", "-1s", "1.5h", "1y", "1h30m", "9999999d", "for ever"])
def test_what_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a length of time"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["999999w", "999999d", "36601d"])
def test_what_no_date_may_be_written_for_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is longer than 100 years"):
        parse_duration(text)


NOON = 1_909_051_200.0
"""2030-06-30, 12:00 in UTC."""


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2030-07-01", 43_200), ("2030-06-30T13:00", 3_600), ("2030-06-30T16:00+02:00", 7_200)],
)
def test_a_moment_is_in_utc_unless_it_says_otherwise(text: str, seconds: float) -> None:
    assert seconds_until(text, NOON) == seconds


@pytest.mark.parametrize(
    ("text", "complaint"),
    [("2030-06-30T12:00", "is over"), ("soon", "is not a date"), ("0001-01-01T00:00+14:00", "is not a date")],
)
def test_one_that_is_over_or_none_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        seconds_until(text, NOON)
