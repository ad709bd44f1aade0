from __future__ import annotations

import asyncio
import random
import secrets
import sys
from math import exp
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest

from guard.core.calendars import Span
from guard.core.demand import Demand
from guard.core.identity import Attribute, Holder, Identity, VouchedBy
from guard.core.limits import Algorithm, Charge, Limit, Unit, Window
from guard.core.novelty import (
    BITMAP_BYTES,
    CELLS,
    Payout,
    Piece,
    covered,
)
from guard.core.policy import actual_charges
from guard.core.query import NO_USAGE, Query, Usage
from guard.errors import StoreError
from guard.store.port import Debt, Reservation

sys.path.insert(0, str(Path(__file__).parent))

from admitting import store_at
from servers import cluster

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from guard.store.port import Settled, Verdict
    from guard.store.redis.layout import Part
    from guard.store.redis.orders import OperatorStore

ALICE = Identity(
    Holder(Attribute.KEY, "alice"),
    {Attribute.KEY: "alice", Attribute.ORG: "acme", Attribute.NETWORK: "192.0.2.0/24"},
    vouched_by=VouchedBy.KEYS_FILE,
).asking(model="small", end_user="ann")
T0 = 1_800_000_000_000_000
DAY = 86_400

HERE, THERE, NOWHERE = 7, 4_711, None


def budget(
    count: int = 10**10,
    *,
    name: str = "novel",
    per: tuple[Attribute, ...] = (Attribute.KEY,),
    algorithm: Algorithm = Algorithm.SLIDING_WINDOW,
) -> Limit:
    calendar = algorithm is Algorithm.CALENDAR
    window = Window(count, DAY, count, Span.DAY if calendar else None)
    return Limit(name, Unit.NOVELTY, per, algorithm, (window,), zone=ZoneInfo("UTC") if calendar else None)


BUDGET = budget()


def charge(
    limit: Limit,
    amount: int = 1_000,
    *,
    spare: int = 0,
    enforced: bool = True,
    identity: Identity = ALICE,
) -> Charge:
    return Charge(limit, identity.holder(*limit.per), amount, spare, enforced)


class Asker:
    """Asks a store, always at the same moment, so that nothing is given back by time."""

    def __init__(self, store: OperatorStore) -> None:
        self.store = store
        self.now_us = T0
        self._ids = 0

    async def ask(
        self, cell: int | None, *limits: Limit, amount: int = 1_000, identity: Identity = ALICE
    ) -> list[int]:
        """What one request pays to each of the limits; none has room for less than all of it."""
        limits = limits or (BUDGET,)
        before = [await self.used(limit, identity) for limit in limits]
        self._ids += 1
        id_ = f"q{self._ids}"
        owed = [charge(each, amount, identity=identity) for each in limits]
        assert (await self.admit(id_, *owed, identity=identity)).admitted
        settled = await self.settle(id_, *owed, identity=identity)
        await self.pay(id_, settled, cell, amount, *limits, identity=identity)
        after = [await self.used(limit, identity) for limit in limits]
        return [now - then for then, now in zip(before, after, strict=True)]

    async def admit(self, id_: str, *charges: Charge, identity: Identity = ALICE) -> Verdict:
        return await self.store.admit(Reservation(id_, identity, charges), now_us=self.now_us)

    async def settle(self, id_: str, *charges: Charge, identity: Identity = ALICE) -> Settled:
        return await self.store.settle(Reservation(id_, identity, charges), Usage(5, 5), now_us=self.now_us)

    async def pay(
        self,
        id_: str,
        settled: Settled,
        cell: int | None,
        drawn: int,
        *limits: Limit,
        identity: Identity = ALICE,
    ) -> int | None:
        charges = [charge(each, drawn, identity=identity) for each in limits or (BUDGET,)]
        return await self.store.pay(
            Reservation(id_, identity, charges),
            settled.receipts,
            Payout((Piece(drawn, 0, cell),), 0, 1),
            now_us=self.now_us,
        )

    async def used(self, limit: Limit = BUDGET, identity: Identity = ALICE) -> int:
        look = [charge(limit, 0, identity=identity)]
        verdict = await self.store.admit(Reservation("", identity, look), now_us=self.now_us)
        return limit.windows[0].burst - verdict.readings[0].remaining

    async def draw_all(self, cells: Iterable[int | None], amount: int = 6) -> int:
        """What queries pay in all, one after the other, each with its number for an id."""
        before = await self.used()
        for some in _batches([*cells], 1_000):
            # On one connection they are done in the order in which they are asked for.
            names = [f"w{self._ids + place}" for place, _ in some]
            settled = await asyncio.gather(*(self.settle(name, charge(BUDGET, amount)) for name in names))
            await asyncio.gather(
                *(
                    self.pay(name, each, cell, amount)
                    for name, each, (_, cell) in zip(names, settled, some, strict=True)
                )
            )
        self._ids += len([*cells])
        return await self.used() - before

    async def bitmap(self) -> bytes:
        return await self.store.visited(ALICE.principal, ALICE)

    async def bitmap_lives_seconds(self) -> int:
        async with self.store.asking() as client:
            return int(await client.ttl(self.store.keys.coverage(ALICE.principal, ALICE)))

    async def coverages(self) -> int:
        """How many there are."""
        async with self.store.asking() as client:
            return len([name async for name in client.scan_iter("guard:*:coverage")])


def _batches(cells: list[int | None], size: int) -> Iterable[list[tuple[int, int | None]]]:
    numbered = list(enumerate(cells))
    return (numbered[start : start + size] for start in range(0, len(numbered), size))


def anywhere(seed: int, count: int) -> list[int | None]:
    """Pieces that have nothing to do with each other."""
    chance = random.Random(seed)
    return [chance.randrange(CELLS) for _ in range(count)]


@pytest.fixture
def asker(store: OperatorStore) -> Asker:
    return Asker(store)


class TestPaying:
    @pytest.mark.parametrize("algorithm", [Algorithm.SLIDING_WINDOW, Algorithm.GCRA, Algorithm.CALENDAR])
    async def test_a_first_query_pays_in_full_and_a_repeat_nothing(
        self, asker: Asker, algorithm: Algorithm
    ) -> None:
        limit = budget(10**6, algorithm=algorithm)
        assert [await asker.ask(HERE, limit) for _ in range(3)] == [[1_000], [0], [0]]

    async def test_pieces_visit_one_after_the_other_and_pay_the_least_at_least(self, asker: Asker) -> None:
        pieces = Piece(600, 0, HERE), Piece(500, 0, HERE), Piece(400, 200, HERE), Piece(300, 0, NOWHERE)
        charges, paid = [charge(BUDGET, 1_800)], []
        for name, floor in (("a", 0), ("b", 0), ("c", 999)):
            settled = await asker.settle(name, *charges)
            payout, reservation = Payout(pieces, floor, 1), Reservation(name, ALICE, charges)
            paid.append(await asker.store.pay(reservation, settled.receipts, payout, now_us=T0))
        assert paid == [600 + 200 + 300, 200 + 300, 999]
        assert await asker.used() == sum(each or 0 for each in paid)

    async def test_large_amounts_are_exact(self, asker: Asker) -> None:
        assert await asker.ask(HERE, amount=3_000_000_001) == [3_000_000_001]

    async def test_what_has_no_words_is_all_new_every_time_and_leaves_nothing(self, asker: Asker) -> None:
        assert [await asker.ask(NOWHERE) for _ in range(3)] == [[1_000]] * 3
        assert await asker.bitmap() == b""

    async def test_an_app_that_does_one_thing_soon_runs_almost_free(self, asker: Asker) -> None:
        things = anywhere(seed=1, count=30)
        used = [await asker.draw_all(things, amount=6) for _ in range(20)]
        assert used[0] > 150
        assert sum(used[1:]) < 0.1 * 6 * 30 * 19


async def make_narrow(asker: Asker) -> None:
    """Have a holder pay out next to nothing lately."""
    for _ in range(300):
        await asker.ask(HERE, amount=500)


class TestReserving:
    @pytest.mark.parametrize(
        ("answers", "most", "reserved"),
        [(1, 4_000, 4_000), (1, 700, 700), (1, 250, 250), (4, 16_000, 16_000), (0, 0, 0)],
    )
    async def test_of_a_new_holder_all_is_reserved_that_its_answers_may_draw(
        self, asker: Asker, answers: int, most: int, reserved: int
    ) -> None:
        await asker.admit("a", charge(BUDGET, most, spare=most - 250 * answers))
        assert await asker.used() == reserved

    async def test_that_holds_until_sixteen_answers_were_read(self, asker: Asker) -> None:
        for known in (False, True):
            for _ in range(15 if not known else 1):
                await asker.ask(HERE)
            before = await asker.used()
            await asker.admit(f"a{known}", charge(BUDGET, 64_000, spare=63_750))
            assert await asker.used() - before == (16_000 if known else 64_000)

    async def test_of_one_that_pays_out_little_a_quarter_of_the_most_is_reserved(self, asker: Asker) -> None:
        await make_narrow(asker)
        before = await asker.used()
        await asker.admit("a", charge(BUDGET, 8_000, spare=8_000 - 500))
        assert await asker.used() - before == 8_000 / 4

    async def test_of_one_that_draws_long_answers_more_is_reserved(self, asker: Asker) -> None:
        for cell in anywhere(seed=1, count=300):
            await asker.ask(cell, amount=4_000)
        before = await asker.used()
        await asker.admit("a", charge(BUDGET, 4_000, spare=4_000 - 250))
        assert 3_000 < await asker.used() - before < 4_000

    @pytest.mark.parametrize(
        ("limit", "admitted", "reserved"),
        [(5_000, True, 4_000), (600, True, 600), (250, True, 250), (249, False, 0)],
    )
    async def test_what_only_the_cap_asks_for_is_cut_to_the_limit(
        self, asker: Asker, limit: int, reserved: int, *, admitted: bool
    ) -> None:
        held = budget(limit)
        verdict = await asker.admit("a", charge(held, 4_000, spare=3_750))
        assert verdict.admitted is admitted
        assert verdict.readings[0].wait_us == (0 if admitted else None)
        assert await asker.used(held) == reserved


class TestSettling:
    async def test_an_answer_of_a_new_holder_is_charged_as_all_new_until_it_is_paid_for(
        self, asker: Asker
    ) -> None:
        await asker.admit("a", charge(BUDGET, 4_000, spare=3_750))
        settled = await asker.settle("a", charge(BUDGET, 750))
        assert (await asker.used(), settled.novelty) == (750, 750)

    async def test_an_answer_of_a_known_one_is_charged_what_is_usual(self, asker: Asker) -> None:
        await make_narrow(asker)
        before = await asker.used()
        settled = await asker.settle("a", charge(BUDGET, 4_000))
        assert settled.novelty is not None
        assert 0 < settled.novelty == await asker.used() - before < 10

    async def test_what_was_charged_stands_where_nobody_looks(self, asker: Asker) -> None:
        for number in range(5):
            await asker.settle(f"r{number}", charge(BUDGET, 750))
        assert await asker.used() == 5 * 750

    async def test_a_settle_counts_once(self, asker: Asker) -> None:
        assert await asker.settle("a", charge(BUDGET, 1_000))
        again = await asker.settle("a", charge(BUDGET, 1_000))
        assert (again.counted, again.receipts) == (False, ())
        assert await asker.used() == 1_000

    @pytest.mark.parametrize("usual", [1_000, 6_000])
    async def test_a_payout_takes_the_place_of_what_was_charged(self, asker: Asker, usual: int) -> None:
        await asker.pay("first", await asker.settle("first", charge(BUDGET, usual)), HERE, 0)
        before = await asker.used()
        owed = charge(BUDGET, 3_000)
        await asker.admit("a", charge(BUDGET, 1_000))
        settled = await asker.settle("a", owed)
        assert await asker.pay("a", settled, THERE, 3_000) == 3_000
        assert await asker.used() - before == 3_000

    async def test_an_answer_is_paid_for_once(self, asker: Asker) -> None:
        settled = await asker.settle("a", charge(BUDGET, 1_000))
        assert await asker.pay("a", settled, HERE, 1_000) == 1_000
        assert await asker.pay("a", settled, THERE, 1_000) is None
        assert await asker.used() == 1_000
        assert await asker.ask(THERE) == [1_000]

    async def test_the_same_query_many_times_at_once_pays_once(self, asker: Asker) -> None:
        owed = charge(BUDGET, 1_000)
        await asyncio.gather(*(asker.admit(f"r{n}", owed) for n in range(20)))
        assert await asker.used() == 20_000
        settled = await asyncio.gather(*(asker.settle(f"r{n}", owed) for n in range(20)))
        await asyncio.gather(*(asker.pay(f"r{n}", each, HERE, 1_000) for n, each in enumerate(settled)))
        assert await asker.used() == 1_000

    @pytest.mark.parametrize("algorithm", [Algorithm.SLIDING_WINDOW, Algorithm.CALENDAR])
    async def test_nothing_is_given_back_of_a_window_that_is_over(
        self, asker: Asker, algorithm: Algorithm
    ) -> None:
        held = budget(10**6, algorithm=algorithm)
        await asker.ask(HERE, held)
        settled = await asker.settle("a", charge(held, 1_000))
        asker.now_us += 3 * DAY * 1_000_000
        await asker.settle("other", charge(held, 700))
        assert await asker.pay("a", settled, HERE, 1_000, held) == 0
        assert await asker.used(held) == 700

    async def test_a_backlog_is_given_back_only_as_far_as_it_is_the_answers_own(self, asker: Asker) -> None:
        held = budget(DAY, algorithm=Algorithm.GCRA)
        await asker.pay("first", await asker.settle("first", charge(held, 0)), HERE, 0, held)
        await asker.admit("a", charge(held, 1_000))
        asker.now_us += 600 * 1_000_000
        settled = await asker.settle("a", charge(held, 500))
        await asker.settle("other", charge(held, 300))
        await asker.pay("a", settled, HERE, 500, held)
        assert await asker.used(held) == 300


class TestWhatDoesNotHappen:
    async def test_a_request_without_an_answer_pays_nothing(self, asker: Asker) -> None:
        query = Query("m", (), stream=False, max_output_tokens=512, n=1, input_bytes=0, other_tokens=5)
        demand = Demand(query, 512)
        owed = charge(BUDGET, demand.reserve(Unit.NOVELTY)[0])
        assert (await asker.admit("a", owed)).admitted
        assert await asker.used() == 1_000
        await asker.settle("a", *actual_charges([owed], demand, NO_USAGE))
        assert await asker.used() == 0

    async def test_a_request_that_is_taken_back_pays_nothing(self, asker: Asker) -> None:
        owed = charge(BUDGET, 1_000)
        await asker.admit("a", owed)
        assert await asker.store.release(Reservation("a", ALICE, [owed]), now_us=T0)
        assert await asker.used() == 0

    async def test_a_refusal_pays_nothing(self, asker: Asker) -> None:
        narrow = Limit("rpm", Unit.REQUESTS, (Attribute.KEY,), Algorithm.GCRA, (Window(1, DAY, 1),))
        assert not (await asker.admit("a", charge(narrow, 2), charge(BUDGET, 1_000))).admitted
        assert not (await asker.admit("b", charge(budget(999), 1_000))).admitted
        assert await asker.used() == 0

    async def test_only_a_payout_visits_anything(self, asker: Asker) -> None:
        await asker.store.look(ALICE, [charge(BUDGET, 1_000)])
        await asker.admit("a", charge(BUDGET, 1_000))
        await asker.settle("a", charge(BUDGET, 1_000))
        assert await asker.bitmap() == b""

    async def test_an_exempt_holder_is_not_charged(self, asker: Asker) -> None:
        await asker.store.override(ALICE.principal, BUDGET.name, None, None)
        verdict = await asker.admit("a", charge(BUDGET, 1_000))
        assert (verdict.admitted, verdict.charged, verdict.readings) == (True, (), ())


def other(**facts: str) -> Identity:
    """Alice but for some facts."""
    changed = {Attribute(name): value for name, value in facts.items()}
    principal = Holder(Attribute.KEY, changed.get(Attribute.KEY, "alice"))
    return Identity(principal, {**ALICE.attributes, **changed}, vouched_by=VouchedBy.KEYS_FILE)


class TestHolders:
    @pytest.mark.parametrize(
        ("per", "same", "another"),
        [
            ((Attribute.KEY,), other(org="brook"), other(key="bob")),
            ((Attribute.ORG,), other(network="198.51.100.0/24"), other(key="bob")),
            ((Attribute.NETWORK,), other(end_user="ben"), other(key="bob")),
            ((Attribute.END_USER,), other(model="big"), other(end_user="ben")),
            ((Attribute.END_USER,), other(org="brook"), other(key="bob")),
            ((Attribute.ORG, Attribute.MODEL), other(model="big"), other(key="bob")),
            ((Attribute.EVERYTHING,), other(org="brook", network="n"), other(key="bob")),
        ],
    )
    async def test_an_answer_is_new_or_not_to_its_caller_whoever_shares_the_budget(
        self, asker: Asker, per: tuple[Attribute, ...], same: Identity, another: Identity
    ) -> None:
        limit = budget(per=per)
        assert await asker.ask(HERE, limit) == [1_000]
        assert await asker.ask(HERE, limit, identity=same) == [0]
        assert await asker.ask(HERE, limit, identity=another) == [1_000]

    async def test_all_budgets_of_a_request_are_charged_what_is_new_to_its_caller(self, asker: Asker) -> None:
        own, all_, late = (
            budget(name="own"),
            budget(name="all", per=(Attribute.EVERYTHING,)),
            budget(name="l"),
        )
        before = await asker.coverages()
        assert await asker.ask(HERE, own) == [1_000]
        assert await asker.ask(HERE, own, all_, late) == [0, 0, 0]
        assert await asker.ask(THERE, all_) == [1_000]
        assert await asker.ask(THERE, own, late) == [0, 0]
        assert await asker.coverages() - before == 1

    async def test_an_end_users_budget_goes_by_what_is_new_to_the_end_user(self, asker: Asker) -> None:
        caller, user = budget(name="caller"), budget(name="user", per=(Attribute.END_USER,))
        before = await asker.coverages()
        assert await asker.ask(HERE, caller, user) == [1_000, 1_000]
        assert await asker.ask(HERE, caller, user, identity=other(end_user="ben")) == [0, 1_000]
        assert await asker.ask(THERE, user) == [1_000]
        assert await asker.ask(THERE, caller, user) == [1_000, 0]
        assert await asker.coverages() - before == 3

    async def test_a_reset_forgets_where_the_answers_of_a_caller_have_been(self, asker: Asker) -> None:
        all_ = budget(name="all", per=(Attribute.EVERYTHING,))
        await asker.ask(HERE, BUDGET, all_)
        assert await asker.store.reset(ALICE.principal, [BUDGET, all_], ALICE) == 1
        assert (await asker.used(), await asker.used(all_)) == (0, 1_000)
        assert await asker.ask(HERE, BUDGET, all_) == [1_000, 1_000]

    async def test_budgets_stand_among_other_limits(self, asker: Asker) -> None:
        requests = Limit(
            "requests", Unit.REQUESTS, (Attribute.ORG,), Algorithm.SLIDING_WINDOW, (Window(99, DAY, 99),)
        )
        slots = Limit("slots", Unit.CONCURRENCY, (Attribute.KEY,), Algorithm.LEASES, (Window(9, 0, 9),))
        one, two = budget(name="one"), budget(name="two", per=(Attribute.ORG,))
        owed = [charge(requests, 1), charge(one), charge(slots, 1), charge(two)]
        assert (await asker.admit("a", *owed)).admitted
        assert [await asker.used(each) for each in (requests, one, slots, two)] == [1, 1_000, 1, 1_000]
        settled = await asker.settle("a", *owed)
        assert await asker.pay("a", settled, HERE, 600, one, two) == 600
        assert [await asker.used(each) for each in (requests, one, slots, two)] == [1, 600, 0, 600]


class TestInTheShadow:
    async def test_a_budget_that_is_tried_out_counts_what_it_has_room_for(self, asker: Asker) -> None:
        held = budget(1_500)
        owed = charge(held, 1_000, enforced=False)
        verdict = await asker.admit("a", owed)
        assert verdict.charged == (owed,)
        await asker.settle("a", *verdict.charged)
        assert await asker.used(held) == 1_000
        verdict = await asker.admit("b", owed)
        assert (verdict.admitted, verdict.charged) == (True, ())
        assert await asker.used(held) == 1_000


class TestMemory:
    async def test_a_bitmap_is_small_and_never_fills_up_so_that_who_goes_through_a_data_set_goes_on_paying(
        self, asker: Asker
    ) -> None:
        visits, fill = 2_000, 0.0
        for seed in range(6):
            paid = await asker.draw_all(anywhere(seed, visits)) / (6 * visits)
            before, fill = fill, covered(await asker.bitmap())
            assert paid == pytest.approx(1 - (before + fill) / 2, abs=0.03)
            assert fill == pytest.approx((1 - exp(-2 * (seed + 1) * visits / CELLS)) / 2, abs=0.03)
        assert len(await asker.bitmap()) == BITMAP_BYTES

    async def test_the_last_cell_is_in_the_bitmap(self, asker: Asker) -> None:
        await asker.draw_all([CELLS - 1] * 500)
        bitmap = await asker.bitmap()
        assert (len(bitmap), covered(bitmap)) == (BITMAP_BYTES, 1 / CELLS)

    async def test_the_same_requests_forget_the_same_cells_whoever_sends_them(self, redis_url: str) -> None:
        seen = []
        for _ in range(2):
            store = store_at(redis_url, secrets.token_bytes(16))
            asker = Asker(store)
            paid = [await asker.draw_all(anywhere(seed, 100)) for seed in range(30)]
            seen.append((paid, await asker.bitmap()))
            await store.aclose()
        assert seen[0] == seen[1]

    async def test_it_is_kept_for_a_month_after_the_last_visit(self, asker: Asker) -> None:
        await asker.ask(HERE)
        assert 29 * DAY < await asker.bitmap_lives_seconds() <= 30 * DAY

    async def test_other_numbers_forget_nothing(self, asker: Asker) -> None:
        await asker.ask(HERE)
        assert await asker.ask(HERE, budget(5_000)) == [0]

    async def test_what_is_usual_of_a_holder_is_kept_as_long(self, asker: Asker) -> None:
        await asker.ask(HERE, budget(5_000))
        async with asker.store.asking() as client:
            key = asker.store.keys.counts(ALICE.principal, ALICE)
            assert int(await client.ttl(key)) > 30 * DAY


class TestLater:
    async def test_a_mean_that_was_driven_down_lets_a_burst_take_four_times_a_budget_at_most(
        self, asker: Asker
    ) -> None:
        (cell,) = anywhere(1, 1)
        limit = budget(100_000)
        for _ in range(120):
            await asker.ask(cell, limit)
        room = 100_000 - await asker.used(limit)
        capped = charge(limit, 4_000, spare=3_750)
        admitted = [(await asker.admit(f"burst{place}", capped)).admitted for place in range(500)]
        assert room // 4_000 <= sum(admitted) <= room // 1_000

    async def test_a_budget_is_renewed_like_any_reservation(self, asker: Asker) -> None:
        requests = Limit("r", Unit.REQUESTS, (Attribute.KEY,), Algorithm.GCRA, (Window(9, DAY, 9),))
        owed = [charge(BUDGET), charge(requests, 1)]
        await asker.admit("long", *owed)
        assert await asker.store.renew(Reservation("long", ALICE, owed), now_us=T0 + 40_000_000) == 1
        look = [charge(BUDGET, 0)]
        for seconds, used in ((99, 1_000), (100, 0)):
            verdict = await asker.store.admit(Reservation("", ALICE, look), now_us=T0 + seconds * 1_000_000)
            assert BUDGET.windows[0].burst - verdict.readings[0].remaining == used

    async def test_a_debt_is_charged_as_it_is_and_visits_nothing(self, asker: Asker) -> None:
        await asker.ask(HERE)
        debt = Debt("d", BUDGET, ALICE.principal, (700,))
        assert await asker.store.repay(debt, ALICE, now_us=T0)
        assert not await asker.store.repay(debt, ALICE, now_us=T0)
        assert await asker.used() == 1_700
        assert await asker.ask(HERE) == [0]
        assert await asker.ask(THERE) == [1_000]


@pytest.fixture
async def spread() -> AsyncIterator[Asker]:
    """Asks a cluster."""
    with cluster(masters=3) as several:
        url = f"redis+cluster://{','.join(master.address for master in several.masters)}"
        store = store_at(url, secrets.token_bytes(16))
        yield Asker(store)
        await store.aclose()


async def test_on_a_cluster_a_second_try_charges_where_the_first_has_not_come_to(
    spread: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, all_ = budget(name="own"), budget(name="all", per=(Attribute.EVERYTHING,))
    owed = [charge(each, 3_000) for each in (own, all_)]
    settled, pay = await spread.settle("a", *owed), spread.store._pay

    async def torn(part: Part, coverages: tuple[str, ...], *more: Any) -> Any:
        if not coverages:
            raise StoreError("no answer", kind="timeout")
        return await pay(part, coverages, *more)

    monkeypatch.setattr(spread.store, "_pay", torn)
    with pytest.raises(StoreError):
        await spread.pay("a", settled, HERE, 1_500, own, all_)
    monkeypatch.undo()
    assert [await spread.used(each) for each in (own, all_)] == [1_500, 3_000]
    assert await spread.pay("a", settled, HERE, 1_500, own, all_) == 1_500
    assert [await spread.used(each) for each in (own, all_)] == [1_500, 1_500]
    assert await spread.pay("a", settled, HERE, 1_500, own, all_) is None


async def test_on_a_cluster_too_every_budget_is_charged_what_is_new_to_the_caller(spread: Asker) -> None:
    limits = [
        budget(name=str(attribute), per=(attribute,))
        for attribute in (Attribute.KEY, Attribute.ORG, Attribute.NETWORK, Attribute.EVERYTHING)
    ]
    bob = other(key="bob", network="198.51.100.0/24")
    assert await spread.ask(HERE, *limits) == [1_000] * 4
    assert await spread.ask(HERE, *limits) == [0] * 4
    assert await spread.ask(HERE, *limits, identity=bob) == [1_000] * 4
    # Also where none of the budgets lives with the caller.
    assert await spread.ask(THERE, *limits[2:], identity=bob) == [1_000] * 2
    assert await spread.ask(THERE, *limits, identity=bob) == [0] * 4
    assert await spread.ask(THERE, *limits, amount=6_000) == [6_000] * 4
    owed = [charge(each) for each in limits]
    await spread.admit("long", *owed)
    assert await spread.store.renew(Reservation("long", ALICE, owed), now_us=T0) == 4
    debt = Debt("d", limits[1], ALICE.holder(Attribute.ORG), (700,))
    assert await spread.store.repay(debt, ALICE, now_us=T0)
