"""When callers that nobody vouches for were first seen.

The store has that in their records. Each process asks it once for each caller, and only where a limit goes by
it.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from guard.errors import StoreError

if TYPE_CHECKING:
    from guard.core.identity import Holder, Identity
    from guard.engine.outage.alone import Alone
    from guard.store.port import Store

REMEMBERED = 10_000
"""Size of the cache, in callers; the least recently used is dropped first."""


class FirstSeen:
    """Remembers what the store has said, for one process."""

    def __init__(self, store: Store, alone: Alone) -> None:
        self._store = store
        self._alone = alone
        self._since: OrderedDict[Holder, int] = OrderedDict()

    def __call__(self, principal: Holder) -> int | None:
        """When a caller was first seen, in Unix microseconds; `None` where nobody has asked yet."""
        since_us = self._since.get(principal)
        if since_us is not None:
            self._since.move_to_end(principal)
        return since_us

    async def ask(self, identity: Identity, now_us: int) -> bool:
        """Ask the store, and whether it answers; a caller that it does not know is first seen now."""
        try:
            with self._alone.asking():
                since_us = await self._store.first_seen(identity)
        except StoreError as error:
            self._alone.outage.failed(error)
            return False
        self._since[identity.principal] = now_us if since_us is None else since_us
        self._since.move_to_end(identity.principal)
        if len(self._since) > REMEMBERED:
            self._since.popitem(last=False)
        return True
