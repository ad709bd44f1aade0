"""One connection for a process's scripts: calls that come together share a round trip.

Redis runs one script at a time whatever the number of connections, while a client pays for every system
call. So all calls of an event loop go over one connection: those made in the same turn of the loop are
written at once, and replies come back in the order of the calls.

The deadline is Redis's, not ours. It runs from the moment a call is written, and a timer that fires late,
because the loop was busy elsewhere, is set again, so that a reply which lies unread in the socket is read
first. A call that has waited in vain on a connection from which nothing came since gives that connection
up, for all: it is frozen or gone.

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
from typing import TYPE_CHECKING, Any, cast

import hiredis
from redis import exceptions

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

    async def call(self, *arguments: str | int | bytes, asking: bool = False) -> Any:
        """The reply to one command; with `asking`, ASKING is sent right before it."""
        if self._link is None or self._link.closed:
            await self.connect(self._deadline_seconds)
        link = cast("Link", self._link)
        try:
            packed = hiredis.pack_command(cast("tuple[str | int | bytes]", arguments))
            return await link.call(packed, asking=asking)
        except exceptions.ReadOnlyError:
            if link.age_seconds > YOUNG_SECONDS:
                link.retire()
            raise

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
            await self._link.aclose()

    async def _open(self) -> None:
        async with asyncio.timeout(OPEN_SECONDS):
            self._link = Link(await self._new_open_connection(), self._deadline_seconds)

    def _connecting_ended(self, task: asyncio.Task[None]) -> None:
        """Let the next one begin: also after one that was cancelled before its first step."""
        self._connecting = None
        if not task.cancelled():
            task.exception()  # those who asked may have given up before it failed

    async def _new_open_connection(self) -> AbstractConnection:
        new = self._new_connection()
        connection = await new if inspect.isawaitable(new) else new
        try:
            await cast("Awaitable[None]", connection.connect())  # type: ignore[no-untyped-call]
        except exceptions.ConnectionError as error:
            await _drop(connection, connection._writer)
            raise in_greeting(error) from None
        except BaseException:
            await _drop(connection, connection._writer)
            raise
        return connection


@dataclass(slots=True, eq=False)
class Call:
    """A command that has been made: where its reply goes, and when it was written, in the loop's time.

    `ahead` counts the replies that come before its own, to what was packed ahead of it.
    """

    packed: bytes
    ahead: int
    reply: asyncio.Future[Any]
    give_up: float
    written_at: float | None = None
    timer: asyncio.TimerHandle | None = None


class Link:
    """One open connection and the calls that wait on it."""

    def __init__(self, connection: AbstractConnection, deadline_seconds: float) -> None:
        self.closed = False
        self._connection = connection
        # redis-py lets go of it where a call is cancelled, and does not wait for what is not sent.
        self._writer = connection._writer
        self._deadline_seconds = deadline_seconds
        self._loop = asyncio.get_running_loop()
        self._opened_at = self._loop.time()
        self._heard_at = -math.inf
        self._unwritten: list[Call] = []
        self._waiting: deque[Call] = deque()
        self._wake = asyncio.Event()
        self._tasks = (asyncio.create_task(self._write()), asyncio.create_task(self._read()))

    @property
    def age_seconds(self) -> float:
        """How long ago it was opened."""
        return self._loop.time() - self._opened_at

    async def call(self, packed: bytes, *, asking: bool) -> Any:
        """The reply to one command."""
        now = self._loop.time()
        # One call, so that a neighbour who is cancelled cannot come between the two.
        packed, ahead = (ASKING + packed, 1) if asking else (packed, 0)
        call = Call(packed, ahead, self._loop.create_future(), now + self._deadline_seconds * LONGEST)
        self._set_timer(call, now + self._deadline_seconds)
        self._unwritten.append(call)
        self._wake.set()
        try:
            return await call.reply
        finally:
            if call.timer is not None:
                call.timer.cancel()

    def retire(self) -> None:
        """Take no new calls, and close when those that wait have their replies."""
        self.closed = True
        self._closed_if_done()

    async def aclose(self) -> None:
        """Close the connection; calls that are waiting fail."""
        self._close(exceptions.ConnectionError("closed"))
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _write(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            calls = [call for call in self._unwritten if not call.reply.done()]
            self._unwritten.clear()
            now = self._loop.time()
            for call in calls:
                call.written_at = now
            self._waiting.extend(calls)
            try:
                await self._connection.send_packed_command(
                    b"".join(call.packed for call in calls), check_health=False
                )
            except (exceptions.RedisError, OSError) as error:
                self._close(error)
                return
            if self._closed_if_done():
                return

    async def _read(self) -> None:
        try:
            while True:
                reply, error = None, None
                try:
                    reply = await self._connection.read_response(timeout=math.inf, disconnect_on_error=False)
                except exceptions.ResponseError as failure:
                    error = failure
                self._heard_at = self._loop.time()
                call = self._waiting[0]
                if call.ahead:
                    call.ahead -= 1
                    continue
                self._waiting.popleft()
                if call.reply.done():
                    pass
                elif error is None:
                    call.reply.set_result(reply)
                else:
                    call.reply.set_exception(error)
                if self._closed_if_done():
                    return
        except (exceptions.RedisError, OSError) as failure:
            self._close(failure)
        finally:
            await _drop(self._connection, self._writer)

    def _set_timer(self, call: Call, due: float) -> None:
        call.timer = self._loop.call_at(due, self._check, call, due)

    def _check(self, call: Call, due: float) -> None:
        """A call's time may be up."""
        if call.reply.done():
            return
        now = self._loop.time()
        written_at = now if call.written_at is None else call.written_at
        due = max(
            written_at + self._deadline_seconds, now + LATE_SECONDS if now - due > LATE_SECONDS else now
        )
        if now < due and now < call.give_up:
            self._set_timer(call, due)
            return
        call.reply.set_exception(TimeoutError())
        if self._heard_at < written_at:
            self._close(TimeoutError())

    def _closed_if_done(self) -> bool:
        """Close a retired connection on which nobody waits any more."""
        done = self.closed and not self._waiting and not self._unwritten
        if done:
            self._close(exceptions.ConnectionError("closed"))
        return done

    def _close(self, error: Exception) -> None:
        """Fail whatever waits, and end both tasks."""
        self.closed = True
        for call in (*self._waiting, *self._unwritten):
            if not call.reply.done():
                call.reply.set_exception(error)
        self._waiting.clear()
        self._unwritten.clear()
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()


async def _drop(connection: AbstractConnection, writer: asyncio.StreamWriter | None) -> None:
    """Close a connection now: a server that reads nothing would hold it open for what is not sent yet."""
    if writer is not None:
        writer.transport.abort()
    await connection.disconnect(nowait=True)
