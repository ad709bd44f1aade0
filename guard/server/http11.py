"""HTTP/1.1 as `guard serve` speaks it: uvicorn's protocol on httptools, with bounds.

httptools hands on what it reads piece by piece and bounds nothing: a head without an end would fill the
memory before anything of guard's own sees the request. What holds on a connection:

- The head of a request (its first line and its fields) has at most `max_head_bytes`, `MOST_FIELDS` fields,
  and a target of at most `LONGEST_TARGET` bytes: 431, or 414. So have the lines of a chunked body that are
  not body: the size of a chunk with its extensions, and the trailers. All of these together have as many
  bytes, and an eighth of the body's more: 400, since chunks of a byte each cost far more than they bring.
- A head is complete within `head_timeout_seconds` of its first byte: 408. So is the rest of a request whose
  answer was given before it was read; it also has `MOST_AFTER_ANSWER` bytes. A connection without a request
  is closed after as long, and after `keepalive_seconds` where it has had one.
- A client that takes nothing of its answer for `send_timeout_seconds` is gone, and so is its request at the
  backend. One worker has `max_connections` (guard/server/places.py).
- Nothing that comes after a head is ever a header: trailers are read and dropped.
- An upgrade is ignored (RFC 9110, section 7.8), since guard forwards none: `Upgrade: h2c`, as curl and Java's
  HttpClient send it, is a request in HTTP/1.1 like any other, with its body.
- A connection reads `CHUNKS_A_TURN` chunks, then the others have their turn.
- What cannot be read never cuts into the answer to an earlier request: that is finished, then the connection
  is closed.
"""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from guard.server.places import Places
from guard.telemetry.log import log_unread

if TYPE_CHECKING:
    import asyncio

    from uvicorn._types import ASGI3Application
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

    from guard.core.network import TrustedProxies
    from guard.settings.server import ServerSettings

LONGEST_TARGET = 16_384
"""Bytes of the path and the query string. httptools itself misreads those of more than 65,535."""

MOST_FIELDS = 256

MOST_WAITING = 64
"""Pipelined requests of one connection that wait for the answers before theirs."""

PIECE = 4096
"""Bytes that are read between two looks at the bounds."""

CHUNKS_A_TURN = 128
"""Chunks that one connection reads, give or take a piece, before others have their turn: each is a call."""

FRAMING = 8
"""Beyond `max_head_bytes`, one byte of a body in chunks may be framing for this number of bytes that are
body: chunks of about 50 bytes."""

MOST_AFTER_ANSWER = 32 << 20
"""Bytes of a body whose answer is complete. As many as bodies have at most by default: a client that sends a
photo while it is refused would often not see why if its connection were closed under it."""

LINGER_SECONDS = 2.0
MOST_DISCARDED = 1 << 20
"""How long, and for how many bytes, a refused connection is still read: a client that is cut off while it
sends may never see its answer."""


class _Flow(FlowControl):
    """Reading also pauses while bytes that have been received wait for their turn."""

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__(transport)
        self._held = self._paused = False

    def hold(self) -> None:
        """Receive no more, until `release`."""
        self._held = True
        super().pause_reading()

    def release(self) -> None:
        """Receive again, unless reading is paused for another reason."""
        self._held = False
        if not self._paused:
            super().resume_reading()

    def pause_reading(self) -> None:
        """The app, or the answer to an earlier request, has to catch up."""
        self._paused = True
        super().pause_reading()

    def resume_reading(self) -> None:
        """It has."""
        self._paused = False
        if not self._held:
            super().resume_reading()


class BoundedProtocol(HttpToolsProtocol):
    """One connection of a client."""

    def __init__(self, *args: Any, settings: ServerSettings, places: Places, **more: Any) -> None:
        super().__init__(*args, **more)
        # `call_later` takes parts of a second too.
        self.timeout_keep_alive = settings.keepalive_seconds  # type: ignore[assignment]
        self._settings = settings
        self._places = places
        self._deadline: asyncio.TimerHandle | None = None
        self._sending: asyncio.TimerHandle | None = None
        self._answered: RequestResponseCycle | None = None  # pipelined requests wait for its answer
        self._idle = True  # between two requests
        self._in_head = self._in_body = False
        self._body = bytearray()  # of the piece that is being read
        self._body_bytes = self._framing = self._late = 0
        self._chunks = 0  # of this turn
        self._waiting = b""  # what has been received and is read next turn
        self._head_bytes = self._fields = 0
        self._unbounded = 0  # bytes since the last piece of body, or the last step on the way to it
        self._fault: int | None = None
        self._discarded: int | None = None  # bytes since a refusal

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin; the first head is awaited."""
        super().connection_made(transport)
        self.flow = _Flow(transport)
        if not self._places.enter(self, self.client[0] if self.client else None):
            self._discarded = 0
            transport.abort()
            return
        self._await_bytes(self._settings.head_timeout_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """End, also for the requests whose answers are under way or were waited for."""
        self._places.leave(self)
        # uvicorn tells only the newest request that its client has left.
        self.pipeline.clear()
        if self._answered is not None:
            self._answered.disconnected = True
            self._answered.message_event.set()
        self._stop_waiting()
        self._waiting = b""
        if self._sending is not None:
            self._sending.cancel()
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answered = cycle
        super()._start_asgi_task(cycle, app)

    def pause_writing(self) -> None:
        """The client is slower than its answer."""
        super().pause_writing()
        self._await_progress(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """The client has caught up."""
        super().resume_writing()
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None

    def data_received(self, data: bytes) -> None:
        """Read some bytes."""
        if self._discarded is not None:
            self._discard(len(data))
            return
        if self._idle:
            self._idle = False
            self._unset_keepalive_if_required()
            self._await_bytes(self._settings.head_timeout_seconds)
        if self._waiting:
            self._waiting += data
        else:
            self._take_turn(data)

    def on_message_begin(self) -> None:
        """A head begins, maybe within bytes that ended another request."""
        super().on_message_begin()
        self._idle, self._in_head = False, True
        self._head_bytes = self._fields = 0
        if self._deadline is None:
            self._await_bytes(self._settings.head_timeout_seconds)

    def on_url(self, url: bytes) -> None:
        """A piece of the target."""
        super().on_url(url)
        self._head_bytes += len(url)
        if len(self.url) > LONGEST_TARGET:
            self._reject(HTTPStatus.REQUEST_URI_TOO_LONG)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of the head, or a trailer, which nobody gets to see."""
        if not self._in_head:
            return
        self._fields += 1
        self._head_bytes += len(name) + len(value) + len(b": \r\n")
        if self._fields > MOST_FIELDS or self._head_bytes > self._settings.max_head_bytes:
            self._reject(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """A head is whole: the request begins, unless an upgrade is still to be ignored."""
        self._in_head = False
        if self.parser.should_upgrade():
            return
        if len(self.pipeline) >= MOST_WAITING:
            self._reject(HTTPStatus.TOO_MANY_REQUESTS)
        self._unbounded = self._body_bytes = self._framing = self._late = 0
        self._in_body = True
        self._stop_waiting()
        # A tuple says that nothing of it is a trailer (guard/http/headers.py).
        self.scope["headers"] = tuple(self.headers)
        super().on_headers_complete()
        self._places.works(self)

    def on_chunk_header(self) -> None:
        """The line before a chunk is whole."""
        self._chunks += 1

    def on_body(self, body: bytes) -> None:
        """A piece of body; those of all chunks that have come together are handed on together."""
        self._unbounded = 0
        self._body += body

    def on_message_complete(self) -> None:
        """A request is whole."""
        if self.parser.should_upgrade():
            return
        self._hand_on()
        self._idle, self._in_body = True, False
        self._unbounded = 0
        self._stop_waiting()
        super().on_message_complete()
        if self.cycle is not None and self.cycle.response_complete:
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def on_response_complete(self) -> None:
        """An answer is over; what the client has begun to send meanwhile is awaited for as long as a head."""
        super().on_response_complete()
        if self.cycle.response_complete:
            self._places.waits(self)
        if not self._idle and not self.transport.is_closing():
            self._unset_keepalive_if_required()
            if self._deadline is None:
                self._await_bytes(self._settings.head_timeout_seconds)

    def give_way(self) -> None:
        """Close for another connection."""
        self._discarded = 0
        self.transport.abort()

    def _take_turn(self, data: bytes) -> None:
        """Read these bytes; those beyond `CHUNKS_A_TURN` when the other connections have had their turn."""
        self._chunks = 0
        for start in range(0, len(data), PIECE):
            if self._chunks >= CHUNKS_A_TURN:
                self._waiting = data[start:]
                self.flow.hold()  # type: ignore[attr-defined]
                self.loop.call_soon(self._next_turn)
                return
            self._feed(data[start : start + PIECE])
            if self._discarded is not None or self.transport.is_closing():
                return

    def _next_turn(self) -> None:
        data, self._waiting = self._waiting, b""
        if self._discarded is None and not self.transport.is_closing():
            self._take_turn(data)
        if not self._waiting:
            self.flow.release()  # type: ignore[attr-defined]

    def _hand_on(self) -> None:
        if not self._body:
            return
        self._body_bytes += len(self._body)
        if self.cycle.response_complete:
            self._late += len(self._body)
        super().on_body(bytes(self._body))
        self._body = bytearray()

    def _feed(self, data: bytes) -> None:
        self._unbounded += len(data)
        request = self.cycle if self._in_body else None
        before = self._body_bytes
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self.parser.get_method() == b"CONNECT":
                self._refuse(HTTPStatus.NOT_IMPLEMENTED)
            else:
                self._feed_without_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self._refuse(self._fault or HTTPStatus.BAD_REQUEST)
        else:
            self._hand_on()
            if self._in_body and self.cycle is request:
                self._framing += len(data) - (self._body_bytes - before)
            if self._unbounded > self._settings.max_head_bytes:
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
            elif self._framing > self._settings.max_head_bytes + self._body_bytes // FRAMING:
                self._refuse(HTTPStatus.BAD_REQUEST)
            elif self._late > MOST_AFTER_ANSWER:
                self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)

    def _feed_without_upgrade(self, rest: bytes) -> None:
        """Read a head once more, as if it did not ask for an upgrade: the parser passes over its body."""
        head = [self.parser.get_method(), b" ", self.url, b" HTTP/", self.parser.get_http_version().encode()]
        for name, value in self.headers:
            if name == b"connection":
                value = b",".join(part for part in value.split(b",") if part.strip().lower() != b"upgrade")
            if name != b"upgrade":
                head += [b"\r\n", name, b": ", value]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn makes it
        self._feed(b"".join([*head, b"\r\n\r\n", rest]))

    def _reject(self, status: int) -> None:
        """Stop the parser, and have the request refused."""
        self._fault = status
        raise ValueError(status)

    def _refuse(self, status: int) -> None:
        """Read no further, and answer where no other answer is on its way."""
        log_unread(status)
        self._stop_waiting()
        self._discarded = 0
        cycle = self.cycle
        if cycle is not None and cycle.response_complete and self._in_body:
            self._end_answers()  # the request has had its answer
        elif cycle is None or cycle.response_complete:
            self._answer(status)
        elif not cycle.more_body:
            cycle.keep_alive = False  # the fault is of a later request
        elif cycle.response_started or self.pipeline:
            self.transport.close()
        else:
            self._answer(status)
            cycle.disconnected = True
            cycle.message_event.set()

    def _answer(self, status: int) -> None:
        reason = HTTPStatus(status).phrase.encode()
        fields = [
            *self.server_state.default_headers,
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", b"%d" % len(reason)),
            (b"connection", b"close"),
        ]
        lines = b"".join(b"%b: %b\r\n" % field for field in fields)
        self.transport.write(b"%b%b\r\n%b" % (STATUS_LINE[status], lines, reason))
        self._end_answers()

    def _end_answers(self) -> None:
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._await_bytes(LINGER_SECONDS)

    def _discard(self, count: int) -> None:
        self._discarded = (self._discarded or 0) + count
        if self._discarded > MOST_DISCARDED:
            self.transport.abort()

    def _await_bytes(self, seconds: float) -> None:
        self._stop_waiting()
        self._deadline = self.loop.call_later(seconds, self._waited)

    def _await_progress(self, unsent: int) -> None:
        self._sending = self.loop.call_later(self._settings.send_timeout_seconds, self._sent, unsent)

    def _sent(self, unsent: int) -> None:
        """Give up a client that has taken nothing meanwhile."""
        left = self.transport.get_write_buffer_size()
        if left < unsent:
            self._await_progress(left)
        else:
            self.transport.abort()

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _waited(self) -> None:
        """What was awaited has not come."""
        self._deadline = None
        if self.transport.is_closing():
            return
        if self._in_head and self._discarded is None:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)
        else:
            self.transport.close()


def protocol(settings: ServerSettings, proxies: TrustedProxies | None = None) -> Any:
    """What `uvicorn.Config(http=…)` takes; each worker gets a copy. `proxies` may hold all places."""
    return partial(BoundedProtocol, settings=settings, places=Places(settings.max_connections, proxies))
