"""Keys that are issued, as an operator has them made, changed and ended."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from commands import guard, guard_process, open_store

from guard.core.secret import is_whole

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

CONFIG = """
data_dir = "data"
[tiers.default]
[tiers.pro]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "guard.toml").write_text(CONFIG)
    open_store(tmp_path)
    return tmp_path


def key(folder: Path, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    told = guard("key", *arguments, folder=folder)
    assert told.returncode == code, told.stderr
    return told


def data(folder: Path, *arguments: str) -> Any:
    return json.loads(key(folder, *arguments, "--json").stdout)


def test_a_secret_stands_alone_on_stdout_and_what_it_is_for_on_stderr(folder: Path) -> None:
    told = key(
        folder, "new", "alice", "--org", "acme", "--user", "Ann", "--tier", "pro", "--from", "10.0.0.0/8",
        *("--from", "192.0.2.1", "--until", "2100-01-01"),
    )  # fmt: skip
    assert re.fullmatch(r"\S+\n", told.stdout)
    assert is_whole(told.stdout.strip())
    assert told.stdout.strip() not in told.stderr
    for said in ("guard: alice is issued:", "org: acme", "user: Ann", "tier: pro", "until: 2"):
        assert said in told.stderr
    assert "from: 10.0.0.0/8, 192.0.2.1/32" in told.stderr


def test_it_is_there_as_data_too(folder: Path) -> None:
    made = data(folder, "new", "alice", "--for", "90d")
    secret = made.pop("secret")
    assert is_whole(secret)
    assert made == data(folder, "show", "alice") == data(folder, "list")[0]
    assert (made["state"], made["org"], made["networks"]) == ("active", None, [])
    assert made["until"] > made["made"]


def test_the_list_fits_eighty_columns_and_may_be_of_one_organisation(folder: Path) -> None:
    key(folder, "new", "alice-of-the-long-name-which-goes-on", "--org", "acme", "--from", "2001:db8:1:2::/64")
    key(folder, "new", "bob", "--tier", "pro", "--for", "90d")
    listed = key(folder, "list").stdout
    assert [line.split()[:2] for line in listed.splitlines()[1:]] == [
        ["alice-of-the-long-name-which-goes-on", "active"],
        ["bob", "active"],
    ]
    assert [each["name"] for each in data(folder, "list", "--org", "acme")] == [
        "alice-of-the-long-name-which-goes-on"
    ]


def test_a_rotation_prints_the_new_secret_and_both_hold(folder: Path) -> None:
    old = key(folder, "new", "alice").stdout
    told = key(folder, "rotate", "alice", "--grace", "2h")
    assert is_whole(told.stdout.strip())
    assert told.stdout != old
    assert "alice is rotated" in told.stderr
    ends = [secret["until"] for secret in data(folder, "show", "alice")["secrets"]]
    assert ends[0] is None
    assert ends[1] is not None
    key(folder, "rotate", "alice", "--grace", "0s")
    assert len(data(folder, "show", "alice")["secrets"]) == 1


@pytest.mark.parametrize("name", ["alice", "key:alice"])
def test_old_and_new_are_told_of_each_change(folder: Path, name: str) -> None:
    key(folder, "new", "alice")
    assert "  state: active -> disabled\n" in key(folder, "disable", name, "--reason", "a bill").stdout
    assert key(folder, "disable", name).stdout == "alice stood so already.\n"
    assert "  state: disabled -> active\n" in key(folder, "enable", name).stdout
    changed = key(folder, "change", name, "--tier", "pro", "--org", "acme").stdout
    assert "  tier: - -> pro\n" in changed
    assert "  org: - -> acme\n" in changed
    assert "  state: active -> revoked\n" in key(folder, "revoke", name, "--by", "ann").stdout


def test_what_is_not_named_stays_and_an_empty_text_takes_it_away(folder: Path) -> None:
    key(folder, "new", "alice", "--org", "acme", "--user", "Ann", "--for", "9d", "--from", "10.0.0.0/8")
    key(folder, "change", "alice", "--user", "", "--tier", "pro")
    found = data(folder, "show", "alice")
    assert (found["org"], found["user"], found["tier"]) == ("acme", None, "pro")
    assert found["until"] is not None
    assert found["networks"] == ["10.0.0.0/8"]
    key(folder, "change", "alice", "--for", "ever", "--from", "anywhere")
    found = data(folder, "show", "alice")
    assert (found["until"], found["networks"]) == (None, [])


@pytest.mark.parametrize(
    ("order", "said"),
    [
        (("disable", "alice"), "alice would change:\n  state: active -> disabled\n"),
        (("revoke", "alice"), "alice would change:\n  state: active -> revoked\n"),
        (("rotate", "alice"), "alice would change:\n  secrets: "),
        (("new", "bob"), "bob would change:\n  state: active\n"),
    ],
)
def test_a_dry_run_says_what_would_change_and_shows_no_secret(
    folder: Path, order: tuple[str, ...], said: str
) -> None:
    key(folder, "new", "alice")
    before = data(folder, "list")
    told = key(folder, *order, "--dry-run")
    assert told.stdout.startswith(said)
    assert "guard_key_" not in told.stdout
    assert data(folder, "list") == before


@pytest.mark.parametrize("verb", ["find", "key find"])
def test_whose_a_key_is_is_read_from_standard_input(folder: Path, verb: str) -> None:
    secret = key(folder, "new", "alice", "--org", "acme").stdout
    told = guard(*verb.split(), folder=folder, stdin=secret)
    assert told.stdout.splitlines()[0] == "key:alice: an issued key, active"
    key(folder, "disable", "alice")
    assert "an issued key, disabled" in guard(*verb.split(), folder=folder, stdin=secret).stdout
    lost = guard(*verb.split(), folder=folder, stdin=secret[:-3])
    assert lost.returncode == 3
    assert "unknown_key" in lost.stderr
    assert "cut or mistyped" in lost.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("new", "alice"), 1, "there is a key alice already, which is active; rotate it"),
        (("new", "bob", "--tier", "gold"), 1, "tier 'gold' is not defined; there are default, pro"),
        (("new", "bob", "--from", "10.0.0.1/8"), 2, "write 10.0.0.0/8 for all of it"),
        (("new", "a\x1b[31mb"), 2, r"got 'a\x1b[31mb'"),
        (("new", "bob", "--until", "2001-01-01"), 2, "2001-01-01 is over"),
        (("new", "bob", "--for", "1d", "--until", "2100-01-01"), 2, "not both"),
        (("new", "bob", "--by", "a" * 101), 2, "by must have 1 to 100 characters"),
        (("rotate", "alice", "--grace", "soon"), 2, "is not a length of time"),
        (("rotate", "bob"), 3, "there is no issued key bob; `guard key list` lists them"),
        (("show", "bob"), 3, "there is no issued key bob"),
        (("revoke",), 2, "Missing argument"),
    ],
)
def test_what_is_wrong_is_said_with_its_cure(
    folder: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    key(folder, "new", "alice")
    told = key(folder, *arguments, code=code)
    assert said in told.stderr
    assert told.stdout == ""
    assert "\x1b" not in told.stderr


def test_where_there_are_no_keys_that_is_said(folder: Path) -> None:
    assert key(folder, "list").stdout == "There are no issued keys.\n"
    assert data(folder, "list") == []


def test_where_redis_does_not_answer_nothing_is_printed_for_a_secret(tmp_path: Path) -> None:
    (tmp_path / "guard.toml").write_text(
        '[store]\nredis_url = "redis://127.0.0.1:1/0"\n[identity]\npepper = "a pepper of some length"\n'
    )
    told = key(tmp_path, "new", "alice", code=69)
    assert told.stdout == ""


def test_a_secret_can_be_piped(folder: Path) -> None:
    told = guard_process("key", "new", "alice", folder=folder)
    found = guard_process("key", "find", folder=folder, stdin=told.stdout)
    assert found.stdout.startswith("key:alice: an issued key")


@pytest.mark.parametrize("verb", [("check", "--store"), ("doctor",)])
def test_settings_are_not_blamed_for_what_keys_say(folder: Path, verb: tuple[str, ...]) -> None:
    limit = '[[tiers.default.limits]]\nname = "l"\nunit = "requests"\nrate = "9/day"\nper = "org"\n'
    (folder / "guard.toml").write_text(CONFIG + limit)
    blame = "nothing says the org of a caller"
    before = guard(*verb, folder=folder)
    assert blame in before.stdout + before.stderr
    key(folder, "new", "alice", "--org", "acme")
    after = guard(*verb, folder=folder)
    assert blame not in after.stdout + after.stderr
