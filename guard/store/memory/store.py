"""The store of one process that nobody else counts with: what the scripts do, in memory.

A replay counts in it, and so does a process that goes on while Redis is away. It is the arithmetic of
guard/store/redis/lua once more, step by step and with the same rounding, and tests/store/test_memory.py holds
one against the other. Nothing is here of what the scripts keep for other processes and for the operator. A
reservation that has expired is given back limit by limit, by the next request that each of them is asked
about; a script does it for all limits of a holder at once. Times are in microseconds.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field, replace
from hashlib import sha1
from itertools import islice
from math import ceil
from typing import TYPE_CHECKING

from guard.core.calendars import MICROSECONDS
from guard.core.evidence import NO_EVIDENCE, Evidence, Learnt
from guard.core.limits import Algorithm, Reading, Unit
from guard.core.novelty import BITMAP_BYTES, CELLS, NOTHING_RECENT, Recent
from guard.store.marks import read_marks, write_marks
from guard.store.memory.tickets import Entry, How, Ticket, Tickets
from guard.store.memory.windows import Stand, cut, stand_of
from guard.store.port import LARGEST_AMOUNT, SETTLED_SECONDS, UNKNOWN_WAIT_US, Control, Settled, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from guard.core.evidence import Mark
    from guard.core.identity import Holder, Identity
    from guard.core.limits import Charge
    from guard.core.novelty import Payout
    from guard.core.query import Usage
    from guard.core.signals import Signal
    from guard.store.port import Debt, Reservation

HEX_DIGITS = 4
"""How many digits of a digest choose the cell that is forgotten."""

MOST_ACCOUNTS = 50_000
"""Maximum number of accounts, one for each limit of a holder, where anybody may open one."""

CLEARED_AT_ONCE = 16
"""Each admission then clears away what is over among so many accounts, which is more than it opens."""


class MemoryStore:
    """Counts in memory, for one event loop; nothing waits in a call. `date_us` tells the Unix microseconds.

    A reservation that is not renewed expires after `reservation_seconds`. Where there are `most_accounts`,
    requests that need another one are turned away, so that a flood of names pushes out nobody's count.
    """

    stale_seconds = 0.0

    def __init__(
        self,
        date_us: Callable[[], int],
        *,
        reservation_seconds: float = 60.0,
        most_accounts: int | None = None,
    ) -> None:
        self._date_us = date_us
        self._life_us = int(reservation_seconds * MICROSECONDS)
        self._most_accounts = most_accounts
        self._accounts: dict[tuple[str, Holder], Account] = {}
        self._to_clear: Iterator[tuple[str, Holder]] = iter(())
        # In the order in which they are forgotten, since all are remembered equally long.
        self._settled: OrderedDict[str, int] = OrderedDict()
        self._evidence: dict[Holder, Evidence] = {}

    async def admit(
        self,
        reservation: Reservation,
        *,
        unreported: int = 0,
        suspect: Holder | None = None,
    ) -> Verdict:
        """Charge every limit or none, and read the evidence against the suspect."""
        self._forget_settled()
        holds = [self._hold(charge) for charge in reservation.charges]
        again = reservation.id in self._settled or any(
            hold.account.tickets.find(reservation.id) for hold in holds
        )
        expired = sum([hold.heal(self._life_us) for hold in holds])
        turned_away = self._turned_away(holds)
        waits = []
        for hold in holds:
            hold.throttle()
            hold.ask()
            waits.append([0] * len(hold.stands) if again else hold.waits(turned_away=hold in turned_away))
        without = [hold for hold, each in zip(holds, waits, strict=True) if any(wait != 0 for wait in each)]
        admitted = not any(hold.charge.enforced for hold in without)
        charged = [hold for hold in holds if admitted and (hold.charge.enforced or not without)]
        for hold in charged if not again else ():
            hold.reserve(reservation.id, self._life_us)
            self._accounts[hold.place] = hold.account
        return Verdict(
            admitted,
            tuple(hold.charge for hold in charged),
            None,
            tuple(
                reading for hold, each in zip(holds, waits, strict=True) for reading in hold.readings(each)
            ),
            expired,
            self._evidence.get(suspect, NO_EVIDENCE).marks if suspect is not None else {},
        )

    async def settle(
        self,
        reservation: Reservation,
        usage: Usage,
        *,
        cost: int = 0,
        requests: int = 1,
        accepted: bool = True,
    ) -> Settled:
        """True a reservation up to these charges."""
        if not self._settle(reservation.id):
            return Settled(False)
        novelty, receipts = [], []
        for charge in reservation.charges:
            hold = self._hold(charge, as_counted=True)
            budget = charge.limit.unit == Unit.NOVELTY
            owed = hold.account.recent.settle(hold.most) if budget else hold.most
            receipt = hold.settle(reservation.id, owed)
            self._accounts[hold.place] = hold.account
            if budget:
                novelty.append(owed)
                receipts.append(receipt)
        return Settled(True, max(novelty, default=None), tuple(receipts))

    async def pay(
        self,
        reservation: Reservation,
        receipts: Sequence[list[Entry]],
        payout: Payout,
    ) -> int | None:
        """Charge diversity budgets what answers pay out, in place of what `settle` charged."""
        paid = []
        for charge, receipt in zip(reservation.charges, receipts, strict=True):
            hold = self._hold(charge, as_counted=True)
            owed = payout.charge(
                [
                    hold.account.visit(piece.cell, f"{reservation.id}:{number}")
                    for number, piece in enumerate(payout.pieces, 1)
                ]
            )
            hold.true_up(owed, receipt)
            hold.account.recent = hold.account.recent.after(payout.answers, owed, hold.most)
            self._accounts[hold.place] = hold.account
            paid.append(owed)
        return max(paid, default=None)

    async def release(self, reservation: Reservation) -> bool:
        """Take a reservation back."""
        if not self._settle(reservation.id):
            return False
        for charge in reservation.charges:
            hold = self._hold(charge, as_counted=True)
            hold.settle(reservation.id, 0)
        return True

    async def renew(self, reservation: Reservation) -> int:
        """Keep a reservation from expiring; returns how many limits it is still reserved in."""
        holds = [self._hold(charge, as_counted=True) for charge in reservation.charges]
        return sum([hold.renew(reservation.id, self._life_us) for hold in holds])

    async def repay(self, debt: Debt, identity: Identity) -> bool:
        """Nothing is owed to a store that does not fail."""
        return False

    async def learn(self, holder: Holder, identity: Identity, evidence: Evidence) -> Learnt:
        """Keep evidence, unless it does not follow from what is known."""
        known = self._evidence.get(holder, NO_EVIDENCE)
        if known.version != evidence.version:
            return Learnt(False, known)
        version = max(evidence.version + 1, self._date_us())
        self._evidence[holder] = Evidence(version, evidence.profile, _as_written(evidence.marks))
        return Learnt(True, replace(evidence, version=version))

    async def control(self, worker: str | None = None) -> Control:
        """Nobody orders anything here."""
        return Control()

    async def note(self, identity: Identity, *, refused: int, shadowed: int) -> None:
        """There are no records here."""

    async def leave(self, worker: str) -> None:
        """Nobody counts the processes."""

    def _hold(self, charge: Charge, *, as_counted: bool = False) -> Hold:
        """A limit at this moment; with `as_counted` under the numbers that it was last counted under."""
        limit, now_us = charge.limit, self._date_us()
        place = limit.name, charge.holder
        account = self._accounts.get(place) or Account()
        least, most = min(charge.amount - charge.spare, LARGEST_AMOUNT), min(charge.amount, LARGEST_AMOUNT)
        windows = limit.windows
        if charge.left < 1 and limit.algorithm is Algorithm.GCRA and not as_counted:
            left = round(1000 * charge.left)
            windows = tuple(
                replace(each, count=cut(each.count, left), burst=cut(each.burst, left)) for each in windows
            )
        stands = [
            stand_of(
                limit,
                window,
                now_us,
                account.stands.get((limit.algorithm, window.period_us)),
                as_counted=as_counted,
            )
            for window in windows
        ]
        return Hold(charge, place, account, now_us, stands, least, most, most)

    def _settle(self, reservation_id: str) -> bool:
        """Whether a reservation is settled for the first time."""
        if reservation_id in self._settled:
            return False
        self._settled[reservation_id] = self._date_us() + SETTLED_SECONDS * MICROSECONDS
        return True

    def _forget_settled(self) -> None:
        now_us = self._date_us()
        while self._settled and next(iter(self._settled.values())) <= now_us:
            self._settled.popitem(last=False)

    def _turned_away(self, holds: Sequence[Hold]) -> Sequence[Hold]:
        """Those that would open an account where there is no room for all of them."""
        if self._most_accounts is None:
            return ()
        self._clear()
        opening = [hold for hold in holds if hold.place not in self._accounts]
        return opening if len(self._accounts) + len(opening) > self._most_accounts else ()

    def _clear(self) -> None:
        """Clear away what is over among the next few accounts."""
        now_us = self._date_us()
        places = list(islice(self._to_clear, CLEARED_AT_ONCE))
        if len(places) < CLEARED_AT_ONCE:
            self._to_clear = iter(list(self._accounts))
            places += islice(self._to_clear, CLEARED_AT_ONCE - len(places))
        for place in places:
            if place in self._accounts and self._accounts[place].over(now_us):
                del self._accounts[place]


@dataclass(slots=True, eq=False)
class Account:
    """What is kept of one limit for one holder, whatever the limit's numbers: how each window stood when it
    was last counted, the tickets of requests that are not settled, the cells that were visited, a bit each,
    and what its latest answers have paid out. It was counted last at `counted_us`, and at `until_us` all
    tickets have expired.
    """

    stands: dict[tuple[Algorithm, int], Stand] = field(default_factory=dict)
    tickets: Tickets = field(default_factory=Tickets)
    counted_us: int = 0
    until_us: int = 0
    visited: bytearray = field(default_factory=bytearray)
    recent: Recent = NOTHING_RECENT

    def over(self, now_us: int) -> bool:
        """Whether it is as good as a new one."""
        if self.until_us > now_us or self.visited or self.recent is not NOTHING_RECENT:
            return False
        return all(self.counted_us + stand.reset_us <= now_us for stand in self.stands.values())

    def visit(self, cell: int | None, name: str) -> bool:
        """Remember that a holder has been in a cell, and forget another, which the name of the piece says;
        returns whether it is new.
        """
        if cell is None:
            return True
        visited = self.visited = self.visited or bytearray(BITMAP_BYTES)
        new = not visited[cell >> 3] >> (cell & 7) & 1
        digest = sha1(name.encode(), usedforsecurity=False).hexdigest()
        forgotten = int(digest[:HEX_DIGITS], 16) % CELLS
        visited[forgotten >> 3] &= ~(1 << (forgotten & 7))
        visited[cell >> 3] |= 1 << (cell & 7)
        return new


@dataclass(slots=True, eq=False)
class Hold:
    """One limit of one holder at this moment, and what a request owes to it.

    `amount` is `most`, or where that is more than the whole limit holds, what is left of it, but half of it
    and `least` at least.
    """

    charge: Charge
    place: tuple[str, Holder]
    account: Account
    now_us: int
    stands: list[Stand]
    least: int
    most: int
    amount: int

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
        left = round(1000 * self.charge.left)
        for stand, window in zip(self.stands, self.charge.limit.windows, strict=True):
            stand.throttle(left, self.least, window)

    def ask(self) -> None:
        """Find the amount."""
        if self.charge.limit.unit == Unit.NOVELTY:
            self.most = self.account.recent.reserve(self.least, self.most)
        self.amount = self.most
        largest = min(stand.burst for stand in self.stands)
        if self.most > largest:
            left = min(stand.remaining for stand in self.stands)
            self.amount = max(self.least, min(largest, max(left, ceil(largest / 2))))

    def waits(self, *, turned_away: bool) -> list[int]:
        """How long until each window has room: 0 where it has, -1 where it never has."""
        waits = [stand.wait(self.amount) for stand in self.stands]
        return [wait or UNKNOWN_WAIT_US for wait in waits] if turned_away else waits

    def reserve(self, reservation_id: str, life_us: int) -> None:
        """Charge the amount, and keep a ticket of it."""
        how = How.PENDING if self.charge.limit.pending else How.FOR_GOOD
        self._prolong(reservation_id, Ticket(how, self._add(self.amount), 0), life_us)

    def renew(self, reservation_id: str, life_us: int) -> bool:
        """Let a reservation last from now on; returns whether there is anything to be given back.

        A lease that has lapsed is taken again: its request is running, whatever the limit says.
        """
        ticket = self.account.tickets.find(reservation_id)
        if ticket is None:
            return False
        if ticket.how is How.LAPSED:
            ticket.how, ticket.entry = How.PENDING, self._add(ticket.entry.amount)
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
        over = owed - sum(entry.amount for entry in entries)
        if over > 0:
            return [*entries, self._add(over)]
        left = list(entries)
        for place, entry in reversed(list(enumerate(entries))):
            back = min(-over, entry.amount)
            over += back
            if back > 0:
                left[place] = self._give_back(back, entry)
        return left

    def _add(self, amount: int) -> Entry:
        """Charge so much to every window."""
        for stand in self.stands:
            stand.add(amount)
        self._keep()
        algorithm = self.charge.limit.algorithm
        return Entry(amount, {(algorithm, stand.period_us): stand.mark for stand in self.stands})

    def _give_back(self, amount: int, entry: Entry) -> Entry:
        """Give a part back; returns what is left of the entry."""
        marks = dict(entry.marks)
        for stand in self.stands:
            window = self.charge.limit.algorithm, stand.period_us
            if window in marks:
                marks[window] = stand.refund(amount, marks[window])
        self._keep()
        return Entry(entry.amount - amount, marks)

    def _prolong(self, reservation_id: str, ticket: Ticket, life_us: int) -> None:
        ticket.until_us = self.now_us + (life_us if ticket.how is How.PENDING else 2 * life_us)
        self.account.tickets.keep(reservation_id, ticket)
        self.account.until_us = self.now_us + 2 * life_us

    def _keep(self) -> None:
        algorithm, account = self.charge.limit.algorithm, self.account
        for stand in self.stands:
            account.stands[algorithm, stand.period_us] = stand
        account.counted_us = self.now_us

    def readings(self, waits: Sequence[int]) -> list[Reading]:
        """How each window stands; a wait below 0 is for ever."""
        charge, found = self.charge, []
        for window, stand, wait_us in zip(charge.limit.windows, self.stands, waits, strict=True):
            found.append(
                Reading(
                    charge.limit,
                    window,
                    charge.holder,
                    max(0, stand.remaining),
                    stand.reset_us,
                    wait_us if wait_us >= 0 else None,
                    charge.enforced,
                    self.amount,
                )
            )
        return found


def _as_written(marks: Mapping[Signal, Mark]) -> Mapping[Signal, Mark]:
    """The marks as the store's text has them, which is rounded."""
    return read_marks(write_marks(marks)) if marks else {}
