"""The file for `uvicorn --log-config` that the page on logging shows."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "logging.md"

PROGRAM = """
import json, logging.config, sys
logging.config.dictConfig(json.load(sys.stdin))
for name in ("guard", "uvicorn.error", "uvicorn.access"):
    logging.getLogger(name).info("a line of %s", name)
"""


def test_it_shows_the_lines_of_guard_and_of_uvicorn_once() -> None:
    shown = re.search(r"```json\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert shown is not None
    told = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=shown[1],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    lines = [line.partition(" INFO ")[2] for line in told.stderr.splitlines()]
    assert lines == [f"{name} a line of {name}" for name in ("guard", "uvicorn.error", "uvicorn.access")]


def test_the_pattern_for_shippers_takes_the_json_of_a_line() -> None:
    text = PAGE.read_text("utf-8")
    pattern = re.search(r"`(\^\(\?<time>.*?\$)`", text)
    line = re.search(r"^20\d\d-.* WARNING guard \{.*\}$", text, re.MULTILINE)
    assert pattern is not None
    assert line is not None
    found = re.match(pattern[1].replace("(?<", "(?P<"), line[0])
    assert found is not None
    assert found["event"].startswith('{"kind":"refused"')
