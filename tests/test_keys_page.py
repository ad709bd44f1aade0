"""What docs/keys.md says is so."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from commands import open_store
from test_docs import snippets
from typer.main import get_command

from guard import load
from guard.admin import Operator
from guard.admin.json.keys import KeyJson
from guard.cli.app import app
from guard.core.issued import ENDED_SECONDS, MOST_HOLDING, Fault
from guard.core.secret import PATTERN, is_whole

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = (Path(__file__).parents[1] / "docs" / "keys.md").read_text("utf-8")
ROWS = dict(re.findall(r"^\| [^|]+ \| (\d+ \| `\w+`) \| ([^|]+) \|$", PAGE, re.MULTILINE))


async def test_its_python_issues_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "guard.toml").write_text('data_dir = "data"\n')
    open_store(tmp_path)
    monkeypatch.chdir(tmp_path)
    (code,) = snippets("python", PAGE)
    names: dict[str, Any] = {}
    exec(code, names)
    sign_up: Callable[..., Any] = names["sign_up"]
    assert is_whole(await sign_up("alice", "acme"))
    async with Operator(load("guard.toml")) as operator:
        assert [key.name for key in await operator.keys.all("acme")] == ["alice"]


def test_its_commands_are_there_and_all_are_on_it() -> None:
    verbs: dict[str, Any] = get_command(app).commands["key"].commands  # type: ignore[attr-defined]
    lines = re.findall(r"^guard key (.*)$", snippets("", PAGE)[0], re.MULTILINE)
    told = [shlex.split(line, comments=True) for line in lines]
    assert {words[0] for words in told} == set(verbs)
    for verb, *words in told:
        options = {name for each in verbs[verb].params for name in each.opts}
        assert {word for word in words if word.startswith("--")} <= options


@pytest.mark.parametrize("fault", Fault)
def test_each_fault_is_on_it_with_its_status_and_what_the_caller_reads(fault: Fault) -> None:
    assert ROWS[f"{fault.status} | `{fault}`"] == fault.message


def test_each_field_of_a_key_is_on_it() -> None:
    table = PAGE[PAGE.index("## As data") : PAGE.index("## In code")]
    rows = re.findall(r"^\| (`[^|]*`) \|", table, re.MULTILINE)
    assert [name for row in rows for name in re.findall(r"`(\w+)`", row)] == list(KeyJson.__annotations__)


def test_its_figures_are_those_of_the_code() -> None:
    assert f"`{PATTERN}`" in PAGE
    assert f"kept for {ENDED_SECONDS // 86_400} days" in PAGE
    assert MOST_HOLDING == 8
    assert "At most eight secrets" in PAGE
