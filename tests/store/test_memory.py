"""The store in memory against the scripts: told the same, both say the same, to the last digit."""

from __future__ import annotations

import asyncio
import secrets
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.admin.reading import LogClock
from guard.core.calendars import MICROSECONDS
from guard.core.evidence import NO_EVIDENCE, Evidence, Learnt, Mark
from guard.core.identity import Attribute, Holder, Identity
from guard.core.limits import Algorithm, Charge, Limit, Unit, Window
from guard.core.novelty import CELLS, Payout, Piece, covered
from guard.core.query import NO_USAGE
from guard.core.signals import Signal
from guard.store.memory.store import MemoryStore
from guard.store.port import UNKNOWN_WAIT_US, Reservation
from guard.store.redis.keys import Keys
from guard.store.redis.orders import OperatorStore
from guard.store.transport.nodes import nodes_at
from guard.store.transport.url import RedisURL

sys.path.insert(0, str(Path(__file__).parent))

from reference import ModelStore
from test_reference import IDENTITIES, PAYOUTS, held_to, limits

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from guard.core.query import Usage
    from guard.store.embedded.server import EmbeddedServer
    from guard.store.port import Verdict

T0 = 1_800_000_000_000_000
ALICE = Identity(Holder(Attribute.KEY, "alice"), {Attribute.KEY: "alice"})


@dataclass(frozen=True)
class Step:
    """One request after `share` of a window: what it reserves, and what it used; `None` if taken back."""

    share: float
    identity: Identity
    amount: int
    spare: int
    used: int | None
    payout: Payout
    until_paid: float
    tried: int
    left: float
    told: float
    numbers: float


STEP = st.builds(
    Step,
    st.floats(0, 1.3) | st.just(0),
    st.sampled_from(IDENTITIES),
    st.integers(0, 45),
    st.integers(0, 45),
    st.none() | st.integers(0, 90),
    PAYOUTS,
    st.sampled_from([0.0, 0.0, 0.3, 1.1]),
    st.sampled_from([0, 0, 0, 1, 2, 5, 7]),
    st.sampled_from([1.0, 1.0, 0.5, 0.123]),
    st.sampled_from([1.0, 0.777]),
    st.sampled_from([1.0, 1.0, 1.0, 0.5, 2.0]),
)


def charges(made: list[Limit], step: Step, scale: int) -> list[Charge]:
    found = []
    for place, limit, holder in held_to(step.identity, made):
        counts = {
            each.period_seconds: (
                max(1, int(each.count * step.numbers * scale)),
                max(1, int(each.burst * step.numbers * scale)),
            )
            for each in limit.windows
        }
        one = limit.unit in (Unit.REQUESTS, Unit.CONCURRENCY)
        found.append(
            Charge(
                limit.with_counts(counts) if not one else limit,
                holder,
                1 if one else step.amount * scale,
                min(step.spare, step.amount) * scale if limit.estimated else 0,
                enforced=not step.tried >> place & 1,
                left=1.0 if limit.beside else step.left,
                told=1.0 if limit.beside else step.told,
            )
        )
    return found


def owed(charged: tuple[Charge, ...], step: Step, scale: int) -> list[Charge]:
    used = (step.used or 0) * scale
    return [
        charge._replace(amount=used if charge.limit.estimated else charge.amount, spare=0)
        for charge in charged
    ]


def both(server: EmbeddedServer, life_seconds: float = 60.0) -> tuple[LogClock, MemoryStore, OperatorStore]:
    """A clock, a store in memory that goes by it, and one in Redis that knows nothing yet."""
    clock = LogClock()
    clock.now_us = T0
    memory = MemoryStore(clock.date_us, reservation_seconds=life_seconds)
    nodes = partial(nodes_at, RedisURL.of_socket(server.socket), 20)
    keys = Keys(secrets.token_bytes(16))
    return clock, memory, OperatorStore(keys, nodes, deadline_seconds=20, reservation_seconds=life_seconds)


@pytest.mark.timeout(300)
@given(
    made=limits(),
    steps=st.lists(STEP, min_size=1, max_size=30),
    scale=st.sampled_from([1, 1_000, 77_777_777]),
)
def test_it_counts_as_the_scripts_do(
    redis_server: EmbeddedServer, made: list[Limit], steps: list[Step], scale: int
) -> None:
    async def run() -> None:
        clock, memory, redis = both(redis_server)
        longest = max([window.period_us for limit in made for window in limit.windows])
        for number, step in enumerate(steps):
            clock.now_us += int(longest * step.share)
            name, now_us, asked = f"r{number}", clock.now_us, charges(made, step, scale)
            verdict = await memory.admit(Reservation(name, step.identity, asked))
            assert verdict == await redis.admit(Reservation(name, step.identity, asked), now_us=now_us)
            if verdict.admitted and step.used is None:
                await memory.release(Reservation(name, step.identity, verdict.charged))
                await redis.release(Reservation(name, step.identity, verdict.charged), now_us=now_us)
            elif verdict.admitted:
                bill = owed(verdict.charged, step, scale)
                settled = await memory.settle(Reservation(name, step.identity, bill), NO_USAGE)
                there = await redis.settle(Reservation(name, step.identity, bill), NO_USAGE, now_us=now_us)
                assert (settled.counted, settled.novelty) == (there.counted, there.novelty)
                clock.now_us += int(longest * step.until_paid)
                due = [each for each in bill if each.limit.unit == Unit.NOVELTY]
                reservation = Reservation(name, step.identity, due)
                paid = await memory.pay(reservation, settled.receipts, step.payout)
                assert paid == await redis.pay(reservation, there.receipts, step.payout, now_us=clock.now_us)
        await redis.aclose()

    asyncio.run(run())


@dataclass(frozen=True)
class Turn:
    """What comes next: a request, or something of one that is under way, `which` of them.

    It comes after a share of one of the windows, or of 40 seconds.
    """

    step: Step
    act: str
    which: int


TURNS = st.lists(
    st.builds(
        Turn,
        # A script also gives back what has expired of a holder's other limits, which is seen in its count.
        st.builds(
            replace,
            STEP,
            identity=st.sampled_from(IDENTITIES[:2]),
            left=st.just(1.0),
            numbers=st.just(1.0),
        ),
        st.sampled_from(["admit", "admit", "admit", "settle", "settle", "release", "renew", "repeat", "die"]),
        st.integers(0, 9),
    ),
    min_size=30,
    max_size=60,
)


@pytest.mark.timeout(300)
@given(made=limits(), turns=TURNS, life_seconds=st.sampled_from([40, 100_000]))
def test_requests_overlap_as_in_the_scripts(
    redis_server: EmbeddedServer, made: list[Limit], turns: list[Turn], life_seconds: int
) -> None:
    async def run() -> None:
        clock, memory, redis = both(redis_server, life_seconds)
        spans = [40 * MICROSECONDS, *(window.period_us for limit in made for window in limit.windows)]
        under_way: list[tuple[str, Identity, list[Charge], tuple[Charge, ...]]] = []

        async def same(
            method: str, name: str, identity: Identity, charges: Sequence[Charge], *more: Usage
        ) -> Any:
            reservation = Reservation(name, identity, charges)
            found = await getattr(memory, method)(reservation, *more)
            assert found == await getattr(redis, method)(reservation, *more, now_us=clock.now_us)
            return found

        for number, turn in enumerate(turns):
            step, act = turn.step, turn.act
            clock.now_us += int(spans[turn.which % len(spans)] * step.share)
            if act == "admit" or not under_way:
                name, asked = f"r{number}", charges(made, step, 1)
                verdict = await same("admit", name, step.identity, asked)
                if verdict.admitted:
                    under_way.append((name, step.identity, asked, verdict.charged))
                continue
            place = turn.which % len(under_way)
            name, identity, asked, charged = under_way[place]
            match act:
                case "repeat":
                    # Where its tickets have expired, it is admitted anew.
                    verdict = await same("admit", name, identity, asked)
                    if verdict.admitted:
                        under_way[place] = (name, identity, asked, verdict.charged)
                case "renew":
                    await same("renew", name, identity, charged)
                case "release":
                    assert await same("release", name, identity, charged)
                case "settle":
                    bill = owed(charged, step, 1)
                    settled = await memory.settle(Reservation(name, identity, bill), NO_USAGE)
                    there = await redis.settle(
                        Reservation(name, identity, bill), NO_USAGE, now_us=clock.now_us
                    )
                    assert (settled.counted, settled.novelty) == (there.counted, there.novelty)
            if act in ("settle", "release", "die"):
                del under_way[place]
            if act in ("settle", "release"):
                await same("settle", name, identity, owed(charged, step, 1), NO_USAGE)
                assert not await same("release", name, identity, charged)
                assert not await same("renew", name, identity, charged)
                await same("admit", name, identity, asked)
        await redis.aclose()

    asyncio.run(run())


async def test_long_answers_to_a_caller_who_has_been_everywhere_pay_as_in_the_script_and_what_they_draw(
    store: OperatorStore,
) -> None:
    chance, clock = Random(3), LogClock()
    clock.now_us = T0
    memory, model = MemoryStore(clock.date_us), ModelStore(60 * MICROSECONDS)
    budget = Limit(
        "b", Unit.NOVELTY, (Attribute.KEY,), Algorithm.SLIDING_WINDOW, (Window(10**9, 10**6, 10**9),)
    )
    shares = []
    for number in range(500):
        drawn = [chance.randrange(1, 200) for _ in range(chance.randrange(30))]
        cells = [chance.choice((None, *[chance.randrange(CELLS) for _ in range(9)])) for _ in drawn]
        pieces = [
            Piece(each, chance.choice((0, each // 2)), cell) for each, cell in zip(drawn, cells, strict=True)
        ]
        payout = Payout(tuple(pieces), 10, 1)
        owed = [Charge(budget, ALICE.principal, payout.drawn)]
        reservation = Reservation(f"r{number}", ALICE, owed)
        settled = await memory.settle(reservation, NO_USAGE)
        there = await store.settle(reservation, NO_USAGE, now_us=T0)
        model.settle(reservation.id, owed, T0)
        paid = await memory.pay(reservation, settled.receipts, payout)
        assert paid == await store.pay(reservation, there.receipts, payout, now_us=T0)
        assert paid == model.pay(reservation.id, ALICE, owed, payout, T0)
        shares.append((paid or 0) / payout.drawn)
    assert covered(await store.visited(ALICE.principal, ALICE)) > 0.35
    assert sum(shares[-100:]) / 100 > 0.88


async def test_it_keeps_evidence_as_the_script_does(store: OperatorStore) -> None:
    clock = LogClock()
    clock.now_us = T0
    memory = MemoryStore(clock.date_us)
    first = Evidence(0, b"profile", {Signal.ENUMERATION: Mark(28.123456, T0, T0)})
    second = replace(first, version=T0, profile=b"later", marks={})

    async def learnt(evidence: Evidence) -> Learnt:
        found = await memory.learn(ALICE.principal, ALICE, evidence)
        assert found == await store.learn(ALICE.principal, ALICE, evidence, now_us=clock.now_us)
        verdict = await memory.admit(Reservation("look", ALICE, []), suspect=ALICE.principal)
        there = await store.admit(Reservation("", ALICE, []), suspect=ALICE.principal, now_us=clock.now_us)
        assert verdict.marks == there.marks
        return found

    assert (await learnt(first)).kept
    # From an older version: nothing is kept, and what is known comes back.
    assert not (await learnt(NO_EVIDENCE)).kept
    assert (await learnt(second)).evidence.version == T0 + 1
    clock.now_us += 5
    assert (await learnt(replace(second, version=T0 + 1))).evidence.version == T0 + 5


REQUESTS = Limit("requests", Unit.REQUESTS, (Attribute.KEY,), Algorithm.SLIDING_WINDOW, (Window(9, 60, 9),))
PAGES = replace(REQUESTS, name="pages", unit="pages")
PLACES = Limit("places", Unit.CONCURRENCY, (Attribute.KEY,), Algorithm.LEASES, (Window(9, 0, 9),))


class Crowd:
    """A store for fifty accounts, and many who come to it."""

    def __init__(self) -> None:
        self.clock = LogClock()
        self.clock.now_us = T0
        self.store = MemoryStore(self.clock.date_us, most_accounts=50)
        self._requests = 0

    async def ask(self, name: str, *limits: Limit) -> Verdict:
        self._requests += 1
        holder = Holder(Attribute.KEY, name)
        asked = [Charge(limit, holder, 1) for limit in limits or (REQUESTS,)]
        return await self.store.admit(Reservation(f"r{self._requests}", ALICE, asked))

    async def admitted_of(self, names: Iterable[str], *limits: Limit) -> int:
        return sum([(await self.ask(name, *limits)).admitted for name in names])


async def test_a_flood_of_holders_is_turned_away_and_pushes_nobody_out() -> None:
    crowd = Crowd()
    assert await crowd.admitted_of(["alice"] * 10) == 9
    assert await crowd.admitted_of(f"flood-{number}" for number in range(1_000)) == 49
    (reading,) = (await crowd.ask("one more")).readings
    assert reading.wait_us == UNKNOWN_WAIT_US
    assert await crowd.admitted_of(["alice", *["flood-0"] * 10]) == 8
    crowd.clock.now_us += 119 * MICROSECONDS
    assert await crowd.admitted_of(["flood-0"] * 10) == 8


async def test_a_flood_of_leases_is_turned_away() -> None:
    crowd = Crowd()
    assert await crowd.admitted_of((f"flood-{number}" for number in range(100)), PLACES) == 50


async def test_a_request_opens_all_its_accounts_or_none() -> None:
    crowd = Crowd()
    assert await crowd.admitted_of(f"flood-{number}" for number in range(49)) == 49
    assert not (await crowd.ask("alice", REQUESTS, PAGES)).admitted
    assert (await crowd.ask("flood-0", REQUESTS, PAGES)).admitted


async def test_expired_counts_free_capacity() -> None:
    crowd = Crowd()
    assert await crowd.admitted_of(f"first-{number}" for number in range(51)) == 50
    crowd.clock.now_us += 121 * MICROSECONDS
    assert await crowd.admitted_of(f"other-{number}" for number in range(51)) == 50
