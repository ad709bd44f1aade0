from __future__ import annotations

import asyncio
import json
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest
from fakes import Guarded, call, http_scope
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from guard import Event, GuardMiddleware
from guard.core.decision import Action, Reason
from guard.core.modes import Mode
from guard.demo.model import FakeModel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from starlette.requests import Request
    from starlette.types import Message, Receive, Scope, Send
    from starlette.websockets import WebSocket

    MakeGuarded = Callable[..., Guarded]

KEY = {"authorization": "Bearer sk-test"}
CHAT = {"model": "m", "messages": [{"role": "user", "content": "one two three"}]}
REQUESTS = {"name": "requests", "unit": "requests", "rate": "3/hour"}
TOKENS = {"name": "tokens", "unit": "tokens", "rate": "10000/hour"}


def chat(content: str, **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": content}], **more}


class TestAdmission:
    async def test_a_limit_admits_exactly_its_count(self, guarded: MakeGuarded) -> None:
        app = guarded(FakeModel(), REQUESTS)
        answers = await asyncio.gather(*(call(app, body=CHAT, headers=KEY) for _ in range(20)))
        assert sorted(answer.status for answer in answers) == [200] * 3 + [429] * 17

    async def test_callers_have_limits_of_their_own(self, guarded: MakeGuarded) -> None:
        app = guarded(FakeModel(), REQUESTS)
        for secret in ("sk-a", "sk-b", "sk-c"):
            answers = [await call(app, body=CHAT, headers={"x-api-key": secret}) for _ in range(4)]
            assert [answer.status for answer in answers] == [200, 200, 200, 429]

    async def test_a_refused_request_charges_no_limit_at_all(self, guarded: MakeGuarded) -> None:
        wide = {"name": "wide", "unit": "requests", "rate": "100/day", "per": "everything"}
        app = guarded(FakeModel(), REQUESTS, wide)
        for _ in range(10):
            await call(app, body=CHAT, headers={"x-api-key": "sk-a"})
        other = await call(app, body=CHAT, headers={"x-api-key": "sk-b"})
        assert other.status == 200
        assert (await app.left("sk-b"))["wide"] == 100 - 3 - 1

    async def test_a_refused_request_never_reaches_the_app(self, guarded: MakeGuarded) -> None:
        model = FakeModel()
        app = guarded(model, REQUESTS)
        for _ in range(8):
            await call(app, body=CHAT, headers=KEY)
        assert len(model.requests) == 3

    async def test_a_request_that_can_never_fit_is_told_so_and_charged_nothing(
        self, guarded: MakeGuarded
    ) -> None:
        small = {"name": "input", "unit": "input_tokens", "rate": "50/hour"}
        app = guarded(FakeModel(), small)
        answer = await call(app, body=chat("word " * 100), headers=KEY)
        assert answer.status == 413
        assert answer.headers["x-should-retry"] == "false"
        assert await app.left("sk-test") == {"input": 50}

    async def test_a_generous_cap_waits_for_an_empty_window_but_is_not_shut_out(
        self, guarded: MakeGuarded
    ) -> None:
        app = guarded(FakeModel(), TOKENS)
        first, second = await asyncio.gather(
            call(app, body=chat("hello delay_ms=20", max_tokens=1_000_000, stream=True), headers=KEY),
            call(app, body=chat("hello delay_ms=20", max_tokens=1_000_000, stream=True), headers=KEY),
        )
        assert {first.status, second.status} == {200, 429}

    async def test_tiers_come_from_the_keys_file(self, guarded: MakeGuarded, tmp_path: Any) -> None:
        digest = sha256(b"sk-pro").hexdigest()
        (tmp_path / "keys.toml").write_text(f'[pro-key]\nsha256 = "{digest}"\ntier = "pro"\norg = "acme"\n')
        tiers = {
            "default": {"limits": [REQUESTS]},
            "pro": {"limits": [{**REQUESTS, "name": "pro", "rate": "5/hour", "per": "org"}]},
        }
        app = guarded(FakeModel(), tiers=tiers, identity={"keys_file": tmp_path / "keys.toml"})
        statuses = [(await call(app, body=CHAT, headers={"x-api-key": "sk-pro"})).status for _ in range(6)]
        assert statuses == [200] * 5 + [429]


class TestWhichRequests:
    """A limit may be for some requests only, and be kept for several attributes together."""

    @pytest.mark.parametrize(
        ("limit", "statuses"),
        [
            ({}, [200, 429, 429, 429]),
            ({"models": ["big-*"]}, [200, 429, 200, 200]),
            ({"models": ["big-*", "small"]}, [200, 429, 429, 200]),
            ({"routes": ["/v1/models"]}, [200, 200, 200, 200]),
            ({"routes": ["/v1/chat/*"]}, [200, 429, 429, 200]),
            ({"methods": ["get"]}, [200, 200, 200, 200]),
            ({"methods": ["post"]}, [200, 429, 429, 200]),
            ({"per": ["key", "model"]}, [200, 429, 200, 200]),
            ({"per": ["key", "route"]}, [200, 429, 429, 200]),
            ({"per": "model"}, [200, 429, 200, 200]),
            ({"per": "everything"}, [200, 429, 429, 429]),
        ],
    )
    async def test_it_holds_those_and_no_others(
        self, guarded: MakeGuarded, limit: dict[str, Any], statuses: list[int]
    ) -> None:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await JSONResponse({})(scope, receive, send)

        guarded_app = guarded(app, {**REQUESTS, "rate": "1/hour", **limit})
        answers = [
            await call(guarded_app, body={**CHAT, "model": model}, headers=KEY)
            for model in ("big-1", "big-1", "small")
        ]
        answers.append(await call(guarded_app, "/v1/models", method="GET", headers=KEY))
        assert [answer.status for answer in answers] == statuses

    async def test_a_limit_of_all_tiers_is_shared_by_those_that_it_is_kept_for(
        self, guarded: MakeGuarded
    ) -> None:
        total = {**REQUESTS, "name": "total", "per": "everything", "rate": "3/hour", "tiers": ["*"]}
        app = guarded(FakeModel(), limits=[total])
        statuses = [
            (await call(app, body=CHAT, headers={"x-api-key": f"sk-{number}"})).status for number in range(4)
        ]
        assert statuses == [200, 200, 200, 429]

    async def test_a_holder_may_have_numbers_of_its_own_in_the_settings(self, guarded: MakeGuarded) -> None:
        limit = {**REQUESTS, "per": "model"}
        overrides = [
            {"holder": "model:good", "limit": "requests", "rate": "5/hour"},
            {"holder": "model:best", "limit": "*", "exempt": True},
        ]
        app = guarded(FakeModel(), limit, overrides=overrides)
        for model, admitted in (("some", 3), ("good", 5), ("best", 7)):
            answers = [await call(app, body={**CHAT, "model": model}, headers=KEY) for _ in range(7)]
            assert [answer.status for answer in answers] == [200] * admitted + [429] * (7 - admitted)


class TestAccounting:
    @pytest.mark.parametrize("stream", [False, True])
    async def test_money_is_settled_to_the_price_of_what_was_used(
        self, guarded: MakeGuarded, *, stream: bool
    ) -> None:
        prices = {"m": {"input": 2.5, "output": 10}, "*": {"input": 100, "output": 100}}
        cost = {"name": "cost", "unit": "cost", "rate": "1000000/day"}
        events: list[Event] = []
        app = guarded(FakeModel(), cost, models={"prices": prices}, hooks=[events.append])
        body = chat("one two words=200", max_tokens=900, stream=stream)
        await call(app, body=body, headers={"x-api-key": "sk-a"})
        spent = 6 * 2.5 + 200 * 10  # micro-dollars, at so many dollars per million tokens
        assert (await app.left("sk-a"))["cost"] == 1_000_000 - spent
        assert [event.cost for event in events] == [spent]

    async def test_what_cannot_be_afforded_is_refused(self, guarded: MakeGuarded) -> None:
        model = FakeModel()
        prices = {"m": {"input": 2.5, "output": 10}}
        cost = {"name": "cost", "unit": "cost", "rate": "2100/day"}
        app = guarded(model, cost, models={"prices": prices})
        statuses = [
            (await call(app, body=chat("words=200", max_tokens=200), headers=KEY)).status for _ in range(2)
        ]
        assert statuses == [200, 429]
        assert len(model.requests) == 1

    @pytest.mark.parametrize("stream", [False, True])
    @pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
    async def test_tokens_are_settled_to_what_the_backend_reports(
        self, guarded: MakeGuarded, path: str, *, stream: bool
    ) -> None:
        app = guarded(FakeModel(), TOKENS)
        body = chat("one two words=200", max_tokens=900, stream=stream)
        answer = await call(app, path, body, headers={"x-api-key": "sk-a"})
        assert answer.ended
        assert (await app.left("sk-a"))["tokens"] == 10_000 - (3 + 3) - 200

    @pytest.mark.parametrize("rate", [{"rate": "10000/hour"}, {"rate": "10000/hour", "algorithm": "gcra"}])
    async def test_an_overrun_is_charged_in_full(self, guarded: MakeGuarded, rate: dict[str, str]) -> None:
        app = guarded(FakeModel(), {**TOKENS, **rate}, models={"default_max_output_tokens": 10})
        await call(app, body=chat("words=3000"), headers={"x-api-key": "sk-a"})
        used = 3000 + 4
        assert 10_000 - used <= (await app.left("sk-a"))["tokens"] <= 10_000 - used + 10

    async def test_a_debt_delays_the_next_admission(self, guarded: MakeGuarded) -> None:
        app = guarded(FakeModel(), {**TOKENS, "rate": "100/minute"}, models={"default_max_output_tokens": 10})
        assert (await call(app, body=chat("words=3000"), headers=KEY)).status == 200
        assert (await call(app, body=chat("words=1"), headers=KEY)).status == 429

    async def test_a_stream_cut_after_fifty_chunks_is_settled_for_what_was_sent(
        self, guarded: MakeGuarded
    ) -> None:
        model = FakeModel()
        app = guarded(model, TOKENS, models={"read_on_seconds": 0})
        answer = await call(
            app,
            body=chat("words=200 delay_ms=1", stream=True, max_tokens=500),
            headers={"x-api-key": "sk-a"},
            leave_after=51,
        )
        sent = b"".join(answer.chunks).count(b'"content": "') - 1  # the first chunk is the role's
        assert 49 <= sent <= 60
        left = (await app.left("sk-a"))["tokens"]
        text = sum(
            len(json.loads(line[6:])["choices"][0]["delta"].get("content") or "")
            for line in answer.body.split(b"\n\n")
            if line
        )
        estimated_input = 5 + 4
        assert left == 10_000 - estimated_input - max(sent, -(-text // 4))
        assert model.served == 0

    async def test_a_stream_without_usage_is_counted_by_its_chunks(self, guarded: MakeGuarded) -> None:
        app = guarded(FakeModel(), TOKENS)
        await call(app, body=chat("nousage words=200", stream=True), headers={"x-api-key": "sk-a"})
        left = (await app.left("sk-a"))["tokens"]
        assert 10_000 - 9 - 400 <= left <= 10_000 - 9 - 200

    async def test_a_backend_error_costs_a_request_but_no_tokens(self, guarded: MakeGuarded) -> None:
        app = guarded(FakeModel(), TOKENS, REQUESTS)
        assert (await call(app, body=chat("fail=500"), headers={"x-api-key": "sk-a"})).status == 500
        assert await app.left("sk-a") == {"tokens": 10_000, "requests": 2}

    async def test_an_app_that_raises_costs_no_tokens(self, guarded: MakeGuarded) -> None:
        async def broken(scope: Scope, receive: Receive, send: Send) -> None:
            raise LookupError

        app = guarded(broken, TOKENS)
        with pytest.raises(LookupError):
            await call(app, body=CHAT, headers={"x-api-key": "sk-a"})
        assert (await app.left("sk-a"))["tokens"] == 10_000

    async def test_a_client_that_leaves_before_the_answer_pays_for_its_query(
        self, guarded: MakeGuarded
    ) -> None:
        async def thinking(scope: Scope, receive: Receive, send: Send) -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        app = guarded(thinking, TOKENS)
        await call(app, body=chat("silent and long"), headers={"x-api-key": "sk-a"}, leave_after=0)
        assert await app.left("sk-a") == {"tokens": 10_000 - (4 + 4)}

    async def test_usage_that_only_we_asked_for_does_not_reach_the_client(self, guarded: MakeGuarded) -> None:
        model = FakeModel()
        app = guarded(model, TOKENS)
        silent = await call(app, body=chat("hi", stream=True), headers=KEY)
        assert json.loads(model.requests[-1].body)["stream_options"] == {"include_usage": True}
        assert b'"choices": []' not in silent.body
        asked = await call(
            app, body=chat("hi", stream=True, stream_options={"include_usage": True}), headers=KEY
        )
        assert b'"choices": []' in asked.body

    async def test_what_was_judged_is_what_the_app_gets(self, guarded: MakeGuarded) -> None:
        model = FakeModel()
        body = b'  {"messages":[{"content":"\\u00e9 1.0","role":"user"}] , "temperature":1.0,\n"model":"m"}  '
        await call(guarded(model, TOKENS), body=[body[:9], body[9:]], headers=KEY)
        assert model.requests[-1].body == body
        assert dict(model.requests[-1].headers)[b"content-length"] == str(len(body)).encode()


class TestStreams:
    async def test_every_chunk_goes_on_before_the_next_one_comes(self, guarded: MakeGuarded) -> None:
        seen: list[bytes] = []
        expected: list[int] = []

        async def stepwise(scope: Scope, receive: Receive, send: Send) -> None:
            await receive()
            await send(
                {
                    "type": "http.response.start",
                    "status": 200,
                    "headers": [(b"content-type", b"text/event-stream")],
                }
            )
            for number in range(200):
                chunk = b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n'
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
                expected.append(number)
                assert len(seen) == number + 1
            await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})

        async def send(message: Message) -> None:
            if message.get("body"):
                seen.append(message["body"])

        app = guarded(stepwise, TOKENS)
        body = json.dumps(chat("hi", stream=True)).encode()
        messages: asyncio.Queue[Message] = asyncio.Queue()
        messages.put_nowait({"type": "http.request", "body": body})
        await app(http_scope("/v1/chat/completions", headers=KEY), messages.get, send)
        assert len(expected) == 200
        assert seen[-1] == b"data: [DONE]\n\n"

    async def test_the_status_is_sent_once(self, guarded: MakeGuarded) -> None:
        app = guarded(FakeModel(), TOKENS)
        answer = await call(app, body=chat("hi", stream=True), headers=KEY)
        assert len(answer.starts) == 1

    async def test_an_answer_that_is_not_json_passes_unchanged(self, guarded: MakeGuarded) -> None:
        app = guarded(PlainTextResponse("\x00 not json"), TOKENS)
        answer = await call(app, body=CHAT, headers=KEY)
        assert answer.body == b"\x00 not json"

    async def test_the_app_is_asked_for_an_uncompressed_answer(self, guarded: MakeGuarded) -> None:
        model = FakeModel()
        await call(guarded(model), body=CHAT, headers={**KEY, "accept-encoding": "gzip"})
        assert b"accept-encoding" not in dict(model.requests[-1].headers)


class TestBadInput:
    @pytest.mark.parametrize(
        ("body", "headers", "status"),
        [
            (b"", {}, 400),
            (b"hello", {}, 400),
            (b"[]", {}, 400),
            (b'{"model":"m","messages":' + b"[" * 100_000, {}, 400),
            (b'{"a":' * 100_000, {}, 400),
            (b"\xff\xfe{}", {}, 400),
            (b'{"model":"m","model":"n","messages":[]}', {}, 400),
            (b'{"model":"m","messages":[{"role":"user","content":"x"}],"n":"128"}', {}, 400),
            (b'{"model":"m","messages":[{"role":"user","content":"x"}],"n":NaN}', {}, 400),
            (json.dumps(CHAT).encode("utf-16"), {}, 400),
            (json.dumps(CHAT).encode(), {"content-encoding": "gzip"}, 415),
            (b"x" * (50 << 20), {}, 413),
            (b"", {"content-length": str(50 << 20)}, 413),
        ],
    )
    @pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
    async def test_it_is_refused_in_the_dialects_shape_and_never_forwarded(
        self, guarded: MakeGuarded, path: str, body: bytes, headers: dict[str, str], status: int
    ) -> None:
        model = FakeModel()
        app = guarded(model, REQUESTS)
        answer = await call(app, path, body, headers={**KEY, **headers})
        assert answer.status == status
        assert not model.requests
        error = answer.json["error"]
        assert error["message"]
        if path == "/v1/messages":
            assert answer.json["type"] == "error"
            assert set(error) == {"type", "message"}
        else:
            assert set(error) == {"message", "type", "param", "code"}

    async def test_a_body_that_does_not_come_is_not_waited_for(self, guarded: MakeGuarded) -> None:
        app = guarded(FakeModel(), REQUESTS, body={"timeout_seconds": 0.05})
        sent: list[Message] = []

        async def never() -> Message:
            return await asyncio.Future()

        async def send(message: Message) -> None:
            sent.append(message)

        await app(http_scope("/v1/chat/completions", headers=KEY), never, send)
        assert sent[0]["status"] == 408

    async def test_a_timeout_of_the_apps_own_is_the_apps(self, guarded: MakeGuarded) -> None:
        async def slow(scope: Scope, receive: Receive, send: Send) -> None:
            raise TimeoutError("mine")

        with pytest.raises(TimeoutError, match="mine"):
            await call(guarded(slow), body=CHAT, headers=KEY)

    async def test_all_bodies_together_have_a_bound_which_frees_up_again(self, guarded: MakeGuarded) -> None:
        app = guarded(FakeModel(), body={"max_buffered_bytes": 200})
        big = chat("x" * 300)
        assert (await call(app, body=big, headers=KEY)).status == 503
        assert (await call(app, body=CHAT, headers=KEY)).status == 200
        assert (await call(app, body=CHAT, headers=KEY)).status == 200


class TestRoutes:
    @pytest.mark.parametrize(
        "path",
        [
            "/invocations",
            "/v1/batches",
            "/v1/files",
            "/v1beta/models/gemini-x:predict",
            "/api/pull",
            "/v1/chat/completions/",
            "//v1/chat/completions",
            "/V1/chat/completions",
            "/v1/chat/completions;x",
            "/",
        ],
    )
    async def test_unknown_paths_are_refused(self, guarded: MakeGuarded, path: str) -> None:
        model = FakeModel()
        answer = await call(guarded(model), path, CHAT, headers=KEY)
        assert answer.status == 404
        assert not model.requests

    async def test_a_host_header_does_not_change_the_path(self, guarded: MakeGuarded) -> None:
        headers = {**KEY, "host": "x/v1/models?a="}
        answer = await call(guarded(FakeModel(), REQUESTS), "/secret", CHAT, headers=headers)
        assert answer.status == 404

    async def test_an_escaped_letter_in_the_path_is_the_same_path(self, guarded: MakeGuarded) -> None:
        inner = Starlette(routes=[Route("/v1/chat/completions", _echo_path, methods=["POST"])])
        with TestClient(guarded(inner, REQUESTS)) as client:
            statuses = [
                client.post("/v1/%63hat/completions", json=CHAT, headers=KEY).status_code for _ in range(4)
            ]
        assert statuses == [200, 200, 200, 429]

    async def test_a_mounted_app_is_limited_like_any_other(self, guarded: MakeGuarded) -> None:
        inner = Starlette(
            routes=[Mount("/v1", routes=[Route("/chat/completions", _echo_path, methods=["POST"])])]
        )
        app = guarded(inner, REQUESTS)
        statuses = [(await call(app, body=CHAT, headers=KEY)).status for _ in range(4)]
        assert statuses == [200, 200, 200, 429]

    async def test_count_holds_the_request_and_does_not_touch_the_body(self, guarded: MakeGuarded) -> None:
        routes = [{"path": "/upload", "action": "count"}]
        app = guarded(_body_back, REQUESTS, routes=routes)
        answers = [await call(app, "/upload", [b"not ", b"json"], headers=KEY) for _ in range(4)]
        assert [answer.status for answer in answers] == [200, 200, 200, 429]
        assert answers[0].body == b"not json"
        assert answers[3].headers["content-type"] == "application/problem+json"

    async def test_pass_forwards_unseen(self, guarded: MakeGuarded) -> None:
        app = guarded(_body_back, REQUESTS, routes=[{"path": "/health*", "action": "pass"}])
        assert [(await call(app, "/healthz")).status for _ in range(9)] == [200] * 9

    async def test_trailers_that_come_later_are_seen_by_nobody(self, guarded: MakeGuarded) -> None:
        got: list[Any] = []

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await receive()
            got.extend(scope["headers"])
            await PlainTextResponse("ok")(scope, receive, send)

        scope = http_scope("/v1/chat/completions", headers=KEY)

        async def receive() -> Message:
            scope["headers"].append((b"x-forwarded-for", b"9.9.9.9"))
            return {"type": "http.request", "body": json.dumps(CHAT).encode()}

        async def send(message: Message) -> None:
            pass

        await guarded(app)(scope, receive, send)
        assert b"x-forwarded-for" not in dict(got)


async def _echo_path(request: Request) -> JSONResponse:
    return JSONResponse({"path": request.scope["path"]})


async def _body_back(scope: Scope, receive: Receive, send: Send) -> None:
    async def body() -> AsyncIterator[bytes]:
        more = True
        while more:
            message = await receive()
            yield message.get("body", b"")
            more = message.get("more_body", False)

    parts = [part async for part in body()]
    await StreamingResponse(iter(parts))(scope, receive, send)


class TestRefusals:
    async def test_the_wait_is_exact_and_the_headers_come_from_the_same_call(
        self, guarded: MakeGuarded
    ) -> None:
        limit = {"name": "r", "unit": "requests", "rate": "1/40 second", "algorithm": "gcra"}
        app = guarded(FakeModel(), limit)
        await call(app, body=CHAT, headers=KEY)
        answer = await call(app, body=CHAT, headers=KEY)
        assert answer.status == 429
        assert 35_000 <= int(answer.headers["retry-after-ms"]) <= 40_000
        assert 36 <= int(answer.headers["retry-after"]) <= 40
        assert answer.headers["x-ratelimit-remaining-requests"] == "0"
        assert answer.headers["cache-control"] == "no-store"
        assert "x-should-retry" not in answer.headers

    async def test_a_long_wait_is_not_worth_retrying(self, guarded: MakeGuarded) -> None:
        app = guarded(FakeModel(), {**REQUESTS, "rate": "1/hour"})
        await call(app, body=CHAT, headers=KEY)
        answer = await call(app, body=CHAT, headers=KEY)
        assert answer.headers["x-should-retry"] == "false"
        assert int(answer.headers["retry-after"]) > 3_600
        assert "retry-after-ms" not in answer.headers

    async def test_a_bad_credential_is_a_401_in_the_dialects_shape(self, guarded: MakeGuarded) -> None:
        app = guarded(FakeModel(), identity={"anonymous": "refuse"})
        answer = await call(app, "/v1/messages", CHAT)
        assert answer.status == 401
        assert answer.json["error"]["type"] == "authentication_error"

    async def test_refusals_name_neither_the_limit_nor_the_holder(self, guarded: MakeGuarded) -> None:
        limit = {"name": "secret-name", "unit": "requests", "rate": "1/hour", "per": "everything"}
        app = guarded(FakeModel(), limit)
        await call(app, body=CHAT, headers=KEY)
        answer = await call(app, body=CHAT, headers=KEY)
        assert b"secret-name" not in answer.body
        assert b"everything" not in answer.body


class TestModes:
    async def test_shadow_decides_and_refuses_nothing(self, guarded: MakeGuarded) -> None:
        events: list[Event] = []
        app = guarded(FakeModel(), REQUESTS, mode="shadow", hooks=[events.append])
        statuses = [(await call(app, body=CHAT, headers=KEY)).status for _ in range(5)]
        assert statuses == [200] * 5
        assert [event.action for event in events] == [Action.ALLOW] * 3 + [Action.LIMITED] * 2

    async def test_a_limit_is_tried_out_beside_those_that_bite(self, guarded: MakeGuarded) -> None:
        events: list[Event] = []
        tried = {"name": "tried", "unit": "requests", "rate": "1/hour", "mode": "shadow"}
        app = guarded(FakeModel(), REQUESTS, tried, hooks=[events.append])
        statuses = [(await call(app, body=CHAT, headers=KEY)).status for _ in range(5)]
        assert statuses == [200, 200, 200, 429, 429]
        assert [(event.action, event.mode) for event in events] == [
            (Action.ALLOW, Mode.ENFORCE),
            (Action.LIMITED, Mode.SHADOW),
            (Action.LIMITED, Mode.SHADOW),
            (Action.LIMITED, Mode.ENFORCE),
            (Action.LIMITED, Mode.ENFORCE),
        ]
        assert [event.limits for event in events[:3]] == [(), ("tried",), ("tried",)]
        assert "requests" in events[3].limits

    async def test_what_can_never_fit_a_limit_that_is_tried_out_is_forwarded(
        self, guarded: MakeGuarded
    ) -> None:
        model = FakeModel()
        small = {"name": "small", "unit": "input_tokens", "rate": "5/hour", "mode": "shadow"}
        app = guarded(model, small, TOKENS)
        answer = await call(app, body=chat("word " * 100), headers={"x-api-key": "sk-a"})
        assert answer.status == 200
        assert len(model.requests) == 1
        assert (await app.left("sk-a"))["tokens"] < 10_000

    async def test_a_limit_that_is_off_is_not_even_counted(self, guarded: MakeGuarded) -> None:
        events: list[Event] = []
        app = guarded(FakeModel(), {**REQUESTS, "mode": "off"}, hooks=[events.append])
        assert [(await call(app, body=CHAT, headers=KEY)).status for _ in range(5)] == [200] * 5
        assert {event.action for event in events} == {Action.ALLOW}
        assert (await app.left("sk-test"))["requests"] == 3

    @pytest.mark.parametrize(
        ("mode", "percent", "statuses", "told"),
        [
            ("enforce", 100, [200] * 3 + [429] * 2, Mode.ENFORCE),
            ("enforce", 0, [200] * 5, Mode.SHADOW),
            ("shadow", 100, [200] * 5, Mode.SHADOW),
            ("off", 100, [200] * 5, Mode.OFF),
        ],
    )
    @pytest.mark.parametrize("level", ["everything", "tier", "limit"])
    async def test_the_mildest_of_the_three_levels_holds(
        self,
        guarded: MakeGuarded,
        level: str,
        mode: str,
        percent: float,
        statuses: list[int],
        told: Mode,
    ) -> None:
        events: list[Event] = []
        rollout = {"mode": mode, "enforce_percent": percent}
        limit = {**REQUESTS, **(rollout if level == "limit" else {})}
        tier = {"limits": [limit], **(rollout if level == "tier" else {})}
        top = rollout if level == "everything" else {}
        app = guarded(FakeModel(), tiers={"default": tier}, hooks=[events.append], **top)
        assert [(await call(app, body=CHAT, headers=KEY)).status for _ in range(5)] == statuses
        if told is Mode.OFF:
            assert {event.action for event in events} <= {Action.ALLOW}
        else:
            assert [event.action for event in events] == [Action.ALLOW] * 3 + [Action.LIMITED] * 2
            assert events[4].mode is told

    async def test_whoever_it_bites_stays_bitten_as_its_share_is_raised(self, guarded: MakeGuarded) -> None:
        secrets = [f"sk-{number}" for number in range(60)]

        async def bitten(percent: float) -> set[str]:
            app = guarded(FakeModel(), {**REQUESTS, "rate": "1/hour", "enforce_percent": percent})
            for _ in range(2):
                answers = [await call(app, body=CHAT, headers={"x-api-key": each}) for each in secrets]
            return {each for each, answer in zip(secrets, answers, strict=True) if answer.status == 429}

        none, some, more, everyone = [await bitten(percent) for percent in (0, 30, 70, 100)]
        assert none == set()
        assert none < some < more < everyone == set(secrets)

    async def test_off_forwards_everything_unseen(self, guarded: MakeGuarded) -> None:
        app = guarded(_body_back, REQUESTS, mode="off")
        answer = await call(app, "/anything", b"\xff{", headers={"authorization": "x"})
        assert answer.body == b"\xff{"

    async def test_every_request_tells_one_event(self, guarded: MakeGuarded) -> None:
        events: list[Event] = []
        app = guarded(FakeModel(), REQUESTS, hooks=[events.append])
        for _ in range(4):
            await call(app, body=chat("one two"), headers=KEY)
        assert [event.status for event in events] == [200, 200, 200, 429]
        assert [(event.input_tokens, event.output_tokens) for event in events] == [(5, 24)] * 3 + [(0, 0)]
        assert events[3].limits == ("requests",)
        assert "sk-test" not in str(events)

    async def test_a_hook_that_fails_harms_no_request(self, guarded: MakeGuarded) -> None:
        def broken(event: Event) -> None:
            raise LookupError

        app = guarded(FakeModel(), hooks=[broken])
        assert (await call(app, body=CHAT, headers=KEY)).status == 200


class TestStoreFailure:
    @pytest.mark.parametrize(("on_store_error", "status"), [("allow", 200), ("deny", 503)])
    async def test_what_happens_is_what_was_set(
        self, guarded: MakeGuarded, on_store_error: str, status: int
    ) -> None:
        events: list[Event] = []
        closed = {"redis_url": "redis://127.0.0.1:1/0", "deadline_ms": 200}
        app = guarded(
            FakeModel(), REQUESTS, store=closed, on_store_error=on_store_error, hooks=[events.append]
        )
        for _ in range(5):
            answer = await call(app, body=CHAT, headers=KEY)
            assert answer.status == status
        assert {event.reason for event in events} == {Reason.STORE}
        # After five failures in a row the store is not even asked.
        # On a busy machine even a closed port may answer too late.
        assert {event.store_error for event in events} <= {"connection", "timeout", "open"}
        if status == 503:
            assert 1 <= int(answer.headers["retry-after"]) <= 5

    async def test_without_a_word_from_the_operator_a_process_admits_its_share(
        self, guarded: MakeGuarded
    ) -> None:
        closed = {"redis_url": "redis://127.0.0.1:1/0", "deadline_ms": 200, "local_share": 0.5}
        app = guarded(FakeModel(), {**REQUESTS, "rate": "8/hour"}, store=closed)
        answers = [await call(app, body=CHAT, headers=KEY) for _ in range(6)]
        assert [answer.status for answer in answers] == [200] * 4 + [429] * 2
        assert int(answers[5].headers["retry-after"]) >= 1
        assert "ratelimit" not in answers[0].headers

    async def test_a_tier_may_differ(self, guarded: MakeGuarded) -> None:
        closed = {"redis_url": "redis://127.0.0.1:1/0", "deadline_ms": 200}
        tiers = {"default": {"limits": [REQUESTS], "on_store_error": "allow"}}
        app = guarded(FakeModel(), tiers=tiers, store=closed, on_store_error="deny")
        assert (await call(app, body=CHAT, headers=KEY)).status == 200


class TestWebSockets:
    async def echo(self, websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(await websocket.receive_text())
        await websocket.close()

    @property
    def app(self) -> Starlette:
        return Starlette(routes=[WebSocketRoute("/realtime", self.echo)])

    def test_an_unnamed_path_is_refused(self, guarded: MakeGuarded) -> None:
        with TestClient(guarded(self.app, unknown_paths="deny")) as client:  # noqa: SIM117 - only the inner one raises
            with pytest.raises(WebSocketDisconnect), client.websocket_connect("/realtime"):
                pass

    def test_connections_are_counted(self, guarded: MakeGuarded) -> None:
        routes = [{"path": "/realtime", "methods": ["websocket"], "action": "count"}]
        with TestClient(guarded(self.app, REQUESTS, routes=routes)) as client:
            for _ in range(3):
                with client.websocket_connect("/realtime", headers=KEY) as socket:
                    socket.send_text("hello")
                    assert socket.receive_text() == "hello"
            with pytest.raises(WebSocketDisconnect), client.websocket_connect("/realtime", headers=KEY):
                pass


class TestLifespan:
    def test_a_setting_that_cannot_work_stops_the_start_with_its_message(self, tmp_path: Any) -> None:
        (tmp_path / "guard.toml").write_text("mod = 1")
        with (
            pytest.raises(BaseException, match="did you mean `mode`"),
            TestClient(GuardMiddleware(FakeModel(), tmp_path / "guard.toml")),
        ):
            pass

    def test_the_embedded_store_starts_and_stops_with_the_app(self, tmp_path: Any) -> None:
        (tmp_path / "guard.toml").write_text('data_dir = "data"\n[store]\ndeadline_ms = 5000\n')
        with TestClient(GuardMiddleware(FakeModel(), tmp_path / "guard.toml")) as client:
            assert client.post("/v1/chat/completions", json=CHAT, headers=KEY).status_code == 200

    async def test_a_scope_that_nobody_knows_is_not_let_through(self, guarded: MakeGuarded) -> None:
        async def receive() -> Message:
            return {}

        async def send(message: Message) -> None:
            del message

        with pytest.raises(RuntimeError, match="webtransport"):
            await guarded(FakeModel())({"type": "webtransport"}, receive, send)
