"""What the operator wants: tiers with their limits, routes, modes; and the decision that follows from
them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from guard.core.identity import Attribute
from guard.core.limits import Charge, Limit, Reading, reserve_amount, settle_amount

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from guard.core.identity import Holder, Identity
    from guard.core.query import Query, Usage


class Mode(StrEnum):
    """`enforce` refuses; `shadow` decides and counts but refuses nothing; `off` only forwards."""

    ENFORCE = "enforce"
    SHADOW = "shadow"
    OFF = "off"


class OnStoreError(StrEnum):
    """What becomes of a request when the store cannot decide."""

    ALLOW = "allow"
    DENY = "deny"


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


@dataclass(frozen=True, slots=True)
class Policy:
    """Everything that decides, as the operator set it; immutable, so that one request sees one policy."""

    mode: Mode
    tiers: Mapping[str, Tier]
    default_tier: str
    routes: tuple[Route, ...]
    unknown_paths: RouteAction
    max_output_tokens: Mapping[str, int]
    default_max_output_tokens: int

    def route(self, method: str, path: str) -> Route:
        """The first route that matches; for a path that none does, what `unknown_paths` says."""
        for route in self.routes:
            if route.matches(method, path):
                return route
        action = RouteAction.DENY if method == WEBSOCKET else self.unknown_paths
        return Route(path, frozenset(), action)

    def tier(self, identity: Identity) -> Tier:
        """The tier that an identity's attribute names; the default one where it names none that exists."""
        return self.tiers.get(identity.attributes.get(Attribute.TIER, ""), self.tiers[self.default_tier])

    def reserve(self, identity: Identity, query: Query | None) -> tuple[Charge, ...]:
        """What to charge before the request is forwarded."""
        cap = self.output_cap(query.model) if query else 0
        return tuple(
            Charge(limit, identity.holder(limit.per), reserve_amount(limit, query, cap))
            for limit in self.tier(identity).limits
        )

    def output_cap(self, model: str) -> int:
        """The most output tokens that a model gives when the caller names no cap."""
        for pattern, cap in self.max_output_tokens.items():
            if fnmatchcase(model, pattern):
                return cap
        return self.default_max_output_tokens

    @property
    def limits(self) -> tuple[Limit, ...]:
        """Every limit of any tier, each name once."""
        limits = (limit for tier in self.tiers.values() for limit in tier.limits)
        return tuple({limit.name: limit for limit in limits}.values())

    def limits_per(self, holder: Holder) -> tuple[Limit, ...]:
        """The limits that are kept for this kind of holder."""
        return tuple(limit for limit in self.limits if limit.per is holder.attribute)


def settle(charges: Sequence[Charge], usage: Usage) -> tuple[Charge, ...]:
    """What the same limits are owed now that the usage is known."""
    return tuple(
        Charge(charge.limit, charge.holder, settle_amount(charge.limit.unit, usage)) for charge in charges
    )


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

    `retry_after_us` is when the same request would be admitted, other traffic aside; `None` means never, or
    that nobody knows. `readings` come from the same call that decided.
    """

    action: Action
    reason: Reason | None = None
    readings: tuple[Reading, ...] = ()
    retry_after_us: int | None = None

    @property
    def refused(self) -> bool:
        """Whether the request must not reach the backend (in mode `enforce`)."""
        return self.action is not Action.ALLOW

    @property
    def violated(self) -> tuple[Reading, ...]:
        """The windows without room."""
        return tuple(reading for reading in self.readings if not reading.fits)


def decide(readings: Sequence[Reading], *, blocked: bool = False, block_us: int | None = None) -> Decision:
    """The decision on what the store has read.

    `block_us` is how long a block still holds, `None` for good. The wait is that of the slowest of the
    violated windows: when it is over, all of them have room.
    """
    readings = tuple(readings)
    if blocked:
        return Decision(Action.DENY, Reason.BLOCKED, readings, block_us)
    waits = [reading.wait_us for reading in readings]
    if None in waits:
        return Decision(Action.DENY, Reason.TOO_LARGE, readings)
    wait_us = max((wait for wait in waits if wait is not None), default=0)
    if wait_us:
        return Decision(Action.THROTTLE, Reason.QUOTA, readings, wait_us)
    return Decision(Action.ALLOW, None, readings)
