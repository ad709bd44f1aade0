from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.core.query import Query, text_bytes

QUERY = Query("m", (), stream=False, max_output_tokens=None, n=1, input_bytes=0, other_tokens=0)


@pytest.mark.parametrize(
    ("text", "size"),
    [("", 0), ("a", 1), ("é", 2), ("€", 3), ("😀", 4), ("\ud800", 3), ("\ud83d\ude00", 6), ("\0", 1)],
)
def test_a_text_is_measured_in_utf_8(text: str, size: int) -> None:
    assert text_bytes(text) == size


@pytest.mark.parametrize(
    ("size", "bytes_per_token", "tokens"),
    [
        (0, 4.0, 0),
        (1, 4.0, 1),
        (4, 4.0, 1),
        (5, 4.0, 2),
        (8, 4.0, 2),
        (10, 2.5, 4),
        (11, 2.5, 5),
        (3, 0.5, 6),
        (1, 100.0, 1),
        (4_000_000, 4.0, 1_000_000),
        (4_000_001, 4.0, 1_000_001),
    ],
)
def test_the_estimate_goes_by_bytes(size: int, bytes_per_token: float, tokens: int) -> None:
    query = QUERY._replace(bytes_per_token=bytes_per_token)
    assert query.text_tokens(size) == tokens
    assert query._replace(input_bytes=size).input_tokens == tokens


@pytest.mark.parametrize(
    ("input_bytes", "other_tokens", "tokens"), [(0, 0, 0), (0, 7, 7), (1, 0, 1), (1, 7, 8), (9, 85, 88)]
)
def test_what_is_no_text_counts_too(input_bytes: int, other_tokens: int, tokens: int) -> None:
    assert QUERY._replace(input_bytes=input_bytes, other_tokens=other_tokens).input_tokens == tokens


@given(text=st.text(st.characters(), min_size=1))
def test_the_estimate_is_never_nothing_for_something(text: str) -> None:
    assert 1 <= QUERY.text_tokens(text_bytes(text)) <= len(text)


@given(
    sizes=st.lists(st.integers(0, 10**9), min_size=1, max_size=9),
    bytes_per_token=st.floats(0.5, 20),
)
def test_a_text_in_pieces_is_never_estimated_lower(sizes: list[int], bytes_per_token: float) -> None:
    query = QUERY._replace(bytes_per_token=bytes_per_token)
    whole = query.text_tokens(sum(sizes))
    assert whole <= sum(query.text_tokens(size) for size in sizes) <= whole + len(sizes)
    assert math.isclose(whole, sum(sizes) / bytes_per_token, abs_tol=1)
