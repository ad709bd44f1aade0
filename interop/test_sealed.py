"""Frameworks in front of guard that seals reasoning: which of them have the model get its thoughts again.

docs/requests.md tells users, in a table; the last test holds it against what is measured here.
"""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from guard.demo.model import FakeModel
from guard.demo.model.wish import REASONING
from guard.demo.run import serving
from guard.server.app import guarded
from guard.settings.root import Settings
from interop import servers

if TYPE_CHECKING:
    from pathlib import Path

PAGE = (servers.ROOT / "docs" / "requests.md").read_text()
ROWS = dict(re.findall(r"^\| `([a-z]+-[a-z]+)`[^|]* \| (yes|no) \|", PAGE, re.MULTILINE))
NAMES = (
    *("langchain-anthropic", "langchain-responses", "langchain-chat", "langchain-google"),
    *("litellm-anthropic", "litellm-chat", "ai-anthropic", "ai-responses", "ai-chat", "ai-google"),
)


@pytest.mark.parametrize("name", NAMES)
def test_a_framework_sends_back_what_its_row_says(tmp_path: Path, name: str) -> None:
    model = FakeModel()
    tiers = {"default": {"reasoning": "sealed"}}
    with serving(model) as backend:
        settings = Settings.model_validate(
            {
                "data_dir": tmp_path,
                "tiers": tiers,
                "backend": {"url": backend},
                "detection": {"mode": "off"},
                "store": {"deadline_ms": 5000},
            }
        )
        with serving(guarded(settings, hooks=())) as front:
            folder = servers.HERE / "clients"
            of_python = [servers.PYTHON, folder / "harness.py"]
            command = ["node", folder / "harness.mjs"] if name.startswith("ai-") else of_python
            done = subprocess.run(
                [*command, name, front], capture_output=True, text=True, timeout=300, check=False
            )
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(model.requests) == 2
    body = model.requests[-1].body
    assert b"guardsealed1" not in body
    kept = all(word.encode() in body for word in REASONING)
    assert ROWS.get(name) == ("yes" if kept else "no"), body.decode()


def test_each_row_is_measured() -> None:
    assert set(ROWS) == set(NAMES)
