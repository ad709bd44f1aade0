"""How windows stand, as guard/store/redis/lua/windows.lua has it, for the algorithms of guard/core/limits.py.

A window is brought to a moment from how it stood before, under the numbers that hold now or, for what is not
to be judged, under those that it was last counted under. Rounding is that of the script, in which all numbers
are doubles. Amounts are whole units, times are microseconds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import ceil, floor
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from guard.core.calendars import LONGEST_US, MICROSECONDS, boundaries
from guard.core.limits import Algorithm, cut
from guard.store.port import UNKNOWN_WAIT_US

if TYPE_CHECKING:
    from collections.abc import Mapping

    from guard.core.limits import Limit, Window

SLACK = 1e-11
"""Rounding must not refuse the last unit: this share of a limit is forgiven."""

MEAN_US = {
    30 * 86_400 * MICROSECONDS: 30.436875 * 86_400 * MICROSECONDS,
    365 * 86_400 * MICROSECONDS: 365.2425 * 86_400 * MICROSECONDS,
}
"""The mean length of calendar periods that are not all of one length, by their length in the settings."""

Mark: TypeAlias = tuple[int, float]
"""Where a charge was put, so that it can be given back."""


class Stand(ABC):
    """One window of one holder at a moment, and the numbers that it is judged by.

    Where it is throttled, its units are counted as under `kept` and `kept_burst` all the same.
    """

    __slots__ = ("burst", "count", "kept", "kept_burst", "period_us")

    def __init__(self, window: Window) -> None:
        self.period_us, self.count, self.burst = window.period_us, window.count, window.burst
        self.kept, self.kept_burst = window.count, window.burst

    def throttle(self, left: int, least: int, whole: Window) -> None:
        """Leave so many thousandths of it, but not less than what is insisted on and the whole holds."""
        self.count = max(cut(self.count, left), min(least, whole.count))
        self.burst = max(cut(self.burst, left), min(least, whole.burst))

    @property
    def whole(self) -> int:
        """The count by which debts are paid: a throttle cuts what a request may use, not what is paid."""
        return max(1, self.kept)

    def windows_until(self, used: int, room: int) -> int:
        """How many windows must end before at most `room` of what is used now is left."""
        return max(0, ceil((used - room) / self.whole))

    @abstractmethod
    def wait(self, amount: int) -> int:
        """How long until so much has room; -1 where it never has."""

    @abstractmethod
    def add(self, amount: int) -> None:
        """Charge so much."""

    @abstractmethod
    def refund(self, amount: int, mark: Mark) -> Mark:
        """Give so much back of what was put there, as far as it still weighs; returns where the rest is."""

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


N = TypeVar("N", int, float)


def recount(used: N, carried: N, old: int, new: int) -> N:
    """What is used under the count `old`, under the count `new`: debts are kept, and the rest is what `new`
    admits at most."""
    debt = carried + max(0, used - max(old, carried))
    return debt + min(used - debt, new)


class _Sliding(Stand):
    """A sliding-window counter; `carried` is the debt that the present window started with."""

    __slots__ = ("carried", "current", "elapsed_us", "previous", "start_us")

    def __init__(
        self, limit: Limit, window: Window, now_us: int, before: Stand | None, *, as_counted: bool
    ) -> None:
        super().__init__(window)
        self.start_us, self.current, self.previous, self.carried = now_us, 0, 0, 0
        if isinstance(before, _Sliding):
            self.start_us, self.carried = before.start_us, before.carried
            self.current, self.previous = before.current, before.previous
            if as_counted:
                self.count = self.kept = before.kept
            elif before.kept != self.count:
                self.current = recount(self.current, self.carried, before.kept, self.count)
                self.previous = min(self.previous, self.count)
            age = (now_us - self.start_us) // self.period_us
            if age >= 1:
                stood = max(0, self.current - (age - 1) * self.count)
                self.previous = min(stood, self.count)
                self.current = self.carried = stood - self.previous
                self.start_us += age * self.period_us
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
        room, current, previous = self.count - amount, self.current, self.previous
        ahead = self.windows_until(current, room)
        if ahead > 0:
            stood = current - (ahead - 1) * self.whole
            previous = min(stood, self.whole)
            current = stood - previous
        overlap = min(1.0, (room - current) / previous)
        return min(LONGEST_US, ceil(self.period_us * (ahead + 1 - overlap) - self.elapsed_us))

    def add(self, amount: int) -> None:
        self.current += amount

    @property
    def mark(self) -> Mark:
        return self.start_us, 0.0

    def refund(self, amount: int, mark: Mark) -> Mark:
        if mark[0] == self.start_us:
            self.current = max(self.carried, self.current - amount)
        elif mark[0] == self.start_us - self.period_us:
            owed = min(amount, self.carried)
            self.carried -= owed
            self.current -= owed
            self.previous = max(0, self.previous - (amount - owed))
        return mark

    @property
    def remaining(self) -> int:
        return floor(self.count * (1 + SLACK) - self.used)

    @property
    def reset_us(self) -> int:
        if self.current > 0:
            ahead = self.windows_until(self.current, 0)
            return min(LONGEST_US, (ahead + 1) * self.period_us - self.elapsed_us)
        return self.period_us - self.elapsed_us if self.previous > 0 else 0


class _Gcra(Stand):
    """A backlog of time, at a moment. A throttle of what is a caller's own cuts its window before it is made;
    of what several share it leaves the rate, by which the backlog drains for all.
    """

    __slots__ = ("at_us", "backlog_us")

    def throttle(self, left: int, least: int, whole: Window) -> None:
        """Leave so many thousandths of what it holds at once."""
        self.burst = max(cut(self.burst, left), min(least, whole.burst))

    def __init__(
        self, limit: Limit, window: Window, now_us: int, before: Stand | None, *, as_counted: bool
    ) -> None:
        super().__init__(window)
        self.at_us, self.backlog_us = now_us, 0.0
        if isinstance(before, _Gcra):
            self.at_us, self.backlog_us = before.at_us, before.backlog_us
            if as_counted:
                self.count = self.kept = before.kept
                self.burst = self.kept_burst = before.kept_burst
            elif (before.kept, before.kept_burst) != (self.count, self.burst):
                units = self.backlog_us * before.kept / self.period_us
                self.backlog_us = recount(units, 0.0, before.kept_burst, self.burst) * self.unit_us
            if self.at_us <= now_us:
                self.at_us, self.backlog_us = now_us, max(0.0, self.backlog_us - (now_us - self.at_us))

    @property
    def unit_us(self) -> float:
        return self.period_us / self.count

    def wait(self, amount: int) -> int:
        if amount > self.burst:
            return -1
        over = self.backlog_us + (amount - self.burst) * self.unit_us
        return 0 if over <= SLACK * self.period_us else min(LONGEST_US, ceil(over))

    def add(self, amount: int) -> None:
        self.backlog_us += amount * self.unit_us

    @property
    def mark(self) -> Mark:
        return self.at_us, self.backlog_us

    def refund(self, amount: int, mark: Mark) -> Mark:
        at_us, backlog_us = mark
        back_us = min(amount * self.unit_us, max(0.0, backlog_us - (self.at_us - at_us)))
        self.backlog_us = max(0.0, self.backlog_us - back_us)
        return at_us, backlog_us - back_us

    @property
    def remaining(self) -> int:
        return floor(self.burst + SLACK * self.count - self.backlog_us / self.unit_us)

    @property
    def reset_us(self) -> int:
        return min(LONGEST_US, ceil(self.backlog_us))


class _Calendar(Stand):
    """A count of the calendar's present period; `carried` is the debt that it started with."""

    __slots__ = ("before_us", "carried", "left_us", "next_us", "start_us", "used")

    def __init__(
        self, limit: Limit, window: Window, now_us: int, before: Stand | None, *, as_counted: bool
    ) -> None:
        super().__init__(window)
        if window.span is None or limit.zone is None:
            raise ValueError(f"{limit.name}: a calendar window has a span and a zone")
        earlier_us, start_us, end_us, later_us = boundaries(window.span, limit.zone, now_us)
        self.next_us = later_us - end_us
        self.start_us, self.used, self.carried, self.left_us = start_us, 0, 0, max(1, end_us - now_us)
        if isinstance(before, _Calendar):
            self.used, self.carried = before.used, before.carried
            if as_counted:
                self.count = self.kept = before.kept
            elif before.kept != self.count:
                self.used = recount(self.used, self.carried, before.kept, self.count)
            if before.start_us < start_us:
                age = max(1, floor((start_us - before.start_us) / self.mean_us + 0.5))
                self.used = self.carried = max(0, self.used - age * self.count)
            else:
                self.start_us = before.start_us
        self.before_us = earlier_us if self.start_us == start_us else None

    @property
    def mean_us(self) -> float:
        return MEAN_US.get(self.period_us, self.period_us)

    def ahead_us(self, room: int) -> int:
        """How long until at most `room` is used: by the mean length of periods, after the next one."""
        ahead = self.windows_until(self.used, room)
        if ahead < 2:
            return self.left_us
        return min(LONGEST_US, ceil(self.left_us + self.next_us + (ahead - 2) * self.mean_us))

    def wait(self, amount: int) -> int:
        if amount > self.count:
            return -1
        return 0 if self.used + amount <= self.count else self.ahead_us(self.count - amount)

    def add(self, amount: int) -> None:
        self.used += amount

    @property
    def mark(self) -> Mark:
        return self.start_us, 0.0

    def refund(self, amount: int, mark: Mark) -> Mark:
        if mark[0] == self.start_us:
            self.used = max(self.carried, self.used - amount)
        elif mark[0] == self.before_us:
            owed = min(amount, self.carried)
            self.carried -= owed
            self.used -= owed
        return mark

    @property
    def remaining(self) -> int:
        return self.count - self.used

    @property
    def reset_us(self) -> int:
        return self.ahead_us(0) if self.used > 0 else 0


class _Leases(Stand):
    """How many hold."""

    __slots__ = ("held",)

    def __init__(
        self, limit: Limit, window: Window, now_us: int, before: Stand | None, *, as_counted: bool
    ) -> None:
        super().__init__(window)
        self.held: int = before.held if isinstance(before, _Leases) else 0

    def wait(self, amount: int) -> int:
        if amount > self.count:
            return -1
        return 0 if self.held + amount <= self.count else UNKNOWN_WAIT_US

    def add(self, amount: int) -> None:
        self.held += amount

    @property
    def mark(self) -> Mark:
        return 0, 0.0

    def refund(self, amount: int, mark: Mark) -> Mark:
        self.held = max(0, self.held - amount)
        return mark

    @property
    def remaining(self) -> int:
        return self.count - self.held

    @property
    def reset_us(self) -> int:
        return UNKNOWN_WAIT_US if self.held > 0 else 0


_STANDS: Mapping[Algorithm, type[_Sliding | _Gcra | _Calendar | _Leases]] = {
    Algorithm.SLIDING_WINDOW: _Sliding,
    Algorithm.GCRA: _Gcra,
    Algorithm.CALENDAR: _Calendar,
    Algorithm.LEASES: _Leases,
}
