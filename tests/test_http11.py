"""What `guard serve` takes from the connections of its clients: W14, W24, and trailers."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock
from urllib.parse import urlsplit

import pytest
import uvicorn
from serving import guard_serve
from uvicorn.server import ServerState

from guard.demo.model import FakeModel
from guard.demo.run import serving
from guard.server.http11 import CHUNKS_A_TURN, MOST_WAITING, PIECE, BoundedProtocol, protocol
from guard.server.places import Places
from guard.settings.server import ServerSettings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from starlette.types import Receive, Scope, Send

LARGE = 256 << 20
large_is_over = threading.Event()

BODY = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hello"}]}).encode()
CHAT = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"
NOWHERE = b"GET /nowhere HTTP/1.1\r\nhost: x\r\n"
LAST = NOWHERE + b"connection: close\r\n\r\n"


def chat(*headers: bytes) -> bytes:
    lines = b"".join(header + b"\r\n" for header in headers)
    return CHAT + lines + b"content-length: %d\r\n\r\n" % len(BODY) + BODY


def talk(url: str, *parts: bytes) -> bytes:
    """Send these bytes, and give all that comes back until the server closes the connection."""
    with socket.create_connection(("127.0.0.1", urlsplit(url).port or 0), timeout=60) as connection:
        send(connection, parts)
        answer = b""
        with suppress(ConnectionError):
            while part := connection.recv(65536):
                answer += part
        return answer


def send(connection: socket.socket, parts: Iterable[bytes]) -> int:
    """How many bytes could be sent before the server closed the connection."""
    sent = 0
    with suppress(ConnectionError):
        for part in parts:
            connection.sendall(part)
            sent += len(part)
    return sent


def statuses(answer: bytes) -> list[int]:
    return [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, FakeModel]]:
    model = FakeModel(words=3)
    config = tmp_path_factory.mktemp("http11") / "guard.toml"
    config.write_text(
        'data_dir = "data"\n[store]\ndeadline_ms = 5000\n'
        '[[tiers.default.limits]]\nname = "requests"\nunit = "requests"\nrate = "100000/hour"\n'
    )
    with serving(model) as backend, guard_serve(config, backend) as url:
        yield url, model


class TestBounds:
    """W14: nothing that precedes a request is without bound."""

    @pytest.mark.parametrize(
        ("request_", "status"),
        [
            (NOWHERE + b"a: " + b"x" * 100_000 + b"\r\n\r\n", 431),
            (NOWHERE + b"a" * 100_000 + b": x\r\n\r\n", 431),
            (NOWHERE + b"a: b\r\n" * 300 + b"\r\n", 431),
            (NOWHERE + b"".join(b"a%d: %s\r\n" % (i, b"x" * 700) for i in range(100)) + b"\r\n", 431),
            (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n", 414),
            (b"GET /?" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n", 414),
            (CHAT + b"transfer-encoding: chunked\r\n\r\n5;" + b"a" * 100_000 + b"\r\n", 431),
            (CHAT + b"transfer-encoding: chunked\r\n\r\n" + b"0" * 100_000 + b"\r\n", 431),
            (CHAT + b"transfer-encoding: chunked\r\n\r\n0\r\na: " + b"x" * 100_000 + b"\r\n\r\n", 431),
            (CHAT + b"transfer-encoding: chunked\r\n\r\n0\r\n" + b"a: x\r\n" * 20_000 + b"\r\n", 431),
            (b"\r\n" * 50_000 + LAST, 431),
            (b"G" * 100_000, 400),
            (b"CONNECT x:1 HTTP/1.1\r\nhost: x\r\n\r\n", 501),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
            (NOWHERE + b"a: b\r\n c\r\n\r\n", 400),
            (NOWHERE.replace(b"\r\n", b"\n") + b"\n", 400),
            (NOWHERE + b"a b: c\r\n\r\n", 400),
        ],
    )
    def test_a_head_that_is_too_large_or_no_head_is_refused(
        self, guarded: tuple[str, FakeModel], request_: bytes, status: int
    ) -> None:
        assert statuses(talk(guarded[0], request_)) == [status]

    @pytest.mark.parametrize(
        "start",
        [
            NOWHERE,
            NOWHERE + b"a: ",
            b"GET /",
            CHAT + b"transfer-encoding: chunked\r\n\r\n5;",
            CHAT + b"transfer-encoding: chunked\r\n\r\n0\r\n",
        ],
    )
    def test_a_connection_that_goes_on_sending_is_closed(
        self, guarded: tuple[str, FakeModel], start: bytes
    ) -> None:
        endless = b"a: b\r\n" * 10_000 if start == NOWHERE or start.endswith(b"0\r\n") else b"a" * 60_000
        port = urlsplit(guarded[0]).port or 0
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            assert send(connection, [start, *[endless] * 1_000]) < 40_000_000

    def test_each_request_of_a_connection_has_a_budget_of_its_own(
        self, guarded: tuple[str, FakeModel]
    ) -> None:
        padded = NOWHERE + b"a: " + b"x" * 50_000 + b"\r\n\r\n"
        assert statuses(talk(guarded[0], *[padded] * 10, LAST)) == [404] * 11

    def test_a_large_body_is_no_large_head(self, guarded: tuple[str, FakeModel]) -> None:
        url, _ = guarded
        body = json.dumps(
            {"model": "m", "messages": [{"role": "user", "content": "word " * 100_000}]}
        ).encode()
        chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in BODY) + b"0\r\n\r\n"
        answer = talk(
            url,
            CHAT + b"content-length: %d\r\n\r\n" % len(body) + body,
            CHAT + b"transfer-encoding: chunked\r\n\r\n" + chunks,
            LAST,
        )
        assert statuses(answer) == [200, 200, 404]

    def test_a_fault_does_not_cut_into_the_answers_before_it(self, guarded: tuple[str, FakeModel]) -> None:
        answer = talk(guarded[0], chat() + chat() + b"no request at all\r\n\r\n")
        assert statuses(answer) == [200, 200]
        assert answer.count(b'"finish_reason"') == 2

    def test_a_client_that_sends_requests_without_reading_answers_is_cut_off(
        self, guarded: tuple[str, FakeModel]
    ) -> None:
        answer = talk(guarded[0], chat() + (NOWHERE + b"\r\n") * 5_000)
        assert set(statuses(answer)) == {200, 404}
        assert len(statuses(answer)) <= MOST_WAITING + 2


CHUNKED = b"transfer-encoding: chunked\r\n\r\n"
CRUMBS = b"1\r\n \r\n" * 10_000


class TestChunks:
    """W12, W14: chunks of a byte, which cost a call each, are bounded, and others have turns meanwhile."""

    @pytest.mark.parametrize(
        "start",
        [
            CHAT + CHUNKED,
            CHAT + b"authorization: Bearer sk-crumbs\r\n" + CHUNKED,
            b"POST /nowhere HTTP/1.1\r\nhost: x\r\n" + CHUNKED,
            b"POST /nowhere HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: h2c\r\n" + CHUNKED,
            chat() + CHAT + CHUNKED,
        ],
    )
    @pytest.mark.parametrize("crumbs", [CRUMBS, b"1;" + b"x" * 60_000 + b"\r\n \r\n", CRUMBS[:6] * 700])
    def test_w14_a_body_that_is_mostly_framing_ends_the_connection(
        self, guarded: tuple[str, FakeModel], start: bytes, crumbs: bytes
    ) -> None:
        port = urlsplit(guarded[0]).port or 0
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            assert send(connection, [start, *[crumbs] * (64_000_000 // len(crumbs))]) < 40_000_000

    def test_w14_it_is_a_400_unless_the_request_has_had_its_answer(
        self, guarded: tuple[str, FakeModel]
    ) -> None:
        url, _ = guarded
        assert statuses(talk(url, CHAT + CHUNKED + CRUMBS * 2)) == [400]
        assert statuses(talk(url, b"POST /nowhere HTTP/1.1\r\nhost: x\r\n" + CHUNKED, CRUMBS * 2)) in (
            [404],
            [400],
        )

    @pytest.mark.parametrize("size", [64, 100, 4_000])
    def test_a_client_that_streams_small_pieces_passes(
        self, guarded: tuple[str, FakeModel], size: int
    ) -> None:
        url, model = guarded
        text = "word " * 60_000
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": text}]}).encode()
        pieces = [body[place : place + size] for place in range(0, len(body), size)]
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        assert statuses(talk(url, CHAT + CHUNKED + chunks + chat() + LAST)) == [200, 200, 404]
        assert model.requests[-2].body == body

    def test_pieces_as_a_json_encoder_makes_them_pass(self, guarded: tuple[str, FakeModel]) -> None:
        url, model = guarded
        query = {"model": "m", "messages": [{"role": "user", "content": "hello"}] * 300}
        pieces = [piece.encode() for piece in json.JSONEncoder().iterencode(query)]
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        assert statuses(talk(url, CHAT + CHUNKED + chunks + LAST)) == [200, 404]
        assert json.loads(model.requests[-1].body) == query

    def test_a_body_that_goes_on_after_its_answer_is_read_to_its_end(
        self, guarded: tuple[str, FakeModel]
    ) -> None:
        start = b"POST /nowhere HTTP/1.1\r\nhost: x\r\ncontent-length: 8000000\r\n\r\n"
        assert statuses(talk(guarded[0], start, bytes(8_000_000), LAST)) == [404, 404]

    def test_w14_a_body_that_goes_on_without_end_after_its_answer_ends_the_connection(
        self, guarded: tuple[str, FakeModel]
    ) -> None:
        start = b"POST /nowhere HTTP/1.1\r\nhost: x\r\ncontent-length: 8000000000\r\n\r\n"
        port = urlsplit(guarded[0]).port or 0
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            assert send(connection, [start, *[bytes(1 << 20)] * 200]) < 100_000_000

    async def test_w12_others_have_turns_while_a_connection_sends_chunks(self) -> None:
        """Counted in what the parser was given between two turns of the loop."""
        fed: list[int] = []

        class Counted(BoundedProtocol):
            def on_chunk_header(self) -> None:
                super().on_chunk_header()
                fed[-1] += 1

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            while (await receive()).get("more_body"):
                messages.append(len(fed))
            over.set()

        messages: list[int] = []
        over = asyncio.Event()
        config = uvicorn.Config(app, ws="none", lifespan="off", log_level="critical")
        connection = Counted(config, ServerState(), {}, settings=ServerSettings(), places=Places(9))
        transport = Mock(asyncio.Transport)
        transport.is_closing.return_value = False
        connection.connection_made(transport)
        fed.append(0)
        connection.data_received(CHAT + CHUNKED + b"1\r\nx\r\n" * 10_000 + b"0\r\n\r\n")
        for _ in range(1_000):
            fed.append(0)
            await asyncio.sleep(0)
            if over.is_set():
                break
        assert over.is_set()
        assert sum(fed) == 10_001
        assert max(fed) < CHUNKS_A_TURN + PIECE // len(b"1\r\nx\r\n") + 1
        assert len(messages) <= sum(1 for count in fed if count)
        assert transport.pause_reading.called
        assert transport.resume_reading.called
        connection.connection_lost(None)


class TestTrailers:
    def test_w8_what_comes_after_the_body_is_no_header(self, guarded: tuple[str, FakeModel]) -> None:
        url, model = guarded
        trailers = b"authorization: Bearer sk-other\r\nx-late: 1\r\n"
        chunked = b"transfer-encoding: chunked\r\ntrailer: authorization\r\n\r\n%x\r\n" % len(BODY)
        answer = talk(url, CHAT + chunked + BODY + b"\r\n0\r\n" + trailers + b"\r\n" + LAST)
        assert statuses(answer) == [200, 404]
        names = [name for name, _ in model.requests[-1].headers]
        assert b"authorization" not in names
        assert b"x-late" not in names


class TestUpgrades:
    """W24: an upgrade that is not done is ignored, and the request is served."""

    @pytest.mark.parametrize(
        "headers",
        [
            [b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQ"],
            [b"upgrade: h2c, websocket", b"connection: upgrade"],
            [b"connection: keep-alive", b"connection: upgrade", b"upgrade: TLS/1.0"],
            [b"upgrade: websocket", b"connection: upgrade"],
            [b"connection: upgrade"],
            [b"upgrade: h2c"],
        ],
    )
    def test_a_request_with_an_upgrade_is_served_with_its_body(
        self, guarded: tuple[str, FakeModel], headers: list[bytes]
    ) -> None:
        url, model = guarded
        assert statuses(talk(url, chat(*headers) + chat() + LAST)) == [200, 200, 404]
        request = model.requests[-2]
        assert request.body == BODY
        assert not {b"upgrade", b"http2-settings"} & {name for name, _ in request.headers}

    def test_a_body_that_comes_later_or_in_chunks_belongs_to_the_request(
        self, guarded: tuple[str, FakeModel]
    ) -> None:
        url, model = guarded
        upgrade = b"connection: upgrade\r\nupgrade: h2c\r\n"
        parts = (CHAT + upgrade + b"transfer-encoding: chunked\r\n", b"\r\n5\r\n", BODY[:5], b"\r\n")
        rest = b"%x\r\n" % len(BODY[5:]) + BODY[5:] + b"\r\n0\r\n\r\n"
        assert statuses(talk(url, *parts, rest, LAST)) == [200, 404]
        assert model.requests[-1].body == BODY


@contextmanager
def served(**settings: Any) -> Iterator[str]:
    """An app that answers once its body is read, or at once on `/early`; `/large` does not fit any buffer."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        if scope["path"] == "/large":
            headers = [(b"content-length", b"%d" % LARGE)]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            for _ in range(0, LARGE, 1 << 16):
                await send({"type": "http.response.body", "body": bytes(1 << 16), "more_body": True})
            large_is_over.set()
            return
        while scope["path"] != "/early" and (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    config = uvicorn.Config(
        app,
        http=protocol(ServerSettings(**settings)),
        ws="none",
        # It reads what has come before it looks at its timers, so that a busy machine delays no client.
        loop="asyncio",
        lifespan="off",
        log_level="error",
    )
    server = uvicorn.Server(config)
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        give_up = time.monotonic() + 60
        while not server.started:
            assert time.monotonic() < give_up
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@pytest.fixture(scope="module")
def hasty() -> Iterator[str]:
    with served(head_timeout_seconds=1, keepalive_seconds=600) as url:
        yield url


class TestSlowClients:
    """W14: a head, and a connection without a request, have a deadline."""

    @pytest.mark.parametrize(
        ("sent", "expected"),
        [
            (b"", []),
            (b"\r\n", []),
            (b"GET / HT", [408]),
            (b"GET / HTTP/1.1\r\nhost: x\r\n", [408]),
            (b"GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\nhost", [200, 408]),
            (b"POST /early HTTP/1.1\r\ncontent-length: 9\r\n\r\n12", [200]),
        ],
    )
    def test_what_is_not_complete_in_time_is_closed(
        self, hasty: str, sent: bytes, expected: list[int]
    ) -> None:
        assert statuses(talk(hasty, sent)) == expected

    def test_bytes_now_and_then_do_not_put_the_deadline_off(self, hasty: str) -> None:
        port = urlsplit(hasty).port or 0
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            drops = 0
            give_up = time.monotonic() + 60
            with suppress(ConnectionError):
                while time.monotonic() < give_up:
                    connection.sendall(b"a" if drops else b"GET /")
                    drops += 1
                    time.sleep(0.05)
            assert time.monotonic() < give_up

    def test_a_body_may_take_longer_than_a_head(self, hasty: str) -> None:
        port = urlsplit(hasty).port or 0
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            connection.sendall(b"POST / HTTP/1.1\r\nconnection: close\r\ncontent-length: 2\r\n\r\n1")
            time.sleep(1.5)
            connection.sendall(b"2")
            assert connection.recv(64).startswith(b"HTTP/1.1 200")

    def test_a_connection_is_kept_for_the_next_request_and_no_longer(self) -> None:
        with served(head_timeout_seconds=600, keepalive_seconds=0.5) as url:
            request = b"GET / HTTP/1.1\r\n\r\n"
            assert statuses(talk(url, request + request)) == [200, 200]
            assert statuses(talk(url, request + b"\r\n")) == [200]
            late = b"POST /early HTTP/1.1\r\ncontent-length: 2\r\n\r\n1"
            assert statuses(talk(url, late, b"2")) == [200]

    def test_a_client_that_does_not_take_its_answer_is_gone(self) -> None:
        large_is_over.clear()
        with served(send_timeout_seconds=0.2) as url:
            port = urlsplit(url).port or 0
            with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
                connection.sendall(b"GET /large HTTP/1.1\r\n\r\n")
                assert large_is_over.wait(60)
                taken = 0
                with suppress(ConnectionError):
                    while part := connection.recv(1 << 20):
                        taken += len(part)
        assert 0 < taken < LARGE

    async def test_w25_who_leaves_with_requests_in_a_row_leaves_the_one_that_is_answered(self) -> None:
        """uvicorn tells the last request only: the one before it went on, into a closed connection."""
        seen: list[str] = []
        under_way, left = asyncio.Event(), asyncio.Event()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            seen.append(scope["path"])
            if scope["path"] == "/second":
                under_way.set()
                while (message := await receive())["type"] != "http.disconnect":
                    pass
                seen.append(message["type"])
                left.set()
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
            await send({"type": "http.response.body", "body": b"ok"})

        config = uvicorn.Config(app, ws="none", lifespan="off", log_level="critical")
        connection = BoundedProtocol(config, ServerState(), {}, settings=ServerSettings(), places=Places(9))
        transport = Mock(asyncio.Transport)
        transport.is_closing.return_value = False
        connection.connection_made(transport)
        requests = [b"GET /%b HTTP/1.1\r\nhost: x\r\n\r\n" % name for name in (b"first", b"second", b"third")]
        connection.data_received(b"".join(requests))
        await asyncio.wait_for(under_way.wait(), 60)
        transport.is_closing.return_value = True
        transport.write.reset_mock()
        connection.connection_lost(None)
        await asyncio.wait_for(left.wait(), 60)
        for _ in range(20):
            await asyncio.sleep(0)
        assert seen == ["/first", "/second", "http.disconnect"]
        assert not transport.write.called
        assert not connection.tasks

    def test_w14_connections_without_a_request_make_room(self) -> None:
        """Heads that are not finished, connections that have asked nothing, and those that were kept."""
        starts = [
            b"",
            b"GET / HT",
            b"GET / HTTP/1.1\r\n\r\n",
            b"POST / HTTP/1.1\r\ncontent-length: 9\r\n\r\n1",
        ]
        with served(max_connections=4, head_timeout_seconds=600) as url:
            port = urlsplit(url).port or 0
            open_ = [socket.create_connection(("127.0.0.1", port), timeout=60) for _ in starts]
            for each, start in zip(open_, starts, strict=True):
                each.sendall(start)
            assert open_[2].recv(64).startswith(b"HTTP/1.1 200")
            assert statuses(talk(url, LAST)) == [200]
            for _ in range(20):
                open_.append(socket.create_connection(("127.0.0.1", port), timeout=60))
                open_[-1].sendall(b"GET / HT")
            assert statuses(talk(url, LAST)) == [200]
            open_[3].sendall(b"23456789")
            assert open_[3].recv(64).startswith(b"HTTP/1.1 200")
            for each in open_:
                each.close()

    def test_connections_beyond_the_maximum_are_closed(self) -> None:
        under_way = (
            b"POST / HTTP/1.1\r\nconnection: close\r\nexpect: 100-continue\r\ncontent-length: 1\r\n\r\n"
        )
        with served(max_connections=2) as url:
            port = urlsplit(url).port or 0
            open_ = [socket.create_connection(("127.0.0.1", port), timeout=60) for _ in range(2)]
            for each in open_:
                each.sendall(under_way)
                assert each.recv(64).startswith(b"HTTP/1.1 100")
            assert talk(url, LAST) == b""
            for each in open_:
                each.sendall(b"1")
                while each.recv(64):
                    pass
                each.close()
            assert statuses(talk(url, LAST)) == [200]
