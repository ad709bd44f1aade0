"""Work that goes on beside whoever began it, such as calls to the store."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine


class Background:
    """Runs work as tasks of the running event loop."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin with it, and return at once."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def quiet(self) -> None:
        """Wait until nothing is under way."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def close(self, seconds: float) -> None:
        """Wait so long for what is under way, and cancel what is late."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=seconds)
            for task in late:
                task.cancel()


class Foreground(Background):
    """Runs work to its end before it returns, which takes a store in which nothing waits."""

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Do it now; raises `RuntimeError` where it waits."""
        try:
            work.send(None)
        except StopIteration:
            return
        work.close()
        raise RuntimeError("work that nobody waits for has to wait")
