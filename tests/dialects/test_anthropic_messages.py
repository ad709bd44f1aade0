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
from guard.dialects.anthropic_messages import AnthropicMessages
from guard.dialects.base import OPAQUE_TOKENS, Refusal
from guard.errors import QueryError

DIALECT = AnthropicMessages()
QUERY = Query("m", (), stream=True, max_output_tokens=9, n=1, input_tokens=11)


def payload(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}], **fields}


class TestReading:
    def test_texts_come_from_strings_and_blocks(self) -> None:
        messages = [
            {"role": "user", "content": [{"type": "text", "text": "see"}, {"type": "image", "source": {}}]},
            {
                "role": "assistant",
                "content": [{"type": "thinking", "thinking": "hm"}, {"type": "tool_use", "input": {"q": 1}}],
            },
            {
                "role": "user",
                "content": [{"type": "tool_result", "content": [{"type": "text", "text": "42"}]}],
            },
        ]
        query = DIALECT.read(payload(system=[{"type": "text", "text": "be brief"}], messages=messages))
        assert query.turns == (
            Turn("system", "be brief"),
            Turn("user", "see"),
            Turn("assistant", 'hm\n{"q": 1}'),
            Turn("user", "42"),
        )
        assert query.input_tokens == 2 + 1 + 3 + 1 + 4 * 4 + OPAQUE_TOKENS
        assert (query.max_output_tokens, query.n, query.stream) == (9, 1, False)

    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"max_tokens": None}, "max_tokens"),
            ({"max_tokens": 0}, "max_tokens"),
            ({"max_tokens": "9"}, "max_tokens"),
            ({"model": []}, "model"),
            ({"messages": []}, "messages"),
            ({"messages": [{"role": "user"}]}, "messages[0].content"),
            ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content"),
            ({"system": 7}, "system"),
            ({"stream": "true"}, "stream"),
            ({"Max_Tokens": 7}, "Max_Tokens"),
        ],
    )
    def test_wrong_fields_are_named(self, fields: dict[str, Any], param: str) -> None:
        with pytest.raises(QueryError) as refused:
            DIALECT.read(payload(**fields))
        assert refused.value.param == param

    def test_usage_need_not_be_asked_for(self) -> None:
        assert DIALECT.ask_usage(payload(stream=True)) is None


def event(value: dict[str, Any]) -> bytes:
    return f"event: {value['type']}\ndata: {json.dumps(value)}\n\n".encode()


START = event(
    {
        "type": "message_start",
        "message": {
            "usage": {
                "input_tokens": 5,
                "cache_creation_input_tokens": 20,
                "cache_read_input_tokens": 300,
                "output_tokens": 1,
            }
        },
    }
)
TEXT = event({"type": "content_block_delta", "delta": {"type": "text_delta", "text": "x"}})
END = event({"type": "message_delta", "delta": {}, "usage": {"output_tokens": 42}})


def usage_of(stream: bytes, cuts: list[int]) -> Usage:
    meter = DIALECT.meter(QUERY, streaming=True, hide_usage=False)
    places = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})
    out = b"".join(meter.feed(stream[start:end]) for start, end in pairwise(places))
    assert out + meter.finish() == stream
    return meter.usage


class TestMetering:
    @given(cuts=st.lists(st.integers(0, 700)))
    def test_usage_is_found_in_any_chunking(self, cuts: list[int]) -> None:
        assert usage_of(START + TEXT * 3 + END, cuts) == Usage(325, 42)

    def test_a_stream_that_was_cut_is_counted_by_its_chunks(self) -> None:
        assert usage_of(START + TEXT * 50, []) == Usage(325, 50)

    def test_the_output_is_cumulative(self) -> None:
        earlier = event({"type": "message_delta", "usage": {"output_tokens": 10}})
        assert usage_of(START + earlier + END, []) == Usage(325, 42)

    def test_without_any_usage_both_are_estimated(self) -> None:
        assert usage_of(TEXT * 3, []) == Usage(11, 3)

    def test_thinking_and_tool_input_count_as_output(self) -> None:
        thinking = event({"type": "content_block_delta", "delta": {"thinking": "x" * 40}})
        tool = event({"type": "content_block_delta", "delta": {"partial_json": "x" * 40}})
        assert usage_of(thinking + tool, []) == Usage(11, 20)

    @pytest.mark.parametrize(
        ("body", "usage"),
        [
            ({"usage": {"input_tokens": 5, "cache_read_input_tokens": 6, "output_tokens": 7}}, Usage(11, 7)),
            (
                {"usage": {"input_tokens": 5, "cache_read_input_tokens": None, "output_tokens": 7}},
                Usage(5, 7),
            ),
            (
                {"usage": {"input_tokens": -5, "output_tokens": True}, "content": [{"text": "x" * 40}]},
                Usage(11, 10),
            ),
            ({"content": [{"type": "tool_use", "input": {"a": "x" * 31}}]}, Usage(11, 10)),
            ({"content": 7}, Usage(11, 0)),
        ],
    )
    def test_an_answer_in_one_piece(self, body: dict[str, Any], usage: Usage) -> None:
        meter = DIALECT.meter(QUERY, streaming=False, hide_usage=False)
        meter.feed(json.dumps(body).encode())
        meter.finish()
        assert meter.usage == usage


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (413, "request_too_large"),
        (415, "invalid_request_error"),
        (502, "api_error"),
        (429, "rate_limit_error"),
        (503, "overloaded_error"),
        (504, "timeout_error"),
    ],
)
def test_the_shape_of_an_error(status: int, kind: str) -> None:
    answer = DIALECT.refuse(Refusal(status, "No.", "code", retry_after_us=1_500_000), "req_1")
    assert json.loads(answer.body) == {
        "type": "error",
        "error": {"type": kind, "message": "No."},
        "request_id": "req_1",
    }
    assert dict(answer.headers)["request-id"] == "req_1"
    assert dict(answer.headers)["retry-after"] == "2"


def test_the_limit_headers_have_a_reset_that_is_never_too_early() -> None:
    window = Window(100, 60, 100)
    limit = Limit("l", Unit.INPUT_TOKENS, Attribute.KEY, Algorithm.GCRA, (window,))
    readings = [Reading(limit, window, EVERYTHING, 70, 1_500_000, 0)]
    now = datetime(2026, 12, 31, 23, 59, 58, 700_000, tzinfo=UTC)
    assert dict(DIALECT.limit_headers(readings, now)) == {
        "anthropic-ratelimit-input-tokens-limit": "100",
        "anthropic-ratelimit-input-tokens-remaining": "70",
        "anthropic-ratelimit-input-tokens-reset": "2027-01-01T00:00:01Z",
    }
