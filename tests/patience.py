"""Waiting for what comes to pass: as short as that takes, and longer than any slow or busy machine."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

PATIENCE_SECONDS = 120.0
_POLL_SECONDS = 0.02


def until(holds: Callable[[], bool], story: Callable[[], str] = str) -> None:
    """Return once it holds; `story` is told with the failure."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < give_up, f"it never came to hold: {story()}"
        time.sleep(_POLL_SECONDS)


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    """The same for what has to be awaited, on the loop."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await holds():  # noqa: ASYNC110 - servers in other processes set no event
            await asyncio.sleep(_POLL_SECONDS)
