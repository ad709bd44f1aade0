from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.core.demand import LEAST_ANSWER_TOKENS, Demand
from guard.core.limits import ESTIMATED, Unit
from guard.core.prices import Price
from guard.core.query import NO_USAGE, Query, Usage

PRICE = Price(input=2_000_000, cached_input=500_000, output=8_000_000, reasoning=10_000_000)
"""Of one token in micro-dollars: 2, 0.5, 8 and 10."""


def demand(input_tokens: int = 10, output_tokens: int = 100, price: Price = PRICE, *, n: int = 1) -> Demand:
    """`output_tokens` are those of all `n` answers."""
    query = Query(
        "m", (), stream=False, max_output_tokens=None, n=n, input_bytes=0, other_tokens=input_tokens
    )
    return Demand(query, output_tokens, price, {"pages": 7, "none": 0})


UNREAD = Demand(amounts={"pages": 7})


@pytest.mark.parametrize(
    ("unit", "asked", "amount", "spare"),
    [
        (Unit.REQUESTS, demand(), 1, 0),
        (Unit.CONCURRENCY, demand(), 1, 0),
        (Unit.INPUT_TOKENS, demand(), 10, 0),
        (Unit.OUTPUT_TOKENS, demand(), 100, 84),
        (Unit.TOKENS, demand(), 110, 84),
        (Unit.COST, demand(), 1_020, 840),
        (Unit.INPUT_TOKENS, demand(input_tokens=0), 0, 0),
        (Unit.TOKENS, demand(input_tokens=0), 100, 84),
        (Unit.OUTPUT_TOKENS, demand(output_tokens=0), 0, 0),
        (Unit.TOKENS, demand(output_tokens=0), 10, 0),
        (Unit.COST, demand(output_tokens=0), 20, 0),
        (Unit.COST, demand(price=Price(0, 0, 0, 0)), 0, 0),
        (Unit.COST, demand(1, 1, Price(1, 1, 1, 1)), 1, 0),
        (Unit.COST, demand(1, 1, Price(0, 0, 1, 0)), 1, 0),
        (Unit.COST, demand(0, 19, Price(0, 0, 2_000_000, 0)), 38, 6),
        (Unit.TOKENS, demand(2_000, 2**53), 2_000 + 2**53, 2**53 - 16),
        (Unit.TOKENS, demand(n=8), 110, 0),
        (Unit.OUTPUT_TOKENS, demand(n=3), 100, 52),
        (Unit.NOVELTY, demand(output_tokens=512), 1_000, 750),
        (Unit.NOVELTY, demand(output_tokens=0), 250, 0),
        (Unit.NOVELTY, demand(output_tokens=32_768), 16_000, 15_750),
        (Unit.NOVELTY, demand(output_tokens=8 * 512, n=8), 8_000, 6_000),
        (Unit.NOVELTY, demand(output_tokens=512, n=8), 2_000, 0),
        ("pages", demand(), 7, 0),
        ("none", demand(), 0, 0),
        ("images", demand(), 0, 0),
        (Unit.REQUESTS, UNREAD, 1, 0),
        (Unit.CONCURRENCY, UNREAD, 1, 0),
        (Unit.INPUT_TOKENS, UNREAD, 0, 0),
        (Unit.OUTPUT_TOKENS, UNREAD, 0, 0),
        (Unit.TOKENS, UNREAD, 0, 0),
        (Unit.COST, UNREAD, 0, 0),
        (Unit.NOVELTY, UNREAD, 0, 0),
        ("pages", UNREAD, 7, 0),
        ("pages", Demand(), 0, 0),
        (Unit.TOKENS, Demand(output_tokens=9), 0, 0),
    ],
)
def test_what_is_reserved_and_how_much_of_it_only_the_cap_asks_for(
    unit: str, asked: Demand, amount: int, spare: int
) -> None:
    assert asked.reserve(unit) == (amount, spare)


@given(n=st.integers(1, 128), cap=st.integers(0, 2_048), share=st.floats(0, 1))
def test_answers_of_up_to_four_standard_ones_never_draw_more_novelty_than_was_reserved(
    n: int, cap: int, share: float
) -> None:
    asked = demand(output_tokens=n * cap, n=n)
    assert asked.settle(Unit.NOVELTY, Usage(7, int(n * cap * share))) <= asked.reserve(Unit.NOVELTY)[0]


def test_an_amount_of_the_operators_own_cannot_stand_for_a_unit_of_guards() -> None:
    amounts = {unit.value: 99 for unit in Unit}
    assert [Demand(amounts=amounts).reserve(unit)[0] for unit in Unit] == [1, 0, 0, 0, 0, 1, 0]


@pytest.mark.parametrize(
    ("unit", "usage", "amount"),
    [
        (Unit.REQUESTS, Usage(7, 30), 1),
        (Unit.CONCURRENCY, Usage(7, 30), 1),
        (Unit.INPUT_TOKENS, Usage(7, 30), 7),
        (Unit.OUTPUT_TOKENS, Usage(7, 30), 30),
        (Unit.TOKENS, Usage(7, 30), 37),
        (Unit.TOKENS, Usage(7, 30, cached_input_tokens=4, reasoning_tokens=10), 37),
        (Unit.COST, Usage(7, 30), 254),
        (Unit.COST, Usage(7, 30, cached_input_tokens=4), 248),
        (Unit.COST, Usage(7, 30, reasoning_tokens=10), 274),
        (Unit.INPUT_TOKENS, Usage(7_000, 0), 7_000),
        (Unit.NOVELTY, Usage(7, 30), 59),
        (Unit.NOVELTY, Usage(7, 10_240), 20_000),
        (Unit.NOVELTY, Usage(7, 1_024, hidden_tokens=512), 1_000),
        (Unit.NOVELTY, Usage(7, 0), 0),
        (Unit.NOVELTY, Usage(0, 512), 1_000),
        ("pages", Usage(7, 30), 7),
        ("images", Usage(7, 30), 0),
    ],
)
def test_what_is_settled(unit: str, usage: Usage, amount: int) -> None:
    assert demand().settle(unit, usage) == amount


def test_what_was_not_read_settles_to_no_novelty() -> None:
    assert UNREAD.settle(Unit.NOVELTY, Usage(7, 30)) == 0


@pytest.mark.parametrize("unit", Unit)
def test_an_answer_that_used_nothing_owes_nothing_but_its_request(unit: Unit) -> None:
    assert demand().settle(unit, NO_USAGE) == (unit in (Unit.REQUESTS, Unit.CONCURRENCY))


@pytest.mark.parametrize("unit", [*(unit for unit in Unit if unit not in ESTIMATED), "pages", "images"])
def test_what_is_known_beforehand_stays_as_it_was_reserved(unit: str) -> None:
    assert demand().settle(unit, Usage(7, 30)) == demand().reserve(unit)[0]


PRICES = st.builds(Price, *[st.integers(0, 10**9)] * 4)


@given(
    unit=st.sampled_from(sorted(ESTIMATED - {Unit.NOVELTY})),
    input_tokens=st.integers(0, 10**7),
    cap=st.integers(0, 10**7),
    prices=PRICES,
    shares=st.tuples(*[st.floats(0, 1)] * 4),
)
def test_an_answer_within_its_cap_never_owes_more_than_was_reserved(
    unit: Unit, input_tokens: int, cap: int, prices: Price, shares: tuple[float, float, float, float]
) -> None:
    # A cached token that costs more than another is no price that anybody sets.
    price = Price(prices.input, min(prices.input, prices.cached_input), prices.output, prices.reasoning)
    asked = demand(input_tokens, cap, price)
    given_tokens, output_tokens = int(shares[0] * input_tokens), int(shares[1] * cap)
    usage = Usage(given_tokens, output_tokens, int(shares[2] * given_tokens), int(shares[3] * output_tokens))
    amount, spare = asked.reserve(unit)
    assert 0 <= asked.settle(unit, usage) <= amount
    assert 0 <= spare <= amount


@given(
    unit=st.sampled_from(sorted(ESTIMATED)),
    input_tokens=st.integers(0, 10**7),
    cap=st.integers(0, 10**7),
    price=PRICES,
)
def test_without_what_the_cap_asks_for_only_the_input_and_short_answers_are_left(
    unit: Unit, input_tokens: int, cap: int, price: Price
) -> None:
    amount, spare = demand(input_tokens, cap, price).reserve(unit)
    assert (amount - spare, 0) == demand(input_tokens, min(cap, 16), price).reserve(unit)


@given(
    unit=st.sampled_from([Unit.OUTPUT_TOKENS, Unit.TOKENS, Unit.COST]),
    input_tokens=st.integers(0, 10**4),
    cap=st.integers(1, 10**5),
    n=st.integers(1, 128),
    price=PRICES,
    share=st.floats(0, 1),
)
def test_w10_a_lowered_cap_stays_within_what_was_reserved(
    unit: Unit, input_tokens: int, cap: int, n: int, price: Price, share: float
) -> None:
    asked = demand(input_tokens, n * cap, price, n=n)
    most, spare = asked.reserve(unit)
    reserved = most - int(spare * share)
    lowered = asked.answer_tokens(unit, reserved)
    if lowered is None:
        assert asked.settle(unit, Usage(input_tokens, 10**9)) == asked.settle(unit, Usage(input_tokens, 0))
        return
    assert lowered >= min(cap, LEAST_ANSWER_TOKENS)
    assert demand(input_tokens, n * lowered, price, n=n).reserve(unit)[0] <= reserved
