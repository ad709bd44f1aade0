"""What the operator wants: tiers with their limits, routes, modes; and the decision that follows from
them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from guard.core.demand import Demand
from guard.core.identity import Attribute
from guard.core.limits import Charge, Limit, Reading, Unit
from guard.core.modes import ENFORCED, Mode, Rollout, mildest
from guard.core.novelty import NOWHERE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from guard.core.globs import GlobTable
    from guard.core.identity import Holder, Identity
    from guard.core.novelty import Ground
    from guard.core.prices import PriceTable
    from guard.core.query import Query, Usage


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


UNKNOWN_PATH = "*"
"""The route of all paths that no route names."""


@dataclass(frozen=True, slots=True)
class Route:
    """What to do with requests for `path` (a shell glob in which `*` also takes slashes)."""

    path: str
    methods: frozenset[str]
    action: RouteAction
    dialect: str | None = None

    def matches(self, method: str, path: str) -> bool:
        """Whether a request belongs to this route; an empty set of methods takes all but WebSocket."""
        method_fits = method in self.methods if self.methods else method != WEBSOCKET
        return method_fits and (path == self.path or fnmatchcase(path, self.path))


@dataclass(frozen=True, slots=True)
class Tier:
    """A named policy: the limits of the identities that fall under it."""

    name: str
    limits: tuple[Limit, ...]
    on_store_error: OnStoreError
    rollout: Rollout = ENFORCED


@dataclass(frozen=True, slots=True)
class Override:
    """Other numbers for one holder: (count, burst) by period in seconds, or none at all, which exempts it.

    `limit` is a glob over names of limits. After `until_us`, in Unix microseconds, it is over.
    """

    limit: str
    counts: Mapping[int, tuple[int, int]] | None
    until_us: int | None = None

    def holds(self, limit: Limit, now_us: int) -> bool:
        """Whether it is for this limit, and not over."""
        return (self.until_us is None or now_us < self.until_us) and fnmatchcase(limit.name, self.limit)


@dataclass(frozen=True, slots=True)
class Policy:
    """Everything that decides, as the operator set it; immutable, so that one request sees one policy."""

    rollout: Rollout
    tiers: Mapping[str, Tier]
    default_tier: str
    routes: tuple[Route, ...]
    unknown_paths: RouteAction
    max_output_tokens: GlobTable[int]
    default_max_output_tokens: int
    prices: PriceTable
    overrides: Mapping[Holder, tuple[Override, ...]] = field(default_factory=dict)

    def route(self, method: str, path: str) -> Route:
        """The first route that matches; for a path that none does, what `unknown_paths` says.

        All such paths are one route, named `*`: whoever can choose a path must not choose whom a limit per
        route is kept for.
        """
        for route in self.routes:
            if route.matches(method, path):
                return route
        action = RouteAction.DENY if method == WEBSOCKET else self.unknown_paths
        return Route(UNKNOWN_PATH, frozenset(), action)

    def tier(self, identity: Identity) -> Tier:
        """The tier that an identity's attribute names; the default one where it names none that exists."""
        return self.tiers.get(identity.attributes.get(Attribute.TIER, ""), self.tiers[self.default_tier])

    def demand(self, identity: Identity, query: Query | None) -> Demand:
        """What a request asks for."""
        if query is None:
            return Demand(amounts=identity.amounts)
        cap = query.max_output_tokens
        output_tokens = query.n * (self.output_cap(query.model) if cap is None else cap)
        return Demand(query, output_tokens, self.prices.price(query.model), identity.amounts)

    def reserve(self, identity: Identity, demand: Demand, caller: Caller) -> tuple[Charge, ...]:
        """What to charge before the request is forwarded, and which of it may refuse the request."""
        charges = []
        for limit in self.applicable(identity, caller):
            holder = identity.holder(*limit.per)
            mode = mildest(caller.mode, limit.rollout.mode_at(caller.place))
            overridden = self._overridden(limit, holder, caller.now_us)
            if overridden is not None:
                amount, spare = demand.reserve(limit.unit)
                ground = demand.ground if limit.unit == Unit.NOVELTY else NOWHERE
                charges.append(Charge(overridden, holder, amount, spare, mode is Mode.ENFORCE, ground))
        return tuple(charges)

    def applicable(self, identity: Identity, caller: Caller) -> Iterator[Limit]:
        """The limits of the identity's tier that this request is held to."""
        model = identity.attributes.get(Attribute.MODEL, "")
        route = identity.attributes.get(Attribute.ROUTE, "")
        for limit in self.tier(identity).limits:
            if limit.rollout.mode is not Mode.OFF and limit.match.takes(model, route, caller.method):
                yield limit

    def mode(self, tier: Tier, place: float, ceiling: Mode = Mode.ENFORCE) -> Mode:
        """How far a tier's limits bite for the identity at this place; never further than `ceiling`."""
        return mildest(ceiling, self.rollout.mode_at(place), tier.rollout.mode_at(place))

    def output_cap(self, model: str) -> int:
        """The most output tokens that a model gives when the caller names no cap."""
        cap = self.max_output_tokens.find(model)
        return self.default_max_output_tokens if cap is None else cap

    @property
    def limits(self) -> tuple[Limit, ...]:
        """Every limit of any tier, each name once."""
        limits = (limit for tier in self.tiers.values() for limit in tier.limits)
        return tuple({limit.name: limit for limit in limits}.values())

    def limits_per(self, holder: Holder) -> tuple[Limit, ...]:
        """The limits that are kept for this kind of holder."""
        kinds = _kinds(holder)
        return tuple(limit for limit in self.limits if set(limit.per) in kinds)

    def _overridden(self, limit: Limit, holder: Holder, now_us: int) -> Limit | None:
        """The limit with the numbers that hold for this holder; `None` for one that is exempt."""
        for override in self.overrides.get(holder, ()):
            if override.holds(limit, now_us):
                return None if override.counts is None else limit.with_counts(override.counts)
        return limit


@dataclass(frozen=True, slots=True)
class Caller:
    """How one request is to be judged: by which method it came, how far limits bite for its identity, the
    identity's place among all (0 to 100), and when, in Unix microseconds."""

    method: str = "POST"
    mode: Mode = Mode.ENFORCE
    place: float = 0.0
    now_us: int = 0


def settle(
    charges: Sequence[Charge], demand: Demand, usage: Usage, ground: Ground = NOWHERE
) -> tuple[Charge, ...]:
    """What the same limits are owed now that the usage is known.

    `ground` is all that is known by now of where the query falls. A query without an answer has been
    nowhere.
    """
    settled = []
    for charge in charges:
        amount = demand.settle(charge.limit.unit, usage)
        visited = ground if charge.limit.unit == Unit.NOVELTY and amount else NOWHERE
        settled.append(replace(charge, amount=amount, spare=0, ground=visited))
    return tuple(settled)


def _kinds(holder: Holder) -> tuple[set[Attribute], ...]:
    """What limits of such a holder are kept per: before an end user, the principal goes without saying."""
    kinds = [part.attribute for part in holder.parts]
    if Attribute.END_USER not in kinds:
        return (set(kinds),)
    place = kinds.index(Attribute.END_USER)
    return set(kinds), {*kinds[: max(place - 1, 0)], *kinds[place:]}


class Action(StrEnum):
    """The outcome of a decision."""

    ALLOW = "allow"
    THROTTLE = "throttle"
    DENY = "deny"


class Reason(StrEnum):
    """Why a request was refused."""

    QUOTA = "quota"
    TOO_LARGE = "too_large"
    BLOCKED = "blocked"
    STORE = "store"


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of one request.

    `mode` says whether the action is carried out: `shadow` where only what is shadowed asks for it.
    `retry_after_us` is when the same request would be admitted, other traffic aside; `None` means never, or
    that nobody knows. `readings` come from the same call that decided.
    """

    action: Action
    reason: Reason | None = None
    readings: tuple[Reading, ...] = ()
    retry_after_us: int | None = None
    mode: Mode = Mode.ENFORCE

    @property
    def refused(self) -> bool:
        """Whether the request must not reach the backend."""
        return self.action is not Action.ALLOW and self.mode is Mode.ENFORCE

    @property
    def violated(self) -> tuple[Reading, ...]:
        """The windows without room."""
        return tuple(reading for reading in self.readings if not reading.fits)

    @property
    def told(self) -> tuple[Reading, ...]:
        """What the client is told about: not what is only tried out, nor what strangers have left."""
        return tuple(
            reading
            for reading in self.readings
            if reading.enforced and not _ONES_OWN.isdisjoint(reading.limit.per)
        )


_ONES_OWN = frozenset(
    {
        Attribute.KEY,
        Attribute.USER,
        Attribute.ORG,
        Attribute.IP,
        Attribute.NETWORK,
        Attribute.END_USER,
    }
)
"""A limit per one of these counts what the caller or its own people do."""


def decide(
    readings: Sequence[Reading],
    mode: Mode = Mode.ENFORCE,
    *,
    blocked: bool = False,
    block_us: int | None = None,
) -> Decision:
    """The decision on what the store has read.

    `mode` is that of everything which is not a limit's own. `block_us` is how long a block still holds,
    `None` for good. The wait is that of the slowest of the violated windows: when it is over, all of them
    have room. What is shadowed is judged only where nothing that is enforced refuses.
    """
    readings = tuple(readings)
    if blocked:
        return Decision(Action.DENY, Reason.BLOCKED, readings, block_us, mode)
    violated = [reading for reading in readings if not reading.fits]
    enforced = [reading for reading in violated if reading.enforced]
    if not violated:
        return Decision(Action.ALLOW, None, readings, None, mode)
    outcome = Mode.ENFORCE if enforced else Mode.SHADOW
    waits = [reading.wait_us for reading in enforced or violated]
    if None in waits:
        return Decision(Action.DENY, Reason.TOO_LARGE, readings, None, outcome)
    wait_us = max(wait for wait in waits if wait is not None)
    return Decision(Action.THROTTLE, Reason.QUOTA, readings, wait_us, outcome)
