"""`guard traffic`: what an operator sees of the last hours."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from commands import guard
from patience import PATIENCE_SECONDS
from rich.console import Console

from guard import load
from guard.cli import output
from guard.core.rollups import HOUR, MINUTE, Dimension, Measure, field_of
from guard.installation import Installation

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[2]
CONFIG = """
store.redis_url = "{url}"
identity.pepper = "{pepper}"
"""


@pytest.fixture
def folder(tmp_path: Path, redis_url: str) -> Path:
    (tmp_path / "guard.toml").write_text(CONFIG.format(url=redis_url, pepper=secrets.token_hex(16)))
    return tmp_path


def happened(folder: Path, at: float, counts: Mapping[str, int]) -> None:
    async def add() -> None:
        store = Installation.of(load(folder / "guard.toml"), deadline_seconds=PATIENCE_SECONDS).store
        await store.start(required=True)
        await store.add_sums((secrets.token_hex(4), 1), int(at) // MINUTE * MINUTE, counts, {}, 5_000)
        await store.aclose()

    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, add()).result()


REQUESTS = {
    field_of(Dimension.ALL, Measure.ADMITTED): 1_234_567,
    field_of(Dimension.ALL, Measure.REFUSED): 456_789,
    field_of(Dimension.ALL, Measure.WOULD_REFUSE): 12_345,
    field_of(Dimension.ALL, Measure.FAILED): 4_321,
    field_of(Dimension.ALL, Measure.INPUT_TOKENS): 1_234_567_890,
    field_of(Dimension.ALL, Measure.OUTPUT_TOKENS): 123_456_789,
    field_of(Dimension.ALL, Measure.COST): 987_654_321,
    field_of(Dimension.ALL, Measure.NOVELTY): 1_234_567,
    field_of(Dimension.LIMIT, Measure.REFUSED, "tokens"): 456_000,
    field_of(Dimension.LIMIT, Measure.WOULD_REFUSE, "a-new-one"): 12_345,
    field_of(Dimension.ERROR, Measure.FAILED, "backend_timeout"): 4_321,
    field_of(Dimension.TIER, Measure.ADMITTED, "default"): 1_234_567,
    field_of(Dimension.TIER, Measure.COST, "default"): 987_654_321,
    field_of(Dimension.OWN_SECONDS, Measure.REQUESTS, "0.001"): 60,
    field_of(Dimension.OWN_SECONDS, Measure.REQUESTS, "0.016"): 40,
}


def test_a_chart_has_a_bar_for_each_step(folder: Path) -> None:
    happened(folder, time.time(), REQUESTS)
    told = guard("traffic", folder=folder)
    assert told.returncode == 0, told.stderr
    lines = told.stdout.splitlines()
    assert "1234567 admitted, 456789 refused, 12345 would be refused (shadow), 4321 failed" in lines[1]
    assert lines[2].endswith("half of the requests within 1 ms, 95 % within 16 ms")
    (bar,) = re.findall(r"#+x+", told.stdout)
    assert (bar.count("#"), bar.count("x")) == (18, 6)
    assert len([line for line in lines if re.match(r"\d\d:\d\d( |$)", line)]) in (24, 25)


@pytest.mark.parametrize("options", [(), ("--by", "limit"), ("--by", "tier"), ("--since", "7d")])
def test_a_terminal_of_80_columns_has_room(
    folder: Path, options: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "console", lambda: Console(highlight=False, width=80))
    happened(folder, time.time(), REQUESTS)
    table = guard("traffic", *options, folder=folder).stdout.splitlines()[3:]
    assert max(map(len, table)) <= 80
    assert any("456" in line for line in table)


@pytest.mark.parametrize(
    ("by", "first", "second"),
    [
        ("limit", "tokens 456000", "a-new-one 12345"),
        ("error", "backend_timeout", None),
        ("tier", "default 1234567", None),
    ],
)
def test_sums_by_name_begin_with_most_requests(folder: Path, by: str, first: str, second: str | None) -> None:
    happened(folder, time.time(), REQUESTS)
    told = guard("traffic", "--by", by, folder=folder)
    rows = [" ".join(line.split()) for line in told.stdout.splitlines()[4:]]
    assert rows[0].startswith(first)
    assert second is None or rows[1].startswith(second)


def test_json_has_the_sums_of_all_and_of_each_step(folder: Path) -> None:
    now = time.time()
    happened(folder, now, REQUESTS)
    happened(folder, now - HOUR, {field_of(Dimension.ALL, Measure.ADMITTED): 3})
    found = json.loads(guard("traffic", "--json", folder=folder).stdout)
    assert found["total"]["admitted"] == 1_234_570
    assert sum(step["admitted"] for step in found["steps"]) == 1_234_570
    assert found["total"]["own_seconds"] == {"0.001": 60, "0.016": 40}
    assert found["total"]["limits"]["tokens"] == {"admitted": 0, "refused": 456_000, "would_refuse": 0}
    assert found["total"]["novelty"] == 1_234.567
    documented = set(re.findall(r"`(\w+)`", (ROOT / "docs" / "rollups.md").read_text("utf-8")))
    assert {*found, *found["total"]} - {"at", "since", "until", "step_seconds"} <= documented


def test_where_nothing_happened_it_says_so(folder: Path) -> None:
    told = guard("traffic", folder=folder)
    assert told.returncode == 0
    assert told.stdout.splitlines()[1:] == ["No request has come."]


def test_where_nothing_is_summed_up_it_says_so(folder: Path) -> None:
    with (folder / "guard.toml").open("a") as file:
        file.write("rollups.enabled = false\n")
    assert "rollups.enabled = false" in guard("traffic", folder=folder).stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--since", "7d", "--step", "1m"), "24 hours"),
        (("--since", "60d"), "35 days"),
        (("--since", "x"), "length of time"),
        (("--step", "90s"), "a step of 90 s"),
        (("--since", "35d", "--step", "1m"), "24 hours"),
        (("--by", "model_name"), "model_name"),
    ],
)
def test_a_question_that_cannot_be_answered_is_wrong_usage(
    folder: Path, options: tuple[str, ...], said: str
) -> None:
    told = guard("traffic", *options, folder=folder)
    assert told.returncode == 2
    assert said in " ".join(told.stderr.replace("│", " ").split())


def test_hostile_names_do_not_reach_a_terminal(folder: Path) -> None:
    happened(
        folder, time.time(), {field_of(Dimension.TIER, Measure.ADMITTED, "\x1b[2J[bold]a"): 3, **REQUESTS}
    )
    told = guard("traffic", "--by", "tier", folder=folder)
    assert "\x1b" not in told.stdout
    assert "[bold]a" in told.stdout


def test_what_cannot_be_read_is_named_and_ends_with_1(folder: Path, redis_url: str) -> None:
    from redis import Redis

    happened(folder, time.time(), REQUESTS)
    keys = Installation.of(load(folder / "guard.toml")).keys
    hour = int(time.time()) // HOUR * HOUR
    with Redis.from_url(redis_url) as client:
        for name in client.scan_iter(f"{keys.rollup('hour')}:*"):
            client.hset(name, ".n", "many")
        client.set(keys.rollup(f"hour:{hour - HOUR}"), "foreign")
    told = guard("traffic", "--step", "1h", folder=folder)
    assert told.returncode == 1
    assert "damaged in Redis" in told.stderr
