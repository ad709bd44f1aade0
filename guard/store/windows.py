"""How windows stand, as guard/store/scripts/windows.lua has it: the four algorithms of guard/core/limits.py.

A window is brought to a moment from how it stood before, under the numbers that hold now or, for what is not
to be judged, under those that it was last counted under. Rounding is that of the script, in which all numbers
are doubles. Amounts are whole units, times are microseconds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import ceil, floor
from typing import TYPE_CHECKING, TypeAlias

from guard.core.calendars import MICROSECONDS, boundaries
from guard.core.limits import Algorithm

if TYPE_CHECKING:
    from collections.abc import Mapping

    from guard.core.limits import Limit, Window

SLACK = 1e-11
"""Rounding must not refuse the last unit: this share of a limit is forgiven."""

LEASE_WAIT_US = MICROSECONDS
"""Nobody knows when a lease will be given back: ask again in so long."""

Mark: TypeAlias = tuple[int, float]
"""Where a charge was put, so that it can be given back."""


class Stand(ABC):
    """One window of one holder at a moment, and the numbers that it is judged by.

    Where it is throttled, `kept` is the count under which its units are counted all the same.
    """

    __slots__ = ("burst", "count", "kept", "period_us")

    def __init__(self, window: Window) -> None:
        self.period_us, self.count, self.burst = window.period_us, window.count, window.burst
        self.kept = window.count

    def throttle(self, left: int) -> None:
        """Leave so many thousandths of it."""
        self.count = min(self.count, max(1, floor(self.count * left / 1000)))
        self.burst = min(self.burst, max(1, floor(self.burst * left / 1000)))

    @abstractmethod
    def wait(self, amount: int) -> int:
        """How long until so much has room; -1 where it never has."""

    @abstractmethod
    def add(self, amount: int) -> None:
        """Charge so much."""

    @abstractmethod
    def refund(self, amount: int, mark: Mark) -> None:
        """Give so much back of what was put there, as far as it still weighs."""

    @property
    @abstractmethod
    def mark(self) -> Mark:
        """Where the last charge was put."""

    @property
    @abstractmethod
    def remaining(self) -> int:
        """So much has room; less than nothing where there was an overrun."""

    @property
    @abstractmethod
    def reset_us(self) -> int:
        """How long until it is as good as new."""


def stand_of(limit: Limit, window: Window, now_us: int, before: Stand | None, *, as_counted: bool) -> Stand:
    """How a window stands now, from how it stood when it was last counted.

    With `as_counted` it is under the numbers of then.
    """
    return _STANDS[limit.algorithm](limit, window, now_us, before, as_counted=as_counted)


class _Sliding(Stand):
    """A sliding-window counter."""

    __slots__ = ("current", "elapsed_us", "previous", "start_us")

    def __init__(
        self, limit: Limit, window: Window, now_us: int, before: Stand | None, *, as_counted: bool
    ) -> None:
        super().__init__(window)
        self.start_us, self.current, self.previous = now_us, 0, 0
        if isinstance(before, _Sliding):
            age = (now_us - before.start_us) // self.period_us
            if age == 1:
                self.start_us, self.previous = before.start_us + self.period_us, before.current
            elif age < 1:
                self.start_us, self.current, self.previous = before.start_us, before.current, before.previous
            if as_counted:
                self.count = self.kept = before.kept
            elif before.kept != self.count:
                self.current, self.previous = min(self.current, self.count), min(self.previous, self.count)
            if not (self.current or self.previous):
                self.start_us = now_us
        self.elapsed_us = max(0, now_us - self.start_us)

    @property
    def used(self) -> float:
        # A double, as the scripts have it: the product may be no integer that a double holds.
        return self.current + float(self.previous) * (self.period_us - self.elapsed_us) / self.period_us

    def wait(self, amount: int) -> int:
        if amount > self.count:
            return -1
        if self.used + amount <= self.count * (1 + SLACK):
            return 0
        room = self.count - amount - self.current
        if room >= 0:
            return ceil(self.period_us * (1 - room / self.previous) - self.elapsed_us)
        overlap = min(1.0, (self.count - amount) / self.current)
        return ceil(self.period_us - self.elapsed_us + self.period_us * (1 - overlap))

    def add(self, amount: int) -> None:
        self.current += amount

    @property
    def mark(self) -> Mark:
        return self.start_us, 0.0

    def refund(self, amount: int, mark: Mark) -> None:
        if mark[0] == self.start_us:
            self.current = max(0, self.current - amount)
        elif mark[0] == self.start_us - self.period_us:
            self.previous = max(0, self.previous - amount)

    @property
    def remaining(self) -> int:
        return floor(self.count * (1 + SLACK) - self.used)

    @property
    def reset_us(self) -> int:
        if self.current > 0:
            return 2 * self.period_us - self.elapsed_us
        return self.period_us - self.elapsed_us if self.previous > 0 else 0


class _Gcra(Stand):
    """A backlog of time, at a moment."""

    __slots__ = ("at_us", "backlog_us")

    def __init__(
        self, limit: Limit, window: Window, now_us: int, before: Stand | None, *, as_counted: bool
    ) -> None:
        super().__init__(window)
        self.at_us, self.backlog_us = now_us, 0.0
        if isinstance(before, _Gcra):
            self.at_us, self.backlog_us = before.at_us, before.backlog_us
            if self.at_us <= now_us:
                self.at_us, self.backlog_us = now_us, max(0.0, self.backlog_us - (now_us - self.at_us))
            if as_counted:
                self.count, self.burst = before.count, before.burst
            elif (before.count, before.burst) != (self.count, self.burst):
                units = self.backlog_us * before.count / self.period_us
                self.backlog_us = min(units, self.burst) * self.unit_us

    @property
    def unit_us(self) -> float:
        return self.period_us / self.count

    def wait(self, amount: int) -> int:
        if amount > self.burst:
            return -1
        over = self.backlog_us + (amount - self.burst) * self.unit_us
        return 0 if over <= SLACK * self.period_us else ceil(over)

    def add(self, amount: int) -> None:
        self.backlog_us += amount * self.unit_us

    @property
    def mark(self) -> Mark:
        return self.at_us, self.backlog_us

    def refund(self, amount: int, mark: Mark) -> None:
        undrained = max(0.0, mark[1] - (self.at_us - mark[0]))
        self.backlog_us = max(0.0, self.backlog_us - min(amount * self.unit_us, undrained))

    @property
    def remaining(self) -> int:
        return floor(self.burst + SLACK * self.count - self.backlog_us / self.unit_us)

    @property
    def reset_us(self) -> int:
        return ceil(self.backlog_us)


class _Calendar(Stand):
    """A count of the calendar's present period."""

    __slots__ = ("left_us", "start_us", "used")

    def __init__(
        self, limit: Limit, window: Window, now_us: int, before: Stand | None, *, as_counted: bool
    ) -> None:
        super().__init__(window)
        if window.span is None or limit.zone is None:
            raise ValueError(f"{limit.name}: a calendar window has a span and a zone")
        _, self.start_us, end_us, _ = boundaries(window.span, limit.zone, now_us)
        self.used, self.left_us = 0, max(1, end_us - now_us)
        if isinstance(before, _Calendar) and before.start_us >= self.start_us:
            self.start_us, self.used = before.start_us, before.used

    def wait(self, amount: int) -> int:
        if amount > self.count:
            return -1
        return 0 if self.used + amount <= self.count else self.left_us

    def add(self, amount: int) -> None:
        self.used += amount

    @property
    def mark(self) -> Mark:
        return self.start_us, 0.0

    def refund(self, amount: int, mark: Mark) -> None:
        if mark[0] == self.start_us:
            self.used = max(0, self.used - amount)

    @property
    def remaining(self) -> int:
        return self.count - self.used

    @property
    def reset_us(self) -> int:
        return self.left_us if self.used > 0 else 0


class _Leases(Stand):
    """How many hold: nobody but the request that is being admitted."""

    __slots__ = ("held",)

    def __init__(
        self, limit: Limit, window: Window, now_us: int, before: Stand | None, *, as_counted: bool
    ) -> None:
        super().__init__(window)
        self.held = 0

    def wait(self, amount: int) -> int:
        return -1 if amount > self.count else 0

    def add(self, amount: int) -> None:
        self.held += amount

    @property
    def mark(self) -> Mark:
        return 0, 0.0

    def refund(self, amount: int, mark: Mark) -> None:
        pass

    @property
    def remaining(self) -> int:
        return self.count - self.held

    @property
    def reset_us(self) -> int:
        return LEASE_WAIT_US if self.held > 0 else 0


_STANDS: Mapping[Algorithm, type[_Sliding | _Gcra | _Calendar | _Leases]] = {
    Algorithm.SLIDING_WINDOW: _Sliding,
    Algorithm.GCRA: _Gcra,
    Algorithm.CALENDAR: _Calendar,
    Algorithm.LEASES: _Leases,
}
