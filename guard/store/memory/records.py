"""When identities were first seen, for as long as the scripts keep their records (lua/records.lua)."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from guard.core.calendars import MICROSECONDS
from guard.store.port import RECORD_SECONDS

if TYPE_CHECKING:
    from guard.core.identity import Holder, Identity

MOST_RECORDS = 100_000
"""Maximum number of records; at one more, that of the identity that was idle longest is forgotten."""


class Records:
    """By principals; those of identities that nobody vouches for live for `unverified_seconds`, or longer."""

    def __init__(self, unverified_seconds: float) -> None:
        self._unverified_us = int(unverified_seconds * MICROSECONDS)
        # When it was first seen, and when it is forgotten.
        self._kept: OrderedDict[Holder, tuple[int, int]] = OrderedDict()

    def note(self, identity: Identity, now_us: int, *, create: bool) -> None:
        """An identity is seen; without `create` only one that has a record is remembered."""
        first_us = self.first_seen(identity, now_us)
        if first_us is None:
            if not create:
                return
            first_us = now_us
        life_us = RECORD_SECONDS * MICROSECONDS
        if not identity.verified:
            life_us = max(self._unverified_us, min(now_us - first_us, life_us))
        self._kept[identity.principal] = first_us, now_us + life_us
        self._kept.move_to_end(identity.principal)
        if len(self._kept) > MOST_RECORDS:
            self._kept.popitem(last=False)

    def first_seen(self, identity: Identity, now_us: int) -> int | None:
        """When an identity was first seen, in Unix microseconds."""
        first_us, until_us = self._kept.get(identity.principal, (None, 0))
        return first_us if now_us < until_us else None
