"""Refusals that need no round trip: who was refused a moment ago is refused again until the time has come.

Who has used up a limit, and keeps asking, costs the store a script for each request. What the store said of
them holds until their wait is over; so it is kept for that long, but for a second at most, so that a reset,
a refund or other numbers are noticed within a second.

    12:00:00.0  the store refuses key:k under `rpm`: wait 7.4 s
    12:00:00.6  key:k is refused from memory: wait 6.8 s
    12:00:01.0  forgotten; the store is asked again

Only what refuses every request of a holder is kept. A request that is larger than its limit says nothing of
smaller ones; nor does one that wants more tokens than are left, unless none are; nor a full set of leases,
since any of them may be given back at any time. And it is kept for those to whom as much is left of the limit
as to who was refused: one whose share is larger may have room. Where a limit has a floor, each caller's
refusal is its own. The price: a small request waits for up to a second longer than it would have to, where a
large one has just found nothing left.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from guard.core.calendars import MICROSECONDS
from guard.core.decision import Action, Decision, Reason, decide
from guard.core.identity import Holder
from guard.core.limits import Algorithm, Unit

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

    from guard.core.limits import Limit, Reading

KEPT_SECONDS = 1.0
"""How long a refusal is kept at most."""

MOST_REFUSALS = 10_000
"""Maximum number of refusals; the oldest is dropped first, which costs a round trip and nothing else."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What refused a holder, at a moment in the caller's seconds."""

    at: float
    block_us: int | None = None
    readings: tuple[Reading, ...] = ()
    denied: Decision | None = None


class Refusals:
    """Remembers refusals of one process. It can only refuse, never admit.

    Times are seconds of a clock that never runs backwards. Holders are all those of an identity where a
    block can bite, the principal first: a block on one address of a key must not refuse its others. `some`
    says that there may be any.
    """

    def __init__(self, most: int = MOST_REFUSALS, kept_seconds: float = KEPT_SECONDS) -> None:
        self.some = False
        self._most = most
        self._kept_seconds = kept_seconds
        self._limits: OrderedDict[Hashable, Entry] = OrderedDict()
        self._blocks: OrderedDict[Hashable, Entry] = OrderedDict()

    def remember(self, decision: Decision, holders: Sequence[Holder], now: float) -> None:
        """Keep what the store has decided, as far as it refuses whatever comes next."""
        if not decision.refused:
            return
        if decision.reason is Reason.BLOCKED:
            self._keep(self._blocks, tuple(holders), Entry(now, decision.retry_after_us))
        if decision.reason is Reason.RISK and decision.action in (Action.DENY, Action.HOLD):
            # A deny is told like a quota that is used up: from memory with that limit alone.
            self._keep(self._blocks, tuple(holders), Entry(now, denied=decision))
        if decision.reason is Reason.QUOTA:
            lasting: dict[Hashable, list[Reading]] = {}
            for reading in filter(_lasts, decision.violated):
                place = _place(reading.limit, reading.holder, reading.left, holders[0])
                lasting.setdefault(place, []).append(reading)
            for key, readings in lasting.items():
                self._keep(self._limits, key, Entry(now, readings=tuple(readings)))

    def find(
        self, holders: Sequence[Holder], limits: Iterable[tuple[Limit, Holder, float]], now: float
    ) -> Decision | None:
        """The refusal that still holds, with what is left of its wait; `None` where the store must be asked.

        `limits` are those that the request is charged to, more than nothing, and refused by, with their
        holders and what is left of each to the caller.
        """
        return self._blocked(holders, now) or self._violated(holders[0], limits, now)

    def forget(self) -> None:
        """Forget every refusal, when limits have changed."""
        self._limits.clear()
        self._blocks.clear()
        self.some = False

    def __len__(self) -> int:
        return len(self._limits) + len(self._blocks)

    def _blocked(self, holders: Sequence[Holder], now: float) -> Decision | None:
        entry = self._blocks.get(tuple(holders)) if self._blocks else None
        if entry is None:
            return None
        past_us = self._past_us(entry, now)
        if past_us is None or (entry.block_us is not None and entry.block_us <= past_us):
            return None
        if entry.denied is not None:
            return _still_denied(entry.denied, past_us)
        left_us = None if entry.block_us is None else entry.block_us - past_us
        return Decision(Action.DENY, Reason.BLOCKED, (), left_us)

    def _violated(
        self, principal: Holder, limits: Iterable[tuple[Limit, Holder, float]], now: float
    ) -> Decision | None:
        if not self._limits:
            return None
        readings: list[Reading] = []
        for limit, holder, left in limits:
            entry = self._limits.get(_place(limit, holder, left, principal))
            past_us = None if entry is None else self._past_us(entry, now)
            if entry is not None and past_us is not None:
                readings += (_later(each, past_us) for each in entry.readings if _wait_us(each) > past_us)
        return decide(readings) if readings else None

    def _keep(self, entries: OrderedDict[Hashable, Entry], key: Hashable, entry: Entry) -> None:
        self.some = True
        entries[key] = entry
        entries.move_to_end(key)
        while len(entries) > self._most or self._past_us(next(iter(entries.values())), entry.at) is None:
            entries.popitem(last=False)

    def _past_us(self, entry: Entry, now: float) -> int | None:
        """How long ago that was; `None` where it holds no longer."""
        past = now - entry.at
        return int(past * MICROSECONDS) if past < self._kept_seconds else None


def _place(limit: Limit, holder: Holder, left: float, principal: Holder) -> Hashable:
    """What those have in common whom a limit refuses as it does this caller; shares go by thousandths, as the
    store's do.
    """
    whom = Holder.together((holder, principal)) if limit.floor else holder
    return limit.name, whom, round(1000 * left)


def _still_denied(decision: Decision, past_us: int) -> Decision | None:
    """A refusal for risk after this time; `None` when its wait is over. A hold has none."""
    if decision.action is Action.HOLD:
        return decision._replace(readings=())
    wait_us = (decision.retry_after_us or 0) - past_us
    if wait_us <= 0:
        return None
    readings = tuple(_later(reading, past_us) for reading in decision.violated if reading.enforced)
    return decision._replace(readings=readings, retry_after_us=wait_us)


def _lasts(reading: Reading) -> bool:
    """Whether what refused this request refuses every other until the wait is over."""
    limit = reading.limit
    if not reading.enforced or reading.wait_us is None or limit.algorithm is Algorithm.LEASES:
        return False
    return limit.unit == Unit.REQUESTS or reading.remaining == 0


def _wait_us(reading: Reading) -> int:
    return reading.wait_us or 0


def _later(reading: Reading, past_us: int) -> Reading:
    """The reading after this time without a charge."""
    return reading._replace(wait_us=_wait_us(reading) - past_us, reset_us=max(reading.reset_us - past_us, 1))
