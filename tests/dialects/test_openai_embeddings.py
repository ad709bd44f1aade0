from __future__ import annotations

import json
from typing import Any

import pytest
from passing import JSON, pass_through

from guard.core.query import Query, Turn, Usage
from guard.dialects import DIALECTS
from guard.dialects.openai_embeddings import OpenAIEmbeddings
from guard.errors import QueryError

DIALECT = OpenAIEmbeddings()


def read(**fields: Any) -> Query:
    return DIALECT.read({"model": "m", "input": "hello", **fields}, "/v1/embeddings")


@pytest.mark.parametrize(
    ("given", "texts", "input_tokens", "n"),
    [
        ("hello", ["hello"], 2, 1),
        (["hello", "you"], ["hello", "you"], 2, 2),
        ([1, 2, 3], [], 3, 1),
        ([[1, 2], [3]], [], 3, 2),
    ],
)
def test_an_input_is_text_or_tokens_once_or_several_times(
    given: Any, texts: list[str], input_tokens: int, n: int
) -> None:
    query = read(input=given, user="u", encoding_format="base64", dimensions=8)
    assert query.turns == tuple(Turn("user", text) for text in texts)
    assert (query.input_tokens, query.n, query.max_output_tokens) == (input_tokens, n, 0)
    assert (query.stream, query.end_user) == (False, "u")
    assert DIALECT.ask_usage({"model": "m", "input": given}) is None


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": [{}]}, "input"),
        ({"input": ["a", 1]}, "input"),
        ({"model": 7}, "model"),
        ({"dimensions": "8"}, "dimensions"),
        ({"dimensions": 0}, "dimensions"),
        ({"Input": "x"}, "Input"),
        ({"user": []}, "user"),
    ],
)
def test_wrong_fields_are_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(QueryError) as refused:
        read(**fields)
    assert refused.value.param == param


@pytest.mark.parametrize(
    ("answer", "usage"),
    [
        (
            b'{"data": [{"embedding": [0.1, 0.2]}], "usage": {"prompt_tokens": 5, "total_tokens": 5}}',
            Usage(5, 0),
        ),
        (b'{"data": [{"embedding": [0.1, 0.2]}]}', Usage(2, 0)),
        (b'{"usage": {"prompt_tokens": -5}}', Usage(2, 0)),
        (json.dumps({"usage": []}).encode(), Usage(2, 0)),
        (b"\x00" * 4000, Usage(2, 0)),
    ],
)
def test_vectors_are_no_output(answer: bytes, usage: Usage) -> None:
    assert pass_through(DIALECT.meter(read(), JSON, hide_usage=False), answer, [3]) == (answer, usage)


@pytest.mark.parametrize("dialect", ["openai.embeddings", "gemini.embed", "ollama.embed"])
@pytest.mark.parametrize("size", [700, 65_536])
@pytest.mark.parametrize("first", [True, False])
def test_usage_is_found_beside_any_number_of_vectors(dialect: str, size: int, *, first: bool) -> None:
    reports: dict[str, dict[str, Any]] = {
        "openai.embeddings": {"usage": {"prompt_tokens": 77}},
        "gemini.embed": {"usageMetadata": {"promptTokenCount": 77}},
        "ollama.embed": {"prompt_eval_count": 77},
    }
    report = reports[dialect]
    vectors = [{"embedding": [0.1, -2e-05, 3] * 400, "text": '[1, 2] \\ "] ['} for _ in range(90)]
    answer = {**report, "data": vectors} if first else {"data": vectors, **report}
    body = json.dumps(answer).encode()
    meter = DIALECTS[dialect].meter(read(), JSON, hide_usage=False)
    assert pass_through(meter, body, range(0, len(body), size)) == (body, Usage(77, 0))


def test_a_vector_without_an_end_is_let_pass() -> None:
    body = b'{"data": [' + b"0.1, " * 500_000
    meter = DIALECT.meter(read(), JSON, hide_usage=False)
    assert pass_through(meter, body, range(0, len(body), 10_000)) == (body, Usage(2, 0))
