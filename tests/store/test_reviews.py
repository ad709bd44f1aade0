"""Who is held and who was cleared, as stores keep it: one on Redis, one on a cluster, one in memory."""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.core.evidence import Band
from guard.core.holds import Cleared, Held, Review
from guard.core.identity import Attribute, Holder, Identity, VouchedBy
from guard.core.limits import Algorithm, Charge, Limit, Unit, Window
from guard.core.modes import Mode
from guard.core.signals import Group
from guard.store.memory.store import MemoryStore
from guard.store.port import Reservation
from guard.store.redis.keys import TERMS
from guard.store.redis.orders import FOR_GOOD_SECONDS, OperatorStore
from guard.store.redis.reviews import is_whole, read_review, write_review

sys.path.insert(0, str(Path(__file__).parent))

from admitting import store_at
from servers import cluster

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

ALICE = Identity(
    Holder(Attribute.KEY, "alice"),
    {Attribute.KEY: "alice", Attribute.ORG: "acme"},
    vouched_by=VouchedBy.KEYS_FILE,
)
SUSPECT = ALICE.principal
LIMIT = Limit("requests", Unit.REQUESTS, (Attribute.KEY,), Algorithm.SLIDING_WINDOW, (Window(5, 3_600, 5),))
EVERYBODY = Limit(
    "all", Unit.REQUESTS, (Attribute.EVERYTHING,), Algorithm.SLIDING_WINDOW, (Window(5, 3_600, 5),)
)
CHARGES = tuple(Charge(limit, ALICE.holder(*limit.per), 1) for limit in (LIMIT, EVERYBODY))
GROUPS = st.lists(st.sampled_from(Group), unique=True).map(tuple)
TIMES = st.integers(1, 2**52)


def held(receipt: str = "req_1", *, seconds: float = 600.0) -> Held:
    now_us = time.time_ns() // 1000
    return Held(receipt, Band.HIGH, (Group.CONTENT, Group.HARVEST), now_us, now_us + int(seconds * 1e6))


def cleared(reason: str = "") -> Cleared:
    return Cleared((Group.CONTENT,), time.time_ns() // 1000, None, reason)


@pytest.fixture(scope="module")
def several() -> Iterator[str]:
    with cluster(masters=3) as found:
        yield f"redis+cluster://{','.join(master.address for master in found.masters)}"


@pytest.fixture(params=["redis", "cluster", "memory"])
async def kept(request: pytest.FixtureRequest, redis_url: str) -> AsyncIterator[OperatorStore | MemoryStore]:
    if request.param == "memory":
        yield MemoryStore(lambda: time.time_ns() // 1000)
        return
    url = request.getfixturevalue("several") if request.param == "cluster" else redis_url
    store = store_at(url, secrets.token_bytes(16))
    yield store
    await store.aclose()


async def admit(
    store: OperatorStore | MemoryStore, name: str, reviewed: Mode = Mode.ENFORCE
) -> tuple[bool, Review | None]:
    verdict = await store.admit(Reservation(name, ALICE, CHARGES), suspect=SUSPECT, reviewed=reviewed)
    assert bool(verdict.charged) == verdict.admitted
    return verdict.admitted, verdict.review


async def test_a_review_comes_with_the_verdict_and_a_hold_is_charged_nothing(
    kept: OperatorStore | MemoryStore,
) -> None:
    hold = held()
    assert await kept.set_review(SUSPECT, hold, instead_of=None)
    assert await admit(kept, "a") == (False, hold)
    verdict = await kept.admit(Reservation("b", ALICE, CHARGES), suspect=SUSPECT, reviewed=Mode.SHADOW)
    assert (verdict.admitted, verdict.review) == (True, hold)
    assert [reading.remaining for reading in verdict.readings] == [4, 4]


async def test_nobody_looks_who_does_not_ask(kept: OperatorStore | MemoryStore) -> None:
    await kept.set_review(SUSPECT, held(), instead_of=None)
    assert await admit(kept, "a", Mode.OFF) == (True, None)
    verdict = await kept.admit(Reservation("b", ALICE, CHARGES), reviewed=Mode.ENFORCE)
    assert (verdict.admitted, verdict.review) == (True, None)


async def test_who_is_cleared_is_admitted(kept: OperatorStore | MemoryStore) -> None:
    clear = cleared("a customer + friend,\nfor years")
    await kept.set_review(SUSPECT, clear, instead_of=None)
    assert await admit(kept, "a") == (True, clear)


async def test_a_review_is_replaced_only_as_it_was_read(kept: OperatorStore | MemoryStore) -> None:
    first, second, clear = held("req_1"), held("req_2"), cleared()
    assert await kept.set_review(SUSPECT, first, instead_of=None)
    assert await kept.set_review(SUSPECT, first, instead_of=None)  # the same again, by who heard no answer
    assert not await kept.set_review(SUSPECT, second, instead_of=None)
    assert not await kept.set_review(SUSPECT, None, instead_of=second)
    assert await kept.set_review(SUSPECT, clear, instead_of=replace(first, until_us=0))
    assert not await kept.set_review(SUSPECT, second, instead_of=first)
    assert await kept.set_review(SUSPECT, second, instead_of=clear)
    assert await kept.set_review(SUSPECT, None, instead_of=second)
    assert await admit(kept, "a") == (True, None)


async def test_of_many_at_once_one_places_its_hold(store: OperatorStore) -> None:
    placed = await asyncio.gather(
        *(store.set_review(SUSPECT, held(f"req_{number}"), instead_of=None) for number in range(50))
    )
    assert placed.count(True) == 1
    assert placed[placed.index(True)]
    found = await store.review(SUSPECT)
    assert isinstance(found, Held)
    assert found.receipt == f"req_{placed.index(True)}"


async def test_a_review_that_is_over_is_none(kept: OperatorStore | MemoryStore) -> None:
    await kept.set_review(SUSPECT, held(seconds=1e-6), instead_of=None)
    assert await admit(kept, "a") == (True, None)
    assert await kept.set_review(SUSPECT, held("req_2", seconds=1e-6), instead_of=None)


async def test_the_operator_finds_who_is_held_the_longest_first(store: OperatorStore) -> None:
    names = ["key:z z", "network:203.0.113.9", "key:app+end_user:ann"]
    for number, name in enumerate(names):
        await store.set_review(
            Holder.parse(name),
            replace(held(name.split()[0]), since_us=1 + number, until_us=2**50),
            instead_of=None,
        )
    await store.set_review(SUSPECT, cleared(), instead_of=None)
    await store.block(Holder(Attribute.KEY, "blocked"), None, "held for no review")
    own = {store.keys.label(Holder.parse(name)) for name in names}
    found = [str(holder) for holder, _ in await store.held() if str(holder) in own]
    assert found == ["key:z z", store.keys.label(Holder.parse("network:203.0.113.9")), "key:app+end_user:ann"]
    # By the digest of an address it is found as by the address.
    assert await store.review(Holder.parse(found[1])) is not None


async def test_what_is_kept_of_it_expires(store: OperatorStore) -> None:
    await store.set_review(SUSPECT, held(), instead_of=None)
    async with store.asking() as client:
        assert 0 < await client.ttl(TERMS) <= FOR_GOOD_SECONDS
        await client.hset(TERMS, store.keys.review_field(SUSPECT), "1 held r high - 1 over")
    assert await store.review(SUSPECT) is None


@given(
    st.builds(Held, st.from_regex(r"\A[a-z0-9_]{1,20}\Z"), st.sampled_from(Band), GROUPS, TIMES, TIMES)
    | st.builds(Cleared, GROUPS, TIMES, TIMES | st.none(), st.text()),
    st.text(min_size=1),
)
def test_what_is_written_is_read(review: Review, label: str) -> None:
    term = f"{review.until_us or 0} {write_review(review, label)}".encode()
    assert is_whole(term)
    found, holder = read_review(term)
    assert found is not None
    assert (found, found.until_us) == (review, review.until_us)
    assert holder == (label if isinstance(review, Held) else "")
