from __future__ import annotations

import json
from typing import Any

import pytest

from guard.dialects import strict
from guard.errors import QueryError


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"  \n",
        b"null",
        b"[]",
        b'"text"',
        b"{",
        b"{}{}",
        b'{"a":1,}',
        b'{"a":1,"a":1}',
        b'{"model":"x","mod\\u0065l":"y"}',
        b'{"a":{"b":[{"c":1,"c":2}]}}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":1e999}',
        b'{"a":-1e999}',
        b"\xef\xbb\xbf{}",
        '{"a":1}'.encode("utf-16"),
        '{"a":1}'.encode("utf-16-le"),
        '{"a":1}'.encode("utf-32"),
        b'{"a":"\xff"}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\\ud800"}',
        b'{"a":"\\udc00 \\ud800"}',
        b'{"\\ud83d":1}',
        b'{"a":"\x00"}',
        b'{"a":' + b"9" * 10_000 + b"}",
        b"[" * (5 << 20),
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    ],
)
def test_a_body_that_could_be_read_in_two_ways_is_refused(body: bytes) -> None:
    with pytest.raises(QueryError) as refused:
        strict.parse_object(body)
    assert refused.value.status == 400
    assert len(refused.value.message) < 300


def test_a_body_that_can_be_read_in_one_way_is_read() -> None:
    value = {"a": [1, -0.5, 1e300, True, None, "é", "\N{GRINNING FACE}", "\x00"], "A": {"a": {}}}
    assert strict.parse_object(json.dumps(value).encode()) == value
    assert strict.parse_object(json.dumps(value, ensure_ascii=False).encode()) == value


def test_a_payload_is_written_as_it_was_read() -> None:
    value = {"b": 1, "a": [1.5, "é\N{GRINNING FACE}", 2**60, None], "c": {}}
    assert json.loads(strict.serialize(value)) == value
    assert list(json.loads(strict.serialize(value))) == ["b", "a", "c"]


@pytest.mark.parametrize(
    ("value", "read"),
    [(None, None), (0, 0), (128, 128), (128.0, 128), (2**53 - 1, 2**53 - 1)],
)
def test_integers_are_read(value: Any, read: int | None) -> None:
    assert strict.integer({"n": value}, "n") == read
    assert strict.integer({}, "n") is None


@pytest.mark.parametrize("value", ["128", "1_0", True, False, 1.5, -1, 2**53, [], {}, ""])
def test_what_is_not_quite_an_integer_is_refused(value: Any) -> None:
    with pytest.raises(QueryError) as refused:
        strict.integer({"n": value}, "n")
    assert refused.value.param == "n"


def test_an_integer_has_a_least_value() -> None:
    assert strict.integer({"n": 1}, "n", least=1) == 1
    with pytest.raises(QueryError, match="at least 1"):
        strict.integer({"n": 0}, "n", least=1)


@pytest.mark.parametrize("value", ["on", "true", 1, 0, [], {}])
def test_what_is_not_quite_a_boolean_is_refused(value: Any) -> None:
    with pytest.raises(QueryError):
        strict.boolean({"stream": value}, "stream")


def test_booleans_are_false_where_they_are_absent() -> None:
    assert not strict.boolean({}, "stream")
    assert not strict.boolean({"stream": None}, "stream")
    assert strict.boolean({"stream": True}, "stream")


@pytest.mark.parametrize("name", ["Model", "MODEL", "Max_Tokens", "N"])
def test_a_name_in_other_case_is_refused(name: str) -> None:
    with pytest.raises(QueryError) as refused:
        strict.refuse_variants({"model": "m", name: 1}, {"model", "max_tokens", "n"})
    assert refused.value.param == name


def test_names_that_are_nobodys_variant_pass() -> None:
    strict.refuse_variants({"model": 1, "Unknown": 2}, {"model"})
