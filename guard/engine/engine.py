"""One request end to end: decide on it, and have its books kept."""

from __future__ import annotations

import asyncio
import logging
import secrets
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from guard.clock import SystemClock
from guard.core.caps import answer_cap
from guard.core.climb import Climb, chance, climb_of, wait_seconds
from guard.core.decision import Action, Decision, Reason, climb, decide
from guard.core.demand import Demand
from guard.core.identity import Attribute
from guard.core.modes import Mode, mildest
from guard.core.novelty import NOWHERE, Ground
from guard.core.policy import Caller, OnStoreError, Policy
from guard.core.prices import PER_TOKENS, Price
from guard.core.query import NO_USAGE, Query
from guard.engine.admission import LONGEST_METHOD, Admission
from guard.engine.books import Books
from guard.engine.events import Events
from guard.engine.learning import Learning, answered
from guard.engine.outage.alone import NEVER_ASKED, Alone
from guard.engine.remembered.blocks import Blocks
from guard.engine.remembered.refusals import KEPT_SECONDS, Refusals
from guard.engine.remembered.suspicions import Suspicions
from guard.errors import StoreError
from guard.store.port import Control, Store
from guard.text.fingerprint import Fingerprinter

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from starlette.types import Scope

    from guard.clock import Clock
    from guard.core.evidence import Mark, Signal
    from guard.core.identity import Identity
    from guard.core.limits import Charge
    from guard.core.policy import Tier
    from guard.core.pseudonyms import Pseudonyms
    from guard.core.query import Usage
    from guard.detection.analyst import Analyst
    from guard.errors import BackendError, RequestError
    from guard.identity.crowds import Crowds
    from guard.telemetry.events import Hook
    from guard.text.fingerprint import Sketch

logger = logging.getLogger("guard")


class Engine:
    """Decides on requests and keeps their books.

    `policy` may be replaced between requests. `control` is what the operator has ordered for all, as `watch`
    last heard it.
    """

    def __init__(
        self,
        policy: Policy,
        store: Store,
        keys: Pseudonyms,
        hooks: Iterable[Hook] = (),
        *,
        local_share: float | None = None,
        reservation_seconds: float = 60.0,
        crowds: Crowds | None = None,
        analyst: Analyst | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.policy = policy
        self.control = Control()
        self.fingerprinter = Fingerprinter(keys.secret("fingerprint"))
        self._clock = clock or SystemClock()
        self._store = store
        self._keys = keys
        self._crowds = crowds
        self._worker = secrets.token_hex(8)
        self._events = Events(hooks)
        self._alone = Alone(self._clock, self._instead, share=local_share, lease_seconds=reservation_seconds)
        self._learning = Learning(self._alone, self._clock, analyst)
        self._books = Books(
            store,
            self._alone,
            self._learning,
            self._clock,
            self._over,
            reservation_seconds=reservation_seconds,
        )
        # What the operator orders may reach a store's scripts later, but is to be seen within a second too.
        self._refusals = Refusals(kept_seconds=KEPT_SECONDS - store.stale_seconds)
        self._blocks = Blocks()
        self._suspicions = Suspicions()

    @property
    def analyst(self) -> Analyst | None:
        """Who reads queries and learns from their answers, if anybody does."""
        return self._learning.analyst

    @analyst.setter
    def analyst(self, analyst: Analyst | None) -> None:
        self._learning.analyst = analyst

    @property
    def mode(self) -> Mode:
        """How far anything bites at all."""
        return mildest(self.policy.rollout.mode, self.control.mode)

    def adopt(self, policy: Policy) -> None:
        """Decide by another policy from the next request on."""
        self.policy = policy
        self._refusals.forget()

    def foresee(
        self, request_id: str, identity: Identity, route: str, method: str, *, read: bool
    ) -> Admission | None:
        """A refusal that needs neither the request's body nor the store, since it was given a moment ago.

        `read` says that the request's query will be read, and so be charged for its tokens.
        """
        if not self._refusals:
            return None
        identity = self._held(identity).asking(route=route)
        tier, caller = self._caller(identity, method)
        demand = Demand(_UNREAD if read else None, 1, _ANY_PRICE, identity.amounts)
        untold = _TOLD_BY_QUERIES - identity.attributes.keys() if read else frozenset()
        found = self._remembered(request_id, identity, tier, caller, demand, untold)
        return None if found is None else replace(found, body_read=False)

    async def admit(
        self, request_id: str, identity: Identity, query: Query | None, route: str, method: str = "POST"
    ) -> Admission:
        """Decide on a request, and reserve what it may use if it is admitted."""
        identity = self._held(identity)
        if query is None:
            identity = identity.asking(route=route)
        else:
            trusted = identity.attributes.get(Attribute.END_USER)
            identity = identity.asking(route=route, model=query.model, end_user=trusted or query.end_user)
        tier, caller = self._caller(identity, method)
        if self._refusals:
            demand = self.policy.demand(identity, query)
            found = self._remembered(request_id, identity, tier, caller, demand)
            if found is not None:
                return found
        sketch, ground = None, NOWHERE
        watches = self.analyst is not None and self.policy.detection.rollout.mode is not Mode.OFF
        if query is not None and caller.mode is not Mode.OFF and (watches or tier.counts_novelty):
            sketch = self.fingerprinter.sketch(query)
            ground = Ground(sketch.cells)
        watched = self._detection_mode(caller) is not Mode.OFF
        blank = Admission(
            request_id,
            identity,
            self._keys.label(identity.principal),
            tier.name,
            route,
            method[:LONGEST_METHOD],
            self.policy.demand(identity, query, ground),
            Decision(Action.ALLOW, mode=caller.mode),
            suspect=self.policy.suspect(identity, caller.now_us) if watched else None,
        )
        if caller.mode is Mode.OFF:
            return blank
        admission = await self._ask(blank, caller, tier, sketch)
        if query is not None:
            # An answer may take minutes; who still has to look at the texts holds them himself.
            admission = replace(admission, demand=replace(admission.demand, query=query.without_texts()))
        if not admission.refused:
            self._books.open(admission)
        return admission

    def refuse(self, admission: Admission, status: int) -> None:
        """A refusal has been sent: tell the hooks."""
        if not admission.counted:
            self._books.tally.add(admission.identity, refused=1)
        self._over(admission, NO_USAGE, status)

    def fail(
        self,
        request_id: str,
        error: RequestError | BackendError,
        identity: Identity | None,
        route: str,
        scope: Scope,
    ) -> None:
        """A request has ended in an error: tell the hooks. `identity` is `None` where that is not known."""
        label = None if identity is None else self._keys.label(identity.principal)
        tier = None if identity is None else self.policy.tier(identity).name
        self._events.failed(request_id, error, label, tier, route, scope)

    async def settle(self, admission: Admission, usage: Usage, status: int | None) -> None:
        """The answer is over: charge what it used.

        Returns when the store has settled, or could not within its deadline; then it is tried again in the
        background. A cancelled caller does not cancel the settling.
        """
        if self._crowds is not None and answered(status):
            self._crowds.accept(admission.identity, self._clock.seconds())
        await self._books.settle(admission, usage, status)

    async def release(self, admission: Admission, status: int | None) -> None:
        """No backend has got the request: give back all that was reserved for it."""
        await self._books.release(admission, status)

    async def conclude(self, admission: Admission, usage: Usage, status: int | None) -> None:
        """As `settle`, and learn before it returns: for who does not wait for a store or a backend."""
        await self._books.conclude(admission, usage, status)

    async def watch(self) -> Control | None:
        """Once a second or so: hear what the operator has ordered, renew what runs long, and repay debts.

        Returns `None` where the store is not to be heard; what it said last still holds.
        """
        try:
            # Also the probe that finds the store well again where there are no requests.
            with self._alone.asking():
                self.control = await self._store.control(self._worker)
        except StoreError as error:
            self._alone.outage.failed(error)
            return None
        self._alone.workers = self.control.workers
        await self._books.renew()
        await self._alone.repay(self._store)
        await self._books.report()
        self._alone.outage.heard()
        return self.control

    @property
    def debts(self) -> int:
        """How many limits of holders owe what was admitted without the store."""
        return self._alone.debts

    async def quiet(self) -> None:
        """Wait until nothing is under way in the background."""
        await self._books.quiet()

    async def drain(self, seconds: float = 1.0) -> None:
        """Wait for settles under way, and charge what is owed if the store answers; before the process stops.

        What is not settled by then is left to the reservations' expiry.
        """
        await self._books.close(seconds)
        try:
            with self._alone.asking():
                await self._store.leave(self._worker)
        except StoreError:
            return
        await self._alone.repay(self._store)

    def _held(self, identity: Identity) -> Identity:
        """The identity as it is held to account: in a crowd, and in the default tier if it names none."""
        if self._crowds is not None:
            identity = self._crowds.held(identity, self._clock.seconds())
        if Attribute.TIER not in identity.attributes:
            identity = identity.asking(tier=self.policy.default_tier)
        return identity

    def _caller(self, identity: Identity, method: str) -> tuple[Tier, Caller]:
        tier = self.policy.tier(identity)
        place = self._keys.place(identity.principal)
        mode = self.policy.mode(tier, place, self.control.mode)
        return tier, Caller(method, mode, place, self._clock.date_us())

    def _remembered(
        self,
        request_id: str,
        identity: Identity,
        tier: Tier,
        caller: Caller,
        demand: Demand,
        untold: frozenset[Attribute] = frozenset(),
    ) -> Admission | None:
        """The refusal of a moment ago, if this request runs into the same limit.

        `untold` is what only the query will say; whom limits that are kept per these hold, nobody knows yet.
        """
        if caller.mode is not Mode.ENFORCE or not self._refusals:
            return None
        keys = (
            (limit.name, identity.holder(*limit.per))
            for limit in self.policy.applicable(identity, caller)
            if limit.rollout.mode_at(caller.place) is Mode.ENFORCE
            and demand.reserve(limit.unit)[0]
            and untold.isdisjoint(limit.per)
        )
        decision = self._refusals.find(identity.holders, keys, self._clock.seconds())
        if decision is None:
            return None
        label = self._keys.label(identity.principal)
        route = identity.attributes.get(Attribute.ROUTE, "")
        method = caller.method[:LONGEST_METHOD]
        return Admission(request_id, identity, label, tier.name, route, method, demand, decision)

    def _detection_mode(self, caller: Caller) -> Mode:
        """How far evidence bites for this caller."""
        return mildest(caller.mode, self.policy.detection.rollout.mode_at(caller.place))

    def _climb(self, asked: Admission, tier: Tier, caller: Caller, marks: Mapping[Signal, Mark]) -> Climb:
        """What is to be done about this evidence against a request's suspect."""
        return climb_of(
            asked.suspect,
            marks,
            self.policy.detection.weights,
            tier.ladder,
            request_id=asked.request_id,
            place=0.0 if asked.suspect is None else self._keys.place(asked.suspect.holder),
            now_us=caller.now_us,
        )

    def _to_look_at(self, request_id: str, sketch: Sketch | None, decision: Decision) -> Sketch | None:
        """The sketch of a query that is to be looked at when it was answered."""
        if decision.refused or chance(request_id, "sample") >= self.policy.detection.sample:
            return None
        return sketch

    async def _ask(self, blank: Admission, caller: Caller, tier: Tier, sketch: Sketch | None) -> Admission:
        """Ask the store, or do without it as the tier says."""
        identity, mode = blank.identity, caller.mode
        detection, climbing = self._detection_mode(caller), partial(self._climb, blank, tier, caller)
        heard = climbing(self._suspicions.against(blank.suspect))
        throttle = heard.rung.throttle if detection is Mode.ENFORCE else 1.0
        charges = self.policy.reserve(identity, blank.demand, caller, throttle)
        suspect = blank.suspect.holder if blank.suspect is not None else None
        unreported = self._books.tally.take_refused(identity.principal)
        try:
            with self._alone.asking():
                verdict = await self._store.admit(
                    blank.request_id, identity, charges, unreported=unreported, suspect=suspect
                )
        except asyncio.CancelledError:
            # Nobody is left who would settle what the store may have charged.
            self._books.take_back(blank.request_id, identity, charges)
            raise
        except StoreError as error:
            self._alone.outage.failed(error, requests=1)
            self._books.tally.add(identity, refused=unreported)
            decision = self._without_store(tier.on_store_error, blank, charges, mode)
            decision = climb(
                decision, heard.risk, heard.rung, detection, now_us=caller.now_us, place=caller.place
            )
            if decision.refused and error.kind not in NEVER_ASKED:
                # The store may have charged and only answered too late.
                self._books.take_back(blank.request_id, identity, charges)
            owed = tuple(charge for charge in charges if charge.enforced)
            return replace(
                blank,
                decision=decision,
                charges=owed,
                store_error=error.kind,
                on_store_error=tier.on_store_error,
                sketch=self._to_look_at(blank.request_id, sketch, decision),
            )
        block = verdict.block
        self._blocks.hear(identity.principal, block, self._clock.seconds())
        if block is None:
            told = climbing(verdict.marks)
            decision = decide(verdict.readings, mode)
            decision = climb(
                decision, told.risk, told.rung, detection, now_us=caller.now_us, place=caller.place
            )
            decision = replace(decision, answer_cap=answer_cap(verdict.readings, blank.demand))
        else:
            # An order for one holder bites also where the limits of its tier are only tried out.
            decision = decide(verdict.readings, self.mode, blocked=True, block_us=block.remaining_us)
        self._suspicions.hear(blank.suspect, verdict.marks)
        if decision.refused:
            if decision.reason is not Reason.RISK or tier.ladder.share >= 1:
                self._refusals.remember(decision, identity.holders, self._clock.seconds())
            if verdict.charged:
                # The store had room for what the ladder refuses.
                self._books.take_back(blank.request_id, identity, verdict.charged)
                verdict = replace(verdict, charged=())
        slowed = decision.action is Action.SLOW and decision.mode is Mode.ENFORCE
        return replace(
            blank,
            decision=decision,
            charges=verdict.charged,
            expired=verdict.expired,
            counted=block is not None or any(not reading.fits for reading in verdict.readings),
            marks=verdict.marks,
            sketch=self._to_look_at(blank.request_id, sketch, decision),
            wait_seconds=wait_seconds(decision.rung, blank.request_id) if slowed else 0.0,
        )

    def _without_store(
        self, on_store_error: OnStoreError, blank: Admission, charges: Sequence[Charge], mode: Mode
    ) -> Decision:
        """The decision without the store."""
        if self._blocks.blocked(blank.identity.principal, self._clock.seconds()):
            return Decision(Action.DENY, Reason.BLOCKED, mode=self.mode)
        return self._alone.decide(blank.request_id, charges, blank.demand, on_store_error, mode)

    def _instead(self) -> str:
        """What is done without the store, in all tiers."""
        return " or ".join(sorted({tier.on_store_error for tier in self.policy.tiers.values()}))

    def _over(
        self, admission: Admission, usage: Usage, status: int | None, novelty: int | None = None
    ) -> None:
        self._events.over(
            admission,
            usage,
            status,
            novelty,
            unseen=self._learning.take_unseen(),
            store_forgets=self.control.forgets,
        )


_UNREAD = Query("", (), stream=False, max_output_tokens=1, n=1, input_bytes=1, other_tokens=0)
"""Stands for a query that has not been read: it will be charged something in every unit."""


_ANY_PRICE = Price(PER_TOKENS, PER_TOKENS, PER_TOKENS, PER_TOKENS)


_TOLD_BY_QUERIES = frozenset({Attribute.MODEL, Attribute.END_USER})
