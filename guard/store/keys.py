"""What things are called in Redis.

A key is `guard:1:{DIGEST}:NOUN…`: 1 is the version of this layout, and the digest is a keyed hash of the
holder, so that Redis holds no credential and no address, and so that nothing a caller sends can end up
between the braces that Redis Cluster reads.
"""

from __future__ import annotations

import hmac
import json
import re
from functools import lru_cache
from typing import TYPE_CHECKING

from guard.core.identity import Attribute, Holder

if TYPE_CHECKING:
    from guard.core.identity import Identity
    from guard.core.limits import Limit

PREFIX = "guard:1:"
IDENTITIES = PREFIX + "identities"
"""The index of identities, by last use."""

DIGESTS_KEPT = 65_536
"""So many digests of holders are remembered: a request names the same holder several times over."""

_PERSONAL = frozenset({Attribute.IP, Attribute.NETWORK})
_DIGEST = re.compile(r"[0-9a-f]{32}")


def is_digest(text: str) -> bool:
    """Whether a text has the form of a digest: 32 hex digits."""
    return _DIGEST.fullmatch(text) is not None


class Keys:
    """Names keys with one pepper; another pepper names other keys, and sees none of these."""

    def __init__(self, pepper: bytes) -> None:
        self._pepper = pepper
        self._digests = lru_cache(DIGESTS_KEPT)(self._hash)

    def credential(self, secret: str) -> str:
        """The stable name of a credential that no key file knows: 32 hex digits of a keyed hash."""
        return self._hash("credential", secret)

    def digest(self, holder: Holder) -> str:
        """The keyed hash of a holder; an address may be given as its digest already (see `label`)."""
        if holder.attribute in _PERSONAL and is_digest(holder.value):
            return holder.value
        return self._digests(holder.attribute, holder.value)

    def label(self, holder: Holder) -> str:
        """The holder's name as the store and the operator see it: addresses only as their digest."""
        return str(self._nameable(holder))

    def attributes(self, identity: Identity) -> str:
        """The attributes of an identity as JSON, addresses only as their digest."""
        holders = (Holder(attribute, value) for attribute, value in identity.attributes.items())
        return json.dumps({holder.attribute: self._nameable(holder).value for holder in holders})

    def record(self, holder: Holder) -> str:
        """The record of an identity, by its principal."""
        return self._key(holder, "record")

    def reservation(self, holder: Holder, reservation_id: str) -> str:
        """What one request of this principal has reserved."""
        return self._key(holder, f"reservation:{reservation_id}")

    def block(self, holder: Holder) -> str:
        """The block on a holder."""
        return self._key(holder, "block")

    def limit(self, limit: Limit, holder: Holder) -> tuple[str, str]:
        """The state of a limit, and the reservations pending on it; by its name, whatever its numbers."""
        state = self._key(holder, f"limit:{limit.name}")
        return state, f"{state}:pending"

    def _nameable(self, holder: Holder) -> Holder:
        return Holder(holder.attribute, self.digest(holder)) if holder.attribute in _PERSONAL else holder

    def _key(self, holder: Holder, noun: str) -> str:
        return f"{PREFIX}{{{self.digest(holder)}}}:{noun}"

    def _hash(self, kind: str, value: str) -> str:
        text = f"{kind}\0{value}".encode("utf-8", "surrogatepass")
        return hmac.digest(self._pepper, text, "sha256")[:16].hex()
