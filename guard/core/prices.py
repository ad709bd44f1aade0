"""What queries cost, in whole micro-dollars.

A price is in micro-dollars per million tokens, which is also the price of one token in units of 10⁻¹²
dollars, so that everything is an integer: $2.50 per million tokens is 2,500,000. One query's cost is summed
exactly and then rounded up to a whole micro-dollar, once.

    gpt-small: input $0.15, cached input $0.075, output $0.60
    1,000 tokens in, 400 of them cached, 50 out:  600 × 150,000 + 400 × 75,000 + 50 × 600,000 = 150,000,000
    divided by a million tokens: 150 micro-dollars

What is written to a cache has a price of its own too, and another one where it is kept for an hour.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from guard.core.globs import GlobTable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from guard.core.query import Usage

PER_TOKENS = 1_000_000
"""The number of tokens that a price is for."""


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs, in micro-dollars per million tokens of each kind.

    Where what is written to a cache has no price of its own, it costs as much as other input, and what is
    kept there for an hour as much as what is written for minutes: so say `of_write` and `of_write_1h`.
    `dearest_input` and `dearest_output` are the dearest of each kind.
    """

    input: int
    cached_input: int
    output: int
    reasoning: int
    cache_write: int | None = None
    cache_write_1h: int | None = None
    of_write: int = field(init=False, compare=False, repr=False)
    of_write_1h: int = field(init=False, compare=False, repr=False)
    dearest_input: int = field(init=False, compare=False, repr=False)
    dearest_output: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        of_write = self.input if self.cache_write is None else self.cache_write
        of_write_1h = of_write if self.cache_write_1h is None else self.cache_write_1h
        object.__setattr__(self, "of_write", of_write)
        object.__setattr__(self, "of_write_1h", of_write_1h)
        dearest = max(self.input, self.cached_input, of_write, of_write_1h)
        object.__setattr__(self, "dearest_input", dearest)
        object.__setattr__(self, "dearest_output", max(self.output, self.reasoning))

    def cost(self, usage: Usage) -> int:
        """What a query costs in micro-dollars, rounded up; parts larger than their whole are taken as all
        of it.
        """
        cached = min(usage.cached_input_tokens, usage.input_tokens)
        written = min(usage.cache_write_tokens, usage.input_tokens - cached)
        lasting = min(usage.cache_write_1h_tokens, written)
        reasoning = min(usage.reasoning_tokens, usage.output_tokens)
        total = (
            (usage.input_tokens - cached - written) * self.input
            + cached * self.cached_input
            + (written - lasting) * self.of_write
            + lasting * self.of_write_1h
            + (usage.output_tokens - reasoning) * self.output
            + reasoning * self.reasoning
        )
        return -(-total // PER_TOKENS)

    def cost_at_most(self, input_tokens: int, output_tokens: int) -> int:
        """What a query may cost in micro-dollars, rounded up: input and output each of the dearer kind."""
        total = input_tokens * self.dearest_input + output_tokens * self.dearest_output
        return -(-total // PER_TOKENS)

    def output_within(self, input_tokens: int, cost: int) -> int | None:
        """How many tokens of output, each of the dearer kind, a cost pays for after the input.

        `None` where output is free.
        """
        dearer_input = max(self.input, self.cached_input)
        if not self.dearest_output:
            return None
        return (cost * PER_TOKENS - input_tokens * dearer_input) // self.dearest_output


FREE = Price(0, 0, 0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class PriceTable:
    """Prices by model: a model's own name first, then the first glob that matches.

    A model that the table does not name costs as much as its dearest entries, column by column, since who
    can name a model must not be able to make it free. A table of nothing makes everything free.
    """

    models: GlobTable[Price]
    dearest: Price
    named: GlobTable[Price]

    @classmethod
    def of(cls, prices: Mapping[str, Price]) -> PriceTable:
        """The table with these entries; those with `*`, `?` or `[` are globs."""
        named = {name: price for name, price in prices.items() if name.strip("*")}
        return cls(GlobTable.of(prices), _dearest(prices.values()), GlobTable.of(named))

    def price(self, model: str) -> Price:
        """What a model costs."""
        return self.models.find(model) or self.dearest

    def dearest_of(self, models: Sequence[str]) -> Price:
        """What a query costs at most that any of these models may answer."""
        return self.price(models[0]) if len(models) == 1 else _dearest(map(self.price, models))

    def answered_by(self, model: str) -> Price | None:
        """What the model costs that an answer names, where the table names it too, and not only by `*`.

        An API answers an alias with the name of a version (`gpt-4o` with `gpt-4o-2024-08-06`): a name that
        nobody has priced says nothing about its price.
        """
        return self.named.find(model)


def _dearest(prices: Iterable[Price]) -> Price:
    """The dearest of these, column by column; nothing where there are none."""
    rows = [
        (each.input, each.cached_input, each.output, each.reasoning, each.of_write, each.of_write_1h)
        for each in prices
    ]
    return Price(*map(max, zip(*rows, strict=True))) if rows else Price(0, 0, 0, 0, 0, 0)
