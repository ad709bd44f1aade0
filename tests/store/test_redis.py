from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest
from patience import PATIENCE_SECONDS
from redis.asyncio import Redis

from guard.core.calendars import Span
from guard.core.identity import EVERYTHING, Attribute, Holder, Identity, VouchedBy
from guard.core.limits import Algorithm, Charge, Limit, Unit, Window
from guard.core.query import Usage
from guard.errors import StoreError
from guard.store.port import Reservation
from guard.store.redis.store import RedisStore
from guard.store.transport.nodes import nodes_at
from guard.store.transport.url import RedisURL

sys.path.insert(0, str(Path(__file__).parent))

from servers import standalone

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from guard.store.port import Settled, Verdict
    from guard.store.redis.keys import Keys
    from guard.store.redis.orders import OperatorStore

ALICE = Identity(
    Holder(Attribute.KEY, "alice"),
    {Attribute.KEY: "alice", Attribute.ORG: "acme"},
    vouched_by=VouchedBy.KEYS_FILE,
)
BOB = Identity(
    Holder(Attribute.KEY, "bob"),
    {Attribute.KEY: "bob", Attribute.ORG: "acme"},
    vouched_by=VouchedBy.KEYS_FILE,
)
NOTHING = Usage(0, 0)
SPANS = {60: Span.MINUTE, 3_600: Span.HOUR, 86_400: Span.DAY}
T0 = 1_800_000_000_000_000
"""A moment in microseconds; times below are given as seconds after it."""


def limit(
    count: int,
    seconds: int = 60,
    *,
    name: str = "l",
    unit: Unit = Unit.REQUESTS,
    per: Attribute = Attribute.KEY,
    algorithm: Algorithm = Algorithm.SLIDING_WINDOW,
    burst: int | None = None,
) -> Limit:
    calendar = algorithm is Algorithm.CALENDAR
    window = Window(count, seconds, burst or count, SPANS[seconds] if calendar else None)
    return Limit(name, unit, (per,), algorithm, (window,), zone=ZoneInfo("UTC") if calendar else None)


def slots(count: int) -> Limit:
    return Limit("slots", Unit.CONCURRENCY, (Attribute.KEY,), Algorithm.LEASES, (Window(count, 0, count),))


def charges(identity: Identity, *owed: tuple[Limit, int]) -> tuple[Charge, ...]:
    return tuple(Charge(limit, identity.holder(*limit.per), amount) for limit, amount in owed)


class Clock:
    """A store at moments that the test names."""

    def __init__(self, store: OperatorStore) -> None:
        self._store = store
        self._ids = 0

    async def admit(
        self,
        at: float,
        *owed: tuple[Limit, int],
        identity: Identity = ALICE,
        id: str | None = None,  # noqa: A002
    ) -> Verdict:
        self._ids += 1
        name = id or f"r{self._ids}"
        return await self._store.admit(
            Reservation(name, identity, charges(identity, *owed)), now_us=moment(at)
        )

    async def settle(
        self,
        at: float,
        id: str,  # noqa: A002
        *owed: tuple[Limit, int],
        identity: Identity = ALICE,
    ) -> Settled:
        return await self._store.settle(
            Reservation(id, identity, charges(identity, *owed)), NOTHING, now_us=moment(at)
        )

    async def left(self, at: float, limit: Limit, identity: Identity = ALICE) -> int:
        verdict = await self._store.admit(
            Reservation("", identity, charges(identity, (limit, 0))), now_us=moment(at)
        )
        return verdict.readings[0].remaining


def moment(seconds: float) -> int:
    return T0 + round(seconds * 1_000_000)


@pytest.fixture
def clock(store: OperatorStore) -> Clock:
    return Clock(store)


def seconds(wait_us: int | None) -> float | None:
    return None if wait_us is None else wait_us / 1_000_000


class TestSlidingWindow:
    async def test_the_worked_example(self, clock: Clock) -> None:
        hundred = limit(100)
        assert (await clock.admit(0, (hundred, 1))).admitted
        assert (await clock.admit(59, (hundred, 79))).admitted
        assert (await clock.admit(61, (hundred, 10))).admitted
        assert (await clock.admit(80, (hundred, 20))).admitted
        assert await clock.left(90, hundred) == 30
        verdict = await clock.admit(90, (hundred, 40))
        assert not verdict.admitted
        assert seconds(verdict.readings[0].wait_us) == 7.5

    async def test_a_wait_is_exact_to_the_microsecond(self, clock: Clock) -> None:
        for count, used in ((7, 7), (100, 100), (3, 2), (1000, 999)):
            held = limit(count, name=f"c{count}")
            await clock.admit(0, (held, used))
            asked = count - used + 1
            verdict = await clock.admit(1, (held, asked))
            wait = verdict.readings[0].wait_us
            assert wait is not None
            assert not (await clock.admit(1 + (wait - 2) / 1e6, (held, asked))).admitted
            assert (await clock.admit(1 + wait / 1e6, (held, asked))).admitted

    async def test_idle_holders_start_anew(self, clock: Clock) -> None:
        await clock.admit(0, (limit(5), 5))
        assert await clock.left(120, limit(5)) == 5

    async def test_a_cost_above_the_limit_never_fits_and_poisons_nothing(self, clock: Clock) -> None:
        verdict = await clock.admit(0, (limit(5), 6))
        assert not verdict.admitted
        assert verdict.readings[0].wait_us is None
        assert await clock.left(0, limit(5)) == 5


class TestGcra:
    async def test_the_worked_example(self, clock: Clock) -> None:
        held = limit(60, 60, algorithm=Algorithm.GCRA, burst=10)
        assert (await clock.admit(0, (held, 10))).admitted
        verdict = await clock.admit(0, (held, 1))
        assert not verdict.admitted
        assert seconds(verdict.readings[0].wait_us) == 1.0
        assert (await clock.admit(3, (held, 3))).admitted
        assert not (await clock.admit(3, (held, 1))).admitted

    @pytest.mark.parametrize(("count", "period"), [(7, 60), (3, 1), (100, 60), (9, 86_400), (1_000_000, 60)])
    async def test_it_admits_the_burst_and_what_has_refilled_to_the_unit(
        self, clock: Clock, count: int, period: int
    ) -> None:
        held = limit(count, period, algorithm=Algorithm.GCRA, burst=5)
        for _ in range(5):
            assert (await clock.admit(0, (held, 1))).admitted
        assert not (await clock.admit(0, (held, 1))).admitted
        one = period / count
        assert not (await clock.admit(one - 2e-6 if one > 1e-4 else 0, (held, 1))).admitted
        assert (await clock.admit(one + 1e-6, (held, 1))).admitted

    async def test_a_wait_is_exact_to_the_microsecond(self, clock: Clock) -> None:
        held = limit(7, 60, algorithm=Algorithm.GCRA)
        await clock.admit(0, (held, 7))
        wait = (await clock.admit(1, (held, 3))).readings[0].wait_us
        assert wait is not None
        assert not (await clock.admit(1 + (wait - 2) / 1e6, (held, 3))).admitted
        assert (await clock.admit(1 + wait / 1e6, (held, 3))).admitted


@pytest.mark.parametrize("algorithm", [Algorithm.SLIDING_WINDOW, Algorithm.GCRA, Algorithm.CALENDAR])
class TestEveryRate:
    async def test_changing_the_amount_forgives_nobody(self, clock: Clock, algorithm: Algorithm) -> None:
        await clock.admit(0, (limit(10, algorithm=algorithm), 10))
        assert not (await clock.admit(0, (limit(5, algorithm=algorithm), 1))).admitted
        assert await clock.left(0, limit(10, algorithm=algorithm)) == 0

    async def test_a_clock_that_is_set_back_neither_frees_nor_locks(
        self, clock: Clock, algorithm: Algorithm
    ) -> None:
        held = limit(10, algorithm=algorithm)
        await clock.admit(1000, (held, 4))
        assert await clock.left(0, held) == 6
        assert (await clock.admit(0, (held, 6))).admitted
        assert not (await clock.admit(0, (held, 1))).admitted
        assert await clock.left(1121, held) == 10

    async def test_an_unused_reservation_is_given_back_to_the_unit(
        self, clock: Clock, algorithm: Algorithm
    ) -> None:
        held = limit(1000, 3600, unit=Unit.TOKENS, algorithm=algorithm)
        await clock.admit(0, (held, 900), id="a")
        assert await clock.left(0, held) == 100
        assert await clock.settle(0, "a", (held, 123))
        assert await clock.left(0, held) == 877

    async def test_an_overrun_is_charged(self, clock: Clock, algorithm: Algorithm) -> None:
        held = limit(1000, 3600, unit=Unit.TOKENS, algorithm=algorithm)
        await clock.admit(0, (held, 10), id="a")
        await clock.settle(0, "a", (held, 5000))
        assert await clock.left(0, held) == 0
        wait = seconds((await clock.admit(0, (held, 1))).readings[0].wait_us)
        assert wait is not None
        # 5,000 at 1,000 an hour are paid in five hours; GCRA has room for one as soon as there is any.
        owed = {Algorithm.SLIDING_WINDOW: 5 + 1 / 1000, Algorithm.GCRA: 4 + 1 / 1000, Algorithm.CALENDAR: 5}
        assert wait == pytest.approx(3600 * owed[algorithm])

    async def test_a_settle_counts_once(self, clock: Clock, algorithm: Algorithm) -> None:
        held = limit(1000, 3600, unit=Unit.TOKENS, algorithm=algorithm)
        await clock.admit(0, (held, 500), id="a")
        assert await clock.settle(0, "a", (held, 100))
        assert not await clock.settle(0, "a", (held, 900))
        assert await clock.left(0, held) == 900

    async def test_an_admit_counts_once(self, clock: Clock, algorithm: Algorithm) -> None:
        held = limit(3, algorithm=algorithm)
        for _ in range(5):
            assert (await clock.admit(0, (held, 1), id="same")).admitted
        assert await clock.left(0, held) == 2

    async def test_a_settle_without_a_reservation_is_charged_in_full(
        self, clock: Clock, algorithm: Algorithm
    ) -> None:
        held = limit(1000, 3600, unit=Unit.TOKENS, algorithm=algorithm)
        assert await clock.settle(0, "unknown", (held, 300))
        assert not await clock.settle(0, "unknown", (held, 300))
        assert await clock.left(0, held) == 700

    async def test_a_request_that_is_taken_back_costs_nothing(
        self, clock: Clock, store: OperatorStore, algorithm: Algorithm
    ) -> None:
        held = limit(5, algorithm=algorithm)
        await clock.admit(0, (held, 1), id="a")
        assert await store.release(Reservation("a", ALICE, charges(ALICE, (held, 1))), now_us=moment(0))
        assert await clock.left(0, held) == 5
        assert not await store.release(Reservation("a", ALICE, charges(ALICE, (held, 1))), now_us=moment(0))

    async def test_an_expired_reservation_comes_back_at_its_expiry_and_not_before(
        self, clock: Clock, algorithm: Algorithm
    ) -> None:
        held = limit(1000, 86_400, unit=Unit.TOKENS, algorithm=algorithm)
        await clock.admit(0, (held, 864), id="dead")
        assert await clock.left(59, held) < 150
        assert await clock.left(60, held) == 1000
        verdict = await clock.admit(61, (held, 1))
        assert verdict.expired == 1
        assert await clock.left(61, held) == 999

    async def test_a_settle_after_the_expiry_is_charged_in_full(
        self, clock: Clock, algorithm: Algorithm
    ) -> None:
        held = limit(1000, 86_400, unit=Unit.TOKENS, algorithm=algorithm)
        await clock.admit(0, (held, 800), id="late")
        await clock.admit(700, (held, 1))
        await clock.settle(701, "late", (held, 300))
        assert await clock.left(701, held) == 699

    async def test_what_has_drained_is_not_given_back(self, clock: Clock, algorithm: Algorithm) -> None:
        held = limit(100, 60, unit=Unit.TOKENS, algorithm=algorithm)
        await clock.admit(0, (held, 100), id="a")
        assert (await clock.admit(150, (held, 100))).admitted
        await clock.settle(150, "a", (held, 0))
        assert await clock.left(150, held) == 0

    async def test_a_hundred_tasks_on_a_limit_of_five_let_five_through(
        self, store: OperatorStore, algorithm: Algorithm
    ) -> None:
        held = limit(5, 86_400, algorithm=algorithm)
        verdicts = await asyncio.gather(
            *(store.admit(Reservation(f"r{n}", ALICE, charges(ALICE, (held, 1)))) for n in range(100))
        )
        assert sum(verdict.admitted for verdict in verdicts) == 5


class TestLeases:
    async def test_a_slot_is_held_until_its_request_is_over(self, clock: Clock) -> None:
        two = slots(2)
        assert (await clock.admit(0, (two, 1), id="a")).admitted
        assert (await clock.admit(0, (two, 1), id="b")).admitted
        refused = await clock.admit(30, (two, 1), id="c")
        assert not refused.admitted
        assert seconds(refused.readings[0].wait_us) == 1.0
        assert await clock.settle(31, "a", (two, 1))
        assert await clock.left(31, two) == 1
        assert (await clock.admit(31, (two, 1), id="c")).admitted

    async def test_an_id_that_is_admitted_twice_holds_one_slot(self, clock: Clock) -> None:
        for _ in range(3):
            assert (await clock.admit(0, (slots(2), 1), id="same")).admitted
        assert await clock.left(0, slots(2)) == 1

    async def test_a_slot_whose_owner_died_lapses(self, clock: Clock) -> None:
        await clock.admit(0, (slots(1), 1), id="dead")
        assert not (await clock.admit(59, (slots(1), 1))).admitted
        verdict = await clock.admit(60, (slots(1), 1))
        assert verdict.admitted
        assert verdict.expired == 1

    async def test_a_renewed_slot_does_not_lapse(self, clock: Clock, store: OperatorStore) -> None:
        owed = charges(ALICE, (slots(1), 1), (limit(9), 1))
        await store.admit(Reservation("long", ALICE, owed), now_us=moment(0))
        assert await store.renew(Reservation("long", ALICE, owed), now_us=moment(40)) == 1
        assert not (await clock.admit(99, (slots(1), 1))).admitted
        assert (await clock.admit(100, (slots(1), 1))).admitted

    async def test_a_slot_that_has_lapsed_is_taken_again_since_its_request_runs(
        self, clock: Clock, store: OperatorStore
    ) -> None:
        owed = charges(ALICE, (slots(1), 1))
        await store.admit(Reservation("late", ALICE, owed), now_us=moment(0))
        assert (await clock.admit(61, (slots(1), 1), id="next")).admitted
        assert await store.renew(Reservation("late", ALICE, owed), now_us=moment(62)) == 1
        assert await clock.settle(63, "next", (slots(1), 1))
        assert not (await clock.admit(64, (slots(1), 1))).admitted

    async def test_a_hundred_tasks_on_five_slots_let_five_through(self, store: OperatorStore) -> None:
        owed = charges(ALICE, (slots(5), 1))
        verdicts = await asyncio.gather(*(store.admit(Reservation(f"r{n}", ALICE, owed)) for n in range(100)))
        assert sum(verdict.admitted for verdict in verdicts) == 5


class TestSeveralLimits:
    async def test_all_windows_must_have_room(self, clock: Clock) -> None:
        windows = (Window(2, 1, 2), Window(3, 60, 3))
        both = Limit("both", Unit.REQUESTS, (Attribute.KEY,), Algorithm.SLIDING_WINDOW, windows)
        times = (0, 0, 0, 2.5, 2.5)
        admitted = [(await clock.admit(at, (both, 1))).admitted for at in times]
        assert admitted == [True, True, False, True, False]

    async def test_a_refusal_by_one_charges_none(self, clock: Clock) -> None:
        wide, narrow = limit(100, name="wide"), limit(1, name="narrow")
        for _ in range(10):
            await clock.admit(0, (wide, 1), (narrow, 1))
        assert await clock.left(0, wide) == 99

    async def test_the_wait_is_over_when_the_last_limit_has_room(self, clock: Clock) -> None:
        quick = limit(1, 1, name="quick", algorithm=Algorithm.GCRA)
        slow = limit(1, 30, name="slow", algorithm=Algorithm.GCRA)
        await clock.admit(0, (quick, 1), (slow, 1))
        waits = [reading.wait_us for reading in (await clock.admit(0, (quick, 1), (slow, 1))).readings]
        assert waits == [1_000_000, 30_000_000]
        assert (await clock.admit(30, (quick, 1), (slow, 1))).admitted

    async def test_holders_share_what_is_kept_per_org_and_nothing_else(self, clock: Clock) -> None:
        org, key = limit(3, name="org", per=Attribute.ORG), limit(2, name="key")
        assert (await clock.admit(0, (org, 1), (key, 1))).admitted
        assert (await clock.admit(0, (org, 1), (key, 1))).admitted
        assert (await clock.admit(0, (org, 1), (key, 1), identity=BOB)).admitted
        assert not (await clock.admit(0, (org, 1), (key, 1), identity=BOB)).admitted
        assert await clock.left(0, key, identity=BOB) == 1

    async def test_everything_is_one_holder(self, clock: Clock) -> None:
        total = limit(2, per=Attribute.EVERYTHING)
        assert ALICE.holder(Attribute.EVERYTHING) == EVERYTHING
        await clock.admit(0, (total, 1))
        await clock.admit(0, (total, 1), identity=BOB)
        assert not (await clock.admit(0, (total, 1), identity=BOB)).admitted

    async def test_a_window_may_come_and_go_without_loss(self, clock: Clock) -> None:
        one = Limit("l", Unit.REQUESTS, (Attribute.KEY,), Algorithm.SLIDING_WINDOW, (Window(10, 60, 10),))
        two = Limit(
            "l",
            Unit.REQUESTS,
            (Attribute.KEY,),
            Algorithm.SLIDING_WINDOW,
            (Window(5, 1, 5), Window(10, 60, 10)),
        )
        await clock.admit(0, (one, 4))
        verdict = await clock.admit(0, (two, 1))
        assert [reading.remaining for reading in verdict.readings] == [4, 5]


class TestBlocks:
    @pytest.mark.parametrize("holder", [ALICE.principal, Holder(Attribute.ORG, "acme")])
    async def test_a_block_bites_on_the_principal_and_on_attributes(
        self, store: OperatorStore, holder: Holder
    ) -> None:
        held = limit(5)
        await store.block(holder, 60, "because")
        verdict = await store.admit(Reservation("a", ALICE, charges(ALICE, (held, 1))))
        assert not verdict.admitted
        assert verdict.block is not None
        assert verdict.block.remaining_us is not None
        assert 50_000_000 < verdict.block.remaining_us <= 60_000_000
        assert await store.unblock(holder)
        assert (await store.admit(Reservation("b", ALICE, charges(ALICE, (held, 1))))).readings[
            0
        ].remaining == 4

    async def test_a_block_for_good_has_no_end(self, store: OperatorStore) -> None:
        await store.block(ALICE.principal, None, "for ever")
        verdict = await store.admit(Reservation("a", ALICE, ()))
        assert verdict.block is not None
        assert verdict.block.remaining_us is None
        block = await store.blocked(ALICE.principal)
        assert block is not None
        assert (block.remaining_us, block.reason) == (None, "for ever")

    async def test_a_block_ends(self, clock: Clock, store: OperatorStore) -> None:
        await store.block(ALICE.principal, 60, "")
        later = 4_000_000_000 - T0 / 1e6
        assert (await clock.admit(later, (limit(5), 1))).admitted

    async def test_lifting_what_is_not_there_says_so(self, store: OperatorStore) -> None:
        assert not await store.unblock(ALICE.principal)


class TestRecords:
    async def test_they_add_up_what_an_identity_used(self, store: OperatorStore) -> None:
        held = limit(2)
        for n in range(3):
            await store.admit(Reservation(f"r{n}", ALICE, charges(ALICE, (held, 1))))
        await store.settle(Reservation("r0", ALICE, charges(ALICE, (held, 1))), Usage(30, 400))
        await store.release(Reservation("r1", ALICE, charges(ALICE, (held, 1))))
        record = await store.record(ALICE.principal)
        assert record is not None
        assert (record.admitted, record.refused) == (1, 1)
        assert (record.input_tokens, record.output_tokens) == (30, 400)
        assert record.identity.attributes == ALICE.attributes
        assert record.first_seen <= record.last_seen

    async def test_a_credential_that_nobody_checked_leaves_none_until_it_is_accepted(
        self, store: OperatorStore
    ) -> None:
        stranger = Identity(Holder(Attribute.KEY, "x"), {Attribute.KEY: "x"})
        owed = charges(stranger, (limit(9), 1))
        await store.admit(Reservation("a", stranger, owed))
        await store.settle(Reservation("a", stranger, owed), NOTHING, accepted=False)
        assert await store.record(stranger.principal) is None
        await store.admit(Reservation("b", stranger, owed))
        await store.settle(Reservation("b", stranger, owed), NOTHING, accepted=True)
        record = await store.record(stranger.principal)
        assert record is not None
        assert record.admitted == 1


@pytest.fixture
async def raw(redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_url) as client:
        yield client


class TestKeys:
    async def test_every_key_has_an_expiry_and_names_nobody(
        self, store: OperatorStore, raw: Redis, keys: Keys
    ) -> None:
        await raw.flushdb()
        address = Identity(
            Holder(Attribute.KEY, keys.credential("sk-secret")),
            {Attribute.NETWORK: "203.0.113.9/32", Attribute.IP: "203.0.113.9", Attribute.ORG: "acme"},
        )
        held, held_tokens = limit(9), limit(900, unit=Unit.TOKENS, name="t", per=Attribute.NETWORK)
        owed = charges(address, (held, 1), (held_tokens, 100))
        for n in range(3):
            await store.admit(Reservation(f"r{n}", address, owed))
        await store.settle(Reservation("r0", address, owed), Usage(5, 5))
        await store.block(address.principal, None, "x")
        names = [name async for name in raw.scan_iter()]
        assert len(names) >= 8
        for name in names:
            assert await raw.ttl(name) > 0, name
            dump = await raw.dump(name)
            for secret in (b"sk-secret", b"203.0.113.9"):
                assert secret not in name
                assert secret not in (dump or b"")

    async def test_a_settled_request_leaves_only_small_things(self, store: OperatorStore, raw: Redis) -> None:
        await raw.flushdb()
        owed = charges(ALICE, (limit(10**6, unit=Unit.TOKENS), 100))
        for n in range(200):
            await store.admit(Reservation(f"r{n}", ALICE, owed))
            await store.settle(Reservation(f"r{n}", ALICE, owed), Usage(5, 5))
        pending = [name async for name in raw.scan_iter("*pending")]
        assert pending == []

    async def test_names_that_look_alike_when_joined_are_distinct(self, keys: Keys) -> None:
        holders: Sequence[Holder] = [
            Holder(Attribute.KEY, "a:b"),
            Holder(Attribute.KEY, "a}{b"),
            Holder(Attribute.KEY, "a\0b"),
            Holder(Attribute.USER, "a:b"),
            Holder(Attribute.KEY, "a:b "),
        ]
        assert len({keys.digest(holder) for holder in holders}) == len(holders)
        assert all(keys.record(Identity(holder)).count("{") == 1 for holder in holders)


class TestTrouble:
    async def test_forgotten_scripts_are_loaded_again(self, store: OperatorStore, raw: Redis) -> None:
        for n in range(3):
            await raw.script_flush()
            assert (await store.admit(Reservation(f"r{n}", ALICE, charges(ALICE, (limit(9), 1))))).admitted

    async def test_a_frozen_server_is_given_up_in_time_and_charges_once(self, keys: Keys) -> None:
        """U23: also on a busy machine."""
        owed = charges(ALICE, (limit(9), 1))
        with standalone() as server:
            url = RedisURL.parse(f"redis://{server.address}")
            patient, hasty = (
                RedisStore(keys, partial(nodes_at, url, seconds), deadline_seconds=seconds)
                for seconds in (PATIENCE_SECONDS, 0.5)
            )
            await patient.admit(Reservation("warm", ALICE, owed))
            with suppress(StoreError):  # a busy machine may miss this deadline; its connection is open then
                await hasty.admit(Reservation("warm", ALICE, owed))
            with server.paused(), pytest.raises(StoreError) as error:
                await hasty.admit(Reservation("a", ALICE, owed))
            assert error.value.kind == "timeout"
            assert (await patient.admit(Reservation("a", ALICE, owed))).readings[0].remaining == 7
            await hasty.aclose()
            await patient.aclose()

    async def test_a_closed_port_is_an_error_of_ours(self, keys: Keys) -> None:
        nowhere = RedisStore(keys, partial(nodes_at, RedisURL.parse("redis://127.0.0.1:1/0"), 0.05))
        with pytest.raises(StoreError) as error:
            await nowhere.admit(Reservation("a", ALICE, ()))
        assert error.value.kind == "connection"
        await nowhere.aclose()

    async def test_a_key_of_the_wrong_type_harms_only_its_holder(
        self, store: OperatorStore, raw: Redis, keys: Keys
    ) -> None:
        held = limit(9)
        await raw.set(keys.counts(ALICE.principal, ALICE), "garbage")
        with pytest.raises(StoreError):
            await store.admit(Reservation("a", ALICE, charges(ALICE, (held, 1))))
        assert (await store.admit(Reservation("b", BOB, charges(BOB, (held, 1))))).admitted

    async def test_a_full_server_refuses_to_reserve_but_still_settles(
        self, store: OperatorStore, raw: Redis
    ) -> None:
        held = limit(1000, unit=Unit.TOKENS)
        owed = charges(ALICE, (held, 500))
        await store.admit(Reservation("a", ALICE, owed))
        await raw.config_set("maxmemory", "1")
        try:
            with pytest.raises(StoreError) as error:
                await store.admit(Reservation("b", ALICE, owed))
            assert error.value.kind == "memory"
            assert await store.settle(Reservation("a", ALICE, charges(ALICE, (held, 20))), NOTHING)
        finally:
            await raw.config_set("maxmemory", "0")
        assert (await store.look(ALICE, charges(ALICE, (held, 0)))).readings[0].remaining == 980

    async def test_cancelled_calls_never_mix_up_answers(self, store: OperatorStore) -> None:
        many = [
            Identity(Holder(Attribute.KEY, f"k{n}"), {Attribute.KEY: f"k{n}"}, vouched_by=VouchedBy.KEYS_FILE)
            for n in range(40)
        ]
        tasks = [
            asyncio.create_task(
                store.admit(Reservation(f"x{n}", who, charges(who, (limit(1000 + n, name=f"n{n}"), 1))))
            )
            for n, who in enumerate(many)
        ]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for n, who in enumerate(many):
            verdict = await store.look(who, charges(who, (limit(1000 + n, name=f"n{n}"), 0)))
            assert verdict.readings[0].remaining in {1000 + n, 999 + n}
