"""Finds out what there is to tell, and has it told to each web-hook that wants to hear it.

A request only leaves a note here, and only where something is new to this process: a limit that has no room,
a band that a holder was not in. Whether it is news to all is asked of the store beside the requests; of
several processes one gets to tell it. Where the store does not answer, each tells it by what it knows itself:
rather twice than never.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter, OrderedDict
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from guard.core.calendars import MICROSECONDS
from guard.core.campaigns import Verdict
from guard.core.decision import Reason
from guard.core.evidence import Band
from guard.core.modes import Mode
from guard.errors import StoreError
from guard.store.port import CAMPAIGN_SECONDS, RECORD_SECONDS
from guard.telemetry.cloudevents import CloudEvent, Type, moment
from guard.telemetry.events import Sent
from guard.telemetry.events import Told as Outcome
from guard.telemetry.lines import limited
from guard.webhooks.delivery import Delivery, Message, Target
from guard.webhooks.holds import event_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Iterable

    from guard.clock import Clock
    from guard.core.campaigns import Campaign
    from guard.core.identity import Holder
    from guard.core.limits import Reading
    from guard.core.pseudonyms import Pseudonyms
    from guard.engine.admission import Admission
    from guard.settings.webhooks import WebhookSettings
    from guard.telemetry.events import Hold

    Find = Callable[[], Awaitable[CloudEvent | None]]

MOST_NOTES = 1_024
"""Maximum number of notes of which nobody knows yet whether they are news."""

MOST_REMEMBERED = 10_000
"""Maximum number of limits that were reached, of bands, and of campaigns that one process remembers."""

SHORTEST_SECONDS = 60.0
"""A limit that is reached again and again is told of once in so long, however short its window is."""


class Told(Protocol):
    """What somebody has been told of already; every call raises `StoreError`."""

    async def first(self, about: tuple[str, ...], seconds: float) -> bool:
        """Whether nobody has asked this within the last so many seconds."""

    async def swap(self, about: tuple[str, ...], state: str, seconds: float) -> str | None:
        """Write down how something stands; returns how it stood, `None` where that is not known."""


class Notifier:
    """Tells web-hooks, for one event loop. `sent` hears what came of each event for each web-hook."""

    def __init__(
        self,
        settings: Iterable[WebhookSettings],
        keys: Pseudonyms,
        told: Told,
        clock: Clock,
        sent: Callable[[Sent], None],
    ) -> None:
        self._keys = keys
        self._told = told
        self._clock = clock
        self._sent = sent
        self._deliveries: dict[tuple[str, int], Delivery] = {}
        """In the order of the settings, by the URL and how many before have it too."""
        self._closing: set[asyncio.Task[None]] = set()
        self._notes: asyncio.Queue[tuple[Type, Find]] = asyncio.Queue(MOST_NOTES)
        self._working: asyncio.Task[None] | None = None
        self._reached: OrderedDict[Hashable, int] = OrderedDict()
        self._bands: OrderedDict[Holder, Band] = OrderedDict()
        self._campaigns: OrderedDict[str, str] = OrderedDict()
        self.adopt(settings)

    def adopt(self, settings: Iterable[WebhookSettings]) -> None:
        """Tell these from now on."""
        self._settings = tuple(settings)
        self.wanted = frozenset(event for each in self._settings for event in each.events)
        before, self._deliveries = self._deliveries, {}
        urls: Counter[str] = Counter()
        for each in self._settings:
            url = str(each.url)
            target = Target(url, each.headers, each.timeout_seconds, each.secrets)
            urls[url] += 1
            place = url, urls[url]
            known = before.pop(place, None)
            if known is None:
                self._deliveries[place] = Delivery(target)
            else:
                known.target, self._deliveries[place] = target, known
        for gone in before.values():
            closing = asyncio.get_running_loop().create_task(gone.aclose())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    def over(self, admission: Admission) -> None:
        """A request that was decided on is over."""
        decision = admission.decision
        if decision.reason is Reason.QUOTA and Type.LIMIT_REACHED in self.wanted:
            for reading in decision.violated:
                self._note_limit(admission, reading)
        if admission.suspect is not None and Type.BAND_CHANGED in self.wanted:
            self._note_band(admission, admission.suspect.holder)

    def held(self, hold: Hold) -> None:
        """A hold was placed, which is news."""
        if Type.HOLD_PLACED in self.wanted:
            self._send(event_of(hold, hold.holder))

    def campaigns(self, campaigns: Iterable[Campaign]) -> None:
        """All campaigns that there are now."""
        now_us = self._clock.date_us()
        for each in campaigns:
            verdict = each.verdict(now_us)
            # To a power of two: one that grows member by member is no news each time.
            state = f"{verdict}/{len(each.members).bit_length()}"
            if self._campaigns.get(each.id) != state:
                _remember(self._campaigns, each.id, state)
                self._note(Type.CAMPAIGN_FOUND, partial(self._campaign, each, verdict, state, now_us))

    async def quiet(self) -> None:
        """Wait until all is told that there is to tell."""
        await self._notes.join()
        await asyncio.gather(*(each.quiet() for each in self._deliveries.values()))

    async def aclose(self, seconds: float = 1.0) -> None:
        """Tell what can be told within this time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.quiet()
        if self._working is not None:
            self._working.cancel()
            with suppress(asyncio.CancelledError):
                await self._working
        await asyncio.gather(*(each.aclose(0) for each in self._deliveries.values()), *self._closing)

    def _note_limit(self, admission: Admission, reading: Reading) -> None:
        now_us = self._clock.date_us()
        window = reading.window
        key = (reading.limit.name, reading.holder, window.period_seconds, window.span)
        if self._reached.get(key, 0) > now_us:
            return
        lasts_us = reading.reset_us if window.span is not None else window.period_us
        lasts_us = max(lasts_us, int(SHORTEST_SECONDS * MICROSECONDS))
        _remember(self._reached, key, now_us + lasts_us)
        self._note(Type.LIMIT_REACHED, partial(self._limit, admission, reading, now_us, lasts_us))

    def _note_band(self, admission: Admission, holder: Holder) -> None:
        risk = admission.decision.risk
        known = self._bands.get(holder)
        if known is risk.band or (known is None and risk.band is Band.LOW and not risk.decibans):
            return
        _remember(self._bands, holder, risk.band)
        before = Band.LOW if known is None else known
        self._note(Type.BAND_CHANGED, partial(self._band, admission, holder, before, self._clock.date_us()))

    def _note(self, about: Type, find: Find) -> None:
        """Leave a note; where there are too many, it is dropped, and counted."""
        try:
            self._notes.put_nowait((about, find))
        except asyncio.QueueFull:
            self._sent(Sent(about, Outcome.DROPPED))
            return
        if self._working is None:
            self._working = asyncio.create_task(self._work())

    async def _work(self) -> None:
        while True:
            _, find = await self._notes.get()
            try:
                event = await find()
                if event is not None:
                    self._send(event)
            except Exception:  # noqa: BLE001 - what goes wrong with one note must not end all others
                limited.exception("webhook note", "finding out what to tell a web-hook failed")
            finally:
                self._notes.task_done()

    async def _limit(
        self, admission: Admission, reading: Reading, now_us: int, lasts_us: int
    ) -> CloudEvent | None:
        limit, window, holder = reading.limit, reading.window, self._keys.label(reading.holder)
        span = window.span or str(window.period_seconds)
        about = (Type.LIMIT_REACHED, limit.name, holder, span)
        with suppress(StoreError):
            if not await self._told.first(about, lasts_us / MICROSECONDS):
                return None
        enforced = reading.enforced and admission.decision.mode is Mode.ENFORCE
        data = {
            "limit": limit.name,
            "unit": limit.unit,
            "holder": holder,
            "window_seconds": window.period_seconds,
            "resets_at": moment((now_us + reading.reset_us) / MICROSECONDS),
            "enforced": enforced,
            "tier": admission.tier,
            "request_id": admission.request_id,
        }
        return _event(Type.LIMIT_REACHED, now_us, data, holder)

    async def _band(
        self, admission: Admission, holder: Holder, known: Band, now_us: int
    ) -> CloudEvent | None:
        risk, label = admission.decision.risk, self._keys.label(holder)
        before: str = known
        with suppress(StoreError):
            before = await self._told.swap((Type.BAND_CHANGED, label), risk.band, RECORD_SECONDS) or Band.LOW
        if before == risk.band:
            return None
        data = {
            "holder": label,
            "tier": admission.tier,
            "from": before,
            "to": risk.band,
            "risk": round(risk.decibans, 1),
            "groups": list(risk.groups),
            "campaign": admission.campaign,
            "request_id": admission.request_id,
        }
        return _event(Type.BAND_CHANGED, now_us, data, label)

    async def _campaign(
        self, campaign: Campaign, verdict: Verdict, state: str, now_us: int
    ) -> CloudEvent | None:
        before: str | None = None
        with suppress(StoreError):
            before = await self._told.swap((Type.CAMPAIGN_FOUND, campaign.id), state, CAMPAIGN_SECONDS)
        if before == state:
            return None
        was = (before or "").partition("/")[0]
        counted = was in set(Verdict) and Verdict(was).counts
        if not counted and not verdict.counts:
            return None
        about = Type.CAMPAIGN_CHANGED if counted else Type.CAMPAIGN_FOUND
        data = {
            "campaign": campaign.id,
            "verdict": verdict,
            "verdict_before": was or None,
            "members": len(campaign.members),
            "ties": sorted({tie.kind for tie in campaign.ties}),
        }
        return _event(about, now_us, data, f"campaign:{campaign.id}")

    def _send(self, event: CloudEvent) -> None:
        for each, delivery in zip(self._settings, self._deliveries.values(), strict=True):
            if event.type not in each.events:
                continue
            headers, body = event.sent(each.content)
            not_told = f"the web-hook at {each.url.host} was not told of {event.type} {event.id}"
            delivery.send(Message(event.id, headers, body, not_told, partial(self._done, event.type)))

    def _done(self, about: Type, outcome: Outcome, answer: bytes) -> None:
        del answer
        self._sent(Sent(about, outcome))


def _event(about: Type, at_us: int, data: dict[str, Any], subject: str) -> CloudEvent:
    return CloudEvent(f"evt_{secrets.token_hex(12)}", about, at_us / MICROSECONDS, data, subject)


def _remember(kept: OrderedDict[Any, Any], key: Hashable, value: object) -> None:
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > MOST_REMEMBERED:
        kept.popitem(last=False)
