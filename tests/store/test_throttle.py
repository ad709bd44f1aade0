"""A throttle: a request may use up a share of its limits only, and what is counted stays what it is."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest

from guard.core.calendars import Span
from guard.core.identity import Attribute, Holder, Identity, VouchedBy
from guard.core.limits import Algorithm, Charge, Limit, Unit, Window
from guard.store.port import Reservation

if TYPE_CHECKING:
    from guard.store.port import Verdict
    from guard.store.redis.orders import OperatorStore

ALICE = Identity(Holder(Attribute.KEY, "alice"), {Attribute.KEY: "alice"}, vouched_by=VouchedBy.KEYS_FILE)
T0 = 1_800_000_000_000_000


def limit(algorithm: Algorithm, unit: Unit = Unit.REQUESTS) -> Limit:
    if algorithm is Algorithm.LEASES:
        return Limit("l", Unit.CONCURRENCY, (Attribute.KEY,), algorithm, (Window(10, 0, 10),))
    calendar = algorithm is Algorithm.CALENDAR
    window = Window(10, 86_400, 10, Span.DAY if calendar else None)
    zone = ZoneInfo("UTC") if calendar else None
    return Limit("l", unit, (Attribute.KEY,), algorithm, (window,), zone=zone)


async def ask(
    store: OperatorStore, name: str, held: Limit, left: float, amount: int = 1, at: float = 0, spare: int = 0
) -> Verdict:
    charge = Charge(held, ALICE.principal, amount, spare, left=left)
    return await store.admit(Reservation(name, ALICE, [charge]), now_us=T0 + int(at * 1e6))


@pytest.mark.parametrize("algorithm", [Algorithm.SLIDING_WINDOW, Algorithm.CALENDAR, Algorithm.LEASES])
async def test_it_lets_through_a_share_and_the_whole_again_when_it_ends(
    store: OperatorStore, algorithm: Algorithm
) -> None:
    held = limit(algorithm)
    admitted = [(await ask(store, f"a{n}", held, 0.5)).admitted for n in range(7)]
    assert admitted == [True] * 5 + [False] * 2
    admitted = [(await ask(store, f"b{n}", held, 1.0)).admitted for n in range(7)]
    assert admitted == [True] * 5 + [False] * 2


async def test_it_gives_nothing_back(store: OperatorStore) -> None:
    held = limit(Algorithm.SLIDING_WINDOW)
    for number in range(10):
        assert (await ask(store, f"a{number}", held, 1.0)).admitted
    # Half a window later the ten still weigh five; one is let through, and what was counted weighs as before.
    verdict = await ask(store, "half", held, 0.8, at=86_400 * 1.5)
    assert (verdict.admitted, verdict.readings[0].remaining) == (True, 2)
    verdict = await ask(store, "", held, 1.0, at=86_400 * 1.5)
    assert verdict.readings[0].remaining == 4


@pytest.mark.parametrize("algorithm", Algorithm)
async def test_w21_what_is_told_is_the_whole_limit_and_what_is_left_of_the_share(
    store: OperatorStore, algorithm: Algorithm
) -> None:
    verdict = await ask(store, "a", limit(algorithm), 0.5)
    reading = verdict.readings[0]
    assert (reading.window.count, reading.window.burst, reading.remaining) == (10, 10, 4)


async def test_a_share_of_what_several_share_leaves_the_rate_at_which_it_drains_for_all(
    store: OperatorStore,
) -> None:
    held = replace(limit(Algorithm.GCRA), per=(Attribute.POOL,))
    assert [(await ask(store, f"a{n}", held, 0.5)).admitted for n in range(6)] == [True] * 5 + [False]
    # A tenth of the day later one has drained, for who has half of it and for who has all.
    refused = await ask(store, "b", held, 0.5)
    assert refused.readings[0].wait_us == 8_640_000_000
    assert (await ask(store, "c", held, 0.5, at=8_640)).admitted
    assert (await ask(store, "", held, 1.0, at=8_640)).readings[0].remaining == 5
    assert (await ask(store, "", held, 1.0, at=8_640 * 6)).readings[0].remaining == 10


@pytest.mark.parametrize("algorithm", Algorithm)
async def test_a_ramp_is_told_and_a_throttle_is_not(store: OperatorStore, algorithm: Algorithm) -> None:
    charge = Charge(limit(algorithm), ALICE.principal, 1, left=0.25, told=0.5)
    verdict = await store.admit(Reservation("a", ALICE, [charge]), now_us=T0)
    reading = verdict.readings[0]
    assert (reading.window.count, reading.window.burst, reading.remaining) == (5, 5, 1)


async def test_a_generous_cap_is_cut_to_the_share_and_not_shut_out(store: OperatorStore) -> None:
    tokens = replace(limit(Algorithm.SLIDING_WINDOW), unit=Unit.TOKENS)
    assert (await ask(store, "a", tokens, 0.5, amount=9, spare=8)).readings[0].amount == 5


@pytest.mark.parametrize("algorithm", [Algorithm.SLIDING_WINDOW, Algorithm.GCRA, Algorithm.CALENDAR])
async def test_w21_what_only_the_whole_limit_holds_waits_and_is_not_too_large(
    store: OperatorStore, algorithm: Algorithm
) -> None:
    tokens = limit(algorithm, Unit.TOKENS)
    assert (await ask(store, "a", tokens, 0.5, amount=1)).admitted
    verdict = await ask(store, "b", tokens, 0.5, amount=7)
    wait_us = verdict.readings[0].wait_us
    assert not verdict.admitted
    assert wait_us is not None
    assert wait_us > 0
    assert (await ask(store, "c", tokens, 0.5, amount=7, at=wait_us / 1e6 + 1e-5)).admitted
    assert (await ask(store, "d", tokens, 0.5, amount=11)).readings[0].wait_us is None


async def test_a_share_is_never_less_than_one(store: OperatorStore) -> None:
    held = limit(Algorithm.SLIDING_WINDOW)
    assert (await ask(store, "a", held, 0.001)).admitted
    assert not (await ask(store, "b", held, 0.001)).admitted
