"""`guard grant`: more for a while, and then what held before."""

from __future__ import annotations

import json
import re
import secrets
from typing import TYPE_CHECKING, Any

import pytest
from commands import guard

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = """
[store]
redis_url = "{url}"
deadline_ms = 60000
[identity]
pepper = "{pepper}"
keys_file = "keys.toml"
[models.prices."*"]
input = 1
output = 1
[[tiers.default.limits]]
name = "requests"
unit = "requests"
rate = "10/minute;100/hour"
[[tiers.default.limits]]
name = "at-once"
unit = "concurrency"
count = 4
[[tiers.default.limits]]
name = "cost"
unit = "cost"
rate = "1000/day"
algorithm = "gcra"
burst = 500
[[tiers.pro.limits]]
name = "requests"
unit = "requests"
rate = "20/minute;200/hour"
[[overrides]]
holder = "key:carol"
limit = "requests"
exempt = true
[[overrides]]
holder = "key:dave"
limit = "requests"
rate = "30/minute"
"""
KEYS = """
[alice]
sha256 = "{0}1"
[bob]
sha256 = "{0}2"
tier = "pro"
[carol]
sha256 = "{0}3"
[dave]
sha256 = "{0}4"
"""


@pytest.fixture
def folder(tmp_path: Path, redis_url: str) -> Path:
    (tmp_path / "guard.toml").write_text(CONFIG.format(url=redis_url, pepper=secrets.token_hex(16)))
    (tmp_path / "keys.toml").write_text(KEYS.format("0" * 63))
    return tmp_path


def counts(folder: Path, holder: str, limit: str = "requests") -> list[float]:
    """What the limits of a holder hold now, by window."""
    shown = data(folder, "limits", "show", holder)
    return [each["count"] for each in shown["limits"] if each["limit"] == limit]


def data(folder: Path, *verb: str) -> Any:
    told = guard(*verb, "--json", folder=folder)
    assert told.returncode == 0, told.stderr
    return json.loads(told.stdout)


def grant(folder: Path, *options: str, code: int = 0) -> str:
    told = guard("grant", *options, folder=folder)
    assert told.returncode == code, told.stdout + told.stderr
    return told.stdout if code == 0 else told.stderr


@pytest.mark.parametrize(
    ("holder", "limit", "numbers", "expected"),
    [
        ("key:alice", "requests", ("--times", "3"), [30, 300]),
        ("key:bob", "requests", ("--times", "1.5"), [30, 300]),
        ("key:alice", "requests", ("--times", "0.5"), [5, 50]),
        ("key:alice", "requests", ("--rate", "70/minute"), [70, 100]),
        ("key:alice", "at-once", ("--count", "9"), [9]),
        ("key:alice", "at-once", ("--times", "2"), [8]),
        ("key:alice", "cost", ("--times", "2"), [2000]),
        ("key:dave", "requests", ("--times", "2"), [60]),
    ],
)
def test_a_holder_has_more_for_a_while(
    folder: Path, holder: str, limit: str, numbers: tuple[str, str], expected: list[float]
) -> None:
    said = grant(folder, holder, limit, *numbers, "--for", "2h", "--reason", "a launch")
    assert re.search(rf"^{holder} has .* until 20\d\d-.*Z in {limit}; before: what the settings say\.$", said)
    assert counts(folder, holder, limit)[: len(expected)] == expected
    (term,) = data(folder, "limits", "show", holder)["overrides"]
    assert 7_100 < term["remaining_seconds"] <= 7_200
    assert term["then"] is None


def test_what_an_override_for_good_gives_is_what_is_multiplied_and_what_comes_back(folder: Path) -> None:
    assert (
        guard("limits", "set", "key:alice", "requests", "--rate", "50/minute", folder=folder).returncode == 0
    )
    for _ in range(2):  # a second grant takes the place of the first
        grant(folder, "key:alice", "requests", "--times", "2", "--for", "2h")
        assert counts(folder, "key:alice") == [100, 100]
    (term,) = data(folder, "limits", "show", "key:alice")["overrides"]
    assert term["then"]["windows"] == [{"window_seconds": 60, "count": 50, "burst": 50}]
    assert term["then"]["remaining_seconds"] is None
    shown = guard("limits", "show", "key:alice", folder=folder).stdout
    assert re.search(r"100/1m in requests, for \d+m; then 50/1m in requests, for good", shown)
    said = grant(folder, "key:alice", "requests", "--end")
    assert "key:alice has 50/1m for good in requests; before: 100/1m until" in said
    assert counts(folder, "key:alice") == [50, 100]
    assert grant(folder, "key:alice", "requests", "--end") == "key:alice has no grant in requests.\n"
    assert counts(folder, "key:alice") == [50, 100]


def test_the_end_of_a_grant_on_nothing_is_what_the_settings_say(folder: Path) -> None:
    grant(folder, "key:alice", "requests", "--times", "2")
    assert "has what the settings say in requests" in grant(folder, "key:alice", "requests", "--end")
    assert counts(folder, "key:alice") == [10, 100]


def test_a_dry_run_changes_nothing(folder: Path) -> None:
    said = grant(folder, "key:alice", "requests", "--times", "2", "--dry-run")
    assert said.startswith("key:alice would have 20/1m, 200/1h until ")
    assert counts(folder, "key:alice") == [10, 100]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("key:alice", "requests"), 2, "give one of --times"),
        (("key:alice", "requests", "--times", "2", "--rate", "1/minute"), 2, "give one of --times"),
        (("key:alice", "requests", "--times", "2", "--end"), 2, "give one of --times"),
        (("key:alice", "requests", "--times", "0"), 2, "must be more than 0"),
        (("key:alice", "requests", "--times", "-1"), 2, "must be more than 0"),
        (("key:alice", "requests", "--times", "nan"), 2, "must be more than 0"),
        (("key:alice", "requests", "--times", "inf"), 2, "must be more than 0"),
        (("key:alice", "requests", "--times", "1e300"), 2, "at most"),
        (("key:alice", "requests", "--times", "2", "--for", "ever"), 2, "limits set"),
        (("key:alice", "nonsense", "--times", "2"), 2, "no limit is named 'nonsense'"),
        (("key:alice", "requests", "--rate", "5/day"), 2, "no window of 86400 s"),
        (("key:carol", "requests", "--times", "2"), 2, "exempt"),
        (("nobody", "requests", "--times", "2"), 2, "nobody"),
    ],
)
def test_wrong_use_is_an_error_that_says_what_is_right(
    folder: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    assert words in " ".join(grant(folder, *arguments, code=code).split())
    assert guard("limits", "show", "key:alice", folder=folder).returncode == 0


def test_a_holder_whose_tier_is_unknown_needs_numbers_that_fit_all_tiers(folder: Path) -> None:
    assert "by tier" in " ".join(grant(folder, "key:zoe", "requests", "--times", "2", code=2).split())
    grant(folder, "key:zoe", "requests", "--rate", "70/minute")
