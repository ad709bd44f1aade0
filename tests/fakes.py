"""Stand-ins that behave: apps, stores that fail as told, and a client for ASGI apps."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

from guard import GuardMiddleware
from guard.admin import Operator
from guard.analyst.opened import OpenAnalyst
from guard.analyst.transcript import Outcome
from guard.core.identity import Attribute, Holder
from guard.errors import GuardError, StoreError
from guard.installation import Installation
from guard.telemetry.state import Analyst, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from guard.analyst.transcript import Transcript
    from guard.core.campaigns import Membership
    from guard.core.identity import Identity
    from guard.settings.root import Settings
    from guard.store.port import Control, IssuedPage, Settled, Verdict
    from guard.store.redis.orders import OperatorStore
    from guard.telemetry.events import Event, Hold, Hook, Notice, Read, Sent


@dataclass
class Answer:
    """What an ASGI app sent."""

    messages: list[Message] = field(default_factory=list)

    @property
    def status(self) -> int:
        status: int = self.starts[0]["status"]
        return status

    @property
    def starts(self) -> list[Message]:
        return [message for message in self.messages if message["type"] == "http.response.start"]

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.starts[0]["headers"]}

    @property
    def chunks(self) -> list[bytes]:
        bodies = (message["body"] for message in self.messages if message["type"] == "http.response.body")
        return [body for body in bodies if body]

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def ended(self) -> bool:
        last = self.messages[-1] if self.messages else {}
        return last.get("type") == "http.response.body" and not last.get("more_body")


def http_scope(
    path: str,
    *,
    method: str = "POST",
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    client: str = "192.0.2.1",
) -> Scope:
    """An HTTP scope as a server makes it of a target: a path as it is sent, and what is behind its `?`."""
    path, _, query = path.partition("?")
    pairs = headers.items() if hasattr(headers, "items") else headers
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), value.encode()) for name, value in pairs],
        "client": (client, 50_000),
        "server": ("127.0.0.1", 80),
    }


async def call(
    app: ASGIApp,
    path: str = "/v1/chat/completions",
    body: bytes | Mapping[str, Any] | Iterable[bytes] = b"",
    *,
    method: str = "POST",
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    client: str = "192.0.2.1",
    leave_after: int | None = None,
) -> Answer:
    """Send one request to an app and take in its answer; with `leave_after`, leave after so many chunks."""
    if isinstance(body, bytes):
        parts = [body]
    elif hasattr(body, "items"):
        parts = [json.dumps(body).encode()]
    else:
        parts = list(body)
    pending: asyncio.Queue[Message] = asyncio.Queue()
    for place, part in enumerate(parts):
        pending.put_nowait({"type": "http.request", "body": part, "more_body": place < len(parts) - 1})
    answer = Answer()
    if leave_after == 0:
        pending.put_nowait({"type": "http.disconnect"})

    left = False

    async def send(message: Message) -> None:
        nonlocal left
        if left:
            return
        answer.messages.append(message)
        if leave_after is not None and len(answer.chunks) == leave_after and message.get("body"):
            left = True
            pending.put_nowait({"type": "http.disconnect"})
        await asyncio.sleep(0)

    await app(http_scope(path, method=method, headers=headers, client=client), pending.get, send)
    return answer


class Guarded:
    """An app behind guard, and a look at what its callers have left.

    Paths that no route names are refused, as by `guard serve`.
    """

    def __init__(self, app: ASGIApp, settings: Settings, hooks: Iterable[Hook] = ()) -> None:
        self.settings = settings
        self.middleware = GuardMiddleware(app, settings, hooks=hooks, unknown_paths="deny")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.middleware(scope, receive, send)

    async def left(self, secret: str) -> dict[str, int]:
        """What is left of each limit for the caller with this key; the least of several windows."""
        name = Installation.of(self.settings).keys.credential(secret)
        async with Operator(self.settings) as operator:
            readings = await operator.readings(Holder(Attribute.KEY, name))
        found: dict[str, int] = {}
        for reading in readings:
            found[reading.limit.name] = min(
                reading.remaining, found.get(reading.limit.name, reading.remaining)
            )
        return found

    async def settled(self) -> None:
        """Wait for what is settled in the background, read, and learnt."""
        service = await self.middleware._opened()
        await service.engine.drain()
        inline = cast("Inline | None", service._link)
        if inline is not None:
            await inline.flush()

    async def placed(self) -> None:
        """Wait for holds that are being placed, and for a web-hook that is told of them."""
        service = await self.middleware._opened()
        await service.engine.holds.quiet()
        if service._webhook is not None:
            await service._webhook.quiet()
            await service.engine.holds.quiet()
        if service._notifier is not None:
            await service._notifier.quiet()

    async def hear(self) -> None:
        """Hear what the operator has ordered for all, as happens by itself once a second or so."""
        service = await self.middleware._opened()
        await service.engine.watch()


class Heard(list["Event"]):
    """A hook that keeps the events, what came of answers that were to be read, and of holds."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[Read] = []
        self.holds: list[Hold] = []
        self.notices: list[Notice] = []
        self.states: list[State] = []
        self.sends: list[Sent] = []

    def __call__(self, event: Event, /) -> None:
        """Keep an event."""
        self.append(event)

    def read(self, read: Read) -> None:
        """Keep what came of an answer."""
        self.reads.append(read)

    def held(self, hold: Hold) -> None:
        """Keep who was put on hold."""
        self.holds.append(hold)

    def told(self, notice: Notice) -> None:
        """Keep what came of telling a web-hook."""
        self.notices.append(notice)

    def sent(self, sent: Sent) -> None:
        """Keep what came of telling one of several web-hooks."""
        self.sends.append(sent)

    def watched(self, state: State) -> None:
        """Keep how the process did."""
        self.states.append(state)

    @property
    def unseen(self) -> int:
        """How many answers were not read that were to be."""
        return sum(not read.seen for read in self.reads)


class Inline:
    """An analyst that reads on the event loop at once, in the place of one in a process or a thread."""

    def __init__(self, settings: Settings) -> None:
        self._analyst = OpenAnalyst(settings)
        self._starting = asyncio.create_task(self._analyst.start())

    def hand_over(self, transcript: Transcript, done: Callable[[Outcome], None]) -> None:
        """Read a transcript."""
        self._analyst.hand_over(transcript, done)

    def renew(self, settings: Settings) -> None:
        """Go on by other settings."""
        self._analyst.adopt(settings)

    @property
    def report(self) -> Analyst:
        """How it does."""
        return Analyst(connected=True, pending=0, losses=0)

    async def flush(self) -> None:
        """Pay out and keep all."""
        await self._analyst.flush()

    async def aclose(self) -> None:
        """Close the store."""
        with suppress(GuardError):
            await self._starting
        await self._analyst.flush()
        await self._analyst.aclose()


class Recorder:
    """Reads nothing of what it is handed, and says that it has."""

    def __init__(self) -> None:
        self.taken: list[Transcript] = []

    def hand_over(self, transcript: Transcript, done: Callable[[Outcome], None]) -> None:
        """Keep a transcript."""
        self.taken.append(transcript)
        done(Outcome(seen=True))


async def recorded(app: Guarded) -> Recorder:
    """Who takes the transcripts of an app from now on."""
    service = await app.middleware._opened()
    recorder = Recorder()
    service.engine.reader = recorder
    return recorder


class Clock:
    """Stands in for the `time` module: true time, and as far ahead of it as the test says."""

    def __init__(self) -> None:
        self.ahead_seconds = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead_seconds

    def time(self) -> float:
        return time.time() + self.ahead_seconds

    def time_ns(self) -> int:
        return time.time_ns() + int(self.ahead_seconds * 1e9)


class TimedStore:
    """A store that goes by the test's clock instead of the server's."""

    def __init__(self, store: OperatorStore, clock: Clock) -> None:
        self.stale_seconds = store.stale_seconds
        self._store = store
        self._clock = clock

    async def admit(self, *arguments: Any, **named: Any) -> Verdict:
        return await self._store.admit(*arguments, now_us=self._now_us, **named)

    async def first_seen(self, identity: Identity) -> int | None:
        return await self._store.first_seen(identity)

    async def settle(self, *arguments: Any, **named: Any) -> Settled:
        return await self._store.settle(*arguments, now_us=self._now_us, **named)

    async def pay(self, *arguments: Any, **named: Any) -> int | None:
        return await self._store.pay(*arguments, now_us=self._now_us, **named)

    async def release(self, *arguments: Any, **named: Any) -> bool:
        return await self._store.release(*arguments, now_us=self._now_us, **named)

    async def renew(self, *arguments: Any, **named: Any) -> int:
        return await self._store.renew(*arguments, now_us=self._now_us, **named)

    async def repay(self, *arguments: Any, **named: Any) -> bool:
        return await self._store.repay(*arguments, now_us=self._now_us, **named)

    async def set_review(self, *arguments: Any, **named: Any) -> bool:
        return await self._store.set_review(*arguments, **named)

    async def control(self, worker: str | None = None) -> Control:
        return await self._store.control(worker)

    async def membership(self, version: int) -> Membership | None:
        return await self._store.membership(version)

    async def issued_since(self, version: int) -> IssuedPage:
        return await self._store.issued_since(version)

    async def note(self, identity: Identity, *, refused: int, shadowed: int) -> None:
        await self._store.note(identity, refused=refused, shadowed=shadowed)

    async def leave(self, worker: str) -> None:
        await self._store.leave(worker)

    @property
    def _now_us(self) -> int:
        return self._clock.time_ns() // 1000


class FlakyStore:
    """A store that cannot answer as long as `broken` says so."""

    def __init__(self, store: OperatorStore, kind: str = "connection") -> None:
        self.broken = True
        self.stale_seconds = store.stale_seconds
        self._store = store
        self._kind = kind

    async def admit(self, *arguments: Any, **named: Any) -> Verdict:
        return await self._working().admit(*arguments, **named)

    async def first_seen(self, identity: Identity) -> int | None:
        return await self._working().first_seen(identity)

    async def settle(self, *arguments: Any, **named: Any) -> Settled:
        return await self._working().settle(*arguments, **named)

    async def pay(self, *arguments: Any, **named: Any) -> int | None:
        return await self._working().pay(*arguments, **named)

    async def release(self, *arguments: Any, **named: Any) -> bool:
        return await self._working().release(*arguments, **named)

    async def renew(self, *arguments: Any, **named: Any) -> int:
        return await self._working().renew(*arguments, **named)

    async def repay(self, *arguments: Any, **named: Any) -> bool:
        return await self._working().repay(*arguments, **named)

    async def set_review(self, *arguments: Any, **named: Any) -> bool:
        return await self._working().set_review(*arguments, **named)

    async def control(self, worker: str | None = None) -> Control:
        return await self._working().control(worker)

    async def membership(self, version: int) -> Membership | None:
        return await self._working().membership(version)

    async def issued_since(self, version: int) -> IssuedPage:
        return await self._working().issued_since(version)

    async def note(self, identity: Identity, *, refused: int, shadowed: int) -> None:
        await self._working().note(identity, refused=refused, shadowed=shadowed)

    async def leave(self, worker: str) -> None:
        await self._working().leave(worker)

    def _working(self) -> OperatorStore:
        if self.broken:
            raise StoreError("broken", kind=self._kind)
        return self._store
