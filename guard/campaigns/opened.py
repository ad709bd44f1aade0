"""The worker of the settings, with the store open: what `guard worker` runs."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from guard.campaigns.worker import Worker
from guard.clock import SystemClock
from guard.core.modes import Mode
from guard.installation import Installation

if TYPE_CHECKING:
    from collections.abc import Callable

    from guard.settings.root import Settings
    from guard.store.port import CampaignStore


def worker_of(
    settings: Settings, store: CampaignStore, date_us: Callable[[], int] | None = None
) -> Worker | None:
    """The worker of these settings; `None` where nobody looks for campaigns. `date_us` tells the Unix
    microseconds in place of the system's clock. Raises `ConfigError`.
    """
    if settings.detection.mode is Mode.OFF or settings.campaigns.mode is Mode.OFF:
        return None
    return Worker(store, settings, date_us=date_us or SystemClock().date_us)


class OpenWorker:
    """A worker with a store of its own; raises `ConfigError` for settings that cannot work."""

    def __init__(self, settings: Settings) -> None:
        self._installation = Installation.of(settings)
        self.worker = worker_of(settings, self._installation.store)

    async def run(self, over: asyncio.Event) -> None:
        """Look for campaigns until it is over; raises `GuardError` where the store cannot be opened."""
        store = self._installation.store
        await store.start()
        try:
            if self.worker is None:
                await over.wait()
                return
            running = asyncio.create_task(self.worker.run())
            await over.wait()
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
            await self.worker.aclose()
        finally:
            await store.aclose()
