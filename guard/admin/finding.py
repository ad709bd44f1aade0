"""Which identity a credential or an address is, as requests with it are identified."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from guard.core.identity import Attribute, Holder
from guard.core.issued import ENDED_SECONDS, State
from guard.core.network import parse_address
from guard.core.secret import PREFIX, is_whole
from guard.identity.issued import identity_of, unknown_key
from guard.words import moment

if TYPE_CHECKING:
    from guard.clock import Clock
    from guard.core.holds import Review
    from guard.core.identity import Identity
    from guard.identity.identifier import Identifier
    from guard.identity.issued import IssuedKeys
    from guard.settings.identity import IdentitySettings
    from guard.store.port import Block
    from guard.store.redis.orders import Record


@dataclass(frozen=True, slots=True)
class Found:
    """What a credential or an address stands for.

    `holders` are its names, the most special first, and `how` says by what it is known. `records` are those
    of the identities that have one of these names, and `blocks` those that bite. `review` is how that of the
    first name stands.
    """

    holders: tuple[Holder, ...]
    how: str
    tier: str | None
    attributes: dict[Attribute, str]
    records: tuple[Record, ...]
    blocks: tuple[tuple[Holder, Block], ...]
    review: Review | None


def of_credential(
    identifier: Identifier, issued: IssuedKeys, text: str, clock: Clock
) -> tuple[Identity, str]:
    """The identity of a key or a token, and how it is known; raises `CredentialError` where it is refused.

    `text` may begin with `Bearer`, as it stands in a header. Whose an issued key is, is told also where
    requests with it are refused.
    """
    secret = text.strip()
    if secret.lower().startswith("bearer "):
        secret = secret[len("bearer ") :].strip()
    if secret.startswith(PREFIX) and not identifier.is_in_file(secret):
        return _of_issued(issued, secret, clock.date_us())
    identity = identifier.identify([(b"authorization", b"Bearer " + secret.encode())], None)
    if not identity.verified:
        return identity, "a key that is in no keys file"
    if identity.principal.attribute is Attribute.KEY:
        return identity, "a key in the keys file"
    return identity, "a token"


def _of_issued(issued: IssuedKeys, secret: str, now_us: int) -> tuple[Identity, str]:
    found = issued.find(secret)
    if found is None:
        error = unknown_key()
        error.detail = (
            "no key that is remembered has it: it was issued elsewhere, or ended more than "
            f"{ENDED_SECONDS // 86_400} days ago"
            if is_whole(secret)
            else "it was cut or mistyped: its last six characters do not fit those before them"
        )
        raise error
    key, known = found
    state = key.state(now_us)
    if state is State.ACTIVE and known.until_us is not None:
        replaced = "held" if not known.holds(now_us) else "holds"
        return identity_of(
            key
        ), f"an issued key, replaced; it {replaced} until {moment(known.until_us / 1e6)}"
    return identity_of(key), f"an issued key, {state}"


def of_address(settings: IdentitySettings, text: str) -> tuple[Holder, ...]:
    """The holders that an address stands for; raises `ValueError` for a text that is no address."""
    address = parse_address(text.strip())
    if address is None:
        raise ValueError(f"{text!r} is not an IP address")
    places = (Attribute.NETWORK, Attribute.IP, Attribute.POOL)
    return tuple(Holder(place, settings.network_of(place, address)) for place in places)
