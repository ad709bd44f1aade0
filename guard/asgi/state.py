"""What an app may know of the request that guard let through: `request.state.guard`."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from guard.core.calendars import MICROSECONDS
from guard.core.identity import Attribute
from guard.core.limits import shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import Scope

    from guard.core.identity import VouchedBy
    from guard.core.limits import Reading
    from guard.core.modes import Mode
    from guard.engine.admission import Admission

NAME = "guard"
"""The name of the state's attribute."""


@dataclass(frozen=True, slots=True)
class Remaining:
    """What is left of one window of a limit after this request was charged what it may use.

    `count` units are what it admits in each window, and `burst` the most that may be left: as many, but for
    a limit that is `gcra` and has a `burst` of its own. `count`, `burst` and `remaining` are in the limit's
    unit. `window_seconds` is 0 for limits on concurrency. `reset_seconds` is when the window will be as good
    as new. `enforced` is false where it is only tried out.
    """

    limit: str
    unit: str
    window_seconds: int
    count: float
    burst: float
    remaining: float
    reset_seconds: float
    enforced: bool


@dataclass(frozen=True, slots=True)
class GuardState:
    """Who makes this request, and how the caller stands. It holds no credential.

    `identity` is the name that guard's log and `guard show` use, in which an address is a keyed hash.
    `vouched_by` says who vouches for it: `keys_file`, `issued`, `token`, `gateway` or `app`; `None` where
    nobody does. `tier` is the policy that holds. `attributes` are those that are known of `key` (a name, or a
    keyed hash), `user`, `org`, `tier`, `ip`, `network` and `pool` (plain addresses, which guard's log never
    has), `asn`, `payment` and `tls` (keyed hashes), `model`, `route` and `end_user`, which is what the caller
    says where nobody vouches for it.
    """

    request_id: str
    identity: str
    vouched_by: VouchedBy | None
    attributes: Mapping[str, str]
    tier: str
    mode: Mode
    _readings: tuple[Reading, ...] = field(repr=False)

    @property
    def remaining(self) -> tuple[Remaining, ...]:
        """What is left of each window of each limit; empty where the store could not be asked."""
        return tuple(map(_remaining, self._readings))

    @property
    def verified(self) -> bool:
        """Whether anybody vouches for the caller."""
        return self.vouched_by is not None

    @property
    def key(self) -> str | None:
        """The key's name, or a keyed hash of it."""
        return self.attributes.get(Attribute.KEY)

    @property
    def user(self) -> str | None:
        """The user that the key, the token, the gateway or the app names."""
        return self.attributes.get(Attribute.USER)

    @property
    def org(self) -> str | None:
        """Likewise the organisation."""
        return self.attributes.get(Attribute.ORG)


def with_state(scope: Scope, admission: Admission) -> Scope:
    """The scope that the app gets; the state that it shares with the app's lifespan is not changed."""
    identity, decision = admission.identity, admission.decision
    state = GuardState(
        request_id=admission.request_id,
        identity=admission.label,
        vouched_by=identity.vouched_by,
        attributes=MappingProxyType({str(name): value for name, value in identity.attributes.items()}),
        tier=admission.tier,
        mode=decision.mode,
        _readings=tuple(decision.readings),
    )
    return {**scope, "state": {**scope.get("state", {}), NAME: state}}


def _remaining(reading: Reading) -> Remaining:
    unit, window = reading.limit.unit, reading.window
    return Remaining(
        limit=reading.limit.name,
        unit=unit,
        window_seconds=window.period_seconds,
        count=shown(unit, window.count),
        burst=shown(unit, window.burst),
        remaining=shown(unit, reading.remaining),
        reset_seconds=reading.reset_us / MICROSECONDS,
        enforced=reading.enforced,
    )
