"""A deadline that does not blame the store for our own delay.

`asyncio.timeout` fires by the clock, also when the event loop was busy elsewhere and the answer lies unread
in the socket. This one fires only when the loop has listened for as long as the deadline says: a timer that
comes late is set again, so that what has arrived is read first.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LATE_SECONDS = 0.005
"""A timer this much behind says that the loop was busy."""

LONGEST = 10
"""However busy the loop is, the wait ends after so many times the deadline."""


@asynccontextmanager
async def deadline(seconds: float) -> AsyncIterator[None]:
    """Run the block for `seconds` of listening at most; raises `TimeoutError` after."""
    loop = asyncio.get_running_loop()
    give_up = loop.time() + seconds * LONGEST
    timer: asyncio.TimerHandle

    async with asyncio.timeout(None) as timeout:

        def fire(due: float) -> None:
            nonlocal timer
            now = loop.time()
            if now - due > LATE_SECONDS and now < give_up:
                timer = loop.call_at(now + LATE_SECONDS, fire, now + LATE_SECONDS)
            else:
                timeout.reschedule(now)

        due = loop.time() + seconds
        timer = loop.call_at(due, fire, due)
        try:
            yield
        finally:
            timer.cancel()
