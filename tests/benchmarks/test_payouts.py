"""The trial of payouts, on made-up answers."""

from __future__ import annotations

import gzip
import json
import random
from typing import TYPE_CHECKING

import pytest

from benchmarks.detection import payouts, spelling

if TYPE_CHECKING:
    from pathlib import Path

SOURCES = (
    *("gpteacher", "gpteacher-tools", "gsm8k-train", "seed-tasks", "instruct-demos", "huatuo-zh"),
    *("dolly-3k", "taskmaster4", "banking77"),
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    chance = random.Random(1)
    for source in SOURCES:
        with gzip.open(tmp_path / f"{source}.jsonl.gz", "wt", encoding="utf-8") as file:
            for number in range(40):
                words = ["".join(chance.choices("abcdefghijklmnopqrst", k=6)) for _ in range(20)]
                answer = " ".join(words) * (8 if source == "dolly-3k" and number % 2 else 1)
                prompt = "why? " * 120
                record = {"prompt": prompt, "answers": [answer], "group": f"label_{number % 3}"}
                file.write(json.dumps(record) + "\n")
    return tmp_path


def test_it_says_what_each_kind_pays_plain_and_disguised(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(payouts, "HOLDERS", 1)
    monkeypatch.setattr(payouts, "DISTILLED", ("gpteacher",))
    assert payouts.main(["--data", str(data)]) == 0
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines() if " | " in line]
    novelty = {row[1]: float(row[4].rstrip("%")) for row in rows if len(row) >= 6 and "%" in row[4]}
    assert novelty["gpteacher"] > 80
    assert novelty["banking77, labels"] < 10
    assert {*spelling.SEEN, *spelling.LEFT_OUT} <= {row[0] for row in rows}


def test_it_asks_for_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DETECTION_DATA", raising=False)
    assert payouts.main([]) == 2
