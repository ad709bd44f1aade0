"""One connection for a process's scripts: calls that come together share a round trip.

Redis runs one script at a time whatever the number of connections, while a client pays for every system
call. So all calls of an event loop go over one connection: those made in the same turn of the loop are
written at once, and replies come back in the order of the calls.

redis-py opens it: the address, TLS, authentication, the protocol. Then it is taken over, since all that is
left to do is done when bytes come in, with no task, lock or timer for each call.

The deadline is Redis's, not ours. It runs from the moment a call is written, and a timer that fires late,
because the loop was busy elsewhere, is set again, so that a reply which lies unread in the socket is read
first. A connection from which nothing has come in the time of a call is given up, for all: it is frozen or
gone. While the server takes no more, calls wait unwritten; where it takes none for `LONGEST` deadlines, it is
given up likewise.

A server that says READONLY was a master once. No new call goes to it; the connection is kept until the
calls that wait on it have their replies, and the next one is opened anew, by name or by whoever knows.
"""

from __future__ import annotations

import asyncio
import inspect
import math
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

import hiredis
from redis import exceptions
from redis._parsers import BaseParser

from guard.store.transport.trouble import in_greeting

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from redis.asyncio.connection import AbstractConnection

LATE_SECONDS = 0.005
"""A timer this much behind says that the loop was busy."""

LONGEST = 10
"""The longest that a call may take where the loop is busy, in deadlines."""

OPEN_SECONDS = 3.0
"""The deadline for opening a connection, from looking for the server to the end of the handshake."""

YOUNG_SECONDS = 0.1
"""A connection younger than this is kept although it is READONLY: asking again gives the same server."""

ASKING = bytes(hiredis.pack_command(("ASKING",)))
CLOSED_BY_SERVER = "Connection closed by server."

_INCOMPLETE = object()


class ScriptConnection:
    """Sends commands over one connection, which it opens when it is needed and again when it was lost.

    Errors are those of redis-py, and `TimeoutError` for a reply that did not come within `deadline_seconds`.
    """

    def __init__(
        self,
        new_connection: Callable[[], AbstractConnection | Awaitable[AbstractConnection]],
        deadline_seconds: float,
    ) -> None:
        self._new_connection = new_connection
        self._deadline_seconds = deadline_seconds
        self._link: Link | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._ended = False

    def call(self, *arguments: str | int | bytes, asking: bool = False) -> Awaitable[Any]:
        """The reply to one command; with `asking`, ASKING is sent right before it."""
        packed = hiredis.pack_command(arguments)  # type: ignore[arg-type]
        if self._link is None or self._link.closed:
            return self._call_once_open(packed, asking)
        return self._link.call(packed, asking)

    async def connect(self, seconds: float) -> None:
        """Open the connection; those who ask at the same time wait for the same one.

        Where it is retired before it is open, they wait for the next one.
        """
        async with asyncio.timeout(seconds):
            while self._link is None or self._link.closed:
                if self._ended:
                    raise exceptions.ConnectionError("closed")
                if self._connecting is None:
                    self._connecting = asyncio.create_task(self._open())
                    self._connecting.add_done_callback(self._connecting_ended)
                task = self._connecting
                await asyncio.wait({task})
                if not task.cancelled():
                    task.result()

    def retire(self) -> None:
        """Close the connection when the calls that wait on it have their replies; the next one is new."""
        if self._connecting is not None:
            self._connecting.cancel()
        if self._link is not None:
            self._link.retire()

    def end(self) -> None:
        """Retire the connection, and open no other one."""
        self._ended = True
        self.retire()

    async def aclose(self) -> None:
        """Close the connection; calls that are waiting fail."""
        self._ended = True
        if self._connecting is not None:
            self._connecting.cancel()
            with suppress(asyncio.CancelledError, exceptions.RedisError, OSError):
                await self._connecting
        if self._link is not None:
            self._link.close(exceptions.ConnectionError("closed"))

    async def _call_once_open(self, packed: bytes, asking: bool) -> Any:
        await self.connect(self._deadline_seconds)
        return await cast("Link", self._link).call(packed, asking)

    async def _open(self) -> None:
        async with asyncio.timeout(OPEN_SECONDS):
            self._link = await self._new_link()

    def _connecting_ended(self, task: asyncio.Task[None]) -> None:
        """Let the next one begin: also after one that was cancelled before its first step."""
        self._connecting = None
        if not task.cancelled():
            task.exception()  # those who asked may have given up before it failed

    async def _new_link(self) -> Link:
        """What redis-py has opened, taken over."""
        new = self._new_connection()
        connection = await new if inspect.isawaitable(new) else new
        try:
            await cast("Awaitable[None]", connection.connect())  # type: ignore[no-untyped-call]
            return await Link.over(connection, self._deadline_seconds)
        except exceptions.ConnectionError as error:
            await _drop(connection)
            raise in_greeting(error) from None
        except BaseException:
            await _drop(connection)
            raise


@dataclass(slots=True, eq=False)
class Call:
    """A command that has been made: where its reply goes, and when it was made and written.

    `ahead` counts the replies that come before its own, to what was packed ahead of it. The times are those
    of `monotonic`, since the loop's own time may be that of the beginning of its turn.
    """

    packed: bytes
    ahead: int
    reply: asyncio.Future[Any]
    made_at: float
    written_at: float = math.inf


class Link(asyncio.Protocol):
    """Sends commands over one open connection, until it is `closed`: then it takes no more."""

    def __init__(self, writer: asyncio.StreamWriter, deadline_seconds: float) -> None:
        self.closed = False
        self._writer = writer  # one that nobody holds closes its transport
        self._transport = writer.transport
        self._deadline_seconds = deadline_seconds
        self._longest_seconds = deadline_seconds * LONGEST
        self._loop = asyncio.get_running_loop()
        self._parser = hiredis.Reader(
            protocolError=exceptions.InvalidResponse,
            replyError=BaseParser.parse_error,
            notEnoughData=_INCOMPLETE,
        )
        self._opened_at = monotonic()
        self._heard_at = -math.inf
        self._unwritten: list[Call] = []
        self._waiting: deque[Call] = deque()
        self._paused = False
        self._timer: asyncio.TimerHandle | None = None

    @classmethod
    async def over(cls, connection: AbstractConnection, deadline_seconds: float) -> Link:
        """Take an open connection out of redis-py's hands, with what has come over it and was not read."""
        reader, writer = connection._reader, connection._writer
        if reader is None or writer is None or reader.at_eof():
            raise exceptions.ConnectionError(CLOSED_BY_SERVER)
        link = cls(writer, deadline_seconds)
        link._transport.set_protocol(link)
        reader.feed_eof()  # nothing more comes there
        link.data_received(await reader.read())
        connection._reader = connection._writer = None
        return link

    def call(self, packed: bytes, asking: bool) -> asyncio.Future[Any]:
        """The reply to one command; with `asking`, ASKING is sent right before it."""
        now = monotonic()
        # One call, so that a neighbour who is cancelled cannot come between the two.
        packed, ahead = (ASKING + packed, 1) if asking else (packed, 0)
        call = Call(packed, ahead, self._loop.create_future(), now)
        if not self._unwritten:
            self._loop.call_soon(self._write)
        self._unwritten.append(call)
        if self._timer is None:
            self._set_timer(now + self._deadline_seconds, now)
        return call.reply

    def retire(self) -> None:
        """Take no new calls, and close when those that wait have their replies."""
        self.closed = True
        self._close_if_done()

    def close(self, error: Exception) -> None:
        """Close the connection now; calls that wait fail with this error.

        A server that reads nothing would hold it open for what is not sent yet.
        """
        self.closed = True
        calls = [*self._waiting, *self._unwritten]
        self._waiting.clear()
        self._unwritten.clear()
        for call in calls:
            if not call.reply.done():
                call.reply.set_exception(error)
        if self._timer is not None:
            self._timer.cancel()
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Give the calls that wait their replies."""
        self._heard_at = monotonic()
        self._parser.feed(data)
        try:
            while (reply := self._parser.gets()) is not _INCOMPLETE:
                self._answer(reply)
        except exceptions.RedisError as error:
            self.close(error)
        if self.closed:
            self._close_if_done()

    def pause_writing(self) -> None:
        """Keep calls unwritten: the server takes no more."""
        self._paused = True

    def resume_writing(self) -> None:
        """Write what was kept."""
        self._paused = False
        self._write()

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the calls that wait."""
        self.close(exceptions.ConnectionError(CLOSED_BY_SERVER if exc is None else str(exc)))

    def _write(self) -> None:
        """Write what was called for in this turn of the loop."""
        if self._paused:
            return
        packed = []
        now = monotonic()
        for call in self._unwritten:
            if not call.reply.done():
                call.written_at = now
                self._waiting.append(call)
                packed.append(call.packed)
        self._unwritten.clear()
        if packed:
            self._transport.write(b"".join(packed))
        if self.closed:
            self._close_if_done()

    def _answer(self, reply: Any) -> None:
        """Give the next call its reply; an error that is the connection's is raised."""
        if isinstance(reply, hiredis.PushNotification):
            return
        failed = isinstance(reply, Exception)
        if failed:
            self._heed(reply)
        if not self._waiting:
            raise exceptions.InvalidResponse("a reply to no command")
        call = self._waiting[0]
        if call.ahead:
            call.ahead -= 1
            return
        self._waiting.popleft()
        if call.reply.done():
            return
        if failed:
            call.reply.set_exception(reply)
        else:
            call.reply.set_result(reply)

    def _heed(self, error: Exception) -> None:
        """Do what an error says of the connection."""
        if isinstance(error, exceptions.ConnectionError):
            raise error
        if isinstance(error, exceptions.ReadOnlyError) and monotonic() - self._opened_at > YOUNG_SECONDS:
            self.closed = True

    def _set_timer(self, due: float, now: float) -> None:
        self._timer = self._loop.call_later(due - now, self._check, due)

    def _check(self, due: float) -> None:
        """Time out the calls whose time is up, and look again when that of the next one is."""
        now = max(monotonic(), due)  # uvloop counts milliseconds, and may be early
        late = now - due > LATE_SECONDS
        self._timer = None
        for call in chain(self._waiting, self._unwritten):
            give_up = call.made_at + self._longest_seconds
            # One that is not written yet may be so in this turn: those behind it go by its timer.
            due = min(min(call.written_at, now) + self._deadline_seconds, give_up)
            if due <= now < give_up and late:
                due = now + LATE_SECONDS
            if now < due:
                self._set_timer(due, now)
                return
            if not call.reply.done():
                call.reply.set_exception(TimeoutError())
            if self._heard_at < call.written_at:
                self.close(TimeoutError())
                return
        if self.closed:
            self._close_if_done()

    def _close_if_done(self) -> None:
        """Close a retired connection when nobody waits on it any more."""
        if all(call.reply.done() for call in chain(self._waiting, self._unwritten)):
            self.close(exceptions.ConnectionError("closed"))


async def _drop(connection: AbstractConnection) -> None:
    """Close a connection now: a server that reads nothing would hold it open for what is not sent yet."""
    if connection._writer is not None:
        connection._writer.transport.abort()
    await connection.disconnect(nowait=True)
