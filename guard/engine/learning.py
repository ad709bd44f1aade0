"""Has queries that were answered read, and learns from their answers, beside the requests."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from guard.core.identity import Attribute
from guard.core.novelty import Ground
from guard.errors import StoreError

if TYPE_CHECKING:
    from guard.clock import Clock
    from guard.detection.analyst import Analyst
    from guard.detection.sight import Sight
    from guard.engine.admission import Outcome
    from guard.engine.outage.alone import Alone


class Learning:
    """Asks an analyst, if there is one. `unseen` counts the queries that it had no time for."""

    def __init__(self, alone: Alone, clock: Clock, analyst: Analyst | None) -> None:
        self.analyst = analyst
        self._alone = alone
        self._clock = clock
        self.unseen = 0

    def take_unseen(self) -> int:
        """How many queries went unseen since this was asked last."""
        unseen, self.unseen = self.unseen, 0
        return unseen

    def begin(self, outcome: Outcome) -> asyncio.Future[Sight] | None:
        """Begin to read a query that was answered: what the backend refuses is not worth the time.

        Callers whose credential guard has not checked share the time of their network, since one of them may
        be many.
        """
        admission = outcome.admission
        query, sketch, identity = admission.demand.query, admission.sketch, admission.identity
        if self.analyst is None or query is None or sketch is None or not outcome.answered:
            return None
        whose = identity.principal if identity.verified else identity.holder(Attribute.NETWORK)
        reading = self.analyst.look(query, sketch, whose)
        self.unseen += reading is None
        return reading

    async def ground(self, outcome: Outcome, reading: asyncio.Future[Sight] | None) -> Ground | None:
        """Where a query falls that was answered; `None` where it is not read.

        With no analyst, the sketch that was made when it was admitted says as much as is ever known.
        """
        if reading is not None:
            await asyncio.wait({reading})
            # What failed is logged where it did; the books are kept without it.
            return reading.result().ground if _succeeded(reading) else None
        sketch = outcome.admission.sketch
        if self.analyst is not None or sketch is None or not outcome.answered:
            return None
        return Ground(sketch.cells)

    async def learn(self, outcome: Outcome, reading: asyncio.Future[Sight]) -> None:
        """Let the analyst learn from an answer; what cannot be kept is counted, and not worth an error."""
        admission = outcome.admission
        now_us, learnt = self._clock.date_us(), None
        await asyncio.wait({reading})
        if self.analyst is not None and admission.suspect is not None and _succeeded(reading):
            holder = admission.suspect.holder
            try:
                with self._alone.asking():
                    learnt = await self.analyst.learn(
                        holder, admission.identity, reading.result(), outcome.usage, now_us
                    )
            except StoreError as error:
                self._alone.outage.failed(error)
        self.unseen += learnt is None


def _succeeded(reading: asyncio.Future[Sight]) -> bool:
    return reading.done() and not reading.cancelled() and reading.exception() is None
