"""`guard serve` with several workers on the embedded store, driven over HTTP."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from patience import eventually, until
from serving import free_port, guard_serve, kill, serving_process, worker_pids

from guard import load
from guard.admin import Operator
from guard.core.identity import EVERYTHING
from guard.demo.model import FakeModel
from guard.demo.run import serving
from guard.server.app import guarded

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from starlette.types import Receive, Scope, Send

CHAT = "/v1/chat/completions"

CONFIG = """
data_dir = "data"
[store]
deadline_ms = 2000
reservation_seconds = {reservation_seconds}
[[tiers.default.limits]]
name = "held"
unit = "{unit}"
rate = "{rate}"
algorithm = "{algorithm}"
per = "everything"
"""


def configure(
    folder: Path,
    *,
    rate: str,
    unit: str = "requests",
    algorithm: str = "sliding_window",
    reservation_seconds: float = 600,
) -> Path:
    file = folder / "guard.toml"
    file.write_text(
        CONFIG.format(rate=rate, unit=unit, algorithm=algorithm, reservation_seconds=reservation_seconds)
    )
    return file


@pytest.fixture
def model() -> FakeModel:
    return FakeModel(words=5)


@pytest.fixture
def backend(model: FakeModel) -> Iterator[str]:
    with serving(model) as url:
        yield url


def chat(content: str = "hello", **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": content}], **more}


async def left(config: Path) -> int:
    async with Operator(load(config)) as operator:
        (reading,) = await operator.readings(EVERYTHING)
        return reading.remaining


async def statuses_of(url: str, clients: int, requests: int) -> list[int]:
    """Send so many requests from each of so many clients at once, each client with a key of its own."""

    async def drive(session: aiohttp.ClientSession, number: int) -> list[int]:
        found = []
        for _ in range(requests):
            headers = {"authorization": f"Bearer sk-{number}"}
            async with session.post(CHAT, json=chat(), headers=headers) as answer:
                await answer.read()
                found.append(answer.status)
        return found

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(url, connector=connector) as session:
        results = await asyncio.gather(*(drive(session, number) for number in range(clients)))
    return [status for result in results for status in result]


class TestExactness:
    async def test_64_clients_on_4_workers_get_exactly_what_a_sliding_window_has(
        self, tmp_path: Path, backend: str, model: FakeModel
    ) -> None:
        config = configure(tmp_path, rate="100/day")
        with guard_serve(config, backend, workers=4) as url:
            statuses = await statuses_of(url, clients=64, requests=5)
        assert statuses.count(200) == 100
        assert statuses.count(429) == 220
        assert len(model.requests) == 100

    async def test_under_gcra_they_get_the_burst_and_what_refilled_meanwhile(
        self, tmp_path: Path, backend: str
    ) -> None:
        config = configure(tmp_path, rate="100/minute", algorithm="gcra")
        with guard_serve(config, backend, workers=4) as url:
            started = time.time()
            statuses = await statuses_of(url, clients=64, requests=5)
            seconds = time.time() - started
        assert 100 <= statuses.count(200) <= 100 + int(seconds * 100 / 60)
        assert statuses.count(200) + statuses.count(429) == 320


class TestWorkersThatDie:
    async def test_a_reservation_of_a_killed_worker_comes_back_at_its_expiry(
        self, tmp_path: Path, backend: str
    ) -> None:
        config = configure(tmp_path, rate="10000/hour", unit="tokens", reservation_seconds=3)
        with guard_serve(config, backend, workers=2) as url:
            parent = serving_process(urlsplit(url).port or 0)
            async with aiohttp.ClientSession(url) as session:
                body = chat("words=4000 delay_ms=10", stream=True, max_tokens=4000)
                async with session.post(CHAT, json=body) as answer:
                    await answer.content.readany()
                    assert await left(config) <= 6_000
                    for pid in worker_pids(parent):
                        kill(pid)
                    with pytest.raises(aiohttp.ClientError):
                        await answer.read()

            async def is_back() -> bool:
                return await left(config) == 10_000

            await eventually(is_back)
            await _answered(url)

    async def test_workers_that_were_killed_are_replaced_and_keep_the_counts(
        self, tmp_path: Path, backend: str
    ) -> None:
        config = configure(tmp_path, rate="5/hour")
        with guard_serve(config, backend, workers=2) as url:
            assert (await statuses_of(url, clients=3, requests=1)) == [200] * 3
            for pid in worker_pids(serving_process(urlsplit(url).port or 0)):
                kill(pid)
            await _answered(url)
            statuses = await statuses_of(url, clients=4, requests=1)
        assert sorted(statuses) == [200, 200, 429, 429]


async def _answered(url: str) -> None:
    """Wait until somebody serves again."""
    async with aiohttp.ClientSession(url) as session:

        async def answers() -> bool:
            try:
                async with session.get("/nowhere") as answer:
                    return answer.status == 404
            except aiohttp.ClientError:
                return False

        await eventually(answers)


class TestProxying:
    async def test_chunks_arrive_one_by_one(self, tmp_path: Path) -> None:
        """The backend sends a chunk only when the client has the one before: whoever buffers, hangs."""
        arrived = asyncio.Semaphore(0)
        loop = asyncio.get_running_loop()

        async def stepwise(scope: Scope, receive: Receive, send: Send) -> None:
            await receive()
            headers = [(b"content-type", b"text/event-stream")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            for _ in range(200):
                chunk = b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n'
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
                future = asyncio.run_coroutine_threadsafe(arrived.acquire(), loop)
                await asyncio.wrap_future(future)
            await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "lifespan":
                await receive()
                await send({"type": "lifespan.startup.complete"})
                await receive()
                await send({"type": "lifespan.shutdown.complete"})
            else:
                await stepwise(scope, receive, send)

        config = configure(tmp_path, rate="100000/hour", unit="tokens")
        with serving(app) as backend:
            (tmp_path / "guard.toml").write_text(config.read_text() + f'[backend]\nurl = "{backend}"\n')
            with serving(guarded(load(config), hooks=())) as url:
                async with (
                    aiohttp.ClientSession(url) as session,
                    session.post(CHAT, json=chat(stream=True)) as answer,
                ):
                    chunks = 0
                    async for line in answer.content:
                        if line.startswith(b"data: {"):
                            chunks += 1
                            arrived.release()
        assert chunks == 200

    async def test_a_client_that_leaves_is_gone_at_the_backend_too(
        self, tmp_path: Path, backend: str, model: FakeModel
    ) -> None:
        config = configure(tmp_path, rate="100000/hour", unit="tokens")
        with guard_serve(config, backend) as url:
            async with aiohttp.ClientSession(url) as session:
                body = chat("words=5000 delay_ms=20", stream=True, max_tokens=5000)
                async with session.post(CHAT, json=body) as answer:
                    for _ in range(50):
                        await answer.content.readuntil(b"\n\n")
            await asyncio.to_thread(until, lambda: model.cut == 1)

            async def settled() -> bool:
                return 100_000 - await left(config) <= 5_000

            await eventually(settled)
            used = 100_000 - await left(config)
        assert 50 <= used < 4_000  # of the hundred seconds that it would have taken, eighty are spared

    async def test_a_client_that_leaves_before_the_answer_is_gone_at_the_backend_too(
        self, tmp_path: Path, backend: str, model: FakeModel
    ) -> None:
        config = configure(tmp_path, rate="100000/hour", unit="tokens")
        with guard_serve(config, backend) as url:
            async with aiohttp.ClientSession(url) as session:
                asking = asyncio.ensure_future(session.post(CHAT, json=chat("silent", max_tokens=9)))
                await asyncio.to_thread(until, lambda: len(model.requests) == 1)
                asking.cancel()

            async def settled() -> bool:
                return 100_000 - await left(config) == 2 + 4  # the query was read

            await eventually(settled)

    async def test_a_backend_that_is_not_there_is_a_502_and_costs_no_tokens(self, tmp_path: Path) -> None:
        config = configure(tmp_path, rate="1000/hour", unit="tokens")
        with guard_serve(config, "http://127.0.0.1:1") as url:
            async with aiohttp.ClientSession(url) as session:
                async with session.post(CHAT, json=chat(max_tokens=5)) as answer:
                    assert answer.status == 502
                    assert (await answer.json())["error"]["code"] == "backend_failed"
                async with session.post("/v1/messages", json=chat(max_tokens=5)) as answer:
                    assert answer.status == 502
                    assert (await answer.json())["error"]["type"] == "api_error"
            assert await left(config) == 1000

    async def test_a_backend_that_keeps_silent_is_a_504(self, tmp_path: Path, backend: str) -> None:
        config = configure(tmp_path, rate="1000/hour", unit="tokens")
        config.write_text(config.read_text() + "[backend]\nread_timeout_seconds = 0.3\n")
        with guard_serve(config, backend) as url:
            async with (
                aiohttp.ClientSession(url) as session,
                session.post(CHAT, json=chat("silent", max_tokens=5)) as answer,
            ):
                assert answer.status == 504

    async def test_headers_of_one_connection_do_not_go_on(
        self, tmp_path: Path, backend: str, model: FakeModel
    ) -> None:
        config = configure(tmp_path, rate="1000/hour")
        hidden = '[backend]\nheaders = { authorization = "Bearer sk-backend" }\n'
        config.write_text(config.read_text() + hidden)
        with guard_serve(config, backend) as url:
            headers = {
                "authorization": "Bearer sk-client",
                "connection": "x-drop",
                "x-drop": "1",
                "x-forwarded-for": "6.6.6.6",
                "x-title": "2",
            }
            async with (
                aiohttp.ClientSession(url) as session,
                session.post(CHAT, json=chat(), headers=headers) as answer,
            ):
                assert answer.status == 200
        got = dict(model.requests[-1].headers)
        assert got[b"authorization"] == b"Bearer sk-backend"
        assert got[b"x-title"] == b"2"
        assert got[b"x-forwarded-for"] == b"6.6.6.6, 127.0.0.1"
        assert b"x-drop" not in got
        assert got[b"host"] == urlsplit(backend).netloc.encode()


@pytest.fixture(scope="module")
def guarded_model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, FakeModel]]:
    model = FakeModel(words=5)
    config = configure(tmp_path_factory.mktemp("raw"), rate="100000/hour")
    with serving(model) as backend, guard_serve(config, backend) as url:
        yield url, model


class TestRawRequests:
    """What no HTTP client would send."""

    def send(self, url: str, request: bytes, *, half_close: bool = False) -> bytes:
        with socket.create_connection(("127.0.0.1", urlsplit(url).port or 0), timeout=20) as connection:
            connection.sendall(request)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
            answer = b""
            while part := connection.recv(65536):
                answer += part
            return answer

    @pytest.mark.parametrize(
        ("request_line", "headers", "body"),
        [
            (f"POST {CHAT} HTTP/1.1", "content-length: 5\r\ntransfer-encoding: chunked", b"0\r\n\r\n"),
            (f"POST {CHAT} HTTP/1.1", "content-length: 5\r\ncontent-length: 6", b"hello"),
            (f"POST {CHAT} HTTP/1.1", "content-length: -1", b""),
            (f"POST {CHAT} HTTP/1.1", "transfer-encoding: chunked", b"zz\r\n"),
            (f"POST {CHAT}%00 HTTP/1.1", "content-length: 2", b"{}"),
            ("POST /v1/chat/../chat/completions HTTP/1.1", "content-length: 2", b"{}"),
            ("POST //v1/chat/completions HTTP/1.1", "content-length: 2", b"{}"),
            (f"GET {CHAT} HTTP/1.1", "content-length: 0", b""),
            (
                f"POST {CHAT} HTTP/1.1",
                "authorization: Bearer a\r\nauthorization: Bearer b\r\ncontent-length: 2",
                b"{}",
            ),
            (f"POST {CHAT} HTTP/1.1", "authorization: Bearer a\r\nx-api-key: b\r\ncontent-length: 2", b"{}"),
        ],
    )
    def test_it_is_refused_and_never_reaches_the_backend(
        self, guarded_model: tuple[str, FakeModel], request_line: str, headers: str, body: bytes
    ) -> None:
        url, model = guarded_model
        request = f"{request_line}\r\nhost: x\r\nconnection: close\r\n{headers}\r\n\r\n".encode() + body
        answer = self.send(url, request, half_close=True)
        assert answer[:10] == b"HTTP/1.1 4"
        assert not model.requests

    @pytest.mark.parametrize(
        "headers", [f"content-length: {50 << 20}", "content-length: 2\r\ncontent-encoding: gzip"]
    )
    def test_what_is_charged_is_refused_without_its_body(
        self, guarded_model: tuple[str, FakeModel], headers: str
    ) -> None:
        url, model = guarded_model
        request = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n\r\n".encode()
        assert self.send(url, request)[:10] == b"HTTP/1.1 4"
        assert not model.requests

    def test_an_early_refusal_leaves_the_connection_in_step(
        self, guarded_model: tuple[str, FakeModel]
    ) -> None:
        url, _ = guarded_model
        body = json.dumps(chat()).encode()
        first = f"POST /nowhere HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body
        second = b"GET /nowhere HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        assert self.send(url, first + second).count(b"HTTP/1.1 404") == 2


class TestMetrics:
    async def test_the_counts_of_all_workers_are_read_at_one_port(self, tmp_path: Path, backend: str) -> None:
        config = configure(tmp_path, rate="6/hour")
        port = free_port()
        decided: dict[str, float] = {}
        with guard_serve(config, backend, "--metrics-port", str(port), workers=2) as url:
            async with aiohttp.ClientSession() as session:
                for _ in range(10):
                    # A connection each, so that both workers have some.
                    async with session.post(url + CHAT, json=chat(), headers={"connection": "close"}):
                        pass

                async def all_are_counted() -> bool:
                    # A worker may count a request just after its client has the answer.
                    async with session.get(f"http://127.0.0.1:{port}/metrics") as answer:
                        lines = (await answer.text()).splitlines()
                    counts = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
                    decided.update({name: float(n) for name, n in counts if "guard_decisions_total" in name})
                    return sum(decided.values()) == 10

                await eventually(all_are_counted)
        assert sum(value for name, value in decided.items() if 'action="allow"' in name) == 6
        assert sum(value for name, value in decided.items() if 'action="limited"' in name) == 4
