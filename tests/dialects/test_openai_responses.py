from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from passing import EVENTS, JSON, pass_through

from guard.core.query import TOKENS_PER_TURN, Query, Turn, Usage
from guard.dialects.base import OPAQUE_TOKENS
from guard.dialects.openai_responses import OpenAIResponses
from guard.errors import QueryError

DIALECT = OpenAIResponses()
QUERY = Query("m", (), stream=True, max_output_tokens=90, n=1, input_bytes=44, other_tokens=0)


def payload(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "input": "hello", **fields}


def read(**fields: Any) -> Query:
    return DIALECT.read(payload(**fields), "/v1/responses")


class TestReading:
    def test_a_string_is_what_the_user_says(self) -> None:
        assert read(instructions="be brief", max_output_tokens=9, stream=True, user="u") == Query(
            "m",
            (Turn("system", "be brief"), Turn("user", "hello")),
            stream=True,
            max_output_tokens=9,
            n=1,
            input_bytes=13,
            other_tokens=2 * TOKENS_PER_TURN,
            end_user="u",
        )

    @pytest.mark.parametrize(
        ("item", "turn", "opaque"),
        [
            ({"role": "user", "content": "hi"}, Turn("user", "hi"), 0),
            ({"type": "message", "role": "developer", "content": "hi"}, Turn("developer", "hi"), 0),
            (
                {
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "see"},
                        {"type": "input_image", "image_url": "data:…"},
                        {"type": "input_file", "file_id": "f"},
                    ],
                },
                Turn("user", "see"),
                2,
            ),
            (
                {
                    "type": "message",
                    "role": "assistant",
                    "content": [
                        {"type": "output_text", "text": "a", "annotations": []},
                        {"type": "refusal", "refusal": "b"},
                    ],
                },
                Turn("assistant", "a\nb"),
                0,
            ),
            ({"type": "function_call", "name": "f", "arguments": "{}"}, Turn("assistant", "{}"), 0),
            ({"type": "custom_tool_call", "name": "f", "input": "x"}, Turn("assistant", "x"), 0),
            ({"type": "function_call_output", "call_id": "c", "output": "42"}, Turn("tool", "42"), 0),
            (
                {
                    "type": "function_call_output",
                    "output": [{"type": "input_image"}, {"type": "input_text", "text": "t"}],
                },
                Turn("tool", "t"),
                1,
            ),
            (
                {
                    "type": "reasoning",
                    "summary": [{"type": "summary_text", "text": "s"}],
                    "encrypted_content": "…",
                },
                Turn("assistant", "s"),
                1,
            ),
            ({"type": "item_reference", "id": "msg_1"}, Turn("tool", ""), 1),
            ({"type": "computer_call_output", "output": {}}, Turn("tool", ""), 1),
            ({"type": "not yet invented"}, Turn("tool", ""), 1),
        ],
    )
    def test_items_are_turns(self, item: dict[str, Any], turn: Turn, opaque: int) -> None:
        query = read(input=[item])
        assert query.turns == (turn,)
        assert query.other_tokens == TOKENS_PER_TURN + opaque * OPAQUE_TOKENS

    @pytest.mark.parametrize(
        "fields",
        [
            {"previous_response_id": "resp_1"},
            {"conversation": "conv_1"},
            {"conversation": {"id": "conv_1"}},
            {"prompt": {"id": "pmpt_1", "variables": {"city": "Oslo"}}},
        ],
    )
    def test_what_the_server_keeps_is_opaque_and_may_be_all_there_is(self, fields: dict[str, Any]) -> None:
        assert read(**fields).other_tokens == TOKENS_PER_TURN + OPAQUE_TOKENS
        assert read(input=None, **fields).other_tokens == OPAQUE_TOKENS

    @pytest.mark.parametrize("name", ["tools", "text", "something_new"])
    def test_what_shapes_the_answer_counts_as_input(self, name: str) -> None:
        assert read(**{name: [{"x": "y" * 400}]}).input_tokens >= 100
        assert read(**{name: None}) == read()

    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"input": None}, "input"),
            ({"input": 7}, "input"),
            ({"input": []}, "input"),
            ({"input": ["x"]}, "input"),
            ({"input": [{"content": "x"}]}, "input[0].role"),
            ({"input": [{"role": "user"}]}, "input[0].content"),
            ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input[0].content"),
            ({"input": [{"type": "function_call_output"}]}, "input[0].output"),
            ({"input": [{"type": "reasoning", "summary": "x", "content": 7}]}, "input[0].content"),
            ({"instructions": 7}, "instructions"),
            ({"model": None}, "model"),
            ({"max_output_tokens": 0}, "max_output_tokens"),
            ({"max_output_tokens": "9"}, "max_output_tokens"),
            ({"max_output_tokens": True}, "max_output_tokens"),
            ({"max_tool_calls": "1"}, "max_tool_calls"),
            ({"top_logprobs": 1.5}, "top_logprobs"),
            ({"stream": "yes"}, "stream"),
            ({"background": 1}, "background"),
            ({"background": True}, "max_output_tokens"),
            ({"safety_identifier": 7}, "safety_identifier"),
            ({"Input": "x"}, "Input"),
            ({"Max_Output_Tokens": 9}, "Max_Output_Tokens"),
        ],
    )
    def test_wrong_fields_are_named(self, fields: dict[str, Any], param: str) -> None:
        with pytest.raises(QueryError) as refused:
            read(**fields)
        assert refused.value.param == param

    def test_usage_need_not_be_asked_for(self) -> None:
        assert DIALECT.ask_usage(payload(stream=True)) is None


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def delta(text: str, kind: str = "response.output_text.delta") -> bytes:
    return event(kind, delta=text)


USAGE = {
    "input_tokens": 5,
    "input_tokens_details": {"cached_tokens": 4},
    "output_tokens": 7,
    "output_tokens_details": {"reasoning_tokens": 6},
    "total_tokens": 12,
}
CREATED = event("response.created", response={"status": "in_progress", "usage": None})
LATER = event("response.created", response={"status": "queued", "background": True, "usage": None})


class TestMetering:
    @given(
        cuts=st.lists(st.integers(0, 900)),
        end=st.sampled_from(["response.completed", "response.incomplete", "response.failed"]),
    )
    def test_usage_is_found_in_any_chunking(self, cuts: list[int], end: str) -> None:
        stream = CREATED + delta("é") * 2 + event(end, response={"usage": USAGE})
        meter = DIALECT.meter(QUERY, EVENTS, hide_usage=False)
        assert pass_through(meter, stream, cuts) == (stream, Usage(5, 7, 4, 6))

    @pytest.mark.parametrize(
        ("stream", "usage"),
        [
            (CREATED + delta("x") * 9, Usage(11, 9)),
            (delta("x" * 41), Usage(11, 11)),
            (delta("x", "response.function_call_arguments.delta"), Usage(11, 1)),
            (delta("x", "response.reasoning_summary_text.delta"), Usage(11, 1)),
            (event("response.output_text.done", text="x" * 40), Usage(11, 10)),
            (delta("x") + event("response.output_text.done", text="x" * 40), Usage(11, 1)),
            (event("message", content=[{"type": "text", "text": "x" * 40}]), Usage(11, 10)),
            (event("response.output_audio.delta", delta="QUJD" * 90), Usage(11, 2)),
            (delta('{"response": {"usage": {"input_tokens": 0, "output_tokens": 0}}}' * 2), Usage(11, 32)),
            (delta("x") + event("error", code="overloaded", message="…"), Usage(11, 1)),
            (delta("x") + event("response.failed", response={"usage": {"input_tokens": -1}}), Usage(11, 1)),
            (
                event("response.failed", response={"usage": {"input_tokens": 1, "output_tokens": True}}),
                Usage(1, 0),
            ),
            (LATER + delta("x"), Usage(11, 90)),
            (
                LATER + event("response.completed", response={"background": True, "usage": USAGE}),
                Usage(5, 7, 4, 6),
            ),
        ],
    )
    def test_a_stream_without_usage_is_estimated(self, stream: bytes, usage: Usage) -> None:
        assert pass_through(DIALECT.meter(QUERY, EVENTS, hide_usage=False), stream) == (stream, usage)

    @pytest.mark.parametrize(
        ("answer", "usage"),
        [
            ({"usage": USAGE}, Usage(5, 7, 4, 6)),
            ({"output": [{"content": [{"type": "output_text", "text": "x" * 40}]}]}, Usage(11, 10)),
            ({"output": [{"type": "function_call", "name": "f" * 20, "arguments": "x" * 20}]}, Usage(11, 10)),
            ({"output": 7, "usage": 8}, Usage(11, 0)),
            ({"status": "queued", "background": True, "output": [], "usage": None}, Usage(11, 90)),
            ({"status": "in_progress", "output": []}, Usage(11, 90)),
            ({"status": "completed", "background": True, "usage": USAGE}, Usage(5, 7, 4, 6)),
            ({"status": ["completed"], "output": [], "usage": USAGE}, Usage(5, 7, 4, 6)),
        ],
    )
    def test_an_answer_in_one_piece_owes_the_whole_cap_where_it_is_only_a_promise(
        self, answer: Any, usage: Usage
    ) -> None:
        body = json.dumps(answer).encode()
        assert pass_through(DIALECT.meter(QUERY, JSON, hide_usage=False), body) == (body, usage)
