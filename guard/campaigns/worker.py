"""The worker: reads what the analysts have observed, and writes down which campaigns there are.

One worker looks for campaigns at a time, wherever it runs: it holds a lease, and where it dies another one
takes over, reads again what the stream has kept, and goes on with the campaigns that the store has. What it
writes is written whole or not at all, so that no membership is lost that was there.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from typing import TYPE_CHECKING

from guard.campaigns import observation
from guard.campaigns.foreign import Foreign
from guard.campaigns.groups import Groups
from guard.campaigns.observation import Forgotten
from guard.campaigns.window import Window
from guard.core.identity import Attribute, Holder, Identity, VouchedBy
from guard.core.indicators import Imported
from guard.core.signals import Signal
from guard.detection.reference import Reference
from guard.errors import StoreError
from guard.store.port import FIRST_TRACE
from guard.telemetry.lines import limited

if TYPE_CHECKING:
    from collections.abc import Callable

    from guard.campaigns.groups import Accused, Changes
    from guard.settings.root import Settings
    from guard.store.port import CampaignStore

PASS_SECONDS = 1.0
"""How often a worker looks for what is new."""

LEASE_SECONDS = 10.0
"""A worker that is not heard of for so long is taken for dead."""

LOOK_AFTER_US = 60_000_000
"""How often it is looked for what time alone changes: what is stale, and a person's word that is over."""

AT_ONCE = 250
"""How many observations are read in one call."""

IN_A_PASS = 20_000
"""How many are read before groups are judged, and before the lease is renewed."""


class Worker:
    """Looks for campaigns, for one event loop; raises `ConfigError`. `date_us` tells Unix microseconds."""

    def __init__(self, store: CampaignStore, settings: Settings, *, date_us: Callable[[], int]) -> None:
        self.adopt(settings)
        self._store = store
        self._date_us = date_us
        self._name = secrets.token_hex(8)
        self._groups: Groups | None = None
        self._unwritten: deque[Changes] = deque()
        self._after = FIRST_TRACE
        self._version = 0
        self._warned = 0
        self._looked_us = 0

    def adopt(self, settings: Settings) -> None:
        """Go on by these settings; raises `ConfigError`."""
        self._reference = Reference.load(settings.detection.reference)
        self._half_life_us = settings.detection.weights.half_life_us

    @property
    def leads(self) -> bool:
        """Whether this is the one worker."""
        return self._groups is not None

    async def run(self) -> None:
        """Look for campaigns until cancelled, also while the store fails."""
        while True:
            try:
                await self.step()
            except StoreError as error:
                limited.log(
                    logging.WARNING, "worker", "campaigns are not looked for (%s): %s", error.kind, error
                )
            except Exception:  # noqa: BLE001 - nobody would notice that nobody looks any more
                limited.exception("worker fails", "a pass over what was observed has failed")
            await asyncio.sleep(PASS_SECONDS)

    async def step(self) -> None:
        """One pass: read what is new, judge, and write down what has changed; raises `StoreError`."""
        if not await self._leads():
            return
        groups = self._groups
        if groups is None or await self._are_warned_anew():
            groups = await self._begin()
        groups.reference = self._reference
        await self._write()
        # What people have said since, and what another worker has found before this one.
        known = await self._store.membership(self._version)
        if known is not None:
            self._version = known.version
            groups.adopt(await self._store.campaigns())
        if await self._read(groups) and not await self._leads(self._after):
            return
        while True:
            self._unwritten.append(groups.judge(self._date_us(), 1))
            await self._write()
            if not groups.due():
                break
            await asyncio.sleep(0)  # the analyst shares this loop
        if self._looks_after():
            self._looked_us = self._date_us()
            self._unwritten.append(groups.look_after(self._looked_us))
            await self._write()
            await self._store.keep_campaigns((), (), self._looked_us)
            await self._store.keep_sighted(groups.window.foreign.fresh())

    async def aclose(self) -> None:
        """Let another worker go on."""
        if self.leads:
            self._groups = None
            try:
                await self._store.resign(self._name)
            except StoreError as error:
                limited.log(logging.WARNING, "worker", "the lease is left to end (%s)", error.kind)

    def _looks_after(self) -> bool:
        """Whether it is time for what time alone changes."""
        return self._date_us() - self._looked_us >= LOOK_AFTER_US

    async def _are_warned_anew(self) -> bool:
        """Whether other operators have said something new: then all is read again."""
        return self._looks_after() and await self._store.imported(self._warned) is not None

    async def _begin(self) -> Groups:
        """Begin anew, by what other operators have said until now."""
        imported = await self._store.imported() or Imported()
        foreign = Foreign(imported.indicators.values(), await self._store.sighted())
        self._warned, self._after, self._version = imported.version, FIRST_TRACE, 0
        self._unwritten.clear()
        self._groups = Groups(self._reference, Window(foreign=foreign))
        return self._groups

    async def _leads(self, read: str | None = None) -> bool:
        """Whether it is this one that looks, which has read up to there."""
        leads = await self._store.lead(self._name, LEASE_SECONDS, read)
        if not leads:
            self._groups = None
        return leads

    async def _read(self, groups: Groups) -> int:
        """Take in what is new, so much at most as fits in a pass; how many observations that were."""
        read = 0
        while read < IN_A_PASS:
            records = await self._store.traces(self._after, AT_ONCE)
            for name, record in records:
                self._after = name
                try:
                    match observation.read(record):
                        case Forgotten(label):
                            groups.forget(label)
                        case seen:
                            groups.take(seen)
                except ValueError as error:
                    limited.log(logging.ERROR, "observation", "skipped: %s", error)
            read += len(records)
            if len(records) < AT_ONCE:
                break
        return read

    async def _write(self) -> None:
        """Write down what has changed, and what could not be written before."""
        while self._unwritten:
            changes, now_us = self._unwritten[0], self._date_us()
            if changes.campaigns or changes.dropped:
                await self._store.keep_campaigns(changes.campaigns, changes.dropped, now_us)
            for accused in changes.accused:
                holder = Holder.parse(accused.label)
                identity, fresh = _identity(holder, accused), {Signal.CAMPAIGN: accused.decibans}
                await self._store.accuse(holder, identity, fresh, now_us, self._half_life_us)
            self._unwritten.popleft()


def _identity(holder: Holder, accused: Accused) -> Identity:
    """Whose life and place in a cluster the evidence of a holder has."""
    org = accused.org.partition(":")[2]
    return Identity(
        holder.parts[0],
        {Attribute.ORG: org} if org else {},
        VouchedBy.KEYS_FILE if accused.verified else None,
    )
