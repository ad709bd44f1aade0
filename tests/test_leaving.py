"""What becomes of an answer whose client leaves, or whose backend breaks off."""

from __future__ import annotations

import asyncio
import json
import logging
import tracemalloc
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from fakes import Answer, Guarded, http_scope
from serving import guard_serve
from starlette.requests import Request
from starlette.responses import StreamingResponse

from guard.asgi.proxy import Proxy
from guard.settings.backend import BackendSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    MakeGuarded = Callable[..., Guarded]

KEY = {"authorization": "Bearer sk-test"}
TOKENS = {"name": "tokens", "unit": "tokens", "rate": "1000000/hour"}
PATIENT = {"models": {"read_on_seconds": 60}}
CHAT = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "one two three"}]}
INPUT = 8
"""The estimate of its input."""


def event(value: Any) -> bytes:
    return f"data: {json.dumps(value)}\n\n".encode()


def said(text: str, finish: str | None = None, index: int = 0) -> bytes:
    return event({"choices": [{"index": index, "delta": {"content": text}, "finish_reason": finish}]})


USAGE = event({"choices": [], "usage": {"prompt_tokens": 20, "completion_tokens": 5000}})
DONE = b"data: [DONE]\n\n"


class Client:
    """Sends one request, and leaves once it has seen some bytes."""

    def __init__(self, app: ASGIApp, body: Any, leave_at: bytes | None, *, raises: bool = False) -> None:
        self.answer = Answer()
        self.left = asyncio.Event()
        self.seen = asyncio.Event()
        self._app = app
        self._body = json.dumps(body).encode()
        self._leave_at = leave_at
        self._raises = raises
        self._asked = False

    async def run(self) -> Answer:
        await self._app(http_scope("/v1/chat/completions", headers=KEY), self._receive, self._send)
        return self.answer

    async def _receive(self) -> Message:
        if not self._asked:
            self._asked = True
            if self._leave_at == b"":
                self.left.set()
            return {"type": "http.request", "body": self._body, "more_body": False}
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if self.left.is_set():
            if self._raises:
                raise OSError("the client has left")
            return
        self.answer.messages.append(message)
        if self.answer.body.count(b"word") >= 30:
            self.seen.set()
        if self._leave_at and self._leave_at in self.answer.body:
            self.left.set()
        await asyncio.sleep(0)


class Model:
    """Streams these pieces; before the last ones it waits until the client has left."""

    def __init__(self, pieces: list[bytes], after: list[bytes], *, hangs: bool = False) -> None:
        self.client: Client | None = None
        self.sent: list[bytes] = []
        self.cancelled = False
        self._pieces = pieces
        self._after = after
        self._hangs = hangs

    async def pieces(self) -> AsyncIterator[bytes]:
        try:
            for piece in self._pieces:
                yield piece
            assert self.client is not None
            await self.client.left.wait()
            for piece in self._after:
                await asyncio.sleep(0)
                self.sent.append(piece)
                yield piece
            if self._hangs:
                await asyncio.Event().wait()
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled = True
            raise

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As an app of Starlette: it listens for the client's leaving."""
        await StreamingResponse(self.pieces(), media_type="text/event-stream")(scope, receive, send)

    async def deaf(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As an app that hears of it only by an error of `send`."""
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async for piece in self.pieces():
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def leave(
    guarded: MakeGuarded,
    model: Model,
    at: bytes,
    body: Any = CHAT,
    *,
    app: ASGIApp | None = None,
    raises: bool = False,
    settings: Any = PATIENT,
) -> int:
    """What is booked for a request whose client leaves when it has seen these bytes."""
    door = guarded(app or model, TOKENS, **settings)
    before = 1_000_000 if not door else (await door.left("sk-test")).get("tokens", 1_000_000)
    model.client = client = Client(door, body, at, raises=raises)
    try:
        await client.run()
    except OSError:
        assert raises
    await door.settled()
    return before - (await door.left("sk-test"))["tokens"]


class TestLeavingEarly:
    """W13: the backend's stream is read on to its usage for a moment."""

    @pytest.mark.parametrize("at", [b'"stop"', b"word17"])
    async def test_w13_the_usage_is_read_when_nobody_reads_the_answer(
        self, guarded: MakeGuarded, at: bytes
    ) -> None:
        words = [said(f"word{number} ") for number in range(18)]
        model = Model([*words, said("", "stop")], [USAGE, DONE], hangs=True)
        assert await leave(guarded, model, at) == 5_020
        assert model.cancelled

    async def test_w13_nor_does_the_backend_go_on_then(self, guarded: MakeGuarded) -> None:
        model = Model([said("word", "stop")], [USAGE, *[said("more")] * 50], hangs=True)
        await leave(guarded, model, b'"stop"')
        assert len(model.sent) < 10

    async def test_w13_an_app_that_hears_of_it_by_an_error_is_read_on_too(self, guarded: MakeGuarded) -> None:
        model = Model([said("word"), said("", "stop")], [b": waiting\n\n", USAGE, *[DONE] * 9])
        assert await leave(guarded, model, b'"stop"', app=model.deaf, raises=True) == 5_020

    async def test_w13_where_no_usage_comes_all_that_was_reserved_is_owed(self, guarded: MakeGuarded) -> None:
        model = Model([said("word"), said("", "stop")], [], hangs=True)
        capped = {**CHAT, "max_tokens": 700}
        settings = {"models": {"read_on_seconds": 0.01}}
        assert await leave(guarded, model, b'"stop"', capped, settings=settings) == INPUT + 700
        assert model.cancelled

    @pytest.mark.parametrize("answers", [1, 2])
    async def test_w13_of_several_answers_what_was_reserved_for_those_that_are_over_is_owed(
        self, guarded: MakeGuarded, answers: int
    ) -> None:
        words = [said("word", index=index) for index in range(answers)]
        ends = [said("", "stop" if index < answers - 1 else "length", index) for index in range(answers)]
        model = Model([*words, *ends], [], hangs=True)
        capped = {**CHAT, "max_tokens": 700, "n": 2}
        settings = {"models": {"read_on_seconds": 0.01}}
        booked = await leave(guarded, model, b'"length"', capped, settings=settings)
        assert booked == INPUT + answers * 700

    async def test_w13_where_reasoning_is_asked_for_answers_that_have_not_begun_are_owed_too(
        self, guarded: MakeGuarded
    ) -> None:
        """Servers mostly give several answers at once, and one that thinks has not begun to be seen."""
        model = Model([said("word"), said("", "length")], [], hangs=True)
        capped = {**CHAT, "max_tokens": 700, "n": 2, "reasoning_effort": "low"}
        settings = {"models": {"read_on_seconds": 0.01}}
        booked = await leave(guarded, model, b'"length"', capped, settings=settings)
        assert INPUT + 2 * 700 <= booked < INPUT + 2 * 700 + 50

    async def test_w13_the_usage_of_several_answers_is_waited_for(self, guarded: MakeGuarded) -> None:
        words = [said("word"), said("word", index=1), said("", "stop"), said("", "length", 1)]
        model = Model(words, [said("", index=1), USAGE, DONE])
        assert await leave(guarded, model, b'"length"', {**CHAT, "n": 2}) == 5_020

    async def test_w13_one_of_several_answers_that_goes_on_is_seen(self, guarded: MakeGuarded) -> None:
        model = Model([said("word", index=1), said("", "stop"), said("word", index=1)], [], hangs=True)
        capped = {**CHAT, "max_tokens": 700, "n": 2}
        settings = {"models": {"read_on_seconds": 0.01}}
        assert await leave(guarded, model, b'"stop"', capped, settings=settings) < INPUT + 10

    async def test_w13_an_answer_that_ends_without_usage_owes_its_text(self, guarded: MakeGuarded) -> None:
        model = Model([said("word"), said("", "stop")], [DONE])
        assert await leave(guarded, model, b'"stop"', {**CHAT, "max_tokens": 700}) == INPUT + 1

    @pytest.mark.parametrize(
        ("more", "owed"),
        [
            ({}, INPUT + 25),
            ({"reasoning_effort": "high"}, INPUT + 700),
            ({"reasoning": {"effort": "low"}}, INPUT + 700),
            ({"reasoning_effort": "none"}, INPUT + 25),
            ({"extra_body": {"reasoning_effort": "high"}}, INPUT + 700),
            ({"extra_body": {"chat_template_kwargs": {"thinking": True}}}, INPUT + 700),
            ({"thinking_budget": 5000}, INPUT + 700),
            ({"chat_template_kwargs": {"enable_thinking": True}}, INPUT + 700),
            ({"include_reasoning": True}, INPUT + 700),
            ({"thinking": {"type": "enabled", "budget_tokens": 200}}, INPUT + 700),
            ({"extra_body": {"google": {"thinking_config": {"thinking_budget": -1}}}}, INPUT + 700),
            ({"reasoning": {"enabled": False}}, INPUT + 25),
            ({"chat_template_kwargs": {"enable_thinking": False}}, INPUT + 25),
            ({"thinking": {"type": "disabled"}}, INPUT + 25),
            ({"extra_body": {"google": {"thinking_config": {"thinking_budget": 0}}}}, INPUT + 25),
            ({"metadata": {"reasoning": "x"}}, INPUT + 25),
        ],
    )
    async def test_w13_in_the_middle_it_is_cancelled_and_what_may_be_hidden_is_owed(
        self, guarded: MakeGuarded, more: Any, owed: int
    ) -> None:
        model = Model([said("word ")] * 20, [], hangs=True)
        capped = {**CHAT, "max_tokens": 700, **more}
        settings = {"models": {"read_on_seconds": 0.01}}
        booked = await leave(guarded, model, said("word ") * 20, capped, settings=settings)
        # What a field of no use to us holds counts as input.
        assert owed <= booked < owed + 50
        assert model.cancelled

    async def test_w13_a_model_that_has_hidden_most_of_its_output_may_do_so_again(
        self, guarded: MakeGuarded
    ) -> None:
        door = guarded(
            first := Model([said("word"), said("", "stop"), USAGE], []), TOKENS, models={"read_on_seconds": 0}
        )
        first.client = client = Client(door, CHAT, None)
        client.left.set()
        # It leaves as soon as all is out.
        await client.run()
        model = Model([said("word ")] * 20, [], hangs=True)
        door.middleware._app = model
        before = (await door.left("sk-test"))["tokens"]
        model.client = client = Client(door, {**CHAT, "max_tokens": 700}, said("word ") * 20)
        await client.run()
        await door.settled()
        assert before - (await door.left("sk-test"))["tokens"] == INPUT + 700

    async def test_w13_an_app_that_only_looks_whether_its_client_is_there_learns_that_it_has_left(
        self, guarded: MakeGuarded
    ) -> None:
        looked = []

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            request = Request(scope, receive, send)
            await request.body()
            headers = [(b"content-type", b"text/event-stream")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            while not (gone := await request.is_disconnected()):
                looked.append(gone)
                await send({"type": "http.response.body", "body": said("word "), "more_body": True})
                if len(looked) == 20:
                    await asyncio.sleep(0.02)

        settings = {"models": {"read_on_seconds": 0.01}}
        await leave(guarded, Model([], []), said("word ") * 20, app=app, settings=settings)
        assert len(looked) >= 20

    @pytest.mark.parametrize("reports", [3, 90])
    async def test_w13_a_short_answer_does_not_make_a_model_one_that_hides(
        self, guarded: MakeGuarded, reports: int
    ) -> None:
        report = event({"choices": [], "usage": {"prompt_tokens": 20, "completion_tokens": reports}})
        first = Model([said("words " * max(1, reports // 2)), said("", "stop"), report], [])
        door = guarded(first, TOKENS, models={"read_on_seconds": 0})
        first.client = client = Client(door, CHAT, None)
        client.left.set()
        await client.run()
        door.middleware._app = model = Model([said("word ")] * 20, [], hangs=True)
        before = (await door.left("sk-test"))["tokens"]
        model.client = client = Client(door, {**CHAT, "max_tokens": 700}, said("word ") * 20)
        await client.run()
        await door.settled()
        assert before - (await door.left("sk-test"))["tokens"] == INPUT + 25

    async def test_w13_before_the_first_byte_the_backend_is_cancelled_at_once(
        self, guarded: MakeGuarded
    ) -> None:
        async def silent(scope: Scope, receive: Receive, send: Send) -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        assert await leave(guarded, Model([], []), b"", app=silent) == INPUT


async def raw_backend(pieces: list[bytes], paused: Callable[[], Awaitable[object]]) -> asyncio.Server:
    """A backend on a socket that sends these bytes, and then closes the connection once it may."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.partition(b":")[2]))
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        for piece in pieces:
            writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        await writer.drain()
        await paused()
        writer.close()

    return await asyncio.start_server(serve, "127.0.0.1", 0)


def url(server: asyncio.Server) -> Any:
    return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


class TestBreakingOff:
    """W25: a backend that cuts a stream."""

    async def test_w25_a_cut_stream_is_one_line_has_no_end_and_owes_what_was_sent(
        self, guarded: MakeGuarded, caplog: pytest.LogCaptureFixture
    ) -> None:
        seen = asyncio.Event()
        async with await raw_backend([said("word ") * 30], seen.wait) as server:
            proxy = Proxy(BackendSettings(url=url(server)))
            door = guarded(proxy, TOKENS)
            client = Client(door, CHAT, None)
            with caplog.at_level(logging.INFO):
                running = asyncio.create_task(client.run())
                await client.seen.wait()
                seen.set()
                answer = await running
            await proxy.aclose()
        assert not answer.ended
        assert answer.body == said("word ") * 30
        errors = [record for record in caplog.records if record.levelno >= logging.WARNING]
        assert len(errors) == 1
        assert "\n" not in errors[0].getMessage()
        assert errors[0].exc_info is None
        assert (await door.left("sk-test"))["tokens"] == 1_000_000 - INPUT - max(30, -(-150 // 4))

    async def test_w25_the_client_of_guard_serve_sees_a_broken_stream_and_the_log_one_line(
        self, tmp_path: Path
    ) -> None:
        config = tmp_path / "guard.toml"
        config.write_text('data_dir = "data"\n')
        seen = asyncio.Event()
        async with await raw_backend([said("word ") * 30], seen.wait) as server:
            started = guard_serve(config, url(server))
            front = await asyncio.to_thread(started.__enter__)
            try:
                async with (
                    aiohttp.ClientSession(front) as session,
                    session.post("/v1/chat/completions", json=CHAT, headers=KEY) as answer,
                ):
                    assert await answer.content.readuntil(b"\n\n") == said("word ")
                    seen.set()
                    with pytest.raises(aiohttp.ClientPayloadError):
                        await answer.content.read()
            finally:
                await asyncio.to_thread(started.__exit__, None, None, None)
        log = config.with_suffix(".log").read_text()
        assert "Traceback" not in log
        assert [line for line in log.splitlines() if "without completing" in line] == []
        assert len([line for line in log.splitlines() if "backend_broke_off" in line]) == 1

    async def test_w13_the_proxy_reads_on_as_well(self, guarded: MakeGuarded) -> None:
        pieces = [said("word"), said("", "stop")]
        go = asyncio.Event()

        async def later() -> None:
            await go.wait()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
            writer.write(b"".join(pieces))
            await later()
            writer.write(USAGE + DONE)
            await writer.drain()
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            proxy = Proxy(BackendSettings(url=url(server)))
            door = guarded(proxy, TOKENS, **PATIENT)
            client = Client(door, CHAT, b'"stop"')
            running = asyncio.create_task(client.run())
            await client.left.wait()
            go.set()
            await running
            await proxy.aclose()
        assert (await door.left("sk-test"))["tokens"] == 1_000_000 - 5_020


class TestSlowReaders:
    """W18: an answer is not kept for those that read it slowly, and nobody runs ahead of them."""

    @pytest.mark.parametrize("content_type", ["application/json", "text/event-stream"])
    async def test_w18_of_a_large_answer_little_is_held(
        self, guarded: MakeGuarded, content_type: str
    ) -> None:
        sent = held = ahead = 0
        usage = b'"usage": {"prompt_tokens": 20, "completion_tokens": 5000}}'

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            nonlocal sent, held
            headers = [(b"content-type", content_type.encode())]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            start = b'{"choices": [{"message": {"content": "'
            await send({"type": "http.response.body", "body": start, "more_body": True})
            tracemalloc.start()
            before = tracemalloc.get_traced_memory()[0]
            for _ in range(240):
                sent += 1
                # A piece of its own each time, as it comes from a socket.
                await send(
                    {"type": "http.response.body", "body": bytes(b"word " * 13_107), "more_body": True}
                )
                held = max(held, tracemalloc.get_traced_memory()[0] - before)
            tracemalloc.stop()
            await send({"type": "http.response.body", "body": b'"}}], ' + usage, "more_body": False})

        received = 0

        async def receive() -> Message:
            body = {**CHAT, "stream_options": {"include_usage": True}}
            return {"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}

        async def slowly(message: Message) -> None:
            nonlocal received, ahead
            await asyncio.sleep(0)
            received += len(message.get("body", b"")) > 60_000
            ahead = max(ahead, sent - received)

        door = guarded(app, TOKENS)
        await door(http_scope("/v1/chat/completions", headers=KEY), receive, slowly)
        assert received == 240
        assert held < 6 << 20
        assert ahead <= 1
        assert (await door.left("sk-test"))["tokens"] == 1_000_000 - 5_020
