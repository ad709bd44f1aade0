"""What is the same for every request of one caller for one model on one route: worked out once, and kept.

key:a asks gpt-small on /v1/chat/completions        tier, limits, holders, modes and price are looked up
key:a asks it again                                 only what this request asks for is computed
key:a is not new any more                           this plan is worked out again
the operator reloads, or turns the kill switch      all plans are dropped
an override or a declared use of anybody is over    all plans are dropped
who is in which pool of a campaign has changed      all plans are dropped
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from guard.core.campaigns import NOBODY, campaign_of
from guard.core.demand import Demand
from guard.core.identity import Attribute
from guard.core.modes import Mode, mildest
from guard.core.policy import Caller, estimated_charges
from guard.core.prices import FREE

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping

    from guard.core.campaigns import Membership
    from guard.core.detection import Suspect
    from guard.core.identity import Holder, Identity
    from guard.core.ladder import Rung
    from guard.core.limits import Charge, Limit
    from guard.core.policy import Due, Policy, Tier
    from guard.core.prices import Price, PriceTable
    from guard.core.pseudonyms import Pseudonyms
    from guard.core.query import Query

MOST_PLANS = 2_048
"""Maximum number of plans that a process keeps, of about 7 KB each with what the store works out beside them;
the least recently used goes first."""

LONGEST_KEPT = 1_024
"""Plans for longer names than this, in characters, are not kept: clients choose models, end users and
methods."""


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """How requests of one caller for one model on one route are judged.

    `identity` is the caller with these facts, without the amounts of the operator's own units, which are one
    request's. `label` is its name for the operator, and `place` where it stands among all (0 to 100). `mode`
    is how far limits bite, and `detection` how far evidence does. `suspect` is whom the evidence is about,
    `None` where nobody looks, and `suspect_place` where that one stands. `reviewed` is how far a hold on it
    bites, `off` where no rung holds. `due` are the limits. `output_cap` is how long an answer may be whose
    request names no cap, and `price` what it costs.

    `since_us` is when the caller was first seen, in Unix microseconds, where a limit of its tier goes by that
    and nobody vouches for the caller. Where the plan is `provisional` that has yet to be asked of the store,
    and the caller is taken for a new one. At `until_us` the plan is over, since the caller is new no more.

    `campaign` is that of which the suspect, or else its principal, is a member, also where nothing follows
    from it. Where something does, the identity has the pool. `dialect` and `model` are for events, as
    `guard.Event` has them.
    """

    identity: Identity
    route: str
    method: str
    label: str
    tier: Tier
    counts_novelty: bool
    place: float
    mode: Mode
    detection: Mode
    suspect: Suspect | None
    suspect_place: float
    reviewed: Mode
    due: tuple[Due, ...]
    output_cap: int
    price: Price
    prices: PriceTable
    since_us: int | None = None
    provisional: bool = False
    until_us: int | None = None
    campaign: str | None = None
    dialect: str | None = None
    model: str | None = None

    def demand(self, query: Query | None, amounts: Mapping[str, int]) -> Demand:
        """What a request asks for."""
        if query is None:
            return Demand(amounts=amounts)
        return Demand.of(query, self.output_cap, self.price, self.prices, amounts)

    def charges(self, demand: Demand, rung: Rung, now_us: int) -> tuple[Charge, ...]:
        """What to charge before the request is forwarded, to a caller on this rung."""
        age_us = None if self.since_us is None else now_us - self.since_us
        return estimated_charges(self.due, demand, rung, age_us)

    def refusing(
        self, demand: Demand, untold: frozenset[Attribute], rung: Rung, now_us: int
    ) -> Iterable[tuple[Limit, Holder, float]]:
        """The limits that may refuse this request, but those per what is untold; their holders, and what is
        left of each to a caller on this rung.
        """
        return (
            (charge.limit, charge.holder, charge.left)
            for charge in self.charges(demand, rung, now_us)
            if charge.enforced
            and charge.amount
            and not charge.limit.beside
            and untold.isdisjoint(charge.limit.per)
        )


class Plans:
    """The plans of one process, those that were used last. `first_seen` says when a principal was first seen,
    where that is known yet.
    """

    def __init__(
        self,
        policy: Policy,
        keys: Pseudonyms,
        first_seen: Callable[[Holder], int | None],
        most: int = MOST_PLANS,
    ) -> None:
        self._keys = keys
        self._most = most
        self._first_seen = first_seen
        self._plans: OrderedDict[Hashable, Plan] = OrderedDict()
        self._policy = policy
        self._ceiling = Mode.ENFORCE
        self._membership = NOBODY
        # Unknown, so worked out with the first plan.
        self._until_us: int | None = 0

    def find(
        self,
        policy: Policy,
        ceiling: Mode,
        identity: Identity,
        query: Query | None,
        route: str,
        method: str,
        now_us: int,
    ) -> Plan:
        """The plan of a request under this policy, which bites no further than `ceiling`; a provisional one
        is not kept.
        """
        over = self._until_us is not None and now_us >= self._until_us
        if over or policy is not self._policy or ceiling is not self._ceiling:
            self._plans.clear()
            self._policy, self._ceiling = policy, ceiling
            self._until_us = policy.next_end_us(now_us)
        asked = None if query is None else (query.model, query.end_user, query.alternatives)
        caller = (identity.principal, identity.vouched_by, identity.crowded_out, *identity.attributes.items())
        key = (caller, asked, route, method)
        plan = self._plans.get(key)
        if plan is not None and (plan.until_us is None or now_us < plan.until_us):
            self._plans.move_to_end(key)
            return plan
        plan = self._made(identity, query, route, method, now_us)
        if not plan.provisional and _length(query, method) <= LONGEST_KEPT:
            self._plans[key] = plan
            if len(self._plans) > self._most:
                self._plans.popitem(last=False)
        return plan

    @property
    def membership(self) -> Membership:
        """Who is in which pool of a campaign."""
        return self._membership

    @membership.setter
    def membership(self, membership: Membership) -> None:
        if membership.pools != self._membership.pools:
            self._plans.clear()
        self._membership = membership

    def __len__(self) -> int:
        return len(self._plans)

    def _made(self, identity: Identity, query: Query | None, route: str, method: str, now_us: int) -> Plan:
        policy = self._policy
        identity = _asking(identity, query, route, policy.default_tier)
        tier = policy.tier(identity)
        place = self._keys.place(identity.principal)
        mode = policy.mode(tier, place, self._ceiling)
        detection = mildest(mode, policy.detection.rollout.mode_at(place))
        suspect = None if detection is Mode.OFF else policy.suspect(identity, now_us)
        models = () if query is None else (query.model, *query.alternatives)
        by_age = tier.by_age and not identity.verified and mode is not Mode.OFF
        since_us = self._first_seen(identity.principal) if by_age else None
        pool = self._pool(identity, suspect)
        if policy.campaigns is Mode.ENFORCE:
            identity = identity.asking(campaign=pool)
        caller = Caller(method, mode, place, now_us, since_us)
        return Plan(
            identity=identity,
            route=route,
            method=method,
            label=self._keys.label(identity.principal),
            tier=tier,
            counts_novelty=tier.counts_novelty,
            place=place,
            mode=mode,
            detection=detection,
            suspect=suspect,
            reviewed=detection if suspect is not None and tier.ladder.holds else Mode.OFF,
            suspect_place=0.0 if suspect is None else self._keys.place(suspect.holder),
            due=policy.due(identity, models[1:], caller),
            output_cap=policy.output_cap(*models) if models else 0,
            price=policy.prices.dearest_of(models) if models else FREE,
            prices=policy.prices,
            since_us=since_us,
            provisional=by_age and since_us is None,
            until_us=None if since_us is None else policy.new_until_us(since_us, now_us),
            campaign=None if pool is None else campaign_of(pool),
            dialect=policy.dialect(route, method),
            model=policy.models.find(models[0]) if models else None,
        )

    def _pool(self, identity: Identity, suspect: Suspect | None) -> str | None:
        """The pool that the suspect of a request is in, or else its principal."""
        pools = self._membership.pools
        if not pools or self._policy.campaigns is Mode.OFF:
            return None
        holders = (identity.principal if suspect is None else suspect.holder, identity.principal)
        return next(filter(None, (pools.get(self._keys.digest(each)) for each in holders)), None)


def _asking(identity: Identity, query: Query | None, route: str, default_tier: str) -> Identity:
    """The caller with the facts of one request, in the default tier if nobody names one."""
    tier = None if Attribute.TIER in identity.attributes else default_tier
    model = end_user = None
    if query is not None:
        model, end_user = query.model, identity.attributes.get(Attribute.END_USER) or query.end_user
    return replace(identity, amounts={}).asking(tier=tier, route=route, model=model, end_user=end_user)


def _length(query: Query | None, method: str) -> int:
    """How much of a plan's key clients choose."""
    if query is None:
        return len(method)
    return len(method) + len(query.end_user or "") + sum(map(len, (query.model, *query.alternatives)))
