"""One request end to end: admit it, keep its reservation alive, and settle it when it is over."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections import OrderedDict
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from guard.clock import SystemClock
from guard.core.calendars import MICROSECONDS
from guard.core.caps import answer_cap
from guard.core.climb import Climb, chance, climb_of, wait_seconds
from guard.core.decision import FORWARDED, Action, Decision, Reason, climb, decide
from guard.core.demand import Demand
from guard.core.identity import Attribute
from guard.core.limits import Unit, shown
from guard.core.modes import Mode, mildest
from guard.core.novelty import NOWHERE, Ground
from guard.core.policy import UNKNOWN_PATH, WEBSOCKET, Caller, OnStoreError, Policy, settle
from guard.core.prices import PER_TOKENS, Price
from guard.core.query import NO_USAGE, Query
from guard.engine.admission import LONGEST_METHOD, Admission, Running
from guard.engine.outage.breaker import OPEN, Breaker
from guard.engine.outage.debts import Debts
from guard.engine.outage.local import LocalLimiter
from guard.engine.outage.log import Outage
from guard.engine.remembered.refusals import KEPT_SECONDS, Refusals
from guard.engine.remembered.suspicions import Suspicions
from guard.engine.tally import Tally
from guard.errors import StoreError
from guard.store.port import Control, Store
from guard.telemetry.events import Event, Failure, detail_of, tell, tell_failure
from guard.telemetry.lines import bounded, limited
from guard.text.fingerprint import Fingerprinter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence

    from starlette.types import Scope

    from guard.clock import Clock
    from guard.core.evidence import Mark, Signal
    from guard.core.identity import Holder, Identity
    from guard.core.limits import Charge
    from guard.core.policy import Tier
    from guard.core.pseudonyms import Pseudonyms
    from guard.core.query import Usage
    from guard.detection.analyst import Analyst
    from guard.detection.sight import Sight
    from guard.engine.tally import Count
    from guard.errors import BackendError, RequestError
    from guard.identity.crowds import Crowds
    from guard.store.port import Block, Debt
    from guard.telemetry.events import Hook
    from guard.text.fingerprint import Sketch

logger = logging.getLogger("guard")


SETTLE_RETRY_SECONDS = (0.1, 0.5, 2.0, 10.0, *(30.0 for _ in range(60)))
"""When a settle that failed is tried again: it is idempotent, and an outage must not make answers free."""


LARGEST_BACKLOG = 10_000
"""So many settles are kept for later at most; beyond that reservations stand as they are until they
expire."""


STORE_RETRY_SECONDS = (1.0, 5.0)
"""A caller refused because the store is down comes again after a time in this range, not with all others at
once."""


SIGHT_SECONDS = 0.02
"""How long a settle waits for a look at its query; then it is settled by its wording, and learnt later."""


UNKNOWN_SHARE = 1 / 8
"""The share of each quota that a process admits alone when it never learnt how many others there are."""


REPAID_AT_ONCE = 50
"""So many debts are charged back in one go, so that a store which has just come back is not run over."""


LONGEST_BLOCK_SECONDS = 3_600.0
"""A block that was seen is held without the store for as long as it says, but no longer than this."""


MOST_UNKNOWN_TIERS = 100
"""Maximum number of tiers without a definition that are warned of, each once."""


MOST_BLOCKS = 10_000
"""So many are remembered, the latest."""


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
        self.analyst = analyst
        self.control = Control()
        self._clock = clock or SystemClock()
        self._store = store
        self._keys = keys
        self._hooks = tuple(hooks)
        self._local_share = local_share
        self._renew_seconds = reservation_seconds / 3
        self._worker = secrets.token_hex(8)
        self._breaker = Breaker()
        self._local = LocalLimiter(lease_seconds=reservation_seconds)
        self._debts = Debts()
        self._owners: dict[tuple[str, Holder], Identity] = {}
        # What the operator orders reaches a cluster's scripts later, but is to be seen within a second too.
        self._refusals = Refusals(kept_seconds=KEPT_SECONDS - store.stale_seconds)
        self._blocked: OrderedDict[Holder, float] = OrderedDict()
        self._tally = Tally()
        self._suspicions = Suspicions()
        self._crowds = crowds
        self._unseen = 0
        self.fingerprinter = Fingerprinter(keys.secret("fingerprint"))
        self._running: dict[str, Running] = {}
        self._background: set[asyncio.Task[None]] = set()
        self._outage = Outage(self._clock.seconds, self._instead)
        self._unknown_tiers: set[str] = set()

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
        if query is not None and caller.mode is not Mode.OFF and (self._watches or tier.counts_novelty):
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
            self._running[request_id] = Running(admission, self._clock.seconds())
        return admission

    def refuse(self, admission: Admission, status: int) -> None:
        """A refusal has been sent: tell the hooks."""
        if not admission.counted:
            self._tally.add(admission.identity, refused=1)
        self._tell(admission, NO_USAGE, status)

    def fail(
        self,
        request_id: str,
        error: RequestError | BackendError,
        identity: Identity | None,
        route: str,
        scope: Scope,
    ) -> None:
        """A request has ended in an error: tell the hooks. `identity` is `None` where that is not known."""
        failure = Failure(
            request_id=request_id,
            reason=error.reason,
            status=error.status,
            method=str(scope.get("method", WEBSOCKET))[:LONGEST_METHOD],
            route=route,
            path=bounded(scope["path"]) if route == UNKNOWN_PATH else None,
            identity=None if identity is None else self._keys.label(identity.principal),
            tier=None if identity is None else self.policy.tier(identity).name,
            detail=detail_of(error),
        )
        tell_failure(self._hooks, failure)

    async def settle(self, admission: Admission, usage: Usage, status: int | None) -> None:
        """The answer is over: charge what it used.

        Returns when the store has settled, or could not within its deadline; then it is tried again in the
        background. A cancelled caller does not cancel the settling.
        """
        self._running.pop(admission.request_id, None)
        if self._crowds is not None and _answered(status):
            self._crowds.accept(admission.identity, self._clock.seconds())
        if admission.decision.mode is Mode.OFF:
            self._tell(admission, usage, status)
            return
        if admission.decision.action not in FORWARDED and not admission.counted:
            self._tally.add(admission.identity, shadowed=1)
        if admission.store_error is not None:
            charges = settle(admission.charges, admission.demand, usage, admission.demand.ground)
            self._local.settle(
                admission.request_id,
                admission.charges,
                charges,
                self._share,
                self._clock.date_us() / MICROSECONDS,
            )
            if admission.store_error in _NEVER_ASKED:
                self._owe(admission.identity, charges)
                self._tell(admission, usage, status)
                return
            self._tell(admission, usage, status)
            self._spawn(self._finish(admission, usage, status, lambda _: None))
            return
        tried = asyncio.Event()

        def told(novelty: int | None) -> None:
            self._tell(admission, usage, status, novelty)
            tried.set()

        self._spawn(self._finish(admission, usage, status, told))
        await tried.wait()

    async def release(self, admission: Admission, status: int | None) -> None:
        """No backend has got the request: give back all that was reserved for it."""
        self._running.pop(admission.request_id, None)
        self._tell(admission, NO_USAGE, status)
        if admission.decision.mode is Mode.OFF:
            return
        if admission.store_error is not None:
            self._local.release(admission.request_id)
        if admission.store_error not in _NEVER_ASKED:
            work = partial(self._store.release, admission.request_id, admission.identity, admission.charges)
            released = asyncio.Event()
            self._spawn(self._insist(work, released.set))
            if admission.store_error is None:
                await released.wait()

    async def conclude(self, admission: Admission, usage: Usage, status: int | None) -> None:
        """Likewise, and learn from it before it returns: for who does not wait for a store or a backend."""
        self._running.pop(admission.request_id, None)
        if admission.decision.mode is Mode.OFF:
            self._tell(admission, usage, status)
            return
        looking = self._look(admission, status)
        sight = await self._seen(looking)
        await self._true_up(admission, usage, status, sight, partial(self._tell, admission, usage, status))
        if looking is not None:
            await self._learn(admission, usage, looking)

    async def watch(self) -> Control | None:
        """Once a second or so: hear what the operator has ordered, renew what runs long, and repay debts.

        Returns `None` where the store is not to be heard; what it said last still holds.
        """
        try:
            # Also the probe that finds the store well again where there are no requests.
            with self._breaker.call():
                self.control = await self._store.control(self._worker)
        except StoreError as error:
            self._outage.failed(error)
            return None
        await self._renew()
        await self._repay()
        await self._report()
        self._outage.heard()
        return self.control

    def _unknown_tier(self, admission: Admission) -> str | None:
        """The tier that a token or a gateway names and that the settings do not define, if it names one."""
        named = admission.identity.attributes.get(Attribute.TIER)
        if named is None or named == admission.tier:
            return None
        if named not in self._unknown_tiers and len(self._unknown_tiers) < MOST_UNKNOWN_TIERS:
            self._unknown_tiers.add(named)
            logger.warning(
                "tier %r, of %s, is not defined; tier %r holds for it",
                bounded(named),
                admission.label,
                admission.tier,
            )
        return named

    async def quiet(self) -> None:
        """Wait until nothing is under way in the background."""
        while self._background:
            await asyncio.wait(self._background)

    async def drain(self, seconds: float = 1.0) -> None:
        """Wait for settles under way, and charge what is owed if the store answers; before the process stops.

        What is not settled by then is left to the reservations' expiry.
        """
        if self._background:
            _, late = await asyncio.wait(self._background, timeout=seconds)
            for task in late:
                task.cancel()
        await self._report()
        try:
            with self._breaker.call():
                await self._store.leave(self._worker)
        except StoreError:
            return
        await self._repay()

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

    @property
    def _watches(self) -> bool:
        """Whether queries are looked at."""
        return self.analyst is not None and self.policy.detection.rollout.mode is not Mode.OFF

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

    async def _finish(
        self,
        admission: Admission,
        usage: Usage,
        status: int | None,
        tried: Callable[[int | None], None],
    ) -> None:
        """Settle an answer that is over, and learn from it beside that."""
        looking = self._look(admission, status)
        sight = await self._seen(looking)
        if looking is not None:
            self._spawn(self._learn(admission, usage, looking))
        await self._true_up(admission, usage, status, sight, tried)

    async def _true_up(
        self,
        admission: Admission,
        usage: Usage,
        status: int | None,
        sight: Sight | None,
        tried: Callable[[int | None], None],
    ) -> None:
        """Settle an answer that is over.

        `tried` is told, after the first try, what the diversity budgets were charged, if that is known.
        """
        ground = admission.demand.ground if sight is None else sight.ground
        novelty: int | None = None

        async def work() -> None:
            nonlocal novelty
            settled = await self._store.settle(
                admission.request_id,
                admission.identity,
                settle(admission.charges, admission.demand, usage, ground),
                usage,
                cost=admission.demand.cost(usage),
                requests=int(admission.decision.action in FORWARDED),
                accepted=_answered(status),
            )
            novelty = settled.novelty

        await self._insist(work, lambda: tried(novelty))

    def _look(self, admission: Admission, status: int | None) -> asyncio.Future[Sight] | None:
        """Begin to look at a query that was answered: what the backend refuses is not worth the time.

        Callers whose credential guard has not checked share the time of their network, since one of them may
        be many.
        """
        query, sketch, identity = admission.demand.query, admission.sketch, admission.identity
        if self.analyst is None or query is None or sketch is None or not _answered(status):
            return None
        whose = identity.principal if identity.verified else identity.holder(Attribute.NETWORK)
        looking = self.analyst.look(query, sketch, whose)
        self._unseen += looking is None
        return looking

    async def _seen(self, looking: asyncio.Future[Sight] | None) -> Sight | None:
        """What was seen of a query, if that is known by now or in a moment."""
        if looking is None:
            return None
        if not looking.done():
            await asyncio.wait({looking}, timeout=SIGHT_SECONDS)
        # What failed is logged where it did; the books are kept without it.
        return looking.result() if _succeeded(looking) else None

    async def _learn(self, admission: Admission, usage: Usage, looking: asyncio.Future[Sight]) -> None:
        """Let the analyst learn from an answer; what cannot be kept is counted, and not worth an error."""
        now_us, learnt = self._clock.date_us(), None
        await asyncio.wait({looking})
        if self.analyst is not None and admission.suspect is not None and _succeeded(looking):
            holder = admission.suspect.holder
            try:
                with self._breaker.call():
                    learnt = await self.analyst.learn(
                        holder, admission.identity, looking.result(), usage, now_us
                    )
            except StoreError as error:
                self._outage.failed(error)
        self._unseen += learnt is None

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
        unreported = self._tally.take_refused(identity.principal)
        try:
            with self._breaker.call():
                verdict = await self._store.admit(
                    blank.request_id, identity, charges, unreported=unreported, suspect=suspect
                )
        except asyncio.CancelledError:
            # Nobody is left who would settle what the store may have charged.
            self._spawn(self._insist(partial(self._store.release, blank.request_id, identity, charges)))
            raise
        except StoreError as error:
            self._outage.failed(error, requests=1)
            self._tally.add(identity, refused=unreported)
            decision = self._alone(tier.on_store_error, blank, charges, mode)
            decision = climb(
                decision, heard.risk, heard.rung, detection, now_us=caller.now_us, place=caller.place
            )
            if decision.refused and error.kind not in _NEVER_ASKED:
                # The store may have charged and only answered too late.
                self._spawn(self._insist(partial(self._store.release, blank.request_id, identity, charges)))
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
        self._note_block(identity.principal, block)
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
                work = partial(self._store.release, blank.request_id, identity, verdict.charged)
                self._spawn(self._insist(work))
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

    def _alone(
        self, on_store_error: OnStoreError, blank: Admission, charges: Sequence[Charge], mode: Mode
    ) -> Decision:
        """The decision without the store."""
        if self._clock.seconds() < self._blocked.get(blank.identity.principal, 0.0):
            return Decision(Action.DENY, Reason.BLOCKED, mode=self.mode)
        if on_store_error is OnStoreError.ALLOW or mode is not Mode.ENFORCE:
            return Decision(Action.ALLOW, Reason.STORE, mode=mode)
        if on_store_error is OnStoreError.LOCAL:
            readings = self._local.admit(
                blank.request_id, charges, self._share, self._clock.date_us() / MICROSECONDS
            )
            decision = decide(readings, mode)
            # What one process has left of its share is nobody's business.
            return replace(
                decision,
                reason=decision.reason or Reason.STORE,
                readings=(),
                answer_cap=answer_cap(readings, blank.demand),
            )
        wait_seconds = random.uniform(*STORE_RETRY_SECONDS)  # noqa: S311 - spreads clients, guards nothing
        return Decision(Action.DENY, Reason.STORE, (), int(wait_seconds * MICROSECONDS), mode)

    def _note_block(self, principal: Holder, block: Block | None) -> None:
        """Remember who is blocked, for when the store cannot be asked."""
        self._blocked.pop(principal, None)
        if block is not None:
            seconds = LONGEST_BLOCK_SECONDS
            if block.remaining_us is not None:
                seconds = min(seconds, block.remaining_us / MICROSECONDS)
            self._blocked[principal] = self._clock.seconds() + seconds
            if len(self._blocked) > MOST_BLOCKS:
                self._blocked.popitem(last=False)

    @property
    def _share(self) -> float:
        """The share of each quota that this process may admit alone."""
        workers = self.control.workers
        return self._local_share or (1 / workers if workers else UNKNOWN_SHARE)

    def _owe(self, identity: Identity, charges: Sequence[Charge]) -> None:
        """Keep for later what was used while the store was not asked."""
        now_us = self._clock.date_us()
        for charge in charges:
            lost = self._debts.lost
            self._debts.add(charge.limit, charge.holder, charge.amount, now_us)
            if self._debts.lost == lost:
                self._owners[charge.limit.name, charge.holder] = identity

    async def _repay(self) -> None:
        """Charge what is owed, a few debts at a time, until all are charged or the store fails again."""
        while debts := self._debts.take(REPAID_AT_ONCE, self._clock.date_us()):
            if not all(await asyncio.gather(*map(self._repay_one, debts))):
                return
        self._owners.clear()

    async def _report(self) -> None:
        """Report the refusals that the store has not counted, until all are or it fails."""
        while counts := self._tally.take(REPAID_AT_ONCE):
            if not all(await asyncio.gather(*map(self._report_one, counts))):
                return

    async def _report_one(self, count: Count) -> bool:
        try:
            with self._breaker.call():
                await self._store.note(count.identity, refused=count.refused, shadowed=count.shadowed)
        except StoreError as error:
            self._outage.failed(error)
            # A call that timed out may have counted; rather twice than never.
            self._tally.add(count.identity, refused=count.refused, shadowed=count.shadowed)
            return False
        return True

    async def _repay_one(self, debt: Debt) -> bool:
        try:
            with self._breaker.call():
                await self._store.repay(debt, self._owners[debt.limit.name, debt.holder])
        except StoreError as error:
            self._outage.failed(error)
            self._debts.put_back(debt.id)
            return False
        self._debts.done(debt.id)
        self._outage.charged()
        return True

    async def _renew(self) -> None:
        """Renew the reservations of the requests that have been running for long."""
        now = self._clock.seconds()
        due = [each for each in self._running.values() if now - each.renewed_at > self._renew_seconds]
        for each in due:
            each.renewed_at = now
        await asyncio.gather(*(self._renew_one(each.admission) for each in due))

    async def _renew_one(self, admission: Admission) -> None:
        if admission.store_error is not None:
            self._local.renew(admission.request_id, self._clock.date_us() / MICROSECONDS)
            return
        if not any(charge.limit.pending for charge in admission.charges):
            return
        try:
            with self._breaker.call():
                await self._store.renew(admission.request_id, admission.identity, admission.charges)
        except StoreError as error:
            self._outage.failed(error)

    def _instead(self) -> str:
        """What is done without the store, in all tiers."""
        return " or ".join(sorted({tier.on_store_error for tier in self.policy.tiers.values()}))

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _insist(
        self, work: Callable[[], Awaitable[object]], tried: Callable[[], None] | None = None
    ) -> None:
        """Do what is idempotent until it is done, or there is no use; `tried` is called after the first
        try.
        """
        for delay in (*SETTLE_RETRY_SECONDS, None):
            try:
                with self._breaker.call():
                    await work()
                return
            except StoreError as error:
                if delay is None or len(self._background) > LARGEST_BACKLOG:
                    limited.log(logging.ERROR, "settle", "not settled (%s): %s", error.kind, error)
                    return
            finally:
                if tried is not None:
                    tried()
                    tried = None
            await asyncio.sleep(delay)

    def _tell(
        self, admission: Admission, usage: Usage, status: int | None, novelty: int | None = None
    ) -> None:
        decision = admission.decision
        # A deny for risk only looks as if a limit were used up.
        violated = () if decision.reason is Reason.RISK else decision.violated
        unseen, self._unseen = self._unseen, 0
        event = Event(
            request_id=admission.request_id,
            identity=admission.label,
            tier=admission.tier,
            route=admission.route,
            mode=decision.mode,
            action=decision.action,
            reason=decision.reason,
            limits=tuple(dict.fromkeys(reading.limit.name for reading in violated)),
            status=status,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            store_error=admission.store_error,
            on_store_error=admission.on_store_error,
            body_read=admission.body_read,
            expired_reservations=admission.expired,
            cost=admission.demand.cost(usage),
            risk=decision.risk.decibans,
            band=decision.risk.band,
            groups=tuple(decision.risk.groups),
            novelty=None if novelty is None else shown(Unit.NOVELTY, novelty),
            unseen=unseen,
            store_forgets=self.control.forgets,
            unknown_tier=self._unknown_tier(admission),
            method=admission.method,
            wait_seconds=_seconds(decision.retry_after_us),
        )
        tell(self._hooks, event)


def _seconds(wait_us: int | None) -> float | None:
    return None if wait_us is None else wait_us / MICROSECONDS


def _succeeded(looking: asyncio.Future[Sight]) -> bool:
    return looking.done() and not looking.cancelled() and looking.exception() is None


def _answered(status: int | None) -> bool:
    """Whether the backend took the request."""
    return status is not None and status < 400


_UNREAD = Query("", (), stream=False, max_output_tokens=1, n=1, input_bytes=1, other_tokens=0)
"""Stands for a query that has not been read: it will be charged something in every unit."""


_ANY_PRICE = Price(PER_TOKENS, PER_TOKENS, PER_TOKENS, PER_TOKENS)


_TOLD_BY_QUERIES = frozenset({Attribute.MODEL, Attribute.END_USER})


_NEVER_ASKED = frozenset({OPEN, "pepper"})
"""Kinds of `StoreError` after which the store has certainly not charged anything."""
