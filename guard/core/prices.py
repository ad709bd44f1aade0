"""What queries cost, in whole micro-dollars.

A price is in micro-dollars per million tokens, which is also the price of one token in units of 10⁻¹²
dollars, so that everything is an integer: $2.50 per million tokens is 2,500,000. One query's cost is summed
exactly and then rounded up to a whole micro-dollar, once.

    gpt-small: input $0.15, cached input $0.075, output $0.60
    1,000 tokens in, 400 of them cached, 50 out:  600 × 150,000 + 400 × 75,000 + 50 × 600,000 = 150,000,000
    divided by a million tokens: 150 micro-dollars
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from guard.core.globs import GlobTable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from guard.core.query import Usage

PER_TOKENS = 1_000_000
"""Prices are for so many tokens."""


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs, in micro-dollars per million tokens of each kind."""

    input: int
    cached_input: int
    output: int
    reasoning: int

    def cost(self, usage: Usage) -> int:
        """What a query costs in micro-dollars, rounded up; parts larger than their whole are taken as all
        of it.
        """
        cached = min(usage.cached_input_tokens, usage.input_tokens)
        reasoning = min(usage.reasoning_tokens, usage.output_tokens)
        total = (
            (usage.input_tokens - cached) * self.input
            + cached * self.cached_input
            + (usage.output_tokens - reasoning) * self.output
            + reasoning * self.reasoning
        )
        return -(-total // PER_TOKENS)

    def cost_at_most(self, input_tokens: int, output_tokens: int) -> int:
        """What a query may cost in micro-dollars, rounded up: input and output each of the dearer kind."""
        dearer_input = max(self.input, self.cached_input)
        dearer_output = max(self.output, self.reasoning)
        return -(-(input_tokens * dearer_input + output_tokens * dearer_output) // PER_TOKENS)

    def output_within(self, input_tokens: int, cost: int) -> int | None:
        """How many tokens of output, each of the dearer kind, a cost pays for after the input.

        `None` where output is free.
        """
        dearer_input = max(self.input, self.cached_input)
        dearer_output = max(self.output, self.reasoning)
        if not dearer_output:
            return None
        return (cost * PER_TOKENS - input_tokens * dearer_input) // dearer_output


FREE = Price(0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class PriceTable:
    """Prices by model: a model's own name first, then the first glob that matches.

    A model that the table does not name costs as much as its dearest entries, column by column, since who
    can name a model must not be able to make it free. A table of nothing makes everything free.
    """

    models: GlobTable[Price]
    dearest: Price

    @classmethod
    def of(cls, prices: Mapping[str, Price]) -> PriceTable:
        """The table with these entries; those with `*`, `?` or `[` are globs."""
        columns = ("input", "cached_input", "output", "reasoning")
        dearest = (max((getattr(price, each) for price in prices.values()), default=0) for each in columns)
        return cls(GlobTable.of(prices), Price(*dearest))

    def price(self, model: str) -> Price:
        """What a model costs."""
        return self.models.find(model) or self.dearest
