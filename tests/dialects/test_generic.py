from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from passing import EVENTS, JSON, LINES, pass_through

from guard.core.query import TOKENS_PER_TURN, Query, Turn, Usage
from guard.dialects import Generic, GenericPaths
from guard.dialects.base import OPAQUE_TOKENS, Refusal
from guard.dialects.json_paths import JsonPath
from guard.errors import QueryError

CHAT = Generic(
    "ours.chat",
    GenericPaths(
        text=("system", "messages[*].content", "messages[*].content[*].text"),
        model="model",
        max_output_tokens="options.max_tokens",
        n="options.n",
        stream="stream",
        end_user="client.user",
        input_tokens="usage.in",
        output_tokens="usage.out",
        answer_text=("choices[*].text", "delta"),
    ),
)
TGI = Generic(
    "tgi",
    GenericPaths(
        text=("inputs",),
        model_name="llama",
        max_output_tokens="parameters.max_new_tokens",
        output_tokens="details.generated_tokens",
        answer_text=("token.text", "generated_text"),
    ),
)
QUERY = Query("m", (), stream=True, max_output_tokens=None, n=1, input_bytes=44, other_tokens=0)


def read(**fields: Any) -> Query:
    return CHAT.read({"model": "m", "messages": [{"content": "hello"}], **fields}, "/chat")


class TestPlaces:
    @pytest.mark.parametrize(
        ("text", "steps"),
        [
            ("inputs", ("inputs",)),
            ("parameters.max_new_tokens", ("parameters", "max_new_tokens")),
            ("messages[*].content", ("messages", "[*]", "content")),
            ("rows[*][*]", ("rows", "[*]", "[*]")),
            ("x-y.$z", ("x-y", "$z")),
        ],
    )
    def test_names_and_lists(self, text: str, steps: tuple[str, ...]) -> None:
        assert JsonPath.parse(text).steps == steps
        assert str(JsonPath.parse(text)) == text

    @pytest.mark.parametrize(
        "text",
        [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "[*]",
            "[*].a",
            "a[0]",
            "a[]",
            "a.[*]",
            "a[*]b",
            "a b",
            " a",
            "a]",
            "a[*",
        ],
    )
    def test_whatever_else_is_refused_with_what_would_be_right(self, text: str) -> None:
        with pytest.raises(
            ValueError, match=r"write names divided by dots.*messages\[\*\]\.content"
        ) as refused:
            JsonPath.parse(text)
        assert repr(text) in str(refused.value)

    @pytest.mark.parametrize(
        ("text", "found"),
        [("a", [[{"b": 1}, {"b": 2}, 7]]), ("a[*].b", [1, 2]), ("a.b", []), ("c", []), ("d.e", [None])],
    )
    def test_they_find_what_is_there(self, text: str, found: list[Any]) -> None:
        value = {"a": [{"b": 1}, {"b": 2}, 7], "d": {"e": None}}
        assert list(JsonPath.parse(text).find(value)) == found


class TestPaths:
    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"text": ()}, "'text' must name at least one place"),
            ({"model": None}, "give 'model'.* or 'model_name'"),
            ({"model_name": "m"}, "give 'model'.* or 'model_name'"),
            ({"model": None, "model_name": ""}, "'model_name' must not be empty"),
            ({"text": ("a[0]",)}, r"'a\[0\]' is no place"),
            ({"n": "a..b"}, r"'a\.\.b' is no place"),
            ({"answer_text": ("ok", "")}, "'' is no place"),
            ({"max_output_tokens": "a[*].b"}, r"'max_output_tokens' is one value, so 'a\[\*\]\.b' cannot"),
            ({"output_tokens": "usage[*]"}, "'output_tokens' is one value"),
            ({"model": "models[*]"}, "'model' is one value"),
        ],
    )
    def test_what_cannot_work_is_said(self, fields: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            GenericPaths(**{"text": ("text",), "model": "model", **fields})


class TestReading:
    def test_every_field_is_where_it_was_said_to_be(self) -> None:
        assert read(
            system="be brief",
            options={"max_tokens": 9, "n": 3},
            stream=True,
            client={"user": "u"},
        ) == Query(
            "m",
            (Turn("user", "be brief"), Turn("user", "hello")),
            stream=True,
            max_output_tokens=9,
            n=3,
            input_bytes=13,
            other_tokens=2 * TOKENS_PER_TURN,
            end_user="u",
        )

    def test_what_is_not_there_is_as_if_not_asked_for(self) -> None:
        for fields in ({}, {"options": None, "client": None, "stream": None}, {"options": {"n": None}}):
            assert read(**fields) == Query("m", (Turn("user", "hello"),), False, None, 1, 5, TOKENS_PER_TURN)

    @pytest.mark.parametrize(
        ("inputs", "texts", "other_tokens"),
        [
            ("hello", ["hello"], TOKENS_PER_TURN),
            (["a", "b"], ["a", "b"], 2 * TOKENS_PER_TURN),
            ([1, 2, 3], [], 3),
        ],
    )
    def test_a_text_may_be_several_or_tokens(self, inputs: Any, texts: list[str], other_tokens: int) -> None:
        query = TGI.read({"inputs": inputs}, "/generate")
        assert query.turns == tuple(Turn("user", text) for text in texts)
        assert (query.other_tokens, query.model) == (other_tokens, "llama")

    def test_one_field_may_have_two_shapes_and_what_has_no_text_is_opaque(self) -> None:
        query = read(
            messages=[
                {"content": "a"},
                {"content": [{"type": "text", "text": "b"}, {"type": "image", "data": "…"}]},
                {"role": "tool"},
                {"content": ["c", "d"]},
            ]
        )
        assert query.turns == tuple(Turn("user", text) for text in "abcd")
        assert query.other_tokens == 4 * TOKENS_PER_TURN + 2 * OPAQUE_TOKENS

    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"model": None}, "model"),
            ({"model": 7}, "model"),
            ({"Model": "x"}, "Model"),
            ({"messages": []}, None),
            ({"messages": None}, None),
            ({"messages": "hello"}, "messages"),
            ({"messages": {"content": "x"}}, "messages"),
            ({"messages": ["hello"]}, "messages[0]"),
            ({"messages": [{"content": "x"}, 7]}, "messages[1]"),
            ({"messages": [{"content": 7}]}, "messages[0].content"),
            ({"messages": [{"content": {"text": "x"}}]}, "messages[0].content"),
            ({"messages": [{"content": ["x", {"text": "y"}]}]}, "messages[0].content[0]"),
            ({"messages": [{"content": [{"text": {}}]}]}, "messages[0].content[0].text"),
            ({"messages": [{"content": "x", "Content": "y"}]}, "Content"),
            ({"system": True}, "system"),
            ({"options": 7}, "options"),
            ({"options": {"max_tokens": "9"}}, "max_tokens"),
            ({"options": {"max_tokens": 0}}, "max_tokens"),
            ({"options": {"n": True}}, "n"),
            ({"options": {"N": 7}}, "N"),
            ({"stream": "yes"}, "stream"),
            ({"client": {"user": 7}}, "user"),
            ({"client": {"user": "x" * 257}}, "user"),
        ],
    )
    def test_wrong_fields_are_named(self, fields: dict[str, Any], param: str | None) -> None:
        with pytest.raises(QueryError) as refused:
            read(**fields)
        assert refused.value.param == param

    def test_where_the_text_should_be_is_said(self) -> None:
        with pytest.raises(QueryError) as refused:
            read(messages=[])
        assert refused.value.message == (
            "There is no text; it should be at 'system' or 'messages[*].content' or "
            "'messages[*].content[*].text'."
        )

    def test_nothing_is_asked_of_an_api_that_nobody_knows(self) -> None:
        assert CHAT.ask_usage({"stream": True}) is None


class TestMetering:
    @given(cuts=st.lists(st.integers(0, 300)))
    @pytest.mark.parametrize(
        ("start", "end", "content_type"), [("data: ", "\n\n", EVENTS), ("", "\n", LINES)]
    )
    def test_usage_is_found_in_any_chunking(
        self, start: str, end: str, content_type: str, cuts: list[int]
    ) -> None:
        parts = [{"delta": "é"}, {"delta": "b"}, {"usage": {"in": 5, "out": 7}}]
        stream = "".join(f"{start}{json.dumps(part)}{end}" for part in parts).encode()
        meter = CHAT.meter(QUERY, content_type, hide_usage=False)
        assert pass_through(meter, stream, cuts) == (stream, Usage(5, 7))

    @pytest.mark.parametrize(
        ("parts", "usage"),
        [
            ([{"delta": "x"}] * 9, Usage(11, 9)),
            ([{"delta": "x" * 41}], Usage(11, 11)),
            ([{"delta": "x", "usage": {"in": 5, "out": 30}}, {"delta": "x"}], Usage(5, 31)),
            ([{"delta": "x"}, {"delta": "", "usage": {"in": 5, "out": 3}}], Usage(5, 3)),
            ([{"delta": "x"}, {"usage": {"in": -5, "out": True}}], Usage(11, 1)),
            ([{"delta": 7}, {"usage": 8}, {"choices": [{"text": "x" * 40}, 7]}], Usage(11, 10)),
        ],
    )
    def test_a_report_next_to_text_is_a_running_total(self, parts: list[Any], usage: Usage) -> None:
        stream = "".join(f"data: {json.dumps(part)}\n\n" for part in parts).encode()
        assert pass_through(CHAT.meter(QUERY, EVENTS, hide_usage=False), stream) == (stream, usage)

    @pytest.mark.parametrize(
        ("dialect", "answer", "usage"),
        [
            (CHAT, {"choices": [{"text": "x" * 40}], "usage": {"in": 5, "out": 7}}, Usage(5, 7)),
            (CHAT, {"choices": [{"text": "x" * 40}, {"text": "x" * 40}]}, Usage(11, 20)),
            (TGI, {"generated_text": "x" * 40}, Usage(11, 10)),
            (TGI, {"generated_text": "x" * 40, "details": {"generated_tokens": 3}}, Usage(11, 3)),
        ],
    )
    def test_an_answer_in_one_piece(self, dialect: Generic, answer: Any, usage: Usage) -> None:
        body = json.dumps(answer).encode()
        query = QUERY._replace(stream=False)
        assert pass_through(dialect.meter(query, JSON, hide_usage=False), body) == (body, usage)


def test_a_refusal_is_a_problem() -> None:
    answer = CHAT.refuse(Refusal(429, "No.", "rate_limit_exceeded"), "req_1")
    assert CHAT.name == "ours.chat"
    assert dict(answer.headers)["content-type"] == "application/problem+json"
    assert json.loads(answer.body)["detail"] == "No."
