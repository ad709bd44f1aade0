"""Who waits to hear what comes of transcripts."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from guard.analyst.transcript import UNSEEN

if TYPE_CHECKING:
    from collections.abc import Callable

    from guard.analyst.transcript import Outcome

    Done = Callable[[Outcome], None]


class Pending:
    """Tells each who waits once: what has come, or that nothing will.

    Of all that were `added`, those are still pending that are neither `seen` nor `unseen`.
    """

    def __init__(self, seconds: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        # By number, and so in the order in which they began to wait.
        self._waiting: dict[int, tuple[Done, float]] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        self.added = 0
        self.unseen = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def seen(self) -> int:
        """How many have heard that their transcript was seen."""
        return self.added - self.unseen - len(self._waiting)

    def add(self, done: Done) -> int:
        """The number under which somebody waits; no number comes twice."""
        self.added += 1
        self._idle.clear()
        self._waiting[self.added] = done, self._seconds()
        return self.added

    def finish(self, number: int, outcome: Outcome) -> None:
        """What has come; nobody hears it where somebody has heard before."""
        waiting = self._waiting.pop(number, None)
        if waiting is not None:
            self.unseen += not outcome.seen
            if not self._waiting:
                self._idle.set()
            waiting[0](outcome)

    def expire(self, seconds: float) -> int:
        """Nothing comes any more for those who have waited for so long; returns how many there were."""
        since = self._seconds() - seconds
        late = []
        for number, (_, began) in self._waiting.items():
            if began > since:
                break
            late.append(number)
        for number in late:
            self.finish(number, UNSEEN)
        return len(late)

    def lose(self) -> None:
        """Nothing comes any more for anybody."""
        for number in list(self._waiting):
            self.finish(number, UNSEEN)

    async def quiet(self) -> None:
        """Return when nobody waits."""
        await self._idle.wait()
