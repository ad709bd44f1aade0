"""What a refusal for risk looks like: a limit of the caller's own that is used up.

Whoever is denied must not learn of it from the status, a header, the text or a time. So the limit with the
longest wait that the client sees is shown as if its whole count had been used at once a while ago, by someone
else with the same key. That moment comes again every period, at a place in it that is the holder's own: in
all processes the time counts down, and begins anew when it is over.

    key:k, 5/minute, whose place is 0.25: used up at 12:00:15, 12:01:15, 12:02:15
    12:00:20  5 of 5 are used, as at 12:00:15; one fits again at 12:01:27, after 67 s
    12:01:10  after 17 s; at 12:01:27 the refusal says 60 s

Under GCRA the wait is that for the units of this request; a calendar window is used up until it ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from guard.core.calendars import LONGEST_US, MICROSECONDS, boundaries
from guard.core.limits import Algorithm, Unit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guard.core.limits import Reading

UNTOLD_US = 60 * MICROSECONDS
"""The period where the client sees no limit: one that it does not see may be used up."""


def used_up(
    readings: Sequence[Reading], seen: Sequence[Reading], now_us: int, place: float
) -> tuple[tuple[Reading, ...], int]:
    """The readings with one of those `seen` used up, and the wait until there is room again.

    `place` is the holder's place among all, from 0 to 100.
    """
    shown = max(seen, key=_fitness, default=None)
    if shown is None:
        return tuple(readings), UNTOLD_US - _since_us(UNTOLD_US, now_us, place)
    wait_us, reset_us = (min(LONGEST_US, each) for each in _times(shown, now_us, place))
    disguised = shown._replace(remaining=0, wait_us=wait_us, reset_us=reset_us)
    return tuple(disguised if reading is shown else reading for reading in readings), wait_us


def _fitness(reading: Reading) -> tuple[bool, float]:
    """What sorts last what is shown: a limit on requests, since any request may use it up, then the wait."""
    window, longest_us = reading.window, float(reading.window.period_us)
    if reading.limit.algorithm is Algorithm.GCRA:
        longest_us = _asked(reading) * window.period_us / max(1, window.count)
    return reading.limit.unit == Unit.REQUESTS, longest_us


def _times(reading: Reading, now_us: int, place: float) -> tuple[int, int]:
    """The wait, and the time until the window is as good as new."""
    window, period_us = reading.window, reading.window.period_us
    unit_us = period_us / max(1, window.count)
    match reading.limit.algorithm:
        case Algorithm.LEASES:
            return MICROSECONDS, MICROSECONDS
        case Algorithm.CALENDAR if window.span is not None and reading.limit.zone is not None:
            left_us = boundaries(window.span, reading.limit.zone, now_us)[2] - now_us
            return left_us, left_us
        case Algorithm.GCRA:
            since_us = _since_us(max(1, int(unit_us)), now_us, place)
            return int(_asked(reading) * unit_us) - since_us, int(window.burst * unit_us) - since_us
    # Used up in one moment, a unit's time before this round began: so one unit is never to be had now.
    since_us = _since_us(period_us, now_us, place) + int(unit_us)
    return period_us + int(_asked(reading) * unit_us) - since_us, 2 * period_us - since_us


def _asked(reading: Reading) -> int:
    return max(1, reading.amount)


def _since_us(period_us: int, now_us: int, place: float) -> int:
    """How long ago the present round began."""
    return (now_us - int(period_us * place / 100)) % period_us
