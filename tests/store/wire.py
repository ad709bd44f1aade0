"""What lies between a client and a Redis, and what stands in for one."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import hiredis
from patience import PATIENCE_SECONDS, eventually
from redis import exceptions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from guard.store.transport.connection import ScriptConnection
    from guard.store.transport.nodes import Nodes


class Wire:
    """What lies between a client and a server: it counts, it can fall silent, and it can be cut."""

    def __init__(self, server: Path) -> None:
        self.chunks = 0
        self.received = 0
        self.ended = False
        self.connections = 0
        self.open = asyncio.Event()
        self.open.set()
        self._server = server
        self._writers: list[asyncio.StreamWriter] = []

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        server_reader, server_writer = await asyncio.open_unix_connection(str(self._server))
        self._writers += [writer, server_writer]
        await asyncio.gather(self._carry(reader, server_writer, 1), self._carry(server_reader, writer, 0))

    def cut(self) -> None:
        for writer in self._writers:
            writer.close()
        self._writers.clear()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: int) -> None:
        try:
            while chunk := await reader.read(65536):
                await self.open.wait()
                self.chunks += count
                self.received += len(chunk) * count
                writer.write(chunk)
        except OSError:
            pass
        finally:
            self.ended = True
            writer.close()


class Puppet:
    """A server that greets its clients, and then says to each command what it is told to.

    It can stop taking what is sent, and leave at a command that has this argument.
    """

    def __init__(self, answer: Callable[[list[bytes]], bytes]) -> None:
        self.answer = answer
        self.leaves_at: bytes | None = None
        self.takes = asyncio.Event()
        self.takes.set()
        self.commands: list[list[bytes]] = []
        self.connections = 0
        self.open = 0
        self._writers: list[asyncio.StreamWriter] = []

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        self._writers.append(writer)
        parser = hiredis.Reader()
        try:
            while chunk := await reader.read(65536):
                await self.takes.wait()
                parser.feed(chunk)
                while command := parser.gets():
                    self.commands.append(command)
                    greeted = command[0] not in (b"HELLO", b"CLIENT")
                    writer.write(self.answer(command) if greeted else b"+OK\r\n")
                    if self.leaves_at in command:
                        return
        except OSError:
            pass
        finally:
            self.open -= 1
            writer.close()

    def say_now(self, text: bytes) -> None:
        """Say something to the client that came last; it lies in its socket when this returns."""
        os.write(self._writers[-1].get_extra_info("socket").fileno(), text)

    async def speak(self, text: bytes, pause_seconds: float) -> None:
        """Say something again and again, unasked."""
        while True:
            for writer in self._writers:
                writer.write(text)
            await asyncio.sleep(pause_seconds)


async def connected(way: ScriptConnection | Nodes) -> None:
    """Connect, however often that has to be tried on a slow machine."""

    async def now() -> bool:
        try:
            await way.connect(PATIENCE_SECONDS)
        except (exceptions.RedisError, OSError):
            return False
        return True

    await eventually(now)


async def until(holds: Callable[[], bool]) -> None:
    async def now() -> bool:
        return holds()

    await eventually(now)
