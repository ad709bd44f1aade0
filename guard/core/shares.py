"""What one of several processes may admit of a limit by its own count: its share.

Without the store, a process knows neither what was counted before nor what others count. So it holds to a
share of each limit, such as an eighth where eight processes serve:

    sliding window   count × share in a period
    GCRA             count × share in a period, and burst × share at once
    calendar window  count × share in a period of the calendar
    leases           count × share at a time

Shares are rounded down, and are counted, owed and given back as the limit would be (guard/core/limits.py).

**A share of less than one unit.** Five a minute, over eight processes, would be none for each, and an outage
would shut everybody out. So there a process admits one unit in the time in which its share grows to one, here
96 seconds, whatever the algorithm: GCRA with room for one unit is exactly that. Over time, all processes
together still admit no more than the limit; within one window they may admit one each, 8 where 5 are allowed.
A lease has no window to stretch: there the share is one.

**The bound.** With a share of at most 1/processes, all together admit at most max(count, processes) in a
window, counted as the algorithm counts. A sliding-window counter takes the window before to have been filled
evenly, and lets up to twice as much through where it was not.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from math import ceil, floor

from guard.core.limits import Algorithm, Limit, Window

DIGITS = 6
"""Shares such as 1/49 are no doubles: a unit that only rounding has cut is whole."""


@lru_cache(maxsize=4096)
def share_of(limit: Limit, share: float) -> tuple[Limit, ...]:
    """The limits that one process holds to, in place of this one; all of them must have room.

    Raises `ValueError` for a share that is not above 0, and 1 at most.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share must be in (0, 1], got {share}")
    whole, stretched = [], []
    for window in limit.windows:
        part = replace(window, count=_part(window.count, share), burst=_part(window.burst, share))
        if limit.algorithm is Algorithm.LEASES or round(window.count * share, DIGITS) >= 1:
            whole.append(part)
        else:
            period_seconds = ceil(round(window.period_seconds / (window.count * share), DIGITS))
            stretched.append(Window(1, period_seconds, part.burst))
    parts = [replace(limit, windows=tuple(whole))] if whole else []
    if stretched:
        # One unit in the longest of these windows leaves room in the others.
        longest = max(window.period_seconds for window in stretched)
        window = Window(1, longest, min(window.burst for window in stretched))
        name = f"{limit.name} stretched"
        parts.append(replace(limit, name=name, algorithm=Algorithm.GCRA, windows=(window,), zone=None))
    return tuple(parts)


def _part(number: int, share: float) -> int:
    return max(1, floor(round(number * share, DIGITS)))
