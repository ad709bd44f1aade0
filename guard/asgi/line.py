"""The line in which large bodies wait to be parsed: one at a time, and callers in turn.

A thread that parses takes the interpreter from the event loop, which serves everyone. So work that took the
interpreter for t seconds is followed by a rest of 3 t, and large bodies take a quarter of its time at most:

    at 0 ms a body of 20 ms, and three more behind it: they begin at 80, 160 and 240 ms
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from guard.core.identity import Holder

    Later = Callable[[float, Callable[[], None]], Any]

T = TypeVar("T")

REST = 3
"""How many times as long as the work was there is none."""


class Line:
    """Lets one piece of work run at a time, in a thread.

    `used` gives the seconds that the calling thread has had a processor; `later` calls a function after some
    seconds, by default the loop's own.
    """

    def __init__(self, used: Callable[[], float] = time.thread_time, later: Later | None = None) -> None:
        self._used = used
        self._later = later
        self._waiting: dict[Holder, deque[asyncio.Future[None]]] = {}
        self._busy = False

    async def run(self, owner: Holder, work: Callable[[], T]) -> T:
        """Do the work when it is its turn; owners who wait take turns, whatever number each has."""
        await self._enter(owner)
        loop = asyncio.get_running_loop()
        took = 0.0

        def measured() -> T:
            nonlocal took
            began = self._used()
            try:
                return work()
            finally:
                took = self._used() - began

        running = loop.run_in_executor(None, measured)
        running.add_done_callback(lambda _: (self._later or loop.call_later)(REST * took, self._leave))
        # A caller may be cancelled; the thread goes on all the same, and the others wait for it.
        try:
            return await asyncio.shield(running)
        finally:
            del running  # an error's traceback holds this frame, and with it the body

    async def _enter(self, owner: Holder) -> None:
        if not self._busy:
            self._busy = True
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(owner, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave()
            raise

    def _leave(self) -> None:
        """Let in the next, one of the owner who has waited longest since its last turn."""
        while self._waiting:
            owner = next(iter(self._waiting))
            turns = self._waiting.pop(owner)
            turn = turns.popleft()
            if turns:
                self._waiting[owner] = turns
            if not turn.done():
                turn.set_result(None)
                return
        self._busy = False
