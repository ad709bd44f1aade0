"""Reasoning that leaves sealed, and what becomes of it when it comes back."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from dialogs import CLIENTS, KEY, Client, objects
from fakes import Guarded, Heard, call, recorded

from guard.analyst.answer_texts import answer_texts
from guard.analyst.request_texts import request_texts
from guard.core.sealed import MismatchReason
from guard.demo.model import FakeModel
from guard.demo.model.wish import REASONING
from guard.sealing.seal import PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Receive, Scope, Send

    MakeGuarded = Callable[..., Guarded]

ORGANIZATION, END_USER, MODEL, PREFIX_OF = list(MismatchReason)[1:]
UNREADABLE = MismatchReason.UNREADABLE
CHAT, RESPONSES, MESSAGES, GEMINI, OLLAMA = CLIENTS
SEALED = {"default": {"reasoning": "sealed"}}
FIRST = "words=4 reasoning=6"
THOUGHT = re.compile(rb"\b(?:%b)\b" % "|".join(REASONING).encode())
BLOB = re.compile(rb"guardsealed1[\w-]+")

each_client = pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
each_way = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])

BY_HEADERS = {
    "trusted_proxies": ["192.0.2.0/24"],
    "headers": {"user": "x-user", "org": "x-org", "end_user": "x-end-user"},
}


def asked(model: FakeModel) -> dict[str, Any]:
    """What the model was asked last, without what guard asks for itself."""
    body: dict[str, Any] = json.loads(model.requests[-1].body)
    body.pop("stream_options", None)
    return body


def gateway(**said: str) -> dict[str, str]:
    return {"x-user": "ann", **{f"x-{name.replace('_', '-')}": value for name, value in said.items()}}


@each_way
@pytest.mark.parametrize(
    ("client", "first"),
    [
        *((client, each) for client in CLIENTS for each in (FIRST, f"{FIRST} tool")),
        *((client, f"{FIRST} inline") for client in (CHAT, OLLAMA)),
    ],
)
class TestRoundTrips:
    async def test_the_backend_gets_its_thoughts_as_without_guard(
        self, guarded: MakeGuarded, client: Client, first: str, *, stream: bool
    ) -> None:
        bare, behind = FakeModel(), FakeModel()
        heard = Heard()
        app = guarded(behind, tiers=SEALED, hooks=[heard])
        seen = []
        for model, door in ((bare, bare), (behind, app)):
            body = client.ask(first)
            for place in range(3):
                turns, answer = await client.say(door, body, stream=stream)
                more = client.result("found it") if "tool" in first and not place else client.user(FIRST)
                body = client.after(body, turns, more)
                if door is app:
                    assert THOUGHT.search(answer.body) is None
                    assert place or BLOB.search(answer.body) is not None
            seen.append(asked(model))
        plain, unsealed = seen
        assert unsealed == plain
        assert THOUGHT.search(json.dumps(plain).encode())
        assert PREFIX not in json.dumps(unsealed)
        assert all(event.mismatches == () for event in heard)


@each_client
class TestMoved:
    """A blob in a request in which it does not belong."""

    async def first(self, app: Guarded, client: Client, **said: str) -> dict[str, Any]:
        body = client.ask(FIRST)
        turns, _ = await client.say(app, body, headers=gateway(**said))
        return client.after(body, turns, client.user("words=3"))

    @pytest.mark.parametrize(
        ("given", "brought", "reason"),
        [
            ({"org": "a"}, {"org": "b"}, ORGANIZATION),
            ({}, {"user": "bob"}, ORGANIZATION),
            ({"org": "a", "end_user": "x"}, {"org": "a", "end_user": "y"}, END_USER),
            ({"org": "a", "end_user": "x"}, {"org": "a"}, END_USER),
            ({"org": "a"}, {"org": "a", "user": "bob"}, None),
        ],
    )
    async def test_between_callers(
        self,
        guarded: MakeGuarded,
        client: Client,
        given: dict[str, str],
        brought: dict[str, str],
        reason: MismatchReason | None,
    ) -> None:
        heard = Heard()
        model = FakeModel()
        app = guarded(model, tiers=SEALED, identity=BY_HEADERS, hooks=[heard])
        body = await self.first(app, client, **given)
        _, answer = await client.say(app, body, headers=gateway(**brought))
        assert answer.status == 200
        assert heard[-1].mismatches == ((reason,) if reason else ())
        assert (THOUGHT.search(model.requests[-1].body) is None) == bool(reason)
        assert PREFIX.encode() not in model.requests[-1].body

    @pytest.mark.parametrize("stream", [False, True])
    async def test_what_was_dropped_is_told_in_the_answer(
        self, guarded: MakeGuarded, client: Client, *, stream: bool
    ) -> None:
        app = guarded(FakeModel(), tiers=SEALED, identity=BY_HEADERS)
        body = await self.first(app, client, org="a")
        _, answer = await client.say(app, body, stream=stream, headers=gateway(org="b"))
        said = list(objects(answer.body)) if stream else [answer.json]
        told = [
            each["input_transformations"]
            for part in said
            for each in (part, part.get("message"), part.get("response"))
            if isinstance(each, dict) and "input_transformations" in each
        ]
        path = {
            CHAT: "messages.1.reasoning_details.0",
            RESPONSES: "input.1",
            MESSAGES: "messages.1.content.0",
            GEMINI: "contents.1.parts.0",
            OLLAMA: "messages.1.thinking",
        }[client]
        assert told[0] == [
            {"type": "thinking_dropped", "path": path, "reason": "organization_binding_mismatch"}
        ]
        assert len(told) == 1 or (client, stream) == (RESPONSES, True)

    async def test_to_another_model(self, guarded: MakeGuarded, client: Client) -> None:
        heard = Heard()
        app = guarded(FakeModel(), tiers=SEALED, identity=BY_HEADERS, hooks=[heard])
        body = await self.first(app, client)
        other = replace(client, path=client.path.replace("models/m:", "models/n:"))
        if "model" in body:
            body["model"] = "n"
        await other.say(app, body, headers=gateway())
        assert heard[-1].mismatches == (MODEL,)

    async def test_behind_another_beginning(self, guarded: MakeGuarded, client: Client) -> None:
        heard = Heard()
        model = FakeModel()
        app = guarded(model, tiers=SEALED, identity=BY_HEADERS, hooks=[heard])
        body = await self.first(app, client)
        body[client.history][0] = client.user("something else")
        _, answer = await client.say(app, body, headers=gateway())
        assert (answer.status, heard[-1].mismatches) == (200, (PREFIX_OF,))
        assert THOUGHT.search(model.requests[-1].body) is None

    async def test_behind_other_tools(self, guarded: MakeGuarded, client: Client) -> None:
        heard = Heard()
        app = guarded(FakeModel(), tiers=SEALED, identity=BY_HEADERS, hooks=[heard])
        body = await self.first(app, client)
        del body["tools"]
        await client.say(app, body, headers=gateway())
        assert heard[-1].mismatches == (PREFIX_OF,)

    async def test_damaged(self, guarded: MakeGuarded, client: Client) -> None:
        heard = Heard()
        model = FakeModel()
        app = guarded(model, tiers=SEALED, identity=BY_HEADERS, hooks=[heard])
        body = await self.first(app, client)
        broken = json.loads(BLOB.sub(lambda blob: blob[0][:-9] + b"AAAAAAAA" + blob[0][-1:], dump(body)))
        _, answer = await client.say(app, broken, headers=gateway())
        assert (answer.status, heard[-1].mismatches) == (200, (UNREADABLE,))
        assert PREFIX.encode() not in model.requests[-1].body

    async def test_with_report_the_thought_goes_on(self, guarded: MakeGuarded, client: Client) -> None:
        heard = Heard()
        model = FakeModel()
        app = guarded(
            model, tiers=SEALED, identity=BY_HEADERS, hooks=[heard], reasoning={"mismatch": "report"}
        )
        body = await self.first(app, client, org="a")
        _, answer = await client.say(app, body, headers=gateway(org="b"))
        assert heard[-1].mismatches == (ORGANIZATION,)
        assert THOUGHT.search(model.requests[-1].body) is not None
        assert b"input_transformations" not in answer.body

    async def test_with_error_the_request_is_refused(self, guarded: MakeGuarded, client: Client) -> None:
        heard = Heard()
        model = FakeModel()
        app = guarded(
            model, tiers=SEALED, identity=BY_HEADERS, hooks=[heard], reasoning={"mismatch": "error"}
        )
        body = await self.first(app, client, org="a")
        _, answer = await client.say(app, body, headers=gateway(org="b"))
        assert answer.status == 400
        assert "organization_binding_mismatch" in json.dumps(answer.json["error"])
        assert heard[-1].mismatches == (ORGANIZATION,)
        assert len(model.requests) == 1

    async def test_organisations_that_are_named_are_taken_too(
        self, guarded: MakeGuarded, client: Client
    ) -> None:
        heard = Heard()
        model = FakeModel()
        app = guarded(model, tiers=SEALED, identity=BY_HEADERS, hooks=[heard], reasoning={"also": ["a"]})
        body = await self.first(app, client, org="a")
        await client.say(app, body, headers=gateway(org="b"))
        assert heard[-1].mismatches == ()
        assert THOUGHT.search(model.requests[-1].body) is not None


def dump(body: dict[str, Any]) -> bytes:
    return json.dumps(body).encode()


async def after_first(app: Guarded, client: Client = CHAT, first: str = FIRST) -> dict[str, Any]:
    body = client.ask(first)
    turns, _ = await client.say(app, body)
    return client.after(body, turns, client.user("words=3"))


async def test_who_has_no_key_may_change_its_address(guarded: MakeGuarded) -> None:
    heard = Heard()
    app = guarded(FakeModel(), tiers=SEALED, hooks=[heard])
    body = CHAT.ask(FIRST)
    answer = await call(app, body=body, client="192.0.2.1")
    body = CHAT.after(body, CHAT.answered(answer.json), CHAT.user("on"))
    await call(app, body=body, client="198.51.100.7")
    await call(app, body=body, headers=KEY)
    assert [event.mismatches for event in heard] == [(), (), (ORGANIZATION,)]


class TestSecrets:
    OLD = "an old secret of enough length"
    NEW = "a new secret of enough length"

    @pytest.mark.parametrize(
        ("before", "after", "opens"),
        [
            ({}, {}, True),
            ({"secret": OLD}, {"secret": OLD}, True),
            ({"secret": OLD}, {"secret": NEW, "old_secret": OLD}, True),
            ({"secret": OLD}, {"old_secret": OLD}, True),
            ({"secret": OLD}, {"secret": NEW}, False),
            ({}, {"secret": NEW}, False),
        ],
    )
    async def test_a_blob_of_another_worker(
        self, guarded: MakeGuarded, before: dict[str, str], after: dict[str, str], *, opens: bool
    ) -> None:
        model = FakeModel()
        body = await after_first(guarded(FakeModel(), tiers=SEALED, reasoning=before))
        await CHAT.say(guarded(model, tiers=SEALED, reasoning=after), body)
        assert (THOUGHT.search(model.requests[-1].body) is not None) == opens

    async def test_the_new_one_seals(self, guarded: MakeGuarded) -> None:
        rotated = {"secret": self.NEW, "old_secret": self.OLD}
        body = await after_first(guarded(FakeModel(), tiers=SEALED, reasoning=rotated))
        model = FakeModel()
        await CHAT.say(guarded(model, tiers=SEALED, reasoning={"secret": self.NEW}), body)
        assert THOUGHT.search(model.requests[-1].body)


class TestCameBackChanged:
    async def test_in_white_space(self, guarded: MakeGuarded) -> None:
        model = FakeModel()
        app = guarded(model, tiers=SEALED)
        body = await after_first(app)
        details = body["messages"][1]["reasoning_details"][0]
        blob = details["data"]
        details["data"] = f" {blob[:40]}\n{blob[40:90]}\r\n {blob[90:]}\t"
        await CHAT.say(app, body)
        assert THOUGHT.search(model.requests[-1].body)

    async def test_in_the_field_of_the_backend(self, guarded: MakeGuarded) -> None:
        model = FakeModel()
        app = guarded(model, tiers=SEALED)
        body = await after_first(app)
        message = body["messages"][1]
        message["reasoning_content"] = message.pop("reasoning_details")[0]["data"]
        await CHAT.say(app, body)
        assert (
            asked(model)["messages"][1]["reasoning_content"] == "first consider because therefore hence first"
        )

    async def test_in_what_means_nothing(self, guarded: MakeGuarded) -> None:
        """Other order and null fields, text as parts, marks for a cache, no reasoning of older turns."""
        heard = Heard()
        app = guarded(FakeModel(), tiers=SEALED, hooks=[heard])
        body = await after_first(app, MESSAGES)
        body["messages"][2] = MESSAGES.user(FIRST)
        turns, _ = await MESSAGES.say(app, body)
        body = MESSAGES.after(body, turns, MESSAGES.user("on"))
        (old, text), new = body["messages"][1]["content"], body["messages"][3]
        assert old["type"] == "redacted_thinking"
        body["messages"][0]["content"] = [
            {"text": FIRST, "type": "text", "cache_control": {"type": "ephemeral"}}
        ]
        body["messages"][1]["content"] = [{**text, "citations": None}]
        assert new["content"][0]["type"] == "redacted_thinking"
        await MESSAGES.say(app, body)
        assert heard[-1].mismatches == ()

    async def test_twice_in_one_turn_is_as_the_client_has_it(self, guarded: MakeGuarded) -> None:
        model = FakeModel()
        app = guarded(model, tiers=SEALED)
        body = await after_first(app, MESSAGES)
        content = body["messages"][1]["content"]
        content.insert(0, content[0])
        await MESSAGES.say(app, body)
        first, second, _ = asked(model)["messages"][1]["content"]
        assert first == second
        assert first["type"] == "thinking"

    async def test_once_more_in_a_later_turn(self, guarded: MakeGuarded) -> None:
        heard = Heard()
        model = FakeModel()
        app = guarded(model, tiers=SEALED, hooks=[heard])
        body = await after_first(app)
        again = CHAT.after(body, [body["messages"][1]], CHAT.user("on"))
        await CHAT.say(app, again)
        assert heard[-1].mismatches == (PREFIX_OF,)
        _, first, _, second, _ = asked(model)["messages"]
        assert "reasoning_content" in first
        assert "reasoning_content" not in second

    async def test_in_another_conversation_of_the_same_caller(self, guarded: MakeGuarded) -> None:
        heard = Heard()
        app = guarded(FakeModel(), tiers=SEALED, hooks=[heard])
        body = await after_first(app)
        other = await after_first(app, first=f"{FIRST} other")
        other["messages"][1] = body["messages"][1]
        await CHAT.say(app, other)
        assert heard[-1].mismatches == (PREFIX_OF,)

    async def test_by_another_api(self, guarded: MakeGuarded) -> None:
        heard = Heard()
        model = FakeModel()
        app = guarded(model, tiers=SEALED, hooks=[heard])
        blob = (await after_first(app))["messages"][1]["reasoning_details"][0]["data"]
        body = await after_first(app, OLLAMA)
        body["messages"][1]["thinking"] = blob
        await OLLAMA.say(app, body)
        assert heard[-1].mismatches == (UNREADABLE,)
        assert "thinking" not in asked(model)["messages"][1]

    async def test_in_a_text_it_is_text(self, guarded: MakeGuarded) -> None:
        model = FakeModel()
        app = guarded(model, tiers=SEALED)
        blob = (await after_first(app))["messages"][1]["reasoning_details"][0]["data"]
        body = CHAT.ask(f"what is {blob}?")
        await CHAT.say(app, body)
        assert model.requests[-1].body == dump(body)


class TestOtherTurns:
    @pytest.mark.parametrize("client", [RESPONSES, MESSAGES, GEMINI])
    @each_way
    async def test_tags_without_a_place_are_hidden(
        self, guarded: MakeGuarded, client: Client, *, stream: bool
    ) -> None:
        app = guarded(FakeModel(), tiers=SEALED)
        _, answer = await client.say(app, client.ask(f"{FIRST} inline"), stream=stream)
        assert THOUGHT.search(answer.body) is None
        assert PREFIX.encode() not in answer.body

    async def test_each_of_several_answers_has_its_own(self, guarded: MakeGuarded) -> None:
        model = FakeModel()
        app = guarded(model, tiers=SEALED)
        body = CHAT.ask(FIRST)
        for stream in (False, True):
            answer = await call(
                app,
                CHAT.path,
                {**body, "n": 3, "stream": stream},
                headers={"authorization": "Bearer sk-test"},
            )
            assert len(set(BLOB.findall(answer.body))) in (1, 3)
            assert len(BLOB.findall(answer.body)) == 3

    @pytest.mark.parametrize(
        "fields", [{"reasoning": "a", "reasoning_content": "b"}, {"reasoning": "x\ud83d"}]
    )
    @each_way
    async def test_fields_keep_their_names(
        self, guarded: MakeGuarded, fields: dict[str, str], *, stream: bool
    ) -> None:
        seen = []

        async def model(scope: Scope, receive: Receive, send: Send) -> None:
            seen.append(json.loads((await receive())["body"]))
            message = {"role": "assistant", "content": "hi", **fields}
            choice = {"index": 0, "finish_reason": "stop", "delta" if stream else "message": message}
            answer = {"object": "x", "choices": [choice]}
            kind = b"text/event-stream" if stream else b"application/json"
            text = f"data: {json.dumps(answer)}\n\n" if stream else json.dumps(answer)
            start = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]}
            await send(start)
            await send({"type": "http.response.body", "body": text.encode()})

        app = guarded(model, tiers=SEALED)
        body = CHAT.ask("hi")
        turns, _ = await CHAT.say(app, body, stream=stream)
        await CHAT.say(app, CHAT.after(body, turns, CHAT.user("on")), stream=stream)
        sent = {name: value.replace("\ud83d", "?") for name, value in fields.items()}
        assert sent.items() <= seen[-1]["messages"][1].items()

    async def test_calls_between_thoughts_each_have_theirs(self, guarded: MakeGuarded) -> None:
        """Several blocks of thinking in one message, with calls and texts between them."""
        content = [
            {"type": "thinking", "thinking": "SECRET one", "signature": "s1"},
            {"type": "tool_use", "id": "t1", "name": "look", "input": {}},
            {"type": "redacted_thinking", "data": "opaque"},
            {"type": "thinking", "thinking": "", "signature": "s2"},
            {"type": "text", "text": "so"},
        ]
        seen = []

        async def model(scope: Scope, receive: Receive, send: Send) -> None:
            seen.append(json.loads((await receive())["body"]))
            answer = {"type": "message", "role": "assistant", "content": content}
            headers = [(b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": json.dumps(answer).encode()})

        app = guarded(model, tiers=SEALED)
        body = MESSAGES.ask("hi")
        turns, answer = await MESSAGES.say(app, body)
        assert b"SECRET" not in answer.body
        assert [block["type"] for block in turns[0]["content"]] == [
            *("redacted_thinking", "tool_use", "redacted_thinking", "redacted_thinking", "text")
        ]
        await MESSAGES.say(app, MESSAGES.after(body, turns, MESSAGES.result("found")))
        assert seen[-1]["messages"][1]["content"] == content

    async def test_an_answer_that_is_cut_off_shows_nothing(self, guarded: MakeGuarded) -> None:
        async def model(scope: Scope, receive: Receive, send: Send) -> None:
            headers = [(b"content-type", b"text/event-stream")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            chunk = {"choices": [{"index": 0, "delta": {"reasoning": "SECRET"}, "finish_reason": None}]}
            text = f"data: {json.dumps(chunk)}\n\n"
            await send({"type": "http.response.body", "body": text.encode(), "more_body": True})
            await send({"type": "http.response.body", "body": text.encode()[:40]})

        answer = await call(guarded(model, tiers=SEALED), body=CHAT.ask("hi"), headers=KEY)
        assert answer.ended
        assert b"SECRET" not in answer.body
        assert b"guardsealed1" not in answer.body

    @pytest.mark.parametrize(
        ("path", "body"),
        [
            ("/v1/completions", {"model": "m", "prompt": f"{FIRST} inline"}),
            ("/api/generate", {"model": "m", "prompt": FIRST, "stream": False}),
        ],
    )
    async def test_without_a_place_it_is_hidden(
        self, guarded: MakeGuarded, path: str, body: dict[str, Any]
    ) -> None:
        answer = await call(guarded(FakeModel(), tiers=SEALED), path, body, headers=KEY)
        assert answer.status == 200
        assert THOUGHT.search(answer.body) is None
        assert PREFIX.encode() not in answer.body


class TestErrors:
    """A backend may quote what it was sent."""

    @pytest.mark.parametrize(
        ("quote", "passes"),
        [
            (lambda _: json.dumps({"error": "max_tokens is too large: 9999 > 2048"}), True),
            (lambda body: json.dumps({"error": repr(body)}), False),
            (lambda body: str(body)[:150] + "…", True),
            (lambda body: json.dumps({"error": json.dumps(json.dumps(body))}), False),
            (lambda body: json.dumps(body).replace("e", "\\u0065"), False),
            (lambda _: "x" * 100_000, False),
        ],
    )
    async def test_one_that_quotes_a_thought_is_not_passed_on(
        self, guarded: MakeGuarded, quote: Callable[[Any], str], *, passes: bool
    ) -> None:
        model = FakeModel()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            if not model.requests:
                await model(scope, receive, send)
                return
            body = json.loads((await receive())["body"])
            headers = [(b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": 422, "headers": headers})
            await send({"type": "http.response.body", "body": quote(body).encode()})

        heard = Heard()
        app_behind = guarded(app, tiers=SEALED, hooks=[heard])
        body = await after_first(app_behind)
        answer = await call(app_behind, body=body, headers=KEY)
        assert answer.status == 422
        assert THOUGHT.search(answer.body.replace(b"\\u0065", b"e")) is None
        assert (b"not passed on" not in answer.body) == passes
        assert answer.headers["content-length"] == str(len(answer.body))
        assert len(answer.starts) == 1

    async def test_of_one_in_place_of_the_backends_nothing_is_feared(
        self, guarded: MakeGuarded, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("guard.asgi.thoughts.MOST_THOUGHT", 1)
        app = guarded(FakeModel(), tiers=SEALED)
        body = CHAT.after(await after_first(app), [], CHAT.user("fail=500"))
        answer = await call(app, body=body, headers=KEY)
        assert (answer.status, answer.json["error"]["code"]) == (500, "backend_failed")
        assert answer.ended

    async def test_one_that_cannot_be_decoded_is_not_passed_on(self, guarded: MakeGuarded) -> None:
        model = FakeModel()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            if not model.requests:
                await model(scope, receive, send)
                return
            headers = [(b"content-type", b"application/json"), (b"content-encoding", b"br")]
            await send({"type": "http.response.start", "status": 400, "headers": headers})
            await send({"type": "http.response.body", "body": b"SECRET"})

        app_behind = guarded(app, tiers=SEALED)
        body = await after_first(app_behind)
        answer = await call(app_behind, body=body, headers=KEY)
        assert (answer.status, answer.json["error"]["code"]) == (400, "backend_failed")
        assert "content-encoding" not in answer.headers


class TestBodies:
    async def test_one_without_a_blob_goes_on_byte_for_byte(self, guarded: MakeGuarded) -> None:
        model = FakeModel()
        body = b'{"model":  "m", "messages": [{"role": "user", "content": "caf\\u00e9"}]}'
        await call(guarded(model, tiers=SEALED), body=body, headers=KEY)
        assert model.requests[-1].body == body

    async def test_a_thought_counts_as_input(self, guarded: MakeGuarded) -> None:
        tokens = {"name": "tokens", "unit": "input_tokens", "rate": "100000/hour"}
        tiers = {"default": {"reasoning": "sealed", "limits": [tokens]}}
        app = guarded(FakeModel(), tiers=tiers)
        body = await after_first(app, first="words=4 reasoning=900 nousage")
        body["messages"][-1]["content"] += " nousage"
        before = (await app.left("sk-test"))["tokens"]
        await CHAT.say(app, body)
        assert before - (await app.left("sk-test"))["tokens"] > 900

    async def test_what_is_opened_is_no_larger_than_what_came(self, guarded: MakeGuarded) -> None:
        model = FakeModel()
        app = guarded(model, tiers=SEALED)
        body = await after_first(app, first="words=4 reasoning=2000")
        await CHAT.say(app, body)
        assert len(model.requests[-1].body) < len(dump(body))

    async def test_usage_is_that_of_the_backend(self, guarded: MakeGuarded) -> None:
        _, answer = await CHAT.say(guarded(FakeModel(), tiers=SEALED), CHAT.ask(FIRST))
        assert answer.json["usage"]["completion_tokens"] == 10


class TestSettings:
    async def test_a_band_of_the_ladder_seals(self, guarded: MakeGuarded) -> None:
        app = guarded(FakeModel(), ladder={"high": {"reasoning": "sealed"}})
        rung = app.settings.policy().tiers["default"].ladder.rungs
        assert [each.reshape.reasoning for each in rung.values()] == ["shown", "sealed", "shown"]

    async def test_in_mode_shadow_reasoning_is_shown(self, guarded: MakeGuarded) -> None:
        app = guarded(FakeModel(), tiers=SEALED, mode="shadow")
        _, answer = await CHAT.say(app, CHAT.ask(FIRST))
        assert THOUGHT.search(answer.body)

    async def test_what_was_sealed_once_opens_where_it_is_shown(self, guarded: MakeGuarded) -> None:
        body = await after_first(guarded(FakeModel(), tiers=SEALED))
        model = FakeModel()
        await CHAT.say(guarded(model), body)
        assert THOUGHT.search(model.requests[-1].body)

    async def test_of_hidden_and_sealed_the_narrower_holds(
        self, guarded: MakeGuarded, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        app = guarded(FakeModel(), tiers={"default": {"reasoning": "hidden"}})
        _, answer = await CHAT.say(app, CHAT.ask(FIRST))
        assert THOUGHT.search(answer.body) is None
        assert PREFIX.encode() not in answer.body


async def test_nothing_of_a_thought_is_logged(guarded: MakeGuarded, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    app = guarded(FakeModel(), tiers=SEALED, identity=BY_HEADERS)
    body = CHAT.ask(FIRST)
    turns, _ = await CHAT.say(app, body, headers=gateway(org="a"))
    await CHAT.say(app, CHAT.after(body, turns, CHAT.user("on")), headers=gateway(org="b"))
    assert "organization_binding_mismatch" in caplog.text
    assert THOUGHT.search(caplog.text.encode()) is None
    assert PREFIX not in caplog.text


@each_client
@each_way
async def test_who_reads_queries_and_answers_sees_neither_thoughts_nor_blobs(
    guarded: MakeGuarded, client: Client, *, stream: bool
) -> None:
    limit = {"name": "diversity", "unit": "novelty", "rate": "100/day"}
    app = guarded(FakeModel(), tiers={"default": {"reasoning": "sealed", "limits": [limit]}})
    recorder = await recorded(app)
    body = client.ask("words=400 reasoning=600")
    turns, _ = await client.say(app, body, stream=stream)
    await client.say(app, client.after(body, turns, client.user("words=3 reasoning=9")), stream=stream)
    service = await app.middleware._opened()
    await service.engine.drain()
    for copies in recorder.taken:
        said = answer_texts(copies.answer or b"", copies.content_type, copies.codings)
        texts = [*said.answers, *(each.text for each in request_texts(json.loads(copies.body)))]
        assert texts
        assert not any(PREFIX in text or THOUGHT.search(text.encode()) for text in texts)
        assert said.opaque_tokens == 0
    assert len(recorder.taken) == 2
