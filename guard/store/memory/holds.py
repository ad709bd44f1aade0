"""One limit of one holder in memory, and what a request owes to it. Times are in microseconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from math import ceil
from typing import TYPE_CHECKING

from guard.core.limits import Algorithm, Reading, Role, Unit
from guard.core.novelty import NOTHING_RECENT, Recent
from guard.store.memory.tickets import Entry, How, Ticket, Tickets
from guard.store.port import UNKNOWN_WAIT_US

if TYPE_CHECKING:
    from guard.core.identity import Holder
    from guard.core.limits import Charge
    from guard.store.memory.windows import Stand


@dataclass(slots=True, eq=False)
class Account:
    """What is kept of one limit for one holder, whatever the limit's numbers: how each window stood when it
    was last counted, the tickets of requests that are not settled, and what its latest answers have paid out.
    It was counted last at `counted_us`, and at `until_us` all tickets have expired.
    """

    stands: dict[tuple[Algorithm, int], Stand] = field(default_factory=dict)
    tickets: Tickets = field(default_factory=Tickets)
    counted_us: int = 0
    until_us: int = 0
    recent: Recent = NOTHING_RECENT

    def over(self, now_us: int) -> bool:
        """Whether it is as good as a new one."""
        if self.until_us > now_us or self.recent is not NOTHING_RECENT:
            return False
        return all(self.counted_us + stand.reset_us <= now_us for stand in self.stands.values())


@dataclass(slots=True, eq=False)
class Hold:
    """One limit of one holder at this moment, and what a request owes to it.

    `amount` is `most`, or where that is more than the whole limit holds, what is left of it, but half of it
    and `least` at least. `waits` are how long until each window has room: 0 where it has, -1 where it never
    has. `shared` is the limit that this stands beside; that one knows its `floor` and its `floors`. Of the
    shared limit and the floor, the one that the request does not go by is `beside`: it is charged what has
    room there. `spared` are floors where the request goes by what is shared.
    """

    charge: Charge
    place: tuple[str, Holder]
    account: Account
    now_us: int
    stands: list[Stand]
    least: int
    most: int
    amount: int
    waits: list[int] = field(default_factory=list)
    shared: Hold | None = None
    floor: Hold | None = None
    floors: Hold | None = None
    beside: bool = False
    spared: bool = False

    @property
    def lacks(self) -> bool:
        """Whether the request has to wait for it."""
        return any(wait != 0 for wait in self.waits)

    @property
    def left(self) -> int:
        """What has room in all windows."""
        return min(stand.remaining for stand in self.stands)

    def heal(self, life_us: int) -> int:
        """Give back what is pending of requests whose owner is gone; returns how many there are."""
        healed, leases = 0, self.charge.limit.algorithm is Algorithm.LEASES
        for reservation_id, ticket in self.account.tickets.take_expired(self.now_us):
            if ticket.how is not How.PENDING:
                continue
            healed += 1
            self._give_back(ticket.entry.amount, ticket.entry)
            ticket.how, ticket.until_us = How.LAPSED, ticket.until_us + life_us
            if leases and ticket.until_us > self.now_us:
                self.account.tickets.keep(reservation_id, ticket)
        return healed

    def throttle(self) -> None:
        """Let the limit hold a part of what it held, for this request only."""
        if self.charge.left == 1:
            return
        limit = self.charge.limit
        cut_before = limit.own and limit.algorithm is Algorithm.GCRA
        left = 1000 if cut_before else round(1000 * self.charge.left)
        for stand, window in zip(self.stands, self.charge.limit.windows, strict=True):
            stand.throttle(left, self.least, window)

    def ask(self) -> None:
        """Find the amount."""
        if self.charge.limit.role is Role.FLOORS and self.shared and self.shared.floor:
            self.least = self.most = self.shared.floor.amount
        elif self.shared is not None:
            self.most = self.shared.most
        elif self.charge.limit.unit == Unit.NOVELTY:
            self.most = self.account.recent.reserve(self.least, self.most)
        self.amount = self.most
        largest = min(stand.burst for stand in self.stands)
        if self.most > largest:
            self.amount = max(self.least, min(largest, max(self.left, ceil(largest / 2))))

    def judge(self, *, turned_away: bool) -> None:
        """Find how long the request waits."""
        self.waits = [stand.wait(self.amount) for stand in self.stands]
        if turned_away:
            self.waits = [wait or UNKNOWN_WAIT_US for wait in self.waits]

    def share(self, floor: Hold, floors: Hold) -> None:
        """Have the request go by this, which several share, where that has room, else by its floor, if that
        and all floors together have room; without room either way, wait for the one where it fits first.
        """
        if not self.lacks:
            floor.beside, floor.amount, floor.waits = True, self.amount, []
            floors.spared, floors.waits = True, []
            return
        waits = floor.waits + floors.waits
        if -1 in waits:
            return
        longest = max(waits)
        self.waits = [longest if wait < 0 else min(wait, longest) for wait in self.waits]
        if not (floor.lacks or floors.lacks):
            self.beside, self.amount = True, floor.amount

    def reserve(self, reservation_id: str, life_us: int) -> None:
        """Charge the amount, and keep a ticket of it."""
        how = How.PENDING if self.charge.limit.pending else How.FOR_GOOD
        self._prolong(reservation_id, Ticket(how, self._add(self.amount, beside=self.beside), 0), life_us)

    def renew(self, reservation_id: str, life_us: int) -> bool:
        """Let a reservation last from now on; returns whether there is anything to be given back.

        A lease that has lapsed is taken again: its request is running, whatever the limit says.
        """
        ticket = self.account.tickets.find(reservation_id)
        if ticket is None:
            return False
        if ticket.how is How.LAPSED:
            ticket.how, ticket.entry = How.PENDING, self._add(ticket.entry.amount, beside=False)
        self._prolong(reservation_id, ticket, life_us)
        return ticket.how is How.PENDING

    def settle(self, reservation_id: str, owed: int) -> list[Entry]:
        """True a reservation up to what is owed, and give a lease back; returns what is charged then."""
        ticket = self.account.tickets.take(reservation_id)
        leases = self.charge.limit.algorithm is Algorithm.LEASES
        return self.true_up(0 if leases else owed, ticket.charged if ticket is not None else [])

    def true_up(self, owed: int, entries: list[Entry]) -> list[Entry]:
        """Charge what is owed, of which these have charged a part already, or too much; returns those that
        hold then.
        """
        if not entries and self.charge.limit.role is Role.FLOORS:
            return []  # the request goes by what is shared
        over = owed - sum(entry.amount for entry in entries)
        if over > 0:
            beside = entries[0].beside if entries else self.charge.limit.beside
            return [*entries, self._add(over, beside=beside)]
        left = list(entries)
        for place, entry in reversed(list(enumerate(entries))):
            back = min(-over, entry.amount)
            over += back
            if back > 0:
                left[place] = self._give_back(back, entry)
        return left

    def _add(self, amount: int, *, beside: bool) -> Entry:
        """Charge so much to every window, or beside another limit, as much as has room."""
        if beside:
            amount = min(amount, max(0, self.left))
        for stand in self.stands:
            stand.add(amount)
        self._keep()
        algorithm = self.charge.limit.algorithm
        marks = {(algorithm, stand.period_us): stand.mark for stand in self.stands}
        return Entry(amount, marks, beside)

    def _give_back(self, amount: int, entry: Entry) -> Entry:
        """Give a part back; returns what is left of the entry."""
        marks = dict(entry.marks)
        for stand in self.stands:
            window = self.charge.limit.algorithm, stand.period_us
            if window in marks:
                marks[window] = stand.refund(amount, marks[window])
        self._keep()
        return Entry(entry.amount - amount, marks, entry.beside)

    def _prolong(self, reservation_id: str, ticket: Ticket, life_us: int) -> None:
        ticket.until_us = self.now_us + (life_us if ticket.how is How.PENDING else 2 * life_us)
        self.account.tickets.keep(reservation_id, ticket)
        self.account.until_us = self.now_us + 2 * life_us

    def _keep(self) -> None:
        algorithm, account = self.charge.limit.algorithm, self.account
        for stand in self.stands:
            account.stands[algorithm, stand.period_us] = stand
        account.counted_us = self.now_us

    def readings(self) -> list[Reading]:
        """How each window stands for the caller, with what it has for itself."""
        charge, found = self.charge, []
        own = min(self.floor.left, self.floors.left) if self.floor and self.floors else 0
        waits = self.waits or [0] * len(self.stands)
        for window, stand, wait_us in zip(charge.limit.windows, self.stands, waits, strict=True):
            found.append(
                Reading(
                    charge.limit,
                    charge.shown(window),
                    charge.holder,
                    max(0, stand.remaining, min(own, window.burst)),
                    stand.reset_us,
                    wait_us if wait_us >= 0 else None,
                    charge.enforced,
                    self.amount,
                    charge.left,
                )
            )
        return found


def paired(holds: list[Hold]) -> list[Hold]:
    """Holds of which each that several share knows what stands beside it, and those know it."""
    for before, hold in pairwise(holds):
        match hold.charge.limit.role:
            case Role.FLOOR:
                before.floor, hold.shared = hold, before
            case Role.FLOORS if before.shared:
                before.shared.floors, hold.shared = hold, before.shared
    return holds
