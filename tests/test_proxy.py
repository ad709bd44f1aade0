"""The proxy's connections to its backend: W22, U12."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
from fakes import Answer, Guarded, call

from guard.config import BackendSettings
from guard.errors import BackendError
from guard.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from starlette.types import ASGIApp

    MakeGuarded = Callable[..., Guarded]
    Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter, int], Awaitable[None]]

CHAT = {"model": "m", "messages": [{"role": "user", "content": "one two"}], "max_tokens": 50}
KEY = {"x-api-key": "sk-a"}
REQUESTS = {"name": "requests", "unit": "requests", "rate": "5/hour"}
TOKENS = {"name": "tokens", "unit": "tokens", "rate": "10000/hour"}
USED = {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}
OK = json.dumps({"object": "chat.completion", "choices": [], "usage": USED}).encode()
WHOLE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(OK), OK)


class Backend:
    """A backend byte for byte: `answers` says for each request, in order, what it sends back.

    Whatever is not `WHOLE` closes the connection.
    """

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.requests: list[tuple[int, bytes]] = []
        self.connections = 0
        self.speaks_no_tls = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        try:
            while True:
                if self.speaks_no_tls:
                    await reader.read(1)
                    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                    return
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    (
                        int(line[15:])
                        for line in head.lower().split(b"\r\n")
                        if line.startswith(b"content-length:")
                    ),
                    0,
                )
                self.requests.append((number, await reader.readexactly(length)))
                answer = self.answers.pop(0)
                writer.write(answer)
                await writer.drain()
                if answer != WHOLE:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


@asynccontextmanager
async def running(backend: Backend) -> AsyncIterator[str]:
    server = await asyncio.start_server(backend.serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


@pytest.fixture
async def behind(guarded: MakeGuarded) -> AsyncIterator[Callable[..., Guarded]]:
    """`behind(url, *limits, **backend settings)`: guard in front of a backend."""
    proxies: list[Proxy] = []

    def make(url: str, *limits: dict[str, Any], **backend: Any) -> Guarded:
        proxies.append(Proxy(BackendSettings.model_validate({"url": url, **backend})))
        return guarded(proxies[-1], *limits)

    yield make
    for proxy in proxies:
        await proxy.aclose()


async def ask(app: Guarded) -> Answer:
    return await call(app, body=CHAT, headers=KEY)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is no backend that has worked on a request."""
    monkeypatch.setattr("guard.proxy.STALE_SECONDS", 600.0)


def test_w22_an_idle_connection_is_closed_before_servers_close_it() -> None:
    """uvicorn, and so vLLM, closes after five seconds."""
    assert BackendSettings().keepalive_seconds < 5


@pytest.mark.usefixtures("patient")
class TestStaleConnections:
    async def test_w22_a_connection_that_the_backend_closed_is_no_error(
        self, behind: Callable[..., Guarded]
    ) -> None:
        backend = Backend(WHOLE, b"", WHOLE, WHOLE)
        async with running(backend) as url:
            app = behind(url, REQUESTS, TOKENS, keepalive_seconds=60)
            assert [(await ask(app)).status for _ in range(3)] == [200] * 3
            left = await app.left("sk-a")
        assert [number for number, _ in backend.requests] == [1, 1, 2, 3]
        assert len({body for _, body in backend.requests}) == 1
        assert left == {"requests": 2, "tokens": 10_000 - 3 * 5}

    @pytest.mark.parametrize(
        "answers",
        [
            [b""],  # a new connection: the backend may have crashed over the request
            [WHOLE, b"", b""],  # once more, not twice
            [WHOLE, b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\nx"],
            [WHOLE, b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc"],
        ],
    )
    async def test_w22_what_the_backend_may_have_read_is_not_sent_again(
        self, behind: Callable[..., Guarded], answers: list[bytes]
    ) -> None:
        backend = Backend(*answers, WHOLE)
        async with running(backend) as url:
            app = behind(url, REQUESTS, keepalive_seconds=60)
            for _ in range(min(len(answers), 2)):
                with suppress(BackendError):  # raised where the client has got the start of an answer
                    await ask(app)
        assert backend.answers == [WHOLE]
        assert len(backend.requests) == len(answers)

    async def test_w22_a_backend_that_works_on_a_request_before_it_closes_does_not_get_it_again(
        self, behind: Callable[..., Guarded], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("guard.proxy.STALE_SECONDS", 0.0)
        backend = Backend(WHOLE, b"", WHOLE)
        async with running(backend) as url:
            app = behind(url, REQUESTS, keepalive_seconds=60)
            assert [(await ask(app)).status for _ in range(2)] == [200, 502]
        assert len(backend.requests) == 2

    async def test_w22_an_idle_connection_is_kept_for_less_than_servers_keep_it(
        self, behind: Callable[..., Guarded]
    ) -> None:
        backend = Backend(WHOLE, WHOLE)
        async with running(backend) as url:
            app = behind(url, REQUESTS, keepalive_seconds=0.01)
            await ask(app)
            await asyncio.sleep(0.1)
            await ask(app)
        assert [number for number, _ in backend.requests] == [1, 2]


class TestBrokenOff:
    """W17: a request whose body never came is none, and is not sent on as one with an empty body."""

    COUNT = "/v1/messages/count_tokens"

    async def test_w17_a_body_that_never_came_is_not_sent_as_an_empty_one(
        self, behind: Callable[..., Guarded], caplog: pytest.LogCaptureFixture
    ) -> None:
        backend = Backend(*[WHOLE] * 8)
        async with running(backend) as url:
            app = behind(url, REQUESTS)
            assert (await ask(app)).status == 200  # from now on there is a connection in the pool
            await self.leave(app.middleware, None)
            too_large = [(b"content-length", b"40000000")]
            sent = await self.leave(app.middleware, None, too_large)
            assert len(backend.requests) == 1
            # What has begun arrives in chunks without an end.
            await self.leave(app.middleware, b"{")
        assert [message["status"] for message in sent if "status" in message] == [413]
        assert "backend_failed" not in caplog.text

    async def test_w17_likewise_where_guard_only_passes_on(self, guarded: MakeGuarded) -> None:
        backend = Backend(*[WHOLE] * 8)
        async with running(backend) as url:
            proxy = Proxy(BackendSettings.model_validate({"url": url}))
            app = guarded(proxy, REQUESTS, unknown_paths="pass")
            assert (await ask(app)).status == 200
            await self.leave(app.middleware, None, path="/orders")
            await proxy.aclose()
        assert len(backend.requests) == 1

    async def leave(
        self,
        app: ASGIApp,
        already: bytes | None,
        more: list[tuple[bytes, bytes]] | None = None,
        path: str = COUNT,
    ) -> list[Any]:
        """Send no body, or the beginning of one, and leave."""
        messages: list[Any] = [{"type": "http.disconnect"}]
        if already is not None:
            messages.insert(0, {"type": "http.request", "body": already, "more_body": True})
        headers = [
            (b"host", b"g"),
            (b"authorization", b"Bearer sk-a"),
            *(more or [(b"content-length", b"9")]),
        ]
        scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": headers,
            "client": ("127.0.0.1", 1),
        }
        sent: list[Any] = []

        async def receive() -> Any:
            return messages.pop(0) if len(messages) > 1 else messages[0]

        async def send(message: Any) -> None:
            sent.append(message)

        await app(scope, receive, send)
        return sent


class TestNoBackend:
    @pytest.mark.parametrize(
        ("url", "reason"),
        [
            ("http://127.0.0.1:{closed}", "backend_unreachable"),
            ("http://no-such-host.invalid:80", "backend_dns"),
            ("https://127.0.0.1:{open}", "backend_tls"),
        ],
    )
    async def test_u12_a_request_that_no_backend_got_costs_nothing_and_leaves_a_line(
        self,
        behind: Callable[..., Guarded],
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
        url: str,
        reason: str,
    ) -> None:
        look_up = socket.getaddrinfo

        def no_such_host(host: str, *args: Any, **more: Any) -> Any:
            # Without asking the machine's own resolver, which may take its time.
            if host.endswith(".invalid"):
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            return look_up(host, *args, **more)

        monkeypatch.setattr(socket, "getaddrinfo", no_such_host)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            closed = listener.getsockname()[1]
        backend = Backend()
        backend.speaks_no_tls = True
        async with running(backend) as opened:
            app = behind(url.format(closed=closed, open=opened.rpartition(":")[2]), REQUESTS, TOKENS)
            with caplog.at_level(logging.INFO, "guard"):
                answers = [await ask(app) for _ in range(7)]
            assert {answer.status for answer in answers} == {502}
            assert await app.left("sk-a") == {"requests": 5, "tokens": 10_000}
        lines = [json.loads(message) for message in caplog.messages if message.startswith("{")]
        assert [line["reason"] for line in lines] == [reason] * 7
        assert lines[0]["request_id"] == answers[0].headers["x-request-id"]
        assert lines[0]["detail"] not in answers[0].body.decode()

    async def test_u12_a_backend_that_breaks_off_costs_a_request(
        self, behind: Callable[..., Guarded], caplog: pytest.LogCaptureFixture
    ) -> None:
        async with running(Backend(b"")) as url:
            app = behind(url, REQUESTS, TOKENS)
            with caplog.at_level(logging.INFO, "guard"):
                assert (await ask(app)).status == 502
            assert await app.left("sk-a") == {"requests": 4, "tokens": 10_000}
        (line,) = [json.loads(message) for message in caplog.messages if message.startswith("{")]
        assert line["reason"] == "backend_broke_off"
