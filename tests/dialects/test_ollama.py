from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from passing import JSON, LINES, pass_through, reading

from guard.core.limits import Unit
from guard.core.query import TOKENS_PER_TURN, Query, Turn, Usage
from guard.dialects.base import OPAQUE_TOKENS, Refusal
from guard.dialects.ollama import OllamaChat, OllamaGenerate
from guard.errors import QueryError

if TYPE_CHECKING:
    from guard.dialects.base import Dialect

CHAT, GENERATE = OllamaChat(), OllamaGenerate()
QUERY = Query("m", (), stream=True, max_output_tokens=None, n=1, input_bytes=44, other_tokens=0)


def chat(**fields: Any) -> Query:
    return CHAT.read(
        {"model": "m", "messages": [{"role": "user", "content": "hello"}], **fields}, "/api/chat"
    )


def generate(**fields: Any) -> Query:
    return GENERATE.read({"model": "m", "prompt": "hello", **fields}, "/api/generate")


class TestReading:
    def test_messages_are_turns(self) -> None:
        call = {"function": {"name": "f", "arguments": {"x": 1}}}
        query = chat(
            messages=[
                {"role": "system", "content": "be brief"},
                {"role": "user", "content": "see", "images": ["aGVsbG8=", "aGVsbG8="]},
                {"role": "assistant", "content": "", "thinking": "hm", "tool_calls": [call]},
                {"role": "tool", "content": "42", "tool_name": "f"},
            ]
        )
        assert query.turns == (
            Turn("system", "be brief"),
            Turn("user", "see"),
            Turn("assistant", f"hm\n{json.dumps([call])}"),
            Turn("tool", "42"),
        )
        assert query.other_tokens == 4 * TOKENS_PER_TURN + 2 * OPAQUE_TOKENS

    def test_a_prompt_has_what_stands_round_it(self) -> None:
        query = generate(
            system="be brief", suffix="x" * 10, template="y" * 20, context=[1, 2, 3], images=["…"], raw=True
        )
        assert query.turns == (Turn("system", "be brief"), Turn("user", "hello"))
        assert query.input_bytes == 8 + 5 + 10 + 20
        assert query.other_tokens == 2 * TOKENS_PER_TURN + OPAQUE_TOKENS + 3

    @pytest.mark.parametrize(
        ("fields", "stream"),
        [({}, True), ({"stream": None}, True), ({"stream": True}, True), ({"stream": False}, False)],
    )
    def test_it_streams_unless_it_is_told_not_to(self, fields: dict[str, Any], *, stream: bool) -> None:
        assert (chat(**fields).stream, generate(**fields).stream) == (stream, stream)

    @pytest.mark.parametrize(
        ("options", "cap"),
        [
            (None, None),
            ({}, None),
            ({"num_predict": None}, None),
            ({"num_predict": -1}, None),
            ({"num_predict": -2}, None),
            ({"num_predict": 0}, None),
            ({"num_predict": 7, "temperature": 0.5}, 7),
            ({"num_predict": 7.0}, 7),
        ],
    )
    def test_the_cap_is_an_option(self, options: Any, cap: int | None) -> None:
        assert chat(options=options).max_output_tokens == cap
        assert generate(options=options).max_output_tokens == cap

    def test_tools_and_schemas_count_as_input(self) -> None:
        assert chat(tools=[{"function": {"description": "x" * 400}}]).input_tokens >= 100
        assert generate(format={"description": "x" * 400}).input_tokens >= 100

    def test_loading_a_model_is_free(self) -> None:
        for query in (chat(messages=[]), chat(messages=None), generate(prompt=""), generate(prompt=None)):
            assert (query.input_tokens, query.turns) == (0, ())

    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"model": None}, "model"),
            ({"model": ""}, "model"),
            ({"stream": "no"}, "stream"),
            ({"stream": 0}, "stream"),
            ({"options": []}, "options"),
            ({"options": {"num_predict": "7"}}, "num_predict"),
            ({"options": {"num_predict": True}}, "num_predict"),
            ({"options": {"num_predict": 1.5}}, "num_predict"),
            ({"options": {"num_predict": -3}}, "num_predict"),
            ({"options": {"Num_Predict": 7}}, "Num_Predict"),
            ({"Options": {}}, "Options"),
            ({"STREAM": True}, "STREAM"),
            ({"\u017ftream": True}, "\u017ftream"),
            ({"Model": "other"}, "Model"),
            ({"logprobs": "yes"}, "logprobs"),
            ({"top_logprobs": "5"}, "top_logprobs"),
        ],
    )
    def test_wrong_fields_of_both_are_named(self, fields: dict[str, Any], param: str) -> None:
        for read in (chat, generate):
            with pytest.raises(QueryError) as refused:
                read(**fields)
            assert refused.value.param == param

    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"messages": "hello"}, "messages"),
            ({"messages": ["hello"]}, "messages"),
            ({"messages": [{"content": "x"}]}, "messages[0].role"),
            ({"messages": [{"role": "user", "content": 7}]}, "content"),
            ({"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]}, "content"),
            ({"messages": [{"role": "user", "content": "x", "Content": "y"}]}, "Content"),
            ({"messages": [{"role": "user", "images": "x"}]}, "images"),
            ({"Messages": []}, "Messages"),
        ],
    )
    def test_wrong_fields_of_a_chat_are_named(self, fields: dict[str, Any], param: str) -> None:
        with pytest.raises(QueryError) as refused:
            chat(**fields)
        assert refused.value.param == param

    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"prompt": ["x"]}, "prompt"),
            ({"system": 7}, "system"),
            ({"suffix": 7}, "suffix"),
            ({"template": 7}, "template"),
            ({"raw": "yes"}, "raw"),
            ({"context": "x"}, "context"),
            ({"context": [1.5]}, "context"),
            ({"context": [True]}, "context"),
            ({"images": "x"}, "images"),
            ({"Prompt": "y"}, "Prompt"),
        ],
    )
    def test_wrong_fields_of_a_prompt_are_named(self, fields: dict[str, Any], param: str) -> None:
        with pytest.raises(QueryError) as refused:
            generate(**fields)
        assert refused.value.param == param

    def test_usage_need_not_be_asked_for(self) -> None:
        assert CHAT.ask_usage({"stream": True}) is None


def lines(*values: Any) -> bytes:
    return b"".join(json.dumps(value, ensure_ascii=False).encode() + b"\n" for value in values)


LAST = {"model": "m", "done": True, "done_reason": "stop", "prompt_eval_count": 5, "eval_count": 7}


@pytest.mark.parametrize("dialect", [CHAT, GENERATE])
class TestMetering:
    @given(cuts=st.lists(st.integers(0, 400)))
    def test_usage_is_found_in_any_chunking(self, dialect: Dialect, cuts: list[int]) -> None:
        stream = lines({"message": {"content": "é\n"}, "done": False}, {"response": "b", "done": False}, LAST)
        meter = dialect.meter(QUERY, LINES, hide_usage=False)
        assert pass_through(meter, stream, cuts) == (stream, Usage(5, 7))

    @pytest.mark.parametrize(
        ("values", "usage"),
        [
            ([{"message": {"content": "x"}, "done": False}] * 9, Usage(11, 9)),
            ([{"response": "x", "done": False}] * 9, Usage(11, 9)),
            ([{"response": "x" * 41, "done": False}], Usage(11, 11)),
            ([{"message": {"thinking": "x"}}, {"thinking": "y"}], Usage(11, 2)),
            ([{"message": {"tool_calls": [{"function": {"name": "x" * 20}}]}}], Usage(11, 12)),
            ([{"response": "x"}, {"done": True, "eval_count": 7}], Usage(11, 7)),
            ([{"response": "x"}, {"done": True, "prompt_eval_count": 5}], Usage(5, 1)),
            ([{"done": True, "done_reason": "load"}], Usage(11, 0)),
            ([{"response": "x"}, {"done": True, "prompt_eval_count": -5, "eval_count": True}], Usage(11, 1)),
            ([{"response": "x", "eval_count": 0, "done": False}], Usage(11, 1)),
            ([{"response": "x", "eval_count": 0, "done": 1}], Usage(11, 1)),
            ([{"response": '{"done": true, "prompt_eval_count": 0, "eval_count": 0}\n'}], Usage(11, 14)),
            ([{"error": "out of memory"}], Usage(11, 0)),
            ([7, None, "x", [], {"message": 7}], Usage(11, 1)),
        ],
    )
    def test_only_the_last_line_reports(self, dialect: Dialect, values: list[Any], usage: Usage) -> None:
        stream = lines(*values)
        assert pass_through(dialect.meter(QUERY, LINES, hide_usage=False), stream) == (stream, usage)
        assert pass_through(dialect.meter(QUERY, LINES, hide_usage=False), stream[:-1])[1] == usage

    def test_an_answer_in_one_piece(self, dialect: Dialect) -> None:
        body = json.dumps({**LAST, "message": {"role": "assistant", "content": "x"}}).encode()
        assert pass_through(dialect.meter(QUERY, JSON, hide_usage=False), body) == (body, Usage(5, 7))


@pytest.mark.parametrize("dialect", [CHAT, GENERATE])
@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 429, 502, 503])
def test_a_refusal_is_a_message(dialect: Dialect, status: int) -> None:
    answer = dialect.refuse(Refusal(status, "No.", "code", "param", retry_after_us=1_500_000), "req_1")
    assert (answer.status, json.loads(answer.body)) == (status, {"error": "No."})
    headers = dict(answer.headers)
    assert (headers["x-request-id"], headers["retry-after"]) == ("req_1", "2")
    assert headers["content-type"] == "application/json"


def test_there_are_no_headers_about_limits() -> None:
    assert CHAT.limit_headers([reading(Unit.REQUESTS, 1, 2, 3)], datetime.now(UTC)) == []
