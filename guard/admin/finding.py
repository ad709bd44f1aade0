"""Which identity a credential or an address is, as requests with it are identified."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from guard.core.identity import Attribute, Holder
from guard.core.network import parse_address
from guard.identity.identifier import Identifier

if TYPE_CHECKING:
    from guard.core.holds import Review
    from guard.core.identity import Identity
    from guard.core.pseudonyms import Pseudonyms
    from guard.settings.identity import IdentitySettings
    from guard.settings.root import Settings
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


def of_credential(settings: Settings, keys: Pseudonyms, text: str) -> tuple[Identity, str]:
    """The identity of a key or a token, and how it is known; raises `CredentialError` where it is refused.

    `text` may begin with `Bearer`, as it stands in a header.
    """
    secret = text.strip()
    if secret.lower().startswith("bearer "):
        secret = secret[len("bearer ") :].strip()
    identifier = Identifier(settings.identity, keys, settings.units, settings.tiers)
    identity = identifier.identify([(b"authorization", b"Bearer " + secret.encode())], None)
    if not identity.verified:
        return identity, "a key that is in no keys file"
    if identity.principal.attribute is Attribute.KEY:
        return identity, "a key in the keys file"
    return identity, "a token"


def of_address(settings: IdentitySettings, text: str) -> tuple[Holder, ...]:
    """The holders that an address stands for; raises `ValueError` for a text that is no address."""
    address = parse_address(text.strip())
    if address is None:
        raise ValueError(f"{text!r} is not an IP address")
    places = (Attribute.NETWORK, Attribute.IP, Attribute.POOL)
    return tuple(Holder(place, settings.network_of(place, address)) for place in places)
