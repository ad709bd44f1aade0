"""An admitted request on its way to the app, and the answer on its way back."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING

from guard.analyst.transcript import Copies
from guard.asgi.body import HELD
from guard.asgi.copies import MOST_COPIED
from guard.asgi.state import with_state
from guard.asgi.tap import Tap
from guard.asgi.thoughts import ErrorMeter
from guard.core.query import NO_USAGE, Usage
from guard.dialects.openai_responses import StoredMeter
from guard.errors import BackendError
from guard.http.client import program
from guard.telemetry.events import Times
from guard.telemetry.tracing import TRACED

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import Message, Receive, Scope, Send

    from guard.asgi.body import Body
    from guard.asgi.exchange import Exchange, Prepared
    from guard.dialects.base import Meter
    from guard.engine.admission import Admission
    from guard.errors import RequestError
    from guard.telemetry.tracing import Traced

MOVED_ELSEWHERE = frozenset({"http.response.pathsend", "http.response.zerocopysend"})
"""Extensions by which an app could answer past us."""

_OF_THE_BODY = frozenset(
    {b"accept-encoding", b"content-encoding", b"content-length", b"content-type", b"expect"}
)


class Admitted:
    """Forwards one admitted request, and settles it when its answer is over.

    `prepared` is what has been read of it, `None` where its body is not read.
    """

    def __init__(
        self,
        exchange: Exchange,
        prepared: Prepared | None,
        body: Body,
        admission: Admission,
        receive: Receive,
        send: Send,
    ) -> None:
        if prepared is not None:
            # The texts are let go, since an answer may take minutes. From here on the query is what the
            # answer is settled by.
            asked = admission.demand.query or prepared.query
            prepared.query = asked.without_texts().without_discount()
        self._exchange = exchange
        self._prepared = prepared
        self._body = body
        self._admission = admission
        self._reshape = admission.reshape
        self._receive = receive if prepared is not None else body.pass_on
        self._given = prepared is None
        self._left = self._unreached = False
        headers = exchange.answer.limit_headers(admission.decision)
        self._kept: bytes | None = None
        self._forwarded = exchange.began
        self._headers: Iterable[tuple[bytes, bytes]] = ()
        self._tap = Tap(
            send,
            self,
            headers,
            exchange.read_on_seconds,
            most_copied=MOST_COPIED if admission.read else 0,
        )

    async def run(self, scope: Scope) -> None:
        """Have the app answer; raises what it raises, but for a failure of the backend."""
        exchange, admission, body, tap = self._exchange, self._admission, self._body, self._tap
        self._headers = scope["headers"]
        try:
            if admission.wait_seconds:
                slowed = perf_counter()
                await asyncio.sleep(admission.wait_seconds)
                exchange.waited += perf_counter() - slowed
            if self._prepared is not None:
                if self._reshape.changes:
                    self._prepared = await exchange.narrowed(self._prepared, self._reshape)
                scope = _forwarded(scope, len(self._prepared.body), body)
            traced: Traced | None = scope.get(TRACED)
            if traced is not None:
                asked = self._prepared.query.model if self._prepared is not None else None
                scope = traced.forwarded(scope, admission.dialect, asked)
            scope = with_state(scope, admission)
            self._forwarded = perf_counter()
            await exchange.app(scope, self.receive, tap.send)
        except BackendError as error:
            self._fail(error, scope)
            self._unreached = not tap.started and not error.reached
            # The server closes the connection of an answer that has no end, and says so in one line.
            if not tap.started and body.error is None:
                await exchange.answer.backend_failed(error)(scope, self.receive, tap.send)
        except Exception:
            # An app may raise what it likes where it sees its client leave.
            if body.error is None or tap.started:
                raise
        finally:
            try:
                if body.error is not None and not tap.started:
                    self._fail(body.error, scope)
                    await exchange.answer.error(body.error)(scope, self.receive, tap.send)
            finally:
                await tap.close(self._unanswered)

    async def receive(self) -> Message:
        """What the app gets: the body that was judged, and then what comes from the client."""
        if not self._given and self._prepared is not None:
            self._given = True
            content, self._prepared.body = self._prepared.body, b""
            as_sent, self._prepared.as_sent = self._prepared.as_sent, b""
            if self._admission.read:
                self._kept = self._exchange.held.keep(as_sent or content)
            self._body.handed_on()
            return {"type": "http.request", "body": content, "more_body": False}
        if not self._left:
            message = await self._receive()
            if message["type"] != "http.disconnect" or self._body.error is not None:
                return message
            self._left = True
        # An app that only has a look is cancelled here, and looks again.
        await self._tap.read_on()
        return {"type": "http.disconnect"}

    def meter(self, content_type: str) -> Meter | None:
        """What watches an answer of this type."""
        dialect, prepared = self._exchange.dialect, self._prepared
        if dialect is None or prepared is None:
            return StoredMeter.of(self._exchange.path, content_type, self._reshape)
        prepared.opened, sealer = (), None
        if prepared.prefix is not None:
            sealer = self._exchange.sealer(prepared, self._reshape)
        return dialect.meter(
            prepared.query,
            content_type,
            hide_usage=prepared.hides_usage,
            reshape=self._reshape,
            sealer=sealer,
        )

    def error_meter(self, status: int, *, readable: bool) -> Meter | None:
        """What watches an answer that is an error: one that might quote what its client may not see."""
        if self._prepared is None or not self._prepared.opened:
            return None
        # Once: guard's own error, in place of one that was withheld, is none of the backend's.
        opened, self._prepared.opened = self._prepared.opened, ()
        return ErrorMeter(opened, status, readable=readable)

    async def settle(self, usage: Usage, status: int | None) -> None:
        """The answer is over: charge what it used, or give all back where no backend has got the request."""
        exchange, prepared, copies = self._exchange, self._prepared, self._copies()
        if self._unreached:
            await exchange.engine.release(self._admission, status)
            return
        if prepared is not None:
            usage = self._owed(prepared, usage)
            exchange.estimator.learn(
                prepared.query,
                usage,
                exchange.identity.principal,
                voice=exchange.whose,
                reasons=prepared.reasons,
            )
        times = Times(
            perf_counter() - exchange.began,
            self._forwarded - exchange.began - exchange.waited,
            self._tap.spent_seconds,
        )
        await exchange.engine.settle(self._admission, usage, status, copies, times)

    def _copies(self) -> Copies | None:
        """What is to be read, now that the answer is over; the request is kept no longer."""
        exchange, copy, kept = self._exchange, self._tap.copy, self._kept
        if kept is None:
            return None
        self._kept = None
        exchange.held.let_go(kept)
        if copy is None or exchange.dialect is None:
            return None
        return Copies(
            exchange.dialect.name,
            exchange.path,
            exchange.model,
            kept,
            copy.body,
            copy.content_type,
            copy.codings,
            client=program(self._headers),
        )

    @property
    def _unanswered(self) -> Usage:
        """What is owed without an answer: a client that leaves while it waits has made the backend read its
        query."""
        if self._left and self._prepared is not None:
            return Usage(self._prepared.query.input_tokens, 0)
        return NO_USAGE

    def _owed(self, prepared: Prepared, usage: Usage) -> Usage:
        """What an answer owes: all that was reserved, where its client left before the last word on its usage
        and much of it may not have been seen. Of several answers that are over, it is what was reserved for
        those that have begun: a server may give one after another, and has not worked on the others."""
        if not self._tap.cut_short:
            return usage
        hides = self._exchange.estimator.hides_output(
            prepared.query.model, self._exchange.identity.principal, reasons=prepared.reasons
        )
        if not self._tap.ended and not hides:
            return usage
        most = self._admission.demand.output_tokens
        if not hides:
            most = -(-most * usage.answers // max(1, prepared.query.n))
        return replace(usage, output_tokens=max(usage.output_tokens, most))

    def _fail(self, error: RequestError | BackendError, scope: Scope) -> None:
        exchange = self._exchange
        exchange.engine.fail(exchange.answer.request_id, error, exchange.identity, exchange.route.path, scope)


def _forwarded(scope: Scope, size: int, body: Body) -> Scope:
    """The scope of a request whose body was read, without a way to answer past us."""
    extensions = scope.get("extensions") or {}
    if not MOVED_ELSEWHERE.isdisjoint(extensions):
        extensions = {name: value for name, value in extensions.items() if name not in MOVED_ELSEWHERE}
    # The body is JSON, and the app answers uncompressed, so that its usage can be read.
    headers = [pair for pair in scope["headers"] if pair[0] not in _OF_THE_BODY]
    headers += [(b"content-type", b"application/json"), (b"content-length", b"%d" % size)]
    return {**scope, "headers": headers, "extensions": {**extensions, HELD: body}}
