"""`guard admin token new` as a person calls it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from commands import guard

from guard import load
from guard.admin.tokens import Role, Tokens

PAGE = (Path(__file__).parents[2] / "docs" / "admin-api.md").read_text("utf-8")


@pytest.mark.parametrize("role", Role)
def test_what_it_prints_opens_the_door(role: Role, tmp_path: Path) -> None:
    made = guard("admin", "token", "new", "grafana", "--role", role, folder=tmp_path)
    assert made.returncode == 0
    token = made.stdout.strip()
    assert token not in made.stderr
    (tmp_path / "guard.toml").write_text(made.stderr[made.stderr.index("[[") :])
    known = Tokens(load(tmp_path / "guard.toml").admin.tokens).check(token, None)
    assert (known.name, known.role) == ("grafana", role)


def test_a_token_reads_unless_told_otherwise_and_no_two_are_alike(tmp_path: Path) -> None:
    made = [guard("admin", "token", "new", "grafana", folder=tmp_path) for _ in range(2)]
    assert made[0].stdout != made[1].stdout
    assert all('role = "read"' in each.stderr for each in made)


@pytest.mark.parametrize("name", ["", "Ann", "a b", "\x1b[31m", "a" * 33, 'a"\nrole = "operate'])
def test_a_name_that_settings_would_not_take_is_wrong_usage(name: str, tmp_path: Path) -> None:
    made = guard("admin", "token", "new", name, folder=tmp_path)
    assert made.returncode == 2
    assert made.stdout == ""
    assert "\x1b" not in made.stderr
    assert "lower-case letters" in " ".join(re.sub(r"[│╭╮╰╯─]", "", made.stderr).split())


def test_the_page_shows_the_lines_that_it_prints(tmp_path: Path) -> None:
    (called,) = re.findall(r"^```\nguard (admin token new .*)\n```$", PAGE, re.MULTILINE)
    (shown,) = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    printed = guard(*called.split(), folder=tmp_path).stderr
    made = tomllib.loads(printed[printed.index("[[") :])
    made["admin"]["tokens"][0]["sha256"] = "…"
    assert tomllib.loads(shown) == made
