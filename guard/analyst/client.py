"""One connection of a worker, as the analyst's process has it."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from functools import partial
from struct import Struct
from typing import TYPE_CHECKING, Any, TypeVar, cast

from guard.analyst import hello, wire
from guard.analyst.wire import Frames, WireError
from guard.telemetry.lines import limited

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from guard.analyst.server import AnalystServer
    from guard.analyst.transcript import Outcome

MOST_CLIENTS = 128
"""Maximum number of connections."""
MOST_BEGUN = 32 << 20
"""Maximum size of all frames together that are not whole, in bytes."""
LITTLE_BEGUN = 64 << 10
"""Up to this size a frame that is not whole is of no account."""
MOST_UNREAD = 1 << 20
"""Maximum size of what a worker does not read of what it is told, in bytes."""

_PEER = Struct("3i")

P = TypeVar("P", bound=asyncio.BaseProtocol)


class Client(asyncio.Protocol):
    """One connection of a worker."""

    def __init__(self, server: AnalystServer) -> None:
        self._server = server
        self._frames = Frames(wire.LARGEST_FRAME)
        self._transport: asyncio.Transport | None = None
        self._greeted = self._welcomed = False
        self._outcomes: list[tuple[int, Outcome]] = []
        self.lost = asyncio.Event()

    @property
    def begun(self) -> int:
        """The size of what has come of a frame that is not whole."""
        return self._frames.begun

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, if it is this user's."""
        if not _own(transport.get_extra_info("socket")) or len(self._server.clients) >= MOST_CLIENTS:
            limited.log(logging.WARNING, "analyst client", "analyst: a connection was refused")
            cast(asyncio.Transport, transport).abort()
            self.lost.set()
            return
        self._transport = cast(asyncio.Transport, transport)
        self._server.clients.add(self)

    def data_received(self, data: bytes) -> None:
        """Take what has come."""
        try:
            for frame in self._frames.feed(data):
                if self._transport is not None:
                    self._take(wire.unpack(frame))
            if self.begun > LITTLE_BEGUN and self._server.begun > MOST_BEGUN:
                raise WireError("too many frames that are not whole")
        except WireError as error:
            limited.log(logging.ERROR, "analyst client", "analyst: a connection was closed: %s", error)
            self._drop()

    def connection_lost(self, exc: Exception | None) -> None:
        """What comes of what is read for it, nobody hears."""
        self._transport = None
        self._server.clients.discard(self)
        self.lost.set()

    def welcome(self) -> None:
        """Say once that what is handed over is read."""
        if self._greeted and not self._welcomed:
            self._welcomed = True
            self._send(wire.pack_welcome())

    def refuse(self, reason: str) -> None:
        """Say that it is not, and why."""
        self._send(wire.pack_refused(reason))
        self.close()
        self._transport = None

    def tell(self, number: int, outcome: Outcome) -> None:
        """Say what has come of a transcript, at the end of this turn of the loop."""
        if not self._outcomes:
            asyncio.get_running_loop().call_soon(self._flush)
        self._outcomes.append((number, outcome))

    def close(self) -> None:
        """Say what is still to be said, and close."""
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def _take(self, message: tuple[Any, ...]) -> None:
        kind = message[0] if message else None
        if kind == wire.HELLO:
            self._greeted = True
            self._server.greet(self, hello.load(wire.unpack_hello(message)))
        elif kind == wire.TRANSCRIPT and self._greeted:
            number, transcript = wire.unpack_transcript(message, self._server.caller_of)
            self._server.put(transcript, partial(self.tell, number))
        else:
            raise WireError("not what comes now")

    def _flush(self) -> None:
        outcomes, self._outcomes = self._outcomes, []
        for start in range(0, len(outcomes), wire.MOST_ITEMS):
            self._send(wire.pack_outcomes(outcomes[start : start + wire.MOST_ITEMS]))

    def _send(self, frame: Sequence[bytes]) -> None:
        if self._transport is None:
            return
        self._transport.writelines(frame)
        if self._transport.get_write_buffer_size() > MOST_UNREAD:
            limited.log(logging.ERROR, "analyst client", "analyst: a connection was closed: it does not read")
            self._drop()

    def _drop(self) -> None:
        if self._transport is not None:
            self._transport.abort()
            self._transport = None


async def connected(protocol: Callable[[], P], connection: socket.socket) -> P:
    """The protocol of a connection that is there; on Windows the two ends of a pair have no unix socket."""
    loop = asyncio.get_running_loop()
    if connection.family == getattr(socket, "AF_UNIX", None):
        return (await loop.create_unix_connection(protocol, sock=connection))[1]
    return (await loop.create_connection(protocol, sock=connection))[1]


def _own(connection: socket.socket) -> bool:
    """Whether the other end is this user's; where it cannot be told, the folder of the socket keeps others
    out.
    """
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return True
    _, user, _ = _PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, option, _PEER.size))
    return bool(user == os.getuid())
