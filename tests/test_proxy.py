"""The proxy's connections to its backend: W22, U12."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import sys
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
from fakes import Answer, Guarded, call, http_scope
from patience import PATIENCE_SECONDS

from guard.asgi.proxy import Proxy
from guard.errors import BackendError
from guard.settings.backend import BackendSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from starlette.types import ASGIApp, Message

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
async def running(backend: Backend | Slow) -> AsyncIterator[str]:
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
    monkeypatch.setattr("guard.asgi.proxy.STALE_SECONDS", 600.0)


class Slow:
    """A backend that reads a body when `read` is set, and answers when `answer` is, but for connections that
    come later; it streams, and ends when `end` is set."""

    def __init__(self) -> None:
        self.asked, self.read, self.answer, self.end = (asyncio.Event() for _ in range(4))
        self.bodies: list[bytes] = []
        self.heads: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        first = not self.asked.is_set()
        self.asked.set()
        self.heads.append(head)
        if first:
            await self.read.wait()
        size = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        self.bodies.append(await reader.readexactly(size))
        if first:
            await self.answer.wait()
        writer.write(WHOLE.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" + OK[:5])
        if first:
            await self.end.wait()
        writer.write(OK[5:])
        await writer.drain()
        writer.close()


def sized(size: int) -> bytes:
    return json.dumps({**CHAT, "messages": [{"role": "user", "content": "x" * size}]}).encode()


class TestBodies:
    """W16: what is held is what is counted, until the backend has the body."""

    @pytest.mark.parametrize("size", [1_000, 60_000, 3 << 20])
    async def test_w16_an_answer_under_way_holds_no_body(self, guarded: MakeGuarded, size: int) -> None:
        backend = Slow()
        content = sized(size)
        sent = [content]
        left = asyncio.Event()
        begun = asyncio.Event()
        answer = Answer()

        async def receive() -> Message:
            if sent:
                return {"type": "http.request", "body": sent.pop(), "more_body": False}
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            answer.messages.append(message)
            if message.get("body"):
                begun.set()

        async with running(backend) as url:
            proxy = Proxy(BackendSettings.model_validate({"url": url}))
            app = guarded(proxy, detection={"mode": "off"})
            request = http_scope("/v1/chat/completions", headers=KEY)
            before = sys.getrefcount(content) - 1  # `sent` lets go of its own
            asking = asyncio.create_task(app(request, receive, send))
            for event in (backend.read, backend.answer):
                event.set()
            await asyncio.wait_for(begun.wait(), PATIENCE_SECONDS)
            for _ in range(500):
                if sys.getrefcount(content) == before:
                    break
                await asyncio.sleep(0.01)  # the thread that has parsed it may not have let it go yet
            held = sys.getrefcount(content) - before
            backend.end.set()
            await asking
            await proxy.aclose()
        assert held == 0
        assert answer.status == 200
        assert answer.body == OK
        assert backend.bodies == [content]

    async def test_w16_a_body_is_counted_until_it_is_sent(self, guarded: MakeGuarded) -> None:
        """Of 20 MiB, which no socket takes at once."""
        backend = Slow()
        large = sized(20 << 20)
        async with running(backend) as url:
            proxy = Proxy(BackendSettings.model_validate({"url": url}))
            bounds = {"max_bytes": 24 << 20, "max_buffered_bytes": 32 << 20}
            app = guarded(proxy, detection={"mode": "off"}, body=bounds)

            async def other() -> int:
                return (
                    await call(app, body=large, headers={"x-api-key": "sk-b"}, client="203.0.113.9")
                ).status

            first = asyncio.create_task(call(app, body=large, headers=KEY))
            await asyncio.wait_for(backend.asked.wait(), PATIENCE_SECONDS)
            refused = await other()
            backend.read.set()
            for _ in range(2_000):
                if backend.bodies:
                    break
                await asyncio.sleep(0.01)
            # The first is not answered yet.
            served = await other()
            backend.answer.set()
            backend.end.set()
            assert (await first).status == 200
            await proxy.aclose()
        assert (refused, served) == (503, 200)
        assert [len(body) for body in backend.bodies] == [len(large)] * 2

    async def test_w16_a_small_body_counts_until_its_answer_begins(self, guarded: MakeGuarded) -> None:
        backend = Slow()
        backend.read.set()
        async with running(backend) as url:
            proxy = Proxy(BackendSettings.model_validate({"url": url}))
            bounds = {"max_bytes": 100_000, "max_buffered_bytes": 100_000}
            app = guarded(proxy, detection={"mode": "off"}, body=bounds)

            async def other() -> int:
                answer = await call(
                    app, body=sized(60_000), headers={"x-api-key": "sk-b"}, client="203.0.113.9"
                )
                return answer.status

            first = asyncio.create_task(call(app, body=sized(60_000), headers=KEY))
            for _ in range(2_000):
                if backend.bodies:
                    break
                await asyncio.sleep(0.01)
            refused = await other()
            backend.answer.set()
            for _ in range(2_000):
                served = await other()
                if served == 200:
                    break
                await asyncio.sleep(0.01)
            backend.end.set()
            assert (await first).status == 200
            await proxy.aclose()
        assert (refused, served) == (503, 200)

    async def test_w16_a_large_body_has_its_length_and_a_connection_of_its_own(
        self, behind: Callable[..., Guarded]
    ) -> None:
        backend = Backend(WHOLE, WHOLE, WHOLE, WHOLE)
        async with running(backend) as url:
            app = behind(url)
            for size in (10, 100_000, 10, 100_000):
                assert (await call(app, body=sized(size), headers=KEY)).status == 200
        assert [(number, len(body)) for number, body in backend.requests] == [
            (1, len(sized(10))),
            (2, len(sized(100_000))),
            (1, len(sized(10))),
            (3, len(sized(100_000))),
        ]


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
        monkeypatch.setattr("guard.asgi.proxy.STALE_SECONDS", 0.0)
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
