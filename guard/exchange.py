"""One guarded request and its answer."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from starlette.websockets import WebSocket

from guard.body import first
from guard.core.policy import WEBSOCKET
from guard.core.query import NO_USAGE, Usage
from guard.dialects.strict import parse_object, serialize
from guard.errors import BackendError
from guard.state import with_state
from guard.tap import Tap

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from guard.answers import Refuser
    from guard.core.identity import Identity
    from guard.core.policy import Route
    from guard.core.query import Query
    from guard.core.reshape import Reshape
    from guard.dialects.base import Dialect, Meter
    from guard.engine import Admission
    from guard.service import Service

MOVED_ELSEWHERE = frozenset({"http.response.pathsend", "http.response.zerocopysend"})
"""Extensions by which an app could answer past us."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request that has been read: what it asks, and the body that the app gets."""

    query: Query
    body: bytes
    hides_usage: bool


class Exchange:
    """One guarded request and its answer."""

    def __init__(
        self,
        app: ASGIApp,
        service: Service,
        route: Route,
        path: str,
        dialect: Dialect | None,
        identity: Identity,
        answer: Refuser,
    ) -> None:
        self._app = app
        self._engine = service.engine
        self._bodies = service.rules.bodies
        self._estimator = service.rules.estimator
        self._route = route
        self._path = path
        self._dialect = dialect
        self._identity = identity
        self._answer = answer

    async def run(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read, admit, and refuse or forward; raises `RequestError` where there is nothing to admit."""
        foreseen = self._engine.foresee(
            self._answer.request_id,
            self._identity,
            self._route.path,
            method_of(scope),
            read=self._dialect is not None,
        )
        if foreseen is not None:
            await self._refuse(foreseen, scope, receive, send)
        elif scope["type"] == "websocket":
            await self._connect(scope, receive, send)
        elif self._dialect is None:
            await self._admit(scope, receive, send, None)
        else:
            await self._read(self._dialect, scope, receive, send)

    async def _connect(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A WebSocket connection counts as one request; what is said on it is not read."""
        admission = await self._engine.admit(
            self._answer.request_id, self._identity, None, self._route.path, WEBSOCKET
        )
        if admission.refused:
            await self._refuse(admission, scope, receive, send)
            return
        try:
            await self._app(with_state(scope, admission), receive, send)
        finally:
            await self._engine.settle(admission, NO_USAGE, 101)

    async def _read(self, dialect: Dialect, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._bodies.read(dict(scope["headers"]), receive) as body:
            prepared = prepare(dialect, body, self._path)
            prepared = replace(prepared, query=self._estimator.prepare(prepared.query))
            await self._admit(scope, receive, send, prepared)

    async def _admit(self, scope: Scope, receive: Receive, send: Send, prepared: Prepared | None) -> None:
        query = prepared.query if prepared else None
        admission = await self._engine.admit(
            self._answer.request_id, self._identity, query, self._route.path, method_of(scope)
        )
        if admission.refused:
            await self._refuse(admission, scope, receive, send)
        else:
            await self._forward(scope, receive, send, prepared, admission)

    async def _refuse(self, admission: Admission, scope: Scope, receive: Receive, send: Send) -> None:
        response = self._answer.refusal(admission)
        self._engine.refuse(admission, response.status_code)
        await answer_with(response, scope, receive, send)

    async def _forward(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        prepared: Prepared | None,
        admission: Admission,
    ) -> None:
        reshape = admission.decision.reshape

        async def settle(usage: Usage, status: int | None) -> None:
            if unreached:
                await self._engine.release(admission, status)
                return
            if prepared is not None:
                self._estimator.learn(prepared.query, usage)
            await self._engine.settle(admission, usage, status)

        def meter(content_type: str) -> Meter | None:
            if self._dialect is None or prepared is None:
                return None
            return self._dialect.meter(
                prepared.query, content_type, hide_usage=prepared.hides_usage, reshape=reshape
            )

        tap = Tap(send, meter, self._answer.limit_headers(admission.decision), settle)
        left = unreached = False

        async def watching() -> Message:
            nonlocal left
            message = await receive()
            left = left or message["type"] == "http.disconnect"
            return message

        try:
            if admission.wait_seconds:
                await asyncio.sleep(admission.wait_seconds)
            if self._dialect is not None and prepared is not None:
                prepared = reshaped(self._dialect, prepared, self._path, reshape)
                scope, receive = _forwarded(scope, receive, prepared.body)
            await self._app(with_state(scope, admission), watching, tap.send)
        except BackendError as error:
            self._engine.fail(self._answer.request_id, error, self._identity, self._route.path, scope)
            if tap.started:
                raise
            unreached = not error.reached
            await self._answer.backend_failed(error)(scope, receive, tap.send)
        finally:
            # A client that leaves while it waits has made the backend read its query.
            read = Usage(prepared.query.input_tokens, 0) if left and prepared else NO_USAGE
            await tap.close(read)


def method_of(scope: Scope) -> str:
    """The method that routes and limits go by."""
    return WEBSOCKET if scope["type"] == "websocket" else str(scope["method"])


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


def reshaped(dialect: Dialect, prepared: Prepared, path: str, reshape: Reshape) -> Prepared:
    """A request as it is forwarded narrowed; itself where nothing of it changes.

    What was estimated of the query stays. What it draws is that of the narrowed body, read as the first was.
    """
    if not reshape.changes:
        return prepared
    payload = parse_object(prepared.body)
    narrowed = dialect.reshape(payload, reshape)
    if narrowed is payload:
        return prepared
    asked = dialect.read(narrowed, path)
    query = replace(
        prepared.query, max_output_tokens=asked.max_output_tokens, n=asked.n, sampling=asked.sampling
    )
    return replace(prepared, query=query, body=serialize(narrowed))


def _forwarded(scope: Scope, receive: Receive, body: bytes) -> tuple[Scope, Receive]:
    """What the app gets, with this body, and without a way to answer past us."""
    extensions = scope.get("extensions") or {}
    scope = {
        **scope,
        "headers": _forwarded_headers(scope["headers"], len(body)),
        "extensions": {name: value for name, value in extensions.items() if name not in MOVED_ELSEWHERE},
    }
    return scope, first({"type": "http.request", "body": body, "more_body": False}, receive)


def _forwarded_headers(headers: Iterable[tuple[bytes, bytes]], length: int) -> list[tuple[bytes, bytes]]:
    """The headers for the body that the app gets; it answers uncompressed, so that its usage can be read."""
    dropped = {b"content-length", b"transfer-encoding", b"accept-encoding", b"expect"}
    kept = [(name, value) for name, value in headers if name not in dropped]
    return [*kept, (b"content-length", str(length).encode())]


async def answer_with(response: Response, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request; the handshake of a WebSocket too, where the server can, else by closing it."""
    if scope["type"] == "http":
        await response(scope, receive, send)
        return
    websocket = WebSocket(scope, receive, send)
    await websocket.receive()
    if "websocket.http.response" in (scope.get("extensions") or {}):
        await websocket.send_denial_response(response)
    else:
        await websocket.close(1008)
