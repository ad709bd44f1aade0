"""Reads what workers hand over: their connections, and what waits.

All of it is on one event loop. What comes is put into a queue; one item at a time is given to the analysis,
and between two of them the loop sees to what has come meanwhile. What comes of them is told when it is known.

The first worker says which store it is; the others must mean the same one. Whoever sends what is no message
loses its connection, and nobody else notices.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol

from guard.analyst import hello
from guard.analyst.callers import CallerReader
from guard.analyst.client import Client, connected
from guard.analyst.pending import Pending
from guard.analyst.queue import FairQueue
from guard.analyst.transcript import UNSEEN, Reader
from guard.errors import GuardError
from guard.telemetry.lines import bounded, limited

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from pathlib import Path

    from guard.analyst.transcript import Outcome, Transcript
    from guard.settings.root import Settings

MOST_WAITING_BYTES = 32 << 20
"""Maximum size of what waits, in bytes."""
MOST_UNDER_WAY = 256
"""Maximum number of transcripts whose payout is being charged."""
GOODBYE_SECONDS = 1.0
"""How long a worker has to read what it is still told when the process ends."""
OVERDUE_SECONDS = 10.0
"""After this, whatever the analysis has made of a transcript, it counts as unseen."""


class Analysis(Reader, Protocol):
    """What reads transcripts, in the end."""

    async def start(self) -> None:
        """Open the store; raises `GuardError`."""

    def adopt(self, settings: Settings) -> None:
        """Go on by another reference, half-life and dialects; raises `ConfigError`."""

    async def flush(self) -> None:
        """Keep what was learnt, and charge what is paid out."""

    async def aclose(self) -> None:
        """Close the store."""


class Item(NamedTuple):
    """A transcript that waits, and whoever is told what comes of it."""

    transcript: Transcript
    done: Callable[[Outcome], None]


class AnalystServer:
    """Reads for the clients that `client` makes; `opening` makes the analysis of the first one's settings."""

    def __init__(self, opening: Callable[[Settings], Analysis]) -> None:
        self.clients: set[Client] = set()
        self.caller_of = CallerReader()
        self._make = opening
        self._analysis: Analysis | None = None
        self._settings: Settings | None = None
        self._queue: FairQueue[Item] = FairQueue(1, 1)
        self._pending = Pending()
        self._wanted = asyncio.Event()
        self._opening: asyncio.Task[None] | None = None

    def client(self) -> Client:
        """The protocol of one connection."""
        return Client(self)

    @property
    def begun(self) -> int:
        """The size of what has come of frames that are not whole."""
        return sum(each.begun for each in self.clients)

    def greet(self, client: Client, settings: Settings) -> None:
        """A worker says what it means to have read."""
        if self._settings is None:
            self._settings = settings
            self._queue = FairQueue(settings.detection.max_waiting, MOST_WAITING_BYTES)
            self._opening = asyncio.create_task(self._open(settings))
        elif hello.store_of(settings) != hello.store_of(self._settings):
            client.refuse("it reads for another store, or another pepper")
        elif self._analysis is not None:
            self._renew(self._analysis, settings)
            client.welcome()

    def put(self, transcript: Transcript, done: Callable[[Outcome], None]) -> None:
        """A worker hands over a transcript."""
        size = len(transcript.body) + len(transcript.answer)
        for lost in self._queue.put(Item(transcript, done), size, transcript.whose):
            lost.done(UNSEEN)
        self._wanted.set()

    async def run(self) -> None:
        """Read what comes, until cancelled."""
        overdue = asyncio.create_task(self._expire())
        try:
            while True:
                analysis = self._analysis
                idle = analysis is not None and len(self._pending) < MOST_UNDER_WAY
                item = self._queue.take() if idle else None
                if analysis is None or item is None:
                    self._wanted.clear()
                    await self._wanted.wait()
                else:
                    self._hand_over(item, analysis)
                    await asyncio.sleep(0)
        finally:
            overdue.cancel()

    async def aclose(self) -> None:
        """Keep what was learnt, tell what has come of what was read, and end all connections."""
        if self._opening is not None:
            self._opening.cancel()
        if self._analysis is not None:
            await self._analysis.flush()
            await self._analysis.aclose()
        clients = list(self.clients)
        for client in clients:
            client.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE_SECONDS):
                for client in clients:
                    await client.lost.wait()

    def _hand_over(self, item: Item, analysis: Analysis) -> None:
        number = self._pending.add(item.done)
        try:
            analysis.hand_over(item.transcript, partial(self._finish, number))
        # A panic in Rust is no `Exception`, and must not end the process either.
        except BaseException as error:  # noqa: BLE001
            log_failure("reading a transcript", error)
            self._finish(number, UNSEEN)

    def _finish(self, number: int, outcome: Outcome) -> None:
        self._pending.finish(number, outcome)
        self._wanted.set()

    async def _open(self, settings: Settings) -> None:
        try:
            analysis = self._make(settings)
            await analysis.start()
        except Exception as error:  # noqa: BLE001 - workers are told, and ask again
            reason = bounded(str(error)) if isinstance(error, GuardError) else type(error).__name__
            log_failure("opening the store", error)
            self._settings = None
            self._queue = FairQueue(1, 1)
            for client in list(self.clients):
                client.refuse(reason)
            return
        self._analysis = analysis
        for client in self.clients:
            client.welcome()
        self._wanted.set()

    def _renew(self, analysis: Analysis, settings: Settings) -> None:
        if settings == self._settings:
            return
        try:
            analysis.adopt(settings)
        except GuardError as error:
            log_failure("adopting new settings", error)
        else:
            self._settings = settings

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(1)
            if self._pending.expire(OVERDUE_SECONDS):
                self._wanted.set()


def log_failure(work: str, error: BaseException) -> None:
    """What went wrong and where. The message of an error is left out, for it may quote what was asked."""
    *_, place = traceback.extract_tb(error.__traceback__)
    limited.log(
        logging.ERROR,
        work,
        "analyst: %s failed: %s at %s:%s",
        work,
        type(error).__name__,
        place.filename,
        place.lineno,
    )


async def serve_one(connection: socket.socket, server: AnalystServer) -> None:
    """Read what comes over one connection until it ends."""
    client = await connected(server.client, connection)
    await _serve(server, client.lost)


async def serve_all(path: Path, server: AnalystServer, over: asyncio.Event) -> None:
    """Read what comes over the connections to a socket of this user's alone, until it is over."""
    listening = await asyncio.get_running_loop().create_unix_server(server.client, path)
    path.chmod(0o600)  # noqa: ASYNC240 - nothing else goes on yet
    async with listening:
        await _serve(server, over)


async def _serve(server: AnalystServer, over: asyncio.Event) -> None:
    running = asyncio.create_task(server.run())
    ending = asyncio.create_task(over.wait())
    try:
        await asyncio.wait({running, ending}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()  # why it has ended, which it never should
    finally:
        running.cancel()
        ending.cancel()
        await server.aclose()
