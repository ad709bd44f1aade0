"""How much of what was used lies over a limit, in fixed windows of the clock.

Of each hour it is known what was used, and the most in any one minute of it. That bounds what shorter windows
can have had, and so what lies over:

    10:00 to 11:00   300 requests, 40 of them in one minute           a limit of 20/minute
      at least       20 over in that minute; of the other 260 none: 59 minutes have room for 1,180         20
      at most        7 minutes of 40, of which 20 each are over, and 20 in another one                    140

Where no minute has more than 20 nothing is over, and that is sure. An hour, and windows of several hours, are
summed up exactly. The windows of a limit begin at the first request, or slide; so what it would have refused
is more or less by what one window has at most.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from guard.core.rollups import DAY, HOUR, MINUTE, Use

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from zoneinfo import ZoneInfo

    from guard.core.limits import Window


class Between(NamedTuple):
    """A number of which bounds are known; it is exact where they are equal."""

    least: float
    most: float

    @property
    def exact(self) -> bool:
        """Whether both are the same."""
        return self.least == self.most

    def plus(self, other: Between) -> Between:
        """The sum of two."""
        return Between(self.least + other.least, self.most + other.most)

    def times(self, number: float) -> Between:
        """So many times."""
        return Between(self.least * number, self.most * number)


NOTHING = Between(0.0, 0.0)


class Hour(NamedTuple):
    """What was used in the hour that begins at `at` (Unix seconds), and the most in any minute of it."""

    at: int
    used: int
    peak: Between


def excess(window: Window, hours: Sequence[Hour], zone: ZoneInfo | None = None) -> Between:
    """How much of what was used in some hours lies over a window's count; `zone` is where those of a calendar
    begin. Of a window longer than all of the hours it is not known what was used before them.
    """
    count = max(window.count, window.burst)
    if window.period_seconds < HOUR:
        total = NOTHING
        for hour in hours:
            total = total.plus(_in_an_hour(window.period_seconds, count, hour))
        return total
    if window.period_seconds > DAY:
        used = sum(hour.used for hour in hours)
        return Between(max(0, used - count), used)
    windows: dict[object, int] = {}
    for hour in hours:
        place = _place(window, hour.at, hours[-1].at, zone)
        windows[place] = windows.get(place, 0) + hour.used
    over = sum(max(0, used - count) for used in windows.values())
    return Between(over, over)


def _place(window: Window, at: int, last: int, zone: ZoneInfo | None) -> object:
    """In which window an hour is: of a calendar by the date, else counted from the last hour back."""
    if zone is not None and window.period_seconds == DAY:
        return datetime.fromtimestamp(at, zone).date()
    return (last - at) // window.period_seconds


def _in_an_hour(seconds: int, count: int, hour: Hour) -> Between:
    """Likewise of windows shorter than an hour: one has the most, and all together what was used."""
    windows = max(1, HOUR // seconds)
    minutes = -(-seconds // MINUTE)
    most = min(hour.used, hour.peak.most * minutes)
    if most <= count:
        return NOTHING
    least = max(hour.peak.least * min(1.0, seconds / MINUTE), hour.used / windows)
    sure = max(0, least - count) + max(0, hour.used - least - (windows - 1) * count)
    full, rest = divmod(hour.used, most)
    return Between(sure, full * (most - count) + max(0, rest - count))


def by_unit(unit: str, uses: Iterable[Use]) -> tuple[int, Between] | None:
    """What several identities have used together in an hour of a limit's unit, and the most in any minute;
    `None` of a unit that is not summed up.
    """
    used, least, most = 0, 0, 0
    for use in uses:
        amounts = _amounts(unit, use)
        if amounts is None:
            return None
        used += amounts[0]
        least = max(least, amounts[1])
        most += amounts[2]
    return used, Between(least, most)


def _amounts(unit: str, use: Use) -> tuple[int, int, int] | None:
    """What an identity has used, and bounds for the most in any minute."""
    match unit:
        case "requests":
            return use.requests, use.peak_requests, use.peak_requests
        case "tokens":
            return use.tokens, use.peak_tokens, use.peak_tokens
        case "cost":
            return use.cost, use.peak_cost, use.peak_cost
        case "novelty":
            return use.novelty, use.peak_novelty, use.peak_novelty
        case "input_tokens":
            return use.input_tokens, 0, min(use.input_tokens, use.peak_tokens)
        case "output_tokens":
            return use.output_tokens, 0, min(use.output_tokens, use.peak_tokens)
    return None
