"""What is booked for an answer, whatever the backend says of it and however it says it."""

from __future__ import annotations

import gzip
import json
import secrets
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from fakes import Answer, Guarded, call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from starlette.types import ASGIApp, Receive, Scope, Send

    from guard.telemetry.events import Event

    MakeGuarded = Callable[..., Guarded]

EVENTS = "text/event-stream"
LINES = "application/x-ndjson"
JSON = "application/json"

CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"
COMPLETIONS = "/v1/completions"
EMBEDDINGS = "/v1/embeddings"
MESSAGES = "/v1/messages"
GEMINI = "/v1beta/models/m:streamGenerateContent"
OLLAMA = "/api/chat"

USER = {"messages": [{"role": "user", "content": "one two three"}]}
BODIES: dict[str, dict[str, Any]] = {
    CHAT: {"model": "m", "stream": True, **USER},
    RESPONSES: {"model": "m", "stream": True, "input": "one two three"},
    COMPLETIONS: {"model": "m", "stream": True, "prompt": "one two three"},
    EMBEDDINGS: {"model": "m", "input": "one two three"},
    MESSAGES: {"model": "m", "stream": True, "max_tokens": 9000, **USER},
    GEMINI: {"contents": [{"parts": [{"text": "one two three"}]}]},
    OLLAMA: {"model": "m", **USER},
}
COST = {"name": "cost", "unit": "cost", "rate": "1000000000/hour"}
PRICES = {
    "m": {"input": 10, "cached_input": 1, "cache_write": 12.5, "cache_write_1h": 20, "output": 30},
    "dear": {"input": 100, "output": 300},
    "cheap": {"input": 1, "output": 1},
}
WORDS = " ".join(f"word{number}" for number in range(300))


class Backend:
    """Answers every request with these bytes, in pieces of this size."""

    def __init__(
        self,
        body: bytes,
        content_type: str | None,
        size: int = 1 << 16,
        headers: Iterable[tuple[str, str]] = (),
    ) -> None:
        self._body = body
        self._size = size
        named = [("content-type", content_type)] if content_type is not None else []
        self._headers = [(name.encode(), value.encode()) for name, value in (*named, *headers)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": self._headers})
        for place in range(0, len(self._body), self._size):
            piece = self._body[place : place + self._size]
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def booked(
    guarded: MakeGuarded, app: ASGIApp, path: str = CHAT, body: Any = None, **more: Any
) -> tuple[Event, Answer]:
    """The event of one request, and its answer; what its cost limit has lost is what the event says."""
    events: list[Event] = []
    app = guarded(app, COST, hooks=[events.append], models={"prices": PRICES}, **more)
    secret = f"sk-{secrets.token_hex(8)}"
    headers = {"authorization": f"Bearer {secret}"}
    answer = await call(app, path, BODIES[path] if body is None else body, headers=headers)
    await app.settled()
    (event,) = events
    left = await app.left(secret)
    assert left["cost"] == 1_000_000_000 - event.cost
    return event, answer


async def tokens(
    guarded: MakeGuarded,
    body: bytes,
    content_type: str | None = EVENTS,
    path: str = CHAT,
    size: int = 1 << 16,
) -> tuple[int, int]:
    """What is booked for this answer, which reaches the client."""
    event, answer = await booked(guarded, Backend(body, content_type, size), path)
    assert answer.ended
    return event.input_tokens, event.output_tokens


def events(*values: Any) -> bytes:
    named = (f"event: {value['type']}\n" if "type" in value else "" for value in values)
    return "".join(
        f"{name}data: {json.dumps(value)}\n\n" for name, value in zip(named, values, strict=True)
    ).encode()


def delta(text: str, **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}}], **more}


def usage(prompt: Any, completion: Any, **more: Any) -> dict[str, Any]:
    return {"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": completion, **more}}


DONE = b"data: [DONE]\n\n"
ESTIMATE = 8
"""Of the input: 13 bytes of text, and the role of one turn."""

IMAGE = "iVBORw0KGgoAAAANSUhEUg" * ((3 << 20) // 22)


COMPLETED = {
    "type": "response.completed",
    "response": {"status": "completed", "usage": {"input_tokens": 100, "output_tokens": 50}},
}
CREATED = {"type": "response.created", "response": {"status": "in_progress", "usage": None}}
PARTIAL = {"type": "response.image_generation_call.partial_image", "partial_image_b64": IMAGE}


class TestWhatIsLarge:
    """M1: an event beyond every bound is not kept, not counted as text, and does not end the reading."""

    @pytest.mark.parametrize("size", [999_983, 65_536, 4_001])
    async def test_m1_an_image_in_a_stream_is_skipped(self, guarded: MakeGuarded, size: int) -> None:
        body = events(CREATED, PARTIAL, COMPLETED)
        assert await tokens(guarded, body, path=RESPONSES, size=size) == (100, 50)

    async def test_m1_the_event_with_the_usage_may_be_large_itself(self, guarded: MakeGuarded) -> None:
        last = {
            "type": "response.completed",
            "response": {
                "output": [
                    {"type": "image_generation_call", "result": IMAGE},
                    *(
                        {"type": "message", "content": [{"type": "output_text", "text": WORDS}]}
                        for _ in range(900)
                    ),
                ],
                "usage": {"input_tokens": 100, "output_tokens": 50, "total_tokens": 150},
                "tools": [{"type": "function", "description": WORDS}] * 90,
            },
        }
        assert await tokens(guarded, events(CREATED, last), path=RESPONSES) == (100, 50)

    async def test_m1_without_any_usage_the_text_beside_it_counts(self, guarded: MakeGuarded) -> None:
        said = [{"type": "response.output_text.delta", "delta": "word"}] * 60
        given, made = await tokens(guarded, events(CREATED, PARTIAL, *said), path=RESPONSES)
        assert given < 20
        assert 60 <= made <= 60 + 1_100  # what an image counts

    async def test_m1_text_in_an_event_that_is_too_large_counts_as_text(self, guarded: MakeGuarded) -> None:
        text = WORDS * 1_000
        _, made = await tokens(guarded, events(delta(text)))
        assert abs(made - len(text) // 4) < 100

    @pytest.mark.parametrize(
        ("path", "content_type", "body"),
        [
            (
                OLLAMA,
                LINES,
                json.dumps({"message": {"content": "x", "images": [IMAGE]}, "done": False}).encode()
                + b"\n"
                + json.dumps({"done": True, "prompt_eval_count": 100, "eval_count": 50}).encode()
                + b"\n",
            ),
            (
                OLLAMA,
                LINES,
                json.dumps(
                    {"done": True, "context": [1] * 900_000, "prompt_eval_count": 100, "eval_count": 50}
                ).encode(),
            ),
            (
                GEMINI,
                JSON,
                json.dumps(
                    [
                        {"candidates": [{"content": {"parts": [{"inlineData": {"data": IMAGE}}]}}]},
                        {
                            "candidates": [{"finishReason": "STOP"}],
                            "usageMetadata": {"promptTokenCount": 100, "candidatesTokenCount": 50},
                        },
                    ]
                ).encode(),
            ),
            (
                CHAT,
                JSON,
                json.dumps(
                    {
                        "choices": [{"message": {"content": "x", "images": [{"image_url": IMAGE}] * 7}}],
                        "usage": {"prompt_tokens": 100, "completion_tokens": 50},
                    }
                ).encode(),
            ),
            (
                EMBEDDINGS,
                JSON,
                json.dumps(
                    {"data": [{"embedding": [0.1] * 100_000}] * 9, "usage": {"prompt_tokens": 100}}
                ).encode(),
            ),
        ],
    )
    async def test_m1_in_every_framing(
        self, guarded: MakeGuarded, path: str, content_type: str, body: bytes
    ) -> None:
        assert len(body) > 2 << 20
        expected = (100, 0) if path == EMBEDDINGS else (100, 50)
        assert await tokens(guarded, body, content_type, path) == expected


CHUNKS = events(*(delta(f"word{number} ") for number in range(40)))
ASKED = events(usage(100, 50))


class TestWhatIsLabelledOtherwise:
    """M2: the first bytes have the last word."""

    ANSWER = json.dumps({"choices": [{"message": {"role": "assistant", "content": WORDS}}]}).encode()

    @pytest.mark.parametrize("content_type", [EVENTS, LINES, JSON, "text/plain", None])
    @pytest.mark.parametrize("end", [b"", DONE, b"\n\n" + DONE])
    async def test_m2_json_under_any_label(
        self, guarded: MakeGuarded, content_type: str | None, end: bytes
    ) -> None:
        _, made = await tokens(guarded, self.ANSWER + end, content_type)
        assert len(WORDS) // 4 <= made <= len(WORDS) // 4 + 10

    @pytest.mark.parametrize("content_type", [EVENTS, LINES, JSON, "text/plain", None])
    @pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf", b"\n\n", b": waiting\n\n"])
    @pytest.mark.parametrize("size", [1, 1 << 16])
    async def test_m2_events_under_any_label(
        self, guarded: MakeGuarded, content_type: str | None, before: bytes, size: int
    ) -> None:
        body = before + CHUNKS.replace(b"data: ", b"data:") + ASKED + DONE
        event, answer = await booked(guarded, Backend(body, content_type, size))
        assert (event.input_tokens, event.output_tokens) == (100, 50)
        assert answer.body == before + CHUNKS.replace(b"data: ", b"data:") + DONE

    @pytest.mark.parametrize("content_type", [EVENTS, LINES, JSON, "text/plain", None])
    async def test_m2_lines_under_any_label(self, guarded: MakeGuarded, content_type: str | None) -> None:
        lines = CHUNKS.replace(b"data: ", b"").replace(b"\n\n", b"\n")
        asked = ASKED.replace(b"data: ", b"").replace(b"\n\n", b"\n")
        event, answer = await booked(guarded, Backend(lines + asked, content_type))
        assert (event.input_tokens, event.output_tokens) == (100, 50)
        assert b"usage" not in answer.body

    async def test_m2_without_usage_each_token_counts_and_not_the_json_round_it(
        self, guarded: MakeGuarded
    ) -> None:
        for content_type in (EVENTS, JSON, None):
            _, made = await tokens(guarded, CHUNKS + DONE, content_type)
            assert 40 <= made <= 80

    @pytest.mark.parametrize(
        "body",
        [
            WORDS.encode(),
            f"<p>{WORDS}</p>".encode(),
            json.dumps({"generated_text": WORDS}).encode(),
            json.dumps([{"generated_text": WORDS}]).encode(),
            json.dumps(WORDS).encode(),
            json.dumps({"output": [{"content": [{"type": "output_text", "text": WORDS}]}]}).encode(),
            b"".join(b"data: %s\n\n" % word.encode() for word in WORDS.split()),
            b"".join(b'data: "%s"\n\n' % word.encode() for word in WORDS.split()),
            b"".join(b"data: %s\n" % json.dumps(delta(word)).encode() for word in WORDS.split()),
            b"".join(b'data: {"token": {"text": "%s"}}\n\n' % word.encode() for word in WORDS.split()),
            events({"choices": [{"delta": {"content": [{"type": "text", "text": WORDS}]}}]}),
            events({"choices": [{"delta": {"thoughts": WORDS}}]}),
        ],
    )
    @pytest.mark.parametrize("content_type", [EVENTS, JSON, "text/plain"])
    async def test_m2_what_is_not_understood_counts_by_its_text(
        self, guarded: MakeGuarded, content_type: str, body: bytes
    ) -> None:
        _, made = await tokens(guarded, body, content_type)
        assert len(WORDS) // 5 <= made <= len(WORDS)


def encoded(data: bytes, *names: str) -> bytes:
    for name in names:
        if name == "raw":
            compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
            data = compressor.compress(data) + compressor.flush()
        else:
            data = zlib.compress(data) if name == "deflate" else gzip.compress(data)
    return data


class TestWhatIsCompressed:
    """M3: a backend that compresses unasked is read all the same, and its bytes go on as they are."""

    WHOLE = json.dumps(
        {
            "choices": [{"message": {"content": " ".join([WORDS] * 10)}}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 4000},
        }
    ).encode()

    @pytest.mark.parametrize(
        ("header", "names"),
        [
            ("gzip", ["gzip"]),
            ("GZIP", ["gzip"]),
            ("x-gzip", ["gzip"]),
            ("deflate", ["deflate"]),
            ("deflate", ["raw"]),
            ("gzip, deflate", ["gzip", "deflate"]),
            ("identity, gzip", ["gzip"]),
        ],
    )
    @pytest.mark.parametrize("size", [1, 7, 1 << 16])
    async def test_m3_the_usage_is_found(
        self, guarded: MakeGuarded, header: str, names: list[str], size: int
    ) -> None:
        data = encoded(self.WHOLE, *names)
        app = Backend(data, JSON, size, [("content-encoding", header), ("content-length", str(len(data)))])
        event, answer = await booked(guarded, app, body={"model": "m", **USER})
        assert (event.input_tokens, event.output_tokens) == (100, 4000)
        assert (answer.body, answer.headers["content-encoding"]) == (data, header)
        assert answer.headers["content-length"] == str(len(data))

    async def test_m3_of_several_headers_and_several_members(self, guarded: MakeGuarded) -> None:
        data = gzip.compress(self.WHOLE[:900]) + gzip.compress(self.WHOLE[900:])
        headers = [("content-encoding", "identity"), ("content-encoding", "gzip")]
        event, _ = await booked(guarded, Backend(data, JSON, headers=headers))
        assert (event.input_tokens, event.output_tokens) == (100, 4000)

    async def test_m3_the_usage_chunk_of_ours_is_hidden_in_a_compressed_stream(
        self, guarded: MakeGuarded
    ) -> None:
        data = gzip.compress(CHUNKS + ASKED + DONE)
        event, answer = await booked(guarded, Backend(data, EVENTS, 50, [("content-encoding", "gzip")]))
        assert (event.input_tokens, event.output_tokens) == (100, 50)
        assert answer.body == CHUNKS + DONE
        assert "content-encoding" not in answer.headers

    @pytest.mark.parametrize("coding", ["br", "zstd", "gzip, br", "compress"])
    async def test_m3_what_cannot_be_decoded_is_never_charged_too_little(
        self, guarded: MakeGuarded, coding: str
    ) -> None:
        data = zlib.compress(self.WHOLE, 9)
        body = {"model": "m", **USER}
        event, answer = await booked(
            guarded, Backend(data, JSON, headers=[("content-encoding", coding)]), body=body
        )
        assert answer.body == data
        assert event.output_tokens == len(data)

    async def test_m3_a_bomb_is_let_pass_and_not_blown_up(self, guarded: MakeGuarded) -> None:
        data = gzip.compress(b" " * (100 << 20), 9)
        body = {"model": "m", **USER}
        event, answer = await booked(
            guarded, Backend(data, JSON, headers=[("content-encoding", "gzip")]), body=body
        )
        assert answer.body == data
        assert 0 < event.output_tokens <= len(data)


class TestReports:
    async def test_m4_text_after_a_report_counts_on(self, guarded: MakeGuarded) -> None:
        early = events(usage(100, 0))
        sixty = events(*[delta("word")] * 60)
        assert await tokens(guarded, early + sixty + DONE) == (100, 60)
        assert await tokens(guarded, early + sixty + events(usage(100, 50)) + DONE) == (100, 50)
        assert await tokens(guarded, events(usage(100, 20)) + sixty + DONE) == (100, 80)

    @pytest.mark.parametrize("where", ["apart", "last", "every"])
    async def test_m5_a_zero_for_what_was_there_is_no_report(self, guarded: MakeGuarded, where: str) -> None:
        zero = usage(0, 0)["usage"]
        chunks = [delta("word", **({"usage": zero} if where == "every" else {})) for _ in range(40)]
        if where == "last":
            chunks[-1]["usage"] = zero
            chunks[-1]["choices"][0]["finish_reason"] = "stop"
        body = events(*chunks) + (events(usage(0, 0)) if where == "apart" else b"") + DONE
        assert await tokens(guarded, body) == (ESTIMATE, 40)

    @pytest.mark.parametrize(
        ("path", "answer", "expected"),
        [
            (CHAT, {"choices": [{"message": {"content": "x" * 40}}], **usage(0, 0), "choices_": 1}, None),
            (
                MESSAGES,
                {
                    "type": "message",
                    "content": [{"type": "text", "text": "x" * 40}],
                    "usage": {"output_tokens": 0},
                },
                (ESTIMATE, 10),
            ),
            (
                RESPONSES,
                {
                    "output": [{"type": "message", "content": [{"type": "output_text", "text": "x" * 40}]}],
                    "usage": {"input_tokens": 0, "output_tokens": 0},
                },
                (ESTIMATE, 10),
            ),
            (OLLAMA, {"message": {"content": "x" * 40}, "done": True, "eval_count": 0}, (ESTIMATE, 10)),
            (
                GEMINI,
                {
                    "candidates": [{"content": {"parts": [{"text": "x" * 40}]}, "finishReason": "STOP"}],
                    "usageMetadata": {"promptTokenCount": 0, "candidatesTokenCount": 0, "totalTokenCount": 0},
                },
                (ESTIMATE, 10),
            ),
            (COMPLETIONS, {"choices": [{"text": "x" * 40, "finish_reason": "stop"}], "usage": {}}, None),
            (EMBEDDINGS, {"data": [], "usage": {"prompt_tokens": 0, "total_tokens": 0}}, None),
        ],
    )
    async def test_m5_in_every_dialect(
        self, guarded: MakeGuarded, path: str, answer: Any, expected: tuple[int, int] | None
    ) -> None:
        given, made = await tokens(guarded, json.dumps(answer).encode(), JSON, path)
        if expected is not None:
            assert (given, made) == expected
        assert given > 0

    @pytest.mark.parametrize(
        ("report", "expected"),
        [
            # M6: reasoning beside the output
            (
                {
                    "prompt_tokens": 100,
                    "completion_tokens": 20,
                    "total_tokens": 420,
                    "completion_tokens_details": {"reasoning_tokens": 300},
                },
                (100, 320),
            ),
            (
                {
                    "prompt_tokens": 100,
                    "completion_tokens": 20,
                    "completion_tokens_details": {"reasoning_tokens": 300},
                },
                (100, 320),
            ),
            (
                {
                    "prompt_tokens": 100,
                    "completion_tokens": 320,
                    "total_tokens": 420,
                    "completion_tokens_details": {"reasoning_tokens": 300},
                },
                (100, 320),
            ),
            ({"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 90}, (100, 20)),
            # M8: what is a number, and what stands for itself
            ({"prompt_tokens": 100.0, "completion_tokens": 20.0}, (100, 20)),
            ({"prompt_tokens": "100", "completion_tokens": "20"}, (100, 20)),
            ({"prompt_tokens": "100.0", "completion_tokens": "20.00"}, (100, 20)),
            ({"prompt_tokens": 100, "total_tokens": 120}, (100, 20)),
            ({"completion_tokens": 20, "total_tokens": 120}, (100, 20)),
            ({"total_tokens": 120}, (ESTIMATE, 120 - ESTIMATE)),
            ({"prompt_tokens": 100}, (100, 5)),
            ({"completion_tokens": 20}, (ESTIMATE, 20)),
            ({"prompt_tokens": 100, "completion_tokens": 20, "prompt_tokens_details": None}, (100, 20)),
            ({"prompt_tokens": 100, "completion_tokens": 20, "prompt_tokens_details": [7]}, (100, 20)),
            ({"prompt_tokens": -100, "completion_tokens": 1e300}, (ESTIMATE, 5)),
            ({"prompt_tokens": True, "completion_tokens": 20.5}, (ESTIMATE, 5)),
            ({"prompt_tokens": 10**15, "completion_tokens": "1e9"}, (ESTIMATE, 5)),
            ({"prompt_tokens": "٣", "completion_tokens": " 9"}, (ESTIMATE, 5)),
            ({"prompt_tokens": float("nan"), "completion_tokens": float("inf")}, (ESTIMATE, 5)),
            ({"input_tokens": 100, "output_tokens": 20}, (100, 20)),
            ([], (ESTIMATE, 5)),
            (None, (ESTIMATE, 5)),
        ],
    )
    async def test_m6_m8_each_number_is_read_for_what_it_is(
        self, guarded: MakeGuarded, report: Any, expected: tuple[int, int]
    ) -> None:
        chunks = events(*[delta("word")] * 5)
        assert await tokens(guarded, chunks + events({"choices": [], "usage": report}) + DONE) == expected
        answer = {"choices": [{"message": {"content": "word" * 5}}], "usage": report}
        assert await tokens(guarded, json.dumps(answer).encode(), JSON) == expected

    @pytest.mark.parametrize(
        "last",
        [
            {"choices": [], "x_groq": {"usage": {"prompt_tokens": 100, "completion_tokens": 50}}},
            {
                "choices": [
                    {
                        "delta": {},
                        "finish_reason": "stop",
                        "usage": {"prompt_tokens": 100, "completion_tokens": 50},
                    }
                ]
            },
            {
                "choices": [{"delta": {}, "finish_reason": "stop"}],
                "timings": {"prompt_n": 90, "cache_n": 10, "predicted_n": 50},
            },
            {
                "choices": [{"delta": {}, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 100, "completion_tokens": 50, "cost": 0.1, "cost_details": None},
            },
        ],
    )
    async def test_m8_usage_stands_where_other_servers_put_it(self, guarded: MakeGuarded, last: Any) -> None:
        assert await tokens(guarded, events(*[delta("word")] * 60, last) + DONE) == (100, 50)

    @pytest.mark.parametrize(
        ("metadata", "expected"),
        [
            ({"promptTokenCount": 100, "totalTokenCount": 420, "thoughtsTokenCount": 300}, (100, 320)),
            ({"promptTokenCount": 100, "candidatesTokenCount": 20, "thoughtsTokenCount": 300}, (100, 320)),
            (
                {"prompt_token_count": 100, "candidates_token_count": 20, "thoughts_token_count": 300},
                (100, 320),
            ),
            ({"promptTokenCount": 90, "toolUsePromptTokenCount": 10, "candidatesTokenCount": 20}, (100, 20)),
            ({"promptTokenCount": "100", "candidatesTokenCount": 20.0}, (100, 20)),
            ({"promptTokenCount": 100}, (100, 5)),
        ],
    )
    @pytest.mark.parametrize("name", ["usageMetadata", "usage_metadata"])
    async def test_m6_m8_gemini(
        self, guarded: MakeGuarded, name: str, metadata: Any, expected: tuple[int, int]
    ) -> None:
        said = {"candidates": [{"content": {"parts": [{"text": "word"}]}}]}
        last = {"candidates": [{"finishReason": "STOP"}], name: metadata}
        assert await tokens(guarded, events(*[said] * 5, last), path=GEMINI) == expected

    async def test_m8_ollama_leaves_out_what_it_has_cached(self, guarded: MakeGuarded) -> None:
        lines = [{"message": {"content": "word"}, "done": False}, {"done": True, "eval_count": 7}]
        body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        assert await tokens(guarded, body, LINES, OLLAMA) == (ESTIMATE, 7)


class TestCaches:
    """M7: what is read from a cache, and what is written to one, has a price of its own."""

    @pytest.mark.parametrize(
        "report",
        [
            {"prompt_tokens": 1000, "prompt_cache_hit_tokens": 900, "prompt_cache_miss_tokens": 100},
            {"prompt_tokens": 1000, "prompt_cache_hit_tokens": 900},
            {"prompt_cache_hit_tokens": 900, "prompt_cache_miss_tokens": 100},
            {"prompt_tokens": 1000, "prompt_tokens_details": {"cached_tokens": 900}},
            {"prompt_tokens": 1000, "cached_tokens": 900},
            {"prompt_tokens": 1000, "cache_read_input_tokens": 900},
            {"prompt_tokens": 1000, "prompt_tokens_details": {"cached_tokens": "900"}},
        ],
    )
    async def test_m7_cached_input_is_found_under_every_name(self, guarded: MakeGuarded, report: Any) -> None:
        last = {"choices": [], "usage": {**report, "completion_tokens": 20}}
        event, _ = await booked(guarded, Backend(events(delta("word"), last) + DONE, EVENTS))
        assert (event.input_tokens, event.cost) == (1000, 100 * 10 + 900 * 1 + 20 * 30)

    @pytest.mark.parametrize(
        ("start", "end", "given", "cost"),
        [
            (
                {"input_tokens": 10, "output_tokens": 1},
                {"cache_read_input_tokens": 3604, "output_tokens": 50},
                3614,
                10 * 10 + 3604 + 50 * 30,
            ),
            (
                {"input_tokens": 10, "cache_read_input_tokens": 3604},
                {"input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 50},
                3614,
                10 * 10 + 3604 + 50 * 30,
            ),
            (
                {"input_tokens": 3614},
                {"input_tokens": 10, "cache_read_input_tokens": 3604, "output_tokens": 50},
                3614,
                10 * 10 + 3604 + 50 * 30,
            ),
            (
                {"input_tokens": 10, "cache_creation_input_tokens": 1000},
                {"output_tokens": 50},
                1010,
                10 * 10 + 12_500 + 50 * 30,
            ),
            (
                {
                    "input_tokens": 10,
                    "cache_creation_input_tokens": 1000,
                    "cache_creation": {"ephemeral_5m_input_tokens": 400, "ephemeral_1h_input_tokens": 600},
                },
                {"output_tokens": 50},
                1010,
                10 * 10 + 400 * 12.5 + 600 * 20 + 50 * 30,
            ),
        ],
    )
    async def test_m7_anthropic_reports_are_joined(
        self, guarded: MakeGuarded, start: Any, end: Any, given: int, cost: float
    ) -> None:
        body = events(
            {"type": "message_start", "message": {"model": "m", "usage": start}},
            {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "word"}},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": end},
            {"type": "message_stop"},
        )
        event, _ = await booked(guarded, Backend(body, EVENTS), MESSAGES)
        assert (event.input_tokens, event.output_tokens, event.cost) == (given, 50, int(cost))


class TestTheModelThatAnswered:
    """W5: a cost is settled by the answer's model, where that is dearer."""

    @pytest.mark.parametrize(
        ("model", "cost"),
        [
            ("dear", 100 * 100 + 50 * 300),
            ("cheap", 100 * 10 + 50 * 30),
            ("m-2025-01-01", 100 * 10 + 50 * 30),
            (7, 100 * 10 + 50 * 30),
        ],
    )
    @pytest.mark.parametrize("path", [CHAT, COMPLETIONS, RESPONSES, MESSAGES, OLLAMA, GEMINI])
    async def test_w5_settles_by_it(self, guarded: MakeGuarded, path: str, model: Any, cost: int) -> None:
        named = {"input_tokens": 100, "output_tokens": 50}
        whole: dict[str, dict[str, Any]] = {
            RESPONSES: {"usage": named, "status": "completed"},
            MESSAGES: {"type": "message", "content": [], "usage": named},
            OLLAMA: {"done": True, "prompt_eval_count": 100, "eval_count": 50},
            GEMINI: {
                "modelVersion": model,
                "usageMetadata": {"promptTokenCount": 100, "candidatesTokenCount": 50},
            },
        }
        answer = {"model": model, **whole.get(path, usage(100, 50))}
        event, _ = await booked(guarded, Backend(json.dumps(answer).encode(), JSON), path)
        assert event.cost == cost
