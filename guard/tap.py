"""The answer on its way to the client: watched, never held up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guard.core.query import NO_USAGE
from guard.dialects.metering import STREAMS, media_type

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
        self._settled = False

    @property
    def started(self) -> bool:
        """Whether the client has been sent a status."""
        return self._status is not None

    async def send(self, message: Message) -> None:
        """Take the place of ASGI's `send`."""
        if message["type"] == "http.response.start":
            await self._send(self._start(message))
        elif message["type"] == "http.response.body":
            await self._body(message)
        else:
            await self._send(message)

    async def close(self, unanswered: Usage) -> None:
        """The app is done, whether or not its answer was; `unanswered` is owed where it gave none."""
        if self._settled:
            return
        if self._meter is None:
            await self._settle_once(NO_USAGE if self.started else unanswered)
            return
        self._meter.finish()
        await self._settle_once(self._meter.usage)

    def _start(self, message: Message) -> Message:
        status: int = message["status"]
        self._status = status
        headers = [(name.lower(), value) for name, value in message.get("headers", ())]
        if 200 <= status < 300:
            named = dict(headers)
            readable = named.get(b"content-encoding", b"identity") == b"identity"
            content_type = named.get(b"content-type", b"").decode("latin-1") if readable else ""
            self._meter = self._meter_for(content_type)
            if media_type(content_type) in STREAMS:
                headers = [(name, value) for name, value in headers if name != b"content-length"]
        ours = {name for name, _ in self._headers}
        return {**message, "headers": [*((n, v) for n, v in headers if n not in ours), *self._headers]}

    async def _body(self, message: Message) -> None:
        chunk = message.get("body", b"")
        more = message.get("more_body", False)
        if self._meter is not None:
            chunk = self._meter.feed(chunk)
            if not more:
                chunk += self._meter.finish()
        if more:
            if chunk:
                await self._send({**message, "body": chunk})
            return
        if chunk:
            await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
        await self._settle_once(self._meter.usage if self._meter is not None else NO_USAGE)
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _settle_once(self, usage: Usage) -> None:
        if not self._settled:
            self._settled = True
            await self._settle(usage, self._status)
