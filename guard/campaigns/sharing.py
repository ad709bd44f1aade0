"""The hashes that operators share: of what a query has in common with others, keyed with their secret.

They are of the same words and values wherever guard runs, so that two operators with one secret come to the
same. What is behind one, nobody can tell without the secret. Who has the secret can try: nobody finds a
wording or a program so, but a network, its operator or a mail domain are found by trying all there are.

    template   the words round the part that varies, folded, with numbers, quotations and the like made equal
    program    names of headers in their order, without those of proxies, and what SDKs say of themselves
    domain     the mail domain of the user's name, in lower case
    network    as guard groups callers (`identity.pool_prefix`): two operators have to do it alike
    asn        the number of the network's operator

A means of payment is not among them: a card's fingerprint is another one for each merchant.
"""

from __future__ import annotations

import hmac
from functools import lru_cache
from typing import TYPE_CHECKING

from guard.core.identity import Attribute
from guard.core.indicators import Thing
from guard.http.client import without_proxies

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from guard.core.campaigns import TieKind
    from guard.core.identity import Identity
    from guard.settings.sharing import SharingSettings

DIGESTS_KEPT = 4_096


def sharing_of(settings: SharingSettings) -> Sharing | None:
    """What these settings share; `None` where they share nothing."""
    secret = settings.secret
    return None if secret is None else Sharing(secret.get_secret_value().encode(), settings.things)


class Sharing:
    """Makes the hashes of these things with the secret."""

    def __init__(self, secret: bytes, things: Collection[Thing]) -> None:
        self.things = frozenset(things)
        self._secret = secret
        self._digest = lru_cache(DIGESTS_KEPT)(self._hash)

    @property
    def check(self) -> str:
        """What tells this secret from others, and nothing else of it: 8 hex digits."""
        return self._key("check")[:4].hex()

    @property
    def wordings(self) -> bytes | None:
        """The secret for hashes of wordings, if these are shared."""
        return self._key(Thing.TEMPLATE) if Thing.TEMPLATE in self.things else None

    def of(
        self, identity: Identity, client: bytes, twins: tuple[bytes, ...]
    ) -> dict[TieKind, tuple[bytes, ...]]:
        """What is shared of a query, by the kind of tie: of its wordings, whose `twins` are known, in their
        order, and one of everything else. `client` is what tells the program from others.
        """
        found = {Thing.TEMPLATE.tie: twins} if twins else {}
        for thing, value in self._values(identity, client).items():
            if value and thing in self.things:
                found[thing.tie] = (self._digest(thing, value),)
        return found

    def _values(self, identity: Identity, client: bytes) -> Mapping[Thing, bytes]:
        said = identity.attributes
        _, at, domain = said.get(Attribute.USER, "").rpartition("@")
        values = {
            Thing.DOMAIN: domain.lower() if at else "",
            Thing.NETWORK: said.get(Attribute.POOL, ""),
            Thing.ASN: said.get(Attribute.ASN, "").upper().removeprefix("AS"),
        }
        encoded = {thing: value.encode("utf-8", "surrogatepass") for thing, value in values.items()}
        return {Thing.PROGRAM: client, **encoded}

    def _hash(self, thing: Thing, value: bytes) -> bytes:
        said = without_proxies(value) if thing is Thing.PROGRAM else value
        return hmac.digest(self._key(thing), said, "sha256")[:16]

    def _key(self, purpose: str) -> bytes:
        return hmac.digest(self._secret, f"guard indicators\0{purpose}".encode(), "sha256")
