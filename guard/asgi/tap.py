"""The answer on its way to the client: watched, never held up."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from time import perf_counter
from typing import TYPE_CHECKING, Protocol

from guard.asgi.copies import MOST_OF_AN_ERROR, AnswerCopy
from guard.asgi.decoding import DecodingMeter
from guard.core.query import NO_USAGE
from guard.dialects.metering import ENCODED, STREAMS, media_type
from guard.errors import BackendError
from guard.http.codings import codings, decodable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import Message, Send

    from guard.core.query import Usage
    from guard.dialects.base import Meter

MOST_READ_ON = 4 << 20
"""No more bytes than this are read of an answer whose client has left."""


BAD_REQUEST = 400


class Owner(Protocol):
    """Whose answer it is."""

    def meter(self, content_type: str) -> Meter | None:
        """What watches a body of this type, or one that cannot be decoded (`ENCODED`)."""

    def error_meter(self, status: int, *, readable: bool) -> Meter | None:
        """What watches a body that is an error of this status, where that is not to pass as it is; `readable`
        is whether it can be decoded."""

    async def settle(self, usage: Usage, status: int | None) -> None:
        """The answer is over."""


class Tap:
    """Passes an answer's messages on, and has its owner settle when it is over.

    An answer that is an error costs nothing. The end of an answer leaves before it is settled: no client
    waits for the books.

    Where the meter holds an answer until it is whole, so is its start held, since the length may change. An
    answer that the meter cannot pass on is dropped with it, `send` raises the meter's `BackendError`, and
    another answer may be sent instead: what the backend has done is charged all the same.

    Where the client leaves, the answer is read on for `read_on_seconds` at most, until its usage is known: a
    model's last words are often out before that is.

    Bytes that go on as they come are sent first and looked at afterwards. Of what the client has got, the
    first `most_copied` bytes are kept, and fewer of why the backend did not take the request.
    """

    def __init__(
        self,
        send: Send,
        owner: Owner,
        headers: Sequence[tuple[str, str]],
        read_on_seconds: float = 0.0,
        *,
        most_copied: int = 0,
    ) -> None:
        self._send = send
        # Let go of when it has settled, so that neither outlives the request.
        self._owner: Owner | None = owner
        self._headers = [(name.encode(), value.encode()) for name, value in headers]
        self._read_on_seconds = read_on_seconds
        self._meter: Meter | None = None
        self._changes = False
        self._most_copied = most_copied
        self._copy: AnswerCopy | None = None
        self._status: int | None = None
        self._held: Message | None = None
        self._failure: BackendError | None = None
        self._owed = NO_USAGE
        self._started = False
        self._gone = self._over = False
        self._lost: OSError | None = None
        self._read_until = 0.0
        self._read_on = 0
        self._enough = asyncio.Event()
        self._ended = False
        self._busy_since: float | None = None
        self.spent_seconds = 0.0
        """What guard has taken of the time so far, without what the client takes to receive the answer."""

    @property
    def started(self) -> bool:
        """Whether the client has been sent a status."""
        return self._started

    @property
    def cut_short(self) -> bool:
        """Whether the client has left, and the last word on its usage has not come."""
        watched = not self._over and 200 <= (self._status or 0) < 300
        return self._gone and watched and not self._owed.final

    @property
    def ended(self) -> bool:
        """Whether the model had said that it was done."""
        return self._ended

    @property
    def copy(self) -> AnswerCopy | None:
        """What the client has got of an answer that is metered, or of a 400, where copies are kept."""
        return self._copy

    async def read_on(self) -> None:
        """The client has left: return when no more of the answer is to be read. Until then the app may go on
        sending."""
        now = self._now()
        if not self._gone:
            self._gone = True
            self._read_until = now + self._read_on_seconds
        if self._read_on_at_all:
            self._note()
            # Nothing is awaited afterwards: who looks whether the client has left must learn it.
            if now < self._read_until and not self._enough.is_set():
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(self._read_until):
                        await self._enough.wait()

    @property
    def _read_on_at_all(self) -> bool:
        return self._started and self._meter is not None and self._owner is not None

    async def send(self, message: Message) -> None:
        """Take the place of ASGI's `send`."""
        self._busy_since = perf_counter()
        if message["type"] == "http.response.body":
            await (self._changed(message) if self._changes else self._body(message))
        elif message["type"] == "http.response.start":
            self._give_up()
            start = self._start(message)
            if self._meter is not None and self._meter.holds:
                self._held = start
            else:
                await self._send_start(start)
        else:
            await self._pass(message)
        if self._busy_since is not None:
            self.spent_seconds += perf_counter() - self._busy_since
            self._busy_since = None

    async def close(self, unanswered: Usage) -> None:
        """The app is done, whether or not its answer was; `unanswered` is owed where it gave none."""
        if self._owner is None:
            return
        answered = self._status is not None
        self._busy_since = None
        self._give_up()
        await self._settle_once(self._owed if answered else unanswered)

    def _give_up(self) -> None:
        """There is no more of the answer that has been watched, which owes what it has cost so far."""
        if self._meter is not None:
            with suppress(BackendError):  # Nobody is there any more to be told.
                self._meter.finish()
            self._owed = self._meter.usage
            self._ended = self._meter.ended
        self._meter = self._held = self._failure = None
        self._changes = False

    def _start(self, message: Message) -> Message:
        status: int = message["status"]
        self._status = status
        headers = [(name.lower(), value) for name, value in message.get("headers", ())]
        dropped = {name for name, _ in self._headers}
        if 200 <= status < 300 or status >= BAD_REQUEST:
            dropped |= self._watch(headers, status)
        return {**message, "headers": [*((n, v) for n, v in headers if n not in dropped), *self._headers]}

    def _watch(self, headers: Sequence[tuple[bytes, bytes]], status: int) -> set[bytes]:
        """Begin to watch an answer; gives the headers that are not true of what is passed on."""
        encoded = codings(value for name, value in headers if name == b"content-encoding")
        content_type = _content_type(headers)
        readable, error = decodable(encoded), status >= BAD_REQUEST
        if self._owner is not None:
            if error:
                self._meter = self._owner.error_meter(status, readable=readable)
            else:
                self._meter = self._owner.meter(content_type if readable else ENCODED)
        untrue: set[bytes] = set()
        if self._meter is not None:
            if encoded and readable:
                self._meter = DecodingMeter(self._meter, encoded)
            self._changes = self._meter.changes
            if self._changes or media_type(content_type) in STREAMS:
                untrue = {b"content-length"}
            if self._changes and encoded and readable:
                untrue, encoded = untrue | {b"content-encoding"}, []
        if self._most_copied and (status == BAD_REQUEST if error else self._meter is not None):
            most = min(MOST_OF_AN_ERROR, self._most_copied) if error else self._most_copied
            self._copy = AnswerCopy(content_type, encoded, most)
        return untrue

    async def _send_start(self, start: Message) -> None:
        self._started = True
        await self._pass(start)

    async def _body(self, message: Message) -> None:
        """Pass on what goes on as it comes, and have a look at it afterwards."""
        chunk = message.get("body", b"")
        more = message.get("more_body", False)
        self._over = not more
        try:
            if chunk or not more:
                await self._pass(message)
        finally:
            if self._meter is not None:
                self._meter.feed(chunk)
            if self._gone:
                self._count_read_on(chunk)
        if more:
            if self._lost is not None:
                self._check_lost()
            return
        if self._meter is not None:
            self._meter.finish()
        await self._end()

    async def _changed(self, message: Message) -> None:
        """Pass on what is shown of a chunk."""
        chunk = message.get("body", b"")
        more = message.get("more_body", False)
        shown = self._metered(chunk, more=more)
        if self._gone:
            self._count_read_on(chunk)
        if self._held is not None and (shown or not more):
            await self._release(None if more else len(shown))
        self._over = not more
        if shown or not more:
            await self._pass(message if shown is chunk else {**message, "body": shown})
        else:
            self._check_lost()
        if not more:
            await self._end()

    async def _end(self) -> None:
        await self._settle_once(self._meter.usage if self._meter is not None else self._owed)

    async def _release(self, length: int | None) -> None:
        """Send the start that was held, with the length of the body where that is known."""
        if self._held is None:
            return
        start, self._held = self._held, None
        known = [] if length is None else [(b"content-length", str(length).encode())]
        await self._send_start({**start, "headers": [*start["headers"], *known]})

    async def _pass(self, message: Message) -> None:
        """Send a message, unless the client has left. Where the server raises an error then, so do we, but
        not before enough has been read on."""
        if self._gone:
            self._check_lost()
            return
        if self._busy_since is not None:
            self.spent_seconds += perf_counter() - self._busy_since
        try:
            await self._send(message)
            self._busy_since = perf_counter()
            if self._copy is not None:
                self._copy.add(message.get("body", b""))
        except OSError as error:
            self._gone = True
            if not self._read_on_at_all:
                raise
            self._lost, self._read_until = error, self._now() + self._read_on_seconds

    def _check_lost(self) -> None:
        if self._lost is not None and (self._enough.is_set() or self._now() > self._read_until):
            raise self._lost

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _count_read_on(self, chunk: bytes) -> None:
        self._read_on += len(chunk)
        self._note()

    def _note(self) -> None:
        """Note whether more of an answer that nobody receives would tell anything."""
        known = self._meter is None or (self._meter.ended and self._meter.usage.final)
        if known or self._read_on > MOST_READ_ON:
            self._enough.set()

    def _metered(self, chunk: bytes, *, more: bool) -> bytes:
        """What of a chunk goes on; an answer that has failed once does so for good."""
        if self._meter is None:
            return chunk
        try:
            if self._failure is not None:
                raise self._failure
            chunk = self._meter.feed(chunk)
            return chunk if more else chunk + self._meter.finish()
        except BackendError as error:
            self._failure = error
            raise

    async def _settle_once(self, usage: Usage) -> None:
        if self._owner is not None:
            owner, self._owner = self._owner, None
            self._enough.set()
            if self._busy_since is not None:
                self.spent_seconds += perf_counter() - self._busy_since
                self._busy_since = None
            await owner.settle(usage, self._status)


def _content_type(headers: Sequence[tuple[bytes, bytes]]) -> str:
    return dict(headers).get(b"content-type", b"").decode("latin-1")
