"""One request end to end: decide on it, and have its books kept."""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import TYPE_CHECKING

from guard.clock import SystemClock
from guard.core.caps import answer_cap
from guard.core.climb import NO_CLIMB, Climb, chance, climb_of, wait_seconds
from guard.core.decision import Action, Decision, Reason, climb, decide
from guard.core.demand import Demand
from guard.core.holds import Held
from guard.core.identity import TOLD_BY_A_QUERY
from guard.core.ladder import NO_ACTION
from guard.core.modes import Mode, mildest
from guard.core.prices import PER_TOKENS, Price
from guard.core.query import NO_USAGE, Query
from guard.engine.admission import Admission, Outcome
from guard.engine.books import Books
from guard.engine.events import Events
from guard.engine.holds import Holds
from guard.engine.outage.alone import NEVER_ASKED, Alone
from guard.engine.plan import Plans
from guard.engine.remembered.blocks import Blocks
from guard.engine.remembered.first_seen import FirstSeen
from guard.engine.remembered.refusals import KEPT_SECONDS, Refusals
from guard.engine.remembered.suspicions import Suspicions
from guard.engine.transcripts import Transcripts
from guard.errors import StoreError
from guard.store.port import Control, Reservation, Store
from guard.telemetry.log import log_switch

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from starlette.types import Scope

    from guard.analyst.transcript import Copies, Reader
    from guard.analyst.transcript import Outcome as Read
    from guard.clock import Clock
    from guard.core.evidence import Mark
    from guard.core.holds import Review
    from guard.core.identity import Attribute, Holder, Identity
    from guard.core.ladder import Rung
    from guard.core.limits import Charge
    from guard.core.policy import Policy
    from guard.core.pseudonyms import Pseudonyms
    from guard.core.query import Usage
    from guard.core.signals import Signal
    from guard.engine.events import Notifier
    from guard.engine.plan import Plan
    from guard.errors import BackendError, RequestError
    from guard.identity.crowds import Crowds
    from guard.identity.issued import IssuedKeys
    from guard.store.port import Verdict
    from guard.telemetry.events import Hook, Times

logger = logging.getLogger("guard")


class Engine:
    """Decides on requests and keeps their books.

    `policy` may be replaced between requests. `control` is what the operator has ordered for all, as `watch`
    last heard it, and `store_seconds` how long that took, `None` where the store did not answer. `local`
    counts what this process admits by itself while `store` fails; without it, tiers whose `on_store_error` is
    `local` deny. `issued` are the keys of which `watch` hears.
    """

    def __init__(
        self,
        policy: Policy,
        store: Store,
        keys: Pseudonyms,
        hooks: Iterable[Hook] = (),
        *,
        local: Store | None = None,
        local_share: float | None = None,
        reservation_seconds: float = 60.0,
        crowds: Crowds | None = None,
        issued: IssuedKeys | None = None,
        reader: Reader | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.policy = policy
        self._named_keys = policy.named_keys
        self.control = Control()
        self._clock = clock or SystemClock()
        self._store = store
        self._keys = keys
        self._crowds = crowds
        self._issued = issued
        self._worker = secrets.token_hex(8)
        self._events = Events(hooks)
        self._alone = Alone(self._clock, self._instead, local=local, share=local_share)
        self._first_seen = FirstSeen(store, self._alone)
        self._plans = Plans(policy, keys, self._first_seen)
        self.holds = Holds(store, self._alone, keys, self._events, self._clock)
        self._transcripts = Transcripts(self._clock, reader, self._read)
        self._books = Books(
            store,
            self._alone,
            self._transcripts,
            self._clock,
            self._over,
            reservation_seconds=reservation_seconds,
        )
        # What the operator orders may reach a store's scripts later, but is to be seen within a second too.
        self._refusals = Refusals(kept_seconds=KEPT_SECONDS - store.stale_seconds)
        self._blocks = Blocks()
        self._suspicions = Suspicions()
        self.store_seconds: float | None = None

    @property
    def reader(self) -> Reader | None:
        """Who reads queries and their answers, if anybody does."""
        return self._transcripts.reader

    @reader.setter
    def reader(self, reader: Reader | None) -> None:
        self._transcripts.reader = reader

    @property
    def notifier(self) -> Notifier | None:
        """Who tells others of what has happened, if anybody does."""
        return self._events.notifier

    @notifier.setter
    def notifier(self, notifier: Notifier | None) -> None:
        self._events.notifier = notifier

    @property
    def mode(self) -> Mode:
        """How far anything bites at all."""
        mode = self.policy.rollout.mode
        return mode if mode is self.control.mode else mildest(mode, self.control.mode)

    def adopt(self, policy: Policy) -> None:
        """Decide by another policy from the next request on."""
        self.policy = policy
        self._named_keys = policy.named_keys
        self._refusals.forget()

    def foresee(
        self, request_id: str, identity: Identity, route: str, method: str, *, read: bool
    ) -> Admission | None:
        """A refusal that needs neither the request's body nor the store, since it was given a moment ago.

        `read` says that the request's query will be read, and so be charged for its tokens.
        """
        if not self._refusals.some:
            return None
        now_us = self._clock.date_us()
        plan = self._plan(identity, None, route, method, now_us)
        demand = Demand(_UNREAD if read else None, 1, _ANY_PRICE, identity.amounts)
        untold = TOLD_BY_A_QUERY - identity.attributes.keys() if read else frozenset()
        found = self._remembered(request_id, plan, demand, now_us, untold)
        return None if found is None else found._replace(body_read=False)

    async def admit(
        self, request_id: str, identity: Identity, query: Query | None, route: str, method: str = "POST"
    ) -> Admission:
        """Decide on a request, and reserve what it may use if it is admitted."""
        now_us = self._clock.date_us()
        plan = self._plan(identity, query, route, method, now_us)
        if plan.provisional and await self._first_seen.ask(plan.identity, now_us):
            plan = self._plan(identity, query, route, method, now_us)
        if self._refusals.some:
            found = self._remembered(request_id, plan, plan.demand(query, identity.amounts), now_us)
            if found is not None:
                return found
        if query is not None:
            query = query.without_texts()  # an answer may take minutes
        demand = plan.demand(query, identity.amounts)
        if plan.mode is Mode.OFF:
            return Admission.of(plan, request_id, demand, Decision(Action.ALLOW, mode=plan.mode))
        admission = await self._ask(plan, request_id, demand, now_us)
        if not admission.refused:
            self._books.open(admission)
        return admission

    def refuse(self, admission: Admission, status: int, times: Times | None = None) -> None:
        """A refusal has been sent: tell the hooks."""
        if not admission.counted:
            self._books.tally.add(admission.identity, refused=1)
        self._transcripts.refuse(admission)
        self._over(Outcome.of(admission, NO_USAGE, status, None, times))

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

    async def settle(
        self,
        admission: Admission,
        usage: Usage,
        status: int | None,
        copies: Copies | None = None,
        times: Times | None = None,
    ) -> None:
        """The answer is over: charge what it used. `copies` are of what is to be read.

        Returns when the store has settled, or could not within its deadline; then it is tried again in the
        background. A cancelled caller does not cancel the settling.
        """
        outcome = Outcome.of(admission, usage, status, copies, times)
        if self._crowds is not None and outcome.answered:
            self._crowds.accept(admission.identity, self._clock.seconds())
        await self._books.settle(outcome)

    async def release(self, admission: Admission, status: int | None) -> None:
        """No backend has got the request: give back all that was reserved for it."""
        await self._books.release(admission, status)

    async def conclude(
        self, admission: Admission, usage: Usage, status: int | None, copies: Copies | None = None
    ) -> None:
        """As `settle`, and have it read before it returns: for who does not wait for a store or a backend."""
        await self._books.conclude(Outcome.of(admission, usage, status, copies))

    async def watch(self) -> Control | None:
        """Once a second or so: hear what the operator has ordered, renew what runs long, and repay debts.

        Returns `None` where the store is not to be heard; what it said last still holds.
        """
        heard = await self._hear()
        await self._books.renew()
        if heard is None:
            return None
        if heard.mode is not self.control.mode:
            log_switch(heard.mode, self.policy.rollout.mode)
        self.control = heard
        await self._hear_campaigns()
        if self._issued is not None and self._issued.version != heard.issued:
            await self.hear_issued()
        self._alone.workers = heard.workers
        await self._alone.repay(self._store)
        await self._books.report()
        self._alone.outage.heard()
        return heard

    async def hear_issued(self) -> None:
        """Ask which keys guard has issued; what was heard last holds until it is heard."""
        if self._issued is None:
            return
        try:
            with self._alone.asking():
                await self._issued.hear(self._store)
        except StoreError as error:
            self._alone.outage.failed(error)

    @property
    def debts(self) -> int:
        """How many limits of holders owe what was admitted without the store."""
        return self._alone.debts

    @property
    def store_fails(self) -> bool:
        """Whether the store has failed, and has not been heard well again since."""
        return self._alone.outage.lasts

    @property
    def running(self) -> int:
        """How many admitted requests are under way."""
        return self._books.running

    @property
    def unsettled(self) -> int:
        """How much work on the books is under way in the background, or is tried again."""
        return self._books.unsettled

    async def quiet(self) -> None:
        """Wait until nothing is under way in the background."""
        await self._books.quiet()
        await self.holds.quiet()

    async def drain(self, seconds: float = 1.0) -> None:
        """Wait for settles under way, and charge what is owed if the store answers; before the process stops.

        What is not settled by then is left to the reservations' expiry.
        """
        await self._books.close(seconds)
        await self.holds.close(seconds)
        try:
            with self._alone.asking():
                await self._store.leave(self._worker)
        except StoreError:
            return
        await self._alone.repay(self._store)

    async def _hear(self) -> Control | None:
        """Ask the store, also as the probe that finds it well again where there are no requests."""
        began = self._clock.seconds()
        try:
            with self._alone.asking():
                heard = await self._store.control(self._worker)
        except StoreError as error:
            self._alone.outage.failed(error)
            self.store_seconds = None
            return None
        self.store_seconds = self._clock.seconds() - began
        return heard

    async def _hear_campaigns(self) -> None:
        """Ask who is in which pool, if that has changed; what was heard last holds until it is heard."""
        if self.control.campaigns == self._plans.membership.version:
            return
        try:
            with self._alone.asking():
                membership = await self._store.membership(self._plans.membership.version)
        except StoreError as error:
            self._alone.outage.failed(error)
            return
        if membership is not None:
            self._plans.membership = membership

    def _plan(self, identity: Identity, query: Query | None, route: str, method: str, now_us: int) -> Plan:
        """How a request is judged, of a caller as it is held to account: where there is a crowd, by that."""
        if self._crowds is not None:
            held = self._crowds.held(identity, self._clock.seconds())
            if held.crowded_out is None or not self._is_named(held.crowded_out):
                identity = held
        return self._plans.find(self.policy, self.control.mode, identity, query, route, method, now_us)

    def _is_named(self, key: Holder) -> bool:
        """Whether the operator, or a hold, has named a key: what is said of it holds for it alone."""
        return key in self._named_keys or self._keys.digest(key) in self.control.named

    def _remembered(
        self,
        request_id: str,
        plan: Plan,
        demand: Demand,
        now_us: int,
        untold: frozenset[Attribute] = frozenset(),
    ) -> Admission | None:
        """The refusal of a moment ago, if this request runs into the same limit.

        `untold` is what only the query will say; whom limits that are kept per these hold, nobody knows yet.
        """
        if plan.mode is not Mode.ENFORCE or plan.provisional:
            return None
        _, rung = self._heard(plan, request_id, now_us)
        limits = plan.refusing(demand, untold, rung, now_us)
        decision = self._refusals.find(plan.identity.holders, limits, self._clock.seconds())
        return None if decision is None else Admission.of(plan, request_id, demand, decision)

    async def _ask(self, plan: Plan, request_id: str, demand: Demand, now_us: int) -> Admission:
        """Ask the store, or do without it as the tier says."""
        identity = plan.identity
        heard, rung = NO_CLIMB, NO_ACTION
        if plan.suspect is not None:
            heard, rung = self._heard(plan, request_id, now_us)
        charges = plan.charges(demand, rung, now_us)
        asked = Reservation(request_id, identity, charges)
        suspect = plan.suspect.holder if plan.suspect is not None else None
        unreported = self._books.tally.take_refused(identity.principal)
        try:
            with self._alone.asking():
                verdict = await self._store.admit(
                    asked, unreported=unreported, suspect=suspect, reviewed=plan.reviewed
                )
        except asyncio.CancelledError:
            # Nobody is left who would settle what the store may have charged.
            self._books.take_back(asked)
            raise
        except StoreError as error:
            self._alone.outage.failed(error, requests=1)
            self._books.tally.add(identity, refused=unreported)
            decision = await self._without_store(plan, request_id, demand, charges)
            decision = _climbed(decision, heard, plan, now_us)
            if decision.action is Action.HOLD:
                review = self._suspicions.against(plan.suspect).stands(now_us)
                decision, _ = self.holds.enter(plan, request_id, decision, review, self.policy.holds, now_us)
            if decision.refused:
                # There may have been room for what the ladder refuses.
                await self._alone.release(request_id)
                if error.kind not in NEVER_ASKED:
                    # The store may have charged and only answered too late.
                    self._books.take_back(asked)
            return Admission.of(
                plan,
                request_id,
                demand,
                decision,
                charges=tuple(charge for charge in charges if charge.enforced),
                store_error=error.kind,
                on_store_error=plan.tier.on_store_error,
                read=self._is_read(plan, request_id, demand, decision),
            )
        if verdict.block is not None or self._blocks.some:
            self._blocks.hear(identity.principal, verdict.block, self._clock.seconds())
        told, review = NO_CLIMB, verdict.review
        if plan.suspect is not None:
            told = self._climb(plan, request_id, verdict.marks, review, now_us)
        decision, counted = self._decide(plan, verdict, told, charges, demand, now_us)
        if decision.action is Action.HOLD:
            decision, review = self.holds.enter(plan, request_id, decision, review, self.policy.holds, now_us)
        self._suspicions.hear(plan.suspect, verdict.marks, review, now_us)
        charged = verdict.charged
        if decision.refused:
            if decision.reason is not Reason.RISK or plan.tier.ladder.share >= 1:
                self._refusals.remember(decision, identity.holders, self._clock.seconds())
            if charged:
                # The store had room for what the ladder refuses.
                self._books.take_back(asked._replace(charges=charged))
                charged = ()
        slowed = decision.action is Action.SLOW and decision.mode is Mode.ENFORCE
        return Admission.of(
            plan,
            request_id,
            demand,
            decision,
            charges=charged,
            expired=verdict.expired,
            counted=counted,
            marks=verdict.marks,
            read=self._is_read(plan, request_id, demand, decision),
            wait_seconds=wait_seconds(decision.rung, request_id) if slowed else 0.0,
        )

    def _decide(
        self,
        plan: Plan,
        verdict: Verdict,
        told: Climb,
        charges: Sequence[Charge],
        demand: Demand,
        now_us: int,
    ) -> tuple[Decision, bool]:
        """The decision on what the store has read, and whether the store has counted it as a refusal."""
        if verdict.block is not None:
            # An order for one holder bites also where the limits of its tier are only tried out.
            block_us = verdict.block.remaining_us
            return decide(verdict.readings, self.mode, blocked=True, block_us=block_us), True
        if isinstance(verdict.review, Held) and plan.reviewed is Mode.ENFORCE:
            # As a block, it goes before the limits, and the store has charged nothing.
            decision = Decision(Action.HOLD, Reason.RISK, verdict.readings, risk=told.risk, rung=told.rung)
            return decision, True
        decision = decide(verdict.readings, plan.mode)
        counted = decision.action is not Action.ALLOW
        decision = _climbed(decision, told, plan, now_us)
        cap = answer_cap(verdict.readings, charges, demand)
        return (decision if cap is None else decision._replace(answer_cap=cap)), counted

    def _heard(self, plan: Plan, request_id: str, now_us: int) -> tuple[Climb, Rung]:
        """What is to be done by what was heard last, and what of it cuts limits."""
        if plan.suspect is None:
            return NO_CLIMB, NO_ACTION
        known = self._suspicions.against(plan.suspect)
        review = None if plan.reviewed is Mode.OFF else known.stands(now_us)
        heard = self._climb(plan, request_id, known.marks, review, now_us)
        return heard, heard.rung if plan.detection is Mode.ENFORCE else NO_ACTION

    def _climb(
        self,
        plan: Plan,
        request_id: str,
        marks: Mapping[Signal, Mark],
        review: Review | None,
        now_us: int,
    ) -> Climb:
        """What is to be done about a request's suspect, of whom this is known."""
        if not marks and review is None:
            return NO_CLIMB
        return climb_of(
            plan.suspect,
            marks,
            self.policy.detection.weights,
            plan.tier.ladder,
            request_id=request_id,
            place=plan.suspect_place,
            now_us=now_us,
            review=review,
        )

    def _is_read(self, plan: Plan, request_id: str, demand: Demand, decision: Decision) -> bool:
        """Whether a query and its answer are to be read."""
        if demand.query is None or self.reader is None or decision.refused:
            return False
        if plan.suspect is None and not plan.counts_novelty:
            return False
        sample = self.policy.detection.sample
        return sample >= 1 or chance(request_id, "sample") < sample

    async def _without_store(
        self, plan: Plan, request_id: str, demand: Demand, charges: Sequence[Charge]
    ) -> Decision:
        """The decision without the store."""
        if self._blocks.blocked(plan.identity.principal, self._clock.seconds()):
            return Decision(Action.DENY, Reason.BLOCKED, mode=self.mode)
        return await self._alone.decide(
            request_id, plan.identity, charges, demand, plan.tier.on_store_error, plan.mode
        )

    def _instead(self) -> str:
        """What is done without the store, in all tiers."""
        return " or ".join(sorted({tier.on_store_error for tier in self.policy.tiers.values()}))

    def _over(self, outcome: Outcome, novelty: int | None = None) -> None:
        self._events.over(outcome, novelty, store_forgets=self.control.forgets)

    def _read(self, admission: Admission, read: Read) -> None:
        self._events.read(admission, read.paid, seen=read.seen)


def _climbed(decision: Decision, told: Climb, plan: Plan, now_us: int) -> Decision:
    """The decision with what is done about a risk."""
    if told is NO_CLIMB:
        return decision
    return climb(decision, told.risk, told.rung, plan.detection, now_us=now_us, place=plan.place)


_UNREAD = Query("", (), stream=False, max_output_tokens=1, n=1, input_bytes=1, other_tokens=0)
"""Stands for a query that has not been read: it will be charged something in every unit."""

_ANY_PRICE = Price(PER_TOKENS, PER_TOKENS, PER_TOKENS, PER_TOKENS)
