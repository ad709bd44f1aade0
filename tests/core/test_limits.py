from __future__ import annotations

import pytest

from guard.core.identity import Attribute
from guard.core.limits import Algorithm, Limit, Unit, Window, reserve_amount, settle_amount
from guard.core.query import Query, Usage, estimate_tokens


def limit(unit: Unit, *counts: int, burst: int | None = None) -> Limit:
    windows = tuple(Window(count, 60 * (place + 1), burst or count) for place, count in enumerate(counts))
    return Limit("l", unit, Attribute.KEY, Algorithm.SLIDING_WINDOW, windows)


def query(*, cap: int | None = 100, n: int = 1, input_tokens: int = 10) -> Query:
    return Query("m", (), stream=False, max_output_tokens=cap, n=n, input_tokens=input_tokens)


@pytest.mark.parametrize(
    ("unit", "asked", "amount"),
    [
        (Unit.REQUESTS, query(), 1),
        (Unit.REQUESTS, None, 1),
        (Unit.TOKENS, None, 0),
        (Unit.INPUT_TOKENS, query(), 10),
        (Unit.OUTPUT_TOKENS, query(), 100),
        (Unit.TOKENS, query(), 110),
        (Unit.OUTPUT_TOKENS, query(n=3), 300),
        (Unit.TOKENS, query(n=3), 310),
        (Unit.OUTPUT_TOKENS, query(cap=None), 500),
        (Unit.TOKENS, query(cap=None), 510),
        (Unit.OUTPUT_TOKENS, query(cap=9_999), 1_000),
        (Unit.TOKENS, query(cap=9_999), 1_000),
        (Unit.TOKENS, query(cap=9_999, n=128), 1_000),
        (Unit.TOKENS, query(input_tokens=2_000), 2_000),
        (Unit.INPUT_TOKENS, query(input_tokens=2_000), 2_000),
        (Unit.OUTPUT_TOKENS, query(input_tokens=2_000), 100),
    ],
)
def test_what_is_reserved(unit: Unit, asked: Query | None, amount: int) -> None:
    assert reserve_amount(limit(unit, 5_000, 1_000), asked, 500) == amount


def test_a_burst_bounds_what_is_reserved() -> None:
    assert reserve_amount(limit(Unit.TOKENS, 5_000, burst=50), query(), 500) == 50


@pytest.mark.parametrize(
    ("unit", "amount"),
    [(Unit.REQUESTS, 1), (Unit.INPUT_TOKENS, 7), (Unit.OUTPUT_TOKENS, 30), (Unit.TOKENS, 37)],
)
def test_what_is_settled(unit: Unit, amount: int) -> None:
    assert settle_amount(unit, Usage(7, 30)) == amount


def test_only_requests_are_known_beforehand() -> None:
    assert [unit for unit in Unit if not unit.reserved] == [Unit.REQUESTS]


@pytest.mark.parametrize(
    ("text", "tokens"), [("", 0), ("a", 1), ("abcd", 1), ("abcde", 2), ("é" * 4, 2), ("\ud800", 1)]
)
def test_the_estimate_goes_by_bytes(text: str, tokens: int) -> None:
    assert estimate_tokens(text) == tokens
