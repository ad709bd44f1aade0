"""When callers were first seen, where a limit goes by it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from guard.admin.reading import LogClock
from guard.core.calendars import MICROSECONDS
from guard.core.globs import GlobTable
from guard.core.identity import UNVERIFIED, Attribute, Holder, Identity, VouchedBy
from guard.core.limits import Algorithm, Holders, Limit, Unit, Window
from guard.core.modes import Mode, Rollout
from guard.core.policy import OnStoreError, Policy, RouteAction, Tier
from guard.core.prices import PriceTable
from guard.core.pseudonyms import Pseudonyms
from guard.core.query import Query, Usage
from guard.engine.engine import Engine
from guard.engine.remembered import first_seen
from guard.errors import StoreError
from guard.store.memory.store import MemoryStore

if TYPE_CHECKING:
    from guard.core.decision import Decision

DAY_US = 86_400 * MICROSECONDS
T0 = 1_800_000_000 * MICROSECONDS
QUERY = Query("m", (), stream=False, max_output_tokens=100, n=1, input_bytes=40, other_tokens=0)
KEYS = Pseudonyms(b"pepper")


def limit(holders: Holders, per: Attribute = Attribute.KEY, count: int = 2) -> Limit:
    window = Window(count, 3_600, count)
    return Limit(holders, Unit.REQUESTS, (per,), Algorithm.SLIDING_WINDOW, (window,), holders=holders)


def policy(*limits: Limit, mode: Mode = Mode.ENFORCE) -> Policy:
    return Policy(
        rollout=Rollout(mode),
        tiers={"default": Tier("default", limits, OnStoreError.ALLOW)},
        default_tier="default",
        routes=(),
        unknown_paths=RouteAction.DENY,
        max_output_tokens=GlobTable.of({}),
        default_max_output_tokens=4_096,
        prices=PriceTable.of({}),
        new_for_us=14 * DAY_US,
    )


class AskedStore(MemoryStore):
    """Counts how often it is asked when whom it has first seen; it may be away."""

    def __init__(self, clock: LogClock) -> None:
        super().__init__(clock.date_us)
        self.asked: list[Holder] = []
        self.away = False

    async def first_seen(self, identity: Identity) -> int | None:
        self.asked.append(identity.principal)
        if self.away:
            raise StoreError("away", kind="connection")
        return await super().first_seen(identity)


class Process:
    """One process that serves; several may have one store."""

    def __init__(self, policy: Policy, clock: LogClock, store: AskedStore) -> None:
        self.engine = Engine(policy, store, KEYS, hooks=(), clock=clock)
        self.number = 0

    async def ask(self, identity: Identity, model: str = "m", **more: Any) -> Decision:
        """One request, which is answered where it is not refused."""
        self.number += 1
        name = f"{id(self)}_{self.number}"
        query = QUERY._replace(model=model)
        admission = await self.engine.admit(name, identity, query, "/", **more)
        if not admission.refused:
            await self.engine.settle(admission, Usage(1, 1), 200)
        return admission.decision

    async def refusals(self, identity: Identity, requests: int = 4) -> int:
        return sum([(await self.ask(identity)).refused for _ in range(requests)])


def caller(name: str = "a", vouched_by: VouchedBy | None = None) -> Identity:
    return Identity(Holder(Attribute.KEY, name), {Attribute.KEY: name}, vouched_by)


@pytest.fixture
def clock() -> LogClock:
    clock = LogClock()
    clock.now_us = T0
    return clock


@pytest.fixture
def shared(clock: LogClock) -> AskedStore:
    return AskedStore(clock)


async def come_daily(process: Process, clock: LogClock, identity: Identity, days: int) -> None:
    for _ in range(days):
        await process.ask(identity)
        clock.now_us += DAY_US - MICROSECONDS


async def test_a_limit_for_new_callers_holds_nobody_who_is_established(
    clock: LogClock, shared: AskedStore
) -> None:
    process = Process(policy(limit(Holders.NEW)), clock, shared)
    assert await process.refusals(caller()) == 2
    clock.now_us = T0 + 14 * DAY_US - 1
    assert await process.refusals(caller()) == 2
    clock.now_us = T0 + 14 * DAY_US
    assert await process.refusals(caller()) == 0
    assert await process.refusals(caller("b")) == 2


async def test_another_process_knows_who_is_established(clock: LogClock, shared: AskedStore) -> None:
    rules = policy(limit(Holders.NEW))
    await come_daily(Process(rules, clock, shared), clock, caller(), 15)
    assert await Process(rules, clock, shared).refusals(caller()) == 0


async def test_who_stays_away_longer_than_it_was_there_is_new_again(
    clock: LogClock, shared: AskedStore
) -> None:
    rules = policy(limit(Holders.NEW))
    await come_daily(Process(rules, clock, shared), clock, caller(), 16)
    clock.now_us += 13 * DAY_US
    assert await Process(rules, clock, shared).refusals(caller()) == 0
    clock.now_us += 30 * DAY_US
    assert await Process(rules, clock, shared).refusals(caller()) == 2


@pytest.mark.parametrize("vouched_by", VouchedBy)
async def test_who_is_vouched_for_has_no_age(
    clock: LogClock, shared: AskedStore, vouched_by: VouchedBy
) -> None:
    process = Process(policy(limit(Holders.NEW)), clock, shared)
    assert await process.refusals(caller(vouched_by=vouched_by)) == 0
    assert shared.asked == []


async def test_the_store_is_asked_once_for_each_caller(clock: LogClock, shared: AskedStore) -> None:
    process = Process(policy(limit(Holders.NEW, count=99)), clock, shared)
    for model in ("m", "n", "m"):
        for name in ("a", "b"):
            await process.ask(caller(name), model, method="PUT" if model == "n" else "POST")
    assert shared.asked == [caller("a").principal, caller("b").principal]


async def test_a_caller_that_was_forgotten_is_asked_for_again(
    clock: LogClock, shared: AskedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_seen, "REMEMBERED", 2)
    process = Process(policy(limit(Holders.NEW, count=99)), clock, shared)
    for model, name in enumerate(["a", "b", "a", "c", "a", "b"]):
        await process.ask(caller(name), f"m{model}")
    assert [each.value for each in shared.asked] == ["a", "b", "c", "b"]


@pytest.mark.parametrize(
    "rules",
    [
        policy(limit(Holders.ALL), limit(Holders.UNVERIFIED), limit(Holders.VERIFIED)),
        policy(limit(Holders.NEW), mode=Mode.OFF),
    ],
    ids=["no limit goes by it", "nothing is judged"],
)
async def test_the_store_is_not_asked_for_nothing(clock: LogClock, shared: AskedStore, rules: Policy) -> None:
    await Process(rules, clock, shared).ask(caller())
    assert shared.asked == []


async def test_while_the_store_is_away_callers_are_new(clock: LogClock, shared: AskedStore) -> None:
    rules = policy(limit(Holders.NEW))
    await come_daily(Process(rules, clock, shared), clock, caller(), 15)
    process = Process(rules, clock, shared)
    shared.away = True
    assert (await process.ask(caller())).readings[0].limit.holders is Holders.NEW
    shared.away = False
    assert (await process.ask(caller())).readings == ()


async def test_a_refusal_of_new_callers_is_not_remembered_against_others(
    clock: LogClock, shared: AskedStore
) -> None:
    rules = policy(limit(Holders.NEW, Attribute.UNVERIFIED))
    await come_daily(Process(rules, clock, shared), clock, caller("old"), 15)
    process = Process(rules, clock, shared)
    assert await process.refusals(caller("new")) == 2
    assert process.engine.foresee("r", caller("old"), "/", "POST", read=True) is None
    assert not (await process.ask(caller("old"))).refused
    assert process.engine.foresee("r", caller("old"), "/", "POST", read=True) is None
    assert process.engine.foresee("r", caller("new"), "/", "POST", read=True) is not None
    (reading,) = (await process.ask(caller("newer"))).readings
    assert reading.holder == UNVERIFIED


async def test_a_key_that_is_crowded_out_is_as_old_as_its_network(
    clock: LogClock, shared: AskedStore
) -> None:
    network = Holder(Attribute.NETWORK, "8.8.4.4/32")
    rules = policy(limit(Holders.NEW, Attribute.NETWORK))
    await come_daily(Process(rules, clock, shared), clock, Identity(network), 15)
    crowded = replace(caller("made-up"), principal=network, crowded_out=caller("made-up").principal)
    assert await Process(rules, clock, shared).refusals(crowded) == 0
