"""Who is held, and how that ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from guard.core.calendars import MICROSECONDS
from guard.core.evidence import risk
from guard.core.holds import Cleared, Held
from guard.core.signals import Group

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from guard.clock import Clock
    from guard.core.evidence import Weights
    from guard.core.holds import Review
    from guard.core.identity import Holder, Identity
    from guard.store.redis.orders import OperatorStore


@dataclass(frozen=True, slots=True)
class Released:
    """What a release has come to: whether the holder was held, and of what it is cleared until when.

    `cleared` is `None` where nothing speaks against the holder, and so there is nothing to clear it of.
    """

    was_held: bool
    cleared: Cleared | None


class Reviews:
    """The reviews of holders in one store. `belonging` finds an identity that a holder belongs to."""

    def __init__(
        self,
        store: OperatorStore,
        weights: Weights,
        clock: Clock,
        belonging: Callable[[Holder], Awaitable[Identity]],
    ) -> None:
        self._store = store
        self._weights = weights
        self._clock = clock
        self._belonging = belonging

    async def held(self) -> list[tuple[Holder, Held]]:
        """Who is held, the longest first."""
        return await self._store.held()

    async def of(self, holder: Holder) -> Review | None:
        """How the review of a holder stands."""
        return await self._store.review(holder)

    async def release(self, holder: Holder, seconds: float | None, reason: str = "") -> Released:
        """Serve a holder again, and clear it for so long, or for good (`None`): of the groups for which it
        was held or has been cleared, and of those that speak against it now.
        """
        evidence = await self._store.evidence(holder, await self._belonging(holder))
        now_us = self._clock.date_us()
        until_us = None if seconds is None else now_us + int(seconds * MICROSECONDS)
        speaking = risk(evidence.marks, now_us, self._weights).groups
        while True:
            before = await self._store.review(holder)
            known = {*speaking, *(before.groups if before is not None else ())}
            groups = tuple(group for group in Group if group in known)
            cleared = Cleared(groups, now_us, until_us, reason) if groups else None
            if await self._store.set_review(holder, cleared, instead_of=before):
                return Released(isinstance(before, Held), cleared)

    async def end_hold(self, holder: Holder) -> None:
        """A holder is held no more, and cleared of nothing: somebody has decided otherwise."""
        before = await self._store.review(holder)
        if isinstance(before, Held):
            await self._store.set_review(holder, None, instead_of=before)
