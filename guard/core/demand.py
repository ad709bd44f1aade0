"""What one request will use, before it is known, and what it used, after."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from guard.core.limits import ESTIMATED, Unit
from guard.core.novelty import draw, reserved
from guard.core.prices import FREE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from guard.core.prices import Price, PriceTable
    from guard.core.query import Query, Usage


LEAST_ANSWER_TOKENS = 16
"""Each answer has room for as much, or for the caller's cap; else its request is refused.

OpenAI's Responses take no smaller cap.
"""


class Demand(NamedTuple):
    """What one request asks for, as far as it is known before: nothing, where its query is not read.

    `output_tokens` is the most that all its answers together may have. `amounts` are those of the
    operator's own units. `prices` are those of all models.
    """

    query: Query | None = None
    output_tokens: int = 0
    price: Price = FREE
    amounts: Mapping[str, int] | None = None
    prices: PriceTable | None = None

    @classmethod
    def of(
        cls,
        query: Query,
        cap: int,
        price: Price,
        prices: PriceTable,
        amounts: Mapping[str, int],
    ) -> Demand:
        """What a query asks for; `cap` is that of one answer where it names none itself."""
        named = query.max_output_tokens
        return cls(query, query.n * (cap if named is None else named), price, amounts, prices)

    def cost(self, usage: Usage) -> int:
        """What a finished request costs in micro-dollars: by the model that answered, where that is dearer
        than the one that was asked, or where several might have answered."""
        asked = self.price.cost(usage)
        if self.prices is None or usage.model is None:
            return asked
        answered = self.prices.answered_by(usage.model)
        if answered is not None and self.query is not None and self.query.alternatives:
            return answered.cost(usage)
        return asked if answered is None else max(asked, answered.cost(usage))

    def reserve(self, unit: str) -> tuple[int, int]:
        """What to charge before the answer is known, and how much of it is not insisted on.

        That is what the caller's cap asks for beyond `LEAST_ANSWER_TOKENS` for each answer, and what a
        learned ratio adds to the input, which makes no request too large.
        """
        if unit in (Unit.REQUESTS, Unit.CONCURRENCY):
            return 1, 0
        if unit not in ESTIMATED:
            return (self.amounts or {}).get(unit, 0), 0
        if self.query is None:
            return 0, 0
        given, capped = self.query.input_tokens, self.output_tokens
        least, sure_input = self._least, self.query.sure_input_tokens
        match unit:
            case Unit.INPUT_TOKENS:
                return given, given - sure_input
            case Unit.OUTPUT_TOKENS:
                return capped, capped - least
            case Unit.COST:
                sure = self.price.cost_at_most(sure_input, least)
                most = self.price.cost_at_most(given, capped)
                return most, most - sure
            case Unit.NOVELTY:
                sure, most = reserved(self.query.n, capped)
                return most, most - sure
        return given + capped, given - sure_input + capped - least

    @property
    def _least(self) -> int:
        """What is insisted on of the output."""
        return 0 if self.query is None else min(self.output_tokens, self.query.n * LEAST_ANSWER_TOKENS)

    def answer_tokens(self, unit: str, amount: int) -> int | None:
        """How long each answer may be so that all of them stay within an amount; `None` for any length."""
        if self.query is None or self.query.n < 1:
            return None
        given = self.query.input_tokens
        match unit:
            case Unit.OUTPUT_TOKENS:
                return amount // self.query.n
            case Unit.TOKENS:
                return max(amount - given, self._least) // self.query.n
            case Unit.COST:
                within = self.price.output_within(given, amount)
                return None if within is None else max(within, self._least) // self.query.n
        return None

    def settle(self, unit: str, usage: Usage) -> int:
        """What a finished request owes to a limit of this unit."""
        match unit:
            case Unit.INPUT_TOKENS:
                return usage.input_tokens
            case Unit.OUTPUT_TOKENS:
                return usage.output_tokens
            case Unit.TOKENS:
                return usage.input_tokens + usage.output_tokens
            case Unit.COST:
                return self.cost(usage)
            case Unit.NOVELTY:
                return draw(usage.output_tokens - usage.hidden_tokens) if self.query else 0
        return self.reserve(unit)[0]
