"""What requests that are not settled have charged, so that it can be given back: see lua/holders.lua.

What is pending is given back when its ticket expires, since its request has not been renewed and its owner is
gone. A lease is remembered for as long again, since a request that runs after all takes it again. What was
charged for good is not given back, and its ticket lasts twice as long, so that a late settle does not charge
it again. Times are in microseconds.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from guard.core.limits import Algorithm
    from guard.store.memory.windows import Mark

NEVER_US = sys.maxsize


@dataclass(frozen=True, slots=True)
class Entry:
    """An amount that was charged to an account, and where in each window, by algorithm and period. `beside`
    says that the request went by another limit, so that this one is charged as far as it has room.
    """

    amount: int
    marks: Mapping[tuple[Algorithm, int], Mark]
    beside: bool


class How(Enum):
    """How a request has charged; `LAPSED` is a lease that was given back when its ticket expired."""

    FOR_GOOD = auto()
    PENDING = auto()
    LAPSED = auto()


@dataclass(slots=True)
class Ticket:
    """What one request that is not settled has charged to one account."""

    how: How
    entry: Entry
    until_us: int

    @property
    def charged(self) -> list[Entry]:
        """What stands of it."""
        return [] if self.how is How.LAPSED else [self.entry]


class Tickets:
    """The tickets of one account, by reservation."""

    __slots__ = ("_first_us", "_tickets")

    def __init__(self) -> None:
        self._tickets: dict[str, Ticket] = {}
        self._first_us = NEVER_US

    def keep(self, reservation_id: str, ticket: Ticket) -> None:
        """Keep a ticket until it expires."""
        self._tickets[reservation_id] = ticket
        self._first_us = min(self._first_us, ticket.until_us)

    def find(self, reservation_id: str) -> Ticket | None:
        """The ticket of a reservation, if it has one."""
        return self._tickets.get(reservation_id)

    def take(self, reservation_id: str) -> Ticket | None:
        """Likewise, and keep it no longer."""
        return self._tickets.pop(reservation_id, None)

    def take_expired(self, now_us: int) -> list[tuple[str, Ticket]]:
        """The tickets that have expired, the first one first; they are kept no longer."""
        if self._first_us > now_us:
            return []
        tickets = self._tickets
        expired = sorted((each.until_us, name) for name, each in tickets.items() if each.until_us <= now_us)
        taken = [(name, tickets.pop(name)) for _, name in expired]
        self._first_us = min((each.until_us for each in tickets.values()), default=NEVER_US)
        return taken
