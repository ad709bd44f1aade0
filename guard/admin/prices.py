"""Prices from LiteLLM's list, `model_prices_and_context_window.json`, which its community keeps up to date.

The list has dollars per token, and guard dollars per million tokens. Both are decimals, so nothing is lost.
What is not priced by the token (images, sound by the second, searches) cannot be expressed and is left out.
"""

from __future__ import annotations

import json
import os
import secrets
from collections import Counter
from dataclasses import dataclass
from decimal import ROUND_CEILING, Context, Decimal
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from guard.core.globs import GlobTable, is_glob
from guard.core.prices import PER_TOKENS
from guard.errors import ConfigError
from guard.settings.prices import DEAREST_DOLLARS, PricedModel, PriceFile

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_EXAMPLE = "sample_spec"
"""The list's first entry explains the fields, and is no model."""

_TEXT_MODES = frozenset({None, "chat", "completion", "responses", "embedding", "moderation", "rerank"})
_WITHOUT_OUTPUT = frozenset({"embedding", "moderation", "rerank"})
"""What gives no tokens back."""

_COLUMNS = {
    "input": "input_cost_per_token",
    "cached_input": "cache_read_input_token_cost",
    "cache_write": "cache_creation_input_token_cost",
    "cache_write_1h": "cache_creation_input_token_cost_above_1hr",
    "output": "output_cost_per_token",
    "reasoning": "output_cost_per_reasoning_token",
}
_TIER = "input_cost_per_token_above_"
_OTHER_KINDS = ("per_second", "per_image", "per_pixel", "per_character", "per_query", "per_page", "per_video")
_DEAREST = DEAREST_DOLLARS // PER_TOKENS
"""The dearest token, in dollars."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import found: the models, how many were left out for each reason, and how many of the models
    cost more for long queries, which guard cannot express.
    """

    models: PriceFile
    skipped: Counter[str]
    tiered: int

    @property
    def free(self) -> int:
        """How many of the models the list says cost nothing."""
        return sum(not (model.input or model.output) for model in self.models.values())


class _SkippedError(Exception):
    """A model that is left out, with the reason."""


def import_prices(text: str | bytes, only: Sequence[str] = ()) -> Imported:
    """The models of LiteLLM's list that guard can price; raises `ConfigError` where it is no such list.

    `only` are globs over names, of which one must match.
    """
    try:
        listed = json.loads(text, parse_float=Decimal, parse_constant=_refuse_constant)
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise ConfigError(f"not a list of prices: {error}") from error
    if not isinstance(listed, dict):
        raise ConfigError("not a list of prices: one object with an entry for each model is expected")
    wanted = GlobTable.of(dict.fromkeys(only or ("*",), True))
    models, skipped, tiered = PriceFile(), Counter[str](), 0
    for name, entry in listed.items():
        if name == _EXAMPLE or not wanted.find(name):
            continue
        try:
            models[name] = _priced(name, entry)
        except _SkippedError as reason:
            skipped[str(reason)] += 1
        else:
            tiered += any(name.startswith(_TIER) for name in entry)
    return Imported(models, skipped, tiered)


def write_price_file(models: PriceFile, path: Path) -> None:
    """Write the file whole or not at all: a reader finds the old one or the new one. Raises `ConfigError`."""
    path = path.resolve()
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as out:
                out.write(_text(models))
                out.flush()
                os.fsync(out.fileno())
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error


def _priced(name: str, entry: Any) -> PricedModel:
    """The price of a model; raises `_SkippedError`."""
    if not isinstance(entry, dict):
        raise _SkippedError("not an entry")
    mode = entry.get("mode")
    if mode is not None and not isinstance(mode, str):
        raise _SkippedError("not an entry")
    per_token = {column: _dollars(entry, field) for column, field in _COLUMNS.items()}
    if mode in _WITHOUT_OUTPUT and per_token["output"] is None:
        per_token["output"] = Decimal(0)
    if not per_token["input"] and not per_token["output"]:
        for kind in _OTHER_KINDS:
            if any(kind in name and value for name, value in entry.items()):
                raise _SkippedError(f"priced {kind.replace('_', ' ')}")
    if mode not in _TEXT_MODES:
        raise _SkippedError(f"mode {mode}")
    if per_token["input"] is None or per_token["output"] is None:
        raise _SkippedError("no price per token")
    if is_glob(name):
        raise _SkippedError("its name reads as a glob")
    most = entry.get("max_output_tokens")
    sound = isinstance(most, int) and not isinstance(most, bool) and most > 0
    try:
        return PricedModel(
            **{
                "cached_input": per_token["input"],
                "reasoning": per_token["output"],
                **{column: dollars for column, dollars in per_token.items() if dollars is not None},
            },
            max_output_tokens=most if sound else None,
        )
    except ValidationError:
        raise _SkippedError("a price out of range") from None


def _dollars(entry: dict[str, Any], field: str) -> Decimal | None:
    """A price per token as one per million, as many digits as guard counts with, rounded up."""
    price = entry.get(field)
    if price is None:
        return None
    if isinstance(price, bool) or not isinstance(price, int | Decimal) or not 0 <= price <= _DEAREST:
        raise _SkippedError("a price out of range")
    context = Context(rounding=ROUND_CEILING)
    per_million = Decimal(price).scaleb(6, context)
    return per_million.quantize(Decimal("0.000001"), context=context)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a price")


def _text(models: PriceFile) -> str:
    """The file: decimals as texts, without noughts at their end."""
    return json.dumps(
        {
            name: {
                column: value if isinstance(value, int) else _plain(value)
                for column, value in model.model_dump(exclude_none=True).items()
            }
            for name, model in models.items()
        },
        indent=1,
    )


def _plain(dollars: Decimal) -> str:
    text = f"{dollars:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
