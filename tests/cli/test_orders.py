"""What all verbs that change something have in common: who, why, until when, and a dry run."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from commands import guard, write_settings_of_campaigns
from redis import Redis

from guard import load
from guard.core.campaigns import Campaign, Member, Verdict
from guard.core.evidence import Band
from guard.core.holds import Held
from guard.core.identity import Attribute, Holder, Identity
from guard.core.limits import Charge
from guard.core.query import Usage
from guard.core.signals import Group, Signal
from guard.installation import Installation
from guard.store.port import Reservation
from guard.store.redis.keys import AUDIT

if TYPE_CHECKING:
    from pathlib import Path

NOW_US = 1_900_000_000_000_000
BOB = Holder(Attribute.KEY, "bob")

ORDERS = (
    ("block", "key:bob"),
    ("unblock", "key:bob"),
    ("reset", "key:bob"),
    ("forgive", "key:bob"),
    ("release", "key:bob"),
    ("limits", "set", "key:bob", "requests", "--rate", "5/hour"),
    ("limits", "exempt", "key:bob"),
    ("limits", "clear", "key:bob"),
    ("mode", "shadow"),
    ("reload",),
    ("verdict", "c1", "unrelated"),
    ("verdict", "c1", "--drop"),
    ("clear", "c1", "key:bob"),
)
"""Each of which changes something (`fill`)."""


async def fill(folder: Path) -> None:
    store = Installation.of(load(folder / "guard.toml"), deadline_seconds=60).store
    await store.start()
    bob = Identity(BOB, {Attribute.KEY: "bob"})
    charges = tuple(
        Charge(limit, BOB, 1) for limit in load(folder / "guard.toml").policy().limits if "key" in limit.per
    )
    reservation = Reservation("r1", bob, charges)
    assert (await store.admit(reservation)).admitted
    await store.settle(reservation, Usage(10, 20))
    await store.accuse(BOB, bob, {Signal.ENUMERATION: 30.0}, NOW_US, 1 << 40)
    held = Held("req_1", Band.HIGH, (Group.CONTENT,), NOW_US, NOW_US + 3_600_000_000)
    await store.set_review(BOB, held, instead_of=None)
    await store.block(BOB, None, "leaked")
    await store.override(BOB, "requests", {3_600: (7, 7)}, None)
    found = Campaign("c1", NOW_US, NOW_US, Verdict.LIKELY, 20.0, 1.0, {"key:bob": Member(NOW_US, 1.0)})
    await store.keep_campaigns([found], [], NOW_US)
    await store.aclose()


@pytest.fixture
def folder(tmp_path: Path, redis_url: str) -> Path:
    write_settings_of_campaigns(tmp_path, redis_url)
    asyncio.run(fill(tmp_path))
    guard("verdict", "c1", "confirmed", "--reason", "x", folder=tmp_path)
    return tmp_path


def acts(folder: Path) -> list[dict[str, Any]]:
    told = guard("audit", "--verb", "act", "--json", folder=folder)
    return [json.loads(line) for line in told.stdout.splitlines()]


def kept(redis_url: str) -> dict[bytes, bytes | None]:
    """All that Redis holds, but for the records, and what says only that somebody has looked."""
    with Redis.from_url(redis_url) as client:
        return {key: client.dump(key) for key in client.scan_iter() if not key.startswith(AUDIT.encode())}


@pytest.mark.parametrize("order", ORDERS, ids=" ".join)
def test_an_order_says_who_and_why_and_prints_what_it_has_changed(
    folder: Path, order: tuple[str, ...]
) -> None:
    told = guard(*order, "--by", "ann", "--reason", "a good one", folder=folder)
    assert told.returncode == 0, told.stderr
    act = acts(folder)[-1]
    assert (act["by"], act["reason"]) == ("ann", "a good one")
    assert act["verb"] == " ".join(order).partition(" key:")[0].partition(" c1")[0].replace(
        "mode shadow", "mode"
    ) + (" --drop" if "--drop" in order else "")
    changes = [line for line in told.stdout.splitlines() if line.startswith("  ")]
    assert len(changes) >= 1
    assert all(re.fullmatch(r"  [a-z_]+ .+ -> .+", line) for line in changes)


def test_a_dry_run_says_what_would_change_and_changes_nothing(folder: Path, redis_url: str) -> None:
    before, recorded = kept(redis_url), acts(folder)
    for order in ORDERS:
        told = guard(*order, "--reason", "x", "--dry-run", folder=folder)
        assert told.returncode == 0, told.stderr
        first, *changes = told.stdout.splitlines()
        assert " would " in first, order
        assert changes
    assert kept(redis_url) == before
    assert acts(folder) == recorded


@pytest.mark.parametrize(
    "order",
    [
        ("block", "key:bob"),
        ("release", "key:bob"),
        ("limits", "set", "key:bob", "requests", "--rate", "5/hour"),
        ("limits", "exempt", "key:bob"),
        ("verdict", "c1", "unrelated"),
    ],
    ids=" ".join,
)
def test_what_ends_takes_a_length_or_a_moment(folder: Path, order: tuple[str, ...]) -> None:
    for option in (("--for", "2h"), ("--until", "2099-01-01")):
        assert guard(*order, *option, "--reason", "x", folder=folder).returncode == 0
        assert acts(folder)[-1]["until"] > acts(folder)[-1]["at"]
    both = guard(*order, "--for", "2h", "--until", "2099-01-01", "--reason", "x", folder=folder)
    assert (both.returncode, "give --for or --until, not both" in both.stderr) == (2, True)
    past = guard(*order, "--until", "2001-01-01", "--reason", "x", folder=folder)
    assert (past.returncode, "2001-01-01 is over" in past.stderr) == (2, True)


def test_an_order_that_changes_nothing_says_so(folder: Path) -> None:
    guard("unblock", "key:bob", folder=folder)
    told = guard("unblock", "key:bob", "--dry-run", folder=folder)
    assert told.stdout == "unblock key:bob would change nothing.\n"


def test_who_gives_an_order_is_else_the_user_of_the_machine(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "carol")
    guard("mode", "enforce", folder=folder)
    assert acts(folder)[-1]["by"] == "carol"


@pytest.mark.parametrize(("option", "value"), [("--by", "x" * 101), ("--by", " "), ("--reason", "x" * 1_001)])
def test_who_and_why_are_bounded(folder: Path, option: str, value: str) -> None:
    before = acts(folder)
    assert guard("mode", "shadow", option, value, folder=folder).returncode == 2
    assert acts(folder) == before
