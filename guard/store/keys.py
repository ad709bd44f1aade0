"""What things are called in Redis.

A key is `guard:2:{DIGEST}:NOUN…`: 2 is the version of this layout, and the digest is a keyed hash of the
holder, so that Redis holds no credential and no address, and so that nothing a caller sends can end up
between the braces that Redis Cluster reads.

On a cluster, what one script touches must live in one slot. So what an organisation's members hold there
stands in the organisation's braces, `guard:2:{DIGEST OF org:acme}:DIGEST OF key:alice:NOUN…`, and what a
caller without an organisation holds, in its principal's. What many share (networks, tiers, models, routes,
everything) has its own.
"""

from __future__ import annotations

import hmac
import json
import re
from functools import lru_cache
from typing import TYPE_CHECKING

from guard.core.identity import Attribute, Holder
from guard.core.limits import Unit

if TYPE_CHECKING:
    from guard.core.identity import Identity
    from guard.core.limits import Limit

PREFIX = "guard:2:"
IDENTITIES = PREFIX + "identities"
"""The index of identities, by last use."""
TERMS = PREFIX + "terms"
"""What the operator has ordered for single holders: blocks and overrides, by `Keys.block_field` and so on."""
CONTROL = PREFIX + "control"
"""What the operator has ordered for all: the kill switch, and when to read the settings again."""
WORKERS = PREFIX + "workers"
"""The processes that serve, by when they were last heard of."""

FINGERPRINT = PREFIX + "pepper"
"""The fingerprint of the pepper that all of this is named with."""

DIGESTS_KEPT = 65_536
"""So many digests of holders are remembered: a request names the same holder several times over."""
_LONGEST_KEPT = 64
"""Digests of longer values, which only clients choose, are not remembered."""
IDENTITIES_KEPT = 4_096
"""For so many identities it is remembered how they are shown."""

_PERSONAL = frozenset({Attribute.IP, Attribute.NETWORK, Attribute.POOL})
_OWN = frozenset({Attribute.KEY, Attribute.USER, Attribute.ORG, Attribute.END_USER})
"""What belongs to one organisation, or to one caller."""
_DIGEST = re.compile(r"[0-9a-f]{32}")


def is_digest(text: str) -> bool:
    """Whether a text has the form of a digest: 32 hex digits."""
    return _DIGEST.fullmatch(text) is not None


class Keys:
    """Names keys with one pepper; another pepper names other keys, and sees none of these.

    `together` puts what an organisation holds into one slot of a cluster.
    """

    def __init__(self, pepper: bytes, *, together: bool = False) -> None:
        self._pepper = pepper
        self.together = together
        self._digests = lru_cache(DIGESTS_KEPT)(self._hash)
        self._labels = lru_cache(IDENTITIES_KEPT)(self._label)
        self._written = lru_cache(IDENTITIES_KEPT)(self._write)

    def secret(self, purpose: str) -> bytes:
        """A secret of 32 bytes that follows from the pepper, another for each purpose."""
        return hmac.digest(self._pepper, f"secret\0{purpose}".encode(), "sha256")

    @property
    def fingerprint(self) -> str:
        """What tells this pepper from others, and nothing else of it: 32 hex digits."""
        return self.secret("fingerprint of the pepper")[:16].hex()

    def credential(self, secret: str) -> str:
        """The stable name of a credential that no key file knows: 32 hex digits of a keyed hash."""
        return self._hash("credential", secret)

    def digest(self, holder: Holder) -> str:
        """The keyed hash of a holder; an address may be given as its digest already (see `label`)."""
        if not holder.and_:
            return self._digest(holder)
        return self._digests("together", "\0".join(self._digest(part) for part in holder.parts))

    def place(self, holder: Holder) -> float:
        """Where a holder stands among all, from 0 to 100, by its digest (see guard/core/modes.py)."""
        return int(self.digest(holder)[:8], 16) / (1 << 32) * 100

    def label(self, holder: Holder) -> str:
        """The holder's name as the store and the operator see it: addresses only as their digest."""
        return self._labels(holder)

    def attributes(self, identity: Identity) -> str:
        """The lasting attributes of an identity as JSON, addresses only as their digest."""
        return self._written(tuple(identity.lasting.items()))

    def record(self, identity: Identity) -> str:
        """The record of an identity, by its principal; always in the principal's own slot."""
        return self._key(identity.principal, identity.principal, "record")

    def reservation(self, near: str, reservation_id: str) -> str:
        """What one request has reserved, in the slot of the key that it stands near."""
        return _beside(near, f"reservation:{reservation_id}")

    def limit(self, limit: Limit, holder: Holder, identity: Identity) -> tuple[str, ...]:
        """The state of a limit, and the reservations pending on it; by its name, whatever its numbers.

        A diversity budget has a third: where its holder has been.
        """
        state = self._key(self._home(holder, identity), holder, f"limit:{limit.name}")
        if limit.unit == Unit.NOVELTY:
            return state, f"{state}:pending", f"{state}:cells"
        return state, f"{state}:pending"

    def evidence(self, holder: Holder, identity: Identity) -> str:
        """What is known of how a holder behaves, and what speaks against it."""
        return self._key(self._home(holder, identity), holder, "evidence")

    def debt(self, near: str, debt_id: str) -> str:
        """What remembers that a debt was charged, in the slot of the key that it stands near."""
        return _beside(near, f"debt:{debt_id}")

    def home(self, identity: Identity) -> str:
        """A key in the slot where what this identity holds alone is kept."""
        return self._key(self._home(identity.principal, identity), identity.principal, "home")

    def block_field(self, holder: Holder) -> str:
        """The field of `TERMS` that blocks a holder."""
        return self.digest(holder)

    def override_fields(self, holder: Holder, limit: str) -> tuple[str, str]:
        """The fields of `TERMS` that change all limits of a holder, and this one."""
        digest = self.digest(holder)
        return f"{digest}/*", f"{digest}/{limit}"

    def _home(self, holder: Holder, identity: Identity) -> Holder:
        """Whose braces a holder's keys stand in."""
        if not self.together or not any(part.attribute in _OWN for part in holder.parts):
            return holder
        org = identity.attributes.get(Attribute.ORG)
        return Holder(Attribute.ORG, org) if org else identity.principal

    def _label(self, holder: Holder) -> str:
        return str(self._nameable(holder))

    def _write(self, attributes: tuple[tuple[Attribute, str], ...]) -> str:
        holders = (Holder(attribute, value) for attribute, value in attributes)
        return json.dumps({holder.attribute: self._nameable(holder).value for holder in holders})

    def _nameable(self, holder: Holder) -> Holder:
        if not any(part.attribute in _PERSONAL for part in holder.parts):
            return holder
        return Holder.together([self._named_part(part) for part in holder.parts])

    def _named_part(self, part: Holder) -> Holder:
        return Holder(part.attribute, self._digest(part)) if part.attribute in _PERSONAL else part

    def _digest(self, part: Holder) -> str:
        if part.attribute in _PERSONAL and is_digest(part.value):
            return part.value
        digests = self._digests if len(part.value) <= _LONGEST_KEPT else self._hash
        return digests(part.attribute, part.value)

    def _key(self, home: Holder, holder: Holder, noun: str) -> str:
        tag = self.digest(home)
        own = "" if home == holder else f"{self.digest(holder)}:"
        return f"{PREFIX}{{{tag}}}:{own}{noun}"

    def _hash(self, kind: str, value: str) -> str:
        text = f"{kind}\0{value}".encode("utf-8", "surrogatepass")
        return hmac.digest(self._pepper, text, "sha256")[:16].hex()


def _beside(near: str, noun: str) -> str:
    """A key in the slot of another, which has the same braces."""
    return f"{near[: near.index('}') + 1]}:{noun}"
