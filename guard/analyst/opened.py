"""The analyst of the settings, with the store open: what runs beside live traffic."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from guard.analyst.analyst import Analyst
from guard.background import Background
from guard.campaigns.lineage import Lineages
from guard.clock import SystemClock
from guard.core.modes import Mode
from guard.detection.reference import Reference
from guard.installation import Installation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from guard.analyst.transcript import Outcome, Transcript
    from guard.campaigns.lineage import LineageStore
    from guard.core.identity import Holder
    from guard.core.pseudonyms import Pseudonyms
    from guard.core.uses import Declared
    from guard.settings.root import Settings

COLLECT_SECONDS = 0.05
"""Payouts of so long are charged together."""

KEEP_SECONDS = 1.0
"""How often it is looked for profiles that have not been kept for long."""


class OpenAnalyst:
    """An analyst with a store of its own; raises `ConfigError` for settings that cannot work."""

    def __init__(self, settings: Settings) -> None:
        self._installation = Installation.of(settings)
        self._clock = SystemClock()
        background = Background()
        self._lineages = lineages_of(
            settings,
            self._installation.keys,
            self._installation.store,
            collect_seconds=COLLECT_SECONDS,
            background=background,
            uses=settings.declared,
        )
        self._analyst = Analyst(
            self._installation.keys,
            self._installation.store,
            settings.all_dialects(),
            reference_of(settings),
            half_life_us=settings.detection.weights.half_life_us,
            collect_seconds=COLLECT_SECONDS,
            background=background,
            lineages=self._lineages,
        )
        self._keeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Open the store; raises `GuardError`."""
        await self._installation.store.start()
        self._keeping = asyncio.create_task(self._keep())

    def adopt(self, settings: Settings) -> None:
        """Go on by another reference, half-life and dialects; raises `ConfigError`."""
        self._analyst.profiles.reference = reference_of(settings)
        self._analyst.profiles.half_life_us = settings.detection.weights.half_life_us
        self._analyst.lessons.dialects = settings.all_dialects()
        self._lineages.adopt(settings.declared, settings.detection.weights.half_life_us)

    def hand_over(self, transcript: Transcript, done: Callable[[Outcome], None]) -> None:
        """Read a transcript."""
        self._analyst.hand_over(transcript, done)

    async def flush(self) -> None:
        """Charge what is paid out, and keep what was learnt."""
        await self._analyst.aclose(self._clock.date_us())

    async def aclose(self) -> None:
        """Close the store."""
        if self._keeping is not None:
            self._keeping.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeping
        await self._installation.store.aclose()

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(KEEP_SECONDS)
            self._analyst.profiles.keep_due(self._clock.date_us())


def lineages_of(
    settings: Settings,
    keys: Pseudonyms,
    store: LineageStore,
    *,
    collect_seconds: float | None,
    background: Background,
    uses: Mapping[Holder, Declared],
) -> Lineages:
    """What says whose answers come back, by these settings and declared uses."""
    return Lineages(
        keys,
        store,
        ids=settings.campaigns.lineage_ids,
        turns=settings.campaigns.lineage_turns,
        half_life_us=settings.detection.weights.half_life_us,
        collect_seconds=collect_seconds,
        background=background,
        uses=uses,
    )


def reference_of(settings: Settings) -> Reference | None:
    """What signals are worth by these settings, `None` where nobody looks; raises `ConfigError`."""
    return None if settings.detection.mode is Mode.OFF else Reference.load(settings.detection.reference)
