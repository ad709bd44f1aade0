"""One guarded request and its answer."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from starlette.websockets import WebSocket

from guard.asgi.body import HELD, ClientGoneError
from guard.asgi.state import with_state
from guard.asgi.tap import Tap
from guard.core.identity import Attribute
from guard.core.query import NO_USAGE, Usage
from guard.dialects import elsewhere, thinking, with_model
from guard.dialects.strict import amended, parse_object, serialize
from guard.errors import BackendError, QueryError
from guard.http.headers import check_media_type

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from guard.asgi.answers import Refuser
    from guard.asgi.body import Body
    from guard.core.identity import Identity
    from guard.core.policy import Route
    from guard.core.query import Query
    from guard.core.reshape import Reshape
    from guard.dialects.base import Dialect, Meter
    from guard.engine.admission import Admission
    from guard.service import Service

MOVED_ELSEWHERE = frozenset({"http.response.pathsend", "http.response.zerocopysend"})
"""Extensions by which an app could answer past us."""

NOT_CHARGED = frozenset({429, 503})
"""Errors of a body that are not its own: there was no room for it."""

_OF_THE_BODY = frozenset(
    {b"accept-encoding", b"content-encoding", b"content-length", b"content-type", b"expect"}
)


@dataclass(slots=True)
class Prepared:
    """A request that has been read: what it asks, and the body that the app gets, empty once it has it."""

    query: Query
    body: bytes
    hides_usage: bool
    reasons: bool = False


class Exchange:
    """One guarded request and its answer."""

    def __init__(
        self,
        app: ASGIApp,
        service: Service,
        route: Route,
        method: str,
        path: str,
        dialect: Dialect | None,
        identity: Identity,
        answer: Refuser,
    ) -> None:
        self._app = app
        self._engine = service.engine
        self._bodies = service.rules.bodies
        self._estimator = service.rules.estimator
        self._read_on_seconds = service.rules.read_on_seconds
        self._route = route
        self._method = method
        self._path = path
        self._model = route.model_in(path)
        self._dialect = dialect
        self._identity = identity
        self._pool = identity.holder(Attribute.POOL)
        self._answer = answer

    async def run(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read, admit, and refuse or forward; raises `RequestError` where there is nothing to admit."""
        foreseen = self._engine.foresee(
            self._answer.request_id,
            self._identity,
            self._route.path,
            self._method,
            read=self._dialect is not None,
        )
        if foreseen is not None:
            await self._refuse(foreseen, scope, receive, send)
        elif scope["type"] == "websocket":
            await self._connect(scope, receive, send)
        else:
            body = self._bodies.of(self._pool, scope["headers"], receive)
            try:
                await self._read(body, scope, receive, send)
            finally:
                body.give_back()

    async def _connect(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A WebSocket connection counts as one request; what is said on it is not read."""
        admission = await self._ask(None)
        if admission.refused:
            await self._refuse(admission, scope, receive, send)
            return
        try:
            await self._app(with_state(scope, admission), receive, send)
        finally:
            await self._engine.settle(admission, NO_USAGE, 101)

    async def _read(self, body: Body, scope: Scope, receive: Receive, send: Send) -> None:
        """Admit what a body asks for, or one that is not read; what cannot be read costs a request too."""
        prepared = None
        if self._dialect is not None:
            try:
                check_media_type(scope["headers"])
                prepared = await self._prepared(self._dialect, body, self._path)
            except (QueryError, ClientGoneError) as error:
                body.give_back()
                status = error.status if isinstance(error, QueryError) else None
                if status not in NOT_CHARGED and await self._refused_unread(status, scope, receive, send):
                    return
                raise
        admission = await self._ask(prepared.query if prepared else None)
        if admission.refused:
            await self._refuse(admission, scope, receive, send)
        else:
            await self._forward(scope, receive, send, prepared, body, admission)

    async def _prepared(self, dialect: Dialect, body: Body, path: str) -> Prepared:
        chunks = await body.read()
        size = sum(map(len, chunks))
        prepared = await self._bodies.parsed(size, self._pool, prepare, dialect, chunks, path, self._model)
        prepared.query = self._estimator.prepare(prepared.query, self._identity.principal)
        return prepared

    async def _refused_unread(self, status: int | None, scope: Scope, receive: Receive, send: Send) -> bool:
        """Charge one request for a body that is the client's fault; whether it is refused anyway."""
        admission = await self._ask(None)
        if admission.refused:
            await self._refuse(admission, scope, receive, send)
        else:
            await self._engine.settle(admission, NO_USAGE, status)
        return admission.refused

    def _ask(self, query: Query | None) -> Awaitable[Admission]:
        return self._engine.admit(
            self._answer.request_id, self._identity, query, self._route.path, self._method
        )

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
        body: Body,
        admission: Admission,
    ) -> None:
        reshape = admission.decision.reshape
        if prepared is not None:
            # The texts have been looked at, or are held by who will; an answer may take minutes. From here
            # on the query is what the answer is settled by.
            asked = admission.demand.query or prepared.query
            prepared.query = asked.without_texts().without_discount()

        async def settle(usage: Usage, status: int | None) -> None:
            if unreached:
                await self._engine.release(admission, status)
                return
            if prepared is not None:
                usage = self._owed(tap, prepared, admission, usage)
                self._estimator.learn(
                    prepared.query,
                    usage,
                    self._identity.principal,
                    voice=self._pool,
                    reasons=prepared.reasons,
                )
            await self._engine.settle(admission, usage, status)

        def meter(content_type: str) -> Meter | None:
            if self._dialect is None or prepared is None:
                return None
            return self._dialect.meter(
                prepared.query, content_type, hide_usage=prepared.hides_usage, reshape=reshape
            )

        receive = receive if prepared is not None else body.pass_on
        headers = self._answer.limit_headers(admission.decision)
        tap = Tap(send, meter, headers, settle, self._read_on_seconds)
        left = unreached = False

        async def watching() -> Message:
            nonlocal left
            if not left:
                message = await receive()
                if message["type"] != "http.disconnect" or body.error is not None:
                    return message
                left = True
            # An app that only has a look is cancelled here, and looks again.
            await tap.read_on()
            return {"type": "http.disconnect"}

        try:
            if admission.wait_seconds:
                await asyncio.sleep(admission.wait_seconds)
            if self._dialect is not None and prepared is not None:
                if reshape.changes:
                    whole = prepared
                    prepared = await self._bodies.parsed(
                        len(whole.body),
                        self._pool,
                        reshaped,
                        self._dialect,
                        whole,
                        self._path,
                        reshape,
                        self._model,
                    )
                    if whole is not prepared:
                        whole.body = b""
                scope, receive = _forwarded(scope, receive, prepared, body)
            await self._app(with_state(scope, admission), watching, tap.send)
        except BackendError as error:
            self._engine.fail(self._answer.request_id, error, self._identity, self._route.path, scope)
            unreached = not tap.started and not error.reached
            # The server closes the connection of an answer that has no end, and says so in one line.
            if not tap.started and body.error is None:
                await self._answer.backend_failed(error)(scope, receive, tap.send)
        except Exception:
            # An app may raise what it likes where it sees its client leave.
            if body.error is None or tap.started:
                raise
        finally:
            if body.error is not None and not tap.started:
                self._engine.fail(
                    self._answer.request_id, body.error, self._identity, self._route.path, scope
                )
                await self._answer.error(body.error)(scope, receive, tap.send)
            # A client that leaves while it waits has made the backend read its query.
            read = Usage(prepared.query.input_tokens, 0) if left and prepared else NO_USAGE
            await tap.close(read)

    def _owed(self, tap: Tap, prepared: Prepared, admission: Admission, usage: Usage) -> Usage:
        """What an answer owes: all that was reserved, where its client left before the last word on its usage
        and much of it may not have been seen. Of several answers that are over, it is what was reserved for
        those that have begun: a server may give one after another, and has not worked on the others."""
        if not tap.cut_short:
            return usage
        hides = self._estimator.hides_output(
            prepared.query.model, self._identity.principal, reasons=prepared.reasons
        )
        if not tap.ended and not hides:
            return usage
        most = admission.demand.output_tokens
        if not hides:
            most = -(-most * usage.answers // max(1, prepared.query.n))
        return replace(usage, output_tokens=max(usage.output_tokens, most))


def prepare(dialect: Dialect, chunks: list[bytes], path: str, model: str | None = None) -> Prepared:
    """Read a body, and leave nothing of the chunks in which it came; raises `QueryError`.

    What was judged is what the app gets, byte for byte unless usage is asked for, or the body names another
    model than the path does, which is `model`: then that one stands in the body.
    """
    body = b"".join(chunks)
    chunks.clear()
    payload = parse_object(body)
    asked = payload if model is None else with_model(dialect, payload, model)
    query = elsewhere.read(dialect, asked, path)
    asking = dialect.ask_usage(payload)
    reasons = thinking.asks_reasoning(payload)
    told = payload if asking is None else asking
    if model is not None and told.get("model") is not None:
        told = with_model(dialect, told, model)
    sent = body if told is payload else amended(body, payload, told)
    return Prepared(query, sent, hides_usage=asking is not None, reasons=reasons)


def reshaped(
    dialect: Dialect, prepared: Prepared, path: str, reshape: Reshape, model: str | None = None
) -> Prepared:
    """A request as it is forwarded narrowed; itself where nothing of it changes.

    What was estimated of the query stays. What it draws is that of the narrowed body, read as the first was.
    """
    payload = parse_object(prepared.body)
    narrowed = dialect.reshape(payload, reshape)
    if narrowed is payload:
        return prepared
    asked = dialect.read(with_model(dialect, narrowed, model), path)
    query = replace(
        prepared.query, max_output_tokens=asked.max_output_tokens, n=asked.n, sampling=asked.sampling
    )
    return replace(prepared, query=query, body=serialize(narrowed))


def _forwarded(scope: Scope, receive: Receive, prepared: Prepared, body: Body) -> tuple[Scope, Receive]:
    """What the app gets, without a way to answer past us; once it has the body, guard holds it no longer."""
    extensions = scope.get("extensions") or {}
    if not MOVED_ELSEWHERE.isdisjoint(extensions):
        extensions = {name: value for name, value in extensions.items() if name not in MOVED_ELSEWHERE}
    # The body is JSON, and the app answers uncompressed, so that its usage can be read.
    headers = [pair for pair in scope["headers"] if pair[0] not in _OF_THE_BODY]
    headers += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(prepared.body))]
    scope = {
        **scope,
        "headers": headers,
        "extensions": {**extensions, HELD: body},
    }
    given = False

    async def receive_body() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        content, prepared.body = prepared.body, b""
        body.handed_on()
        return {"type": "http.request", "body": content, "more_body": False}

    return scope, receive_body


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
