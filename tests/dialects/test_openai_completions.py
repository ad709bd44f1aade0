from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from passing import EVENTS, JSON, pass_through

from guard.core.query import Query, Turn, Usage
from guard.dialects.openai_completions import OpenAICompletions
from guard.errors import QueryError

DIALECT = OpenAICompletions()
QUERY = Query("m", (), stream=True, max_output_tokens=None, n=1, input_bytes=44, other_tokens=0)
DONE = b"data: [DONE]\n\n"


def payload(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "prompt": "hello", **fields}


def read(**fields: Any) -> Query:
    return DIALECT.read(payload(**fields), "/v1/completions")


class TestReading:
    @pytest.mark.parametrize(
        ("prompt", "texts", "input_tokens", "n"),
        [
            ("hello", ["hello"], 2, 1),
            ("", [""], 0, 1),
            (["hello"], ["hello"], 2, 1),
            (["hello", "you"], ["hello", "you"], 2, 2),
            ([1, 2, 3], [], 3, 1),
            ([[1, 2, 3]], [], 3, 1),
            ([[1, 2, 3], [4], []], [], 4, 3),
        ],
    )
    def test_a_prompt_is_text_or_tokens_once_or_several_times(
        self, prompt: Any, texts: list[str], input_tokens: int, n: int
    ) -> None:
        query = read(prompt=prompt)
        assert query.turns == tuple(Turn("user", text) for text in texts)
        assert (query.input_tokens, query.n) == (input_tokens, n)

    @pytest.mark.parametrize(
        ("fields", "n"),
        [
            ({"n": 3}, 3),
            ({"best_of": 4}, 4),
            ({"n": 2, "best_of": 5}, 5),
            ({"n": 3, "prompt": ["a", "b"]}, 6),
            ({"best_of": 4, "prompt": [[1], [2], [3]]}, 12),
            ({"n": None, "prompt": [7, 8]}, 1),
        ],
    )
    def test_every_prompt_is_answered_as_often_as_was_asked(self, fields: dict[str, Any], n: int) -> None:
        assert read(**fields).n == n

    @pytest.mark.parametrize(
        ("fields", "cap"), [({}, None), ({"max_tokens": 0, "echo": True}, None), ({"max_tokens": 7}, 7)]
    )
    def test_the_cap(self, fields: dict[str, Any], cap: int | None) -> None:
        assert read(**fields).max_output_tokens == cap

    def test_a_suffix_goes_with_every_prompt_and_other_text_counts_once(self) -> None:
        assert read(prompt=["a", "b"], suffix="x" * 40, guided_regex="y" * 40).input_bytes == 2 + 80 + 12 + 40

    def test_whom_the_caller_names_as_its_user(self) -> None:
        assert read(user="u").end_user == "u"

    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"prompt": None}, "prompt"),
            ({"prompt": []}, "prompt"),
            ({"prompt": 7}, "prompt"),
            ({"prompt": {}}, "prompt"),
            ({"prompt": ["a", 1]}, "prompt"),
            ({"prompt": [1, "a"]}, "prompt"),
            ({"prompt": [1.0]}, "prompt"),
            ({"prompt": [True]}, "prompt"),
            ({"prompt": [[1], "a"]}, "prompt"),
            ({"prompt": [["a"]]}, "prompt"),
            ({"prompt": [[[1]]]}, "prompt"),
            ({"suffix": 7}, "suffix"),
            ({"model": None}, "model"),
            ({"n": 0}, "n"),
            ({"n": "2"}, "n"),
            ({"best_of": True}, "best_of"),
            ({"max_tokens": -1}, "max_tokens"),
            ({"max_tokens": "7"}, "max_tokens"),
            ({"logprobs": True}, "logprobs"),
            ({"echo": "yes"}, "echo"),
            ({"stream": 1}, "stream"),
            ({"logit_bias": []}, "logit_bias"),
            ({"stream_options": []}, "stream_options"),
            ({"user": 7}, "user"),
            ({"Best_Of": 9}, "Best_Of"),
        ],
    )
    def test_wrong_fields_are_named(self, fields: dict[str, Any], param: str) -> None:
        with pytest.raises(QueryError) as refused:
            read(**fields)
        assert refused.value.param == param

    def test_streams_are_asked_for_their_usage(self) -> None:
        assert DIALECT.ask_usage(payload()) is None
        asked = payload(stream=True, stream_options={"include_usage": True})
        assert DIALECT.ask_usage(payload(stream=True)) == asked
        assert DIALECT.ask_usage(asked) is None


def event(value: Any) -> bytes:
    return f"data: {json.dumps(value)}\n\n".encode()


def text(words: str, **more: Any) -> bytes:
    return event({"choices": [{"index": 0, "text": words}], **more})


USAGE = event({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 7}})


class TestMetering:
    @given(cuts=st.lists(st.integers(0, 400)), hide=st.booleans())
    def test_usage_is_found_and_hidden_in_any_chunking(self, cuts: list[int], *, hide: bool) -> None:
        head = text("é", usage=None) + text("b")
        meter = DIALECT.meter(QUERY, EVENTS, hide_usage=hide)
        out = head + DONE if hide else head + USAGE + DONE
        assert pass_through(meter, head + USAGE + DONE, cuts) == (out, Usage(5, 7))

    @pytest.mark.parametrize(
        ("stream", "usage"),
        [
            (text("x") * 9, Usage(11, 9)),
            (text("x" * 41), Usage(11, 11)),
            (text("x", usage={"prompt_tokens": 5, "completion_tokens": 30}), Usage(5, 30)),
            (event({"choices": [{"text": 7}, None], "usage": "x"}), Usage(11, 0)),
            (event({"error": {"message": "overloaded"}}), Usage(11, 0)),
        ],
    )
    def test_a_stream_that_was_cut_is_estimated(self, stream: bytes, usage: Usage) -> None:
        meter = DIALECT.meter(QUERY, EVENTS, hide_usage=True)
        assert pass_through(meter, stream) == (stream, usage)

    @pytest.mark.parametrize(
        ("answer", "usage"),
        [
            ({"usage": {"prompt_tokens": 5, "completion_tokens": 7}}, Usage(5, 7)),
            ({"choices": [{"text": "x" * 40}, {"text": "y" * 40}]}, Usage(11, 20)),
            ({"choices": [{"text": "x" * 40}], "usage": {"prompt_tokens": 5}}, Usage(5, 10)),
        ],
    )
    def test_an_answer_in_one_piece(self, answer: Any, usage: Usage) -> None:
        body = json.dumps(answer).encode()
        assert pass_through(DIALECT.meter(QUERY, JSON, hide_usage=False), body) == (body, usage)
