"""The store in memory against the scripts: told the same, both say the same, to the last digit."""

from __future__ import annotations

import asyncio
import secrets
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.admin.replay import LogClock
from guard.core.evidence import NO_EVIDENCE, Evidence, Learnt, Mark
from guard.core.identity import Attribute, Holder, Identity
from guard.core.limits import Charge, Limit, Unit
from guard.core.query import NO_USAGE
from guard.core.signals import Signal
from guard.store.memory.store import MemoryStore
from guard.store.redis.keys import Keys
from guard.store.redis.orders import OperatorStore
from guard.store.transport.nodes import nodes_at
from guard.store.transport.url import RedisURL

sys.path.insert(0, str(Path(__file__).parent))

from test_reference import GROUNDS, IDENTITIES, limits

if TYPE_CHECKING:
    from guard.core.novelty import Ground
    from guard.store.embedded.server import EmbeddedServer

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
    answers: int
    ground: Ground
    until_paid: float
    tried: int
    left: float
    numbers: float


STEPS = st.lists(
    st.builds(
        Step,
        st.floats(0, 1.3) | st.just(0),
        st.sampled_from(IDENTITIES),
        st.integers(0, 45),
        st.integers(0, 45),
        st.none() | st.integers(0, 90),
        st.integers(1, 9),
        GROUNDS,
        st.sampled_from([0.0, 0.0, 0.3, 1.1]),
        st.sampled_from([0, 0, 0, 1, 2, 5, 7]),
        st.sampled_from([1.0, 1.0, 0.5, 0.123]),
        st.sampled_from([1.0, 1.0, 1.0, 0.5, 2.0]),
    ),
    min_size=1,
    max_size=30,
)


def charges(made: list[Limit], step: Step, scale: int) -> list[Charge]:
    found = []
    for place, limit in enumerate(made):
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
                step.identity.holder(*limit.per),
                1 if one else step.amount * scale,
                min(step.spare, step.amount) * scale if limit.estimated else 0,
                enforced=not step.tried >> place & 1,
                left=step.left,
            )
        )
    return found


def owed(charged: tuple[Charge, ...], step: Step, scale: int) -> list[Charge]:
    used = (step.used or 0) * scale
    return [
        charge._replace(amount=used if charge.limit.estimated else charge.amount, spare=0)
        for charge in charged
    ]


@pytest.mark.timeout(300)
@given(made=limits(), steps=STEPS, scale=st.sampled_from([1, 1_000, 77_777_777]))
def test_it_counts_as_the_scripts_do(
    redis_server: EmbeddedServer, made: list[Limit], steps: list[Step], scale: int
) -> None:
    async def run() -> None:
        clock = LogClock()
        clock.now_us = T0
        memory = MemoryStore(clock.date_us)
        nodes = partial(nodes_at, RedisURL.of_socket(redis_server.socket), 20)
        redis = OperatorStore(Keys(secrets.token_bytes(16)), nodes, deadline_seconds=20)
        longest = max([window.period_us for limit in made for window in limit.windows])
        for number, step in enumerate(steps):
            clock.now_us += int(longest * step.share)
            name, now_us, asked = f"r{number}", clock.now_us, charges(made, step, scale)
            verdict = await memory.admit(name, step.identity, asked)
            assert verdict == await redis.admit(name, step.identity, asked, now_us=now_us)
            if verdict.admitted and step.used is None:
                await memory.release(name, step.identity, verdict.charged)
                await redis.release(name, step.identity, verdict.charged, now_us=now_us)
            elif verdict.admitted:
                bill = owed(verdict.charged, step, scale)
                settled = await memory.settle(name, step.identity, bill, NO_USAGE)
                there = await redis.settle(name, step.identity, bill, NO_USAGE, now_us=now_us)
                assert (settled.counted, settled.novelty) == (there.counted, there.novelty)
                clock.now_us += int(longest * step.until_paid)
                due, n, places = (
                    [each for each in bill if each.limit.unit == Unit.NOVELTY],
                    step.answers,
                    step.ground.places,
                )
                paid = await memory.pay(name, step.identity, due, settled.receipts, answers=n, places=places)
                assert paid == await redis.pay(
                    name,
                    step.identity,
                    due,
                    there.receipts,
                    answers=n,
                    places=places,
                    now_us=clock.now_us,
                )
        await redis.aclose()

    asyncio.run(run())


async def test_it_keeps_evidence_as_the_script_does(store: OperatorStore) -> None:
    clock = LogClock()
    clock.now_us = T0
    memory = MemoryStore(clock.date_us)
    first = Evidence(0, b"profile", {Signal.ENUMERATION: Mark(28.123456, T0, T0)})
    second = replace(first, version=T0, profile=b"later", marks={})

    async def learnt(evidence: Evidence) -> Learnt:
        found = await memory.learn(ALICE.principal, ALICE, evidence)
        assert found == await store.learn(ALICE.principal, ALICE, evidence, now_us=clock.now_us)
        verdict = await memory.admit("look", ALICE, [], suspect=ALICE.principal)
        there = await store.admit("", ALICE, [], suspect=ALICE.principal, now_us=clock.now_us)
        assert verdict.marks == there.marks
        return found

    assert (await learnt(first)).kept
    # From an older version: nothing is kept, and what is known comes back.
    assert not (await learnt(NO_EVIDENCE)).kept
    assert (await learnt(second)).evidence.version == T0 + 1
    clock.now_us += 5
    assert (await learnt(replace(second, version=T0 + 1))).evidence.version == T0 + 5
