from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.core.prices import FREE, PER_TOKENS, Price, PriceTable
from guard.core.query import NO_USAGE, Usage

prices = st.builds(Price, *[st.integers(0, 10**12)] * 4, *[st.none() | st.integers(0, 10**12)] * 2)
tokens = st.integers(0, 10**9)
usages = st.builds(Usage, *[tokens] * 6)


def exact(price: Price, usage: Usage) -> Fraction:
    """The cost in micro-dollars, part by part."""
    cached = min(usage.cached_input_tokens, usage.input_tokens)
    written = min(usage.cache_write_tokens, usage.input_tokens - cached)
    lasting = min(usage.cache_write_1h_tokens, written)
    reasoning = min(usage.reasoning_tokens, usage.output_tokens)
    write = price.input if price.cache_write is None else price.cache_write
    write_1h = write if price.cache_write_1h is None else price.cache_write_1h
    return (
        Fraction(usage.input_tokens - cached - written) * Fraction(price.input, PER_TOKENS)
        + Fraction(cached) * Fraction(price.cached_input, PER_TOKENS)
        + Fraction(written - lasting) * Fraction(write, PER_TOKENS)
        + Fraction(lasting) * Fraction(write_1h, PER_TOKENS)
        + Fraction(usage.output_tokens - reasoning) * Fraction(price.output, PER_TOKENS)
        + Fraction(reasoning) * Fraction(price.reasoning, PER_TOKENS)
    )


def test_the_worked_example_costs_150_microdollars() -> None:
    assert Price(150_000, 75_000, 600_000, 600_000).cost(Usage(1_000, 50, 400)) == 150


@given(prices, usages)
def test_a_cost_is_the_exact_sum_rounded_up_once(price: Price, usage: Usage) -> None:
    assert price.cost(usage) == math.ceil(exact(price, usage))


def test_many_small_parts_are_not_each_rounded_up() -> None:
    assert Price(1, 1, 1, 1).cost(Usage(2, 2, 1, 1)) == 1


@given(prices, usages, tokens, tokens)
def test_more_tokens_never_cost_less(price: Price, usage: Usage, more_input: int, more_output: int) -> None:
    more = replace(
        usage,
        input_tokens=usage.input_tokens + more_input,
        output_tokens=usage.output_tokens + more_output,
    )
    parts = usage.cached_input_tokens + usage.cache_write_tokens
    if (
        parts <= usage.input_tokens
        and usage.cache_write_1h_tokens <= usage.cache_write_tokens
        and usage.reasoning_tokens <= usage.output_tokens
    ):
        assert price.cost(more) >= price.cost(usage)


@given(prices, usages)
def test_no_usage_costs_more_than_was_reserved_for_as_many_tokens(price: Price, usage: Usage) -> None:
    assert price.cost(usage) <= price.cost_at_most(usage.input_tokens, usage.output_tokens)


@given(prices)
def test_nothing_costs_nothing(price: Price) -> None:
    assert price.cost(NO_USAGE) == price.cost_at_most(0, 0) == 0


@given(st.dictionaries(st.sampled_from(["a", "b", "c*", "d?"]), prices), usages)
def test_a_model_that_is_not_named_costs_at_least_as_much_as_any_that_is(
    named: dict[str, Price], usage: Usage
) -> None:
    unknown = PriceTable.of(named).price("nobody's")
    assert all(unknown.cost(usage) >= price.cost(usage) for price in named.values())


def test_an_unknown_model_has_the_dearest_of_each_column() -> None:
    table = PriceTable.of({"a": Price(1, 8, 3, 4), "b-*": Price(5, 2, 7, 6)})
    assert table.price("c") == Price(5, 8, 7, 6, 5, 5)


def test_a_table_of_nothing_makes_everything_free() -> None:
    assert PriceTable.of({}).price("a") == FREE


@pytest.mark.parametrize(("model", "price"), [("gpt-4o", 1), ("gpt-4o-mini", 2), ("gpt-5", 3)])
def test_a_models_own_price_holds_before_a_globs_and_the_first_glob_before_the_next(
    model: str, price: int
) -> None:
    table = PriceTable.of(
        {name: Price(n, n, n, n) for name, n in {"gpt-4o-*": 2, "gpt-*": 3, "gpt-4o": 1}.items()}
    )
    assert table.price(model).input == price


@pytest.mark.parametrize(
    ("model", "price"), [("dear", 9), ("dear-2025-01-01", 9), ("cheap", 1), ("unknown", None)]
)
def test_the_model_of_an_answer_has_a_price_only_where_the_table_names_it(
    model: str, price: int | None
) -> None:
    table = PriceTable.of(
        {"*": Price(50, 50, 50, 50), "dear*": Price(9, 9, 9, 9), "cheap": Price(1, 1, 1, 1)}
    )
    found = table.answered_by(model)
    assert (found.input if found else None) == price


def test_a_free_entry_is_an_entry() -> None:
    assert PriceTable.of({"local-*": FREE, "dear": Price(9, 9, 9, 9)}).price("local-llama") == FREE
