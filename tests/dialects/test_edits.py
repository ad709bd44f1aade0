from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

import pytest

from guard.dialects import edits

if TYPE_CHECKING:
    from collections.abc import Callable

FIELDS: dict[str, Any] = {
    "a": 1,
    "flag": True,
    "text": "ab",
    "inner": {"b": 2},
    "items": [{"c": 3}, "x", {"d": 4}],
    "names": ["one", "two"],
}


def drop_b(inner: dict[str, Any]) -> dict[str, Any]:
    return edits.without(inner, {"b"})


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (lambda fields: edits.without(fields, {"a", "flag", "z"}), {"a": None, "flag": None}),
        (lambda fields: edits.changed(fields, "a", value=2), {"a": 2}),
        (lambda fields: edits.inside(fields, "inner", drop_b), {"inner": {}}),
        (
            lambda fields: edits.each(fields, "items", lambda item: None if "c" in item else item),
            {"items": ["x", {"d": 4}]},
        ),
        (lambda fields: edits.text(fields, "text", str.upper), {"text": "AB"}),
        (lambda fields: edits.capped(fields, ["a", "flag", "text"], 0), {"a": 0}),
        (lambda fields: edits.unlisted(fields, "names", "one"), {"names": ["two"]}),
    ],
)
def test_a_change_is_made_in_a_copy(
    edit: Callable[[dict[str, Any]], dict[str, Any]], expected: dict[str, Any]
) -> None:
    before = deepcopy(FIELDS)
    assert edit(FIELDS) == {
        name: value for name, value in {**FIELDS, **expected}.items() if value is not None
    }
    assert before == FIELDS


@pytest.mark.parametrize(
    "edit",
    [
        lambda fields: edits.without(fields, {"z"}),
        lambda fields: edits.changed(fields, "a", value=1),
        lambda fields: edits.inside(fields, "z", drop_b),
        lambda fields: edits.inside(fields, "text", drop_b),
        lambda fields: edits.inside(fields, "inner", lambda inner: inner),
        lambda fields: edits.each(fields, "items", lambda item: item),
        lambda fields: edits.each(fields, "inner", lambda item: None),
        lambda fields: edits.text(fields, "text", str.lower),
        lambda fields: edits.text(fields, "a", str.upper),
        lambda fields: edits.capped(fields, ["a", "z"], 1),
        lambda fields: edits.unlisted(fields, "names", "three"),
        lambda fields: edits.unlisted(fields, "text", "a"),
    ],
)
def test_where_there_is_nothing_to_change_the_same_object_comes_back(
    edit: Callable[[dict[str, Any]], dict[str, Any]],
) -> None:
    assert edit(FIELDS) is FIELDS
