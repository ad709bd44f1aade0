"""A client that keeps a server busy, or asks it at a steady pace, and checks every answer.

`saturate` has so many connections ask, each again as soon as it has its answer. `pace` asks so often a
second, on whichever connection is free; where none is, the request waits, and its wait counts. An answer that
is not right ends the run: a server that refuses is not a fast one.
"""

from __future__ import annotations

import asyncio
import random
import selectors
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import uvloop

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DONE = b"[DONE]"
HEAD_END = b"\r\n\r\n"
LAST_CHUNK = b"\r\n0\r\n\r\n"
CHUNKED = b"transfer-encoding: chunked"


@dataclass(slots=True)
class Sample:
    """The answers of one run: their latencies, and how long after `[DONE]` a stream's last byte came."""

    latencies: list[float] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def per_second(self) -> float:
        return len(self.latencies) / self.seconds

    def latency(self, share: float) -> float:
        """The latency that this share of the requests did not exceed."""
        return quantile(self.latencies, share)


def quantile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


class WrongAnswerError(Exception):
    """A server answered something else than what was expected."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a port, in random order, and whether a body is the right answer."""

    port: int
    requests: Sequence[bytes]
    right: Callable[[bytes], bool]


class Connection(asyncio.Protocol):
    """A connection that has one request under way at most; `answered` gets it back with each answer."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._received = bytearray()
        self._asking = False
        self._began = 0.0
        self._done: float | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none of asyncio's classes

    def connection_lost(self, error: Exception | None) -> None:
        # One that waits for the others to have their answers may be closed as idle.
        if self._asking:
            self._load.failed(WrongAnswerError(f"the server closed a connection: {error}"))

    def ask(self, request: bytes, began: float) -> None:
        """Send a request that was due at this time."""
        assert self._transport is not None
        self._asking = True
        if self._transport.is_closing():
            self.connection_lost(None)
            return
        self._received.clear()
        self._done = None
        self._began = began
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        received = self._received
        before = len(received)
        received += data
        if self._done is None and received.find(DONE, max(0, before - len(DONE))) >= 0:
            self._done = time.perf_counter()
        head = received.find(HEAD_END)
        if head < 0:
            return
        fields = bytes(received[:head]).lower()
        if CHUNKED in fields:
            if not received.endswith(LAST_CHUNK):
                return
            body = dechunked(bytes(received[head + len(HEAD_END) :]))
        else:
            length = int(fields.partition(b"content-length:")[2].partition(b"\r")[0])
            if len(received) < head + len(HEAD_END) + length:
                return
            body = bytes(received[head + len(HEAD_END) :])
        self._asking = False
        self._load.answered(self, fields[9:12], body, self._began, self._done)

    def close(self) -> None:
        assert self._transport is not None
        self._transport.abort()


class Load:
    """What all connections of one run share."""

    def __init__(self, question: Question) -> None:
        self.sample = Sample()
        self._question = question
        self._connections: list[Connection] = []
        self._idle: deque[Connection] = deque()
        self._waiting: deque[float] = deque()
        self._until = 0.0
        self._asked_all = False
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def saturate(self, connections: int, seconds: float) -> Sample:
        """Have all connections ask without a pause."""
        await self._open(connections)
        began = time.perf_counter()
        self._until = began + seconds
        self._asked_all = True
        while self._idle:
            self._ask(self._idle.popleft(), time.perf_counter())
        await self._finish(began)
        return self.sample

    async def pace(self, connections: int, seconds: float, per_second: float) -> Sample:
        """Ask so often a second."""
        await self._open(connections)
        began = time.perf_counter()
        for place in range(int(seconds * per_second)):
            await asyncio.sleep(max(0.0, began + place / per_second - time.perf_counter()))
            if self._ended.done():
                break
            now = time.perf_counter()
            if self._idle:
                self._ask(self._idle.popleft(), now)
            else:
                self._waiting.append(now)
        self._asked_all = True
        self._end_if_idle()
        await self._finish(began)
        return self.sample

    def answered(
        self, connection: Connection, status: bytes, body: bytes, began: float, done: float | None
    ) -> None:
        """Note an answer, and have the connection ask again where something is due."""
        now = time.perf_counter()
        if status != b"200" or not self._question.right(body):
            self.failed(WrongAnswerError(f"{status.decode()}: {body[:500]!r}"))
            return
        self.sample.latencies.append(now - began)
        if done is not None:
            self.sample.ends.append(now - done)
        if now < self._until:
            self._ask(connection, now)
        elif self._waiting:
            self._ask(connection, self._waiting.popleft())
        else:
            self._idle.append(connection)
            self._end_if_idle()

    def failed(self, error: WrongAnswerError) -> None:
        if not self._ended.done():
            self._ended.set_exception(error)

    def _ask(self, connection: Connection, began: float) -> None:
        connection.ask(random.choice(self._question.requests), began)

    def _end_if_idle(self) -> None:
        if self._asked_all and len(self._idle) == len(self._connections) and not self._ended.done():
            self._ended.set_result(None)

    async def _open(self, connections: int) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(connections):
            _, connection = await loop.create_connection(
                lambda: Connection(self), "127.0.0.1", self._question.port
            )
            self._connections.append(connection)
        self._idle.extend(self._connections)

    async def _finish(self, began: float) -> None:
        try:
            await self._ended
        finally:
            self.sample.seconds = time.perf_counter() - began
            for connection in self._connections:
                connection.close()


def saturate(question: Question, connections: int, seconds: float) -> Sample:
    """Ask for so long, on so many connections at once."""

    async def asking() -> Sample:
        return await Load(question).saturate(connections, seconds)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(asking())


def pace(question: Question, connections: int, seconds: float, per_second: float) -> Sample:
    """Ask so often a second for so long, on so many connections at most."""

    async def asking() -> Sample:
        return await Load(question).pace(connections, seconds, per_second)

    # Of all selectors only select(2) waits for less than a millisecond.
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())) as runner:
        return runner.run(asking())


def dechunked(data: bytes) -> bytes:
    """The body that came in chunks."""
    body, place = b"", 0
    while True:
        line = data.index(b"\r\n", place)
        size = int(data[place:line].partition(b";")[0], 16)
        if size == 0:
            return body
        body += data[line + 2 : line + 2 + size]
        place = line + 2 + size + 2
