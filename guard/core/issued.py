"""Keys that guard has issued for the operator's customers, and what becomes of them.

A key is a name, to which all that is known of a caller belongs, and one secret or several. A rotation gives
it a new secret; those that it had hold until their grace is over. So the identity stays: what it has spent,
its limits, its overrides and what speaks against it.

    alice is made on 1 March, until 1 June                    secret a holds
    4 March   rotate, 7 days of grace                         a and b hold
    11 March  the grace is over                               b holds; a is `key_rotated`
    20 March  disable                                         b is `key_disabled`
    21 March  enable                                          b holds again
    1 June    its end                                         b is `key_expired`
    30 August 90 days later it is forgotten: b is an unknown key, and the name alice is free again

A revoked key is revoked for good. Nobody can get one of its secrets accepted again: each secret is made anew,
and its key takes nothing back.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache
from ipaddress import ip_network
from typing import TYPE_CHECKING, Self

from guard.core.calendars import MICROSECONDS
from guard.core.identity import Attribute

if TYPE_CHECKING:
    from guard.core.network import Address, Network

ENDED_SECONDS = 90 * 86_400
"""How long a key that has ended is remembered, so that its requests are refused with the right reason."""

MOST_HOLDING = 8
"""Maximum number of secrets of a key that hold at the same time."""

MOST_ENDED = 32
"""Maximum number of replaced secrets of a key that are remembered; the oldest are unknown beyond it."""

MOST_NETWORKS = 64
"""Maximum number of networks that a key is bound to."""


class State(StrEnum):
    """How a key stands at a moment; of several, the first."""

    REVOKED = "revoked"
    EXPIRED = "expired"
    DISABLED = "disabled"
    ACTIVE = "active"


ENDED = frozenset({State.REVOKED, State.EXPIRED})
"""The states of a key that nobody can use any more."""


class Fault(StrEnum):
    """Why a request with a secret that guard has issued is refused: the reason in the log and in metrics, the
    status, and what the caller is told.
    """

    status: int
    message: str

    def __new__(cls, reason: str, status: int = 401, message: str = "") -> Self:
        """One row."""
        row = str.__new__(cls, reason)
        row._value_ = reason
        row.status, row.message = status, message
        return row

    REVOKED = "key_revoked", 401, "This API key was revoked."
    EXPIRED = "key_expired", 401, "This API key has expired."
    ROTATED = "key_rotated", 401, "This API key was replaced by a newer one."
    DISABLED = "key_disabled", 403, "This API key is disabled."
    NETWORK = "key_network", 403, "This API key may not be used from this address."


_FAULTS = {State.REVOKED: Fault.REVOKED, State.EXPIRED: Fault.EXPIRED, State.DISABLED: Fault.DISABLED}


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret by its keyed hash (`Pseudonyms.issued`); it was made, and holds until, in Unix microseconds.

    `until_us` is `None` until another one takes its place.
    """

    digest: str
    made_us: int
    until_us: int | None = None

    def holds(self, now_us: int) -> bool:
        """Whether no other secret has taken its place by now."""
        return self.until_us is None or now_us < self.until_us


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A key that guard has issued; moments in Unix microseconds, `None` for what has not happened.

    `secrets` has the newest first. `attributes` are the user, the organisation and the tier that the operator
    says, and `networks` where it may be used from, anywhere where there are none. `until_us` is its end.
    """

    name: str
    secrets: tuple[Secret, ...]
    made_us: int
    attributes: dict[Attribute, str] = field(default_factory=dict)
    networks: tuple[str, ...] = ()
    until_us: int | None = None
    disabled_us: int | None = None
    revoked_us: int | None = None

    def state(self, now_us: int) -> State:
        """How it stands."""
        if self.revoked_us is not None:
            return State.REVOKED
        if self.until_us is not None and self.until_us <= now_us:
            return State.EXPIRED
        return State.ACTIVE if self.disabled_us is None else State.DISABLED

    @property
    def forgotten_us(self) -> int | None:
        """When it is forgotten: some time after its end; `None` where it has none."""
        ends = [end for end in (self.until_us, self.revoked_us) if end is not None]
        return min(ends) + ENDED_SECONDS * MICROSECONDS if ends else None

    def is_forgotten(self, now_us: int) -> bool:
        """Whether its end is so long ago."""
        return self.forgotten_us is not None and self.forgotten_us <= now_us

    def secret(self, digest: str) -> Secret | None:
        """The secret with this hash, where it is one of its own."""
        return next((secret for secret in self.secrets if secret.digest == digest), None)

    def fault(self, secret: Secret, address: Address | None, now_us: int) -> Fault | None:
        """Why a request with one of its secrets is refused that comes from an address; `None`: it is not.

        What the whole key is comes first, and where it is used from last: who holds a secret that does not
        hold is not told where it would.
        """
        state = self.state(now_us)
        if state in ENDED:
            return _FAULTS[state]
        if not secret.holds(now_us):
            return Fault.ROTATED
        if state is State.DISABLED:
            return Fault.DISABLED
        if self.networks and not any(_is_in(address, network) for network in self.networks):
            return Fault.NETWORK
        return None

    def holds_until_us(self, secret: Secret) -> int | None:
        """Until when a secret holds that holds now, as far as is known."""
        ends = [end for end in (self.until_us, secret.until_us) if end is not None]
        return min(ends, default=None)

    def rotated(self, digest: str, grace_us: int, now_us: int) -> IssuedKey:
        """With a new secret; the others hold for `grace_us` more at most.

        Raises `ValueError` where too many would hold.
        """
        ends_us = now_us + grace_us
        older = [
            replace(each, until_us=ends_us if each.until_us is None else min(each.until_us, ends_us))
            for each in self.secrets
        ]
        holding = [each for each in older if each.holds(now_us)]
        if len(holding) >= MOST_HOLDING:
            raise ValueError(
                f"{MOST_HOLDING} secrets of {self.name} hold; rotate it with a grace of 0s, which ends them"
            )
        since_us = now_us - ENDED_SECONDS * MICROSECONDS
        ended = [each for each in older if not each.holds(now_us) and each.holds(since_us)]
        return replace(self, secrets=(Secret(digest, now_us), *holding, *ended[:MOST_ENDED]))

    def disabled(self, now_us: int) -> IssuedKey:
        """Refused until it is enabled; since now, or since it was."""
        return self if self.disabled_us is not None else replace(self, disabled_us=now_us)

    def enabled(self) -> IssuedKey:
        """No longer disabled."""
        return replace(self, disabled_us=None)

    def revoked(self, now_us: int) -> IssuedKey:
        """Refused for good; since now, or since it was."""
        return self if self.revoked_us is not None else replace(self, revoked_us=now_us)


TOLD = (Attribute.USER, Attribute.ORG, Attribute.TIER)
"""What an operator says of a key."""


def _is_in(address: Address | None, network: str) -> bool:
    return address is not None and address in _network(network)


@lru_cache(maxsize=4_096)
def _network(text: str) -> Network:
    return ip_network(text)
