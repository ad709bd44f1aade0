from __future__ import annotations

import json
import math
import stat
from collections import Counter
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.admin.prices import import_prices, write_price_file
from guard.core.prices import Price
from guard.errors import ConfigError
from guard.settings.prices import PricedModel, PriceFile, read_price_file

if TYPE_CHECKING:
    from pathlib import Path


def listed(**entry: Any) -> str:
    """A list of one model, priced unless its entry says otherwise; texts stand for the numbers they are."""
    priced = {"mode": "chat", "input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06, **entry}
    return json.dumps({"m": {name: value for name, value in priced.items() if value is not None}})


def test_prices_per_token_become_prices_per_million() -> None:
    text = """{
      "sample_spec": {"input_cost_per_token": 0.0, "max_output_tokens": "a number, if there is one"},
      "gpt-small": {
        "input_cost_per_token": 1.5e-07, "cache_read_input_token_cost": 7.5e-08,
        "output_cost_per_token": 6e-07, "max_output_tokens": 16384, "mode": "chat"
      },
      "azure/thinker": {
        "input_cost_per_token": 2e-06, "output_cost_per_token": 8e-06,
        "output_cost_per_reasoning_token": 1e-05, "mode": "responses"
      },
      "claude": {
        "input_cost_per_token": 3e-06, "cache_creation_input_token_cost": 3.75e-06,
        "cache_creation_input_token_cost_above_1hr": 6e-06, "cache_read_input_token_cost": 3e-07,
        "output_cost_per_token": 1.5e-05, "mode": "chat"
      }
    }"""
    models = import_prices(text).models
    assert {name: model.price() for name, model in models.items()} == {
        "gpt-small": Price(150_000, 75_000, 600_000, 600_000),
        "azure/thinker": Price(2_000_000, 2_000_000, 8_000_000, 10_000_000),
        "claude": Price(3_000_000, 300_000, 15_000_000, 15_000_000, 3_750_000, 6_000_000),
    }
    assert models.max_output_tokens == {"gpt-small": 16384}


@given(st.decimals(0, 1, places=15))
def test_a_price_is_exact_to_the_microdollar_and_rounded_up_beyond(per_token: Decimal) -> None:
    text = listed(input_cost_per_token=0).replace('_token": 0', f'_token": {per_token}')
    price = import_prices(text).models["m"].price()
    assert price.input == math.ceil(Fraction(per_token) * 10**12)


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"input_cost_per_token": None, "output_cost_per_token": None}, "no price per token"),
        ({"output_cost_per_token": None}, "no price per token"),
        ({"input_cost_per_token": None}, "no price per token"),
        (
            {
                "input_cost_per_token": None,
                "output_cost_per_token": None,
                "mode": "audio_transcription",
                "input_cost_per_second": 1e-4,
            },
            "priced per second",
        ),
        (
            {
                "input_cost_per_token": 0,
                "output_cost_per_token": 0,
                "mode": "rerank",
                "input_cost_per_query": 0.001,
            },
            "priced per query",
        ),
        (
            {"input_cost_per_token": 0, "output_cost_per_token": 0, "output_cost_per_image": 1},
            "priced per image",
        ),
        ({"mode": "image_generation"}, "mode image_generation"),
        ({"input_cost_per_token": -1e-6}, "a price out of range"),
        ({"input_cost_per_token": 2}, "a price out of range"),
        ({"input_cost_per_token": "1e-6"}, "a price out of range"),
        ({"input_cost_per_token": True}, "a price out of range"),
        ({"mode": ["chat"]}, "not an entry"),
    ],
)
def test_what_cannot_be_expressed_is_skipped_and_counted_by_reason(
    entry: dict[str, Any], reason: str
) -> None:
    found = import_prices(listed(**entry))
    assert not found.models
    assert found.skipped == Counter({reason: 1})


def test_a_name_that_reads_as_a_glob_would_price_other_models_and_is_skipped() -> None:
    found = import_prices(listed().replace('"m"', '"bedrock/*/m"'))
    assert found.skipped == Counter({"its name reads as a glob": 1})


def test_an_embedding_gives_no_tokens_back_and_needs_no_price_for_them() -> None:
    models = import_prices(listed(mode="embedding", output_cost_per_token=None)).models
    assert models["m"].price() == Price(1_000_000, 1_000_000, 0, 0)


@pytest.mark.parametrize("most", ["8192", 0, -1, True, 1.5, None])
def test_a_cap_that_is_no_number_of_tokens_is_left_out(most: Any) -> None:
    assert import_prices(listed(max_output_tokens=most)).models.max_output_tokens == {}


def test_models_that_cost_more_for_long_queries_or_nothing_at_all_are_counted() -> None:
    assert import_prices(listed(input_cost_per_token_above_200k_tokens=2e-6)).tiered == 1
    assert import_prices(listed(input_cost_per_token=0, output_cost_per_token=0)).free == 1
    plain = import_prices(listed())
    assert (plain.tiered, plain.free) == (0, 0)


def test_only_what_matches_a_glob_is_imported() -> None:
    entry = json.loads(listed())["m"]
    text = json.dumps(dict.fromkeys(("gpt-4o", "gpt-5", "claude", "azure/gpt-4o"), entry))
    assert list(import_prices(text, ["gpt-*", "claude"]).models) == ["gpt-4o", "gpt-5", "claude"]
    assert len(import_prices(text).models) == 4


@pytest.mark.parametrize(
    "text", ["", "[]", "<html>", "[" * 100_000, listed().replace("1e-06", "NaN"), b"\xff"]
)
def test_what_is_no_list_is_an_error(text: str | bytes) -> None:
    with pytest.raises(ConfigError, match="not a list of prices"):
        import_prices(text)


def test_what_is_written_reads_back_the_same(tmp_path: Path) -> None:
    models = PriceFile(
        a=PricedModel(input=Decimal("0.15"), output=Decimal(600), reasoning=Decimal("1E+2")),
        b=PricedModel(input=Decimal("1e-6"), output=Decimal(0), max_output_tokens=4096),
    )
    file = tmp_path / "prices.json"
    write_price_file(models, file)
    assert read_price_file(file) == models
    assert json.loads(file.read_text())["a"] == {"input": "0.15", "output": "600", "reasoning": "100"}


def test_a_file_is_replaced_whole_and_where_its_link_points(tmp_path: Path) -> None:
    file, link = tmp_path / "real" / "prices.json", tmp_path / "prices.json"
    file.parent.mkdir()
    file.write_text("old")
    link.symlink_to(file)
    write_price_file(PriceFile(m=PricedModel(input=Decimal(1), output=Decimal(1))), link)
    assert link.is_symlink()
    assert list(read_price_file(file)) == ["m"]
    assert [each.name for each in file.parent.iterdir()] == ["prices.json"]
    assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0o044


def test_a_file_that_cannot_be_written_is_an_error_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere.*No such file"):
        write_price_file(PriceFile(), tmp_path / "nowhere" / "prices.json")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigError, match="folder"):
        write_price_file(PriceFile(), tmp_path / "folder")
    assert [each.name for each in tmp_path.iterdir()] == ["folder"]
