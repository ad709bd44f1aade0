"""JSON that was cut off."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.analyst.mending import mended


@pytest.mark.parametrize(
    ("data", "value"),
    [
        ('{"a": ["b", {"c": "de', {"a": ["b", {"c": "de"}]}),
        ('{"a": ["b", {"c": 1, "d', {"a": ["b", {"c": 1}]}),
        ('{"a": 1, "b":', {"a": 1}),
        ('{"a": 1, "b": 2', {"a": 1}),
        ('{"a": 1, "b": -', {"a": 1}),
        ('{"a": {"b": tr', {"a": {}}),
        ('["a", [', ["a", []]),
        ('["a\\', ["a"]),
        ('["a\\u00e', ["a"]),
        ('["a\\ud83d', ["a"]),
        ('["a\\ud83d\\ude0', ["a"]),
        ('["\\ud83d\\ude00', ["\U0001f600"]),
        ('"a', "a"),
        ("[", []),
        ('{"a": 1}', {"a": 1}),
        ("[Music] Hello", None),
        ("[Music", None),
        ("[1] says", None),
        ('{"a": 1]', None),
        ("}", None),
        ("", None),
    ],
)
def test_a_text_is_read_as_far_as_it_has_come(data: str, value: Any) -> None:
    assert mended(data.encode()) == value


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
)


@given(st.dictionaries(st.text(max_size=4), JSON), st.booleans(), st.data())
def test_all_that_has_come_is_a_beginning_of_all(
    value: dict[str, Any], escaped: bool, draw: st.DataObject
) -> None:
    data = json.dumps(value, ensure_ascii=escaped).encode()
    cut = draw.draw(st.integers(1, len(data)))

    assert _begins(mended(data[:cut]), value)


def _begins(found: Any, whole: Any) -> bool:
    """Whether a value is another one without its end."""
    if isinstance(found, str):
        return isinstance(whole, str) and whole.startswith(found)
    if isinstance(found, list):
        return isinstance(whole, list) and all(map(_begins, found, whole))
    if isinstance(found, dict):
        return all(name in whole and _begins(each, whole[name]) for name, each in found.items())
    return bool(found == whole)
