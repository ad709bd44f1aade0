"""The store of one process that nobody else counts with: what the scripts do, in memory.

A replay counts in it, and so does a process that goes on while Redis is away. It is the arithmetic of
guard/store/redis/lua once more, step by step and with the same rounding, and tests/store/test_memory.py holds
one against the other. Nothing is here of what the scripts keep for other processes and for the operator. A
reservation that has expired is given back limit by limit, by the next request that each of them is asked
about; a script does it for all limits of a holder at once. Times are in microseconds.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from guard.core.calendars import MICROSECONDS
from guard.core.evidence import NO_EVIDENCE, Evidence, Learnt, merge
from guard.core.holds import Held
from guard.core.limits import Algorithm, Unit
from guard.core.modes import Mode
from guard.core.pseudonyms import Pseudonyms
from guard.store.marks import read_marks, write_marks
from guard.store.memory.campaigns import MemoryCampaigns
from guard.store.memory.coverage import Coverage
from guard.store.memory.holds import Account, Hold, paired
from guard.store.memory.records import Records
from guard.store.memory.reviews import Reviews
from guard.store.memory.slots import Slots
from guard.store.memory.windows import stand_of
from guard.store.port import (
    LARGEST_AMOUNT,
    NONE_ISSUED,
    SETTLED_SECONDS,
    UNVERIFIED_SECONDS,
    Control,
    Settled,
    Verdict,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from guard.core.evidence import Mark
    from guard.core.holds import Review
    from guard.core.identity import Holder, Identity
    from guard.core.limits import Charge
    from guard.core.novelty import Payout
    from guard.core.query import Usage
    from guard.core.signals import Signal
    from guard.store.memory.tickets import Entry
    from guard.store.port import Debt, IssuedPage, Reservation
    from guard.store.slots import Found, Step

MOST_ACCOUNTS = 50_000
"""Maximum number of accounts, one for each limit of a holder, where anybody may open one."""

NO_PEPPER = Pseudonyms(b"")
"""For a store that keeps no campaigns."""

CLEARED_AT_ONCE = 16
"""Each admission then clears away what is over among so many accounts, which is more than it opens."""


class MemoryStore(MemoryCampaigns):
    """Counts in memory, for one event loop; nothing waits in a call. `date_us` tells the Unix microseconds.
    `keys` names the members of campaigns, as who asks for them does.

    A reservation that is not renewed expires after `reservation_seconds`. Where there are `most_accounts`,
    requests that need another one are turned away, so that a flood of names pushes out nobody's count.
    `unverified_seconds` is how long an idle identity is remembered that nobody vouches for.
    """

    stale_seconds = 0.0

    def __init__(
        self,
        date_us: Callable[[], int],
        *,
        reservation_seconds: float = 60.0,
        unverified_seconds: float = UNVERIFIED_SECONDS,
        most_accounts: int | None = None,
        keys: Pseudonyms = NO_PEPPER,
    ) -> None:
        super().__init__(date_us, keys)
        self._date_us = date_us
        self._life_us = int(reservation_seconds * MICROSECONDS)
        self._most_accounts = most_accounts
        self._accounts: dict[tuple[str, Holder], Account] = {}
        self._to_clear: Iterator[tuple[str, Holder]] = iter(())
        # In the order in which they are forgotten, since all are remembered equally long.
        self._settled: OrderedDict[str, int] = OrderedDict()
        self._coverages: defaultdict[Holder, Coverage] = defaultdict(Coverage)
        self._evidence: dict[Holder, Evidence] = {}
        self._slots = Slots()
        self._reviews = Reviews(date_us)
        self._records = Records(unverified_seconds)

    async def admit(
        self,
        reservation: Reservation,
        *,
        unreported: int = 0,
        suspect: Holder | None = None,
        reviewed: Mode = Mode.OFF,
    ) -> Verdict:
        """Charge every limit or none, and read the evidence against the suspect."""
        review = None if suspect is None or reviewed is Mode.OFF else self._reviews.of(suspect)
        held = reviewed is Mode.ENFORCE and isinstance(review, Held)
        self._forget_settled()
        holds = paired([self._hold(charge) for charge in reservation.charges])
        again = reservation.id in self._settled or any(
            hold.account.tickets.find(reservation.id) for hold in holds
        )
        expired = sum([hold.heal(self._life_us) for hold in holds])
        turned_away = self._turned_away(holds)
        for hold in holds:
            hold.throttle()
            hold.ask()
            if not again:
                hold.judge(turned_away=hold in turned_away)
        for hold in holds:
            if hold.floor and hold.floors:
                hold.share(hold.floor, hold.floors)
        without = [hold for hold in holds if hold.lacks]
        admitted = not held and not any(hold.charge.enforced for hold in without)
        charged = [hold for hold in holds if admitted and (hold.charge.enforced or not without)]
        for hold in [each for each in charged if not (again or each.spared)]:
            hold.reserve(reservation.id, self._life_us)
            self._accounts[hold.place] = hold.account
        if without:
            self._note(reservation.identity, create=reservation.identity.verified)
        return Verdict(
            admitted,
            tuple(hold.charge for hold in charged),
            None,
            tuple(reading for hold in holds if hold.shared is None for reading in hold.readings()),
            expired,
            self._evidence.get(suspect, NO_EVIDENCE).marks if suspect is not None else {},
            review,
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
        for hold in self._as_counted(reservation):
            budget = hold.charge.limit.unit == Unit.NOVELTY
            owed = (hold.shared or hold).account.recent.settle(hold.most) if budget else hold.most
            receipt = hold.settle(reservation.id, owed)
            self._accounts[hold.place] = hold.account
            if budget:
                novelty.append(owed)
                receipts.append(receipt)
        self._note(reservation.identity, create=reservation.identity.verified or accepted)
        return Settled(True, max(novelty, default=None), tuple(receipts))

    async def pay(
        self,
        reservation: Reservation,
        receipts: Sequence[list[Entry]],
        payout: Payout,
    ) -> int | None:
        """Charge diversity budgets what answers pay out, in place of what `settle` charged."""
        paid: dict[Holder, int] = {}
        for hold, receipt in zip(self._as_counted(reservation), receipts, strict=True):
            whose = reservation.identity.weighed(hold.charge.limit.per)
            if whose not in paid:
                paid[whose] = self._coverages[whose].weigh(reservation.id, payout)
            if hold.shared is None:
                account = hold.account
                account.recent = account.recent.after(payout.answers, paid[whose], hold.most)
            hold.true_up(paid[whose], receipt)
            self._accounts[hold.place] = hold.account
        return max(paid.values(), default=None)

    async def release(self, reservation: Reservation) -> bool:
        """Take a reservation back."""
        if not self._settle(reservation.id):
            return False
        for hold in self._as_counted(reservation):
            hold.settle(reservation.id, 0)
        self._note(reservation.identity, create=False)
        return True

    async def renew(self, reservation: Reservation) -> int:
        """Keep a reservation from expiring; returns how many limits it is still reserved in."""
        return sum([hold.renew(reservation.id, self._life_us) for hold in self._as_counted(reservation)])

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

    async def accuse(
        self,
        holder: Holder,
        identity: Identity,
        fresh: Mapping[Signal, float],
        now_us: int,
        half_life_us: int,
    ) -> bool:
        """Add evidence to what is known of a holder."""
        known = self._evidence.get(holder, NO_EVIDENCE)
        marks = merge(known.marks, fresh, now_us, half_life_us)
        return marks == known.marks or (await self.learn(holder, identity, replace(known, marks=marks))).kept

    async def trace(self, steps: Sequence[Step], now_us: int) -> list[Found | None]:
        """Note what was issued to whom; what is known of each token that is asked about."""
        return self._slots.trace(steps, now_us)

    async def set_review(self, holder: Holder, review: Review | None, *, instead_of: Review | None) -> bool:
        """Write down how a holder's review stands, or that it is over."""
        return self._reviews.put(holder, review, instead_of)

    async def control(self, worker: str | None = None) -> Control:
        """Nobody orders anything here."""
        return Control(campaigns=self._membership.version)

    async def issued_since(self, version: int) -> IssuedPage:
        """Nobody makes keys here."""
        return NONE_ISSUED

    async def note(self, identity: Identity, *, refused: int, shadowed: int) -> None:
        """Totals are not kept here."""
        self._note(identity, create=identity.verified)

    async def first_seen(self, identity: Identity) -> int | None:
        """When an identity was first seen, in Unix microseconds; `None` where it is not remembered."""
        return self._records.first_seen(identity, self._date_us())

    async def leave(self, worker: str) -> None:
        """Nobody counts the processes."""

    def _note(self, identity: Identity, *, create: bool) -> None:
        self._records.note(identity, self._date_us(), create=create)

    def _as_counted(self, reservation: Reservation) -> list[Hold]:
        """The limits of a reservation under the numbers that they were last counted under."""
        return paired([self._hold(charge, as_counted=True) for charge in reservation.charges])

    def _hold(self, charge: Charge, *, as_counted: bool = False) -> Hold:
        """A limit at this moment; with `as_counted` under the numbers that it was last counted under."""
        limit, now_us = charge.limit, self._date_us()
        place = limit.key, charge.holder
        account = self._accounts.get(place) or Account()
        least, most = min(charge.amount - charge.spare, LARGEST_AMOUNT), min(charge.amount, LARGEST_AMOUNT)
        windows = limit.windows
        if charge.left < 1 and limit.algorithm is Algorithm.GCRA and limit.own and not as_counted:
            windows = tuple([each.cut(round(1000 * charge.left)) for each in windows])
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


def _as_written(marks: Mapping[Signal, Mark]) -> Mapping[Signal, Mark]:
    """The marks as the store's text has them, which is rounded."""
    return read_marks(write_marks(marks)) if marks else {}
