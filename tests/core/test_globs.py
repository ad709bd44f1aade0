from __future__ import annotations

import pytest

from guard.core.globs import GlobTable, is_glob


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("gpt-4o", 1),
        ("gpt-4o-mini", 2),
        ("gpt-5", 3),
        ("o1", 4),
        ("o2", 4),
        ("o3", None),
        ("GPT-4o", 1),
        ("", None),
        ("gpt-4o\n", 1),
        ("xgpt-4o", None),
    ],
)
def test_a_names_own_entry_is_found_before_the_first_glob_that_matches(name: str, entry: int | None) -> None:
    table = GlobTable.of({"gpt-4o-m*": 2, "gpt-*": 3, "gpt-4o": 1, "o[12]": 4})
    assert table.find(name) == entry


@pytest.mark.parametrize(("name", "glob"), [("gpt-4o", False), ("gpt-*", True), ("o?", True), ("[a]", True)])
def test_a_name_with_a_sign_is_a_glob(name: str, *, glob: bool) -> None:
    assert is_glob(name) is glob
