"""Past traffic through the same engine: what guard would have done, by these settings.

Every line of a traffic log goes the way of a request: its caller is identified, its body is read, it is
admitted and, where it is not refused, settled with the usage that the log reports, looked at, and learned
from. The store is empty at the start and the replay's own; the clock is the log's. Nothing depends on chance,
on the machine or on the time of day, so that the same log and settings give the same results.

What a log cannot say: a request that is refused or narrowed here was answered then, and what its caller would
have done otherwise nobody knows. Requests take no time, so that limits on concurrency are never met, and
nobody waits. What an answer used that the log does not have is supposed (guard/admin/reading.py).
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from guard.admin.reading import LineReader, LogClock, pepper_of, request_id
from guard.core.evidence import NO_RISK, Band, Risk
from guard.core.modes import Mode
from guard.core.policy import RouteAction
from guard.core.pseudonyms import Pseudonyms
from guard.engine.engine import Engine
from guard.errors import QueryError, RequestError
from guard.http.paths import denied
from guard.store.memory.store import MemoryStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

    from guard.admin.traffic import Label, Line
    from guard.campaigns.worker import Worker
    from guard.core.identity import Holder, Identity, VouchedBy
    from guard.core.policy import Route
    from guard.core.signals import Signal
    from guard.core.uses import Declared
    from guard.engine.admission import Admission
    from guard.http.paths import Path
    from guard.settings.root import Settings
    from guard.telemetry.events import Event, Read

LINES_BETWEEN_LOOKS = 50
"""Campaigns are looked for after every so many lines."""

ERROR, PASS = "error", "pass"
"""The actions of lines that no decision was made on."""


@dataclass(frozen=True, slots=True)
class Result:
    """What guard would have done about one line, and what it knew of the caller at that moment.

    `identity` is the caller's label, `None` where it could not be told, and `vouched_by` says who vouches for
    it. `action` is that of the decision, `error` where the request would have been answered with an error,
    and `pass` where guard does not look. `limits` are those violated, by name. `novelty` is what the
    diversity budgets were charged, in their unit, 0 for a refused request; `None` where there is none. `risk`
    and `signals` are in decibans, `signals` the strongest first. `retry_after_us` is when the client was told
    to come again; it is not in the report.
    """

    line: Line
    identity: str | None
    action: str
    mode: Mode
    reason: str | None = None
    limits: tuple[str, ...] = ()
    novelty: float | None = None
    risk: Risk = NO_RISK
    signals: tuple[tuple[Signal, float], ...] = ()
    estimated: bool = False
    vouched_by: VouchedBy | None = None
    retry_after_us: int | None = None
    campaign: str | None = None

    @property
    def band(self) -> Band:
        """Where the risk falls."""
        return self.risk.band

    @property
    def label(self) -> Label | None:
        """What the log knows the line to be."""
        return self.line.label

    def json(self) -> dict[str, Any]:
        """As one line of the report."""
        return {
            "ts": self.line.ts,
            "id": self.line.id,
            "identity": self.identity,
            "vouched_by": self.vouched_by,
            "action": self.action,
            "mode": self.mode,
            "reason": self.reason,
            "limits": list(self.limits),
            "novelty": self.novelty,
            "estimated": self.estimated,
            "risk": round(float(self.risk.decibans), 2),
            "band": self.band,
            "campaign": self.campaign,
            "signals": [
                {"signal": signal, "decibans": round(decibans, 2)} for signal, decibans in self.signals
            ],
            "label": self.label,
        }

    def text(self) -> str:
        """Likewise, as JSON with its line end."""
        return json.dumps(self.json(), separators=(",", ":")) + "\n"


class Replay:
    """Replays lines in order, on a store of its own that was empty, whatever store the settings name.

    `declared` uses go before those of the settings. Where it is not `alone`, but has a part of the log only,
    nobody looks for campaigns. Raises `ConfigError`.
    """

    def __init__(
        self, settings: Settings, declared: Mapping[Holder, Declared] | None = None, *, alone: bool = True
    ) -> None:
        self._keys = keys = Pseudonyms(pepper_of(settings))
        self._reader = LineReader(settings, keys, declared or {})
        self._clock = LogClock()
        unverified_seconds = settings.store.unverified_seconds
        store = MemoryStore(self._clock.date_us, unverified_seconds=unverified_seconds, keys=keys)
        self._heard = Heard()
        self._risks: dict[str, tuple[Risk, tuple[tuple[Signal, float], ...]]] = {}
        policy = self._reader.policy
        weights = policy.detection.weights
        self._half_life_us = weights.half_life_us
        self._worker: Worker | None = None
        self._lines = 0
        analyst = None
        if policy.reads_texts:
            from guard.analyst.analyst import Analyst  # and with it numpy: only where it is needed
            from guard.analyst.opened import followers_of, reference_of
            from guard.background import Foreground
            from guard.campaigns.opened import worker_of

            background = Foreground()
            lineages, observer = followers_of(
                settings,
                keys,
                store,
                collect_seconds=None,
                background=background,
                uses=policy.detection.uses,
            )
            analyst = Analyst(
                keys,
                store,
                self._reader.rules.dialects,
                reference_of(settings),
                half_life_us=self._half_life_us,
                collect_seconds=None,
                bounded=False,
                background=background,
                lineages=lineages,
                observer=observer,
            )
            if alone:
                self._worker = worker_of(settings, store, self._clock.date_us)
        self._engine = Engine(policy, store, keys, (self._heard,), reader=analyst, clock=self._clock)

    async def results(self, lines: Iterable[Line]) -> AsyncIterator[Result]:
        """What comes of each line; raises what the lines raise."""
        for line in lines:
            yield await self.run(line)
            # Nothing in a replay waits; without this, an interrupt would be heard at the end of the log.
            await asyncio.sleep(0)

    async def run(self, line: Line) -> Result:
        """What comes of the next line."""
        self._clock.now_us = line.now_us
        self._heard.forget()
        try:
            result = await self._run(line)
        except RequestError as error:
            result = self._failed(line, error)
        # What the ladder refused, the store has yet to take back.
        await self._engine.quiet()
        await self._look_for_campaigns()
        return result

    async def _look_for_campaigns(self) -> None:
        """As the worker does beside live traffic, now and then; and the engine hears of it."""
        self._lines += 1
        if self._worker is not None and self._lines % LINES_BETWEEN_LOOKS == 0:
            await self._worker.step()
            await self._engine.watch()

    async def _run(self, line: Line) -> Result:
        if self._engine.mode is Mode.OFF:
            return Result(line, None, PASS, self._engine.mode)
        route, path = self._reader.route(line)
        if route.action is RouteAction.PASS:
            return Result(line, None, PASS, self._engine.mode)
        if route.action is RouteAction.DENY:
            raise denied(self._engine.policy, route, line.method, path)
        identity = self._reader.identity(line, route)
        try:
            return await self._exchange(line, route, path, identity)
        except QueryError as error:
            return self._failed(line, error, identity)

    async def _exchange(self, line: Line, route: Route, path: Path, identity: Identity) -> Result:
        """What guard.asgi.exchange does with a request and its answer."""
        name, reads, estimated = request_id(line), route.dialect is not None, False
        admission = self._engine.foresee(name, identity, route.path, line.method, read=reads)
        query = None
        if admission is None:
            query = self._reader.query(line, route, path, identity)
            admission = await self._engine.admit(name, identity, query, route.path, line.method)
        if admission.refused:
            self._engine.refuse(admission, 429)
        else:
            usage, status = self._reader.answer(line, query, route, identity)
            copies = None
            if query is not None and admission.read:
                copies = self._reader.copies(line, query, route, path)
            await self._engine.conclude(admission, usage, status, copies)
            estimated = status < 400 and copies is not None and copies.answer is None
        return self._decided(line, admission, estimated=estimated)

    def _decided(self, line: Line, admission: Admission, *, estimated: bool) -> Result:
        decision, event, label = admission.decision, self._heard.event, admission.label
        found: Risk = decision.risk
        signals: tuple[tuple[Signal, float], ...] = ()
        if admission.suspect is not None:
            found, signals = self._risks[label] = decision.risk, self._speaking(line, admission)
        elif decision.refused:
            # From memory, since it was refused within the last second: what was known then still holds.
            found, signals = self._risks.get(label, (NO_RISK, ()))
        return Result(
            line,
            label,
            decision.action,
            decision.mode,
            decision.reason,
            limits=() if event is None else event.limits,
            novelty=self._novelty(admission),
            risk=found,
            signals=signals,
            estimated=estimated,
            vouched_by=admission.identity.vouched_by,
            retry_after_us=decision.retry_after_us,
            campaign=admission.campaign,
        )

    def _novelty(self, admission: Admission) -> float | None:
        """What the diversity budgets were charged; a refused request pays nothing."""
        if admission.decision.refused:
            return 0.0 if self._engine.policy.tier(admission.identity).counts_novelty else None
        return self._heard.paid

    def _speaking(self, line: Line, admission: Admission) -> tuple[tuple[Signal, float], ...]:
        """What is left of each mark that counts against the caller, the strongest first."""
        excused = admission.suspect.excused if admission.suspect is not None else frozenset()
        left = (
            (signal, mark.left(line.now_us, self._half_life_us))
            for signal, mark in admission.marks.items()
            if signal not in excused
        )
        return tuple(sorted(left, key=lambda each: (-each[1], each[0])))

    def _failed(self, line: Line, error: RequestError, identity: Identity | None = None) -> Result:
        label = None if identity is None else self._keys.label(identity.principal)
        return Result(line, label, ERROR, self._engine.mode, f"{error.status}: {error.message}")


class Heard:
    """What the hooks have heard of one line: the end of its request, and what its answer has paid out."""

    def __init__(self) -> None:
        self.event: Event | None = None
        self.paid: float | None = None

    def __call__(self, event: Event, /) -> None:
        """A request is over."""
        self.event, self.paid = event, event.novelty

    def read(self, read: Read) -> None:
        """Its answer was read."""
        if read.novelty is not None:
            self.paid = read.novelty

    def forget(self) -> None:
        """Another line comes."""
        self.event = self.paid = None
