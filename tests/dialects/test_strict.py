from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
        b'{"n":1,"n":1.0,"\\u006e":1}',
        b'{"":1,"":2}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":1e999}',
        b'{"a":-1e999}',
        b"\xef\xbb\xbf{}",
        '{"a":1}'.encode("utf-16"),
        '{"a":1}'.encode("utf-16-le"),
        '{"a":1}'.encode("utf-16-be"),
        '{"a":1}'.encode("utf-32"),
        '{"a":1}'.encode("utf-32-le"),
        '{"a":1}'.encode("utf-32-be"),
        b'{"a":"\xff"}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\xc0\xaf"}',
        b'{"a":"\xe2\x82"}',
        b'{"a":"\\ud800"}',
        b'{"a":"\\udc00 \\ud800"}',
        b'{"\\ud83d":1}',
        b'{"a":[{"b":"\\uD83D\\u0041"}]}',
        b'{"a":01}',
        b'{"a":+1}',
        b'{"a":.5}',
        b'{"a":0x10}',
        b"{'a':1}",
        b'{"a":1}//',
        b'{"a":"\x00"}',
        b'{"a":' + b"9" * 10_000 + b"}",
        b"[" * (5 << 20),
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
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


@pytest.mark.parametrize(("opens", "closes"), [("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")])
def test_a_body_that_is_nested_too_deeply_is_refused(opens: str, closes: str) -> None:
    most = (strict.DEEPEST - 1) // len(closes)
    strict.parse_object(f'{{"a":{opens * most}1{closes * most}}}'.encode())
    with pytest.raises(QueryError, match="nested too deeply"):
        strict.parse_object(f'{{"a":{opens * (most + 1)}1{closes * (most + 1)}}}'.encode())
    strict.parse_object(f'{{"a":"{"[{" * 1_000}"}}'.encode())


def test_a_payload_is_written_as_it_was_read() -> None:
    value = {"b": 1, "a": [1.5, "é\N{GRINNING FACE}", 2**60, None], "c": {}}
    assert json.loads(strict.serialize(value)) == value
    assert list(json.loads(strict.serialize(value))) == ["b", "a", "c"]


@pytest.mark.parametrize(
    ("value", "read"),
    [(None, None), (0, 0), (-0.0, 0), (128, 128), (128.0, 128), (2**53 - 1, 2**53 - 1)],
)
def test_integers_are_read(value: Any, read: int | None) -> None:
    assert strict.integer({"n": value}, "n") == read
    assert strict.integer({}, "n") is None


@pytest.mark.parametrize(
    "value", ["128", "1_0", True, False, 1.5, -1, -1.0, 2**53, 2.0**53, 1e300, 10**400, [], {}, ""]
)
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


@given(
    value=st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**60), 2**60)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ).map(lambda value: {"a": value}),
    escaped=st.booleans(),
)
def test_whatever_is_read_is_what_was_written(value: dict[str, Any], *, escaped: bool) -> None:
    body = json.dumps(value, ensure_ascii=escaped).encode()
    assert strict.parse_object(body) == value
    assert strict.parse_object(strict.serialize(value)) == value


@given(body=st.binary(max_size=40) | st.text('{}[]:,"\\ud8c0aN1e9-. ', max_size=40).map(str.encode))
def test_no_body_fails_in_another_way(body: bytes) -> None:
    with suppress(QueryError):
        assert strict.parse_object(body) == json.loads(body)


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (b'{"model":"x","mod\\u0065l":"y"}', "model"),
        (b'{"a":{"b":[{"c":1,"c":2}]}}', "c"),
        (b'{"' + b"x" * 999 + b'":1,"' + b"x" * 999 + b'":2}', "x" * 64),
    ],
)
def test_a_name_that_stands_twice_is_told(body: bytes, name: str) -> None:
    with pytest.raises(QueryError, match="stands twice") as refused:
        strict.parse_object(body)
    assert refused.value.param == name


@pytest.mark.parametrize(
    "body", [b'{"a":"\\ud83d\\ude00"}', b'{"a":"\\uD83D\\uDE00"}', '{"a":"\N{GRINNING FACE}"}'.encode()]
)
def test_a_pair_of_surrogates_is_one_character(body: bytes) -> None:
    assert strict.parse_object(body) == {"a": "\N{GRINNING FACE}"}


def test_a_payload_that_utf8_cannot_carry_is_not_written() -> None:
    with pytest.raises(QueryError, match="surrogate"):
        strict.serialize({"a": "\ud800"})


# Go's decoder (Ollama) folds as Unicode does: U+017F is an `s`, U+212A a `k`.
@pytest.mark.parametrize("name", ["\u017ftream", "mes\u017fages", "max_to\u212aens", "MAX_TO\u212aEN\u017f"])
def test_a_name_that_only_folds_to_ours_is_refused(name: str) -> None:
    with pytest.raises(QueryError) as refused:
        strict.refuse_variants({name: 1}, {"stream", "messages", "max_tokens"})
    assert refused.value.param == name


@pytest.mark.parametrize("value", [None, "", 7, [], {}, True])
def test_a_string_must_be_there(value: Any) -> None:
    with pytest.raises(QueryError) as refused:
        strict.string({"role": value}, "role", where="messages[3].")
    assert refused.value.param == "messages[3].role"


@pytest.mark.parametrize("value", [None, {}, "x", [1], [{}, None], 7])
def test_a_list_of_objects_is_nothing_else(value: Any) -> None:
    with pytest.raises(QueryError) as refused:
        strict.objects(value, "messages")
    assert refused.value.param == "messages"


@pytest.mark.parametrize("name", ["maxOutputTokens", "n"])
def test_names_are_taken_as_they_are_written(name: str) -> None:
    strict.refuse_variants({name: 1, "other": 2}, {"maxOutputTokens", "n"})


@pytest.mark.parametrize("name", ["MaxOutputTokens", "maxoutputtokens", "N", "MAXOUTPUTTOKENS"])
def test_names_in_another_case_are_refused(name: str) -> None:
    with pytest.raises(QueryError) as refused:
        strict.refuse_variants({name: 1}, {"maxOutputTokens", "n"})
    assert refused.value.param == name


@pytest.mark.parametrize(
    ("value", "label"), [(None, None), ("", None), ("u", "u"), ("é" * strict.LONGEST_LABEL, "é" * 256)]
)
def test_a_label_is_short_or_absent(value: Any, label: str | None) -> None:
    assert strict.label({"user": value}, "user") == label


@pytest.mark.parametrize("value", [7, True, [], {}, "x" * (strict.LONGEST_LABEL + 1)])
def test_a_label_of_another_kind_is_refused(value: Any) -> None:
    with pytest.raises(QueryError) as refused:
        strict.label({"user": value}, "user")
    assert refused.value.param == "user"


@pytest.mark.parametrize(
    ("value", "they_are"),
    [
        ([], True),
        ([1, 2], True),
        ([True], False),
        ([1.0], False),
        (["1"], False),
        ("12", False),
        (None, False),
    ],
)
def test_token_ids_are_integers(value: Any, *, they_are: bool) -> None:
    assert strict.are_tokens(value) is they_are


@pytest.mark.parametrize(
    ("value", "number", "whole"),
    [
        (None, None, None),
        (7, 7.0, 7),
        (7.0, 7.0, 7),
        (0.5, 0.5, None),
        (-1, -1.0, -1),
        (2**60, None, 2**60),
        (10**400, None, 10**400),
        (True, None, None),
        ("7", None, None),
        ([7], None, None),
    ],
)
def test_what_is_no_number_is_not_refused_where_it_is_only_watched(
    value: Any, number: float | None, whole: int | None
) -> None:
    assert strict.number({"seed": value}, "seed") == number
    assert strict.whole_number({"seed": value}, "seed") == whole
    assert strict.number({}, "seed") is None
