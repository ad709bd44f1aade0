"""The store of one process that nobody else counts with: what the scripts do, in memory.

A replay reads a log line by line, and in it a request takes no time: what is admitted is settled, or taken
back, before the next one is asked about. So no reservation lapses, nobody holds a lease, and nothing is
needed of what the scripts keep for other processes, for the operator or against a second try. What is left is
the arithmetic of guard/store/redis/lua. It is here once more, step by step and with the same rounding, and
tests/store/test_memory.py holds one against the other. Times are in microseconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from hashlib import sha1
from math import ceil
from typing import TYPE_CHECKING

from guard.core.evidence import NO_EVIDENCE, Evidence, Learnt
from guard.core.limits import Algorithm, Reading, Unit
from guard.core.novelty import BITMAP_BYTES, CELL_BITS, NOTHING_RECENT, Recent
from guard.store.marks import read_marks, write_marks
from guard.store.memory.windows import Stand, cut, stand_of
from guard.store.port import LARGEST_AMOUNT, Control, Settled, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from guard.core.evidence import Mark
    from guard.core.identity import Holder, Identity
    from guard.core.limits import Charge
    from guard.core.query import Usage
    from guard.core.signals import Signal
    from guard.store.port import Debt

HEX_DIGITS = 3
"""How many digits of a request's digest choose the cell of a table that it forgets."""


class MemoryStore:
    """Counts in memory; what it holds goes by the number of holders. `date_us` tells the Unix microseconds.

    It is for requests one after the other: each is settled or released before the next is admitted.
    """

    stale_seconds = 0.0

    def __init__(self, date_us: Callable[[], int]) -> None:
        self._date_us = date_us
        self._accounts: dict[tuple[str, Holder], Account] = {}
        self._reserved: dict[str, dict[Account, Ticket]] = {}
        self._evidence: dict[Holder, Evidence] = {}

    async def admit(
        self,
        reservation_id: str,
        identity: Identity,
        charges: Sequence[Charge],
        *,
        unreported: int = 0,
        suspect: Holder | None = None,
    ) -> Verdict:
        """Charge every limit or none, and read the evidence against the suspect."""
        holds = [self._hold(charge) for charge in charges]
        for hold in holds:
            hold.throttle()
            hold.ask()
        waits = [[stand.wait(hold.amount) for stand in hold.stands] for hold in holds]
        without = [hold for hold, each in zip(holds, waits, strict=True) if any(wait != 0 for wait in each)]
        admitted = not any(hold.charge.enforced for hold in without)
        charged = [hold for hold in holds if admitted and (hold.charge.enforced or not without)]
        self._reserved[reservation_id] = {hold.account: hold.add(hold.amount) for hold in charged}
        return Verdict(
            admitted,
            tuple(hold.charge for hold in charged),
            None,
            tuple(
                reading for hold, each in zip(holds, waits, strict=True) for reading in hold.readings(each)
            ),
            0,
            _as_written(self._evidence.get(suspect, NO_EVIDENCE).marks) if suspect is not None else {},
        )

    async def settle(
        self,
        reservation_id: str,
        identity: Identity,
        charges: Sequence[Charge],
        usage: Usage,
        *,
        cost: int = 0,
        requests: int = 1,
        accepted: bool = True,
    ) -> Settled:
        """True a reservation up to these charges."""
        tickets = self._reserved.pop(reservation_id, {})
        novelty, receipts = [], []
        for charge in charges:
            hold = self._hold(charge, as_counted=True)
            budget = charge.limit.unit == Unit.NOVELTY
            owed = hold.account.recent.settle(hold.most) if budget else hold.most
            ticket = tickets.get(hold.account)
            receipt = hold.true_up(owed, [] if ticket is None else [ticket])
            if budget:
                novelty.append(owed)
                receipts.append(receipt)
        return Settled(True, max(novelty, default=None), tuple(receipts))

    async def pay(
        self,
        reservation_id: str,
        identity: Identity,
        charges: Sequence[Charge],
        receipts: Sequence[list[Ticket]],
        *,
        answers: int,
        places: Sequence[int],
    ) -> int | None:
        """Charge diversity budgets what answers have paid out, in place of what `settle` charged."""
        paid = []
        for charge, receipt in zip(charges, receipts, strict=True):
            hold = self._hold(charge, as_counted=True)
            payout = hold.most
            if places:
                new = hold.account.visit(places, reservation_id)
                # Multiplied first: a share such as 2/6 is no double, and would be rounded up to one too many.
                payout = ceil(hold.most * new / len(places))
            hold.true_up(payout, receipt)
            hold.account.recent = hold.account.recent.after(answers, payout, hold.most)
            paid.append(payout)
        return max(paid, default=None)

    async def release(self, reservation_id: str, identity: Identity, charges: Sequence[Charge]) -> bool:
        """Take a reservation back."""
        tickets = self._reserved.pop(reservation_id, {})
        for charge in charges:
            hold = self._hold(charge, as_counted=True)
            ticket = tickets.get(hold.account)
            hold.true_up(0, [] if ticket is None else [ticket])
        return True

    async def renew(self, reservation_id: str, identity: Identity, charges: Sequence[Charge]) -> int:
        """Nothing lapses here."""
        return 0

    async def repay(self, debt: Debt, identity: Identity) -> bool:
        """Nothing is owed to a store that does not fail."""
        return False

    async def learn(self, holder: Holder, identity: Identity, evidence: Evidence) -> Learnt:
        """Keep evidence, unless it does not follow from what is known."""
        known = self._evidence.get(holder, NO_EVIDENCE)
        if known.version != evidence.version:
            return Learnt(False, replace(known, marks=_as_written(known.marks)))
        known = replace(evidence, version=max(evidence.version + 1, self._date_us()))
        self._evidence[holder] = known
        return Learnt(True, known)

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
        account = self._accounts.get(place)
        if account is None:
            account = self._accounts[place] = Account()
        least, most = min(charge.amount - charge.spare, LARGEST_AMOUNT), min(charge.amount, LARGEST_AMOUNT)
        left = round(1000 * charge.left)
        cuts = limit.algorithm is Algorithm.GCRA and left < 1000 and not as_counted
        stands = [
            stand_of(
                limit,
                replace(window, count=cut(window.count, left), burst=cut(window.burst, left))
                if cuts
                else window,
                now_us,
                account.stands.get((limit.algorithm, window.period_us)),
                as_counted=as_counted,
            )
            for window in limit.windows
        ]
        return Hold(charge, account, stands, least, most, most)


@dataclass(slots=True, eq=False)
class Account:
    """What is kept of one limit for one holder, whatever the limit's numbers: how each window stood when it
    was last counted, the cells that were visited, a bit each, and what its latest answers have paid out.
    """

    stands: dict[tuple[Algorithm, int], Stand] = field(default_factory=dict)
    visited: bytearray = field(default_factory=bytearray)
    recent: Recent = NOTHING_RECENT

    def visit(self, places: Sequence[int], reservation_id: str) -> int:
        """Remember that a holder has been at these places, and forget one cell of each of their tables.

        Returns how many of the places are new.
        """
        visited = self.visited = self.visited or bytearray(BITMAP_BYTES)
        known = sum([visited[bit >> 3] >> (bit & 7) & 1 for bit in places])
        chance = sha1(reservation_id.encode(), usedforsecurity=False).hexdigest()
        for number, bit in enumerate(places):
            cell = int(chance[HEX_DIGITS * number : HEX_DIGITS * (number + 1)], 16) % (1 << CELL_BITS)
            forgotten = bit >> CELL_BITS << CELL_BITS | cell
            visited[forgotten >> 3] &= ~(1 << (forgotten & 7))
        for bit in places:
            visited[bit >> 3] |= 1 << (bit & 7)
        return len(places) - known


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a reservation charged to a limit, and how each window stood then."""

    amount: int
    marks: list[tuple[int, float]]


@dataclass(slots=True)
class Hold:
    """One limit of one holder at this moment, and what a request owes to it.

    `amount` is `most`, or where that is more than the whole limit holds, what is left of it, but half of it
    and `least` at least.
    """

    charge: Charge
    account: Account
    stands: list[Stand]
    least: int
    most: int
    amount: int

    def throttle(self) -> None:
        """Let the limit hold a part of what it held, for this request only."""
        left = round(1000 * self.charge.left)
        if left == 1000:
            return
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

    def add(self, amount: int) -> Ticket:
        """Charge so much to every window."""
        for stand in self.stands:
            stand.add(amount)
        self._keep()
        return Ticket(amount, [stand.mark for stand in self.stands])

    def true_up(self, owed: int, tickets: list[Ticket]) -> list[Ticket]:
        """Charge what is owed, of which these have charged a part already, or too much; returns those that
        hold then.
        """
        over = owed - sum(ticket.amount for ticket in tickets)
        if over > 0:
            return [*tickets, self.add(over)]
        left = list(tickets)
        for place, ticket in reversed(list(enumerate(tickets))):
            back = min(-over, ticket.amount)
            over += back
            if back > 0:
                marks = zip(self.stands, ticket.marks, strict=True)
                left[place] = Ticket(
                    ticket.amount - back, [stand.refund(back, mark) for stand, mark in marks]
                )
                self._keep()
        return left

    def _keep(self) -> None:
        algorithm = self.charge.limit.algorithm
        for stand in self.stands:
            self.account.stands[algorithm, stand.period_us] = stand

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
