"""ASGI in, ASGI out: what guard does to one request."""

from __future__ import annotations

import asyncio
import logging
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from starlette.responses import Response
from starlette.websockets import WebSocket

from guard.body import BodyReader, ClientGoneError, first
from guard.config import Settings, load
from guard.core.policy import WEBSOCKET, Mode, Reason, RouteAction
from guard.core.query import NO_USAGE, Usage
from guard.dialects import DIALECTS, PLAIN
from guard.dialects.base import Refusal
from guard.dialects.strict import parse_object, serialize
from guard.engine import Engine, Installation
from guard.errors import BackendError, GuardError, RequestError, StoreError
from guard.identify import Identifier
from guard.tap import Tap
from guard.telemetry import log_event

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from guard.core.identity import Identity
    from guard.core.policy import Route
    from guard.core.query import Query
    from guard.dialects.base import Dialect, Meter, Voice
    from guard.engine import Admission
    from guard.telemetry import Hook

logger = logging.getLogger("guard")

MOVED_ELSEWHERE = frozenset({"http.response.pathsend", "http.response.zerocopysend"})
"""Extensions by which an app could answer past us."""


@dataclass(frozen=True, slots=True)
class Running:
    """What is open while requests are served, on one event loop."""

    loop: asyncio.AbstractEventLoop
    installation: Installation
    engine: Engine
    identifier: Identifier
    bodies: BodyReader
    starting: asyncio.Task[None]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request that has been read: what it asks, and the body that the app gets."""

    query: Query
    body: bytes
    hides_usage: bool


class GuardMiddleware:
    """Holds every request against quotas before the app sees it.

        app.add_middleware(GuardMiddleware, config="guard.toml")

    `config` is a path, a `Settings`, or nothing for what `guard.config.load` finds. The settings are read
    and the store is opened when the server starts, or at the first request where no lifespan reaches us; a
    setting that cannot work stops the server's start with its message. `hooks` get an `Event` for each
    request.
    """

    def __init__(
        self,
        app: ASGIApp,
        config: str | Path | Settings | None = None,
        *,
        hooks: Iterable[Hook] = (log_event,),
    ) -> None:
        self._app = app
        self._config = config
        self._hooks = tuple(hooks)
        self._running: Running | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one scope."""
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        else:
            raise RuntimeError(f"guard lets nothing pass that it does not know: scope {scope['type']!r}")

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        running = await self._opened()
        policy = running.engine.policy
        route = policy.route(scope["method"], scope["path"])
        if policy.mode is Mode.OFF or route.action is RouteAction.PASS:
            await self._app(scope, receive, send)
            return
        # The server may add trailers to its list of headers later; we and the app go by what there is now.
        scope = {**scope, "headers": list(scope["headers"])}
        dialect = DIALECTS[route.dialect] if route.dialect else None
        request_id = f"req_{secrets.token_hex(12)}"
        answer = Refuser(dialect or PLAIN, request_id)
        try:
            if route.action is RouteAction.DENY:
                raise RequestError("There is nothing here.", status=404)
            identity = running.identifier.identify(scope["headers"], scope.get("client"))
            await Exchange(self._app, running, route, dialect, identity, answer).run(scope, receive, send)
        except RequestError as error:
            await answer.error(error)(scope, receive, send)
        except ClientGoneError:
            return

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A WebSocket connection counts as one request; what is said on it is not read."""
        running = await self._opened()
        policy = running.engine.policy
        route = policy.route(WEBSOCKET, scope["path"])
        if policy.mode is Mode.OFF or route.action is RouteAction.PASS:
            await self._app(scope, receive, send)
            return
        scope = {**scope, "headers": list(scope["headers"])}
        request_id = f"req_{secrets.token_hex(12)}"
        answer = Refuser(PLAIN, request_id)
        try:
            if route.action is RouteAction.DENY:
                raise RequestError("There is nothing here.", status=404)
            identity = running.identifier.identify(scope["headers"], scope.get("client"))
        except RequestError as error:
            await _deny_websocket(answer.error(error), scope, receive, send)
            return
        admission = await running.engine.admit(request_id, identity, None, route.path)
        if admission.refused:
            response = answer.refusal(admission)
            running.engine.refuse(admission, response.status_code)
            await _deny_websocket(response, scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        finally:
            await running.engine.settle(admission, NO_USAGE, 101)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Open before the app starts up, close after it has shut down."""
        startup = await receive()
        try:
            await self._open()
        except GuardError as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            raise

        async def closing(message: Message) -> None:
            if message["type"].startswith("lifespan.shutdown"):
                await self.aclose()
            await send(message)

        await self._app(scope, first(startup, receive), closing)

    async def _opened(self) -> Running:
        """What is open; a store that does not start is for `on_store_error` to answer, request by request."""
        if self._running is not None and self._running.starting.done():
            return self._running
        try:
            return await self._open()
        except StoreError as error:
            logger.warning("the store does not start (%s): %s", error.kind, error)
            return self._open_now()

    async def _open(self) -> Running:
        """Open, once however many requests come at the same time; raises `ConfigError` and `StoreError`."""
        running = self._open_now()
        await asyncio.shield(running.starting)
        return running

    def _open_now(self) -> Running:
        loop = asyncio.get_running_loop()
        if self._running is None or self._running.loop is not loop:
            settings = self._config if isinstance(self._config, Settings) else load(self._config)
            installation = Installation.of(settings)
            self._running = Running(
                loop,
                installation,
                Engine(settings.policy(), installation.store, installation.keys, self._hooks),
                Identifier(settings.identity, installation.keys),
                BodyReader(settings.body),
                loop.create_task(installation.store.start()),
            )
        return self._running

    async def aclose(self) -> None:
        """Close what is open; done for you where the server's lifespan reaches us."""
        if self._running is not None:
            await self._running.engine.drain()
            await self._running.installation.store.aclose()
            self._running = None


class Exchange:
    """One guarded request and its answer."""

    def __init__(
        self,
        app: ASGIApp,
        running: Running,
        route: Route,
        dialect: Dialect | None,
        identity: Identity,
        answer: Refuser,
    ) -> None:
        self._app = app
        self._running = running
        self._route = route
        self._dialect = dialect
        self._identity = identity
        self._answer = answer

    async def run(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read, admit, and refuse or forward; raises `RequestError` where there is nothing to admit."""
        if self._dialect is None:
            await self._admit(scope, receive, send, None)
            return
        async with self._running.bodies.read(dict(scope["headers"]), receive) as body:
            prepared = prepare(self._dialect, body, scope["path"])
            scope = {
                **scope,
                "headers": _forwarded_headers(scope["headers"], len(prepared.body)),
                "extensions": {
                    name: value
                    for name, value in (scope.get("extensions") or {}).items()
                    if name not in MOVED_ELSEWHERE
                },
            }
            message = {"type": "http.request", "body": prepared.body, "more_body": False}
            await self._admit(scope, first(message, receive), send, prepared)

    async def _admit(self, scope: Scope, receive: Receive, send: Send, prepared: Prepared | None) -> None:
        engine = self._running.engine
        query = prepared.query if prepared else None
        admission = await engine.admit(self._answer.request_id, self._identity, query, self._route.path)
        if admission.refused:
            response = self._answer.refusal(admission)
            engine.refuse(admission, response.status_code)
            await response(scope, receive, send)
            return
        await self._forward(scope, receive, send, prepared, admission)

    async def _forward(
        self, scope: Scope, receive: Receive, send: Send, prepared: Prepared | None, admission: Admission
    ) -> None:
        engine = self._running.engine

        async def settle(usage: Usage, status: int | None) -> None:
            await engine.settle(admission, usage, status)

        def meter(content_type: str) -> Meter | None:
            if self._dialect is None or prepared is None:
                return None
            return self._dialect.meter(prepared.query, content_type, hide_usage=prepared.hides_usage)

        headers = self._answer.voice.limit_headers(admission.decision.readings, datetime.now(UTC))
        tap = Tap(send, meter, headers, settle)
        left = False

        async def watching() -> Message:
            nonlocal left
            message = await receive()
            left = left or message["type"] == "http.disconnect"
            return message

        try:
            await self._app(scope, watching, tap.send)
        except BackendError as error:
            if tap.started:
                raise
            await self._answer.backend_failed(error)(scope, receive, tap.send)
        finally:
            # A client that leaves while it waits has made the backend read its query.
            read = Usage(prepared.query.input_tokens, 0) if left and prepared else NO_USAGE
            await tap.close(read)


class Refuser:
    """Makes guard's own answers to one request."""

    def __init__(self, voice: Voice, request_id: str) -> None:
        self.voice = voice
        self.request_id = request_id

    def error(self, error: RequestError) -> Response:
        """The answer to a request that cannot be judged."""
        code = _CODES.get(error.status, "invalid_request")
        wait_us = 1_000_000 if error.status == 503 else None
        return self._response(Refusal(error.status, error.message, code, error.param, retry_after_us=wait_us))

    def backend_failed(self, error: BackendError) -> Response:
        """The answer when the backend gave none."""
        return self._response(Refusal(error.status, str(error), "backend_failed"))

    def refusal(self, admission: Admission) -> Response:
        """The answer to a request that was refused."""
        decision = admission.decision
        unit = decision.violated[0].limit.unit if decision.violated else None
        status, code, message = _REFUSALS[decision.reason or Reason.QUOTA]
        if decision.reason is Reason.QUOTA and decision.retry_after_us is not None:
            message = f"{message} Please try again in {decision.retry_after_us / 1e6:.3f}s."
        refusal = Refusal(status, message, code, None, unit, decision.retry_after_us)
        return self._response(refusal, self.voice.limit_headers(decision.readings, datetime.now(UTC)))

    def _response(self, refusal: Refusal, headers: Iterable[tuple[str, str]] = ()) -> Response:
        answer = self.voice.refuse(refusal, self.request_id)
        return Response(
            answer.body, answer.status, {**dict(answer.headers), **dict(headers), "cache-control": "no-store"}
        )


_REFUSALS = {
    Reason.QUOTA: (429, "rate_limit_exceeded", "Rate limit reached."),
    Reason.TOO_LARGE: (
        413,
        "request_too_large",
        "This request is larger than your limits ever allow; make it smaller.",
    ),
    Reason.BLOCKED: (403, "access_blocked", "Access is blocked."),
    Reason.STORE: (
        503,
        "temporarily_unavailable",
        "The service is temporarily unavailable. Please try again.",
    ),
}

_CODES = {
    401: "invalid_api_key",
    404: "unknown_path",
    408: "request_timeout",
    413: "request_too_large",
    415: "unsupported_encoding",
    503: "temporarily_unavailable",
}


def prepare(dialect: Dialect, body: bytes, path: str) -> Prepared:
    """Read a body; raises `QueryError`.

    What was judged is what the app gets, byte for byte unless usage is asked for.
    """
    payload = parse_object(body)
    query = dialect.read(payload, path)
    asking = dialect.ask_usage(payload)
    if asking is None:
        return Prepared(query, body, hides_usage=False)
    return Prepared(query, serialize(asking), hides_usage=True)


def _forwarded_headers(headers: Iterable[tuple[bytes, bytes]], length: int) -> list[tuple[bytes, bytes]]:
    """The headers for the body that the app gets; it answers uncompressed, so that its usage can be read."""
    dropped = {b"content-length", b"transfer-encoding", b"accept-encoding", b"expect"}
    kept = [(name, value) for name, value in headers if name not in dropped]
    return [*kept, (b"content-length", str(length).encode())]


async def _deny_websocket(response: Response, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer the handshake with an HTTP response where the server can, else by closing it."""
    websocket = WebSocket(scope, receive, send)
    await websocket.receive()
    if "websocket.http.response" in (scope.get("extensions") or {}):
        await websocket.send_denial_response(response)
    else:
        await websocket.close(1008)
