"""A worker's way to the process of the analyst, which is never waited for.

What is handed over is sent if the process takes it, and waits while it is started, at first or after it was
lost. It goes unseen at once where the process cannot be started, where it is stopped and the buffer is full,
where more waits than there is room for, where a message is too large. What is sent goes unseen where the
connection is lost before its outcome comes, or none comes in time. `done` is called once.

    12:00:00.000  three are handed over, and wait                    3 pending
    12:00:01.500  the process is there: they are sent
    12:00:01.502  the outcomes of two                                2 seen
    12:00:01.503  the process is killed                              1 unseen
    12:00:01.504  one is handed over, and waits                      1 pending
    12:00:01.900  the process is there again: it is sent
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, cast

from guard.analyst import hello, wire
from guard.analyst.callers import Callers
from guard.analyst.pending import Pending
from guard.analyst.queue import FairQueue
from guard.analyst.transcript import UNSEEN
from guard.analyst.wire import Frames, WireError
from guard.errors import GuardError
from guard.telemetry.lines import bounded, limited
from guard.telemetry.state import Analyst

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from guard.analyst.transcript import Outcome, Transcript
    from guard.settings.root import Settings

MOST_BUFFERED = 4 << 20
"""Size of what is kept for a process that does not take it, in bytes; beyond it everything goes unseen."""
MOST_PENDING = 16_384
"""Maximum number of transcripts whose outcome has not come."""
OVERDUE_SECONDS = 10.0
"""After this no outcome is waited for."""

PENDING_SECONDS = 1.0
"""How long outcomes are waited for at the end."""

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0


class State(StrEnum):
    """Whether what is handed over is read."""

    OK = "ok"
    STARTING = "starting"
    DOWN = "down"


class Way(Protocol):
    """How the process is reached, and started where there is none."""

    async def connect(self, protocol: Callable[[], Connection]) -> Connection:
        """A new connection; raises `OSError` and `GuardError`."""

    async def aclose(self) -> None:
        """The process is not needed any more."""


class Link:
    """Hands transcripts over, on the event loop that it is made on. `settings` say what the process opens."""

    def __init__(self, way: Way, settings: Settings) -> None:
        self._way = way
        self._hello = hello.dump(settings)
        self._callers = Callers()
        self._pending = Pending()
        self._most_waiting = settings.detection.max_waiting
        self._waiting = self._nothing()
        self._connection: Connection | None = None
        self._starting = True
        self._silent = False
        self._losses = 0
        self._keeping = asyncio.create_task(self._keep())
        self._watching = asyncio.create_task(self._watch())

    @property
    def state(self) -> State:
        """Whether what is handed over now is read."""
        connection = self._connection
        if connection is None:
            return State.STARTING if self._starting else State.DOWN
        if connection.full or self._silent:
            return State.DOWN
        return State.OK if connection.welcomed else State.STARTING

    @property
    def report(self) -> Analyst:
        """How the process does, for hooks."""
        return Analyst(self.state is State.OK, len(self._pending), self._losses)

    @property
    def handed(self) -> int:
        """How many transcripts were handed over."""
        return self._pending.added

    @property
    def pending(self) -> int:
        """Of how many of them it is not known what comes of them."""
        return len(self._pending)

    @property
    def seen(self) -> int:
        """How many of them were seen."""
        return self._pending.seen

    @property
    def unseen(self) -> int:
        """How many of them have gone unseen."""
        return self._pending.unseen

    def hand_over(self, transcript: Transcript, done: Callable[[Outcome], None]) -> None:
        """Send a transcript, have it wait for the process to start, or have it go unseen."""
        connection, number = self._connection, self._pending.add(done)
        taken = self._starting if connection is None else not connection.full
        if not taken or len(self._pending) > MOST_PENDING:
            self._pending.finish(number, UNSEEN)
            return
        try:
            frame = wire.pack_transcript(number, transcript, self._callers)
        except WireError as error:
            limited.log(logging.WARNING, "analyst transcript", "a query goes unseen: %s", error)
            self._pending.finish(number, UNSEEN)
        else:
            if connection is not None:
                connection.send(frame)
                return
            for lost, _ in self._waiting.put((number, frame), len(frame[-1]), transcript.whose):
                self._pending.finish(lost, UNSEEN)

    def renew(self, settings: Settings) -> None:
        """Have the process go on by other settings, as far as it can."""
        told = hello.dump(settings)
        if told != self._hello:
            self._hello = told
            if self._connection is not None:
                self._connection.send(wire.pack_hello(told))

    async def aclose(self) -> None:
        """End the connection, and the process where nobody else needs it.

        What is pending has a moment to be read; then it goes unseen.
        """
        with suppress(TimeoutError):
            await asyncio.wait_for(self._pending.quiet(), PENDING_SECONDS)
        for task in (self._keeping, self._watching):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        if self._connection is not None:
            self._connection.close()
            await self._connection.lost.wait()
        self._lost(starting=False)
        await self._way.aclose()

    async def _keep(self) -> None:
        """Keep a connection, and start the process again where it is gone."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                connection = await self._way.connect(lambda: Connection(self._finish))
            except (OSError, GuardError) as error:
                limited.log(logging.WARNING, "analyst", "the analyst cannot be reached: %s", error)
                self._lost(starting=False)
            else:
                self._connected(connection)
                await connection.lost.wait()
                self._losses += 1
                if connection.welcomed:
                    pause = FIRST_PAUSE_SECONDS
                limited.log(logging.WARNING, "analyst", "the analyst is lost: %s", connection.reason)
                self._lost(starting=connection.welcomed)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(1)
            if self._pending.expire(OVERDUE_SECONDS):
                self._silent = True

    def _finish(self, number: int, outcome: Outcome) -> None:
        self._silent = False
        self._pending.finish(number, outcome)

    def _connected(self, connection: Connection) -> None:
        self._connection, self._silent = connection, False
        connection.send(wire.pack_hello(self._hello))
        while (waiting := self._waiting.take()) is not None:
            _, frame = waiting
            connection.send(frame)

    def _lost(self, *, starting: bool) -> None:
        """There is no process; what comes now waits if it is `starting` again."""
        self._connection, self._starting = None, starting
        if lost := len(self._pending):
            limited.log(logging.WARNING, "analyst unseen", "not read by the analyst: %d queries", lost)
        self._waiting = self._nothing()
        self._pending.lose()

    def _nothing(self) -> FairQueue[tuple[int, Sequence[bytes]]]:
        """What waits for the process, by number: nothing yet."""
        return FairQueue(self._most_waiting, MOST_BUFFERED)


class Connection(asyncio.Protocol):
    """One connection to the process; `finish` is told what has come of transcripts, by their numbers."""

    def __init__(self, finish: Callable[[int, Outcome], None]) -> None:
        self._finish = finish
        self._frames = Frames(wire.LARGEST_REPLY)
        self._transport: asyncio.Transport | None = None
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._paused = False
        self.welcomed = False
        self.lost = asyncio.Event()
        self.reason = "the connection has ended"

    @property
    def full(self) -> bool:
        """Whether the process takes nothing at present."""
        return self._paused or self._waiting_bytes > MOST_BUFFERED

    def send(self, frame: Sequence[bytes]) -> None:
        """Send a frame at the end of this turn of the loop, with all others of this turn."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._flush)
        self._waiting += frame
        self._waiting_bytes += len(frame[-1])

    def close(self) -> None:
        """End the connection without waiting for anything."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(MOST_BUFFERED)

    def pause_writing(self) -> None:
        """The process does not take what was sent."""
        self._paused = True

    def resume_writing(self) -> None:
        """It does again."""
        self._paused = False

    def data_received(self, data: bytes) -> None:
        """Take what the process says."""
        try:
            for frame in self._frames.feed(data):
                self._take(wire.unpack(frame))
        except WireError as error:
            self.reason = str(error)
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The process is gone, or has closed."""
        self._transport = None
        self._waiting.clear()
        self.lost.set()

    def _take(self, message: tuple[object, ...]) -> None:
        kind = message[0] if message else None
        if kind == wire.OUTCOMES:
            for number, outcome in wire.unpack_outcomes(message):
                self._finish(number, outcome)
        elif kind == wire.WELCOME:
            self.welcomed = True
        elif kind == wire.REFUSED:
            self.reason = bounded(wire.unpack_refused(message))
        else:
            raise WireError("not what comes now")

    def _flush(self) -> None:
        frames, self._waiting, self._waiting_bytes = self._waiting, [], 0
        if self._transport is not None:
            self._transport.writelines(frames)
