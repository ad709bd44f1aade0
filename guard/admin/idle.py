"""Other numbers, or an exemption, that would change nothing: no limit is kept per that attribute.

Of a key that belongs to user alice, a limit per key holds `key:alice-1`; an exemption of `user:alice` is for
a count that no limit has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from guard.core.identity import OF_A_REQUEST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from guard.core.identity import Holder, Identity
    from guard.core.limits import Limit

MOST_HOLDERS = 5
"""Maximum number of holders that a message suggests."""


@dataclass(frozen=True, slots=True)
class Idle:
    """A holder of which none of some limits is kept.

    `limit` is the name of these limits, `*` for all, and `kept_per` says what they are kept per instead.
    `holders` are the names that the limits are kept for, of the identities that have the holder's name.
    """

    holder: str
    limit: str
    kept_per: tuple[str, ...]
    holders: tuple[str, ...]

    @classmethod
    def of(
        cls,
        holder: Holder,
        limit: str,
        limits: Iterable[Limit],
        identities: Iterable[Identity],
        label: Callable[[Holder], str],
    ) -> Self | None:
        """`None` where one of the identities is held to one of these limits by exactly this name."""
        limits = tuple(limits)
        name = label(holder)
        lasting = [each for each in limits if not OF_A_REQUEST & set(each.per)]
        held = {label(identity.holder(*each.per)): None for identity in identities for each in lasting}
        if name in held:
            return None
        return cls(name, limit, tuple(dict.fromkeys("+".join(each.per) for each in limits)), tuple(held))

    @property
    def certain(self) -> bool:
        """Whether identities of this name are known; else one may come that has it in place of a key."""
        return bool(self.holders)

    def __str__(self) -> str:
        attribute = self.holder.partition(":")[0]
        kept = f"{'limits are' if self.limit == '*' else f'limit {self.limit!r} is'} kept per "
        kept += f"{', '.join(self.kept_per)}, not per {attribute}"
        if not self.certain:
            return f"{kept}: this changes nothing unless requests come under exactly the name {self.holder}"
        more = ", …" if len(self.holders) > MOST_HOLDERS else ""
        meant = ", ".join(self.holders[:MOST_HOLDERS]) + more
        return f"{kept}: nothing would change for {self.holder}; name the holder itself: {meant}"
