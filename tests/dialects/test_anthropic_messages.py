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
QUERY = Query("m", (), stream=True, max_output_tokens=9, n=1, input_bytes=44, other_tokens=0)
EVENTS = "text/event-stream; charset=utf-8"


def read(body: dict[str, Any]) -> Query:
    return DIALECT.read(body, "/v1/messages")


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
        query = read(payload(system=[{"type": "text", "text": "be brief"}], messages=messages))
        assert query.turns == (
            Turn("system", "be brief"),
            Turn("user", "see"),
            Turn("assistant", 'hm\n{"q": 1}'),
            Turn("user", "42"),
        )
        assert query.input_tokens == (8 + 3 + 2 + 1 + 8 + 2) // 4 + 4 * 4 + OPAQUE_TOKENS
        assert (query.max_output_tokens, query.n, query.stream) == (9, 1, False)

    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"max_tokens": None}, "max_tokens"),
            ({"max_tokens": 0}, "max_tokens"),
            ({"max_tokens": "9"}, "max_tokens"),
            ({"max_tokens": True}, "max_tokens"),
            ({"max_tokens": -1}, "max_tokens"),
            ({"max_tokens": 1.5}, "max_tokens"),
            ({"max_tokens": 2**53}, "max_tokens"),
            ({"model": None}, "model"),
            ({"model": ""}, "model"),
            ({"messages": None}, "messages"),
            ({"messages": {}}, "messages"),
            ({"messages": ["x"]}, "messages"),
            ({"messages": [{"content": "x"}]}, "messages[0].role"),
            ({"messages": [{"role": "user", "content": "x"}, {"role": "user"}]}, "messages[1].content"),
            ({"messages": [{"role": "user", "content": [7]}]}, "messages[0].content"),
            ({"system": [{"type": "text"}]}, "system"),
            ({"system": [7]}, "system"),
            ({"stream": 1}, "stream"),
            ({"MESSAGES": []}, "MESSAGES"),
            ({"\u017fystem": "x"}, "\u017fystem"),
            ({"model": []}, "model"),
            ({"messages": []}, "messages"),
            ({"messages": [{"role": "user"}]}, "messages[0].content"),
            ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content"),
            ({"system": 7}, "system"),
            ({"stream": "true"}, "stream"),
            ({"Max_Tokens": 7}, "Max_Tokens"),
            ({"metadata": "x"}, "metadata"),
            ({"metadata": {"user_id": 7}}, "user_id"),
            ({"metadata": {"user_id": "x" * 257}}, "user_id"),
        ],
    )
    def test_wrong_fields_are_named(self, fields: dict[str, Any], param: str) -> None:
        with pytest.raises(QueryError) as refused:
            read(payload(**fields))
        assert refused.value.param == param

    @pytest.mark.parametrize("kind", ["image", "document", "search_result", "redacted_thinking", None])
    def test_what_is_not_text_is_opaque_wherever_it_stands(self, kind: str | None) -> None:
        block: dict[str, Any] = {"type": kind, "source": {}, "text": ""}
        result = {"type": "tool_result", "content": [block, block]}
        assert read(
            payload(system=[block], messages=[{"role": "user", "content": [block, result]}])
        ).input_tokens == (4 * OPAQUE_TOKENS + 2 * 4)

    @pytest.mark.parametrize("empty", [{}, {"content": None}, {"content": ""}, {"content": []}])
    def test_a_tool_may_have_no_result(self, empty: dict[str, Any]) -> None:
        messages = [{"role": "user", "content": [{"type": "tool_result", **empty}]}]
        assert read(payload(messages=messages)).turns == (Turn("user", ""),)

    def test_tools_count_as_input(self) -> None:
        tools = [{"name": "f", "description": "x" * 400, "input_schema": {}}]
        assert read(payload(tools=tools)).input_tokens > read(payload()).input_tokens + 100
        assert read(payload(tools=None)) == read(payload())

    def test_there_are_as_many_answers_as_n_says(self) -> None:
        assert read(payload(n=5, max_tokens=128.0, stream=True)) == Query(
            "m",
            (Turn("user", "hello"),),
            stream=True,
            max_output_tokens=128,
            n=5,
            input_bytes=5,
            other_tokens=4,
        )

    @pytest.mark.parametrize(
        ("metadata", "end_user"),
        [
            (None, None),
            ({}, None),
            ({"user_id": ""}, None),
            ({"user_id": None}, None),
            ({"user_id": "u"}, "u"),
        ],
    )
    def test_whom_the_caller_names_as_its_user(self, metadata: Any, end_user: str | None) -> None:
        assert read(payload(metadata=metadata)).end_user == end_user

    def test_results_in_results_are_refused_where_they_go_too_deep(self) -> None:
        content: Any = "x"
        for _ in range(10_000):
            content = [{"type": "tool_result", "content": content}]
        with pytest.raises(QueryError):
            read(payload(messages=[{"role": "user", "content": content}]))

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
    meter = DIALECT.meter(QUERY, EVENTS, hide_usage=False)
    places = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})
    out = b"".join(meter.feed(stream[start:end]) for start, end in pairwise(places))
    assert out + meter.finish() == stream
    return meter.usage


class TestMetering:
    @given(cuts=st.lists(st.integers(0, 700)))
    def test_usage_is_found_in_any_chunking(self, cuts: list[int]) -> None:
        assert usage_of(START + TEXT * 3 + END, cuts) == Usage(325, 42, 300, cache_write_tokens=20)

    def test_a_stream_that_was_cut_is_counted_by_its_chunks(self) -> None:
        assert usage_of(START + TEXT * 50, []) == Usage(325, 50, 300, cache_write_tokens=20)

    def test_the_output_is_cumulative(self) -> None:
        earlier = event({"type": "message_delta", "usage": {"output_tokens": 10}})
        assert usage_of(START + earlier + END, []) == Usage(325, 42, 300, cache_write_tokens=20)

    def test_without_any_usage_both_are_estimated(self) -> None:
        assert usage_of(TEXT * 3, []) == Usage(11, 3)

    @pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
    @pytest.mark.parametrize("hide", [True, False])
    def test_every_byte_goes_on_at_once(self, end: str, *, hide: bool) -> None:
        stream = (START + TEXT + b": ping\n\n" + END + b"event: message_stop").replace(b"\n", end.encode())
        meter = DIALECT.meter(QUERY, EVENTS, hide_usage=hide)
        for place in range(len(stream)):
            assert meter.feed(stream[place : place + 1]) == stream[place : place + 1]
        assert meter.finish() == b""
        assert meter.usage == Usage(325, 42, 300, cache_write_tokens=20)

    @pytest.mark.parametrize(
        ("start", "end", "usage"),
        [
            ({"input_tokens": 5}, {"output_tokens": 42}, Usage(5, 42)),
            ({"input_tokens": 5}, {"input_tokens": 7, "output_tokens": 42}, Usage(7, 42)),
            ({"input_tokens": 5}, {"input_tokens": None, "output_tokens": 42}, Usage(5, 42)),
            ({"input_tokens": 0}, {"input_tokens": 7, "output_tokens": 42}, Usage(7, 42)),
            ({}, {"input_tokens": 7, "cache_read_input_tokens": 3, "output_tokens": 0}, Usage(10, 3, 3)),
            ({"input_tokens": 5, "cache_read_input_tokens": -3}, {"output_tokens": 42}, Usage(5, 42)),
            ({"input_tokens": True}, {"output_tokens": True}, Usage(11, 3)),
            ({"input_tokens": -5}, {"output_tokens": -1}, Usage(11, 3)),
            ({"input_tokens": "x"}, {"output_tokens": 4.5}, Usage(11, 3)),
            (None, None, Usage(11, 3)),
            ([], "x", Usage(11, 3)),
        ],
    )
    def test_reports_are_joined_and_unsound_ones_replaced_by_an_estimate(
        self, start: Any, end: Any, usage: Usage
    ) -> None:
        first = event({"type": "message_start", "message": {"usage": start}})
        assert usage_of(first + TEXT * 3 + event({"type": "message_delta", "usage": end}), []) == usage

    def test_an_answer_that_talks_of_usage_is_not_believed(self) -> None:
        text = 'event: message_delta\ndata: {"type":"message_delta","usage":{"output_tokens":0}}\n\n'
        imitation = event(
            {"type": "content_block_delta", "delta": {"text": text}, "usage": {"output_tokens": 0}}
        )
        assert usage_of(START + imitation, []) == Usage(325, -(-len(text) // 4), 300, cache_write_tokens=20)

    @pytest.mark.parametrize(
        "junk",
        [
            b"data: {\n\n",
            b"data: null\n\n",
            b"data: []\n\n",
            b"data: " + b"[" * 5000 + b"\n\n",
            b'data: {"type": "message_start", "message": 7}\n\n',
            b'data: {"type": "content_block_delta", "delta": []}\n\n',
            b'data: {"type": ["message_delta"]}\n\n',
            b'data: {"type": "content_block_stop", "index": 0}\n\n',
            b": comment\n\n",
            b'event: error\ndata: {"type": "error", "error": {"type": "overloaded_error"}}\n\n',
        ],
    )
    def test_what_has_no_text_passes_and_counts_nothing(self, junk: bytes) -> None:
        expected = Usage(325, 2, 300, cache_write_tokens=20)
        assert usage_of(START + junk + TEXT * 2 + junk, []) == expected

    @pytest.mark.parametrize(
        ("data", "tokens"), [(b"7", 1), (b"\xff", 1), (b"plain words", 3), (b'"said"', 2)]
    )
    def test_what_is_no_object_counts_by_its_size(self, data: bytes, tokens: int) -> None:
        assert usage_of(START + b"data: " + data + b"\n\n", []).output_tokens == tokens

    def test_an_event_of_another_api_counts_by_its_text(self) -> None:
        other = event({"type": "completion", "completion": "x" * 40, "stop_reason": None})
        assert usage_of(START + other, []).output_tokens == 10

    def test_thinking_and_tool_input_count_as_output(self) -> None:
        thinking = event({"type": "content_block_delta", "delta": {"thinking": "x" * 40}})
        tool = event({"type": "content_block_delta", "delta": {"partial_json": "x" * 40}})
        assert usage_of(thinking + tool, []) == Usage(11, 20)

    @pytest.mark.parametrize(
        ("body", "usage"),
        [
            (
                {"usage": {"input_tokens": 5, "cache_read_input_tokens": 6, "output_tokens": 7}},
                Usage(11, 7, 6),
            ),
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
            ({"content": [{"text": '{"usage": {"output_tokens": 1}}'}]}, Usage(11, 8)),
            ({"usage": {"input_tokens": 5, "output_tokens": 0}, "content": [{"text": "x"}]}, Usage(5, 1)),
            (
                {
                    "usage": {
                        "input_tokens": 1,
                        "cache_creation_input_tokens": 20,
                        "cache_read_input_tokens": 300,
                        "output_tokens": 4000,
                    }
                },
                Usage(321, 4000, 300, cache_write_tokens=20),
            ),
            ({"usage": {"cache_read_input_tokens": 6, "output_tokens": 7}}, Usage(11, 7, 6)),
            ({"content": [{"thinking": "x" * 40}, {"text": "x" * 40}, 7, None]}, Usage(11, 20)),
        ],
    )
    def test_an_answer_in_one_piece(self, body: dict[str, Any], usage: Usage) -> None:
        meter = DIALECT.meter(QUERY, "application/json", hide_usage=False)
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
    limit = Limit("l", Unit.INPUT_TOKENS, (Attribute.KEY,), Algorithm.GCRA, (window,))
    readings = [Reading(limit, window, EVERYTHING, 70, 1_500_000, 0)]
    now = datetime(2026, 12, 31, 23, 59, 58, 700_000, tzinfo=UTC)
    assert dict(DIALECT.limit_headers(readings, now)) == {
        "anthropic-ratelimit-input-tokens-limit": "100",
        "anthropic-ratelimit-input-tokens-remaining": "70",
        "anthropic-ratelimit-input-tokens-reset": "2027-01-01T00:00:01Z",
    }


@pytest.mark.parametrize(
    ("refusal", "headers"),
    [
        (Refusal(429, "", "", retry_after_us=1), {"retry-after": "1", "retry-after-ms": "1"}),
        (Refusal(429, "", "", retry_after_us=6_000_001), {"retry-after": "7", "retry-after-ms": "6001"}),
        (Refusal(429, "", "", retry_after_us=60_000_001), {"retry-after": "61", "x-should-retry": "false"}),
        (Refusal(429, "", ""), {"x-should-retry": "false"}),
        (Refusal(503, "", "", retry_after_us=2_500_000), {"retry-after": "3", "retry-after-ms": "2500"}),
        (Refusal(503, "", ""), {}),
        (Refusal(403, "", ""), {"x-should-retry": "false"}),
        (Refusal(403, "", "", retry_after_us=9_000_000), {"retry-after": "9", "x-should-retry": "false"}),
        (Refusal(400, "", ""), {"x-should-retry": "false"}),
        (Refusal(401, "", ""), {"x-should-retry": "false"}),
        (Refusal(404, "", ""), {"x-should-retry": "false"}),
        (Refusal(413, "", ""), {"x-should-retry": "false"}),
    ],
)
def test_a_refusal_says_whether_to_come_again_and_when(refusal: Refusal, headers: dict[str, str]) -> None:
    given = dict(DIALECT.refuse(refusal, "req_1").headers)
    assert given == {"content-type": "application/json", "request-id": "req_1", **headers}


def test_each_unit_has_headers_of_its_own() -> None:
    def reading(unit: Unit, remaining: int, count: int) -> Reading:
        window = Window(count, 60, count)
        limit = Limit("l", unit, (Attribute.KEY,), Algorithm.SLIDING_WINDOW, (window,))
        return Reading(limit, window, EVERYTHING, remaining, 0, 0)

    units = (Unit.REQUESTS, Unit.TOKENS, Unit.INPUT_TOKENS, Unit.OUTPUT_TOKENS)
    readings = [each for unit in units for each in (reading(unit, 90, 100), reading(unit, 3, 40))]
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    expected = {
        f"anthropic-ratelimit-{unit}-{what}": value
        for unit in ("requests", "tokens", "input-tokens", "output-tokens")
        for what, value in (("limit", "40"), ("remaining", "3"), ("reset", "2026-01-02T03:04:05Z"))
    }
    assert dict(DIALECT.limit_headers(readings, now)) == expected
    assert DIALECT.limit_headers([], now) == []
