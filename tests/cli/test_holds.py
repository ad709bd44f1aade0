"""What an operator sees of holds, and how one ends, by the command line."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from commands import guard

from guard import load
from guard.core.evidence import Band, Evidence, Mark
from guard.core.holds import Held
from guard.core.identity import Attribute, Holder, Identity
from guard.core.signals import Group, Signal
from guard.installation import Installation

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = """
data_dir = "data"
[ladder]
high = { hold = true, throttle_percent = 25 }
[hold]
expires_days = 10
webhook = "https://trust.example.com/a-secret-path"
"""
ALICE = Holder(Attribute.KEY, "alice")
ANN = Holder.together([Holder(Attribute.KEY, "app"), Holder(Attribute.END_USER, "ann")])
NOW_US = time.time_ns() // 1000
HOUR_US = 3_600_000_000
OF_ALICE = Held("req_a", Band.HIGH, (Group.CONTENT,), NOW_US - 5 * HOUR_US, NOW_US + 235 * HOUR_US)
OF_ANN = Held("req_b", Band.CRITICAL, (Group.INTENT,), NOW_US, NOW_US + 240 * HOUR_US)


async def hold(folder: Path) -> None:
    store = Installation.of(load(folder / "guard.toml")).store
    await store.start()
    marks = {Signal.GRADING: Mark(20.0, NOW_US, NOW_US)}
    await store.learn(ALICE, Identity(ALICE), Evidence(0, b"", marks))
    for holder, held in ((ALICE, OF_ALICE), (ANN, OF_ANN)):
        # A hold lasts from when it is written down.
        await store.set_review(holder, replace(held, until_us=held.since_us + 240 * HOUR_US), instead_of=None)
    await store.aclose()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "guard.toml").write_text(CONFIG)
    asyncio.run(hold(tmp_path))
    return tmp_path


def shown(folder: Path, holder: str) -> Any:
    return json.loads(guard("show", holder, "--json", folder=folder).stdout)["review"]


def test_who_is_held_is_listed_the_longest_first(folder: Path) -> None:
    rows = guard("holds", folder=folder).stdout.splitlines()[1:]
    assert [row.split()[:4] for row in rows] == [
        ["key:alice", "req_a", "high", "content"],
        ["key:app+end_user:ann", "req_b", "critical", "intent"],
    ]


def test_who_is_held_is_there_as_data(folder: Path) -> None:
    alice, ann = json.loads(guard("holds", "--json", folder=folder).stdout)
    assert (alice["holder"], alice["receipt"], alice["band"], alice["groups"]) == (
        *("key:alice", "req_a", "high"),
        ["content"],
    )
    assert (ann["holder"], ann["held"]) == ("key:app+end_user:ann", True)
    assert alice["since"] < ann["since"] < ann["until"]


@pytest.mark.parametrize("name", ["key:alice", "req_a"])
def test_show_says_so_and_what_ends_it(folder: Path, name: str) -> None:
    told = guard("show", name, folder=folder).stdout
    assert "HELD for review since " in told
    assert "(high: content; receipt req_a)" in told
    assert "`guard release key:alice` serves it again" in told
    assert shown(folder, name)["held"] is True


def test_a_release_clears_it_of_what_is_known(folder: Path) -> None:
    told = guard("release", "req_a", "--for", "7d", "--reason", "a customer", folder=folder)
    assert told.returncode == 0
    assert told.stdout.startswith("key:alice is no longer held; cleared of content, intent until 20")
    review = shown(folder, "key:alice")
    assert (review["held"], review["groups"], review["reason"]) == (
        False,
        ["content", "intent"],
        "a customer",
    )
    assert "cleared of content, intent until 20" in guard("show", "key:alice", folder=folder).stdout
    assert "key:alice" not in guard("holds", folder=folder).stdout
    again = guard("release", "key:alice", "--for", "ever", folder=folder).stdout
    assert again.startswith("key:alice was not held; cleared of content, intent for good.\n")


def test_a_release_until_a_day(folder: Path) -> None:
    guard("release", "key:app+end_user:ann", "--until", "2100-01-01T02:00+02:00", folder=folder)
    assert shown(folder, "key:app+end_user:ann")["until"] in ("2099-12-31T23:59:59Z", "2100-01-01T00:00:00Z")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--until", "tomorrow"), "is not a date; write 2030-06-30"),
        (("--until", "9999-12-31T23:59-12:00"), "is not a date; write 2030-06-30"),
        (("--until", "2020-01-01"), "2020-01-01 is over"),
        (("--for", "a while"), "is not a length of time"),
        (("--for", "1d", "--until", "2100-01-01"), "not both"),
    ],
)
def test_an_end_that_is_none_is_wrong_usage(folder: Path, options: tuple[str, ...], message: str) -> None:
    told = guard("release", "key:alice", *options, folder=folder)
    assert told.returncode == 2
    assert message in " ".join(told.stderr.replace("│", " ").split())
    assert shown(folder, "key:alice")["held"] is True


def test_who_is_not_held_has_nothing_to_be_released_from(folder: Path) -> None:
    told = guard("release", "key:bob", folder=folder)
    assert (told.returncode, told.stdout) == (0, "key:bob was not held; nothing speaks against it.\n")
    nobody = guard("release", "req_0", folder=folder)
    assert (nobody.returncode, nobody.stderr) == (3, "guard: nobody is held under the receipt req_0\n")


def test_a_router_is_told_of_its_end_users(folder: Path) -> None:
    told = guard("release", "key:app", folder=folder)
    assert "its end users have holds of their own: key:app+end_user:ann" in told.stderr


def test_a_clear_that_nobody_asks_for_is_remarked(folder: Path) -> None:
    assert "no rung of its tier" not in guard("release", "key:alice", folder=folder).stderr
    (folder / "guard.toml").write_text('data_dir = "data"\n')
    told = guard("release", "key:alice", folder=folder)
    assert "no rung of its tier has `hold = true`, so nobody asks whether it is cleared" in told.stderr


def test_to_forgive_is_not_to_release(folder: Path) -> None:
    told = guard("forgive", "key:alice", folder=folder)
    assert "it is held all the same; `guard release key:alice` ends that" in told.stderr
    assert shown(folder, "key:alice")["held"] is True
    assert "held all the same" not in guard("forgive", "key:bob", folder=folder).stderr


def test_a_block_decides(folder: Path) -> None:
    guard("block", "key:alice", folder=folder)
    assert shown(folder, "key:alice") is None


def test_find_says_so(folder: Path) -> None:
    settings = load(folder / "guard.toml")
    holder = Holder(Attribute.KEY, Installation.of(settings).keys.credential("sk-1"))

    async def hold_it() -> None:
        store = Installation.of(settings).store
        await store.start()
        await store.set_review(holder, OF_ALICE, instead_of=None)
        await store.aclose()

    asyncio.run(hold_it())
    assert "HELD for review" in guard("find", folder=folder, stdin="sk-1\n").stdout
    assert json.loads(guard("find", "--json", folder=folder, stdin="sk-1\n").stdout)["review"]["held"]
    assert (
        json.loads(guard("find", "--json", "--address", "203.0.113.9", folder=folder).stdout)["review"]
        is None
    )


def test_check_says_who_holds_and_who_is_told_without_a_secret(folder: Path) -> None:
    told = guard("check", folder=folder)
    assert "risk high: held for review, own limits at 25%" in told.stdout
    assert (
        "Who is held stays so until released, for 10 days at most, and trust.example.com is told"
        in told.stdout
    )
    policy = json.loads(guard("check", "--json", folder=folder).stdout)
    assert policy["hold"] == {"expires_days": 10, "webhook": "trust.example.com"}
    assert policy["tiers"]["default"]["ladder"]["high"]["hold"] is True
    assert "a-secret-path" not in told.stdout + told.stderr + json.dumps(policy)


def test_check_warns_of_a_web_hook_that_is_never_told(tmp_path: Path) -> None:
    (tmp_path / "guard.toml").write_text('[hold]\nwebhook = "https://trust.example.com/"\n')
    told = guard("check", folder=tmp_path)
    assert "hold.webhook is never told of anything: no rung of a ladder has `hold = true`" in told.stderr
    assert "Who is held" not in told.stdout


def test_nobody_is_held_at_first(tmp_path: Path) -> None:
    (tmp_path / "guard.toml").write_text('data_dir = "data"\n')

    async def once() -> None:
        store = Installation.of(load(tmp_path / "guard.toml")).store
        await store.start()
        await store.aclose()

    asyncio.run(once())
    assert guard("holds", folder=tmp_path).stdout == "Nobody is held.\n"
    assert guard("holds", "--json", folder=tmp_path).stdout == "[]\n"
