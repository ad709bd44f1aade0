"""What one process does without the store: it decides alone, and owes what it let through.

Whether the store is asked at all, a breaker says. What is used meanwhile is charged when the store is back.
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
from guard.engine.outage.breaker import OPEN, Breaker, Call
from guard.engine.outage.debts import Debts
from guard.engine.outage.local import LocalLimiter
from guard.engine.outage.log import Outage
from guard.errors import StoreError

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

    `share` is that of each quota; without it, it follows from `workers`, the number of processes that serve.
    `instead` says what becomes of requests, such as `local`.
    """

    def __init__(
        self, clock: Clock, instead: Callable[[], str], *, share: float | None, lease_seconds: float
    ) -> None:
        self.breaker = Breaker()
        self.outage = Outage(clock.seconds, instead)
        self.workers = 0
        self._clock = clock
        self._given_share = share
        self._local = LocalLimiter(lease_seconds=lease_seconds)
        self._debts = Debts()
        self._owners: dict[tuple[str, Holder], Identity] = {}

    def asking(self) -> AbstractContextManager[object]:
        """Ask the store within this; it raises `StoreError` at once where the store is not to be asked."""
        return Call(self.breaker)

    def decide(
        self,
        request_id: str,
        charges: Sequence[Charge],
        demand: Demand,
        on_store_error: OnStoreError,
        mode: Mode,
    ) -> Decision:
        """The decision on a request, without the store."""
        if on_store_error is OnStoreError.ALLOW or mode is not Mode.ENFORCE:
            return Decision(Action.ALLOW, Reason.STORE, mode=mode)
        if on_store_error is OnStoreError.LOCAL:
            readings = self._local.admit(request_id, charges, self._share, self._now_seconds)
            decision = decide(readings, mode)
            # What one process has left of its share is nobody's business.
            return decision._replace(
                reason=decision.reason or Reason.STORE,
                readings=(),
                answer_cap=answer_cap(readings, charges, demand),
            )
        wait_seconds = random.uniform(*STORE_RETRY_SECONDS)  # noqa: S311 - spreads clients, guards nothing
        return Decision(Action.DENY, Reason.STORE, (), int(wait_seconds * MICROSECONDS), mode)

    def settle(self, admission: Admission, usage: Usage) -> None:
        """True up what was admitted alone, and owe it where the store was not even asked."""
        charges = actual_charges(admission.charges, admission.demand, usage)
        self._local.settle(admission.request_id, admission.charges, charges, self._share, self._now_seconds)
        if admission.store_error in NEVER_ASKED:
            self._owe(admission.identity, charges)

    def release(self, request_id: str) -> None:
        """Take back what was admitted alone."""
        self._local.release(request_id)

    def renew(self, request_id: str) -> None:
        """Keep a lease of a request that was admitted alone."""
        self._local.renew(request_id, self._now_seconds)

    @property
    def debts(self) -> int:
        """How many limits of holders owe something."""
        return len(self._debts)

    async def repay(self, store: Store) -> None:
        """Charge what is owed, a few debts at a time, until all are charged or the store fails again."""
        while debts := self._debts.take(REPAID_AT_ONCE, self._clock.date_us()):
            if not all(await asyncio.gather(*(self._repay_one(store, debt) for debt in debts))):
                return
        self._owners.clear()

    async def _repay_one(self, store: Store, debt: Debt) -> bool:
        try:
            with self.asking():
                await store.repay(debt, self._owners[debt.limit.name, debt.holder])
        except StoreError as error:
            self.outage.failed(error)
            self._debts.put_back(debt.id)
            return False
        self._debts.done(debt.id)
        self.outage.charged()
        return True

    def _owe(self, identity: Identity, charges: Sequence[Charge]) -> None:
        """Keep for later what was used while the store was not asked."""
        now_us = self._clock.date_us()
        for charge in charges:
            lost = self._debts.lost
            self._debts.add(charge.limit, charge.holder, charge.amount, now_us)
            if self._debts.lost == lost:
                self._owners[charge.limit.name, charge.holder] = identity

    @property
    def _share(self) -> float:
        """The share of each quota that this process may admit alone."""
        return self._given_share or (1 / self.workers if self.workers else UNKNOWN_SHARE)

    @property
    def _now_seconds(self) -> float:
        return self._clock.date_us() / MICROSECONDS
