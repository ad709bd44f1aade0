"""What one request costs and is told, from its first byte to its last."""

from __future__ import annotations

import asyncio
import json
import time
from itertools import islice
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from fakes import Answer, Clock, Guarded, call, http_scope
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from guard.admin import Operator
from guard.core.decision import Action
from guard.core.identity import Attribute, Holder
from guard.demo.model import FakeModel
from guard.errors import BackendError
from guard.installation import Installation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send
    from starlette.websockets import WebSocket

    from guard.telemetry.events import Event

    MakeGuarded = Callable[..., Guarded]

KEY = {"authorization": "Bearer sk-test"}
CHAT = {"model": "m", "messages": [{"role": "user", "content": "one two three"}]}
REQUESTS = {"name": "requests", "unit": "requests", "rate": "1/hour"}
PROBLEM = {**KEY, "accept": "application/json;q=0.5, application/problem+json"}
CREDITS = {"name": "credits", "unit": "credits", "rate": "10/hour"}
GATEWAY = {"trusted_proxies": ["192.0.2.0/24"]}
PER_END_USER = {"name": "end-users", "unit": "requests", "rate": "1/hour", "per": "end_user"}
SLOT = {"name": "slot", "unit": "concurrency", "count": 1}


def key(app: Guarded, secret: str = "sk-test") -> Holder:
    """The holder that this credential stands for."""
    return Holder(Attribute.KEY, Installation.of(app.settings).keys.credential(secret))


async def _echo(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text(await websocket.receive_text())
    await websocket.close()


ECHO = Starlette(routes=[WebSocketRoute("/realtime", _echo)])


async def unread(app: ASGIApp, path: str = "/v1/chat/completions") -> Answer:
    """A request whose body must not be asked for."""
    answer = Answer()

    async def receive() -> Message:
        raise AssertionError("the body was asked for")

    async def send(message: Message) -> None:
        answer.messages.append(message)

    await app(http_scope(path, headers=KEY), receive, send)
    return answer


class TestCheapRefusals:
    async def test_the_body_of_a_request_that_will_be_refused_anyway_is_not_read(
        self, guarded: MakeGuarded
    ) -> None:
        events: list[Event] = []
        app = guarded(FakeModel(), REQUESTS, hooks=[events.append])
        statuses = [(await call(app, body=CHAT, headers=KEY)).status for _ in range(2)]
        assert statuses == [200, 429]
        answer = await unread(app)
        assert answer.status == 429
        assert answer.json["error"]["code"] == "rate_limit_exceeded"
        assert [event.body_read for event in events] == [True, True, False]
        assert events[2].limits == ("requests",)

    async def test_nor_is_that_of_one_whose_query_nobody_reads(self, guarded: MakeGuarded) -> None:
        app = guarded(FakeModel(), REQUESTS, routes=_ROUTES)
        for _ in range(2):
            await call(app, "/counted", headers=KEY)
        answer = await unread(app, "/counted")
        assert answer.status == 429
        assert answer.headers["content-type"] == "application/problem+json"

    def test_a_websocket_is_refused_from_memory_as_well(self, guarded: MakeGuarded) -> None:
        events: list[Event] = []
        with TestClient(guarded(ECHO, REQUESTS, routes=_ROUTES, hooks=[events.append])) as client:
            with client.websocket_connect("/realtime", headers=KEY) as socket:
                socket.send_text("hello")
                assert socket.receive_text() == "hello"
            for _ in range(2):
                with pytest.raises(WebSocketDisconnect), client.websocket_connect("/realtime", headers=KEY):
                    pass
        refused = [event for event in events if event.action is Action.LIMITED]
        assert [event.body_read for event in refused] == [True, False]

    async def test_tokens_that_are_used_up_refuse_it_too(self, guarded: MakeGuarded) -> None:
        tokens = {"name": "tokens", "unit": "tokens", "rate": "100/hour"}
        app = guarded(FakeModel(), tokens, models={"default_max_output_tokens": 10})
        body = {"model": "m", "messages": [{"role": "user", "content": "words=3000"}]}
        statuses = [(await call(app, body=body, headers=KEY)).status for _ in range(2)]
        assert statuses == [200, 429]
        assert (await unread(app)).status == 429

    async def test_nobody_else_is_refused_with_it(self, guarded: MakeGuarded) -> None:
        app = guarded(FakeModel(), REQUESTS)
        for _ in range(3):
            await call(app, body=CHAT, headers=KEY)
        assert (await call(app, body=CHAT, headers={"x-api-key": "sk-other"})).status == 200

    async def test_the_wait_is_what_is_left_of_it(self, guarded: MakeGuarded, clock: Clock) -> None:
        limit = {"name": "r", "unit": "requests", "rate": "1/40 second", "algorithm": "gcra"}
        app = guarded(FakeModel(), limit)
        await call(app, body=CHAT, headers=KEY)
        first = await call(app, body=CHAT, headers=KEY)
        clock.ahead_seconds = 0.75
        then = await unread(app)
        passed_ms = int(first.headers["retry-after-ms"]) - int(then.headers["retry-after-ms"])
        assert 749 <= passed_ms < 1_000

    async def test_a_reset_is_seen_within_a_second(self, guarded: MakeGuarded, clock: Clock) -> None:
        app = guarded(FakeModel(), REQUESTS)
        for _ in range(2):
            await call(app, body=CHAT, headers=KEY)
        async with Operator(app.settings) as operator:
            assert (await operator.orders.reset(key(app))).before == {"used": {"requests": 1}}
        clock.ahead_seconds = 1.0
        assert (await call(app, body=CHAT, headers=KEY)).status == 200

    @pytest.mark.parametrize("numbers", [{"rate": "5/hour"}, {}])
    async def test_an_override_is_seen_within_a_second(
        self, guarded: MakeGuarded, clock: Clock, numbers: dict[str, str]
    ) -> None:
        app = guarded(FakeModel(), REQUESTS)
        for _ in range(2):
            await call(app, body=CHAT, headers=KEY)
        async with Operator(app.settings) as operator:
            await operator.orders.override(key(app), "requests", **numbers)  # type: ignore[arg-type]
        clock.ahead_seconds = 1.0
        statuses = [(await call(app, body=CHAT, headers=KEY)).status for _ in range(5)]
        assert statuses == ([200] * 4 + [429] if numbers else [200] * 5)

    async def test_an_unblock_is_seen_within_a_second(self, guarded: MakeGuarded, clock: Clock) -> None:
        app = guarded(FakeModel(), REQUESTS)
        async with Operator(app.settings) as operator:
            await operator.orders.block(key(app), None, "because")
            assert [(await call(app, body=CHAT, headers=KEY)).status for _ in range(2)] == [403, 403]
            assert (await operator.orders.unblock(key(app))).changed
        clock.ahead_seconds = 1.0
        assert (await call(app, body=CHAT, headers=KEY)).status == 200

    @pytest.mark.parametrize(
        ("modes", "status"),
        [
            ({"tiers": {"default": {"limits": [REQUESTS], "mode": "shadow"}}}, 403),
            ({"enforce_percent": 0}, 403),
            ({"tiers": {"default": {"limits": [REQUESTS], "mode": "off"}}}, 200),
            ({"mode": "shadow"}, 200),
            ({"mode": "off"}, 200),
        ],
        ids=str,
    )
    async def test_a_block_refuses_who_is_shadowed_unless_all_are(
        self, guarded: MakeGuarded, modes: dict[str, Any], status: int
    ) -> None:
        app = guarded(FakeModel(), **modes)
        async with Operator(app.settings) as operator:
            await operator.orders.block(key(app), None, "because")
        assert (await call(app, body=CHAT, headers=KEY)).status == status


class TestLimitHeaders:
    async def test_they_stand_on_every_answer(self, guarded: MakeGuarded) -> None:
        requests = {"name": "secret-name", "unit": "requests", "rate": "2/hour"}
        app = guarded(FakeModel(), requests, {**SLOT, "count": 8})
        first, second, third, unread_one = (
            await call(app, body=CHAT, headers=KEY),
            await call(app, body=CHAT, headers=KEY),
            await call(app, body=CHAT, headers=KEY),
            await unread(app),
        )
        slots = '"concurrent-requests";q=8;qu="concurrent-requests"'
        for answer in (first, second, third):
            assert answer.headers["ratelimit-policy"] == f'"requests-per-hour";q=2;w=3600, {slots}'
        assert [answer.status for answer in (first, second, third, unread_one)] == [200, 200, 429, 429]
        assert first.headers["ratelimit"].startswith('"requests-per-hour";r=1;t=')
        assert second.headers["ratelimit"].startswith('"requests-per-hour";r=0;t=')
        assert first.headers["ratelimit"].endswith(', "concurrent-requests";r=7')
        for answer in (third, unread_one):
            wait = answer.headers["retry-after"]
            assert answer.headers["ratelimit"].startswith(f'"requests-per-hour";r=0;t={wait}')
            assert answer.headers["cache-control"] == "no-store"

    async def test_a_calendar_limit_says_when_its_day_ends(self, guarded: MakeGuarded) -> None:
        app = guarded(FakeModel(), {**REQUESTS, "rate": "1/day", "algorithm": "calendar"})
        await call(app, body=CHAT, headers=KEY)
        most = 86_400 - int(time.time()) % 86_400
        answer = await call(app, body=CHAT, headers=KEY)
        least = 86_400 - int(time.time()) % 86_400 - 1
        assert least <= int(answer.headers["retry-after"]) <= most
        assert answer.headers["ratelimit-policy"] == '"requests-per-day";q=1;w=86400'

    async def test_the_wait_in_seconds_is_the_wait_in_milliseconds_rounded_up(
        self, guarded: MakeGuarded
    ) -> None:
        limit = {"name": "r", "unit": "requests", "rate": "1/40 second", "algorithm": "gcra"}
        app = guarded(FakeModel(), limit)
        await call(app, body=CHAT, headers=KEY)
        answer = await call(app, body=CHAT, headers=KEY)
        wait_ms = int(answer.headers["retry-after-ms"])
        assert 39_000 < wait_ms <= 40_000
        assert int(answer.headers["retry-after"]) == -(-wait_ms // 1000)
        assert answer.headers["ratelimit"] == f'"requests-per-40-seconds";r=0;t={-(-wait_ms // 1000)}'

    async def test_what_is_only_tried_out_is_not_told(self, guarded: MakeGuarded) -> None:
        app = guarded(FakeModel(), {**REQUESTS, "rate": "1/day", "mode": "shadow"})
        for _ in range(2):
            answer = await call(app, body=CHAT, headers=KEY)
            assert answer.status == 200
            assert not {"ratelimit", "ratelimit-policy", "x-ratelimit-limit-requests"} & set(answer.headers)

    async def test_an_answer_of_the_app_does_not_keep_its_own(self, guarded: MakeGuarded) -> None:
        own = {"ratelimit": '"theirs";r=99', "x-ratelimit-remaining-requests": "99"}
        answer = await call(guarded(JSONResponse({}, headers=own), REQUESTS), body=CHAT, headers=KEY)
        assert answer.headers["x-ratelimit-remaining-requests"] == "0"
        assert "theirs" not in str(answer.starts)


class TestProblems:
    async def test_who_asks_for_problem_details_gets_them(self, guarded: MakeGuarded) -> None:
        app = guarded(FakeModel(), REQUESTS)
        assert (await call(app, body=CHAT, headers=PROBLEM)).json["object"] == "chat.completion"
        for answer in [await call(app, body=CHAT, headers=PROBLEM) for _ in range(2)]:
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json["type"].endswith("#quota-exceeded")
            assert (answer.status, answer.json["status"]) == (429, 429)
            assert answer.json["violated-policies"] == ["requests-per-hour"]
            assert int(answer.headers["retry-after"]) > 0
            assert "ratelimit" in answer.headers
            assert "x-ratelimit-limit-requests" not in answer.headers

    @pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/api/chat", "/v1/responses"])
    async def test_a_request_that_cannot_be_judged_gets_them_too(
        self, guarded: MakeGuarded, path: str
    ) -> None:
        answer = await call(guarded(FakeModel()), path, b"{", headers=PROBLEM)
        assert answer.status == 400
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json["type"] == "about:blank"

    @pytest.mark.parametrize("accept", ["*/*", "application/*", "application/problem+json;q=0", "x"])
    async def test_others_are_told_in_the_words_of_the_api(self, guarded: MakeGuarded, accept: str) -> None:
        app = guarded(FakeModel(), REQUESTS)
        headers = {**KEY, "accept": accept}
        await call(app, body=CHAT, headers=headers)
        answer = await call(app, body=CHAT, headers=headers)
        assert answer.headers["content-type"] == "application/json"
        assert answer.json["error"]["code"] == "rate_limit_exceeded"


class Held:
    """An app that begins, waits until it is let go, and then answers as `ending` does."""

    def __init__(self, ending: ASGIApp) -> None:
        self.begun = asyncio.Event()
        self.go = asyncio.Event()
        self._ending = ending

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.begun.set()
        await self.go.wait()
        await self._ending(scope, receive, send)


async def _raises(scope: Scope, receive: Receive, send: Send) -> None:
    raise LookupError("the app's own")


async def _backend_fails(scope: Scope, receive: Receive, send: Send) -> None:
    raise BackendError("The backend does not answer.", status=502)


async def _raises_midway(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"x", "more_body": True})
    raise LookupError("the app's own")


async def _waits_for_the_client_to_leave(scope: Scope, receive: Receive, send: Send) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _streams(scope: Scope, receive: Receive, send: Send) -> None:
    async def lines() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n'
        yield b"data: [DONE]\n\n"

    await StreamingResponse(lines(), media_type="text/event-stream")(scope, receive, send)


async def _streams_until_the_client_leaves(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"x", "more_body": True})
    await _waits_for_the_client_to_leave(scope, receive, send)


class TestSlots:
    """A limit on concurrency holds a slot while its request runs, and not a moment longer."""

    @pytest.mark.parametrize(
        ("ending", "leave_after"),
        [
            (JSONResponse({"choices": []}), None),
            (PlainTextResponse("no", 400), None),
            (PlainTextResponse("broken", 500), None),
            (_backend_fails, None),
            (_streams, None),
            (_raises, None),
            (_raises_midway, None),
            (_waits_for_the_client_to_leave, 0),
            (_streams_until_the_client_leaves, 1),
        ],
    )
    @pytest.mark.parametrize("path", ["/v1/chat/completions", "/counted"])
    async def test_every_way_out_gives_it_back(
        self, guarded: MakeGuarded, path: str, ending: ASGIApp, leave_after: int | None
    ) -> None:
        held = Held(ending)
        app = guarded(held, SLOT, routes=_ROUTES)
        running = asyncio.create_task(call(app, path, CHAT, headers=KEY, leave_after=leave_after))
        await held.begun.wait()
        assert (await app.left("sk-test"))["slot"] == 0
        refused = await call(app, path, CHAT, headers=KEY)
        assert refused.status == 429
        assert refused.headers["retry-after"] == "1"
        held.go.set()
        (outcome,) = await asyncio.gather(running, return_exceptions=True)
        assert not isinstance(outcome, BaseException) or str(outcome) == "the app's own"
        assert (await app.left("sk-test"))["slot"] == 1

    @pytest.mark.parametrize("path", ["/v1/chat/completions", "/counted"])
    async def test_a_cancelled_request_gives_it_back(self, guarded: MakeGuarded, path: str) -> None:
        held = Held(JSONResponse({}))
        app = guarded(held, SLOT, routes=_ROUTES)
        running = asyncio.create_task(call(app, path, CHAT, headers=KEY))
        await held.begun.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await app.settled()
        assert (await app.left("sk-test"))["slot"] == 1

    async def test_without_the_store_the_process_holds_and_gives_back_its_own(
        self, guarded: MakeGuarded
    ) -> None:
        held = Held(JSONResponse({}))
        closed = {"redis_url": "redis://127.0.0.1:1/0", "deadline_ms": 200, "local_share": 1}
        app = guarded(held, SLOT, store=closed)
        for _ in range(3):
            running = asyncio.create_task(call(app, body=CHAT, headers=KEY))
            await held.begun.wait()
            assert (await call(app, body=CHAT, headers=KEY)).status == 429
            held.go.set()
            assert (await running).status == 200
            held.begun.clear()
            held.go.clear()

    async def test_a_request_that_is_refused_by_another_limit_holds_none(self, guarded: MakeGuarded) -> None:
        app = guarded(FakeModel(), SLOT, REQUESTS)
        assert [(await call(app, body=CHAT, headers=KEY)).status for _ in range(2)] == [200, 429]
        assert (await app.left("sk-test"))["slot"] == 1

    async def test_a_full_house_has_room_as_soon_as_one_leaves(self, guarded: MakeGuarded) -> None:
        held = Held(JSONResponse({}))
        app = guarded(held, {**SLOT, "count": 5})
        running = [asyncio.create_task(call(app, body=CHAT, headers=KEY)) for _ in range(20)]
        refused = [await each for each in islice(asyncio.as_completed(running), 15)]
        assert {answer.status for answer in refused} == {429}
        held.go.set()
        assert [(await task).status for task in running].count(200) == 5
        # No refusal is remembered: any slot may come back at any time.
        assert (await call(app, body=CHAT, headers=KEY)).status == 200

    def test_a_websocket_holds_one_until_it_is_closed(self, guarded: MakeGuarded) -> None:
        with TestClient(guarded(ECHO, SLOT, routes=_ROUTES)) as client:
            with client.websocket_connect("/realtime", headers=KEY) as socket:
                with (
                    pytest.raises(WebSocketDisconnect),
                    client.websocket_connect("/realtime", headers=KEY),
                ):
                    pass
                socket.send_text("hello")
                assert socket.receive_text() == "hello"
            with client.websocket_connect("/realtime", headers=KEY) as socket:
                socket.send_text("again")
                assert socket.receive_text() == "again"


_ROUTES = [
    {"path": "/v1/chat/completions", "methods": ["post"], "dialect": "openai.chat"},
    {"path": "/counted", "action": "count"},
    {"path": "/realtime", "methods": ["websocket"], "action": "count"},
]


class TestOwnUnits:
    def app(self, guarded: MakeGuarded, **more: Any) -> Guarded:
        units = {"credits": {"header": "x-credits", "claim": "credits", "default": 2}}
        return guarded(FakeModel(), CREDITS, units=units, **more)

    async def test_a_trusted_gateway_says_how_much_a_request_has(self, guarded: MakeGuarded) -> None:
        app = self.app(guarded, identity=GATEWAY)
        statuses = [
            (await call(app, body=CHAT, headers={**KEY, "x-credits": amount})).status
            for amount in ("4", "0", "5", "2", "1")
        ]
        assert statuses == [200, 200, 200, 429, 200]
        assert (await app.left("sk-test"))["credits"] == 0

    async def test_where_nobody_says_it_is_the_default(self, guarded: MakeGuarded) -> None:
        app = self.app(guarded, identity=GATEWAY)
        await call(app, body=CHAT, headers=KEY)
        assert (await app.left("sk-test"))["credits"] == 8

    async def test_a_client_is_not_believed(self, guarded: MakeGuarded) -> None:
        app = self.app(guarded)
        await call(app, body=CHAT, headers={**KEY, "x-credits": "0"})
        assert (await app.left("sk-test"))["credits"] == 8

    async def test_a_token_says_it_too(self, guarded: MakeGuarded) -> None:
        secret = "s" * 32
        events: list[Event] = []
        app = self.app(
            guarded, identity={"jwt": {"secret": secret, "algorithms": ["HS256"]}}, hooks=[events.append]
        )
        claims = {"sub": "ann", "exp": int(time.time()) + 600}
        statuses = []
        for amount in (7, 4, 3):
            token = jwt.encode({**claims, "credits": amount}, secret, "HS256")
            answer = await call(app, body=CHAT, headers={"authorization": f"Bearer {token}"})
            statuses.append(answer.status)
        assert statuses == [200, 429, 200]
        assert events[1].limits == ("credits",)

    @pytest.mark.parametrize("amount", ["-1", "1.5", "x", "", "9" * 30])
    async def test_an_amount_that_is_none_is_refused_and_never_forwarded(
        self, guarded: MakeGuarded, amount: str
    ) -> None:
        app = self.app(guarded, identity=GATEWAY)
        answer = await call(app, body=CHAT, headers={**KEY, "x-credits": amount})
        assert 400 <= answer.status < 500
        assert answer.json["error"]["message"]
        assert (await app.left("sk-test"))["credits"] == 10


class TestEndUsers:
    async def statuses(self, app: Guarded, *names: str | None, **headers: str) -> list[int]:
        bodies = [{**CHAT, **({"user": name} if name else {})} for name in names]
        return [(await call(app, body=body, headers={**KEY, **headers})).status for body in bodies]

    async def test_each_has_a_limit_of_its_own(self, guarded: MakeGuarded) -> None:
        app = guarded(FakeModel(), PER_END_USER)
        assert await self.statuses(app, "ann", "ann", "bob", "bob") == [200, 429, 200, 429]

    async def test_a_caller_that_names_nobody_is_held_itself(self, guarded: MakeGuarded) -> None:
        app = guarded(FakeModel(), PER_END_USER)
        assert await self.statuses(app, None, None, "ann", "ann") == [200, 429, 200, 429]

    async def test_nobody_can_use_up_what_another_callers_end_user_has(self, guarded: MakeGuarded) -> None:
        app = guarded(FakeModel(), PER_END_USER)
        assert await self.statuses(app, "ann", "ann", authorization="Bearer sk-mallory") == [200, 429]
        assert await self.statuses(app, "ann") == [200]

    async def test_what_a_trusted_gateway_says_goes_before_what_the_body_says(
        self, guarded: MakeGuarded
    ) -> None:
        identity = {
            "trusted_proxies": ["192.0.2.0/24"],
            "headers": {"user": "x-user", "end_user": "x-end-user"},
        }
        app = guarded(FakeModel(), PER_END_USER, identity=identity)
        gateway = {"x-user": "app", "x-end-user": "ann"}
        assert await self.statuses(app, "ann", "bob", "carl", **gateway) == [200, 429, 429]
        assert await self.statuses(app, "ann", **{**gateway, "x-end-user": "bob"}) == [200]

    async def test_a_limit_of_the_callers_own_still_holds_for_all_of_them(self, guarded: MakeGuarded) -> None:
        app = guarded(FakeModel(), PER_END_USER, {**REQUESTS, "rate": "2/hour"})
        assert await self.statuses(app, "a", "b", "c") == [200, 200, 429]


async def test_the_query_that_is_admitted_is_the_one_that_is_forwarded(guarded: MakeGuarded) -> None:
    """Though its estimate was worked out in between."""
    model = FakeModel()
    await call(guarded(model, REQUESTS), body=CHAT, headers=KEY)
    assert json.loads(model.requests[-1].body) == CHAT
