from __future__ import annotations

import json
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import passing
import pytest
from hypothesis import given
from hypothesis import strategies as st
from passing import EVENTS, reading

from guard.core.limits import Unit
from guard.core.query import Query, Turn, Usage
from guard.dialects.base import OPAQUE_TOKENS, Refusal
from guard.dialects.openai_chat import OpenAIChat
from guard.dialects.words import duration
from guard.errors import QueryError

DIALECT = OpenAIChat()
QUERY = Query("m", (), stream=True, max_output_tokens=None, n=1, input_bytes=44, other_tokens=0)


def read(body: dict[str, Any]) -> Query:
    return DIALECT.read(body, "/v1/chat/completions")


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
        query = read(payload(messages=messages))
        assert query.turns == (
            Turn("system", "be brief"),
            Turn("user", "see"),
            Turn("assistant", "{}"),
            Turn("tool", "42"),
        )
        assert query.input_tokens == -(-(8 + 3 + 3 + 2 + 1) // 4) + 4 * 4 + OPAQUE_TOKENS

    @pytest.mark.parametrize(
        "part",
        [
            {"type": "image_url", "image_url": {"url": "data:…"}},
            {"type": "image_url", "image_url": {"url": "data:…"}, "text": ""},
            {"type": "input_audio", "input_audio": {"data": "…"}, "text": "x"},
            {"type": "file", "file": {"file_id": "f"}},
            {"type": "video_url", "refusal": "x"},
            {},
        ],
    )
    def test_a_part_that_is_not_text_has_the_price_of_one(self, part: dict[str, Any]) -> None:
        query = read(payload(messages=[{"role": "user", "content": [part]}]))
        assert query.input_tokens >= OPAQUE_TOKENS

    @pytest.mark.parametrize(
        "message",
        [
            {"tool_calls": [{"type": "function", "function": {"name": "f", "arguments": "x" * 4000}}]},
            {"function_call": {"name": "f", "arguments": "x" * 4000}},
            {"content": [{"type": "refusal", "refusal": "x" * 4000}]},
            {"tool_calls": [{"type": "custom", "custom": {"name": "f", "input": "x" * 4000}}]},
        ],
    )
    def test_what_an_earlier_turn_called_or_said_is_input(self, message: dict[str, Any]) -> None:
        query = read(payload(messages=[{"role": "assistant", **message}]))
        assert query.input_tokens >= 1000

    def test_text_is_priced_by_its_bytes_in_utf8(self) -> None:
        messages = [{"role": "user", "content": "\N{GRINNING FACE}" * 10}]
        assert read(payload(messages=messages)).input_tokens == 10 + 4

    @pytest.mark.parametrize("name", ["tools", "functions", "response_format"])
    def test_what_shapes_the_answer_counts_as_input(self, name: str) -> None:
        assert read(payload(**{name: [{"x": "y" * 400}]})).input_tokens >= 100
        assert read(payload(**{name: None})) == read(payload())

    @pytest.mark.parametrize("name", ["user", "metadata", "safety_identifier", "prompt_cache_key", "stop"])
    def test_what_the_model_does_not_read_costs_nothing(self, name: str) -> None:
        assert read(payload(**{name: "someone else"})).input_tokens == read(payload()).input_tokens

    @pytest.mark.parametrize(
        ("fields", "end_user"),
        [
            ({}, None),
            ({"user": None, "safety_identifier": None}, None),
            ({"user": ""}, None),
            ({"user": "u"}, "u"),
            ({"user": "u", "safety_identifier": "s"}, "s"),
            ({"user": "u", "safety_identifier": ""}, "u"),
            ({"safety_identifier": "s" * 256}, "s" * 256),
        ],
    )
    def test_whom_the_caller_names_as_its_user(self, fields: dict[str, Any], end_user: str | None) -> None:
        assert read(payload(**fields)).end_user == end_user

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("prompt", "x" * 400),
            ("chat_template", "x" * 400),
            ("documents", [{"text": "x" * 390}]),
            ("prediction", {"type": "content", "content": "x" * 390}),
            ("guided_grammar", "x" * 400),
            ("something_new", {"deep": ["x" * 390]}),
        ],
    )
    def test_whatever_text_a_server_may_take_besides_is_input(self, name: str, value: Any) -> None:
        assert read(payload(**{name: value})).input_tokens >= 100

    def test_whether_it_streams(self) -> None:
        assert [read(payload(stream=value)).stream for value in (True, False, None)] == [
            True,
            False,
            False,
        ]

    def test_tools_count_as_input(self) -> None:
        tools = [{"type": "function", "function": {"name": "f", "description": "x" * 400}}]
        assert read(payload(tools=tools)).input_tokens > read(payload()).input_tokens + 100

    @pytest.mark.parametrize(
        ("fields", "cap"),
        [
            ({}, None),
            ({"max_tokens": 5}, 5),
            ({"max_completion_tokens": 7}, 7),
            ({"max_tokens": 5, "max_completion_tokens": 7}, 7),
            ({"max_tokens": 9, "max_completion_tokens": 7}, 9),
            ({"max_tokens": None, "max_completion_tokens": 3}, 3),
            ({"max_tokens": None, "max_completion_tokens": None}, None),
            ({"max_tokens": 128.0}, 128),
        ],
    )
    def test_the_larger_cap_holds(self, fields: dict[str, Any], cap: int | None) -> None:
        assert read(payload(**fields)).max_output_tokens == cap

    @pytest.mark.parametrize(
        ("fields", "n"),
        [
            ({}, 1),
            ({"n": None}, 1),
            ({"n": 3}, 3),
            ({"n": 3.0}, 3),
            ({"best_of": 4}, 4),
            ({"n": 2, "best_of": 5}, 5),
            ({"n": 5, "best_of": 2}, 5),
            ({"n": None, "best_of": None}, 1),
        ],
    )
    def test_the_number_of_answers(self, fields: dict[str, Any], n: int) -> None:
        assert read(payload(**fields)).n == n

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
            ({"n": -1}, "n"),
            ({"n": 1.5}, "n"),
            ({"n": 2**53}, "n"),
            ({"best_of": 0}, "best_of"),
            ({"best_of": "4"}, "best_of"),
            ({"max_tokens": 0}, "max_tokens"),
            ({"max_tokens": True}, "max_tokens"),
            ({"max_tokens": 9, "max_completion_tokens": "9"}, "max_completion_tokens"),
            ({"max_completion_tokens": 0}, "max_completion_tokens"),
            ({"prompt_logprobs": -1}, "prompt_logprobs"),
            ({"min_tokens": "1"}, "min_tokens"),
            ({"echo": 1}, "echo"),
            ({"STREAM": True}, "STREAM"),
            ({"messages": [{"role": "user", "content": "x"}, 7]}, "messages"),
            ({"messages": [{"role": "user", "content": "x"}, {"role": 7}]}, "messages[1].role"),
            (
                {"messages": [{"role": "user", "content": [{"type": "text", "text": 7}]}]},
                "messages[0].content",
            ),
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
            ({"user": 7}, "user"),
            ({"user": {"id": 1}}, "user"),
            ({"safety_identifier": "s", "user": ["u"]}, "user"),
            ({"safety_identifier": "x" * 257}, "safety_identifier"),
            ({"User": "u"}, "User"),
        ],
    )
    def test_wrong_fields_are_named(self, fields: dict[str, Any], param: str) -> None:
        with pytest.raises(QueryError) as refused:
            read(payload(**fields))
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
    return passing.pass_through(DIALECT.meter(QUERY, EVENTS, hide_usage=hide), stream, cuts)


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

    @given(
        usages=st.lists(st.sampled_from(["none", "null", "mid"]), min_size=1, max_size=5),
        ends=st.lists(st.sampled_from(["\n", "\r\n", "\r"]), min_size=8, max_size=8),
        cuts=st.lists(st.integers(0, 900)),
    )
    def test_nothing_but_the_hidden_event_is_missing(
        self, usages: list[str], ends: list[str], cuts: list[int]
    ) -> None:
        more: dict[str, dict[str, Any]] = {
            "none": {},
            "null": {"usage": None},
            "mid": {"usage": {"prompt_tokens": 5, "completion_tokens": 1}},
        }
        events = [content("\N{GRINNING FACE}é", **more[usage]) for usage in usages]
        head, hidden, tail = (
            b"".join(event.replace(b"\n", end.encode()) for event, end in zip(each, ends, strict=False))
            for each in (events, [USAGE_EVENT], [b": ping\n\n", DONE, b"data: cut off"])
        )
        out, usage = pass_through(head + hidden + tail, cuts, hide=True)
        assert (out, usage) == (head + tail, Usage(5, 7))

    @given(stream=st.binary(max_size=400), cuts=st.lists(st.integers(0, 400)), hide=st.booleans())
    def test_a_stream_of_anything_passes_unchanged(
        self, stream: bytes, cuts: list[int], *, hide: bool
    ) -> None:
        assert pass_through(stream, cuts, hide=hide)[0] == stream

    def test_the_usage_in_every_chunk_is_a_running_total(self) -> None:
        chunks = [content("x", usage={"prompt_tokens": 5, "completion_tokens": n}) for n in range(1, 51)]
        assert pass_through(b"".join(chunks), [], hide=True) == (b"".join(chunks), Usage(5, 50))

    @pytest.mark.parametrize("usage", [None, {}, "x", [], {"prompt_tokens": True, "completion_tokens": -2}])
    def test_unsound_usage_is_replaced_by_an_estimate(self, usage: Any) -> None:
        stream = content("x") * 9 + event({"choices": [], "usage": usage}) + DONE
        assert pass_through(stream, [], hide=True) == (stream, Usage(11, 9))

    @pytest.mark.parametrize(
        ("usage", "expected"),
        [
            ({"prompt_tokens": 5}, Usage(5, 9)),
            ({"prompt_tokens": -1, "completion_tokens": 2}, Usage(11, 2)),
            ({"prompt_tokens": True, "completion_tokens": 2}, Usage(11, 2)),
            ({"prompt_tokens": 5, "completion_tokens": -4}, Usage(5, 9)),
        ],
    )
    def test_each_number_of_a_report_stands_for_itself(self, usage: Any, expected: Usage) -> None:
        stream = content("x") * 9 + event({"choices": [], "usage": usage})
        assert pass_through(stream + DONE, [], hide=True) == (content("x") * 9 + DONE, expected)

    @pytest.mark.parametrize(
        ("stream", "usage"),
        [
            (content("x") * 9, Usage(11, 9)),
            (content("x" * 9), Usage(11, 3)),
            (content("") * 9, Usage(11, 0)),
            (content("é" * 3), Usage(11, 2)),
            (content("x") * 9 + b'data: {"choices": [{"delta": {"content": "cut', Usage(11, 9)),
            (content("x") * 9 + event({"error": {"message": "overloaded"}}), Usage(11, 9)),
            (event(None) + event([]) + event(7) + b"data: {\n\n" + content("x"), Usage(11, 2)),
            (event({"choices": [None, {"delta": None}, {"delta": {"content": 7}}]}), Usage(11, 0)),
            (b"", Usage(11, 0)),
        ],
    )
    def test_a_stream_that_was_cut_is_estimated(self, stream: bytes, usage: Usage) -> None:
        assert pass_through(stream, [], hide=True) == (stream, usage)

    def test_several_answers_are_counted_where_the_running_total_is_of_one(self) -> None:
        # vLLM with `continuous_usage_stats`: each chunk has the total of its own choice, and only the last
        # chunk, which a client that leaves never sees, has the sum.
        chunks = [
            event(
                {
                    "choices": [{"index": place % 8, "delta": {"content": "x"}}],
                    "usage": {"prompt_tokens": 5, "completion_tokens": 1 + place // 8},
                }
            )
            for place in range(80)
        ]
        assert pass_through(b"".join(chunks), [], hide=True)[1] == Usage(5, 80)
        assert pass_through(b"".join([*chunks, USAGE_EVENT]), [], hide=True)[1] == Usage(5, 7)

    def test_what_is_said_after_an_early_report_is_counted(self) -> None:
        first = content("", usage={"prompt_tokens": 5, "completion_tokens": 0})
        assert pass_through(first + content("x") * 50, [], hide=True)[1] == Usage(5, 50)

    def test_nothing_is_held_back_longer_than_its_event(self) -> None:
        meter = DIALECT.meter(QUERY, EVENTS, hide_usage=True)
        assert meter.feed(content("x")[:-1]) == b""
        assert meter.feed(b"\n" + content("y") + b"data: ") == content("x") + content("y")
        assert meter.finish() == b"data: "
        assert DIALECT.meter(QUERY, EVENTS, hide_usage=False).feed(b"da") == b"da"

    def test_usage_is_hidden_with_its_details_and_only_where_that_was_asked(self) -> None:
        details = {
            "prompt_tokens_details": {"cached_tokens": 4},
            "completion_tokens_details": {"reasoning_tokens": 6},
            "total_tokens": 12,
        }
        extra = event({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 7, **details}})
        assert pass_through(extra + DONE, [], hide=True) == (DONE, Usage(5, 7, 4, 6))
        assert pass_through(extra + DONE, [], hide=False) == (extra + DONE, Usage(5, 7, 4, 6))

    def test_a_chunk_that_also_says_something_is_never_hidden(self) -> None:
        last = content("x", usage={"prompt_tokens": 5, "completion_tokens": 7})
        filtered = event({"choices": [], "prompt_filter_results": [{}], "usage": None})
        assert pass_through(filtered + last + DONE, [], hide=True) == (filtered + last + DONE, Usage(5, 7))

    def test_a_long_chunk_is_several_tokens(self) -> None:
        assert pass_through(content("x" * 41), [], hide=False)[1] == Usage(11, 11)

    def test_reasoning_and_calls_count_as_output(self) -> None:
        call = {"function": {"name": "f", "arguments": "x" * 39}}
        delta = event({"choices": [{"delta": {"reasoning_content": "y" * 40, "tool_calls": [call]}}]})
        assert pass_through(delta, [], hide=False)[1] == Usage(11, 20)

    def test_an_answer_that_talks_of_usage_is_not_believed(self) -> None:
        text = 'data: {"choices":[],"usage":{"prompt_tokens":0,"completion_tokens":0}}\n\n'
        assert pass_through(content(text), [], hide=True) == (content(text), Usage(11, -(-len(text) // 4)))

    @pytest.mark.parametrize(
        "text",
        [
            '"usage":{"prompt_tokens":1,"completion_tokens":1}',
            '{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}',
            '\r\n\r\ndata: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}\r\n\r\n',
        ],
    )
    def test_nor_is_one_in_one_piece(self, text: str) -> None:
        message = {"content": text, "usage": {"prompt_tokens": 1, "completion_tokens": 1}}
        meter = DIALECT.meter(QUERY, "application/json", hide_usage=True)
        body = json.dumps({"choices": [{"message": message}]}).encode()
        assert meter.feed(body) + meter.finish() == body
        assert meter.usage == Usage(11, -(-len(text) // 4))

    @given(cuts=st.lists(st.integers(0, 200)))
    def test_an_answer_in_one_piece_may_come_in_any_chunking(self, cuts: list[int]) -> None:
        answer = {
            "choices": [{"message": {"content": "é"}}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 4},
        }
        body = json.dumps(answer, ensure_ascii=False).encode()
        places = sorted({min(cut, len(body)) for cut in cuts} | {0, len(body)})
        meter = DIALECT.meter(QUERY, "application/json", hide_usage=False)
        assert (
            b"".join(meter.feed(body[start:end]) for start, end in pairwise(places)) + meter.finish() == body
        )
        assert meter.usage == Usage(3, 4)

    @pytest.mark.parametrize(
        "message",
        [
            {"content": "x" * 40},
            {"reasoning": "x" * 20, "content": "x" * 20},
            {"refusal": "x" * 40},
            {"tool_calls": [{"function": {"name": "x" * 20, "arguments": "x" * 20}}]},
            {"tool_calls": [{"type": "custom", "custom": {"name": "x" * 20, "input": "x" * 20}}]},
        ],
    )
    @pytest.mark.parametrize("usage", [None, {"prompt_tokens": -3, "completion_tokens": -4}])
    def test_all_that_an_answer_says_is_estimated(self, message: dict[str, Any], usage: Any) -> None:
        meter = DIALECT.meter(QUERY, "application/json", hide_usage=False)
        meter.feed(json.dumps({"choices": [{"message": message}] * 2, "usage": usage}).encode())
        meter.finish()
        assert meter.usage == Usage(11, 20)

    def test_an_answer_in_one_piece(self) -> None:
        body = json.dumps({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}).encode()
        meter = DIALECT.meter(QUERY, "application/json", hide_usage=False)
        assert meter.feed(body[:9]) + meter.feed(body[9:]) + meter.finish() == body
        assert meter.usage == Usage(3, 4)

    @pytest.mark.parametrize(
        ("body", "output_tokens"),
        [
            (json.dumps({"choices": [{"message": {"content": "x" * 40}}]}).encode(), 10),
            (b"x" * 40, 10),
            (b"", 0),
            (b"[" * 3000, 0),
            (b'{"choices": 7}', 0),
        ],
    )
    def test_an_answer_without_usage_is_estimated(self, body: bytes, output_tokens: int) -> None:
        meter = DIALECT.meter(QUERY, "application/json", hide_usage=False)
        meter.feed(body)
        meter.finish()
        assert meter.usage == Usage(11, output_tokens)

    def test_an_endless_event_goes_on_and_is_counted_by_its_size(self) -> None:
        meter = DIALECT.meter(QUERY, EVENTS, hide_usage=True)
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
            (429, "requests", "requests"),
            (429, Unit.CONCURRENCY, "requests"),
            (429, Unit.COST, "tokens"),
            (429, Unit.TOKENS, "tokens"),
            (429, Unit.OUTPUT_TOKENS, "tokens"),
            (502, None, "server_error"),
            (503, None, "service_unavailable_error"),
        ],
    )
    def test_the_shape(self, status: int, unit: str | None, kind: str) -> None:
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
        assert headers_of(Refusal(503, "", "", retry_after_us=1_000_000))["retry-after"] == "1"
        assert "x-should-retry" not in headers_of(Refusal(503, "", "", retry_after_us=1_000_000))

    def test_a_long_wait_is_told_in_full(self) -> None:
        assert headers_of(Refusal(429, "", "", retry_after_us=86_399_000_001))["retry-after"] == "86400"

    def test_no_wait_is_told_where_nobody_knows_it(self) -> None:
        assert "retry-after" not in headers_of(Refusal(429, "", ""))
        assert headers_of(Refusal(429, "", ""))["x-should-retry"] == "false"

    @given(wait_us=st.integers(0, 10**12))
    def test_whoever_waits_as_told_has_waited_long_enough(self, wait_us: int) -> None:
        headers = headers_of(Refusal(429, "", "", retry_after_us=wait_us))
        assert 0 <= int(headers["retry-after"]) * 1_000_000 - wait_us <= 1_000_000
        assert int(headers["retry-after"]) > 0
        if "retry-after-ms" in headers:
            assert 0 <= int(headers["retry-after-ms"]) * 1000 - wait_us <= 1000
            assert int(headers["retry-after-ms"]) > 0
        assert ("retry-after-ms" in headers) is (wait_us <= 60_000_000) is ("x-should-retry" not in headers)


def test_the_limit_headers_are_those_of_the_tightest_window() -> None:
    readings = [
        reading(Unit.REQUESTS, 90, 100, 1),
        reading("requests", 1, 20, 90_000_000),
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
        (999_999, "1000ms"),
        (59_000_001, "1m0s"),
        (60_000_000, "1m0s"),
        (3_599_000_001, "1h0m0s"),
        (3_600_000_000, "1h0m0s"),
        (86_400_000_000, "24h0m0s"),
        (7_261_000_000, "2h1m1s"),
    ],
)
def test_durations(microseconds: int, text: str) -> None:
    assert duration(microseconds) == text


def test_no_limit_is_told_where_there_is_none() -> None:
    assert DIALECT.limit_headers([], datetime.now(UTC)) == []
    assert DIALECT.limit_headers([reading(Unit.OUTPUT_TOKENS, 1, 2, 3)], datetime.now(UTC)) == []
