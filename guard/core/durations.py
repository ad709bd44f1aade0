"""Lengths of time as people type them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}

LONGEST_SECONDS = 100 * 366 * 86_400
"""The longest that a duration may be, 100 years: of all that lasts longer, it is for good."""


def parse_duration(text: str) -> float:
    """The seconds of `90s`, `30m`, `12h`, `7d` or `2w`; raises `ValueError`."""
    found = re.fullmatch(r"(\d{1,6})([smhdw])", text.strip().lower())
    if found is None or int(found[1]) == 0:
        raise ValueError(f"{text!r} is not a length of time; write 90s, 30m, 12h, 7d or 2w")
    seconds = int(found[1]) * SECONDS[found[2]]
    if seconds > LONGEST_SECONDS:
        raise ValueError(f"{text!r} is longer than 100 years")
    return seconds


def seconds_until(text: str, now: float) -> float:
    """The seconds from now (Unix) until `2030-06-30` or `2030-06-30T12:00+02:00`, else in UTC; raises
    `ValueError`.
    """
    try:
        moment = datetime.fromisoformat(text)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is not a date; write 2030-06-30") from None
    seconds = moment.timestamp() - now
    if seconds <= 0:
        raise ValueError(f"{text} is over")
    return seconds
