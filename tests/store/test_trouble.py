"""U20: what an operator reads where Redis is there and refuses, and where something else is there."""

from __future__ import annotations

import socket
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from redis import exceptions

from guard.admin import Operator
from guard.core.identity import Attribute, Holder
from guard.errors import StoreError
from guard.settings.root import Settings
from guard.store.transport.trouble import explain, in_greeting, kind_of

sys.path.insert(0, str(Path(__file__).parent))

from servers import Server, standalone

if TYPE_CHECKING:
    from collections.abc import Iterator


async def refusal(url: str) -> StoreError:
    """Why an order does not get through."""
    settings = Settings.model_validate({"store": {"redis_url": url}, "identity": {"pepper": "x" * 16}})
    with pytest.raises(StoreError) as error:
        async with Operator(settings) as operator:
            await operator.orders.block(Holder(Attribute.KEY, "alice"), 10, "")
    return error.value


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with standalone(requirepass="right") as server:
        for user, rights in {
            "reader": ("~*", "+@read", "+@connection"),
            "other": ("~other:*", "+@all"),
            "whole": ("~guard:*", "+@all"),
        }.items():
            server.ask("ACL", "SETUSER", user, "on", ">pw", *rights)
        yield server


class TestPasswords:
    async def test_u20_one_that_is_wanted(self, server: Server) -> None:
        error = await refusal(f"redis://{server.address}")
        assert error.kind == "permission"
        assert str(error).startswith("Redis wants a password: put it into store.redis_url")

    @pytest.mark.parametrize("who", [":wrong", "nobody:pw", "reader:wrong"])
    async def test_u20_one_that_is_wrong(self, server: Server, who: str) -> None:
        error = await refusal(f"redis://{who}@{server.address}")
        assert str(error) == "Redis does not accept the user and the password in store.redis_url"
        assert "wrong" not in str(error)

    @pytest.mark.parametrize("who", ["reader", "other"])
    async def test_u20_rights_that_are_missing(self, server: Server, who: str) -> None:
        error = await refusal(f"redis://{who}:pw@{server.address}")
        assert "examples/deploy/redis.acl" in str(error)

    async def test_u20_and_the_rights_that_this_names_are_enough(self, server: Server) -> None:
        settings = Settings.model_validate(
            {
                "store": {"redis_url": f"redis://whole:pw@{server.address}"},
                "identity": {"pepper": "x" * 16},
            }
        )
        async with Operator(settings) as operator:
            await operator.orders.block(Holder(Attribute.KEY, "alice"), 10, "")
            assert await operator.top(5) == []


class TestKinds:
    @pytest.mark.parametrize(
        ("scheme", "said"),
        [
            ("redis+cluster://{}", "this Redis is no cluster"),
            ("redis+sentinel://{}/main", "this is a Redis and no Sentinel"),
            ("redis://{}/999", "a database that Redis does not have"),
        ],
    )
    async def test_u20_another_kind_of_redis(self, scheme: str, said: str) -> None:
        with standalone() as server:
            assert said in str(await refusal(scheme.format(server.address)))

    async def test_u20_one_that_is_full(self) -> None:
        with standalone() as server:
            server.ask("CONFIG", "SET", "maxmemory", 1)
            assert str(await refusal(f"redis://{server.address}")).endswith("raise its `maxmemory`")

    async def test_u20_a_replica(self) -> None:
        with standalone() as server:
            server.ask("REPLICAOF", "127.0.0.1", 1)
            assert "this Redis is a read-only replica" in str(await refusal(f"redis://{server.address}"))

    @pytest.mark.parametrize(
        ("reply", "said"),
        [
            (b"HTTP/1.1 400 Bad Request\r\n\r\n", "is not Redis"),
            (b"-ERR unknown command `HELLO`, with args beginning with: `3`\r\n", "Redis 7.0 or later"),
            (b"-LOADING Redis is loading the dataset in memory\r\n", "still loading"),
            (b"", "where the port speaks TLS, store.redis_url begins with rediss://"),
        ],
        ids=["HTTP", "Redis 5", "loading", "closed"],
    )
    async def test_u20_something_else(self, reply: bytes, said: str) -> None:
        with listening(reply) as port:
            assert said in str(await refusal(f"redis://127.0.0.1:{port}"))


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (exceptions.MovedError("1 127.0.0.1:7000"), "cluster", "begin store.redis_url with redis+cluster://"),
        (exceptions.ConnectionError("[SSL: WRONG_VERSION_NUMBER]"), "tls", "does not speak TLS"),
        (exceptions.ConnectionError("[SSL: CERTIFICATE_VERIFY_FAILED]"), "tls", "is not trusted"),
        (
            in_greeting(exceptions.ConnectionError("Connection closed by server.")),
            "connection",
            "begins with rediss://",
        ),
        (exceptions.ResponseError("MISCONF Redis is configured"), "misconf", "cannot save"),
        (exceptions.ResponseError("BUSY Redis is busy"), "busy", "busy"),
        (exceptions.ResponseError("Error compiling script"), "version", "7.0"),
        (exceptions.ResponseError("something new"), "response", "something new"),
        (exceptions.TimeoutError(), "timeout", "TimeoutError"),
        (OSError("no route"), "connection", "no route"),
    ],
)
def test_u20_every_error_has_a_kind_and_a_text(error: Exception, kind: str, said: str) -> None:
    assert kind_of(error) == kind
    assert said in explain(error)


@pytest.mark.parametrize(
    "error",
    [
        exceptions.ConnectionError("Connection closed by server."),
        ConnectionResetError(104, "Connection reset by peer"),
        exceptions.TimeoutError("Timeout connecting to server"),
        in_greeting(
            exceptions.ConnectionError("Error 111 connecting to 127.0.0.1:6379. Connection refused.")
        ),
    ],
)
def test_what_tells_nothing_of_tls_does_not_speak_of_it(error: Exception) -> None:
    assert "rediss" not in explain(error)


@contextmanager
def listening(reply: bytes) -> Iterator[int]:
    """A port where each message gets this reply; an empty one closes the connection."""

    def serve(connection: socket.socket) -> None:
        with connection:
            while reply and connection.recv(65_536):
                connection.sendall(reply)

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
