"""Who is held, and who was cleared."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from guard.core.holds import Held, Review
    from guard.core.identity import Holder
    from guard.store.redis.orders import OperatorStore


class Reviews:
    """The reviews of holders in one store."""

    def __init__(self, store: OperatorStore) -> None:
        self._store = store

    async def held(self) -> list[tuple[Holder, Held]]:
        """Who is held, the longest first."""
        return await self._store.held()

    async def of(self, holder: Holder) -> Review | None:
        """How the review of a holder stands."""
        return await self._store.review(holder)
