"""An override that ends gives way to what held before it, in the scripts and for the operator alike."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from guard.core.holds import Held
from guard.core.identity import Attribute, Holder, Identity
from guard.core.kept import LAST_US
from guard.core.limits import Algorithm, Charge, Limit, Window
from guard.store.redis.keys import TERMS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guard.store.redis.orders import OperatorStore, Term

ALICE = Identity(Holder(Attribute.KEY, "alice"), {Attribute.KEY: "alice"})
WINDOW = Window(10, 3_600, 10)
LIMIT = Limit("requests", "requests", (Attribute.KEY,), Algorithm.SLIDING_WINDOW, (WINDOW,))
HOUR, DAY = 3_600.0, 86_400.0


def chain(term: Term | None) -> list[tuple[int | None, int | None]]:
    """Of an override and what it stands on: the count, and the hours that it holds, rounded."""
    found = []
    while term is not None:
        count = None if term.counts is None else term.counts[3_600][0]
        found.append((count, None if term.remaining_us is None else round(term.remaining_us / 3.6e9)))
        term = term.then
    return found


async def overrides(store: OperatorStore) -> list[tuple[int | None, int | None]]:
    terms = await store.overrides(ALICE.principal, [LIMIT.name])
    assert store.damaged == {}
    assert len(terms) <= 1
    return chain(terms[0]) if terms else []


async def give(store: OperatorStore, count: int | None, seconds: float | None) -> None:
    counts = None if count is None else {3_600: (count, count)}
    await store.override(ALICE.principal, LIMIT.name, counts, seconds)


async def room(store: OperatorStore) -> int | None:
    """What the scripts say is left; `None` where nothing limits."""
    verdict = await store.look(ALICE, [Charge(LIMIT, ALICE.principal, 1)])
    return verdict.readings[0].remaining if verdict.readings else None


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([(20, None)], [(20, None)]),
        ([(20, None), (50, 2 * HOUR)], [(50, 2), (20, None)]),
        ([(None, None), (50, 2 * HOUR)], [(50, 2), (None, None)]),
        ([(20, DAY), (50, 2 * HOUR)], [(50, 2), (20, 24)]),
        ([(20, 2 * HOUR), (50, DAY)], [(50, 24)]),
        ([(20, None), (50, DAY), (90, 2 * HOUR)], [(90, 2), (50, 24), (20, None)]),
        ([(20, None), (50, 2 * HOUR), (90, DAY)], [(90, 24), (20, None)]),
        ([(20, None), (50, DAY), (90, None)], [(90, None)]),
        ([(20, None), (None, DAY)], [(None, 24), (20, None)]),
    ],
)
async def test_what_outlasts_an_override_holds_again_after_it(
    store: OperatorStore,
    given: Sequence[tuple[int | None, float | None]],
    expected: list[tuple[int | None, int | None]],
) -> None:
    for count, seconds in given:
        await give(store, count, seconds)
    assert await overrides(store) == expected
    assert await room(store) == expected[0][0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{past} 3600000000:50:50|0 3600000000:20:20", [(20, None)]),
        ("{past} 3600000000:50:50|{past} exempt|{later} 3600000000:7:7|0 exempt", [(7, 2), (None, None)]),
        ("{past} exempt|0 3600000000:20:20", [(20, None)]),
        ("{past} 3600000000:50:50|0 exempt", [(None, None)]),
        ("{past} 3600000000:50:50|{past} 3600000000:20:20", []),
        ("{past} 3600000000:50:50", []),
    ],
)
async def test_what_is_over_holds_no_more(
    store: OperatorStore, text: str, expected: list[tuple[int | None, int | None]]
) -> None:
    now_us = int(time.time() * 1e6)
    field = store.keys.override_field(ALICE.principal, LIMIT.name)
    written = text.format(past=now_us - 1_000_000, later=now_us + int(2 * HOUR * 1e6))
    async with store.asking() as client:
        await client.hset(TERMS, field, written)
    assert await overrides(store) == expected
    assert await room(store) == (expected[0][0] if expected else 10)
    # Whoever sets another term sweeps out those that are over, and no other.
    await store.block(Holder(Attribute.KEY, "mallory"), None, "a reason | with a bar")
    async with store.asking() as client:
        assert await client.hexists(TERMS, field) is bool(expected)
    assert await overrides(store) == expected


async def test_one_may_be_ended_before_its_time(store: OperatorStore) -> None:
    await give(store, 20, None)
    await give(store, 50, HOUR)
    assert await store.end_override(ALICE.principal, LIMIT.name)
    assert await overrides(store) == [(20, None)]
    assert not await store.end_override(ALICE.principal, LIMIT.name)
    assert await overrides(store) == [(20, None)]
    await store.drop_override(ALICE.principal, LIMIT.name)
    await give(store, 50, HOUR)
    assert await store.end_override(ALICE.principal, LIMIT.name)
    assert await overrides(store) == []
    assert await room(store) == 10


async def test_to_let_the_settings_hold_takes_all_of_them_away(store: OperatorStore) -> None:
    await give(store, 20, None)
    await give(store, 50, HOUR)
    assert await store.drop_override(ALICE.principal, LIMIT.name)
    assert await overrides(store) == []


async def test_the_reason_of_a_block_may_have_a_bar(store: OperatorStore) -> None:
    await store.block(ALICE.principal, 60, "abuse|0 of the trial")
    block = await store.blocked(ALICE.principal)
    assert block is not None
    assert block.reason == "abuse|0 of the trial"
    await store.block(ALICE.principal, 30, "less")
    block = await store.blocked(ALICE.principal)
    assert block is not None
    assert block.reason == "less"


@pytest.mark.parametrize("far", [b"9" * 19, b"9" * 25, b"9" * 5_000])
async def test_a_moment_that_no_calendar_has_is_the_last_that_one_has(
    store: OperatorStore, far: bytes
) -> None:
    keys, whom = store.keys, ALICE.principal
    async with store.asking() as client:
        await client.hset(TERMS, keys.block_field(whom), far + b" leaked")
        await client.hset(TERMS, keys.override_field(whom, LIMIT.name), far + b" 3600000000:5:5")
        await client.hset(
            TERMS, keys.review_field(whom), far + b" held req_1 high content " + far + b" key:alice"
        )
    block, (override,), review = (
        await store.blocked(whom),
        await store.overrides(whom, [LIMIT.name]),
        await store.review(whom),
    )
    assert block is not None
    assert isinstance(review, Held)
    assert [holder for holder, _ in await store.held()] == [whom]
    for remaining_us in (block.remaining_us, override.remaining_us):
        assert remaining_us is not None
        assert 0 < remaining_us < LAST_US
    assert review.until_us == review.since_us == LAST_US
    assert await room(store) == 5
