"""What a body may cost guard and other callers before its query is known, through the public door."""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import threading
import tracemalloc
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from fakes import Answer, Guarded, call, http_scope
from starlette.requests import Request
from starlette.responses import JSONResponse

from guard.admin import Operator
from guard.core.decision import Action
from guard.core.identity import Attribute, Holder
from guard.demo.model import FakeModel
from guard.installation import Installation

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Message, Receive, Scope, Send

    from guard.telemetry.events import Event

    MakeGuarded = Callable[..., Guarded]

MEGABYTE = 1 << 20
KEY = {"authorization": "Bearer sk-test"}
CHAT = {"model": "m", "messages": [{"role": "user", "content": "one two three"}]}
REQUESTS = {"name": "requests", "unit": "requests", "rate": "3/hour"}
COUNTED = [{"path": "/counted", "action": "count"}]


@pytest.fixture
def guarded(guarded: MakeGuarded) -> MakeGuarded:
    """Apps behind guard that does not look at what queries say."""
    return partial(guarded, detection={"mode": "off"})


def chat(**fields: Any) -> bytes:
    return json.dumps({**CHAT, **fields}).encode()


def key(app: Guarded) -> Holder:
    return Holder(Attribute.KEY, Installation.of(app.settings).keys.credential("sk-test"))


async def leave(app: Guarded, *chunks: bytes) -> Answer:
    """Send a part of a body and leave."""
    answer = Answer()
    messages: list[Message] = [{"type": "http.request", "body": each, "more_body": True} for each in chunks]
    messages.append({"type": "http.disconnect"})
    feed = iter(messages)

    async def receive() -> Message:
        return next(feed)

    async def send(message: Message) -> None:
        answer.messages.append(message)

    await app(http_scope("/v1/chat/completions", headers=KEY), receive, send)
    return answer


class TestUnreadable:
    """W12: what is refused as unreadable is not free."""

    BAD: tuple[tuple[bytes, dict[str, str], int], ...] = (
        (b"{}", {}, 400),
        (b"", {}, 400),
        (b"{", {}, 400),
        (json.dumps(CHAT).encode(), {"content-encoding": "gzip"}, 415),
        (b"{}", {"content-length": str(1 << 30)}, 413),
        (b" " * 5_000 + b"{}", {}, 413),
    )

    @pytest.mark.parametrize(("body", "headers", "status"), BAD)
    async def test_w12_it_costs_one_request_and_is_limited_as_others_are(
        self, guarded: MakeGuarded, body: bytes, headers: dict[str, str], status: int
    ) -> None:
        events: list[Event] = []
        app = guarded(FakeModel(), REQUESTS, hooks=[events.append], body={"max_bytes": 4_000})
        statuses = [(await call(app, body=body, headers={**KEY, **headers})).status for _ in range(5)]
        assert statuses == [status] * 3 + [429] * 2
        assert await app.left("sk-test") == {"requests": 0}
        assert [event.status for event in events] == statuses
        assert [event.action for event in events[3:]] == [Action.LIMITED] * 2

    async def test_w12_it_holds_no_slot_and_no_tokens(self, guarded: MakeGuarded) -> None:
        slot = {"name": "slot", "unit": "concurrency", "count": 1}
        tokens = {"name": "tokens", "unit": "tokens", "rate": "1000/hour"}
        app = guarded(FakeModel(), slot, tokens)
        for _ in range(3):
            assert (await call(app, body=b"{", headers=KEY)).status == 400
        await app.settled()
        assert await app.left("sk-test") == {"slot": 1, "tokens": 1000}

    async def test_w12_a_body_that_is_too_slow_is_charged(self, guarded: MakeGuarded) -> None:
        app = guarded(FakeModel(), REQUESTS, body={"timeout_seconds": 0.01})

        async def never() -> Message:
            return await asyncio.Future()

        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        await app(http_scope("/v1/chat/completions", headers=KEY), never, send)
        assert sent[0]["status"] == 408
        assert await app.left("sk-test") == {"requests": 2}

    async def test_w12_leaving_in_the_middle_of_a_body_is_charged(self, guarded: MakeGuarded) -> None:
        app = guarded(FakeModel(), REQUESTS)
        assert not (await leave(app, b'{"model":')).messages
        assert await app.left("sk-test") == {"requests": 2}

    async def test_u22_a_blocked_key_that_sends_an_empty_object_is_told_of_the_block(
        self, guarded: MakeGuarded
    ) -> None:
        app = guarded(FakeModel(), REQUESTS)
        async with Operator(app.settings) as operator:
            await operator.orders.block(key(app), None, "because")
        assert (await call(app, body=b"{}", headers=KEY)).status == 403

    @pytest.mark.parametrize(
        "filling", [b"[],", b"{},", b'"",', b"0,", b'{"a":0},', b'"",' * 3 + b'"\\",[",', b"[[]],"]
    )
    async def test_w12_the_number_of_values_is_bounded_before_they_are_parsed(
        self, guarded: MakeGuarded, monkeypatch: pytest.MonkeyPatch, filling: bytes
    ) -> None:
        def parse(text: str, **_: Any) -> None:
            raise AssertionError(f"{len(text)} characters are parsed")

        body = b'{"model":"m","tools":[' + filling * (4 * MEGABYTE // len(filling)) + b"x]}"
        app = guarded(FakeModel(), REQUESTS)
        await call(app, body=CHAT, headers=KEY)
        monkeypatch.setattr("guard.dialects.strict.json.loads", parse)
        answer = await call(app, body=body, headers=KEY)
        assert answer.status == 400
        assert b"values" in answer.body

    @pytest.mark.parametrize(
        "value",
        [b" " * 5 * MEGABYTE + b"1", b"9" * 5 * MEGABYTE, b'"' + b"a" * 300_000 + b'",' + b" " * (5 << 20)],
    )
    async def test_w12_what_stands_outside_of_strings_is_bounded_before_it_is_parsed(
        self, guarded: MakeGuarded, monkeypatch: pytest.MonkeyPatch, value: bytes
    ) -> None:
        def parse(text: str, **_: Any) -> None:
            raise AssertionError(f"{len(text)} characters are parsed")

        app = guarded(FakeModel(), REQUESTS)
        await call(app, body=CHAT, headers=KEY)
        monkeypatch.setattr("guard.dialects.strict.json.loads", parse)
        answer = await call(app, body=b'{"model":"m","max_tokens":' + value + b"}", headers=KEY)
        assert answer.status == 400
        assert b"outside of strings" in answer.body or b"digits" in answer.body

    async def test_w12_integers_of_thousands_of_digits_are_refused_before_they_are_parsed(
        self, guarded: MakeGuarded, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Python reads up to 4,300 digits, in a time that grows by their square."""

        def parse(text: str, **_: Any) -> None:
            raise AssertionError(f"{len(text)} characters are parsed")

        bias = b",".join(b'"%d":%b' % (place, b"9" * 4_000) for place in range(500))
        body = b'{"model":"m","messages":[{"role":"user","content":"a"}],"logit_bias":{' + bias + b"}}"
        app = guarded(FakeModel(), REQUESTS)
        digits = chat(messages=[{"role": "user", "content": "9" * 100_000}])
        assert (await call(app, body=digits, headers=KEY)).status == 200
        monkeypatch.setattr("guard.dialects.strict.json.loads", parse)
        answer = await call(app, body=body, headers=KEY)
        assert answer.status == 400
        assert b"digits" in answer.body

    async def test_w12_a_long_history_of_tools_is_read(self, guarded: MakeGuarded) -> None:
        function = {"name": "search", "arguments": '{"query": "a"}'}
        called = [{"id": "c1", "type": "function", "function": function}]
        asked = {"role": "assistant", "content": None, "tool_calls": called}
        turns = [asked, {"role": "tool", "tool_call_id": "c1", "content": "found"}] * 1_500
        schema = {f"field{place}": {"type": "string", "description": "what"} for place in range(20)}
        tool = {"type": "function", "function": {"name": "f", "parameters": {"properties": schema}}}
        body = chat(messages=[*CHAT["messages"], *turns], tools=[tool] * 64, max_tokens=1)
        assert (await call(guarded(FakeModel()), body=body, headers=KEY)).status == 200

    @pytest.mark.parametrize("size", [(1 << 18) - 1, 1 << 18, (1 << 18) + 1])
    async def test_w12_an_escape_at_the_edge_of_a_piece_is_one(self, guarded: MakeGuarded, size: int) -> None:
        for escape in (b'\\"', rb"\\"):
            before = b'{"model":"m","messages":[{"role":"user","content":"'
            text = b"a" * (size - len(before) - 1) + escape + b"[,:" * 500_000
            app = guarded(FakeModel())
            assert (await call(app, body=before + text + b'"}]}', headers=KEY)).status == 200

    @pytest.mark.parametrize("text", ["1,2,3,", "[[[[", '{"a":"b\\\\"},', "a\\", '"', "\\\\\\"])
    async def test_w12_signs_in_a_text_are_no_values(self, guarded: MakeGuarded, text: str) -> None:
        tokens = {"name": "tokens", "unit": "tokens", "rate": "100000000/hour"}
        content = text * (2 * MEGABYTE // len(text))
        app = guarded(FakeModel(), tokens)
        answer = await call(
            app, body=chat(messages=[{"role": "user", "content": content}], max_tokens=1), headers=KEY
        )
        assert answer.status == 200

    async def test_w12_the_largest_honest_list_of_tokens_is_read(self, guarded: MakeGuarded) -> None:
        body = {"model": "m", "input": [list(range(8_000))] * 37}
        answer = await call(guarded(FakeModel()), "/v1/embeddings", body, headers=KEY)
        assert answer.status == 200

    async def test_w12_while_a_large_body_is_parsed_others_are_served(
        self, guarded: MakeGuarded, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        app = guarded(FakeModel())
        served = threading.Event()
        loads = json.loads

        def parse(text: str, **options: Any) -> Any:
            assert len(text) < 100_000 or served.wait(30), "nobody was served meanwhile"
            return loads(text, **options)

        monkeypatch.setattr("guard.dialects.strict.json.loads", parse)
        large = asyncio.create_task(call(app, body=chat(user="x", stop="y" * 200_000), headers=KEY))
        await asyncio.sleep(0)
        assert (await call(app, body=CHAT, headers={"x-api-key": "sk-other"})).status == 200
        served.set()
        assert (await large).status == 200


class TestNames:
    """W15: each name that a client chooses is bounded where it is read."""

    LONG = "n" * 257

    @pytest.mark.parametrize(
        ("path", "body"),
        [
            ("/v1/chat/completions", {**CHAT, "model": LONG}),
            ("/v1/chat/completions", {**CHAT, "user": LONG}),
            ("/v1/chat/completions", {**CHAT, "safety_identifier": LONG}),
            ("/v1/chat/completions", {"model": "m", "messages": [{"role": LONG, "content": "x"}]}),
            ("/v1/responses", {"model": LONG, "input": "x"}),
            ("/v1/responses", {"model": "m", "input": [{"role": LONG, "content": "x"}]}),
            ("/v1/completions", {"model": LONG, "prompt": "x"}),
            ("/v1/embeddings", {"model": LONG, "input": "x"}),
            ("/v1/messages", {**CHAT, "model": LONG, "max_tokens": 9}),
            ("/v1/messages", {**CHAT, "max_tokens": 9, "metadata": {"user_id": LONG}}),
            (f"/v1beta/models/{LONG}:generateContent", {"contents": [{"parts": [{"text": "x"}]}]}),
            ("/v1beta/models/m:generateContent", {"contents": [{"role": LONG, "parts": [{"text": "x"}]}]}),
            ("/api/chat", {**CHAT, "model": LONG}),
            ("/api/generate", {"model": LONG, "prompt": "x"}),
        ],
    )
    async def test_w15_one_of_more_than_256_characters_is_refused(
        self, guarded: MakeGuarded, path: str, body: dict[str, Any]
    ) -> None:
        app = guarded(FakeModel())
        answer = await call(app, path, body, headers=KEY)
        assert answer.status == (404 if self.LONG in path else 400)
        assert self.LONG in path or "256" in answer.body.decode()
        shorter = json.dumps(body).replace(self.LONG, self.LONG[1:]).encode()
        assert (await call(app, path.replace(self.LONG, self.LONG[1:]), shorter, headers=KEY)).status == 200

    async def test_w15_long_names_leave_nothing_behind(self, guarded: MakeGuarded) -> None:
        per_model = {"name": "r", "unit": "requests", "rate": "1000/hour", "per": ["key", "model"]}
        app = guarded(FakeModel(), per_model)
        await call(app, body=CHAT, headers=KEY)
        tracemalloc.start()
        try:
            for place in range(10):
                await call(app, body=chat(model=f"{place}" + "x" * MEGABYTE), headers=KEY)
            gc.collect()  # what went wrong holds its frames until then
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert held < 2 * MEGABYTE


class TestMemory:
    """W16: what is held is what is counted, until the app has the body."""

    async def test_w16_bodies_that_were_handed_on_leave_room_for_others(self, guarded: MakeGuarded) -> None:
        done = asyncio.Event()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            size = len(await Request(scope, receive).body())
            await JSONResponse(size)(scope, receive, _until(done, send))

        guarded_app = guarded(app, body={"max_bytes": 100_000, "max_buffered_bytes": 150_000})
        padded = b" " * 90_000 + json.dumps(CHAT).encode()
        waiting = [asyncio.create_task(call(guarded_app, body=padded, headers=KEY)) for _ in range(8)]
        for _ in range(200):
            await asyncio.sleep(0.005)
            if all(task.done() for task in waiting):
                break
        other = asyncio.create_task(call(guarded_app, body=padded, headers=KEY, client="198.51.100.7"))
        done.set()
        answers = await asyncio.gather(other, *waiting)
        assert answers[0].status == 200

    async def test_w16_one_caller_cannot_take_the_memory_of_others(self, guarded: MakeGuarded) -> None:
        app = guarded(FakeModel(), body={"max_bytes": 160_000, "max_buffered_bytes": 1_280_000})
        finish = asyncio.Event()
        slow = [asyncio.create_task(_slowly(app, finish, f"sk-{place}")) for place in range(20)]
        for _ in range(50):
            await asyncio.sleep(0)
        other = await call(app, body=chat(stop="x" * 120_000), headers=KEY, client="198.51.100.7")
        assert other.status == 200
        finish.set()
        statuses = [answer.status for answer in await asyncio.gather(*slow)]
        assert statuses.count(429) >= 18
        turned_away = next(answer for answer in [await task for task in slow] if answer.status == 429)
        assert turned_away.headers["retry-after"] == "1"

    async def test_w16_a_verified_caller_has_a_share_of_its_own(self, guarded: MakeGuarded) -> None:
        app = guarded(
            FakeModel(),
            body={"max_bytes": 160_000, "max_buffered_bytes": 1_280_000},
            identity={"trusted_proxies": ["192.0.2.0/24"], "headers": {"user": "x-user-id"}},
        )
        finish = asyncio.Event()
        slow = [asyncio.create_task(_slowly(app, finish, user=f"u{place}")) for place in range(4)]
        for _ in range(50):
            await asyncio.sleep(0)
        finish.set()
        assert [answer.status for answer in await asyncio.gather(*slow)] == [200] * 4

    @pytest.mark.parametrize("size", [300, 20_000, 60_000, 120_000])
    async def test_w16_bodies_that_stop_before_their_end_keep_nobody_out(
        self, guarded: MakeGuarded, size: int
    ) -> None:
        """As many as fill the memory, one an address; and then a question from there, and from elsewhere."""
        model = FakeModel()
        app = guarded(model, body={"max_bytes": 160_000, "max_buffered_bytes": 1_280_000})
        never = asyncio.Event()
        waiting: list[str] = []
        stalled = [
            asyncio.create_task(
                _slowly(app, never, client=f"198.51.100.{place}", size=150_000, waiting=waiting)
            )
            for place in range(9)
        ]
        await _until_true(lambda: len(waiting) == 9)
        body = chat(stop="x" * size)
        for client in ("203.0.113.1", "198.51.100.3", "198.51.100.3"):
            assert (await call(app, body=body, headers=KEY, client=client)).status == 200
        never.set()
        statuses = [answer.status for answer in await asyncio.gather(*stalled)]
        assert statuses.count(200) == len(model.requests) - 3
        assert set(statuses) <= {200, 429, 503}
        assert 503 in statuses
        assert statuses.count(200) >= 6

    async def test_w16_the_largest_body_of_who_holds_most_makes_room(self, guarded: MakeGuarded) -> None:
        app = guarded(FakeModel(), body={"max_bytes": 160_000, "max_buffered_bytes": 480_000})
        finish = asyncio.Event()
        waiting: list[str] = []

        def sent(client: str, *sizes: int) -> list[asyncio.Task[Answer]]:
            return [
                asyncio.create_task(_slowly(app, finish, client=client, size=size, waiting=waiting))
                for size in sizes
            ]

        tasks = [
            *sent("198.51.100.1", 30_000, 60_000, 40_000),
            *sent("198.51.100.2", 100_000),
            *sent("198.51.100.3", 110_000),
            *sent("198.51.100.4", 90_000),
        ]
        await _until_true(lambda: len(waiting) == 6)
        tasks += sent("198.51.100.5", 80_000)
        await _until_true(lambda: len(waiting) == 7 and tasks[1].done())
        assert [task.done() for task in tasks] == [False, True] + [False] * 5
        finish.set()
        answers = await asyncio.gather(*tasks)
        assert [answer.status for answer in answers] == [200, 503] + [200] * 5
        assert answers[1].headers["retry-after"] == "1"

    async def test_w16_what_has_arrived_is_no_credit_for_waiting(self, guarded: MakeGuarded) -> None:
        """16 MiB at once gave four minutes in which nothing had to come."""
        app = guarded(FakeModel(), body={"timeout_seconds": 0.5})
        answer = await asyncio.wait_for(_slowly(app, asyncio.Event(), size=16 * MEGABYTE), 100)
        assert answer.status == 408

    async def test_w16_pieces_of_a_byte_are_counted_as_what_they_take(self, guarded: MakeGuarded) -> None:
        app = guarded(FakeModel(), body={"max_bytes": 100_000, "max_buffered_bytes": 100_000})
        pieces = [b" "] * 90_000 + [json.dumps(CHAT).encode()]
        assert (await call(app, body=pieces, headers=KEY)).status in (429, 503)
        assert (await call(app, body=b"".join(pieces), headers=KEY)).status == 200

    async def test_w16_an_answer_under_way_holds_no_copy_of_its_body(self, guarded: MakeGuarded) -> None:
        size = 3 * MEGABYTE
        held = []

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await receive()
            for _ in range(500):
                held.append(tracemalloc.get_traced_memory()[0])
                if held[-1] < size // 2:
                    break
                await asyncio.sleep(0.01)  # the thread that has parsed it may not have let it go yet
            await JSONResponse({})(scope, receive, send)

        guarded_app = guarded(app)
        await call(guarded_app, body=CHAT, headers=KEY)
        body = chat(messages=[{"role": "user", "content": "word " * (size // 5)}])
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            await _without_the_clients_copy(guarded_app, body)
        finally:
            tracemalloc.stop()
        assert held[-1] - before < size // 2

    async def test_m11_a_photo_of_three_mebibytes_passes_by_default(self, guarded: MakeGuarded) -> None:
        photo = base64.b64encode(b"\xff\xd8\xff\xe0" + bytes(range(256)) * (3 * MEGABYTE // 256)).decode()
        image = {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{photo}"}}
        tokens = {"name": "tokens", "unit": "tokens", "rate": "10000/hour"}
        model = FakeModel()
        body = chat(messages=[{"role": "user", "content": [{"type": "text", "text": "hi"}, image]}])
        assert (await call(guarded(model, tokens), body=body, headers=KEY)).status == 200
        assert model.requests[0].body == body


class TestCountedRoutes:
    """W17: a body that nobody reads has the same bounds."""

    @pytest.mark.parametrize("headers", [{}, {"content-length": str(50_000)}])
    async def test_w17_a_large_body_is_not_passed_on(
        self, guarded: MakeGuarded, headers: dict[str, str]
    ) -> None:
        got = bytearray()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            async for chunk in Request(scope, receive).stream():
                got.extend(chunk)
            await JSONResponse({})(scope, receive, send)

        guarded_app = guarded(app, REQUESTS, routes=COUNTED, body={"max_bytes": 10_000})
        answer = await call(
            guarded_app, "/counted", [b"x" * 4_000] * 10, headers={**KEY, **headers}, method="POST"
        )
        assert answer.status == 413
        assert len(answer.starts) == 1
        assert len(got) <= 10_000
        assert await guarded_app.left("sk-test") == {"requests": 2}

    async def test_w17_a_body_has_a_deadline(self, guarded: MakeGuarded) -> None:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await Request(scope, receive).body()
            raise AssertionError("the body was complete")

        guarded_app = guarded(app, REQUESTS, routes=COUNTED, body={"timeout_seconds": 0.01})
        sent: list[Message] = []

        async def never() -> Message:
            return await asyncio.Future()

        async def send(message: Message) -> None:
            sent.append(message)

        await guarded_app(http_scope("/counted", headers=KEY), never, send)
        assert sent[0]["status"] == 408

    async def test_w17_a_client_that_leaves_before_it_is_told_so_is_settled(
        self, guarded: MakeGuarded
    ) -> None:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await receive()

        concurrent = {"name": "at_once", "unit": "concurrency", "count": 1}
        guarded_app = guarded(app, concurrent, routes=COUNTED, body={"timeout_seconds": 0.01})

        async def never() -> Message:
            return await asyncio.Future()

        async def send(_: Message) -> None:
            raise OSError("the client has left")

        with pytest.raises(OSError, match="has left"):
            await guarded_app(http_scope("/counted", headers=KEY), never, send)
        await guarded_app.settled()
        assert await guarded_app.left("sk-test") == {"at_once": 1}

    async def test_w17_a_body_within_bounds_passes_and_the_client_may_be_waited_for(
        self, guarded: MakeGuarded
    ) -> None:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            size = len(await Request(scope, receive).body())
            await JSONResponse(size)(scope, receive, send)

        guarded_app = guarded(app, routes=COUNTED)
        assert (await call(guarded_app, "/counted", [b"x" * 4_000] * 10, headers=KEY)).json == 40_000


def _until(done: asyncio.Event, send: Send) -> Send:
    """A `send` that holds an answer up."""

    async def sending(message: Message) -> None:
        await done.wait()
        await send(message)

    return sending


async def _until_true(condition: Callable[[], bool]) -> None:
    for _ in range(20_000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it has not happened")


async def _slowly(
    app: Guarded,
    finish: asyncio.Event,
    secret: str = "sk",
    user: str | None = None,
    client: str = "192.0.2.1",
    size: int = 120_000,
    waiting: list[str] | None = None,
) -> Answer:
    """Send most of a body, and its end when it is time; those that wait for it are named in `waiting`."""
    body = chat(stop="x" * size)
    answer = Answer()
    parts: list[Message] = [
        {"type": "http.request", "body": body[:-5], "more_body": True},
        {"type": "http.request", "body": body[-5:], "more_body": False},
    ]

    async def receive() -> Message:
        if len(parts) == 1:
            if waiting is not None:
                waiting.append(client)
            await finish.wait()
        return parts.pop(0) if parts else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        answer.messages.append(message)

    headers = {"x-user-id": user} if user else {"authorization": f"Bearer {secret}"}
    await app(http_scope("/v1/chat/completions", headers=headers, client=client), receive, send)
    return answer


async def _without_the_clients_copy(app: Guarded, body: bytes) -> None:
    """Send a body in pieces that are made one by one and kept by nobody."""
    places = iter(range(0, len(body), 65_536))

    async def receive() -> Message:
        start = next(places, None)
        if start is None:
            return {"type": "http.disconnect"}
        return {
            "type": "http.request",
            "body": body[start : start + 65_536],
            "more_body": start + 65_536 < len(body),
        }

    async def send(message: Message) -> None:
        pass

    await app(http_scope("/v1/chat/completions", headers=KEY), receive, send)
