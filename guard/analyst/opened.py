"""The analyst of the settings, with the store open: what runs beside live traffic."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from guard.analyst.analyst import Analyst
from guard.background import Background
from guard.campaigns.lineage import Lineages, LineageStore
from guard.campaigns.observer import Observer, Observing
from guard.campaigns.opened import worker_of
from guard.campaigns.sharing import sharing_of
from guard.clock import SystemClock
from guard.core.modes import Mode
from guard.detection.reference import Reference
from guard.installation import Installation
from guard.settings.campaigns import Place

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from guard.analyst.transcript import Outcome, Transcript
    from guard.campaigns.worker import Worker
    from guard.core.identity import Holder
    from guard.core.pseudonyms import Pseudonyms
    from guard.core.uses import Declared
    from guard.settings.root import Settings

COLLECT_SECONDS = 0.05
"""Payouts of so long are charged together."""

KEEP_SECONDS = 1.0
"""How often it is looked for profiles that have not been kept for long."""


class FollowersStore(LineageStore, Observing, Protocol):
    """Where it is kept what campaigns are found by."""


class OpenAnalyst:
    """An analyst with a store of its own; raises `ConfigError` for settings that cannot work."""

    def __init__(self, settings: Settings) -> None:
        self._installation = Installation.of(settings)
        self._clock = SystemClock()
        background = Background()
        self._lineages, self._observer = followers_of(
            settings,
            self._installation.keys,
            self._installation.store,
            collect_seconds=COLLECT_SECONDS,
            background=background,
            uses=settings.declared,
        )
        self._worker: Worker | None = None
        if settings.campaigns.worker is Place.ANALYST:
            self._worker = worker_of(settings, self._installation.store)
        self._analyst = Analyst(
            self._installation.keys,
            self._installation.store,
            settings.all_dialects(),
            reference_of(settings),
            half_life_us=settings.detection.weights.half_life_us,
            collect_seconds=COLLECT_SECONDS,
            background=background,
            lineages=self._lineages,
            observer=self._observer,
        )
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Open the store; raises `GuardError`."""
        await self._installation.store.start()
        self._tasks.append(asyncio.create_task(self._keep()))
        if self._worker is not None:
            self._tasks.append(asyncio.create_task(self._worker.run()))

    def adopt(self, settings: Settings) -> None:
        """Go on by another reference, half-life and dialects; raises `ConfigError`."""
        self._analyst.profiles.reference = reference_of(settings)
        self._analyst.profiles.half_life_us = settings.detection.weights.half_life_us
        self._analyst.lessons.dialects = settings.all_dialects()
        self._lineages.adopt(settings.declared, settings.detection.weights.half_life_us)
        if self._observer is not None:
            self._observer.uses = settings.declared
        if self._worker is not None:
            self._worker.adopt(settings)

    def hand_over(self, transcript: Transcript, done: Callable[[Outcome], None]) -> None:
        """Read a transcript."""
        self._analyst.hand_over(transcript, done)

    async def flush(self) -> None:
        """Charge what is paid out, and keep what was learnt."""
        await self._analyst.aclose(self._clock.date_us())

    async def aclose(self) -> None:
        """Close the store."""
        for task in self._tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        if self._worker is not None:
            await self._worker.aclose()
        await self._installation.store.aclose()

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(KEEP_SECONDS)
            self._analyst.profiles.keep_due(self._clock.date_us())


def followers_of(
    settings: Settings,
    keys: Pseudonyms,
    store: FollowersStore,
    *,
    collect_seconds: float | None,
    background: Background,
    uses: Mapping[Holder, Declared],
) -> tuple[Lineages, Observer | None]:
    """What says whose answers come back, and what tells the worker of each query, by these settings and
    declared uses.
    """
    observer = None
    if settings.campaigns.mode is not Mode.OFF:
        observer = Observer(
            keys,
            store,
            collect_seconds=collect_seconds,
            background=background,
            uses=uses,
            sharing=sharing_of(settings.campaigns.sharing),
        )
    lineages = Lineages(
        keys,
        store,
        ids=settings.campaigns.lineage_ids,
        turns=settings.campaigns.lineage_turns,
        half_life_us=settings.detection.weights.half_life_us,
        collect_seconds=collect_seconds,
        background=background,
        uses=uses,
        tell=None if observer is None else observer.hear,
    )
    return lineages, observer


def reference_of(settings: Settings) -> Reference | None:
    """What signals are worth by these settings, `None` where nobody looks; raises `ConfigError`."""
    return None if settings.detection.mode is Mode.OFF else Reference.load(settings.detection.reference)
