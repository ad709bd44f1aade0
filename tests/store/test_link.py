"""An open connection, over every way to a server and on both loops: asyncio's and uvloop's."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from patience import PATIENCE_SECONDS
from redis import exceptions

from guard.store.transport.connection import LONGEST, ScriptConnection
from guard.store.transport.nodes import nodes_at
from guard.store.transport.url import RedisURL

sys.path.insert(0, str(Path(__file__).parent))

from wire import Puppet, Wire, connected, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from guard.store.embedded.server import EmbeddedServer

    Play = Callable[[Coroutine[None, None, None]], None]

DEADLINE_SECONDS = 0.25
PATIENT_SECONDS = 20.0

PUSH = b">2\r\n+message\r\n$4\r\nnews\r\n"


@pytest.fixture(params=["asyncio", "uvloop"])
def play(request: pytest.FixtureRequest) -> Play:
    """Runs a test on one loop or the other."""

    def run(scene: Coroutine[None, None, None]) -> None:
        new_loop = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(scene)

    return run


@asynccontextmanager
async def puppet(
    folder: Path, answer: Callable[[list[bytes]], bytes], deadline_seconds: float = PATIENT_SECONDS
) -> AsyncIterator[tuple[ScriptConnection, Puppet]]:
    server = Puppet(answer)
    path = str(folder / "puppet")
    listener = await asyncio.start_unix_server(server.connect, path)
    connection = ScriptConnection(RedisURL.of_socket(Path(path)).new_connection, deadline_seconds)
    try:
        yield connection, server
    finally:
        await connection.aclose()
        listener.close()
        await until(lambda: server.open == 0)


def echo(command: list[bytes]) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(command[1]), command[1])


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of 127.0.0.1, with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "redis")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    file = tmp_path_factory.mktemp("tls") / "redis.pem"
    file.write_bytes(
        signed.public_bytes(pem)
        + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return file


@pytest.mark.parametrize("way", ["unix", "tcp", "tls"])
def test_every_way_to_a_server_carries_calls_and_is_opened_again_when_it_was_cut(
    play: Play,
    redis_server: EmbeddedServer,
    tmp_path: Path,
    certificate: Path,
    way: str,
) -> None:
    async def scene() -> None:
        wire = Wire(redis_server.socket)
        if way == "unix":
            listener = await asyncio.start_unix_server(wire.connect, str(tmp_path / "wire"))
            url = f"unix://{tmp_path}/wire"
        else:
            context = None
            if way == "tls":
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(certificate)
            listener = await asyncio.start_server(wire.connect, "127.0.0.1", 0, ssl=context)
            port = listener.sockets[0].getsockname()[1]
            scheme, parameters = ("rediss", f"?ssl_ca_certs={certificate}") if context else ("redis", "")
            url = f"{scheme}://127.0.0.1:{port}{parameters}"
        nodes = nodes_at(RedisURL.parse(url), PATIENT_SECONDS)
        try:
            await connected(nodes)
            large = bytes(3_000_000)
            calls = [nodes.call("k", "ECHO", value) for value in ("a", large, "b")]
            assert await asyncio.gather(*calls) == [b"a", large, b"b"]
            wire.open.clear()
            waiting = asyncio.ensure_future(nodes.call("k", "ECHO", "lost"))
            await asyncio.sleep(0)
            wire.cut()
            with pytest.raises(exceptions.ConnectionError):
                await waiting
            wire.open.set()
            await connected(nodes)
            assert await nodes.call("k", "ECHO", "again") == b"again"
        finally:
            await nodes.aclose()
            wire.cut()
            listener.close()

    play(scene())


def test_a_busy_loop_is_not_a_slow_server(play: Play, redis_server: EmbeddedServer) -> None:
    deadline_seconds = 1.0  # the server's own time for its answer, also on a busy machine

    async def scene() -> None:
        nodes = nodes_at(RedisURL.of_socket(redis_server.socket), deadline_seconds)
        await connected(nodes)
        calls = [asyncio.ensure_future(nodes.call("k", "ECHO", number)) for number in range(10)]
        await asyncio.sleep(0)
        time.sleep(deadline_seconds * 1.5)  # noqa: ASYNC251 - the loop is busy: that is the point
        assert await asyncio.gather(*calls) == [str(number).encode() for number in range(10)]
        await nodes.aclose()

    play(scene())


async def test_a_reply_that_lies_unread_when_the_deadline_is_over_is_read(tmp_path: Path) -> None:
    async with puppet(tmp_path, lambda _: b"", DEADLINE_SECONDS) as (connection, server):
        await connected(connection)
        before = asyncio.get_running_loop().time()
        waiting = asyncio.ensure_future(connection.call("ECHO", "late"))
        await asyncio.sleep(0)
        time.sleep(DEADLINE_SECONDS * 1.5)  # noqa: ASYNC251 - the loop is busy
        # In the next turn: after sockets were looked at, and before the call's own timer.
        asyncio.get_running_loop().call_at(before, server.say_now, b"$4\r\nlate\r\n")
        assert await waiting == b"late"


def test_a_call_made_as_the_timer_goes_off_has_the_deadline_of_any_other(play: Play, tmp_path: Path) -> None:
    """The timer of the connection looks at it before it is written."""

    async def scene() -> None:
        loop = asyncio.get_running_loop()
        async with puppet(tmp_path, echo, DEADLINE_SECONDS) as (connection, server):
            await connected(connection)
            await asyncio.sleep(DEADLINE_SECONDS * 2)  # no timer is left
            start = loop.time()
            assert await connection.call("ECHO", "sets the timer") == b"sets the timer"
            server.answer = lambda _: b""
            silent = loop.create_future()
            # The loop is busy until both are due: they go off in one turn, in the order of their times.
            loop.call_at(start + DEADLINE_SECONDS * 0.8, time.sleep, DEADLINE_SECONDS * 0.4)
            loop.call_at(
                start + DEADLINE_SECONDS * 0.9,
                lambda: silent.set_result(asyncio.ensure_future(connection.call("ECHO", "silence"))),
            )
            reply = await silent
            ended, _ = await asyncio.wait({reply}, timeout=DEADLINE_SECONDS * LONGEST * 0.9)
            assert ended
            assert isinstance(reply.exception(), TimeoutError)

    play(scene())


def test_a_push_is_nobodys_reply(play: Play, tmp_path: Path) -> None:
    async def scene() -> None:
        async with puppet(tmp_path, lambda command: PUSH + echo(command) + PUSH) as (connection, server):
            await connected(connection)
            before = server.connections
            replies = await asyncio.gather(*(connection.call("ECHO", number) for number in range(20)))
            assert replies == [str(number).encode() for number in range(20)]
            assert server.connections == before

    play(scene())


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (b"-LOADING Redis is loading the dataset in memory\r\n", exceptions.BusyLoadingError),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", exceptions.InvalidResponse),
        (b"+first\r\n+second\r\n+third\r\n+fourth\r\n", None),
    ],
    ids=["an error of the connection", "no reply of Redis", "a reply too many"],
)
async def test_a_connection_that_cannot_be_used_any_more_is_given_up_for_all(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, said: bytes, error: type[Exception] | None
) -> None:
    async with puppet(tmp_path, echo) as (connection, server):
        await connected(connection)
        before = server.connections
        server.answer = lambda command: said if command[1] == b"0" else b""
        calls = [connection.call("ECHO", number) for number in range(3)]
        replies = await asyncio.gather(*calls, return_exceptions=True)
        if error is None:
            assert replies == [b"first", b"second", b"third"]
        else:
            assert {type(reply) for reply in replies} == {error}
        server.answer = echo
        await connected(connection)
        assert await connection.call("ECHO", "again") == b"again"
        assert server.connections > before
    assert not caplog.records


async def test_a_server_that_closes_after_its_greeting_is_an_error(tmp_path: Path) -> None:
    async with puppet(tmp_path, echo, DEADLINE_SECONDS) as (connection, server):
        server.leaves_at = b"LIB-VER"
        with pytest.raises((exceptions.RedisError, TimeoutError)):
            await connection.call("ECHO", "lost")


async def test_a_retired_connection_is_closed_with_the_last_reply(tmp_path: Path) -> None:
    async with puppet(tmp_path, echo, PATIENCE_SECONDS * 2) as (connection, server):
        await connected(connection)
        calls = [asyncio.ensure_future(connection.call("ECHO", number)) for number in range(3)]
        await asyncio.sleep(0)
        connection.retire()
        assert await asyncio.gather(*calls) == [b"0", b"1", b"2"]
        await until(lambda: server.open == 0)


@pytest.mark.parametrize("retired", [True, False])
async def test_a_connection_on_which_nobody_waits_any_more_is_not_kept_for_a_silent_server(
    tmp_path: Path, retired: bool
) -> None:
    async with puppet(tmp_path, lambda _: b"", DEADLINE_SECONDS) as (connection, server):
        await connected(connection)
        waiting = asyncio.ensure_future(connection.call("ECHO", "silence"))
        await until(lambda: server.commands[-1][0] == b"ECHO")
        waiting.cancel()
        if retired:
            connection.retire()
        await until(lambda: server.open == 0)


async def test_what_a_server_does_not_take_is_written_when_it_does(tmp_path: Path) -> None:
    async with puppet(tmp_path, echo) as (connection, server):
        await connected(connection)
        server.takes.clear()
        values = [bytes(3_000_000), b"behind", b"cancelled", b"at the end"]
        calls = []
        for value in values:
            calls.append(asyncio.ensure_future(connection.call("ECHO", value)))
            await asyncio.sleep(0)
        calls[2].cancel()
        server.takes.set()
        replies = await asyncio.gather(*calls, return_exceptions=True)
        assert [*replies[:2], replies[3]] == [*values[:2], values[3]]
        assert b"cancelled" not in [command[-1] for command in server.commands]


async def test_a_server_that_takes_nothing_is_given_up_though_it_speaks(tmp_path: Path) -> None:
    deadline_seconds = 0.05
    async with puppet(tmp_path, echo, deadline_seconds) as (connection, server):
        await connected(connection)
        server.takes.clear()
        speaking = asyncio.create_task(server.speak(PUSH, deadline_seconds / 10))
        calls = []
        for value in (bytes(3_000_000), b"behind", b"at the end"):
            calls.append(asyncio.ensure_future(connection.call("ECHO", value)))
            await asyncio.sleep(0)
        for reply in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(reply, TimeoutError)
        speaking.cancel()
        server.takes.set()
        await until(lambda: server.open == 0)
        assert b"ECHO" not in [command[0] for command in server.commands]
