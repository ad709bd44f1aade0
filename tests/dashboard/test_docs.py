"""What docs/dashboard.md says is tried."""

from __future__ import annotations

import re
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from dashboards import ADMIN, Browser
from fakes import http_scope

from guard.cli.dashboard import dashboard as verb

if TYPE_CHECKING:
    from guard import Dashboard

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "dashboard.md").read_text("utf-8")
SNIPPETS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    tables = (
        f'[[admin.tokens]]\nname = "{each["name"]}"\nsha256 = "{each["sha256"]}"' for each in ADMIN["tokens"]
    )
    (tmp_path / "guard.toml").write_text("\n".join(tables))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(snippet: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(snippet, names)
    return names


async def test_the_app_that_mounts_it_runs(folder: Path) -> None:
    app = run(SNIPPETS[0])["app"]
    assert (await Browser(app, root="/ops/guard").get("/login")).status_code == 200


async def test_the_app_that_knows_who_asks_lets_these_in(folder: Path) -> None:
    names = run(SNIPPETS[1])
    found: Dashboard = names["dashboard"]
    assert names["authenticate"]({**http_scope("/"), "user": "ann"}).name == "ann"
    assert names["authenticate"](http_scope("/")) is None
    assert (await Browser(found).get("/")).status_code == 403


def test_the_port_is_the_one_that_it_says() -> None:
    assert f"127.0.0.1:{signature(verb).parameters['port'].default}." in PAGE
