"""The store in plain Python: what the Lua scripts are held against. Times in microseconds."""

from __future__ import annotations

import copy
import math
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fractions import Fraction
from hashlib import sha1
from itertools import takewhile
from typing import TYPE_CHECKING

from guard.core.calendars import Span
from guard.core.identity import Attribute, Holder
from guard.core.limits import Algorithm, Role, Unit
from guard.core.novelty import CELLS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from zoneinfo import ZoneInfo

    from guard.core.identity import Identity
    from guard.core.limits import Charge, Limit, Window
    from guard.core.novelty import Payout

SLACK = 1e-11

HEX_DIGITS = 4
"""So many digits of a digest choose a cell."""


def forgotten_by(name: str) -> int:
    """The cell that a piece of this name forgets."""
    return int(sha1(name.encode(), usedforsecurity=False).hexdigest()[:HEX_DIGITS], 16) % CELLS


def judged(used: float, carried: float, was: int, now: int) -> float:
    """What is used, under another count: debts stay as they are, and the rest is what it admits at most."""
    overrun = used - max(was, carried) if used > max(was, carried) else 0
    debt = carried + overrun
    return debt + min(used - debt, now)


@dataclass
class Sliding:
    window: Window
    start: int = 0
    current: int = 0
    previous: int = 0
    carried: int = 0
    now: int = 0
    counted_under: Window | None = None

    def judge_by(self, window: Window) -> None:
        """The numbers that hold now; what was used counts as what they could have admitted, but for debts."""
        was = self.counted_under
        if was is not None and was.count != window.count:
            self.current = int(judged(self.current, self.carried, was.count, window.count))
            self.previous = min(self.previous, window.count)
        self.window = window

    def bring_to(self, now: int) -> None:
        """One window after the other: what is beyond the count is carried into the next."""
        period, count = self.window.period_us, self.window.count
        while now - self.start >= period and (self.current or self.previous):
            self.carried = max(0, self.current - count)
            self.start, self.current, self.previous = (
                self.start + period,
                self.carried,
                min(count, self.current),
            )
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
        low, high = 0, (4 + self.current // self.window.count) * self.window.period_us
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

    def refund(self, amount: int, mark: object) -> object:
        if mark == self.start:
            self.current = max(self.carried, self.current - amount)
        elif mark == self.start - self.window.period_us:
            owed = min(self.carried, amount)
            self.carried -= owed
            self.current -= owed
            self.previous = max(0, self.previous - (amount - owed))
        return mark

    @property
    def remaining(self) -> int:
        return max(0, math.floor(self.window.count * (1 + SLACK) - self.used))


@dataclass
class Gcra:
    window: Window
    now: int = 0
    backlog: float = 0.0
    counted_under: Window | None = None

    def judge_by(self, window: Window) -> None:
        was = self.counted_under
        if was is not None and (was.count, was.burst) != (window.count, window.burst):
            units = self.backlog * was.count / was.period_us
            self.backlog = judged(units, 0.0, was.burst, window.burst) * (window.period_us / window.count)
        self.window = window

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

    def refund(self, amount: int, mark: object) -> object:
        """What is given back is no longer part of the backlog that the charge has left."""
        assert isinstance(mark, tuple)
        at, backlog = mark
        back = min(amount * self.unit, max(0.0, backlog - (self.now - at)))
        self.backlog = max(0.0, self.backlog - back)
        return at, backlog - back

    @property
    def remaining(self) -> int:
        return max(0, math.floor(self.window.burst + SLACK * self.window.count - self.backlog / self.unit))


@dataclass
class Calendar:
    """A count by the day, month or other period that the moment falls in, found by asking for each moment."""

    window: Window
    zone: ZoneInfo
    period: tuple[int, ...] = ()
    before: tuple[int, ...] = ()
    used: int = 0
    carried: int = 0
    now: int = 0
    counted_under: Window | None = None

    def judge_by(self, window: Window) -> None:
        was = self.counted_under
        if was is not None and was.count != window.count:
            self.used = int(judged(self.used, self.carried, was.count, window.count))
        self.window = window

    def _period_at(self, now: int) -> tuple[int, ...]:
        span = self.window.span
        zone = self.zone if span in (Span.DAY, Span.MONTH, Span.YEAR) else UTC
        moment = datetime.fromtimestamp(now // 1_000_000, zone)
        fields = {Span.YEAR: 1, Span.MONTH: 2, Span.DAY: 3, Span.HOUR: 4, Span.MINUTE: 5}
        return tuple(moment.timetuple()[: fields[span or Span.DAY]])

    def bring_to(self, now: int) -> None:
        """One period after the other: what is beyond the count is carried into the next."""
        while self.used and self._period_at(now) > self.period:
            self.now = self._end_of(self.now)
            self.used = self.carried = max(0, self.used - self.window.count)
            self.before, self.period = self.period, self._period_at(self.now)
        if self._period_at(now) != self.period:
            self.before, self.period, self.used, self.carried = (), self._period_at(now), 0, 0
        self.now = now

    def _end_of(self, moment: int) -> int:
        """When the period of a moment ends, found by search."""
        low, high = 0, 400 * 86_400 * 1_000_000
        while high - low > 1:
            middle = (low + high) // 2
            over = self._period_at(moment + middle) > self._period_at(moment)
            low, high = (low, middle) if over else (middle, high)
        return moment + high

    def wait(self, amount: int) -> int | None:
        """Found by going through the periods."""
        if amount > self.window.count:
            return None
        used, moment = self.used, self.now
        while used + amount > self.window.count:
            used, moment = max(0, used - self.window.count), self._end_of(moment)
        return moment - self.now

    def charge(self, amount: int) -> None:
        self.used += amount

    def mark(self) -> object:
        return self.period

    def refund(self, amount: int, mark: object) -> object:
        if mark == self.period:
            self.used = max(self.carried, self.used - amount)
        elif mark == self.before:
            owed = min(self.carried, amount)
            self.carried -= owed
            self.used -= owed
        return mark

    @property
    def remaining(self) -> int:
        return max(0, self.window.count - self.used)


@dataclass
class Leases:
    """How many hold: what is pending and has not expired."""

    window: Window
    held: int = 0
    counted_under: Window | None = None

    def judge_by(self, window: Window) -> None:
        self.window = window

    def bring_to(self, now: int) -> None:
        pass

    def wait(self, amount: int) -> int | None:
        if amount > self.window.count:
            return None
        return 0 if self.held + amount <= self.window.count else 1_000_000

    def charge(self, amount: int) -> None:
        self.held += amount

    def mark(self) -> object:
        return None

    def refund(self, amount: int, mark: object) -> object:
        self.held -= amount
        return mark

    @property
    def remaining(self) -> int:
        return max(0, self.window.count - self.held)


State = Sliding | Gcra | Calendar | Leases


@dataclass
class Ticket:
    amount: int
    marks: list[object]
    expires: int = 0
    beside: bool = False


@dataclass
class Held:
    """One limit of one holder."""

    limit: Limit
    states: list[State] = field(default_factory=list)
    pending: dict[str, Ticket] = field(default_factory=dict)
    lapsed: dict[str, Ticket] = field(default_factory=dict)
    receipts: dict[str, list[Ticket]] = field(default_factory=dict)
    paid: float = 1_000.0
    drew: float = 1_000.0
    answers: int = 0

    def __post_init__(self) -> None:
        self.states = [self._new(window) for window in self.limit.windows]

    def _new(self, window: Window) -> State:
        match self.limit.algorithm:
            case Algorithm.SLIDING_WINDOW:
                return Sliding(window)
            case Algorithm.GCRA:
                return Gcra(window)
            case Algorithm.CALENDAR:
                assert self.limit.zone is not None
                return Calendar(window, self.limit.zone)
            case Algorithm.LEASES:
                return Leases(window)

    def bring_to(self, now: int) -> None:
        for state in self.states:
            state.bring_to(now)

    def judge_by(self, windows: Sequence[Window]) -> None:
        for state, window in zip(self.states, windows, strict=True):
            state.judge_by(window)

    def judge_as_counted(self) -> None:
        for state in self.states:
            if state.counted_under is not None:
                state.window = state.counted_under

    @property
    def is_budget(self) -> bool:
        """Whether what it is owed is not known until the answer was looked at."""
        return self.limit.unit == Unit.NOVELTY

    def expected(self, least: int, most: int) -> int:
        """What to reserve: as many mean payouts as there are answers, of which `least` has 250 each; and a
        quarter of the most; or the most, before 16 answers were read.
        """
        if self.answers < 16:
            return most
        expected = max(least, math.ceil(most / 4), math.ceil(least / 250 * self.paid))
        return min(most, expected) if self.is_budget else most

    def heal(self, now: int) -> bool:
        """Whether anything was given back, which counts under the present numbers."""
        expired = [name for name, ticket in self.pending.items() if ticket.expires <= now]
        if not self.limit.pending or not expired:
            return False
        for name in expired:
            ticket = self.lapsed[name] = self.pending.pop(name)
            self._refund(ticket, ticket.amount)
        self.counted()
        return True

    def heal_as_it_stands(self, now: int) -> None:
        """What a request that does not touch this limit gives back."""
        expired = [name for name, ticket in self.pending.items() if ticket.expires <= now]
        for name in expired if self.limit.pending else ():
            ticket = self.lapsed[name] = self.pending.pop(name)
            self._refund(ticket, ticket.amount)

    def forget(self, now: int, life: int) -> None:
        """What was charged for good, and a lease that has lapsed, are forgotten one life after the expiry."""
        tickets = self.lapsed if self.limit.pending else self.pending
        for name in [name for name, ticket in tickets.items() if ticket.expires + life <= now]:
            del tickets[name]

    def counted(self) -> None:
        for state in self.states:
            state.counted_under = state.window

    def charge(self, amount: int) -> None:
        for state in self.states:
            state.charge(amount)
        self.counted()

    @property
    def room(self) -> int:
        return min(state.remaining for state in self.states)

    def reserve(self, name: str, amount: int, expires: int, *, beside: bool = False) -> None:
        if beside:
            amount = min(amount, self.room)
        self.charge(amount)
        self.pending[name] = Ticket(amount, [state.mark() for state in self.states], expires, beside)

    def settle(self, name: str, amount: int, budget: Held) -> bool:
        """Whether anything is counted anew. What is usual of a `budget` is charged until more is known."""
        ticket = self.pending.pop(name, None)
        if isinstance(self.states[0], Leases):
            if ticket is not None:
                self._refund(ticket, ticket.amount)
            return True
        if self.limit.role is Role.FLOORS and ticket is None:
            self.receipts[name] = []
            return False
        if self.is_budget:
            amount = min(amount, math.ceil(amount * budget.paid / budget.drew))
        changed, self.receipts[name] = self._true_up(amount, [ticket] if ticket else [])
        return changed

    def learn(self, draw: int, paid: int, answers: int) -> None:
        """What answers have paid out whose settle was told that they draw so much."""
        self.answers += answers
        self.paid = (16 * self.paid + paid) / (16 + answers)
        self.drew = max(1.0, (16 * self.drew + draw) / (16 + answers))

    def pay(self, name: str, paid: int) -> bool:
        """Whether anything is counted anew."""
        if self.limit.role is Role.FLOORS and not self.receipts[name]:
            return False
        changed, _ = self._true_up(paid, self.receipts[name])
        return changed

    def _true_up(self, owed: int, tickets: list[Ticket]) -> tuple[bool, list[Ticket]]:
        """Whether anything is counted anew, and the charges that stand then."""
        over = owed - sum(ticket.amount for ticket in tickets)
        if over > 0:
            beside = tickets[0].beside if tickets else self.limit.role is Role.FLOOR
            over = min(over, self.room) if beside else over
            self.charge(over)
            return True, [*tickets, Ticket(over, [state.mark() for state in self.states], beside=beside)]
        left, changed = list[Ticket](), over < 0
        for ticket in reversed(tickets):
            back = min(-over, ticket.amount)
            over += back
            marks = self._refund(ticket, back) if back else ticket.marks
            left.insert(0, Ticket(ticket.amount - back, marks, beside=ticket.beside))
        if changed:
            self.counted()
        return changed, left

    def renew(self, name: str, expires: int) -> None:
        """What has lapsed stays given back, but for a lease: its request is running."""
        if name in self.lapsed and isinstance(self.states[0], Leases):
            self.reserve(name, self.lapsed.pop(name).amount, expires)
        if name in self.pending:
            self.pending[name].expires = expires

    def _refund(self, ticket: Ticket, amount: int) -> list[object]:
        """Where what is left of the charge was put."""
        marks = zip(self.states, ticket.marks, strict=True)
        return [state.refund(amount, mark) for state, mark in marks]


@dataclass(eq=False)
class Judged:
    """One limit at the moment of a request. `of` is the shared one beside which it stands."""

    held: Held
    most: int
    amount: int
    waits: list[int | None]
    of: Judged | None = None
    beside: bool = False
    spared: bool = False

    @property
    def lacks(self) -> bool:
        return any(wait != 0 for wait in self.waits)

    def go_by_either(self, floor: Judged, floors: Judged) -> None:
        """What is shared is enough, or the floor and all floors together."""
        if self.lacks and (floor.lacks or floors.lacks):
            waits = [*floor.waits, *floors.waits]
            sooner = [wait for wait in waits if wait is not None]
            if len(sooner) == len(waits):
                first = max(sooner)
                self.waits = [first if wait is None else min(wait, first) for wait in self.waits]
        elif self.lacks:
            self.beside, self.amount, self.waits = True, floor.amount, [0] * len(self.waits)
        else:
            floor.beside, floor.amount, floor.waits = True, self.amount, [0] * len(floor.waits)
            floors.spared, floors.waits = True, [0] * len(floors.waits)


def floors_of(charges: Sequence[Charge]) -> Iterable[Charge]:
    """What stands beside the first of these charges."""
    return takewhile(lambda charge: charge.limit.beside, charges[1:])


@dataclass(frozen=True)
class Seen:
    """What an admission should say; the readings are (remaining, wait), none where a holder is exempt."""

    admitted: bool
    charged: list[str]
    readings: list[tuple[int, int | None]]


class ModelStore:
    """Admits and settles as the store does."""

    def __init__(self, life_us: int) -> None:
        self._life_us = life_us
        self._held: dict[tuple[str, str], Held] = {}
        self._settled: set[str] = set()
        self._paid: set[str] = set()
        # Where the answers of each have been, as far as it is remembered.
        self.visited: defaultdict[Holder, set[int]] = defaultdict(set)
        self.blocked: set[str] = set()
        self.charged: dict[str, set[str]] = {}
        self.overrides: dict[tuple[str, str], dict[int, tuple[int, int]] | None] = {}

    def admit(self, name: str, holders: Sequence[str], charges: Sequence[Charge], now: int) -> Seen:
        """What becomes of a request of these holders."""
        touched = {str(charge.holder) for charge in charges}
        near = [held for (_, holder), held in self._held.items() if holder in touched]
        again = name in self._settled or any(name in held.pending for held in near)
        room = fits = not self.blocked.intersection(holders)
        judged: list[Judged | None] = []
        for place, charge in enumerate(charges):
            limit = self._judged(charge)
            # A shared limit, its floor and all floors stand one behind the other.
            whole = place - list(Role).index(charge.limit.role)
            of = judged[whole] if charge.limit.beside else None
            free = any(self._judged(each) is None for each in floors_of(charges[whole:]))
            if limit is None or free or (charge.limit.beside and of is None):
                judged.append(None)
                continue
            # Being judged by other numbers leaves no trace, unless something is counted under them.
            held = copy.deepcopy(self._stored(charge))
            held.judge_by(limit.windows)
            held.bring_to(now)
            if held.heal(now):
                self._keep(charge, held)
            largest = min(window.burst for window in limit.windows)
            least = charge.amount - charge.spare
            most = held.expected(least, charge.amount) if of is None else of.most
            if charge.limit.role is Role.FLOORS and (floor := judged[-1]) is not None:
                least = most = floor.amount
            amount = most
            if amount > largest:
                half = math.ceil(largest / 2)
                amount = max(least, min(largest, max(half, min(state.remaining for state in held.states))))
            waits = [0 if again else state.wait(amount) for state in held.states]
            judged.append(Judged(held, most, amount, waits, of))
        for each, floor, floors in zip(judged, judged[1:], judged[2:], strict=False):
            if each and floor and floors and floor.of is floors.of is each:
                each.go_by_either(floor, floors)
        for charge, each in zip(charges, judged, strict=True):
            if each is not None and each.lacks:
                room = False
                fits = fits and not charge.enforced
        charged = []
        for charge, each in zip(charges, judged, strict=True):
            if fits and not again and each is not None and (charge.enforced or room):
                if not each.spared:
                    each.held.reserve(name, each.amount, now + self._life_us, beside=each.beside)
                    self._keep(charge, each.held)
                charged.append(charge.limit.name)
        if not again:
            self.charged[name] = set(charged)
        seen = {(c.limit.key, str(c.holder)) for c, each in zip(charges, judged, strict=True) if each}
        for kept, held in self._held.items():
            if kept[1] in touched:
                if kept not in seen:
                    held.heal_as_it_stands(now)
                held.forget(now, self._life_us)
        readings: list[tuple[int, int | None]] = []
        for place, each in enumerate(judged):
            beside = [other for other in judged[place + 1 : place + 3] if other and other.of is each]
            own = min((other.held.room for other in beside), default=0)
            if each is not None and each.of is None:
                left = [max(state.remaining, min(own, state.window.burst)) for state in each.held.states]
                readings += zip(left, each.waits, strict=True)
        return Seen(fits, charged, readings)

    def settle(self, name: str, charges: Sequence[Charge], now: int) -> bool:
        """Whether it counted."""
        if name in self._settled:
            return False
        self._settled.add(name)
        for place, charge in enumerate(charges):
            held = self._stored(charge)
            budget = self._stored(charges[place - list(Role).index(charge.limit.role)])
            before = copy.deepcopy(held.states)
            held.judge_as_counted()
            held.bring_to(now)
            if not held.settle(name, charge.amount, budget):
                held.states = before
        return True

    def pay(
        self, name: str, identity: Identity, charges: Sequence[Charge], payout: Payout, now: int
    ) -> int | None:
        """What the dearest budget was charged; `None` where it was paid before."""
        if name in self._paid:
            return None
        self._paid.add(name)
        paid = dict[Holder, int]()
        for charge in charges:
            user = Attribute.END_USER in charge.limit.per
            whose = identity.holder(Attribute.END_USER) if user else identity.principal
            if whose not in paid:
                paid[whose] = self._weigh(whose, name, payout)
            held = self._stored(charge)
            if not charge.limit.beside:
                held.learn(charge.amount, paid[whose], payout.answers)
            before = copy.deepcopy(held.states)
            held.judge_as_counted()
            held.bring_to(now)
            if not held.pay(name, paid[whose]):
                held.states = before
        return max(paid.values())

    def _weigh(self, whose: Holder, name: str, payout: Payout) -> int:
        """What answers pay: what is new for more, as many more as chance has spared."""
        free = Fraction(CELLS - len(self.visited[whose]), CELLS)
        paid = Fraction(0)
        for number, (draw, least, cell) in enumerate(payout.pieces, 1):
            if cell is None:
                paid += draw
                continue
            known = cell in self.visited[whose]
            self.visited[whose] -= {forgotten_by(f"{name}:{number}")}
            self.visited[whose] |= {cell}
            paid += least if known else least + (draw - least) / free
        return max(payout.floor, min(sum(piece.draw for piece in payout.pieces), math.floor(paid)))

    def renew(self, name: str, charges: Sequence[Charge], now: int) -> None:
        for charge in charges:
            held = self._stored(charge)
            if name not in self._settled:
                held.renew(name, now + self._life_us)

    def _judged(self, charge: Charge) -> Limit | None:
        """The limit with the numbers that hold; `None` for who is exempt."""
        holder = str(charge.holder)
        if (holder, charge.limit.name) in self.overrides:
            counts = self.overrides[holder, charge.limit.name]
            return None if counts is None else charge.limit.with_counts(counts)
        return charge.limit

    def _keep(self, charge: Charge, held: Held) -> None:
        self._held[charge.limit.key, str(charge.holder)] = held

    def _stored(self, charge: Charge) -> Held:
        return self._held.setdefault((charge.limit.key, str(charge.holder)), Held(charge.limit))
