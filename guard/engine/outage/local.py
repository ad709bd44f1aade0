"""Deciding without the store: each worker admits its share of every limit, by its own count.

A worker knows neither what the store had counted nor what other workers count. So it holds to a share of each
limit, such as an eighth where eight workers run, and a request goes through if there is room in every limit's
share. What is shadowed is not counted.

    sliding window   count × share in a period, as in guard/core/limits.py, on windows of the clock
    GCRA             burst × share in the time in which a burst drains, which is burst × period / count
    calendar window  count × share in a period of the calendar, from zero on
    leases           count × share at a time

Shares are rounded down. What was used beyond the share is debt, as in guard/core/limits.py.

**A share of less than one.** Five a minute, over eight workers, would be none for each, and an outage would
shut everybody out. So there a worker admits one unit, in a longer window: the time in which its share grows
to one, here 96 seconds. Over time, all workers together still admit no more than the limit; within one window
they may admit one each, 8 where 5 are allowed. A lease has no window to stretch: there the share is one.

**The bound.** With a share of at most 1/workers, all workers together admit at most max(count, workers) in a
window, counted as the algorithm counts: a sliding-window counter, here as in the store, takes the window
before to have been filled evenly, and lets up to twice as much through where it was not. What the store had
counted before the outage comes on top, and so does what a worker had admitted before it was started anew: of
a budget of a month, an outage gives away up to one whole budget more, however much was used. It is charged
when the store is back (guard/engine/outage/debts.py).

**What is never done.** Nothing is given back: of a request that used less than was estimated, the rest stays
charged until the window is over. A cost larger than a whole share, though not than the limit, waits for the
store. When the memory for counts is full, new holders are turned away, so that a flood of names pushes out
nobody's count.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

from guard.core.calendars import MICROSECONDS, boundaries
from guard.core.limits import Algorithm, Reading
from guard.store.memory.windows import MEAN_US, recount

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from zoneinfo import ZoneInfo

    from guard.core.calendars import Span
    from guard.core.limits import Charge, Window

MOST_KEYS = 100_000
"""Maximum number of counts, and of leases."""

LEASE_SECONDS = 60.0
"""A lease that is not renewed lapses after this."""

UNKNOWN_WAIT_US = MICROSECONDS
"""Come again in a second: for when nobody knows how long it takes."""

SWEPT_AT_ONCE = 16
"""Each admission clears away what is over of so many counts, which is more than it begins."""


@dataclass(frozen=True, slots=True)
class Share:
    """What one worker may admit of a window of a limit: `quota` units in `period_us`.

    A calendar window has its own periods, of the calendar; `calendar` says that this is one.
    """

    quota: int
    period_us: int
    calendar: bool = False

    @classmethod
    def of(cls, algorithm: Algorithm, window: Window, share: float) -> Share:
        """The share of a window; the theory is at the top of this file."""
        count, period_us = window.count, window.period_us
        if algorithm is Algorithm.GCRA and window.burst and window.count:
            count, period_us = window.burst, math.ceil(window.burst * window.period_us / window.count)
        quota = count * share
        if quota >= 1 or not count:
            return cls(int(quota), period_us, algorithm is Algorithm.CALENDAR)
        if algorithm is Algorithm.LEASES:
            return cls(1, 0)
        return cls(1, math.ceil(period_us / quota))


@dataclass(frozen=True, slots=True)
class Count:
    """How a share of a window stands. Times in microseconds; `left_us` until the present window is over.

    `previous` units are those of the window before, of which what overlaps the last period weighs; `carried`
    of the `current` ones are debt that the present window started with. `window` is the number of the
    present one, or the start of the calendar's period.
    """

    key: str
    share: Share
    window: int
    current: int
    previous: int
    carried: int
    left_us: int

    @property
    def remaining(self) -> int:
        """How much more would fit."""
        weighing = -(-self.previous * self.left_us // self.share.period_us) if self.previous else 0
        return max(0, self.share.quota - self.current - weighing)

    @property
    def reset_us(self) -> int:
        """How long until nothing is counted any more."""
        if not self.current:
            return self.left_us if self.previous else 0
        return self.left_us + (self._windows_until(0) - self.share.calendar) * self.share.period_us

    @property
    def new(self) -> bool:
        """Whether this holder has not been counted lately."""
        return not (self.current or self.previous)

    def plus(self, amount: int) -> Count:
        """How it stands when so much more is counted."""
        return replace(self, current=self.current + amount)

    def wait_us(self, amount: int) -> int:
        """How long until so much would fit, which is not more than the quota."""
        if amount <= self.remaining:
            return 0
        room, period_us = self.share.quota - amount, self.share.period_us
        ahead = self._windows_until(room)
        if self.share.calendar:
            return self.left_us + (ahead - 1) * period_us
        current, previous, _ = _roll(self.current, self.previous, self.carried, self.share, ahead)
        overlap_us = (room - current) * period_us // previous if previous else period_us
        return self.left_us + ahead * period_us - min(period_us, overlap_us)

    def _windows_until(self, room: int) -> int:
        """How many windows must end before at most `room` of what is used now is left."""
        return max(0, -(-(self.current - room) // max(1, self.share.quota)))


def _roll(current: int, previous: int, carried: int, share: Share, windows: int) -> tuple[int, int, int]:
    """What stands after so many windows: used, used in the window before, carried into the present one."""
    if windows < 1:
        return current, previous, carried
    stood = max(0, current - (windows - 1) * share.quota)
    previous = min(stood, share.quota)
    return stood - previous, 0 if share.calendar else previous, stood - previous


@dataclass(frozen=True, slots=True)
class Slots:
    """How the leases of a limit stand: so many are taken, one of them by this request if it is its `own`."""

    key: str
    share: Share
    taken: int
    own: bool

    @property
    def remaining(self) -> int:
        """So many more would fit."""
        return max(0, self.share.quota - self.taken)

    @property
    def reset_us(self) -> int:
        """Nobody knows when a lease will be given back."""
        return UNKNOWN_WAIT_US if self.taken else 0

    @property
    def new(self) -> bool:
        """Whether a lease would begin."""
        return not self.own

    def plus(self, amount: int) -> Slots:
        """How it stands when the request has its lease; it takes one, whatever the amount."""
        return self if self.own or not amount else replace(self, taken=self.taken + 1, own=True)

    def wait_us(self, amount: int) -> int:
        """How long until a lease would fit."""
        return 0 if self.own or amount <= self.remaining else UNKNOWN_WAIT_US


class LocalLimiter:
    """The limits of one process, for when the store cannot decide.

    It belongs to one event loop, and nothing in it waits, so that an admission is all or nothing. A `share`
    is more than 0, and 1 at most; `now` is in Unix seconds. Raises `ValueError` for a share that is none.
    """

    def __init__(self, most_keys: int = MOST_KEYS, lease_seconds: float = LEASE_SECONDS) -> None:
        self._counts = Counts(most_keys)
        self._leases = Leases(most_keys, lease_seconds)

    def admit(
        self, reservation_id: str, charges: Sequence[Charge], share: float, now: float
    ) -> tuple[Reading, ...]:
        """How each window of each limit stands: charged if all of them fit, or else not at all.

        A request that is admitted again is charged again, except for its leases.
        """
        self._counts.sweep(SWEPT_AT_ONCE, now)
        self._leases.lapse(now)
        holds = list(self._holds(reservation_id, charges, share, now))
        crowded = self._crowded(holds)
        waits = [hold.wait_us(crowded=crowded) for hold in holds]
        admitted = not any(wait != 0 for wait in waits)
        if admitted:
            self._charge(holds, now)
            self._leases.begin(reservation_id, [each.stand.key for each in holds if each.is_lease], now)
        return tuple(hold.reading(wait, charged=admitted) for hold, wait in zip(holds, waits, strict=True))

    def settle(
        self,
        reservation_id: str,
        reserved: Sequence[Charge],
        owed: Sequence[Charge],
        share: float,
        now: float,
    ) -> None:
        """The request is over: charge what it used beyond what was reserved, and end its leases.

        `owed` are the same limits as in `reserved`, in the same order.
        """
        for before, after in zip(reserved, owed, strict=True):
            holds = list(self._holds(reservation_id, [before], share, now))
            overruns = [replace(hold, amount=max(0, after.amount - hold.amount)) for hold in holds]
            if not self._crowded(overruns):
                self._charge(overruns, now)
        self._leases.end(reservation_id)

    def renew(self, reservation_id: str, now: float) -> None:
        """The request still runs: its leases last for longer."""
        self._leases.renew(reservation_id, now)

    def release(self, reservation_id: str) -> None:
        """End a request's leases. Nothing else is given back."""
        self._leases.end(reservation_id)

    def __len__(self) -> int:
        return len(self._counts) + len(self._leases)

    def _holds(
        self, reservation_id: str, charges: Sequence[Charge], share: float, now: float
    ) -> Iterator[Hold]:
        if not 0 < share <= 1:
            raise ValueError(f"share must be in (0, 1], got {share}")
        for charge in charges:
            for window in charge.limit.windows if charge.enforced else ():
                part = Share.of(charge.limit.algorithm, window, share * charge.left)
                key = f"{charge.limit.name} {window.period_seconds} {part.period_us} {charge.holder}"
                stand: Count | Slots
                if charge.limit.algorithm is Algorithm.LEASES:
                    stand = self._leases.stand(key, part, reservation_id)
                else:
                    stand = self._counts.stand(key, part, window.span, charge.limit.zone, now)
                amount = max(charge.amount - charge.spare, min(charge.amount, part.quota))
                yield Hold(charge, window, stand, amount)

    def _crowded(self, holds: Sequence[Hold]) -> bool:
        """Whether there is no memory for what would be new."""
        new = [hold for hold in holds if hold.stand.new and hold.amount]
        leases = any(hold.is_lease for hold in new)
        counts = sum(not hold.is_lease for hold in new)
        return (leases and self._leases.room < 1) or (counts > 0 and self._counts.room < counts)

    def _charge(self, holds: Sequence[Hold], now: float) -> None:
        for hold in holds:
            if isinstance(hold.stand, Count) and hold.amount:
                self._counts.add(hold.stand, hold.amount, now)


@dataclass(frozen=True, slots=True)
class Hold:
    """What a request asks of one window, and how that stands before.

    `amount` is less than the charge's where only the caller's own cap asks for more than the share has.
    """

    charge: Charge
    window: Window
    stand: Count | Slots
    amount: int

    @property
    def is_lease(self) -> bool:
        """Whether it will be given back."""
        return isinstance(self.stand, Slots)

    def wait_us(self, *, crowded: bool) -> int | None:
        """How long until it fits; `None` only where the store would never admit it either."""
        gcra = self.charge.limit.algorithm is Algorithm.GCRA
        if self.amount > (self.window.burst if gcra else self.window.count):
            return None
        if self.amount > self.stand.share.quota or (crowded and self.amount and self.stand.new):
            return UNKNOWN_WAIT_US
        return self.stand.wait_us(self.amount)

    def reading(self, wait_us: int | None, *, charged: bool) -> Reading:
        """How the window stands afterwards."""
        stand = self.stand.plus(self.amount) if charged else self.stand
        return Reading(
            self.charge.limit,
            self.window,
            self.charge.holder,
            stand.remaining,
            stand.reset_us,
            wait_us,
            amount=self.amount,
        )


@dataclass(frozen=True, slots=True)
class Level:
    """How a count stood when it was last added to, under which quota, and when nothing of it is left."""

    window: int
    current: int
    previous: int
    carried: int
    quota: int
    until_us: int


class Counts:
    """Counts of units by key, at most so many. What is over is cleared away a few counts at a time."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._levels: dict[str, Level] = {}
        self._to_sweep: Iterator[str] = iter(())

    @property
    def room(self) -> int:
        """How many new counts may begin."""
        return self._most - len(self)

    def stand(self, key: str, share: Share, span: Span | None, zone: ZoneInfo | None, now: float) -> Count:
        """How a count stands at a moment."""
        now_us = int(now * MICROSECONDS)
        if share.calendar and span is not None and zone is not None:
            _, window, end_us, _ = boundaries(span, zone, now_us)
            left_us = end_us - now_us
        else:
            window, past_us = divmod(now_us, share.period_us)
            left_us = share.period_us - past_us
        level = self._levels.get(key)
        if level is None:
            return Count(key, share, window, 0, 0, 0, left_us)
        current, previous = level.current, level.previous
        if level.quota != share.quota:
            current = recount(current, level.carried, level.quota, share.quota)
            previous = min(previous, share.quota)
        age = window - level.window
        if share.calendar:
            age = round(age / MEAN_US.get(share.period_us, share.period_us))
        current, previous, carried = _roll(current, previous, level.carried, share, age)
        # A clock that was set back counts as standing still.
        return Count(key, share, max(window, level.window), current, previous, carried, left_us)

    def add(self, count: Count, amount: int, now: float) -> None:
        """Count so much more."""
        count = count.plus(amount)
        self._levels[count.key] = Level(
            count.window,
            count.current,
            count.previous,
            count.carried,
            count.share.quota,
            int(now * MICROSECONDS) + count.reset_us,
        )

    def sweep(self, most: int, now: float) -> None:
        """Clear away what is over among the next so many counts."""
        keys = list(islice(self._to_sweep, most))
        if not keys:
            self._to_sweep = iter(list(self._levels))
        for key in keys:
            if key in self._levels and self._levels[key].until_us <= now * MICROSECONDS:
                del self._levels[key]

    def __len__(self) -> int:
        return len(self._levels)


class Leases:
    """Which requests hold which limits at the moment. Each lapses unless it is renewed."""

    def __init__(self, most: int, seconds: float) -> None:
        self._most = most
        self._seconds = seconds
        self._taken: Counter[str] = Counter()
        # In the order in which they lapse, since all last equally long.
        self._requests: OrderedDict[str, tuple[float, list[str]]] = OrderedDict()

    @property
    def room(self) -> int:
        """So many more requests may hold a lease."""
        return self._most - len(self)

    def stand(self, key: str, share: Share, reservation_id: str) -> Slots:
        """How the leases of a limit stand for this request."""
        _, own = self._requests.get(reservation_id, (0.0, ()))
        return Slots(key, share, self._taken[key], key in own)

    def begin(self, reservation_id: str, keys: list[str], now: float) -> None:
        """Take a lease of each of these limits, in place of those that the request has."""
        if keys:
            self.end(reservation_id)
            self._taken.update(keys)
            self._requests[reservation_id] = now + self._seconds, keys

    def renew(self, reservation_id: str, now: float) -> None:
        """Let a request's leases last from now on."""
        if reservation_id in self._requests:
            _, keys = self._requests[reservation_id]
            self._requests[reservation_id] = now + self._seconds, keys
            self._requests.move_to_end(reservation_id)

    def end(self, reservation_id: str) -> None:
        """Give a request's leases back."""
        _, keys = self._requests.pop(reservation_id, (0.0, ()))
        for key in keys:
            self._taken[key] -= 1
            if not self._taken[key]:
                del self._taken[key]

    def lapse(self, now: float) -> None:
        """Give back what has not been renewed in time."""
        while self._requests:
            reservation_id, (until, _) = next(iter(self._requests.items()))
            if until > now:
                return
            self.end(reservation_id)

    def __len__(self) -> int:
        return len(self._requests)
