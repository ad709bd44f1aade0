"""`--dry-run` and `guard check --against`: what a change would have done to the last hours."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from commands import guard
from patience import PATIENCE_SECONDS
from rich.console import Console

from guard import load
from guard.cli import output
from guard.core.rollups import MINUTE, Dimension, Measure, field_of
from guard.installation import Installation

ROOT = Path(__file__).parents[2]
CONFIG = """
store.redis_url = "{url}"
identity.pepper = "{pepper}"
[[tiers.default.limits]]
name = "requests"
unit = "requests"
rate = "1000/day"
[[tiers.default.limits]]
name = "tokens"
unit = "tokens"
rate = "100000/day"
"""


@pytest.fixture
def folder(tmp_path: Path, redis_url: str) -> Path:
    (tmp_path / "guard.toml").write_text(CONFIG.format(url=redis_url, pepper=secrets.token_hex(16)))
    uses = {"key:alice": (400, 3, 20_000, 4_000, 2_000_000, 0), "key:bob": (10, 0, 100, 10, 0, 0)}
    counts = {
        field_of(Dimension.ALL, Measure.ADMITTED): 410,
        field_of(Dimension.ALL, Measure.REFUSED): 3,
        field_of(Dimension.ALL, Measure.INPUT_TOKENS): 24_110,
        field_of(Dimension.ALL, Measure.COST): 2_000_000,
    }

    async def add() -> None:
        store = Installation.of(load(tmp_path / "guard.toml"), deadline_seconds=PATIENCE_SECONDS).store
        await store.start(required=True)
        await store.add_sums(("test", 1), int(time.time()) // MINUTE * MINUTE, counts, uses, 5_000)
        await store.aclose()

    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, add()).result()
    return tmp_path


def test_a_block_is_tried_without_being_given(folder: Path) -> None:
    told = guard("block", "key:alice", "--for", "2h", "--dry-run", folder=folder)
    assert told.returncode == 0, told.stderr
    lines = told.stdout.splitlines()
    assert lines.pop(1).startswith("  block none -> until 20")
    assert lines[:3] == [
        "key:alice would be blocked for 2h.",
        "In the last 24 hours 410 requests were forwarded, 3 refused.",
        "Of them 400 would have been refused (97.6 %), of 1 identity: 24000 tokens, $2.00.",
    ]
    assert re.fullmatch(r"key:alice +400 +400 +24000 +\$2.00", lines[-1])
    assert "blocked" not in guard("show", "key:alice", folder=folder).stdout


def test_other_numbers_are_tried_without_being_given(folder: Path) -> None:
    told = guard("limits", "set", "key:alice", "requests", "--rate", "100/day", "--dry-run", folder=folder)
    assert told.returncode == 0, told.stderr
    assert "key:alice would have 100/day in requests of tier default until it is cleared." in told.stdout
    assert "Of them 300 would have been refused" in told.stdout
    nothing = guard("limits", "set", "key:alice", "requests", "--rate", "900/day", "--dry-run", folder=folder)
    assert "None of them would have been refused." in nothing.stdout
    assert json.loads(guard("limits", "show", "key:alice", "--json", folder=folder).stdout)["overrides"] == []


def test_settings_are_checked_against_what_happened(folder: Path) -> None:
    settings = (folder / "guard.toml").read_text()
    (folder / "new.toml").write_text(settings.replace("1000/day", "300/day").replace("100000", "20000"))
    told = guard("check", "-c", "new.toml", "--against", "6h", folder=folder)
    assert told.returncode == 0, told.stderr
    assert "In the last 6 hours 410 requests were forwarded" in told.stdout
    assert "Of them 100 to 167 would have been refused (24.4 % to 40.7 %), of 1 identity" in told.stdout
    assert "requests are taken to be all of one size" in told.stderr
    found = json.loads(guard("check", "-c", "new.toml", "--against", "24h", "--json", folder=folder).stdout)[
        "against"
    ]
    assert found["would_refuse"]["requests"] == {"least": 100, "most": 167}
    assert found["limits"]["requests"]["requests"] == {"least": 100, "most": 100}
    assert found["hits"][0]["holder"] == "key:alice"
    documented = set(re.findall(r"`(\w+)`", (ROOT / "docs" / "rollups.md").read_text("utf-8")))
    assert found.keys() <= documented
    assert found["hits"][0].keys() <= documented


def test_a_terminal_of_80_columns_has_room(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "console", lambda: Console(highlight=False, width=80))
    settings = (folder / "guard.toml").read_text()
    (folder / "new.toml").write_text(settings.replace("1000/day", "300/day").replace("100000", "20000"))
    told = guard("check", "-c", "new.toml", "--against", "6h", folder=folder).stdout
    table = told[told.index("limit  ") if "limit  " in told else 0 :].splitlines()
    assert max(map(len, table[-4:])) <= 80


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("check", "--against", "2d"), "1 to 24 hours"),
        (("check", "--against", "x"), "length of time"),
        (("limits", "set", "key:a", "nope", "--rate", "1/day", "--dry-run"), "no limit is named"),
        (("limits", "set", "key:a", "requests", "--rate", "1/hour", "--dry-run"), "window"),
    ],
)
def test_what_cannot_be_tried_is_wrong_usage(folder: Path, arguments: tuple[str, ...], said: str) -> None:
    told = guard(*arguments, folder=folder)
    assert told.returncode == 2
    assert said in " ".join(told.stderr.replace("│", " ").split())
