from __future__ import annotations

import json
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.core.identity import EVERYTHING, Attribute
from guard.core.limits import Algorithm, Limit, Reading, Unit, Window
from guard.core.query import Query, Turn, Usage
from guard.dialects.base import OPAQUE_TOKENS, Refusal
from guard.dialects.openai_chat import OpenAIChat, duration
from guard.errors import QueryError

DIALECT = OpenAIChat()
QUERY = Query("m", (), stream=True, max_output_tokens=None, n=1, input_tokens=11)


def payload(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": "hello"}], **fields}


class TestReading:
    def test_texts_come_from_strings_and_parts(self) -> None:
        parts = [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": "data:…"}}]
        messages = [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": parts},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}],
            },
            {"role": "tool", "content": "42", "tool_call_id": "x"},
        ]
        query = DIALECT.read(payload(messages=messages))
        assert query.turns == (
            Turn("system", "be brief"),
            Turn("user", "see"),
            Turn("assistant", "{}"),
            Turn("tool", "42"),
        )
        assert query.input_tokens == 2 + 1 + 1 + 1 + 4 * 4 + OPAQUE_TOKENS

    def test_tools_count_as_input(self) -> None:
        tools = [{"type": "function", "function": {"name": "f", "description": "x" * 400}}]
        assert DIALECT.read(payload(tools=tools)).input_tokens > DIALECT.read(payload()).input_tokens + 100

    @pytest.mark.parametrize(
        ("fields", "cap"),
        [
            ({}, None),
            ({"max_tokens": 5}, 5),
            ({"max_completion_tokens": 7}, 7),
            ({"max_tokens": 5, "max_completion_tokens": 7}, 7),
            ({"max_tokens": 9, "max_completion_tokens": 7}, 9),
            ({"max_tokens": None, "max_completion_tokens": 3}, 3),
        ],
    )
    def test_the_larger_cap_holds(self, fields: dict[str, Any], cap: int | None) -> None:
        assert DIALECT.read(payload(**fields)).max_output_tokens == cap

    @pytest.mark.parametrize(
        ("fields", "n"),
        [({}, 1), ({"n": None}, 1), ({"n": 3}, 3), ({"best_of": 4}, 4), ({"n": 2, "best_of": 5}, 5)],
    )
    def test_the_number_of_answers(self, fields: dict[str, Any], n: int) -> None:
        assert DIALECT.read(payload(**fields)).n == n

    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"model": None}, "model"),
            ({"model": ""}, "model"),
            ({"model": 7}, "model"),
            ({"messages": None}, "messages"),
            ({"messages": []}, "messages"),
            ({"messages": {}}, "messages"),
            ({"messages": ["hello"]}, "messages"),
            ({"messages": [{"content": "x"}]}, "messages[0].role"),
            ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
            ({"messages": [{"role": "user", "content": ["x"]}]}, "messages[0].content"),
            ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content"),
            ({"n": "128"}, "n"),
            ({"n": True}, "n"),
            ({"n": 0}, "n"),
            ({"max_tokens": -1}, "max_tokens"),
            ({"max_tokens": "1_000"}, "max_tokens"),
            ({"stream": "on"}, "stream"),
            ({"stream": 1}, "stream"),
            ({"logprobs": "1"}, "logprobs"),
            ({"top_logprobs": 1.5}, "top_logprobs"),
            ({"logit_bias": []}, "logit_bias"),
            ({"stream_options": 1}, "stream_options"),
            ({"stream_options": {"include_usage": "yes"}}, "include_usage"),
            ({"Model": "other"}, "Model"),
            ({"N": 100}, "N"),
        ],
    )
    def test_wrong_fields_are_named(self, fields: dict[str, Any], param: str) -> None:
        with pytest.raises(QueryError) as refused:
            DIALECT.read(payload(**fields))
        assert refused.value.param == param


class TestAskingForUsage:
    def test_only_streams_that_do_not_ask_are_changed(self) -> None:
        assert DIALECT.ask_usage(payload()) is None
        assert DIALECT.ask_usage(payload(stream=False)) is None
        assert DIALECT.ask_usage(payload(stream=True, stream_options={"include_usage": True})) is None

    def test_other_options_stay(self) -> None:
        asking = DIALECT.ask_usage(
            payload(stream=True, stream_options={"include_usage": False, "x": 1}, seed=7)
        )
        assert asking == payload(stream=True, stream_options={"include_usage": True, "x": 1}, seed=7)


def event(value: Any) -> bytes:
    return f"data: {json.dumps(value)}\n\n".encode()


def content(text: str, **more: Any) -> bytes:
    return event({"choices": [{"index": 0, "delta": {"content": text}}], **more})


USAGE_EVENT = event(
    {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}}
)
DONE = b"data: [DONE]\n\n"


def pass_through(stream: bytes, cuts: list[int], *, hide: bool) -> tuple[bytes, Usage]:
    meter = DIALECT.meter(QUERY, streaming=True, hide_usage=hide)
    places = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})
    out = b"".join(meter.feed(stream[start:end]) for start, end in pairwise(places))
    return out + meter.finish(), meter.usage


class TestMetering:
    @given(cuts=st.lists(st.integers(0, 600)), crlf=st.booleans())
    def test_usage_is_found_and_hidden_in_any_chunking(self, cuts: list[int], *, crlf: bool) -> None:
        head, tail = content("é") + b": ping\n\n" + content("b", usage=None), DONE
        if crlf:
            head, tail = head.replace(b"\n", b"\r\n"), tail.replace(b"\n", b"\r\n")
        stream = head + (USAGE_EVENT.replace(b"\n", b"\r\n") if crlf else USAGE_EVENT) + tail
        assert pass_through(stream, cuts, hide=False) == (stream, Usage(5, 7))
        out, usage = pass_through(stream, cuts, hide=True)
        assert usage == Usage(5, 7)
        assert out.replace(b"\r", b"") == (head + tail).replace(b"\r", b"")

    @given(stream=st.binary(max_size=400), cuts=st.lists(st.integers(0, 400)), hide=st.booleans())
    def test_a_stream_of_anything_passes_unchanged(
        self, stream: bytes, cuts: list[int], *, hide: bool
    ) -> None:
        assert pass_through(stream, cuts, hide=hide)[0] == stream

    def test_the_usage_in_every_chunk_is_a_running_total(self) -> None:
        chunks = [content("x", usage={"prompt_tokens": 5, "completion_tokens": n}) for n in range(1, 51)]
        assert pass_through(b"".join(chunks), [], hide=True) == (b"".join(chunks), Usage(5, 50))

    @pytest.mark.parametrize(
        "usage",
        [
            None,
            {},
            {"prompt_tokens": 5},
            {"prompt_tokens": -1, "completion_tokens": 2},
            {"prompt_tokens": True, "completion_tokens": 2},
            "x",
            [],
        ],
    )
    def test_unsound_usage_is_replaced_by_an_estimate(self, usage: Any) -> None:
        stream = content("x") * 9 + event({"choices": [], "usage": usage}) + DONE
        assert pass_through(stream, [], hide=True) == (stream, Usage(11, 9))

    def test_a_long_chunk_is_several_tokens(self) -> None:
        assert pass_through(content("x" * 41), [], hide=False)[1] == Usage(11, 11)

    def test_reasoning_and_calls_count_as_output(self) -> None:
        call = {"function": {"name": "f", "arguments": "x" * 39}}
        delta = event({"choices": [{"delta": {"reasoning_content": "y" * 40, "tool_calls": [call]}}]})
        assert pass_through(delta, [], hide=False)[1] == Usage(11, 20)

    def test_an_answer_that_talks_of_usage_is_not_believed(self) -> None:
        text = 'data: {"choices":[],"usage":{"prompt_tokens":0,"completion_tokens":0}}\n\n'
        assert pass_through(content(text), [], hide=True) == (content(text), Usage(11, -(-len(text) // 4)))

    def test_an_answer_in_one_piece(self) -> None:
        body = json.dumps({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}).encode()
        meter = DIALECT.meter(QUERY, streaming=False, hide_usage=False)
        assert meter.feed(body[:9]) + meter.feed(body[9:]) + meter.finish() == body
        assert meter.usage == Usage(3, 4)

    @pytest.mark.parametrize(
        ("body", "output_tokens"),
        [
            (json.dumps({"choices": [{"message": {"content": "x" * 40}}]}).encode(), 10),
            (b"x" * 40, 10),
            (b"", 0),
            (b"[" * 3000, 750),
            (b'{"choices": 7}', 0),
        ],
    )
    def test_an_answer_without_usage_is_estimated(self, body: bytes, output_tokens: int) -> None:
        meter = DIALECT.meter(QUERY, streaming=False, hide_usage=False)
        meter.feed(body)
        meter.finish()
        assert meter.usage == Usage(11, output_tokens)

    def test_an_endless_event_goes_on_and_is_counted_by_its_size(self) -> None:
        meter = DIALECT.meter(QUERY, streaming=True, hide_usage=True)
        out = b"".join(meter.feed(b"x" * (1 << 18)) for _ in range(8)) + meter.finish()
        assert len(out) == 8 << 18
        assert meter.usage == Usage(11, (8 << 18) // 4)


def headers_of(refusal: Refusal) -> dict[str, str]:
    return dict(DIALECT.refuse(refusal, "req_1").headers)


class TestRefusing:
    @pytest.mark.parametrize(
        ("status", "unit", "kind"),
        [
            (400, None, "invalid_request_error"),
            (401, None, "invalid_request_error"),
            (403, None, "permission_error"),
            (404, None, "invalid_request_error"),
            (413, Unit.TOKENS, "invalid_request_error"),
            (429, Unit.REQUESTS, "requests"),
            (429, Unit.TOKENS, "tokens"),
            (429, Unit.OUTPUT_TOKENS, "tokens"),
            (502, None, "server_error"),
            (503, None, "service_unavailable_error"),
        ],
    )
    def test_the_shape(self, status: int, unit: Unit | None, kind: str) -> None:
        answer = DIALECT.refuse(Refusal(status, "No.", "code", "param", unit), "req_1")
        assert answer.status == status
        assert json.loads(answer.body) == {
            "error": {"message": "No.", "type": kind, "param": "param", "code": "code"}
        }
        assert dict(answer.headers)["x-request-id"] == "req_1"

    @pytest.mark.parametrize(
        ("wait_us", "seconds", "ms"),
        [(1, "1", "1"), (999_001, "1", "1000"), (1_000_001, "2", "1001"), (60_000_000, "60", "60000")],
    )
    def test_a_short_wait_is_told_in_seconds_and_in_milliseconds_never_too_short(
        self, wait_us: int, seconds: str, ms: str
    ) -> None:
        headers = headers_of(Refusal(429, "", "", retry_after_us=wait_us))
        assert (headers["retry-after"], headers["retry-after-ms"]) == (seconds, ms)
        assert "x-should-retry" not in headers

    @pytest.mark.parametrize(
        "refusal",
        [
            Refusal(429, "", "", retry_after_us=60_000_001),
            Refusal(403, "", "", retry_after_us=1_000_000),
            Refusal(403, "", ""),
            Refusal(413, "", ""),
            Refusal(400, "", ""),
        ],
    )
    def test_what_is_not_worth_a_retry_says_so(self, refusal: Refusal) -> None:
        headers = headers_of(refusal)
        assert headers["x-should-retry"] == "false"
        assert "retry-after-ms" not in headers

    def test_a_failure_of_ours_may_be_retried(self) -> None:
        assert "x-should-retry" not in headers_of(Refusal(502, "", ""))


def reading(unit: Unit, remaining: int, count: int, reset_us: int) -> Reading:
    window = Window(count, 60, count)
    limit = Limit("l", unit, Attribute.KEY, Algorithm.SLIDING_WINDOW, (window,))
    return Reading(limit, window, EVERYTHING, remaining, reset_us, 0)


def test_the_limit_headers_are_those_of_the_tightest_window() -> None:
    readings = [
        reading(Unit.REQUESTS, 90, 100, 1),
        reading(Unit.REQUESTS, 1, 20, 90_000_000),
        reading(Unit.TOKENS, 5, 1000, 12_000),
        reading(Unit.INPUT_TOKENS, 0, 9, 1),
    ]
    assert dict(DIALECT.limit_headers(readings, datetime.now(UTC))) == {
        "x-ratelimit-limit-requests": "20",
        "x-ratelimit-remaining-requests": "1",
        "x-ratelimit-reset-requests": "1m30s",
        "x-ratelimit-limit-tokens": "1000",
        "x-ratelimit-remaining-tokens": "5",
        "x-ratelimit-reset-tokens": "12ms",
    }


@pytest.mark.parametrize(
    ("microseconds", "text"),
    [
        (0, "0ms"),
        (1, "1ms"),
        (11_001, "12ms"),
        (1_000_000, "1s"),
        (5_000_001, "6s"),
        (60_000_000, "1m0s"),
        (7_261_000_000, "2h1m1s"),
    ],
)
def test_durations(microseconds: int, text: str) -> None:
    assert duration(microseconds) == text
