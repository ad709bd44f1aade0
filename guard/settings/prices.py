"""Prices as an operator writes them, in dollars per million tokens: in the settings or in a file.

    prices.json
    {
      "gpt-small": {"input": "0.15", "cached_input": "0.075", "output": "0.6", "reasoning": "0.6",
                    "cache_write": "0.15", "cache_write_1h": "0.15", "max_output_tokens": 16384}
    }

`guard prices import` writes such a file from a list that the community maintains.
"""

from __future__ import annotations

import json
from decimal import ROUND_CEILING, Context, Decimal
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field, PositiveInt, TypeAdapter, ValidationError

from guard.core.globs import GlobTable
from guard.core.prices import Price, PriceTable
from guard.errors import ConfigError
from guard.settings.fields import Section
from guard.settings.spelling import in_words

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

DEAREST_DOLLARS = 1_000_000
"""A dollar a token: what is said to cost more is a mistake."""

_MICRODOLLARS = 6


def _no_boolean(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("must be a number of dollars")
    return value


Dollars = Annotated[
    Decimal, BeforeValidator(_no_boolean), Field(ge=0, le=DEAREST_DOLLARS, allow_inf_nan=False)
]
"""Dollars per million tokens."""


class PriceSettings(Section):
    """What a model costs, in dollars per million tokens.

    Input that is read from a cache or written to one costs as much as other input unless it is given, input
    that is kept there for an hour as much as what is written for minutes, and reasoning as much as other
    output.
    """

    input: Dollars
    cached_input: Dollars | None = None
    cache_write: Dollars | None = None
    cache_write_1h: Dollars | None = None
    output: Dollars
    reasoning: Dollars | None = None

    def price(self) -> Price:
        """The price that decides; what is finer than a micro-dollar per million tokens is rounded up."""
        return Price(
            input=microdollars(self.input),
            cached_input=microdollars(_given(self.cached_input, self.input)),
            output=microdollars(self.output),
            reasoning=microdollars(_given(self.reasoning, self.output)),
            cache_write=None if self.cache_write is None else microdollars(self.cache_write),
            cache_write_1h=None if self.cache_write_1h is None else microdollars(self.cache_write_1h),
        )


class PricedModel(PriceSettings):
    """One entry of a price file."""

    max_output_tokens: PositiveInt | None = None


class PriceFile(dict[str, PricedModel]):
    """The models of a price file by name."""

    @property
    def max_output_tokens(self) -> dict[str, int]:
        """The most that each model answers, where the file says it."""
        return {
            name: model.max_output_tokens
            for name, model in self.items()
            if model.max_output_tokens is not None
        }


def _given(price: Decimal | None, otherwise: Decimal) -> Decimal:
    return otherwise if price is None else price


def microdollars(dollars: Decimal) -> int:
    """Dollars as whole micro-dollars, rounded up."""
    # Rounding to the context's digits goes up too, so that it never changes what is rounded up to.
    context = Context(rounding=ROUND_CEILING)
    return int(dollars.scaleb(_MICRODOLLARS, context).to_integral_value(ROUND_CEILING))


def price_table(settings: Mapping[str, PriceSettings], file: Mapping[str, PriceSettings]) -> PriceTable:
    """One table of both: where the settings have a price for a model, also by a glob, the file has no say."""
    own = GlobTable.of(settings)
    others = {name: entry for name, entry in file.items() if own.find(name) is None}
    return PriceTable.of({name: entry.price() for name, entry in {**settings, **others}.items()})


def read_price_file(path: Path) -> PriceFile:
    """The models in a price file; raises `ConfigError` with the file, the model and the field."""
    try:
        # Numbers stay as they are written; a string is a number too.
        entries = json.loads(path.read_bytes(), parse_float=Decimal, object_pairs_hook=_named_once)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; `guard prices import` writes a price file") from error
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise ConfigError(f"{path}: not a price file: {error}") from error
    try:
        return PriceFile(_ENTRIES.validate_python(entries))
    except ValidationError as error:
        raise ConfigError("\n".join(f"{path}: {_explain(detail)}" for detail in error.errors())) from None


_ENTRIES = TypeAdapter(dict[str, PricedModel])


def _named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name!r} is there twice")
        found[name] = value
    return found


def _explain(detail: Any) -> str:
    where = ".".join(map(str, detail["loc"]))
    given = detail["input"]
    shown = f" = {given}" if isinstance(given, str | int | float | Decimal) else ""
    message = in_words(detail)
    return f"{where}{shown}: {message}" if where else f"{message}: one entry a model"
