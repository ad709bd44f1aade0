from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.core.identity import EVERYTHING, Attribute
from guard.core.limits import Algorithm, Limit, Reading, Unit, Window, reserve_amount, settle_amount
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
        (Unit.INPUT_TOKENS, query(cap=9_999, n=128), 10),
        (Unit.INPUT_TOKENS, query(input_tokens=0), 0),
        (Unit.INPUT_TOKENS, None, 0),
        (Unit.OUTPUT_TOKENS, None, 0),
        (Unit.OUTPUT_TOKENS, query(cap=None, n=2), 1_000),
        (Unit.OUTPUT_TOKENS, query(cap=1_000), 1_000),
        (Unit.TOKENS, query(cap=990), 1_000),
        (Unit.TOKENS, query(cap=1, input_tokens=1_000), 1_000),
        (Unit.TOKENS, query(cap=1, input_tokens=1_001), 1_001),
        (Unit.TOKENS, query(cap=2**53 - 1, n=2**53 - 1), 1_000),
        (Unit.REQUESTS, query(cap=9_999, n=128, input_tokens=9_999), 1),
    ],
)
def test_what_is_reserved(unit: Unit, asked: Query | None, amount: int) -> None:
    assert reserve_amount(limit(unit, 5_000, 1_000), asked, 500) == amount


def test_a_burst_bounds_what_is_reserved() -> None:
    assert reserve_amount(limit(Unit.TOKENS, 5_000, burst=50), query(), 500) == 50


@given(
    unit=st.sampled_from([unit for unit in Unit if unit.reserved]),
    cap=st.none() | st.integers(1, 2_000),
    n=st.integers(1, 9),
    input_tokens=st.integers(0, 3_000),
    share=st.floats(0, 1),
)
def test_what_is_reserved_is_what_it_may_cost_or_the_whole_limit(
    unit: Unit, cap: int | None, n: int, input_tokens: int, share: float
) -> None:
    asked = query(cap=cap, n=n, input_tokens=input_tokens)
    reserved = reserve_amount(limit(unit, 5_000, 1_000), asked, 500)
    owed = settle_amount(unit, Usage(input_tokens, int(share * n * (cap or 500))))
    assert reserved >= min(owed, 1_000)
    assert reserved <= 1_000 or (unit is not Unit.OUTPUT_TOKENS and reserved == input_tokens)


def test_the_largest_cost_is_that_of_the_smallest_window() -> None:
    assert limit(Unit.TOKENS, 5_000, 1_000, 3_000).largest_cost == 1_000
    assert limit(Unit.TOKENS, 5_000, burst=9_000).largest_cost == 9_000


def test_a_window_knows_its_period_in_microseconds() -> None:
    assert Window(1, 60, 1).period_us == 60_000_000


@pytest.mark.parametrize(("wait_us", "fits"), [(0, True), (1, False), (None, False)])
def test_a_charge_fits_where_nothing_is_to_wait_for(wait_us: int | None, *, fits: bool) -> None:
    kept = limit(Unit.TOKENS, 10)
    assert Reading(kept, kept.windows[0], EVERYTHING, 0, 0, wait_us).fits is fits


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


@given(text=st.text(min_size=1))
def test_the_estimate_is_never_nothing_for_something(text: str) -> None:
    assert 1 <= estimate_tokens(text) <= len(text)


@pytest.mark.parametrize("unit", Unit)
def test_an_answer_that_used_nothing_owes_nothing_but_its_request(unit: Unit) -> None:
    assert settle_amount(unit, Usage(0, 0)) == (unit is Unit.REQUESTS)
