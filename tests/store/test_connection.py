from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from redis import exceptions
from redis.asyncio import ConnectionPool, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from guard.store.transport.connection import ScriptConnection

sys.path.insert(0, str(Path(__file__).parent))

from wire import Wire, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from guard.store.embedded.server import EmbeddedServer

DEADLINE_SECONDS = 0.25
PATIENT_SECONDS = 20.0


@asynccontextmanager
async def wired(
    server: EmbeddedServer, folder: Path, deadline_seconds: float
) -> AsyncIterator[tuple[ScriptConnection, Wire]]:
    wire = Wire(server.socket)
    path = str(folder / "wire")
    listener = await asyncio.start_unix_server(wire.connect, path)
    pool = ConnectionPool(
        UnixDomainSocketConnection,
        path=path,
        retry=Retry(NoBackoff(), 0),
        protocol=3,
        socket_connect_timeout=5,
    )
    connection = ScriptConnection(pool.make_connection, deadline_seconds)
    try:
        yield connection, wire
    finally:
        wire.open.set()
        await connection.aclose()
        wire.cut()
        listener.close()


async def test_calls_that_come_together_are_written_together(
    redis_server: EmbeddedServer, tmp_path: Path
) -> None:
    async with wired(redis_server, tmp_path, PATIENT_SECONDS) as (connection, wire):
        await connection.call("PING")
        before = wire.chunks
        replies = await asyncio.gather(*(connection.call("ECHO", number) for number in range(100)))
        assert replies == [str(number).encode() for number in range(100)]
        assert wire.chunks - before <= 3
        assert wire.connections == 1


async def test_first_calls_that_come_together_open_one_connection(
    redis_server: EmbeddedServer, tmp_path: Path
) -> None:
    async with wired(redis_server, tmp_path, PATIENT_SECONDS) as (connection, wire):
        await asyncio.gather(*(connection.call("PING") for _ in range(50)))
        assert wire.connections == 1


async def test_every_call_gets_its_own_reply_whoever_is_cancelled(
    redis_server: EmbeddedServer, tmp_path: Path
) -> None:
    async with wired(redis_server, tmp_path, PATIENT_SECONDS) as (connection, _):
        for round_ in range(20):
            tasks = [
                asyncio.ensure_future(connection.call("ECHO", f"{round_}-{number}")) for number in range(40)
            ]
            for _ in range(round_ % 5):
                await asyncio.sleep(0)
            for task in tasks[round_ % 3 :: 3]:
                task.cancel()
            replies = await asyncio.gather(*tasks, return_exceptions=True)
            for number, reply in enumerate(replies):
                assert isinstance(reply, asyncio.CancelledError) or reply == f"{round_}-{number}".encode()


async def test_asking_and_its_command_are_sent_together_and_have_one_reply(
    redis_server: EmbeddedServer, tmp_path: Path
) -> None:
    async with wired(redis_server, tmp_path, PATIENT_SECONDS) as (connection, _):
        for round_ in range(10):
            tasks = [
                asyncio.ensure_future(connection.call("ECHO", number, asking=number % 3 == 0))
                for number in range(40)
            ]
            for _ in range(round_ % 4):
                await asyncio.sleep(0)
            for task in tasks[round_ % 5 :: 5]:
                task.cancel()
            replies = await asyncio.gather(*tasks, return_exceptions=True)
            for number, reply in enumerate(replies):
                assert isinstance(reply, asyncio.CancelledError) or reply == str(number).encode()


async def test_a_retired_connection_serves_those_who_wait_and_nobody_else(
    redis_server: EmbeddedServer, tmp_path: Path
) -> None:
    async with wired(redis_server, tmp_path, PATIENT_SECONDS) as (connection, wire):
        await connection.call("PING")
        wire.open.clear()
        waiting = [asyncio.ensure_future(connection.call("ECHO", number)) for number in range(5)]
        await asyncio.sleep(0)
        connection.retire()
        late = asyncio.ensure_future(connection.call("ECHO", "late"))
        await asyncio.sleep(0.01)
        wire.open.set()
        assert await asyncio.gather(*waiting) == [str(number).encode() for number in range(5)]
        assert await late == b"late"
        assert wire.connections == 2


async def test_calls_that_wait_for_a_connection_that_is_retired_go_over_the_next_one(
    redis_server: EmbeddedServer, tmp_path: Path
) -> None:
    async with wired(redis_server, tmp_path, PATIENT_SECONDS) as (connection, wire):
        wire.open.clear()
        waiting = [asyncio.ensure_future(connection.call("ECHO", number)) for number in range(5)]
        await until(lambda: wire.connections == 1)
        connection.retire()
        await until(lambda: wire.connections == 2)
        wire.open.set()
        assert await asyncio.gather(*waiting) == [str(number).encode() for number in range(5)]
        assert wire.connections == 2


async def test_calls_go_over_the_next_connection_where_one_is_retired_before_it_begins_to_open(
    redis_server: EmbeddedServer, tmp_path: Path
) -> None:
    async with wired(redis_server, tmp_path, PATIENT_SECONDS) as (connection, _):
        waiting = asyncio.ensure_future(connection.call("ECHO", 1))
        await asyncio.sleep(0)
        connection.retire()
        assert await waiting == b"1"


@pytest.mark.parametrize("ending", ["end", "aclose"])
async def test_calls_that_wait_for_a_connection_that_is_ended_fail(
    redis_server: EmbeddedServer, tmp_path: Path, ending: str
) -> None:
    async with wired(redis_server, tmp_path, PATIENT_SECONDS) as (connection, wire):
        wire.open.clear()
        waiting = asyncio.ensure_future(connection.call("PING"))
        await until(lambda: wire.connections == 1)
        connection.end() if ending == "end" else await connection.aclose()
        for call in (waiting, connection.call("PING")):
            with pytest.raises(exceptions.ConnectionError, match="closed"):
                await call
        assert wire.connections == 1


async def test_an_error_is_one_calls_and_not_its_neighbours(
    redis_server: EmbeddedServer, tmp_path: Path
) -> None:
    async with wired(redis_server, tmp_path, PATIENT_SECONDS) as (connection, _):
        commands = [("ECHO", 1), ("NONSENSE",), ("ECHO", 2)]
        calls = [connection.call(*command) for command in commands]
        first, wrong, last = await asyncio.gather(*calls, return_exceptions=True)
        assert (first, last) == (b"1", b"2")
        assert isinstance(wrong, exceptions.ResponseError)


async def test_a_silent_connection_is_given_up_and_replaced(
    redis_server: EmbeddedServer, tmp_path: Path
) -> None:
    async with wired(redis_server, tmp_path, DEADLINE_SECONDS) as (connection, wire):
        await until_answered(connection)
        wire.open.clear()
        with pytest.raises(TimeoutError):
            await connection.call("PING")
        with pytest.raises(TimeoutError):  # the new connection is as silent
            await connection.call("PING")
        wire.open.set()
        await until_answered(connection)
        assert wire.connections >= 2


async def test_a_connection_that_is_cut_fails_those_who_wait_at_once(
    redis_server: EmbeddedServer, tmp_path: Path
) -> None:
    async with wired(redis_server, tmp_path, PATIENT_SECONDS) as (connection, wire):
        await connection.call("PING")
        wire.open.clear()
        waiting = [asyncio.ensure_future(connection.call("PING")) for _ in range(5)]
        await asyncio.sleep(0.01)
        wire.cut()
        for failure in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(failure, exceptions.ConnectionError)
        wire.open.set()
        assert await connection.call("ECHO", "again") == b"again"


async def test_a_server_that_is_not_there_is_an_error_of_redis(tmp_path: Path) -> None:
    pool = ConnectionPool(
        UnixDomainSocketConnection, path=str(tmp_path / "none"), retry=Retry(NoBackoff(), 0)
    )
    connection = ScriptConnection(pool.make_connection, PATIENT_SECONDS)
    for _ in range(2):
        with pytest.raises(exceptions.ConnectionError):
            await connection.call("PING")
    await connection.aclose()


async def until_answered(connection: ScriptConnection) -> None:
    """A slow machine may miss the deadline now and then; not for ever."""
    for _ in range(100):
        try:
            await connection.call("PING")
        except (TimeoutError, exceptions.RedisError):
            await asyncio.sleep(0.05)
        else:
            return
    raise AssertionError("no answer")


async def test_a_closed_connection_sends_nothing_more_to_a_server_that_does_not_read(
    redis_server: EmbeddedServer, tmp_path: Path
) -> None:
    size = 20_000_000
    async with wired(redis_server, tmp_path, PATIENT_SECONDS) as (connection, wire):
        await connection.call("PING")
        wire.open.clear()
        waiting = asyncio.ensure_future(connection.call("ECHO", bytes(size)))
        await asyncio.sleep(0.05)
        before = wire.received
        await connection.aclose()
        with pytest.raises(exceptions.ConnectionError, match="closed"):
            await waiting
        wire.open.set()
        await until(lambda: wire.ended)
        assert wire.received - before < size / 2
