"""What the operator wants: tiers with their limits, routes, modes; and what a request is held to by it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from guard.core.demand import Demand
from guard.core.detection import NO_DETECTION, Detection, Suspect
from guard.core.globs import NO_NAMES, GlobTable
from guard.core.holds import DEFAULT_HOLD_TERMS
from guard.core.identity import FOUND, Attribute, Holder
from guard.core.ladder import NO_ACTION, NO_LADDER, Ladder, Rung
from guard.core.limits import Charge, Holders, Limit, Unit
from guard.core.modes import ENFORCED, Mode, Rollout, mildest
from guard.core.patterns import MODEL, compiled, has_wildcard, literal_length, loosely_compiled
from guard.core.reshape import UNCHANGED, Reasoning, Reshape
from guard.core.uses import declared_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from guard.core.holds import HoldTerms
    from guard.core.identity import Identity
    from guard.core.limits import Ramp
    from guard.core.prices import PriceTable
    from guard.core.query import Query, Usage
    from guard.core.uses import Declared


class OnStoreError(StrEnum):
    """What becomes of a request when the store cannot decide."""

    ALLOW = "allow"
    DENY = "deny"
    LOCAL = "local"


class RouteAction(StrEnum):
    """What guard does on a path.

    `guard` reads the query and holds it against every limit; `count` holds the request against every limit
    without reading its body; `pass` forwards it unseen; `deny` answers 404.
    """

    GUARD = "guard"
    COUNT = "count"
    PASS = "pass"  # noqa: S105 - a verb, not a password
    DENY = "deny"


WEBSOCKET = "WEBSOCKET"
"""The method that a route names to take WebSocket connections."""

WITH_BODY = frozenset({"PATCH", "POST", "PUT"})
"""Methods whose requests have a body (RFC 9110, section 9.3; PATCH: RFC 5789)."""

UNKNOWN_PATH = "*"
"""The route of all paths that no route names."""


@dataclass(frozen=True, slots=True)
class Route:
    """What to do with requests for `path`, a pattern (guard/core/patterns.py).

    `query` are names that its query string may have beside those that its clients say. `body` says whether
    a counted request may have one; without a word, by its method. `free` requests are held to limits on
    free ones in place of others on requests, where there are any.
    """

    path: str
    methods: frozenset[str]
    action: RouteAction
    dialect: str | None = None
    query: frozenset[str] = frozenset()
    body: bool | None = None
    free: bool = False

    def matches(self, method: str, path: str) -> bool:
        """Whether a request belongs to this route."""
        return self.takes(method) and self.fits(path)

    def takes(self, method: str) -> bool:
        """Whether the route is for this method.

        An empty set of methods takes all but WebSocket, which only a route that denies takes unnamed.
        """
        unnamed = method != WEBSOCKET or self.action is RouteAction.DENY
        return method in self.methods if self.methods else unnamed

    def fits(self, path: str) -> bool:
        """Whether the pattern takes this path."""
        if path == self.path:
            return True
        return has_wildcard(self.path) and compiled(self.path).fullmatch(path) is not None

    def might_fit(self, path: str) -> bool:
        """Whether a careless router might take it: without regard to case, and where `*` takes slashes."""
        return loosely_compiled(self.path).fullmatch(path) is not None

    def model_in(self, path: str) -> str | None:
        """The model that a path names; `None` where the pattern has no place for it."""
        if MODEL not in self.path:
            return None
        found = compiled(self.path).fullmatch(path)
        return found["model"] if found else None

    def takes_body(self, method: str) -> bool:
        """Whether a body goes on; one that is counted is not read, and has none unless its method has."""
        if self.action is not RouteAction.COUNT or method == WEBSOCKET:
            return True
        return method in WITH_BODY if self.body is None else self.body

    def _fits_any_model(self, path: str) -> bool:
        """Whether it takes this path, also where the model has a slash in its name."""
        return self.fits(path) or (MODEL in self.path and self.might_fit(path))

    @property
    def strictness(self) -> int:
        """How little it lets through, so that two routes can be compared."""
        return (RouteAction.PASS, RouteAction.COUNT, RouteAction.GUARD, RouteAction.DENY).index(self.action)

    def _says_more_than(self, other: Route) -> bool:
        return literal_length(self.path) > literal_length(other.path)


_NOTHING = Route(UNKNOWN_PATH, frozenset(), RouteAction.DENY)


@dataclass(frozen=True, slots=True)
class Tier:
    """A named policy: the limits of the identities that fall under it, and how their requests and answers are
    narrowed where nothing is held against them."""

    name: str
    limits: tuple[Limit, ...]
    on_store_error: OnStoreError
    rollout: Rollout = ENFORCED
    ladder: Ladder = NO_LADDER
    reshape: Reshape = UNCHANGED

    @property
    def counts_novelty(self) -> bool:
        """Whether there is a diversity budget among its limits."""
        return any(limit.unit == Unit.NOVELTY for limit in self.limits)

    @property
    def seals(self) -> bool:
        """Whether it, or a rung of its ladder, seals reasoning."""
        ways = (self.reshape, *(rung.reshape for rung in self.ladder.rungs.values()))
        return any(each.reasoning is Reasoning.SEALED for each in ways)

    @property
    def by_age(self) -> bool:
        """Whether any of its limits depends on when an unverified caller was first seen."""
        return any(limit.by_age for limit in self.limits)


@dataclass(frozen=True, slots=True)
class Override:
    """Other numbers for one holder: (count, burst) by period in seconds, or none at all, which exempts it.

    `limit` is a glob over names of limits; with `of`, it is for this limit only, since the one of that name
    may have other windows in another tier. After `until_us`, in Unix microseconds, it is over.
    """

    limit: str
    counts: Mapping[int, tuple[int, int]] | None
    until_us: int | None = None
    of: Limit | None = None

    def holds(self, limit: Limit, now_us: int) -> bool:
        """Whether it is for this limit, and not over."""
        meant = fnmatchcase(limit.name, self.limit) if self.of is None else limit == self.of
        return meant and (self.until_us is None or now_us < self.until_us)


@dataclass(frozen=True, slots=True)
class Policy:
    """Everything that decides, as the operator set it; immutable, so that one request sees one policy.

    For `new_for_us` after it was first seen, an unverified caller is new. `campaigns` says whether anything
    follows for members of one. `models` are the names and globs by which the operator speaks of models, each
    under itself.
    """

    rollout: Rollout
    tiers: Mapping[str, Tier]
    default_tier: str
    routes: tuple[Route, ...]
    unknown_paths: RouteAction
    max_output_tokens: GlobTable[int]
    default_max_output_tokens: int
    prices: PriceTable
    overrides: Mapping[Holder, tuple[Override, ...]] = field(default_factory=dict)
    detection: Detection = NO_DETECTION
    holds: HoldTerms = DEFAULT_HOLD_TERMS
    new_for_us: int = 0
    campaigns: Mode = Mode.ENFORCE
    models: GlobTable[str] = NO_NAMES

    @property
    def reads_texts(self) -> bool:
        """Whether anything goes by what queries and answers say."""
        watches = self.detection.rollout.mode is not Mode.OFF
        return watches or any(tier.counts_novelty for tier in self.tiers.values())

    def route(self, method: str, path: str) -> Route:
        """The first route that matches; for a path that none does, what `unknown_paths` says.

        All such paths are one route, named `*`: whoever can choose a path must not choose whom a limit per
        route is kept for. A wildcard does not take, for one method, what a wildcard that says more guards for
        another: `GET /v1/models/*` does not take `/v1/models/small:generateContent`.
        """
        for route in self.routes:
            if route.matches(method, path):
                return _NOTHING if self._guarded_otherwise(route, path) else route
        return Route(UNKNOWN_PATH, frozenset(), self.unknown_paths)

    def dialect(self, route: str, method: str) -> str | None:
        """The dialect of the route that has this pattern."""
        return next((each.dialect for each in self.routes if each.path == route and each.takes(method)), None)

    def methods(self, path: str) -> frozenset[str]:
        """The methods that routes name for a path, and with which it is let through."""
        named = frozenset(method for each in self.routes if each.fits(path) for method in each.methods)
        return frozenset(
            method for method in named if self.route(method, path).action is not RouteAction.DENY
        ) - {WEBSOCKET}

    def stricter(self, route: Route, method: str, reading: str) -> Route | None:
        """The first named route that might take a path read in this way, if it is stricter than `route`."""
        for other in self.routes:
            if other.takes(method) and other.might_fit(reading):
                return other if other.strictness > route.strictness else None
        return None

    def _guarded_otherwise(self, route: Route, path: str) -> bool:
        lenient = route.action in (RouteAction.COUNT, RouteAction.PASS) and has_wildcard(route.path)
        return lenient and any(
            other.action is RouteAction.GUARD and other._says_more_than(route) and other._fits_any_model(path)
            for other in self.routes
            if has_wildcard(other.path)
        )

    def tier(self, identity: Identity) -> Tier:
        """The tier that an identity's attribute names; the default one where it names none that exists."""
        return self.tiers.get(identity.attributes.get(Attribute.TIER, ""), self.tiers[self.default_tier])

    def declared(self, identity: Identity, now_us: int) -> tuple[Declared, ...]:
        """What this identity, or one of its attributes, is declared to be for."""
        return declared_of(identity, self.detection.uses, now_us)

    def suspect(self, identity: Identity, now_us: int) -> Suspect:
        """Whom the evidence of this request is about: the principal, or one end user of a router's."""
        if not self.detection.uses:
            return Suspect(identity.principal)
        declared = self.declared(identity, now_us)
        per_end_user = any(each.use.per_end_user for each in declared)
        holder = identity.holder(Attribute.END_USER) if per_end_user else identity.principal
        one_person = holder != identity.principal
        return Suspect(
            holder, frozenset().union(*(each.use.excuses(one_person=one_person) for each in declared))
        )

    def demand(self, identity: Identity, query: Query | None) -> Demand:
        """What a request asks for."""
        if query is None:
            return Demand(amounts=identity.amounts)
        models = (query.model, *query.alternatives)
        price = self.prices.dearest_of(models)
        return Demand.of(query, self.output_cap(*models), price, self.prices, identity.amounts)

    def reserve(
        self,
        identity: Identity,
        demand: Demand,
        caller: Caller,
        rung: Rung = NO_ACTION,
        age_us: int | None = None,
    ) -> tuple[Charge, ...]:
        """What to charge before the request is forwarded, and which of it may refuse the request.

        `rung` and `age_us` are as in `estimated_charges`.
        """
        alternatives = demand.query.alternatives if demand.query else ()
        return estimated_charges(self.due(identity, alternatives, caller), demand, rung, age_us)

    def due(self, identity: Identity, alternatives: Iterable[str], caller: Caller) -> tuple[Due, ...]:
        """The limits of every model that may answer a request, and whom they hold; each once."""
        asking = [identity, *(identity.asking(model=name) for name in alternatives)]
        found = (
            (limit, each.holder(*limit.per)) for each in asking for limit in self.applicable(each, caller)
        )
        due = []
        for limit, holder in dict.fromkeys(found):
            held = self.held(limit, holder, caller.now_us)
            if held is not None:
                mode = mildest(caller.mode, limit.rollout.mode_at(caller.place))
                ramp = None if identity.verified else held.ramp
                due.append(Due(held, holder, mode is Mode.ENFORCE, ramp))
                due += [Due(*each, mode is Mode.ENFORCE) for each in beside(held, holder, identity)]
        return tuple(due)

    @property
    def named_keys(self) -> frozenset[Holder]:
        """The keys that an override or a declared use names."""
        holders = (*self.overrides, *self.detection.uses)
        return frozenset(part for each in holders for part in each.parts if part.attribute is Attribute.KEY)

    def next_end_us(self, now_us: int) -> int | None:
        """When an override or a declared use is over next, in Unix microseconds."""
        overrides = (each.until_us for given in self.overrides.values() for each in given)
        uses = (each.until_us for each in self.detection.uses.values())
        return min((end for end in (*overrides, *uses) if end is not None and end > now_us), default=None)

    def applicable(self, identity: Identity, caller: Caller) -> Iterator[Limit]:
        """The limits of the identity's tier that this request is held to."""
        model = identity.attributes.get(Attribute.MODEL, "")
        route = identity.attributes.get(Attribute.ROUTE, "")
        limits = self.limits_for(identity, caller)
        free = any(each.free and each.path == route and each.takes(caller.method) for each in self.routes)
        apart = free and any(limit.match.free for limit in limits)
        for limit in limits:
            named = apart and bool(limit.match.routes)
            if limit.unit == Unit.REQUESTS and limit.match.free != apart and not named:
                continue
            if limit.rollout.mode is not Mode.OFF and limit.match.takes(model, route, caller.method):
                yield limit

    def limits_for(self, identity: Identity, caller: Caller) -> tuple[Limit, ...]:
        """The limits of an identity's tier that are for such identities."""
        limits = self.tier(identity).limits
        return tuple(limit for limit in limits if self._is_for(limit, identity, caller))

    def _is_for(self, limit: Limit, identity: Identity, caller: Caller) -> bool:
        if not FOUND.intersection(limit.per) <= identity.attributes.keys():
            return False
        match limit.holders:
            case Holders.ALL:
                return True
            case Holders.VERIFIED:
                return identity.verified
            case Holders.UNVERIFIED:
                return not identity.verified
            case Holders.NEW:
                return not identity.verified and self._is_new(caller)

    def _is_new(self, caller: Caller) -> bool:
        since_us = caller.since_us
        return since_us is None or self.new_until_us(since_us, caller.now_us) is not None

    def new_until_us(self, since_us: int, now_us: int) -> int | None:
        """Until when an unverified caller is new that was first seen then; `None` where it is new no more."""
        until_us = since_us + self.new_for_us
        return until_us if now_us < until_us else None

    def mode(self, tier: Tier, place: float, ceiling: Mode = Mode.ENFORCE) -> Mode:
        """How far a tier's limits bite for the identity at this place; never further than `ceiling`."""
        return mildest(ceiling, self.rollout.mode_at(place), tier.rollout.mode_at(place))

    def output_cap(self, *models: str) -> int:
        """The most output tokens that any of these models gives when the caller names no cap."""
        caps = map(self.max_output_tokens.find, models)
        return max(self.default_max_output_tokens if cap is None else cap for cap in caps)

    @property
    def limits(self) -> tuple[Limit, ...]:
        """Every limit of any tier. One name may be there several times, with other numbers in other tiers."""
        return self.limits_of(self.tiers)

    def limits_of(self, tiers: Iterable[str]) -> tuple[Limit, ...]:
        """Likewise of these tiers."""
        return tuple(dict.fromkeys(limit for tier in tiers for limit in self.tiers[tier].limits))

    def limits_per(self, holder: Holder, tiers: Iterable[str] | None = None) -> tuple[Limit, ...]:
        """The limits that are kept for this kind of holder, in these tiers or in any."""
        kinds = _kinds(holder)
        limits = self.limits if tiers is None else self.limits_of(tiers)
        return tuple(limit for limit in limits if set(limit.per) in kinds)

    def tiers_with(self, limit: Limit) -> tuple[str, ...]:
        """The names of the tiers that have exactly this limit."""
        return tuple(name for name, tier in self.tiers.items() if limit in tier.limits)

    def held(self, limit: Limit, holder: Holder, now_us: int) -> Limit | None:
        """The limit with the numbers that hold for this holder; `None` for one that is exempt."""
        for override in self.overrides.get(holder, ()):
            if override.holds(limit, now_us):
                return None if override.counts is None else limit.with_counts(override.counts)
        return limit


@dataclass(frozen=True, slots=True)
class Caller:
    """How one request is to be judged: by which method it came, how far limits bite for its identity, the
    identity's place among all (0 to 100), when, and since when the identity is known, which is `None` for one
    that is new; in Unix microseconds."""

    method: str = "POST"
    mode: Mode = Mode.ENFORCE
    place: float = 0.0
    now_us: int = 0
    since_us: int | None = None


@dataclass(frozen=True, slots=True)
class Due:
    """A limit, with the numbers that hold for its holder, that a request is charged to. After a limit that
    several share comes what its caller has of it for itself (`Limit.for_each`), and then what all of them may
    take so (`Limit.for_floors`).

    `enforced` says that it may refuse the request, and `ramp` how it grows for this caller.
    """

    limit: Limit
    holder: Holder
    enforced: bool
    ramp: Ramp | None = None


def beside(limit: Limit, holder: Holder, identity: Identity) -> Iterator[tuple[Limit, Holder]]:
    """What stands beside a limit that an identity shares, if that has a floor, and whom each of these holds:
    what it has for itself, and what all may take so.
    """
    if limit.floor and identity.principal not in holder.parts:
        yield limit.for_each(), Holder.together((holder, identity.principal))
        yield limit.for_floors(), holder


def estimated_charges(
    due: Iterable[Due], demand: Demand, rung: Rung = NO_ACTION, age_us: int | None = None
) -> tuple[Charge, ...]:
    """What to charge before a request is forwarded. `rung` cuts its caller's own limits, and ramps go by how
    long ago it was first seen, `None` where that is not known.
    """
    asked: dict[str, tuple[int, int]] = {}
    charges = []
    for each in due:
        unit = each.limit.unit
        if unit not in asked:
            asked[unit] = demand.reserve(unit)
        amount, spare = asked[unit]
        told = 1.0 if each.ramp is None else each.ramp.share(age_us)
        left = told * rung.left(unit) if rung is not NO_ACTION and each.limit.own else told
        charges.append(Charge(each.limit, each.holder, amount, spare, each.enforced, left, told))
    return tuple(charges)


def actual_charges(charges: Sequence[Charge], demand: Demand, usage: Usage) -> tuple[Charge, ...]:
    """What the same limits are owed now that the usage is known; diversity budgets, were all of it new."""
    used: dict[str, int] = {}
    settled = []
    for charge in charges:
        unit = charge.limit.unit
        if unit not in used:
            used[unit] = demand.settle(unit, usage)
        settled.append(charge._replace(amount=used[unit], spare=0))
    return tuple(settled)


def _kinds(holder: Holder) -> tuple[set[Attribute], ...]:
    """What limits of such a holder are kept per: before an end user, the principal goes without saying."""
    kinds = [part.attribute for part in holder.parts]
    if Attribute.END_USER not in kinds:
        return (set(kinds),)
    place = kinds.index(Attribute.END_USER)
    return set(kinds), {*kinds[: max(place - 1, 0)], *kinds[place:]}
