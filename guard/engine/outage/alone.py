"""What one process does without the store: it decides alone, and owes what it let through.

A breaker says whether the store is asked at all. Under `local` the process admits its share of every limit
(guard/core/shares.py), counted in a store of its own. Limits that are not enforced are not counted, and
floors are not kept. What the store had counted before the outage comes on top, and so does what a process had
admitted before it was started anew: of a budget of a month, an outage gives away up to one whole budget more,
however much was used. What was used meanwhile is charged when the store is back
(guard/engine/outage/debts.py).
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from guard.core.calendars import MICROSECONDS
from guard.core.caps import answer_cap
from guard.core.decision import Action, Decision, Reason, decide
from guard.core.modes import Mode
from guard.core.policy import OnStoreError, actual_charges
from guard.core.shares import share_of
from guard.engine.outage.breaker import OPEN, Breaker, Call
from guard.engine.outage.debts import Debts
from guard.engine.outage.log import Outage
from guard.errors import StoreError
from guard.store.port import UNKNOWN_WAIT_US, Reservation

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from guard.clock import Clock
    from guard.core.demand import Demand
    from guard.core.identity import Holder, Identity
    from guard.core.limits import Charge
    from guard.core.query import Usage
    from guard.engine.admission import Admission
    from guard.store.port import Debt, Store

STORE_RETRY_SECONDS = (1.0, 5.0)
"""A caller refused because the store is down comes again after a time in this range, not with all others at
once."""

UNKNOWN_SHARE = 1 / 8
"""The share of each quota that a process admits alone when it never learnt how many others there are."""

REPAID_AT_ONCE = 50
"""Maximum number of debts charged in one go, so that a store which has just come back is not run over."""

NEVER_ASKED = frozenset({OPEN, "pepper"})
"""Kinds of `StoreError` after which the store has certainly not charged anything."""


class Alone:
    """Does without one store, for one engine.

    `local` is the store of this process alone; where there is none, `on_store_error = local` denies. `share`
    is that of each quota; without it, it follows from `workers`, the number of processes that serve.
    `instead` says what becomes of requests, such as `local`.
    """

    def __init__(
        self, clock: Clock, instead: Callable[[], str], *, local: Store | None, share: float | None
    ) -> None:
        self.breaker = Breaker()
        self.outage = Outage(clock.seconds, instead)
        self.workers = 0
        self._clock = clock
        self._given_share = share
        self._local = local
        # By the share that they were admitted by, which may be another when they are settled.
        self._admitted: dict[str, Reservation] = {}
        self._debts = Debts()
        self._owners: dict[tuple[str, Holder], Identity] = {}

    def asking(self) -> AbstractContextManager[object]:
        """Ask the store within this; it raises `StoreError` at once where the store is not to be asked."""
        return Call(self.breaker)

    async def decide(
        self,
        request_id: str,
        identity: Identity,
        charges: Sequence[Charge],
        demand: Demand,
        on_store_error: OnStoreError,
        mode: Mode,
    ) -> Decision:
        """The decision on a request, without the store."""
        if on_store_error is OnStoreError.ALLOW or mode is not Mode.ENFORCE:
            return Decision(Action.ALLOW, Reason.STORE, mode=mode)
        if on_store_error is OnStoreError.LOCAL and self._local is not None:
            return await self._decide_by_share(self._local, request_id, identity, charges, demand)
        wait_seconds = random.uniform(*STORE_RETRY_SECONDS)  # noqa: S311 - spreads clients, guards nothing
        return Decision(Action.DENY, Reason.STORE, (), int(wait_seconds * MICROSECONDS), mode)

    async def settle(self, admission: Admission, usage: Usage) -> None:
        """True up what was admitted by its share, and owe what the store was not even asked about."""
        reserved = self._admitted.pop(admission.request_id, None)
        if self._local is not None and reserved is not None:
            owed = actual_charges(reserved.charges, admission.demand, usage)
            await self._local.settle(reserved._replace(charges=owed), usage)
        if admission.store_error in NEVER_ASKED:
            self._owe(admission.identity, actual_charges(admission.charges, admission.demand, usage))

    async def release(self, request_id: str) -> None:
        """Take back what was admitted by its share, if anything was."""
        reserved = self._admitted.pop(request_id, None)
        if self._local is not None and reserved is not None:
            await self._local.release(reserved)

    async def renew(self, request_id: str) -> None:
        """Keep what was admitted by its share reserved, if anything was."""
        reserved = self._admitted.get(request_id)
        if self._local is not None and reserved is not None:
            await self._local.renew(reserved)

    @property
    def debts(self) -> int:
        """How many limits of holders owe something."""
        return len(self._debts)

    async def repay(self, store: Store) -> None:
        """Charge what is owed, a few debts at a time, until all are charged or the store fails again. What a
        cancelled caller leaves open is still owed.
        """
        while debts := self._debts.take(REPAID_AT_ONCE, self._clock.date_us()):
            try:
                charged = await asyncio.gather(*(self._repay_one(store, debt) for debt in debts))
            finally:
                for debt in debts:
                    self._debts.put_back(debt.id)
            if not all(charged):
                return
        self._owners.clear()

    async def _repay_one(self, store: Store, debt: Debt) -> bool:
        try:
            with self.asking():
                await store.repay(debt, self._owners[debt.limit.name, debt.holder])
        except StoreError as error:
            self.outage.failed(error)
            return False
        self._debts.done(debt.id)
        self.outage.charged()
        return True

    async def _decide_by_share(
        self,
        local: Store,
        request_id: str,
        identity: Identity,
        charges: Sequence[Charge],
        demand: Demand,
    ) -> Decision:
        enforced = [charge for charge in charges if charge.enforced and not charge.limit.beside]
        share = self._share
        shares = [
            charge._replace(limit=part) for charge in enforced for part in share_of(charge.limit, share)
        ]
        verdict = await local.admit(Reservation(request_id, identity, shares))
        if verdict.admitted and verdict.charged:
            self._admitted[request_id] = Reservation(request_id, identity, verdict.charged)
        readings = verdict.readings
        if all(_has_room_for(charge) for charge in enforced):
            # What is larger than a share, but not than the limit, waits for the store.
            readings = tuple(
                reading._replace(wait_us=UNKNOWN_WAIT_US) if reading.wait_us is None else reading
                for reading in readings
            )
        decision = decide(readings)
        # What one process has left of its share is nobody's business.
        return decision._replace(
            reason=decision.reason or Reason.STORE,
            readings=(),
            answer_cap=answer_cap(readings, charges, demand),
        )

    def _owe(self, identity: Identity, charges: Sequence[Charge]) -> None:
        """Keep for later what was used while the store was not asked."""
        now_us = self._clock.date_us()
        for charge in charges:
            if charge.limit.beside:
                continue  # what has room of that is not known here
            lost = self._debts.lost
            self._debts.add(charge.limit, charge.holder, charge.amount, now_us)
            if self._debts.lost == lost:
                self._owners[charge.limit.name, charge.holder] = identity

    @property
    def _share(self) -> float:
        """The share of each quota that this process may admit alone."""
        return self._given_share or (1 / self.workers if self.workers else UNKNOWN_SHARE)


def _has_room_for(charge: Charge) -> bool:
    """Whether the whole limit, while nothing of it is used, has room for what is insisted on."""
    return charge.amount - charge.spare <= min(window.burst for window in charge.limit.windows)
