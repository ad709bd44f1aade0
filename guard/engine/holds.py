"""Places holds, beside the requests that climb to them, and has somebody told.

The request by which a holder reaches a rung that holds is refused at once. The hold itself is written into
the store in the background, once: of all requests and processes that would place it at the same time, the
one places it that the store finds first, and none does where somebody has said something meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Protocol

from guard.background import Background
from guard.core.calendars import MICROSECONDS
from guard.core.holds import Cleared, Held
from guard.core.modes import Mode
from guard.errors import StoreError
from guard.telemetry.events import Hold, Told
from guard.telemetry.lines import limited

if TYPE_CHECKING:
    from collections.abc import Callable

    from guard.clock import Clock
    from guard.core.decision import Decision
    from guard.core.holds import HoldTerms, Review
    from guard.core.identity import Holder
    from guard.core.pseudonyms import Pseudonyms
    from guard.engine.events import Events
    from guard.engine.outage.alone import Alone
    from guard.engine.plan import Plan
    from guard.store.port import Store

    Done = Callable[[Told, float | None], None]

PLACE_AGAIN_SECONDS = (0.1, 0.5, 2.0)
"""When a hold is placed again that the store has not answered to; after that, the next request tries."""


class Reviewer(Protocol):
    """Who is told of holds, and may end one."""

    def tell(self, hold: Hold, done: Done) -> None:
        """Have somebody told, without waiting. `done` hears what came of it, and where they release the
        holder, for how many seconds.
        """


class Holds:
    """Places holds for one engine."""

    def __init__(self, store: Store, alone: Alone, keys: Pseudonyms, events: Events, clock: Clock) -> None:
        self.reviewer: Reviewer | None = None
        self._store = store
        self._alone = alone
        self._keys = keys
        self._events = events
        self._clock = clock
        self._placing: dict[Holder, Held] = {}
        self._background = Background()

    def enter(
        self,
        plan: Plan,
        request_id: str,
        decision: Decision,
        review: Review | None,
        terms: HoldTerms,
        now_us: int,
    ) -> tuple[Decision, Review | None]:
        """A request is refused for a hold: the decision with what its client is told, and how the review
        stands now. A hold that does not stand yet is placed.
        """
        if plan.suspect is None or decision.mode is not Mode.ENFORCE:
            return decision, review
        holder = plan.suspect.holder
        held = review if isinstance(review, Held) else self._placing.get(holder)
        if held is None:
            risk = decision.risk
            held = Held(request_id, risk.band, tuple(risk.groups), now_us, now_us + terms.life_us)
            hold = Hold(
                request_id,
                self._keys.label(holder),
                plan.tier.name,
                risk.band,
                held.groups,
                now_us / MICROSECONDS,
            )
            self._placing[holder] = held
            self._background.begin(self._place(holder, held, review, hold))
        return decision._replace(notice=terms.notice(held.receipt)), held

    async def quiet(self) -> None:
        """Wait until no hold is being placed or ended."""
        await self._background.quiet()

    async def close(self, seconds: float = 1.0) -> None:
        """Wait so long for holds that are being placed or ended."""
        await self._background.close(seconds)

    async def _place(self, holder: Holder, held: Held, before: Review | None, hold: Hold) -> None:
        try:
            if not await self._write(holder, held, before):
                return
        finally:
            del self._placing[holder]
        self._events.held(hold)
        if self.reviewer is not None:
            self.reviewer.tell(hold, partial(self._told, holder, held, hold))

    def _told(self, holder: Holder, held: Held, hold: Hold, told: Told, seconds: float | None) -> None:
        self._events.told(hold, told)
        if seconds is not None:
            now_us = self._clock.date_us()
            until_us = now_us + int(seconds * MICROSECONDS)
            cleared = Cleared(held.groups, now_us, until_us, "released by the web-hook")
            self._background.begin(self._clear(holder, cleared, held))

    async def _clear(self, holder: Holder, cleared: Cleared, held: Held) -> None:
        # Where a person has been faster, what that has said stands.
        await self._write(holder, cleared, held)

    async def _write(self, holder: Holder, review: Review, before: Review | None) -> bool:
        """Set a review; `False` where it no longer stands as before, or the store does not answer."""
        for delay in (*PLACE_AGAIN_SECONDS, None):
            try:
                with self._alone.asking():
                    return await self._store.set_review(holder, review, instead_of=before)
            except StoreError as error:
                self._alone.outage.failed(error)
                kind = error.kind
            if delay is not None:
                await asyncio.sleep(delay)
        what = "held" if isinstance(review, Held) else "released"
        limited.log(
            logging.WARNING,
            "review",
            "the store has not heard that %s is %s (%s)",
            self._keys.label(holder),
            what,
            kind,
        )
        return False
