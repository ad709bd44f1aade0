"""Tables that say whom something was issued to: the steps in Redis and in memory, and their bounds."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from guard.store.memory.slots import Slots
from guard.store.slots import IDLE_SECONDS, SLOTS, Found, Issuer, Step, Table

if TYPE_CHECKING:
    from guard.store.embedded.server import EmbeddedServer
    from guard.store.redis.orders import OperatorStore

DAY_US = 86_400_000_000
NOW_US = 20_000 * DAY_US
ANN, BEN, CEM = Issuer(1, True), Issuer(2, False), Issuer(0xFFFFFFFF, False)
SMALL = Table("small", 3)


def issued(token: int, who: Issuer = ANN, table: Table = SMALL) -> Step:
    return Step(table, token, who, True)


def asked(token: int, who: Issuer = ANN, table: Table = SMALL) -> Step:
    return Step(table, token, who, False)


def told(*steps: Step, now_us: int = NOW_US, slots: Slots | None = None) -> list[Found | None]:
    return (slots or Slots()).trace(steps, now_us)


def test_what_was_issued_is_known_with_its_issuer_and_age() -> None:
    slots = Slots()
    told(issued(7, ANN), issued(8, BEN), slots=slots)
    assert told(asked(7), asked(8), asked(9), now_us=NOW_US + 3 * DAY_US, slots=slots) == [
        Found(ANN, False, 3),
        Found(BEN, False, 3),
        None,
    ]


def test_what_is_issued_to_two_is_nobodys_own() -> None:
    (found,) = told(issued(7, ANN), issued(7, BEN), issued(7, BEN), asked(7))
    assert found == Found(ANN, True, 0)
    (found,) = told(issued(7, ANN), issued(7, ANN), asked(7))
    assert found == Found(ANN, False, 0)


def test_what_many_others_send_is_nobodys_own() -> None:
    found = told(issued(7, ANN), *[asked(7, BEN)] * 4, asked(7, ANN))
    assert [each.shared for each in found if each] == [False, False, False, True, True]


def test_its_issuer_may_send_it_as_often_as_it_likes() -> None:
    assert told(issued(7, ANN), *[asked(7, ANN)] * 9) == [Found(ANN, False, 0)] * 9


def test_the_newest_push_the_oldest_out_of_a_full_bucket() -> None:
    table = Table("one", 1)
    tokens = range(1, SLOTS + 4)
    found = told(
        *(issued(token, ANN, table) for token in tokens), *(asked(token, ANN, table) for token in tokens)
    )
    assert [each is not None for each in found] == [False] * 3 + [True] * SLOTS


def test_what_is_issued_again_is_new_again() -> None:
    table = Table("one", 1)
    steps = [issued(token, ANN, table) for token in (*range(1, SLOTS + 1), 1, 99)]
    assert [each is not None for each in told(*steps, asked(1, ANN, table), asked(2, ANN, table))] == [
        True,
        False,
    ]


def test_a_full_table_knows_the_last_of_what_it_holds() -> None:
    count, chance = 4_000, random.Random(1)
    table, slots = Table.holding("t", count), Slots()
    tokens = [chance.getrandbits(64) for _ in range(3 * count)]
    slots.trace([issued(token, ANN, table) for token in tokens], NOW_US)
    last = slots.trace([asked(token, ANN, table) for token in tokens[-count:]], NOW_US)
    assert sum(each is not None for each in last) / count > 0.97
    assert len(slots._buckets) <= table.buckets


def test_a_token_that_was_never_issued_is_hardly_ever_known() -> None:
    chance, slots = random.Random(2), Slots()
    table = Table("t", 50)
    slots.trace([issued(chance.getrandbits(64), ANN, table) for _ in range(2_000)], NOW_US)
    found = slots.trace([asked(chance.getrandbits(64), ANN, table) for _ in range(100_000)], NOW_US)
    assert sum(each is not None for each in found) <= 3  # .05 are to be expected


STEPS = st.lists(
    st.builds(
        Step,
        st.sampled_from([SMALL, Table("other", 20_000)]),
        # 0 and 2²⁴ have the check that stands for an empty slot; few tokens, so that they meet.
        st.sampled_from([0, 1 << 24, *range(5, 40), *range(1 << 40, 2 << 40, 1 << 36), (1 << 64) - 1]),
        st.sampled_from([ANN, BEN, CEM, Issuer(0, False)]),
        st.booleans(),
    ),
    max_size=60,
)


@given(rounds=st.lists(st.tuples(st.integers(0, 80), STEPS), max_size=4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_redis_takes_the_same_steps(rounds: list[tuple[int, list[Step]]], store: OperatorStore) -> None:
    slots = Slots()
    async with store.asking() as client:
        async for key in client.scan_iter(match="*{lineage}*"):
            await client.delete(key)
    for days, steps in rounds:
        now_us = NOW_US + days * DAY_US
        if steps:
            assert await store.trace(steps, now_us) == slots.trace(steps, now_us)


async def test_a_page_has_its_size_at_once_and_expires_when_it_is_idle(
    store: OperatorStore, redis_server: EmbeddedServer
) -> None:
    table = Table.holding("sized", 100_000)
    await store.trace([issued(0, ANN, table), issued(1 << 40, ANN, table)], NOW_US)
    async with Redis(unix_socket_path=str(redis_server.socket)) as client:
        sizes = [
            (await client.strlen(key), await client.memory_usage(key), await client.ttl(key))
            async for key in client.scan_iter(match="*{lineage}:sized:*")
        ]
    assert 0 < len(sizes) <= 2
    for length, memory, life in sizes:
        assert length == table.page_buckets * 64 <= 1 << 20
        assert memory is not None
        assert memory < 1.3 * length
        assert IDLE_SECONDS - 100 < life <= IDLE_SECONDS


@pytest.mark.parametrize("tokens", [1, 1_000, 1_000_000, 100_000_000])
def test_a_table_takes_sixteen_bytes_a_token(tokens: int) -> None:
    table = Table.holding("t", tokens)
    assert 64 * table.buckets <= max(64, 16 * tokens + 64)
    assert table.page_buckets * 64 <= 1 << 20
    assert all(0 <= table.bucket(token) < table.buckets for token in (0, 1 << 63, (1 << 64) - 1))
