"""Sums up events by the minute, and has the store add the sums every few seconds, off the request path.

The hook adds a few numbers to a dictionary. What it has summed up is sent in parts, one after another, each
under a number that only grows: the store takes a part once, so one whose reply was lost is sent again and
never counts twice. While the store takes none, the sums of up to `MOST_MINUTES` wait here, and older ones are
given up. A process that dies loses what it has not sent.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from bisect import bisect_left
from collections import deque
from contextlib import suppress
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from guard.core.calendars import MICROSECONDS
from guard.core.decision import FORWARDED
from guard.core.evidence import Band
from guard.core.modes import Mode
from guard.core.rollups import HOUR, MINUTE, MOST_REFUSALS, NOVELTY_UNIT, Refusal, Suspected, standing
from guard.errors import DAMAGED, StoreError
from guard.telemetry.lines import limited
from guard.telemetry.metrics import OWN_SECONDS
from guard.telemetry.minutes import Minute

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from guard.telemetry.events import Event, Failure, Read

T = TypeVar("T")

NOTHING: Mapping[str, Any] = MappingProxyType({})

MOST_MINUTES = 120
"""Maximum number of minutes that wait for the store."""

MOST_WAITING = 20_000
"""While so many uses of identities wait for the store, nobody's use of further minutes is kept apart."""

MOST_REFUSED = 500
"""Maximum number of identities of which refusals wait to be sent; likewise of those with a risk."""

AT_ONCE, REFUSED_AT_ONCE = 50, 20
"""Maximum number of identities whose use, or whose refusals, are in one part: two milliseconds of Redis's
time."""

CLOSE_SECONDS = 1.0
"""How long a process that stops waits for the store to take the last sums."""


class Call(NamedTuple):
    """Which process sends something, and its number among all that it sends."""

    process: str
    number: int


class Sink(Protocol):
    """Where sums go; every call raises `StoreError`, and does nothing where its process has made one with
    this number, or a larger one.
    """

    async def add_sums(
        self,
        call: Call,
        at: int,
        counts: Mapping[str, int],
        uses: Mapping[str, Sequence[int]],
        most: int,
    ) -> None:
        """Add to the buckets of the minute that begins at `at` (Unix seconds), and of its hour, in which the
        use of so many identities at `most` is kept.
        """

    async def add_risks(self, call: Call, at: int, risks: Mapping[str, Suspected], least: float) -> None:
        """Note what speaks against identities at a moment; who stands lower than `least` is forgotten."""

    async def add_refusals(self, call: Call, refusals: Mapping[str, Sequence[Refusal]]) -> None:
        """Add to what was refused to identities, the latest last."""


class Part(NamedTuple):
    """What is sent in one call."""

    call: Call
    at: int
    counts: Mapping[str, int]
    uses: Mapping[str, Sequence[int]]
    risks: Mapping[str, Suspected]
    refusals: Mapping[str, Sequence[Refusal]]


class Rollups:
    """A hook that sums up, and what sends the sums. `now` tells Unix seconds, and `half_life_us` is that of
    evidence; the store keeps the use of so many `identities` an hour.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        flush_seconds: float,
        identities: int,
        half_life_us: int,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.half_life_us = half_life_us
        self._sink = sink
        self._flush_seconds = flush_seconds
        self._identities = identities
        self._now = now
        self._process = secrets.token_hex(8)
        self._minute = self._new_minute()
        self._over: deque[Minute] = deque()
        self._refusals: dict[str, deque[Refusal]] = {}
        self._risks: dict[str, Suspected] = {}
        self._models: tuple[int, set[str]] = (0, set())
        self._parts: deque[Part] = deque()
        self._number = 0
        self._flushing = asyncio.get_running_loop().create_task(self._keep_flushing())

    def __call__(self, event: Event, /) -> None:
        """Sum up one request."""
        minute = self._minute
        if self._now() - minute.at >= MINUTE:
            minute = self._turn()
        identity, action = event.identity, event.action
        cell = (event.tier, action, event.mode, event.reason, event.limits, event.band, event.model)
        sums = minute.cells.get(cell)
        if sums is None:
            sums = minute.cells[cell] = [0, 0, 0, 0]
        use = minute.uses.get(identity)
        if use is None:
            use = minute.use(identity)
        given, got, cost = event.input_tokens, event.output_tokens, event.cost
        sums[0] += 1
        sums[1] += given
        sums[2] += got
        sums[3] += cost
        times = event.times
        if times is not None:
            minute.own[bisect_left(OWN_SECONDS, times.request + times.answer)] += 1
        use[2] += given
        use[3] += got
        use[4] += cost
        if action in FORWARDED:
            use[0] += 1
        else:
            self._refused(use, event)
        if event.band is not Band.LOW and (identity in self._risks or len(self._risks) < MOST_REFUSED):
            stands = standing(event.risk, int(self._now() * MICROSECONDS), self.half_life_us)
            self._risks[identity] = Suspected(event.risk, event.band, stands)

    def read(self, read: Read, /) -> None:
        """Sum up what an answer has paid out, as far as that is known."""
        if read.novelty is not None:
            minute, paid = self._present(), round(read.novelty * NOVELTY_UNIT)
            minute.paid[read.tier] = minute.paid.get(read.tier, 0) + paid
            minute.use(read.identity)[5] += paid

    def failed(self, failure: Failure, /) -> None:
        """Sum up one error."""
        errors = self._present().errors
        errors[failure.reason] = errors.get(failure.reason, 0) + 1

    async def flush(self) -> None:
        """Send what was summed up; raises `StoreError` where the store takes nothing now, and then the next
        flush goes on where this one has ended. A part that it never takes is given up.
        """
        if not self._parts:
            self._parts.extend(self._taken())
        while self._parts:
            try:
                await self._send(self._parts[0])
            except StoreError as error:
                if error.kind != DAMAGED:
                    raise
                limited.log(logging.ERROR, "rollups", "sums are lost: %s", error)
            except Exception:  # noqa: BLE001 - else it would be sent for ever, and nothing behind it
                limited.exception("rollups", "sums are lost")
            self._parts.popleft()

    async def aclose(self) -> None:
        """Send what is left, if the store takes it within `CLOSE_SECONDS`."""
        self._flushing.cancel()
        with suppress(asyncio.CancelledError):
            await self._flushing
        with suppress(StoreError, TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.flush()
                await self.flush()  # the first may have sent only what an earlier one could not

    async def _send(self, part: Part) -> None:
        if part.risks:
            least = standing(0, int(part.at * MICROSECONDS), self.half_life_us)
            await self._sink.add_risks(part.call, part.at, part.risks, least)
        elif part.refusals:
            await self._sink.add_refusals(part.call, part.refusals)
        else:
            await self._sink.add_sums(part.call, part.at, part.counts, part.uses, self._identities)

    async def _keep_flushing(self) -> None:
        while True:
            await asyncio.sleep(self._flush_seconds)
            try:
                await self.flush()
            except StoreError as error:
                limited.log(logging.WARNING, "rollups", "sums wait for the store (%s): %s", error.kind, error)
            except Exception:  # noqa: BLE001 - what goes wrong once must not end it for good
                limited.exception("rollups", "sums were not sent")

    def _refused(self, use: list[int], event: Event) -> None:
        use[1 if event.mode is Mode.ENFORCE else 0] += 1
        refusals = self._refusals.get(event.identity)
        if refusals is None:
            if len(self._refusals) >= MOST_REFUSED:
                return
            refusals = self._refusals[event.identity] = deque(maxlen=MOST_REFUSALS)
        at, reason = int(self._now()), event.reason or ""
        refusals.append(Refusal(event.request_id, at, event.action, reason, event.limits, event.mode))

    def _present(self) -> Minute:
        return self._turn() if self._now() - self._minute.at >= MINUTE else self._minute

    def _turn(self) -> Minute:
        """The present minute is over, or what there is of it is to be sent."""
        if sum(len(each.uses) for each in self._over) > MOST_WAITING:
            self._minute.forget_who()
        self._over.append(self._minute)
        if len(self._over) > MOST_MINUTES:
            self._over.popleft()
            limited.log(
                logging.ERROR, "rollups", "the sums of a minute are lost: the store took none for long"
            )
        self._minute = self._new_minute()
        return self._minute

    def _new_minute(self) -> Minute:
        return Minute(int(self._now()) // MINUTE * MINUTE)

    def _taken(self) -> Iterator[Part]:
        """All that was summed up, in parts, which is not kept here any more."""
        self._turn()
        minutes, self._over = self._over, deque()
        refusals, self._refusals = self._refusals, {}
        risks, self._risks = self._risks, {}
        for minute in minutes:
            counts = minute.counts(self._models_of(minute.at // HOUR))
            uses = {label: use for label, use in minute.uses.items() if label is not None}
            for some in _chunks(uses, AT_ONCE):
                yield self._part(minute.at, counts=counts, uses=some)
                counts = {}
            if counts:
                yield self._part(minute.at, counts=counts)
        for suspected in _chunks(risks, AT_ONCE):
            yield self._part(minutes[-1].at, risks=suspected)
        for refused in _chunks(refusals, REFUSED_AT_ONCE):
            yield self._part(minutes[-1].at, refusals=refused)

    def _part(
        self,
        at: int,
        *,
        counts: Mapping[str, int] = NOTHING,
        uses: Mapping[str, Sequence[int]] = NOTHING,
        risks: Mapping[str, Suspected] = NOTHING,
        refusals: Mapping[str, Sequence[Refusal]] = NOTHING,
    ) -> Part:
        self._number += 1
        return Part(Call(self._process, self._number), at, counts, uses, risks, refusals)

    def _models_of(self, hour: int) -> set[str]:
        """The models that are told apart in an hour."""
        if self._models[0] != hour:
            self._models = hour, set()
        return self._models[1]


def _chunks(entries: Mapping[str, T], size: int) -> Iterator[dict[str, T]]:
    """These entries, some at a time."""
    rest = iter(entries.items())
    while some := dict(islice(rest, size)):
        yield some
