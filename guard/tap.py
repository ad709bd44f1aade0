"""The answer on its way to the client: watched, never held up."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from guard.core.query import NO_USAGE
from guard.dialects.metering import STREAMS, media_type
from guard.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from starlette.types import Message, Send

    from guard.core.query import Usage
    from guard.dialects.base import Meter

    Settle = Callable[[Usage, int | None], Awaitable[None]]
    MeterFor = Callable[[str], Meter | None]


class Tap:
    """Passes an answer's messages on, and settles when it is over.

    `meter` makes what watches the body, told its content type, an empty one where it is compressed; an answer
    that is an error costs nothing. The last bytes leave before the settling, and the end of the answer after
    it: a client that has seen the end finds its books in order.

    Where the meter holds an answer until it is whole, so is its start held, since the length may change. An
    answer that the meter cannot pass on is dropped with it, `send` raises the meter's `BackendError`, and
    another answer may be sent instead: what the backend has done is charged all the same.
    """

    def __init__(
        self, send: Send, meter: MeterFor, headers: Sequence[tuple[str, str]], settle: Settle
    ) -> None:
        self._send = send
        self._meter_for = meter
        self._headers = [(name.encode(), value.encode()) for name, value in headers]
        self._settle = settle
        self._meter: Meter | None = None
        self._status: int | None = None
        self._held: Message | None = None
        self._failure: BackendError | None = None
        self._owed = NO_USAGE
        self._started = False
        self._settled = False

    @property
    def started(self) -> bool:
        """Whether the client has been sent a status."""
        return self._started

    async def send(self, message: Message) -> None:
        """Take the place of ASGI's `send`."""
        if message["type"] == "http.response.start":
            self._give_up()
            start = self._start(message)
            if self._meter is not None and self._meter.holds:
                self._held = start
            else:
                await self._send_start(start)
        elif message["type"] == "http.response.body":
            await self._body(message)
        else:
            await self._send(message)

    async def close(self, unanswered: Usage) -> None:
        """The app is done, whether or not its answer was; `unanswered` is owed where it gave none."""
        if self._settled:
            return
        answered = self._status is not None
        self._give_up()
        await self._settle_once(self._owed if answered else unanswered)

    def _give_up(self) -> None:
        """There is no more of the answer that has been watched, which owes what it has cost so far."""
        if self._meter is not None:
            with suppress(BackendError):  # Nobody is there any more to be told.
                self._meter.finish()
            self._owed = self._meter.usage
        self._meter = self._held = self._failure = None

    def _start(self, message: Message) -> Message:
        status: int = message["status"]
        self._status = status
        headers = [(name.lower(), value) for name, value in message.get("headers", ())]
        if 200 <= status < 300:
            named = dict(headers)
            readable = named.get(b"content-encoding", b"identity") == b"identity"
            content_type = named.get(b"content-type", b"").decode("latin-1") if readable else ""
            self._meter = self._meter_for(content_type)
            if media_type(content_type) in STREAMS or (self._meter is not None and self._meter.holds):
                headers = [(name, value) for name, value in headers if name != b"content-length"]
        ours = {name for name, _ in self._headers}
        return {**message, "headers": [*((n, v) for n, v in headers if n not in ours), *self._headers]}

    async def _send_start(self, start: Message) -> None:
        self._started = True
        await self._send(start)

    async def _body(self, message: Message) -> None:
        chunk = message.get("body", b"")
        more = message.get("more_body", False)
        if self._meter is not None:
            chunk = self._metered(self._meter, chunk, more=more)
        if more:
            if chunk:
                await self._send({**message, "body": chunk})
            return
        if self._held is not None:
            length = (b"content-length", str(len(chunk)).encode())
            await self._send_start({**self._held, "headers": [*self._held["headers"], length]})
        if chunk:
            await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
        await self._settle_once(self._meter.usage if self._meter is not None else self._owed)
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    def _metered(self, meter: Meter, chunk: bytes, *, more: bool) -> bytes:
        """What of a chunk goes on; an answer that has failed once does so for good."""
        try:
            if self._failure is not None:
                raise self._failure
            chunk = meter.feed(chunk)
            return chunk if more else chunk + meter.finish()
        except BackendError as error:
            self._failure = error
            raise

    async def _settle_once(self, usage: Usage) -> None:
        if not self._settled:
            self._settled = True
            await self._settle(usage, self._status)
