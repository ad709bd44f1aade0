"""What was admitted while the store was away, to be charged when it is back.

Nothing is kept for each request. What a holder owes to a limit is summed up by the time at which it came to
owe it: for each window in steps of a sixteenth of its period, a second at least, and for a calendar window
in one sum for each of its periods. When the store is back, each window is charged what is younger than its
period, to the step; the rest would weigh no more. So memory goes by the number of holders, however long the
store was away, and a step that is young in part counts whole: who owes, owes rather more than less.

    20/second;600/minute, five requests a second while the store was away, from 12:00:00 to 12:10:02
    owed to the window of a second   5, those since 12:10:01
    owed to the window of a minute   310, those since 12:09:00, where the step of 12:09:02 begins

A debt is handed out with an id, under which the store charges it once. Whoever took it says that it is done,
or puts it back; then it is handed out again under the same id. What a holder has come to owe meanwhile is a
debt of its own.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import uuid4

from guard.core.calendars import MICROSECONDS, boundaries
from guard.core.limits import Algorithm
from guard.store.port import Debt

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from guard.core.identity import Holder
    from guard.core.limits import Limit, Window


STEPS = 16
"""Steps in a period."""

MOST_DEBTS = 20_000
"""Maximum number of debts, one for each limit and holder."""


@dataclass(slots=True)
class Account:
    """What a holder came to owe to a limit: for each window the amounts by the start of their step."""

    limit: Limit
    holder: Holder
    steps: tuple[Counter[int], ...]
    latest_us: int = 0
    id: str = field(default_factory=lambda: uuid4().hex)

    def add(self, amount: int, at_us: int) -> None:
        """Owe so much more; forget what is too old to matter."""
        self.latest_us = max(self.latest_us, at_us)
        for window, steps in zip(self.limit.windows, self.steps, strict=True):
            start = _start(window, self.limit.zone, at_us)
            if start not in steps:
                oldest = _oldest(window, self.limit.zone, self.latest_us)
                for old in [each for each in steps if each < oldest]:
                    del steps[old]
            steps[start] += amount

    def amounts(self, now_us: int) -> tuple[int, ...]:
        """What is still owed to each window."""
        return tuple(
            sum(amount for start, amount in steps.items() if start >= oldest)
            for steps, oldest in (
                (steps, _oldest(window, self.limit.zone, now_us))
                for window, steps in zip(self.limit.windows, self.steps, strict=True)
            )
        )


class Debts:
    """Keeps what one process has admitted without the store. Times are Unix microseconds."""

    def __init__(self, most: int = MOST_DEBTS) -> None:
        self.lost = 0
        """The number of charges that were not kept, since there were too many debts."""
        self._most = most
        self._growing: OrderedDict[tuple[object, ...], Account] = OrderedDict()
        self._put_back: deque[Account] = deque()
        self._taken: dict[str, Account] = {}

    def add(self, limit: Limit, holder: Holder, amount: int, at_us: int) -> None:
        """Owe so much more; nothing for leases, which are given back, not worked off.

        Raises `ValueError` for an amount below 0.
        """
        if amount < 0:
            raise ValueError(f"a debt of {amount} is none; give 0 or more")
        if amount == 0 or limit.algorithm is Algorithm.LEASES:
            return
        # The store goes by name, algorithm and period too, whatever the numbers.
        periods = tuple((window.period_seconds, window.span) for window in limit.windows)
        key = (limit.name, limit.algorithm, periods, limit.zone, holder)
        account = self._growing.get(key)
        if account is None:
            if len(self) >= self._most:
                self._drop_oldest(at_us)
            if len(self) >= self._most:
                self.lost += 1
                return
            self._growing[key] = account = Account(limit, holder, tuple(Counter() for _ in limit.windows))
        self._growing.move_to_end(key)
        account.limit = limit
        account.add(amount, at_us)

    def take(self, count: int, now_us: int) -> list[Debt]:
        """At most `count` debts to charge now, the oldest first; what is too old to weigh is dropped."""
        debts: list[Debt] = []
        while len(debts) < count and (self._put_back or self._growing):
            account = self._put_back.popleft() if self._put_back else self._growing.popitem(last=False)[1]
            amounts = account.amounts(now_us)
            if any(amounts):
                self._taken[account.id] = account
                debts.append(Debt(account.id, account.limit, account.holder, amounts))
        return debts

    def done(self, debt_id: str) -> None:
        """The store has charged it."""
        self._taken.pop(debt_id, None)

    def put_back(self, debt_id: str) -> None:
        """Unless it is done, the store has not charged it, or nobody knows: hand it out again."""
        account = self._taken.pop(debt_id, None)
        if account is not None:
            self._put_back.append(account)

    def __len__(self) -> int:
        return len(self._growing) + len(self._put_back) + len(self._taken)

    def _drop_oldest(self, now_us: int) -> None:
        """Make room, if what has not grown for the longest time weighs no more."""
        key, account = next(iter(self._growing.items()), (None, None))
        if key is not None and account is not None and not any(account.amounts(now_us)):
            del self._growing[key]


def _start(window: Window, zone: ZoneInfo | None, at_us: int) -> int:
    """Where the step begins that a moment falls in."""
    if window.span is not None and zone is not None:
        return boundaries(window.span, zone, at_us)[1]
    return at_us - at_us % _step_us(window)


def _oldest(window: Window, zone: ZoneInfo | None, now_us: int) -> int:
    """The start of the oldest step that still weighs."""
    if window.span is not None and zone is not None:
        return boundaries(window.span, zone, now_us)[1]
    return _start(window, zone, now_us - window.period_us)


def _step_us(window: Window) -> int:
    return max(window.period_us // STEPS, MICROSECONDS)
