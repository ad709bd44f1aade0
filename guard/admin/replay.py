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
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from guard.admin.reading import LineReader, pepper_of
from guard.analysis.analyst import Analyst, Inline
from guard.core.calendars import MICROSECONDS
from guard.core.evidence import NO_RISK, Band, Learnt, Risk
from guard.core.modes import Mode
from guard.core.novelty import UNIT
from guard.core.policy import RouteAction
from guard.engine import Engine
from guard.errors import GuardError, QueryError, RequestError, StoreError
from guard.store.keys import Keys
from guard.store.nodes import nodes_at
from guard.store.operator import Control, OperatorStore
from guard.store.redis import Settled
from guard.store.scratch import scratch_server
from guard.store.url import RedisURL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping, Sequence

    from guard.admin.traffic import Label, Line
    from guard.config import Settings
    from guard.core.evidence import Evidence, Signal
    from guard.core.identity import Holder, Identity
    from guard.core.limits import Charge
    from guard.core.policy import Route
    from guard.core.query import Usage
    from guard.core.uses import Declared
    from guard.engine import Admission
    from guard.store.debts import Debt
    from guard.store.redis import Verdict
    from guard.telemetry import Event

T = TypeVar("T")

Begun: TypeAlias = "tuple[Result, asyncio.Task[Settled] | None]"

DEADLINE_SECONDS = 30.0
"""Nobody waits for a replay's store; one that does not answer at all is an error."""

SETTLED_SECONDS = 1.0
"""Nothing is settled twice here, so that a long log need not be remembered request by request."""

ERROR, PASS = "error", "pass"
"""The actions of lines that no decision was made on."""


@dataclass(frozen=True, slots=True)
class Result:
    """What guard would have done about one line, and what it knew of the caller at that moment.

    `identity` is the caller's label, `None` where it could not be told. `action` is that of the decision;
    `error` where the request would have been answered with one, and `pass` where guard does not look.
    `limits` are those violated, by name. `novelty` is what the diversity budgets were charged, in their unit,
    0 for a refused request; `None` where there is none. `risk` and `signals` are in decibans, `signals` the
    strongest first.
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
            "action": self.action,
            "mode": self.mode,
            "reason": self.reason,
            "limits": list(self.limits),
            "novelty": self.novelty,
            "risk": round(float(self.risk.decibans), 2),
            "band": self.band,
            "campaign": None,
            "signals": [
                {"signal": signal, "decibans": round(decibans, 2)} for signal, decibans in self.signals
            ],
            "label": self.label,
        }


class LogClock:
    """Stands at the moment of the line that is replayed."""

    def __init__(self) -> None:
        self.now_us = 0

    def seconds(self) -> float:
        """The log's Unix seconds."""
        return self.now_us / MICROSECONDS

    def date_us(self) -> int:
        """The log's Unix microseconds."""
        return self.now_us


class StoreLostError(GuardError):
    """The replay's own store does not answer: the engine would do without a live one, and must not here."""


class LogStore:
    """The store at the log's time.

    Nobody else writes to it, so it is known what it will say to a settle and to what is learnt, and these are
    not waited for: they are sent ahead of the next request on the same connection, and so are done before it.
    `settling` is the last settle under way.
    """

    def __init__(self, store: OperatorStore, clock: LogClock) -> None:
        self.lost: StoreError | None = None
        self.settling: asyncio.Task[Settled] | None = None
        self._sent: set[asyncio.Task[Any]] = set()
        self._store = store
        self._clock = clock

    async def admit(
        self,
        reservation_id: str,
        identity: Identity,
        charges: Sequence[Charge],
        *,
        unreported: int = 0,
        suspect: Holder | None = None,
    ) -> Verdict:
        """Charge every limit or none."""
        return await self._held(
            self._store.admit(
                reservation_id,
                identity,
                charges,
                unreported=unreported,
                suspect=suspect,
                now_us=self._clock.now_us,
            )
        )

    async def settle(
        self,
        reservation_id: str,
        identity: Identity,
        charges: Sequence[Charge],
        usage: Usage,
        *,
        cost: int = 0,
        requests: int = 1,
        accepted: bool = True,
    ) -> Settled:
        """True a reservation up; what that charged, `settling` will say."""
        self.settling = self._send(
            self._store.settle(
                reservation_id,
                identity,
                charges,
                usage,
                cost=cost,
                requests=requests,
                accepted=accepted,
                now_us=self._clock.now_us,
            )
        )
        return Settled(counted=True)

    async def release(self, reservation_id: str, identity: Identity, charges: Sequence[Charge]) -> bool:
        """Take a reservation back."""
        return await self._held(
            self._store.release(reservation_id, identity, charges, now_us=self._clock.now_us)
        )

    async def renew(self, reservation_id: str, identity: Identity, charges: Sequence[Charge]) -> int:
        """Keep a reservation from expiring."""
        return await self._held(
            self._store.renew(reservation_id, identity, charges, now_us=self._clock.now_us)
        )

    async def repay(self, debt: Debt, identity: Identity) -> bool:
        """Charge what was used without the store."""
        return await self._held(self._store.repay(debt, identity, now_us=self._clock.now_us))

    async def learn(self, holder: Holder, identity: Identity, evidence: Evidence) -> Learnt:
        """Keep evidence, under the version that the store will give it (learn.lua)."""
        now_us = self._clock.now_us
        self._send(self._store.learn(holder, identity, evidence, now_us=now_us))
        return Learnt(True, replace(evidence, version=max(evidence.version + 1, now_us)))

    async def control(self, worker: str | None = None) -> Control:
        """Nobody orders anything here."""
        return Control()

    async def leave(self, worker: str) -> None:
        """Nobody counts the processes."""

    async def aclose(self) -> None:
        """Wait for all that was sent."""
        await asyncio.gather(*self._sent, return_exceptions=True)

    def _send(self, call: Awaitable[T]) -> asyncio.Task[T]:
        """Make a call in the background: it is written in the next turn of the loop, in order."""
        task = asyncio.ensure_future(self._held(call))
        self._sent.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._sent.discard(task)
        if not task.cancelled():
            task.exception()  # `lost` has it too

    async def _held(self, call: Awaitable[T]) -> T:
        """A call, the failure of which ends the replay."""
        try:
            return await call
        except StoreError as error:
            self.lost = error
            raise StoreLostError(str(error)) from error


class Replay:
    """Replays lines in order, on a store that was empty; `opened` makes one."""

    def __init__(
        self, settings: Settings, keys: Keys, store: OperatorStore, declared: Mapping[Holder, Declared]
    ) -> None:
        self._reader = LineReader(settings, keys, declared)
        self._keys = keys
        self._clock = LogClock()
        self._store = LogStore(store, self._clock)
        self._event: Event | None = None
        self._risks: dict[str, tuple[Risk, tuple[tuple[Signal, float], ...]]] = {}
        policy, reference = self._reader.policy, self._reader.rules.reference
        weights = policy.detection.weights
        self._half_life_us = weights.half_life_us
        self._engine = Engine(
            policy,
            self._store,
            keys,
            (self._hear,),
            reservation_seconds=settings.store.reservation_seconds,
            clock=self._clock,
        )
        if reference is not None:
            self._engine.analyst = Analyst(
                keys.secret("analysis"),
                self._engine.fingerprinter,
                reference,
                self._store,
                Inline(),
                half_life_us=self._half_life_us,
            )

    async def results(self, lines: Iterable[Line]) -> AsyncIterator[Result]:
        """What comes of each line; raises what the lines raise, and `StoreError`."""
        begun: Begun | None = None
        failure: GuardError | None = None
        following = iter(lines)
        while failure is None:
            try:
                line = next(following, None)
            except GuardError as error:
                line, failure = None, error
            following_begun = None if line is None else await self._begin(line)
            if begun is not None:
                yield await self._end(*begun)
            begun = following_begun
            if begun is None:
                break
        if failure is not None:
            raise failure

    async def run(self, line: Line) -> Result:
        """What comes of the next line; raises `StoreError`."""
        return await self._end(*await self._begin(line))

    async def aclose(self) -> None:
        """Wait for what is under way."""
        await self._engine.quiet()
        await self._store.aclose()

    async def _begin(self, line: Line) -> Begun:
        """What is decided on a line, with the settle that will say what it was charged."""
        self._clock.now_us = line.now_us
        self._event, self._store.settling = None, None
        try:
            result = await self._run(line)
        except RequestError as error:
            result = self._failed(line, error)
        except StoreLostError as error:
            raise self._store.lost or error from error
        # What was learnt from this line has been sent now.
        await self._engine.quiet()
        return result, self._store.settling

    async def _end(self, result: Result, settling: asyncio.Task[Settled] | None) -> Result:
        if settling is not None:
            await asyncio.wait({settling})
        if self._store.lost is not None:
            raise self._store.lost
        if settling is None:
            return result
        novelty = settling.result().novelty
        return result if novelty is None else replace(result, novelty=novelty / UNIT)

    async def _run(self, line: Line) -> Result:
        route = self._engine.policy.route(line.method, line.path)
        if self._engine.mode is Mode.OFF or route.action is RouteAction.PASS:
            return Result(line, None, PASS, self._engine.mode)
        if route.action is RouteAction.DENY:
            raise RequestError("There is nothing here.", status=404)
        identity = self._reader.identity(line)
        try:
            return await self._exchange(line, route, identity)
        except QueryError as error:
            return self._failed(line, error, identity)

    async def _exchange(self, line: Line, route: Route, identity: Identity) -> Result:
        """What guard.exchange does with a request and its answer."""
        request_id, reads = _request_id(line), route.dialect is not None
        admission = self._engine.foresee(request_id, identity, route.path, line.method, read=reads)
        query = None
        if admission is None:
            query = self._reader.query(line, route)
            admission = await self._engine.admit(request_id, identity, query, route.path, line.method)
        if admission.refused:
            self._engine.refuse(admission, 429)
        else:
            usage, status = self._reader.answer(line, query)
            await self._engine.settle(admission, usage, status)
        return self._decided(line, admission)

    def _decided(self, line: Line, admission: Admission) -> Result:
        decision, event, label = admission.decision, self._event, admission.label
        found: Risk = decision.risk
        signals: tuple[tuple[Signal, float], ...] = ()
        if admission.suspect is not None:
            found, signals = self._risks[label] = decision.risk, self._speaking(line, admission)
        elif decision.refused:
            # From memory, since it was refused within the last second: what was known then still holds.
            found, signals = self._risks.get(label, (NO_RISK, ()))
        tier = self._engine.policy.tier(admission.identity)
        return Result(
            line,
            label,
            decision.action,
            decision.mode,
            decision.reason,
            limits=() if event is None else event.limits,
            novelty=0.0 if decision.refused and tier.counts_novelty else None,
            risk=found,
            signals=signals,
        )

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

    def _hear(self, event: Event) -> None:
        self._event = event


@asynccontextmanager
async def opened(
    settings: Settings, declared: Mapping[Holder, Declared] | None = None
) -> AsyncIterator[Replay]:
    """A replay with an empty store of its own, which is gone afterwards, whatever store the settings name.

    `declared` uses go before those of the settings. Raises `ConfigError` and `StoreError`.
    """
    keys = Keys(pepper_of(settings))
    with scratch_server() as server:
        store = OperatorStore(
            keys,
            partial(nodes_at, RedisURL.of_socket(server.socket), DEADLINE_SECONDS),
            deadline_seconds=DEADLINE_SECONDS,
            reservation_seconds=settings.store.reservation_seconds,
            settled_seconds=SETTLED_SECONDS,
        )
        try:
            await store.start()
            replay = Replay(settings, keys, store, declared or {})
            try:
                yield replay
            finally:
                await replay.aclose()
        finally:
            await store.aclose()


def _request_id(line: Line) -> str:
    """A name that no other line has, of letters, digits and `_`: a log may name two lines alike."""
    return f"line_{line.number}"
