"""What an operator sees where Redis holds something that guard has not written, or not this version of it."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
from commands import guard
from redis import Redis

from guard import load
from guard.core.evidence import Band, Evidence, Mark
from guard.core.holds import Held
from guard.core.identity import Attribute, Holder, Identity, VouchedBy
from guard.core.query import Usage
from guard.core.signals import Group, Signal
from guard.detection.layout import LAYOUT, VERSION, Sum
from guard.installation import Installation
from guard.store.port import Reservation
from guard.store.redis.keys import IDENTITIES, TERMS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from subprocess import CompletedProcess

CONFIG = """
[[tiers.default.limits]]
name = "requests"
unit = "requests"
rate = "5/hour"
[[tiers.default.limits]]
name = "diversity"
unit = "novelty"
rate = "20/hour"
[[tiers.default.limits]]
name = "shared"
unit = "requests"
rate = "50/hour"
per = "everything"
floor = 1
"""
ALICE, BOB = (
    Identity(Holder(Attribute.KEY, name), {Attribute.KEY: name}, VouchedBy.KEYS_FILE)
    for name in ("alice", "bob")
)
NOW_US = time.time_ns() // 1000
MARKS = {Signal.GRADING: Mark(20.0, NOW_US, NOW_US)}
HELD = Held("req_a", Band.HIGH, (Group.CONTENT,), NOW_US, NOW_US + 10**12)


def profile() -> bytes:
    """That of a holder who has asked five times."""
    row = np.zeros((), LAYOUT)
    row["version"], row["queries"] = VERSION, 5
    row["sums"][Sum.QUERIES] = 5
    return row.tobytes()


async def fill(folder: Path) -> None:
    """A store that knows two callers."""
    store = Installation.of(load(folder / "guard.toml")).store
    await store.start()
    for number, each in enumerate((ALICE, BOB)):
        await store.settle(Reservation(f"r{number}", each, ()), Usage(10, 20))
        await store.learn(each.principal, each, Evidence(0, profile(), MARKS))
        await store.set_review(each.principal, HELD, instead_of=None)
        await store.block(each.principal, 3_600, "leaked")
        await store.override(each.principal, "requests", {3_600: (7, 7)}, None)
    await store.aclose()


class Store:
    """A store that was filled, opened past guard."""

    def __init__(self, folder: Path, redis_url: str) -> None:
        self.folder = folder
        self.redis = Redis(unix_socket_path=redis_url.removeprefix("unix://"))
        self.keys = Installation.of(load(folder / "guard.toml")).keys

    def verb(self, *arguments: str) -> CompletedProcess[str]:
        return guard(*arguments, folder=self.folder)


@pytest.fixture
def store(tmp_path: Path, redis_url: str) -> Iterator[Store]:
    pepper = secrets.token_hex(16)
    where = f'store.redis_url = "{redis_url}"\nidentity.pepper = "{pepper}"\n'
    (tmp_path / "guard.toml").write_text(where + CONFIG)
    asyncio.run(fill(tmp_path))
    store = Store(tmp_path, redis_url)
    yield store
    store.redis.flushdb()  # other tests would be told of it
    store.redis.close()


def evidence(store: Store) -> str:
    return store.keys.evidence(ALICE.principal, ALICE)


def record(store: Store) -> str:
    return store.keys.record(ALICE)


def counts(store: Store) -> str:
    return store.keys.counts(ALICE.principal, ALICE)


def a_list(store: Store, key: str) -> None:
    store.redis.delete(key)
    store.redis.rpush(key, "x")


def text(key: Callable[[Store], str], value: bytes) -> Callable[[Store], object]:
    return lambda store: store.redis.set(key(store), value)


def cut(key: Callable[[Store], str], length: int) -> Callable[[Store], object]:
    def damage(store: Store) -> None:
        known = cast("bytes", store.redis.get(key(store)))
        assert len(known) > length
        store.redis.set(key(store), known[:length])

    return damage


def term(field: Callable[[Store], str], value: bytes) -> Callable[[Store], object]:
    return lambda store: store.redis.hset(TERMS, field(store), cast("Any", value))


def block(store: Store) -> str:
    return store.keys.block_field(ALICE.principal)


def override(store: Store) -> str:
    return store.keys.override_field(ALICE.principal, "requests")


def review(store: Store) -> str:
    return store.keys.review_field(ALICE.principal)


def other_profile(store: Store) -> None:
    known = cast("bytes", store.redis.get(evidence(store)))
    store.redis.set(evidence(store), known[: 9 + known[8]] + b"of another version")


PARTS = ("record", "blocks", "review", "overrides", "limits", "evidence", "diversity")
LOST = {
    "evidence": "evidence",
    "profile": "",
    "record": "record",
    "counts": "diversity",
    "block": "blocks",
    "override": "overrides",
    "review": "review",
}
"""What is shown no more of what is damaged; all else is."""

DAMAGE: dict[str, tuple[str, Callable[[Store], object]]] = {
    "evidence, foreign": ("the evidence of key:alice", text(evidence, b"foreign bytes, quite a few of them")),
    "evidence, no number": ("the evidence of key:alice", text(evidence, b"\xff" * 400)),
    "evidence, cut off": ("the evidence of key:alice", cut(evidence, 5)),
    "evidence, marks cut off": ("the evidence of key:alice", cut(evidence, 15)),
    "evidence, a list": ("the evidence of key:alice", lambda store: a_list(store, evidence(store))),
    "profile, of another version": ("the profile of key:alice", other_profile),
    "profile, cut off": ("the profile of key:alice", cut(evidence, 40)),
    "record, foreign": ("the record of key:alice", text(record, b"foreign bytes" * 20)),
    "record, no numbers": ("the record of key:alice", text(record, b"\xff" * 200)),
    "record, cut off": ("the record of key:alice", cut(record, 60)),
    "record, cut off behind its numbers": ("the record of key:alice", cut(record, 90)),
    "record, a list": ("the record of key:alice", lambda store: a_list(store, record(store))),
    "counts, no hash": ("the counts of key:alice", text(counts, b"foreign")),
    "counts, cut off": (
        "the counts of key:alice",
        lambda store: store.redis.hset(counts(store), "*", cast("Any", b"\xdc\xff")),
    ),
    "block": ("the block of key:alice", term(block, b"foreign \xff bytes")),
    "override": ("the override of key:alice in requests", term(override, b"0 of another:version")),
    "review": ("the review of key:alice", term(review, b"0 foreign \xff bytes")),
    "hold": ("the review of key:alice", term(review, b"0 held req_x soaring sight 12 key:alice")),
}


@pytest.mark.parametrize(("what", "damage"), DAMAGE.values(), ids=DAMAGE)
def test_what_is_damaged_is_told_and_the_rest_is_shown(
    store: Store, what: str, damage: Callable[[Store], object]
) -> None:
    whole = store.verb("show", "key:alice", "--json")
    assert (whole.returncode, whole.stderr) == (0, "")
    damage(store)
    done = store.verb("show", "key:alice", "--json")
    assert done.returncode == 1
    assert done.stderr.startswith(f"guard: {what} is damaged in Redis")
    assert done.stderr.count("\n") == 1
    before, after = json.loads(whole.stdout), json.loads(done.stdout)
    lost = {part for part in PARTS if before[part] and not after[part]}
    assert lost <= {LOST[what.split()[1]]}
    assert store.verb("show", "key:alice").returncode == 1


NAMING = {("top", "record"), ("--risk", "record"), ("--risk", "evidence"), ("holds", "review")}
LISTS = (["top"], ["top", "--risk"], ["top", "--by", "key"], ["holds"], ["find", "--address", "203.0.113.9"])


@pytest.mark.parametrize(("what", "damage"), DAMAGE.values(), ids=DAMAGE)
def test_verbs_that_list_leave_out_what_is_damaged(
    store: Store, what: str, damage: Callable[[Store], object]
) -> None:
    whole = [store.verb(*verb) for verb in LISTS]
    assert [(each.returncode, each.stderr) for each in whole] == [(0, "")] * len(LISTS)
    damage(store)
    for verb, before in zip(LISTS, whole, strict=True):
        done = store.verb(*verb)
        assert done.returncode == (1 if done.stderr else 0)
        if (verb[-1], what.split()[1]) in NAMING:
            of = what if verb[-1] != "holds" else "the review of "  # whose it is may be what cannot be read
            assert done.stderr.startswith(f"guard: {of}")
        assert ("key:bob" in done.stdout) == ("key:bob" in before.stdout)


@pytest.mark.parametrize("verb", ["forgive", "release", "unblock", "reset", "block"])
@pytest.mark.parametrize(("what", "damage"), DAMAGE.values(), ids=DAMAGE)
def test_orders_are_carried_out_on_what_is_damaged(
    store: Store, verb: str, what: str, damage: Callable[[Store], object]
) -> None:
    damage(store)
    done = store.verb(verb, "key:alice")
    assert done.returncode in (0, 1), done.stderr
    assert done.stdout
    if verb == "reset" and "counts" in what:
        assert store.verb("show", "key:alice").returncode == 0
    if verb in ("release", "block"):
        assert "key:alice" not in store.verb("holds").stdout


def test_a_name_in_the_index_that_is_none_is_passed_over(store: Store) -> None:
    store.redis.zadd(IDENTITIES, {b"\xff foreign": NOW_US})
    done = store.verb("top")
    assert done.returncode == 1
    assert "the index of identities is damaged in Redis" in done.stderr
    assert "key:bob" in done.stdout
    assert store.verb("show", "key:ali…").returncode == 1
