from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from guard.core.prices import Price
from guard.errors import ConfigError
from guard.settings.prices import PricedModel, PriceSettings, microdollars, price_table, read_price_file

if TYPE_CHECKING:
    from pathlib import Path


def test_the_parts_cost_as_much_as_their_whole_unless_they_are_given() -> None:
    assert PriceSettings.model_validate({"input": 2.5, "output": 10}).price() == Price(
        2_500_000, 2_500_000, 10_000_000, 10_000_000
    )
    assert PriceSettings.model_validate(
        {"input": 2.5, "cached_input": 1.25, "output": 10, "reasoning": "12"}
    ).price() == Price(2_500_000, 1_250_000, 10_000_000, 12_000_000)


@pytest.mark.parametrize("dollars", [-1, "a lot", float("nan"), float("inf"), 1_000_001, True, None, []])
def test_what_is_no_price_is_refused(dollars: Any) -> None:
    with pytest.raises(ValidationError):
        PriceSettings.model_validate({"input": dollars, "output": 1})


@pytest.mark.parametrize(
    ("dollars", "expected"),
    [("0", 0), ("0.15", 150_000), ("1e-6", 1), ("1e-7", 1), ("1e-999999999", 1), ("0.1500001", 150_001)],
)
def test_what_is_finer_than_a_microdollar_is_rounded_up(dollars: str, expected: int) -> None:
    assert microdollars(Decimal(dollars)) == expected


@given(st.integers(0, 10**12))
def test_whole_microdollars_are_kept_as_they_are(amount: int) -> None:
    assert microdollars(Decimal(amount).scaleb(-6)) == amount


def test_a_price_in_the_settings_goes_before_the_file_also_by_a_glob() -> None:
    dear, cheap = (
        PriceSettings(input=Decimal(9), output=Decimal(9)),
        PriceSettings(input=Decimal(1), output=Decimal(1)),
    )
    table = price_table({"gpt-*": cheap}, {"gpt-4o": dear, "claude": dear})
    assert table.price("gpt-4o") == cheap.price()
    assert table.price("claude") == dear.price()


def test_a_price_file_is_read_with_its_caps(tmp_path: Path) -> None:
    file = tmp_path / "prices.json"
    file.write_text(
        '{"a": {"input": "0.15", "output": 0.6, "max_output_tokens": 16384}, "b": {"input": 1, "output": 2}}'
    )
    models = read_price_file(file)
    assert {name: model.price() for name, model in models.items()} == {
        "a": Price(150_000, 150_000, 600_000, 600_000),
        "b": Price(1_000_000, 1_000_000, 2_000_000, 2_000_000),
    }
    assert models.max_output_tokens == {"a": 16384}
    assert isinstance(models["a"], PricedModel)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "not a price file"),
        ("[]", "one entry a model"),
        ('{"a": 1}', "a"),
        ('{"a": {"input": -1, "output": 1}}', "a.input = -1: "),
        ('{"a": {"input": "dear", "output": 1}}', "a.input = dear: "),
        ('{"a": {"input": Infinity, "output": 1}}', "a.input"),
        ('{"a": {"input": 1}}', "a.output"),
        ('{"a": {"input": 1, "output": 1, "ouput": 2}}', "a.ouput"),
        ('{"a": {"input": 1, "output": 1, "max_output_tokens": 0}}', "a.max_output_tokens = 0"),
        ('{"a": {"input": 1, "output": 1}, "a": {"input": 2, "output": 1}}', "'a' is there twice"),
        ('{"a": {"input": 1, "input": 2, "output": 1}}', "'input' is there twice"),
        ('{"a": {"input": 1e-99999999999999999999, "output": 1}}', "not a price file"),
        ("[" * 100_000, "not a price file"),
        ("\udcff", "not a price file"),
    ],
)
def test_a_price_file_that_is_wrong_is_named_with_model_and_field(
    text: str, complaint: str, tmp_path: Path
) -> None:
    file = tmp_path / "prices.json"
    file.write_text(text, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(ConfigError) as raised:
        read_price_file(file)
    assert str(raised.value).startswith(f"{file}: ")
    assert complaint in str(raised.value)


def test_a_price_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        read_price_file(tmp_path / "prices.json")
