"""The names that guard gives to people: a keyed hash, or what may be shown.

No credential and no address is kept or shown. A keyed hash stands for it: whoever has no pepper cannot find
out by trying what is behind one. Another pepper makes other names.
"""

from __future__ import annotations

import hmac
import json
import re
from functools import lru_cache
from typing import TYPE_CHECKING

from guard.core.identity import ADDRESSES, Attribute, Holder

if TYPE_CHECKING:
    from guard.core.identity import Identity, VouchedBy

DIGESTS_KEPT = 65_536
"""Size of the cache of digests: a request names the same holder several times over."""
_LONGEST_KEPT = 64
"""Digests of longer values, which only clients choose, are not remembered."""
IDENTITIES_KEPT = 4_096
"""Size of the cache of how identities are shown."""

VOUCHED_BY = "vouched_by"

_DIGEST = re.compile(r"[0-9a-f]{32}")


def is_digest(text: str) -> bool:
    """Whether a text has the form of a digest: 32 hex digits."""
    return _DIGEST.fullmatch(text) is not None


class Pseudonyms:
    """Names people with one pepper."""

    def __init__(self, pepper: bytes) -> None:
        self._pepper = pepper
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

    def hashed(self, attribute: Attribute, said: str) -> str:
        """The name of what a gateway says of an attribute that is kept as a hash: likewise."""
        return self._hash(attribute, said)

    def issued(self, secret: str) -> str:
        """What is kept of a secret that guard has issued: likewise. Whoever can write to the store and has no
        pepper cannot make a key.
        """
        return self._hash("issued key", secret)

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
        """The lasting attributes of an identity as JSON, addresses only as their digest; and beside them who
        vouches for it (`VOUCHED_BY`), if anybody does.
        """
        return self._written(identity.vouched_by, tuple(identity.lasting.items()))

    def _label(self, holder: Holder) -> str:
        return str(self._nameable(holder))

    def _write(self, vouched_by: VouchedBy | None, attributes: tuple[tuple[Attribute, str], ...]) -> str:
        holders = (Holder(attribute, value) for attribute, value in attributes)
        facts = {str(holder.attribute): self._nameable(holder).value for holder in holders}
        return json.dumps(facts if vouched_by is None else {VOUCHED_BY: vouched_by, **facts})

    def _nameable(self, holder: Holder) -> Holder:
        if not any(part.attribute in ADDRESSES for part in holder.parts):
            return holder
        return Holder.together([self._named_part(part) for part in holder.parts])

    def _named_part(self, part: Holder) -> Holder:
        return Holder(part.attribute, self._digest(part)) if part.attribute in ADDRESSES else part

    def _digest(self, part: Holder) -> str:
        if part.attribute in ADDRESSES and is_digest(part.value):
            return part.value
        digests = self._digests if len(part.value) <= _LONGEST_KEPT else self._hash
        return digests(part.attribute, part.value)

    def _hash(self, kind: str, value: str) -> str:
        text = f"{kind}\0{value}".encode("utf-8", "surrogatepass")
        return hmac.digest(self._pepper, text, "sha256")[:16].hex()
