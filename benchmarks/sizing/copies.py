"""Many identities out of a few: each is one that guard's own scripts have written, under other names.

Redis copies keys within itself, so a million identities are there in a minute. A copy is named by the digest
of what it is a copy of and its number, and `CopyKeys` gives holders whose values end in `~NUMBER` the same
name: so whoever asks guard's store for the copy of a holder meets what was copied.
"""

from __future__ import annotations

import re
from dataclasses import replace
from hashlib import sha1
from typing import TYPE_CHECKING

from guard.core.identity import EVERYTHING, Attribute, Holder, Identity
from guard.store.redis.keys import PREFIX, Keys

if TYPE_CHECKING:
    from collections.abc import Collection

    from redis import Redis

    from guard.core.limits import Charge

NOUNS = (b":record", b":counts", b":coverage", b":evidence")
"""What keys end with that are kept of an identity."""

AT_ONCE = 4
"""Of so many numbers copies are made in one call."""

LASTING_SECONDS = 7_200

SHARED = frozenset(
    {Attribute.UNVERIFIED, Attribute.EVERYTHING, Attribute.TIER, Attribute.MODEL, Attribute.ROUTE}
)
"""What all copies have in common."""

COPY = """
local shared = {}
for i = 3, #ARGV do shared[ARGV[i]] = true end
local made = 0
for number = tonumber(ARGV[1]), tonumber(ARGV[2]) do
  for i = 1, #KEYS do
    local name = string.gsub(KEYS[i], string.rep('%x', 32), function(digest)
      if shared[digest] then return digest end
      return string.sub(redis.sha1hex(digest .. number), 1, 32)
    end)
    made = made + redis.call('COPY', KEYS[i], name)
  end
end
return made
"""


class CopyKeys(Keys):
    """Names copies as `COPY` does."""

    def digest(self, holder: Holder) -> str:
        """The keyed hash of a holder, or of the copy of one."""
        number = next((part.value.rpartition("~")[2] for part in holder.parts if "~" in part.value), None)
        if number is None:
            return super().digest(holder)
        known = super().digest(Holder.together([_original(part) for part in holder.parts]))
        return sha1(f"{known}{number}".encode()).hexdigest()[:32]


def copy_of(holder: Holder, number: int) -> Holder:
    """The copy of a holder, of this number; of what all have in common, that itself."""
    return Holder.together([_copy(part, number) for part in holder.parts])


def identity_of(identity: Identity, number: int) -> Identity:
    """Likewise of an identity."""
    attributes = {
        name: value if name in SHARED else f"{value}~{number}" for name, value in identity.attributes.items()
    }
    return replace(identity, principal=copy_of(identity.principal, number), attributes=attributes)


def charge_of(charge: Charge, number: int) -> Charge:
    """Likewise of what is charged."""
    return charge._replace(holder=copy_of(charge.holder, number))


def keys_of_identities(redis: Redis, shared: Collection[str]) -> list[bytes]:
    """The keys of which something is one identity's alone, but for those of single requests."""
    names = redis.scan_iter(match=f"{PREFIX}{{*", count=10_000)
    return [name for name in names if name.endswith(NOUNS) and not _is_shared(name, shared)]


def copy_all(redis: Redis, shared: Collection[str], first: int, last: int) -> tuple[int, int]:
    """Copy what is kept of identities, under these numbers; how many keys that makes, and of how many."""
    names = keys_of_identities(redis, shared)
    for name in names:
        redis.expire(name, LASTING_SECONDS, gt=True)  # what counts a minute is there until all is measured
    copying, made = redis.register_script(COPY), 0
    for number in range(first, last + 1, AT_ONCE):
        arguments: list[str | int] = [number, min(last, number + AT_ONCE - 1), *shared]
        made += int(copying(keys=names, args=arguments))
    return made, len(names)


def digests_of_all(keys: Keys) -> list[str]:
    """Those of holders that all copies have in common."""
    return [
        keys.digest(EVERYTHING),
        keys.digest(Holder(Attribute.UNVERIFIED, "")),
        keys.digest(Holder(Attribute.TIER, "default")),
    ]


def _is_shared(name: bytes, shared: Collection[str]) -> bool:
    """Whether nothing in a name is of one alone."""
    digests = re.findall(r"[0-9a-f]{32}", name.decode())
    return set(digests) <= set(shared)


def _copy(part: Holder, number: int) -> Holder:
    return part if part.attribute in SHARED else Holder(part.attribute, f"{part.value}~{number}")


def _original(part: Holder) -> Holder:
    return Holder(part.attribute, part.value.rpartition("~")[0]) if "~" in part.value else part
