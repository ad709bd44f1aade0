"""The store in plain Python: what the Lua scripts are held against. Times in microseconds."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from guard.core.limits import Algorithm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guard.core.limits import Charge, Limit, Window

SLACK = 1e-11


@dataclass
class Sliding:
    window: Window
    start: int = 0
    current: int = 0
    previous: int = 0
    now: int = 0

    def bring_to(self, now: int) -> None:
        periods = (now - self.start) // self.window.period_us
        if periods >= 2:
            self.current, self.previous = 0, 0
        elif periods == 1:
            self.start, self.current, self.previous = self.start + self.window.period_us, 0, self.current
        if self.current == self.previous == 0:
            self.start = now
        self.now = now

    @property
    def used(self) -> float:
        period = self.window.period_us
        return self.current + self.previous * (period - (self.now - self.start)) / period

    def wait(self, amount: int) -> int | None:
        """Found by search, not by the formula that the script has."""
        if amount > self.window.count:
            return None
        if self._fits_after(0, amount):
            return 0
        low, high = 0, 4 * self.window.period_us
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._fits_after(middle, amount) else (middle, high)
        return high

    def _fits_after(self, wait: int, amount: int) -> bool:
        later = Sliding(self.window, self.start, self.current, self.previous)
        later.bring_to(self.now + wait)
        return later.used + amount <= self.window.count * (1 + SLACK)

    def charge(self, amount: int) -> None:
        self.current += amount

    def mark(self) -> object:
        return self.start

    def refund(self, amount: int, mark: object) -> None:
        if mark == self.start:
            self.current = max(0, self.current - amount)
        elif mark == self.start - self.window.period_us:
            self.previous = max(0, self.previous - amount)

    @property
    def remaining(self) -> int:
        return max(0, math.floor(self.window.count * (1 + SLACK) - self.used))


@dataclass
class Gcra:
    window: Window
    now: int = 0
    backlog: float = 0.0

    def bring_to(self, now: int) -> None:
        self.backlog = max(0.0, self.backlog - (now - self.now))
        self.now = now

    @property
    def unit(self) -> float:
        return self.window.period_us / self.window.count

    def wait(self, amount: int) -> int | None:
        if amount > self.window.burst:
            return None
        over = self.backlog + (amount - self.window.burst) * self.unit
        return 0 if over <= SLACK * self.window.period_us else math.ceil(over)

    def charge(self, amount: int) -> None:
        self.backlog += amount * self.unit

    def mark(self) -> object:
        return self.now, self.backlog

    def refund(self, amount: int, mark: object) -> None:
        assert isinstance(mark, tuple)
        at, backlog = mark
        self.backlog = max(0.0, self.backlog - min(amount * self.unit, max(0.0, backlog - (self.now - at))))

    @property
    def remaining(self) -> int:
        return max(0, math.floor(self.window.burst + SLACK * self.window.count - self.backlog / self.unit))


@dataclass
class Ticket:
    amount: int
    marks: list[object]
    expires: int


@dataclass
class Held:
    """One limit of one holder."""

    limit: Limit
    states: list[Sliding | Gcra] = field(default_factory=list)
    pending: dict[str, Ticket] = field(default_factory=dict)

    def __post_init__(self) -> None:
        kind = Sliding if self.limit.algorithm is Algorithm.SLIDING_WINDOW else Gcra
        self.states = [kind(window) for window in self.limit.windows]

    def bring_to(self, now: int) -> None:
        for state in self.states:
            state.bring_to(now)

    def heal(self, now: int) -> None:
        for name, ticket in list(self.pending.items()):
            if self.limit.unit.reserved and ticket.expires <= now:
                self._refund(ticket, ticket.amount)
                del self.pending[name]

    def charge(self, amount: int) -> None:
        for state in self.states:
            state.charge(amount)

    def reserve(self, name: str, amount: int, expires: int) -> None:
        self.charge(amount)
        self.pending[name] = Ticket(amount, [state.mark() for state in self.states], expires)

    def settle(self, name: str, amount: int) -> None:
        ticket = self.pending.pop(name, None)
        over = amount - (ticket.amount if ticket else 0)
        if over > 0:
            self.charge(over)
        elif over < 0 and ticket is not None:
            self._refund(ticket, -over)

    def _refund(self, ticket: Ticket, amount: int) -> None:
        for state, mark in zip(self.states, ticket.marks, strict=True):
            state.refund(amount, mark)


class ModelStore:
    """Admits and settles as the store does."""

    def __init__(self, life_us: int) -> None:
        self._life_us = life_us
        self._held: dict[tuple[str, str], Held] = {}
        self._settled: set[str] = set()
        self._admitted: set[str] = set()

    def admit(
        self, name: str, charges: Sequence[Charge], now: int
    ) -> tuple[bool, list[tuple[int, int | None]]]:
        """Whether it is admitted, and (remaining, wait) of each window."""
        helds = self._load(charges, now)
        for held in helds:
            held.heal(now)
        again = name in self._admitted | self._settled
        waits = [
            0 if again else state.wait(charge.amount)
            for held, charge in zip(helds, charges, strict=True)
            for state in held.states
        ]
        fits = not any(wait != 0 for wait in waits)
        if fits and not again:
            self._admitted.add(name)
            for held, charge in zip(helds, charges, strict=True):
                held.reserve(name, charge.amount, now + self._life_us)
        remaining = [state.remaining for held in helds for state in held.states]
        return fits, list(zip(remaining, waits, strict=True))

    def settle(self, name: str, charges: Sequence[Charge], now: int) -> bool:
        """Whether it counted."""
        if name in self._settled:
            return False
        self._settled.add(name)
        for held, charge in zip(self._load(charges, now), charges, strict=True):
            held.settle(name, charge.amount)
        return True

    def _load(self, charges: Sequence[Charge], now: int) -> list[Held]:
        helds = []
        for charge in charges:
            key = (charge.limit.name, str(charge.holder))
            held = self._held.setdefault(key, Held(charge.limit))
            held.bring_to(now)
            helds.append(held)
        return helds
