"""One guarded request and its answer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from time import perf_counter
from typing import TYPE_CHECKING

from starlette.websockets import WebSocket

from guard.asgi.admitted import Admitted
from guard.asgi.body import ClientGoneError
from guard.asgi.state import with_state
from guard.asgi.thoughts import SealedError, Thoughts
from guard.core.query import NO_USAGE
from guard.core.reshape import Reasoning
from guard.dialects import elsewhere, thinking, with_model
from guard.dialects.hiding import Sealer
from guard.dialects.strict import amended, parse_object, serialize
from guard.errors import QueryError
from guard.http.headers import check_media_type
from guard.sealing.seal import MARK
from guard.telemetry.events import Times

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

    from guard.asgi.answers import Refuser
    from guard.asgi.body import Body
    from guard.core.identity import Identity
    from guard.core.policy import Route
    from guard.core.query import Query
    from guard.core.reshape import Reshape
    from guard.core.sealed import Mismatch
    from guard.dialects.base import Dialect
    from guard.engine.admission import Admission
    from guard.sealing.thoughts import Thought
    from guard.service import Service

NOT_CHARGED = frozenset({429, 503})
"""Errors of a body that are not its own: there was no room for it."""


@dataclass(slots=True)
class Prepared:
    """A request that has been read: what it asks, and the body that the app gets, empty once it has it.

    `as_sent` is the body with the blobs that stood in it, empty where there were none: who reads what callers
    ask is not to take a model's thoughts for it. `opened` are the thoughts that were sealed in it,
    `mismatches` those that do not belong there, and `prefix` is what its answer's are bound to, where it is
    known.
    """

    query: Query
    body: bytes
    hides_usage: bool
    reasons: bool = False
    as_sent: bytes = b""
    opened: tuple[Thought, ...] = ()
    mismatches: tuple[Mismatch, ...] = ()
    prefix: bytes | None = None


class Exchange:
    """One guarded request and its answer.

    `began` is when the request came, by `perf_counter`, and `waited` how many seconds of the time since then
    are none of guard's own.
    """

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
        began: float,
    ) -> None:
        self.app = app
        self.engine = service.engine
        self.estimator = service.rules.estimator
        self.read_on_seconds = service.rules.read_on_seconds
        self.route = route
        self.dialect = dialect
        self.identity = identity
        self.whose = identity.accountable
        self.answer = answer
        self.path = path
        self.model = route.model_in(path)
        self.held = service.held
        self.began = began
        self.waited = 0.0
        self._sealing = service.rules.sealing
        self._receipts = service.receipts
        self._bodies = service.rules.bodies
        self._method = method

    async def run(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read, admit, and refuse or forward; raises `RequestError` where there is nothing to admit."""
        foreseen = self.engine.foresee(
            self.answer.request_id,
            self.identity,
            self.route.path,
            self._method,
            read=self.dialect is not None,
        )
        if foreseen is not None:
            await self._refuse(foreseen, scope, receive, send)
        elif scope["type"] == "websocket":
            await self._connect(scope, receive, send)
        else:
            body = self._bodies.of(self.whose, scope["headers"], receive)
            try:
                await self._read(body, scope, receive, send)
            finally:
                body.give_back()

    async def narrowed(self, prepared: Prepared, reshape: Reshape) -> Prepared:
        """The request as it is forwarded where it is to be reshaped."""
        assert self.dialect is not None
        narrowed = await self._bodies.parsed(
            len(prepared.body),
            self.whose,
            reshaped,
            self.dialect,
            prepared,
            self.path,
            reshape,
            self.model,
            self._thoughts,
        )
        if narrowed is not prepared:
            prepared.body = b""
        return narrowed

    async def _connect(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A WebSocket connection counts as one request; what is said on it is not read."""
        admission = await self._ask(None)
        if admission.refused:
            await self._refuse(admission, scope, receive, send)
            return
        try:
            await self.app(with_state(scope, admission), receive, send)
        finally:
            await self.engine.settle(admission, NO_USAGE, 101)

    async def _read(self, body: Body, scope: Scope, receive: Receive, send: Send) -> None:
        """Admit what a body asks for, or one that is not read; what cannot be read costs a request too."""
        prepared = None
        if self.dialect is not None:
            try:
                check_media_type(scope["headers"])
                prepared = await self._prepared(self.dialect, body, self.path)
            except (QueryError, ClientGoneError) as error:
                body.give_back()
                status = error.status if isinstance(error, QueryError) else None
                mismatches = error.mismatches if isinstance(error, SealedError) else ()
                if status not in NOT_CHARGED and await self._refused_unread(
                    status, mismatches, scope, receive, send
                ):
                    return
                raise
        admission = await self._ask(prepared.query if prepared else None)
        if prepared is not None and prepared.mismatches:
            admission = admission._replace(mismatches=prepared.mismatches)
        if admission.refused:
            await self._refuse(admission, scope, receive, send)
        else:
            await Admitted(self, prepared, body, admission, receive, send).run(scope)

    async def _prepared(self, dialect: Dialect, body: Body, path: str) -> Prepared:
        began = perf_counter()
        chunks = await body.read()
        self.waited += perf_counter() - began
        size = sum(map(len, chunks))
        prepared = await self._bodies.parsed(
            size, self.whose, prepare, dialect, chunks, path, self.model, self._thoughts
        )
        prepared.query = self.estimator.prepare(prepared.query, self.identity.principal)
        return prepared

    async def _refused_unread(
        self,
        status: int | None,
        mismatches: tuple[Mismatch, ...],
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> bool:
        """Charge one request for a body that is the client's fault; whether it is refused anyway."""
        admission = (await self._ask(None))._replace(mismatches=mismatches)
        if admission.refused:
            await self._refuse(admission, scope, receive, send)
        else:
            await self.engine.settle(admission, NO_USAGE, status)
        return admission.refused

    def sealer(self, prepared: Prepared, reshape: Reshape) -> Sealer | None:
        """What the answer tells of thoughts, `None` where that is nothing."""
        told = tuple(
            {"type": "thinking_dropped", "path": each.path, "reason": each.reason}
            for each in prepared.mismatches
            if each.dropped
        )
        seal = None
        if reshape.reasoning is Reasoning.SEALED and prepared.prefix is not None:
            seal = self._thoughts().seal(prepared.query, prepared.prefix)
        return Sealer(seal, told) if seal is not None or told else None

    def _thoughts(self) -> Thoughts:
        assert self.dialect is not None
        return Thoughts(self._sealing, self.identity, self.dialect)

    def _ask(self, query: Query | None) -> Awaitable[Admission]:
        return self.engine.admit(self.answer.request_id, self.identity, query, self.route.path, self._method)

    async def _refuse(self, admission: Admission, scope: Scope, receive: Receive, send: Send) -> None:
        response = self.answer.refusal(admission, self._receipts.of(admission))
        total = perf_counter() - self.began
        self.engine.refuse(admission, response.status_code, Times(total, total - self.waited, 0.0))
        await answer_with(response, scope, receive, send)


def prepare(
    dialect: Dialect,
    chunks: list[bytes],
    path: str,
    model: str | None = None,
    thoughts: Callable[[], Thoughts] | None = None,
) -> Prepared:
    """Read a body, and leave nothing of the chunks in which it came; raises `QueryError`.

    What was judged is what the app gets, byte for byte unless usage is asked for, or the body names another
    model than the path does, which is `model`: then that one stands in the body; or sealed thoughts stand in
    it: then they are put back, and judged with the rest.
    """
    body = b"".join(chunks)
    chunks.clear()
    payload = parse_object(body)
    asked = payload if model is None else with_model(dialect, payload, model)
    query = elsewhere.read(dialect, asked, path)
    unsealed, as_sent = None, b""
    if MARK in body and thoughts is not None:
        unsealed = thoughts().open(payload, query)
        if unsealed.payload is not payload:
            as_sent, payload, body = body, unsealed.payload, serialize(unsealed.payload)
            asked = payload if model is None else with_model(dialect, payload, model)
            query = elsewhere.read(dialect, asked, path)
    asking = dialect.ask_usage(payload)
    reasons = thinking.asks_reasoning(payload)
    told = payload if asking is None else asking
    if model is not None and told.get("model") is not None:
        told = with_model(dialect, told, model)
    sent = body if told is payload else amended(body, payload, told)
    prepared = Prepared(query, sent, hides_usage=asking is not None, reasons=reasons, as_sent=as_sent)
    if unsealed is not None:
        _, prepared.opened, prepared.mismatches, prepared.prefix = unsealed
    return prepared


def reshaped(
    dialect: Dialect,
    prepared: Prepared,
    path: str,
    reshape: Reshape,
    model: str | None = None,
    thoughts: Callable[[], Thoughts] | None = None,
) -> Prepared:
    """A request as it is forwarded narrowed; itself where nothing of it changes.

    What was estimated of the query stays. What it draws is that of the narrowed body, read as the first was.
    """
    payload = parse_object(prepared.body)
    if reshape.reasoning is Reasoning.SEALED and prepared.prefix is None and thoughts is not None:
        prepared.prefix = thoughts().prefix(payload)
    narrowed = dialect.reshape(payload, reshape)
    if narrowed is payload:
        return prepared
    asked = dialect.read(with_model(dialect, narrowed, model), path)
    query = prepared.query._replace(
        max_output_tokens=asked.max_output_tokens, n=asked.n, sampling=asked.sampling
    )
    return replace(prepared, query=query, body=serialize(narrowed))


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
