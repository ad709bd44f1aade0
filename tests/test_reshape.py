"""Requests that are forwarded narrowed, and what becomes of their answers."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from fakes import Answer, Guarded, call
from starlette.responses import JSONResponse, Response, StreamingResponse

from guard.asgi.exchange import prepare, reshaped
from guard.core.decision import Decision
from guard.core.reshape import UNCHANGED, Reasoning, Reshape
from guard.demo.model import FakeModel
from guard.dialects import DIALECTS
from guard.errors import BackendError, QueryError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from starlette.types import ASGIApp, Receive, Scope, Send

    MakeGuarded = Callable[..., Guarded]
    Narrow = Callable[[Reshape], None]

KEY = {"authorization": "Bearer sk-test"}
TOKENS = {"name": "tokens", "unit": "tokens", "rate": "100000/hour"}
CHAT_PATH = "/v1/chat/completions"
NARROW = Reshape(logprobs=False, logit_bias=False, max_n=1, max_output_tokens=50, reasoning=Reasoning.HIDDEN)


def chat(text: str, **fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text}], **fields}


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> Narrow:
    """Have every request that is admitted from now on forwarded like this."""

    def start(reshape: Reshape) -> None:
        monkeypatch.setattr(Decision, "reshape", property(lambda _: reshape))

    return start


class TestRequests:
    DIALECT = DIALECTS["openai.chat"]

    def test_the_body_and_the_query_are_those_of_the_narrowed_payload(self) -> None:
        body = json.dumps(chat("hi", n=8, max_tokens=900, logprobs=True, stream=True)).encode()
        prepared = prepare(self.DIALECT, [body], CHAT_PATH)
        narrowed = reshaped(self.DIALECT, prepared, CHAT_PATH, NARROW)
        assert json.loads(narrowed.body) == chat(
            "hi", n=1, max_tokens=50, stream=True, stream_options={"include_usage": True}
        )
        assert narrowed.hides_usage
        assert (narrowed.query.n, narrowed.query.max_output_tokens) == (1, 50)
        assert not narrowed.query.sampling.logprobs
        assert narrowed.query.turns == prepared.query.turns

    @pytest.mark.parametrize("reshape", [UNCHANGED, Reshape(max_n=1), Reshape(logprobs=False)])
    def test_one_that_asks_for_no_more_is_not_touched(self, reshape: Reshape) -> None:
        prepared = prepare(
            self.DIALECT, [b'{"model": "m",  ', b'"messages": [{"role":"user","content":"hi"}]}'], CHAT_PATH
        )
        assert reshaped(self.DIALECT, prepared, CHAT_PATH, reshape) is prepared

    async def test_the_backend_gets_the_narrowed_body_with_its_length(
        self, guarded: MakeGuarded, narrow: Narrow
    ) -> None:
        narrow(NARROW)
        model = FakeModel()
        answer = await call(guarded(model, TOKENS), body=chat("words=99", n=3), headers=KEY)
        (seen,) = model.requests
        assert json.loads(seen.body) == chat("words=99", n=1, max_completion_tokens=50)
        assert dict(seen.headers)[b"content-length"] == str(len(seen.body)).encode()
        assert len(answer.json["choices"]) == 1
        assert answer.json["usage"]["completion_tokens"] == 50

    async def test_one_that_cannot_be_narrowed_gives_back_what_was_reserved(
        self, guarded: MakeGuarded, narrow: Narrow, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*arguments: object) -> None:
            raise QueryError("no")

        narrow(NARROW)
        monkeypatch.setattr(type(self.DIALECT), "reshape", fail)
        app = guarded(FakeModel(), TOKENS)
        answer = await call(app, body=chat("hi"), headers=KEY)
        assert answer.status == 400
        assert (await app.left("sk-test"))["tokens"] == 100_000


def shown(answer: Answer) -> dict[str, Any]:
    """The message of an answer in one piece, whose length is as it says."""
    assert answer.headers["content-length"] == str(len(answer.body))
    message: dict[str, Any] = answer.json["choices"][0]["message"]
    return message


class TestAnswers:
    async def test_reasoning_and_logprobs_are_gone_and_paid_for(
        self, guarded: MakeGuarded, narrow: Narrow
    ) -> None:
        narrow(Reshape(reasoning=Reasoning.HIDDEN))
        app = guarded(FakeModel(), TOKENS)
        answer = await call(app, body=chat("hi words=7 reasoning=40 logprobs"), headers=KEY)
        assert shown(answer).keys() == {"role", "content"}
        assert answer.json["choices"][0]["logprobs"] is None
        assert answer.json["usage"]["completion_tokens_details"]["reasoning_tokens"] == 40
        assert (await app.left("sk-test"))["tokens"] == 100_000 - (4 + 3 + 47)
        assert len(answer.starts) == 1
        assert answer.ended

    @pytest.mark.parametrize("reasoning", [Reasoning.HIDDEN, Reasoning.SEALED])
    @pytest.mark.parametrize(
        ("method", "below"), [("GET", ""), ("GET", "/input_items"), ("POST", "/cancel"), ("DELETE", "")]
    )
    async def test_a_response_that_is_read_again_tells_no_more(
        self, guarded: MakeGuarded, narrow: Narrow, method: str, below: str, reasoning: Reasoning
    ) -> None:
        thought = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hence"}]}
        stored = {"id": "resp_1", "usage": {"output_tokens": 9}, "output": [thought], "data": [thought]}

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await JSONResponse(stored)(scope, receive, send)

        narrow(Reshape(reasoning=reasoning))
        front = guarded(app, TOKENS)
        answer = await call(front, path=f"/v1/responses/resp_1{below}", method=method, headers=KEY)
        hidden = {"type": "reasoning", "summary": []}
        assert answer.json == {**stored, "output": [hidden], "data": [hidden]}
        assert (await front.left("sk-test"))["tokens"] == 100_000

    async def test_a_response_that_is_streamed_again_tells_no_more(
        self, guarded: MakeGuarded, narrow: Narrow
    ) -> None:
        events = [
            {"type": "response.reasoning_text.delta", "delta": "hence"},
            {"type": "response.output_text.delta", "delta": "so"},
        ]

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            parts = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
            await Response(parts, media_type="text/event-stream")(scope, receive, send)

        narrow(Reshape(reasoning=Reasoning.HIDDEN))
        answer = await call(guarded(app, TOKENS), path="/v1/responses/resp_1", method="GET", headers=KEY)
        assert "so" in answer.body.decode()
        assert "hence" not in answer.body.decode()

    async def test_logprobs_alone(self, guarded: MakeGuarded, narrow: Narrow) -> None:
        narrow(Reshape(logprobs=False))
        answer = await call(guarded(FakeModel(), TOKENS), body=chat("reasoning=3 logprobs"), headers=KEY)
        assert shown(answer)["reasoning_content"] == "first consider because"
        assert answer.json["choices"][0]["logprobs"] is None

    async def test_nothing_is_held_where_nothing_is_hidden(
        self, guarded: MakeGuarded, narrow: Narrow
    ) -> None:
        narrow(Reshape(max_n=1))
        answer = await call(guarded(FakeModel(), TOKENS), body=chat("reasoning=3 words=2"), headers=KEY)
        assert shown(answer)["reasoning_content"] == "first consider because"

    async def test_a_stream_goes_on_part_by_part(self, guarded: MakeGuarded, narrow: Narrow) -> None:
        narrow(Reshape(reasoning=Reasoning.HIDDEN))
        app = guarded(FakeModel(), TOKENS)
        body = chat("hi words=7 reasoning=9 inline", stream=True)
        answer = await call(app, body=body, headers=KEY)
        assert b"first" not in answer.body
        assert len(answer.chunks) > 7
        assert answer.chunks[-1] == b"data: [DONE]\n\n"
        assert (await app.left("sk-test"))["tokens"] == 100_000 - (4 + 3 + 16)

    async def test_an_error_of_the_backend_passes_as_it_is(
        self, guarded: MakeGuarded, narrow: Narrow
    ) -> None:
        narrow(Reshape(reasoning=Reasoning.HIDDEN))
        answer = await call(guarded(FakeModel(), TOKENS), body=chat("fail=500"), headers=KEY)
        assert answer.status == 500
        assert answer.json["error"]["message"] == "failed as asked"


SECRET = {"choices": [{"message": {"content": "b", "reasoning": "SECRET"}}]}


async def encoded(scope: Scope, receive: Receive, send: Send) -> None:
    headers = {"content-encoding": "br", "content-type": "application/json"}
    await Response(b"\x0b\x02\x80SECRET\x03", headers=headers)(scope, receive, send)


async def encoded_stream(scope: Scope, receive: Receive, send: Send) -> None:
    headers = {"content-encoding": "gzip, br", "content-type": "text/event-stream"}
    await Response(b"\x0b\x02\x80SECRET\x03", headers=headers)(scope, receive, send)


async def broken_gzip(scope: Scope, receive: Receive, send: Send) -> None:
    headers = {"content-encoding": "gzip", "content-type": "application/json"}
    await Response(gzip.compress(json.dumps(SECRET).encode())[:20] + b"SECRET", headers=headers)(
        scope, receive, send
    )


async def not_json(scope: Scope, receive: Receive, send: Send) -> None:
    await Response("SECRET", media_type="text/plain")(scope, receive, send)


async def endless(scope: Scope, receive: Receive, send: Send) -> None:
    async def body() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"SECRET  " * (1 << 17)

    await StreamingResponse(body(), media_type="application/json")(scope, receive, send)


async def broken(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"900")]})
    await send({"type": "http.response.body", "body": b'{"choices": "SECRET', "more_body": True})
    raise BackendError("The model cannot be reached.")


async def stubborn(scope: Scope, receive: Receive, send: Send) -> None:
    """An app that tells nobody of an error, and sends its own page instead."""
    try:
        await not_json(scope, receive, send)
    except BackendError:
        await JSONResponse({"mine": True}, 500)(scope, receive, send)


class TestAnswersThatCannotBeLookedThrough:
    @pytest.mark.parametrize("app", [encoded, encoded_stream, broken_gzip, not_json, endless, broken])
    async def test_the_client_gets_an_error_of_its_api_in_their_place(
        self, guarded: MakeGuarded, narrow: Narrow, app: ASGIApp
    ) -> None:
        narrow(Reshape(reasoning=Reasoning.HIDDEN))
        answer = await call(guarded(app, TOKENS), body=chat("hi"), headers=KEY)
        assert answer.status == 502
        assert answer.json["error"]["code"] == "backend_failed"
        assert answer.headers["content-type"] == "application/json"
        assert "content-encoding" not in answer.headers
        assert len(answer.starts) == 1
        assert answer.ended

    async def test_a_stream_with_a_part_that_is_too_large_breaks_off(
        self, guarded: MakeGuarded, narrow: Narrow
    ) -> None:
        async def events(scope: Scope, receive: Receive, send: Send) -> None:
            async def body() -> AsyncIterator[bytes]:
                yield b'data: {"choices": []}\n\ndata: '
                for _ in range(17):
                    yield b"SECRET  " * (1 << 17)

            await StreamingResponse(body(), media_type="text/event-stream")(scope, receive, send)

        narrow(Reshape(reasoning=Reasoning.HIDDEN))
        app = guarded(events, TOKENS)
        answer = await call(app, body=chat("hi"), headers=KEY)
        assert not answer.ended
        assert b"SECRET" not in answer.body
        assert (await app.left("sk-test"))["tokens"] == 0

    @pytest.mark.parametrize("content_type", ["application/json", "text/event-stream"])
    @pytest.mark.parametrize("coding", ["gzip", "X-GZip", "deflate", "gzip, deflate", "identity"])
    async def test_m3_what_can_be_decoded_is_looked_through_and_goes_on_decoded(
        self, guarded: MakeGuarded, narrow: Narrow, content_type: str, coding: str
    ) -> None:
        data = json.dumps(SECRET).encode()
        if content_type == "text/event-stream":
            data = b"data: " + data + b"\n\n"
        for name in coding.lower().split(", "):
            if name != "identity":
                data = zlib.compress(data) if name == "deflate" else gzip.compress(data)
        narrow(Reshape(reasoning=Reasoning.HIDDEN))
        app = Response(data, headers={"content-encoding": coding, "content-type": content_type})
        answer = await call(guarded(app, TOKENS), body=chat("hi"), headers=KEY)
        assert answer.status == 200
        assert b'"content":"b"' in answer.body
        assert b"SECRET" not in answer.body
        if coding != "identity":
            assert "content-encoding" not in answer.headers

    async def test_an_app_may_have_an_error_of_its_own(self, guarded: MakeGuarded, narrow: Narrow) -> None:
        narrow(Reshape(reasoning=Reasoning.HIDDEN))
        answer = await call(guarded(stubborn, TOKENS), body=chat("hi"), headers=KEY)
        assert (answer.status, answer.json) == (500, {"mine": True})

    async def test_what_the_backend_has_done_is_charged(self, guarded: MakeGuarded, narrow: Narrow) -> None:
        narrow(Reshape(reasoning=Reasoning.HIDDEN))
        app = guarded(endless, TOKENS)
        await call(app, body=chat("hi"), headers=KEY)
        assert (await app.left("sk-test"))["tokens"] == 0

    async def test_a_client_that_leaves_while_an_answer_is_held_pays_for_what_there_is(
        self, guarded: MakeGuarded, narrow: Narrow
    ) -> None:
        async def leaving(scope: Scope, receive: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"x" * 400, "more_body": True})

        narrow(Reshape(reasoning=Reasoning.HIDDEN))
        app = guarded(leaving, TOKENS)
        answer = await call(app, body=chat("hi"), headers=KEY)
        assert answer.messages == []
        assert (await app.left("sk-test"))["tokens"] == 100_000 - (1 + 4 + 100)
