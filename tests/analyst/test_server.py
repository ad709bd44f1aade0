"""The side of the process: what it bounds, whoever connects."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from analyses import Analysis, transcript
from patience import eventually, until

from guard.analyst import client as clients
from guard.analyst import hello, wire
from guard.analyst.callers import Callers
from guard.analyst.server import AnalystServer, serve_all
from guard.settings.root import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import pytest


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[AnalystServer]:
    server, over, path = AnalystServer(Analysis), asyncio.Event(), folder / "s"
    running = asyncio.create_task(serve_all(path, server, over))
    await asyncio.to_thread(until, path.exists)
    try:
        yield server
    finally:
        over.set()
        await running


def hello_in(folder: Path) -> bytes:
    settings = Settings.model_validate({"data_dir": folder, "detection": {"max_waiting": 4}})
    return b"".join(wire.pack_hello(hello.dump(settings)))


def sent(number: int, body: bytes = b"{}") -> bytes:
    return b"".join(wire.pack_transcript(number, transcript(body), Callers()))


async def clients_of(server: AnalystServer, number: int) -> None:
    """Return when so many are connected."""

    async def holds() -> bool:
        return len(server.clients) == number

    await eventually(holds)


async def closed(connection: socket.socket) -> None:
    """Return when the other end has closed."""
    loop = asyncio.get_running_loop()
    with suppress(ConnectionResetError):
        while await loop.sock_recv(connection, 1 << 16):
            pass


async def test_a_worker_that_does_not_read_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "MOST_UNREAD", 1_000)
    async with serving(tmp_path) as server:
        with socket.socket(socket.AF_UNIX) as worker:
            worker.setblocking(False)
            worker.connect(str(tmp_path / "s"))
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(worker, hello_in(tmp_path))
            await clients_of(server, 1)
            flood = b"".join(sent(number) for number in range(300))
            with suppress(BrokenPipeError, ConnectionResetError):
                while server.clients:
                    await loop.sock_sendall(worker, flood)
            await closed(worker)
        assert not server.clients


async def test_frames_that_are_never_whole_have_a_bound_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "MOST_BEGUN", 350_000)
    begun = (1 << 20).to_bytes(4) + bytes(100_000)
    async with serving(tmp_path) as server:
        loop = asyncio.get_running_loop()
        workers = [socket.socket(socket.AF_UNIX) for _ in range(4)]
        for number, worker in enumerate(workers, 1):
            worker.setblocking(False)
            worker.connect(str(tmp_path / "s"))
            await clients_of(server, number)
            await loop.sock_sendall(worker, begun)
        await clients_of(server, 3)
        assert server.begun <= 350_000
        for worker in workers:
            worker.close()


async def test_so_many_connections_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "MOST_CLIENTS", 2)
    async with serving(tmp_path) as server:
        workers = [socket.socket(socket.AF_UNIX) for _ in range(3)]
        for worker in workers:
            worker.setblocking(False)
            worker.connect(str(tmp_path / "s"))
        await closed(workers[2])
        assert len(server.clients) == 2
        for worker in workers:
            worker.close()
