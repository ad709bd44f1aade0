"""`guard prices` as a person calls it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from guard.cli.prices import prices
from guard.errors import ConfigError
from guard.settings.prices import read_price_file

if TYPE_CHECKING:
    from pathlib import Path

PRICED = {"mode": "chat", "input_cost_per_token": 1.5e-07, "output_cost_per_token": 6e-07}
LISTED = {
    "gpt-small": PRICED,
    "azure/gpt-small": PRICED,
    "ear": {"mode": "audio_transcription", "input_cost_per_second": 1e-4},
}


def guard_prices(*arguments: str | Path) -> str:
    result = CliRunner().invoke(prices, ["import", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_an_import_says_how_many_models_and_what_it_skipped(tmp_path: Path) -> None:
    listed, target = tmp_path / "list.json", tmp_path / "prices.json"
    listed.write_text(json.dumps(LISTED))
    said = guard_prices(listed, "--output", target)
    assert "2 models" in said
    assert "skipped 1: priced per second" in said
    assert list(read_price_file(target)) == ["gpt-small", "azure/gpt-small"]


def test_only_some_models_and_the_summary_as_json(tmp_path: Path) -> None:
    listed, target = tmp_path / "list.json", tmp_path / "prices.json"
    listed.write_text(json.dumps(LISTED))
    said = guard_prices(listed, "--output", target, "--only", "gpt-*", "--json")
    assert json.loads(said) == {"file": str(target), "imported": 1, "free": 0, "tiered": 0, "skipped": {}}


@pytest.mark.parametrize(
    ("text", "complaint"), [("{", "not a list of prices"), ("{}", "no model"), (None, "No such file")]
)
def test_a_bad_list_leaves_the_good_file_as_it_is(text: str | None, complaint: str, tmp_path: Path) -> None:
    listed, target = tmp_path / "list.json", tmp_path / "prices.json"
    target.write_text("good")
    if text is not None:
        listed.write_text(text)
    with pytest.raises(ConfigError, match=complaint):
        guard_prices(listed, "--output", target)
    assert target.read_text() == "good"
    assert not list(tmp_path.glob(".*"))
