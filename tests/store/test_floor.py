"""A floor: what each caller has for itself of a limit that several share, so that one cannot starve all."""

from __future__ import annotations

import asyncio
import secrets
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest

from guard.core.calendars import Span
from guard.core.identity import EVERYTHING, Attribute, Holder, Identity
from guard.core.limits import Algorithm, Charge, Limit, Unit, Window
from guard.core.query import NO_USAGE
from guard.store.port import Reservation
from guard.store.redis.keys import Keys

sys.path.insert(0, str(Path(__file__).parent))

from servers import slot_of

if TYPE_CHECKING:
    from guard.store.port import Reservation as Reserved
    from guard.store.port import Verdict
    from guard.store.redis.orders import OperatorStore

T0 = 1_800_000_000_000_000
DAY = 86_400
GREEDY, MODEST, LATE = (
    Identity(Holder(Attribute.KEY, name), {Attribute.KEY: name}) for name in ("greedy", "modest", "late")
)
MANY = [Identity(Holder(Attribute.KEY, f"k{number}"), {}) for number in range(20)]


def limit(algorithm: Algorithm = Algorithm.SLIDING_WINDOW, unit: str = "pages", floor: int = 5) -> Limit:
    leases, calendar = algorithm is Algorithm.LEASES, algorithm is Algorithm.CALENDAR
    window = Window(20, 0 if leases else DAY, 20, Span.DAY if calendar else None)
    return Limit(
        "shared",
        Unit.CONCURRENCY if leases else unit,
        (Attribute.EVERYTHING,),
        algorithm,
        (window,),
        zone=ZoneInfo("UTC") if calendar else None,
        floor=floor,
    )


def request(
    name: str, identity: Identity, shared: Limit, amount: int = 1, spare: int = 0, *, enforced: bool = True
) -> Reserved:
    own = Holder.together((EVERYTHING, identity.principal))
    charges = (
        Charge(shared, EVERYTHING, amount, spare, enforced),
        Charge(shared.for_each(), own, amount, spare, enforced),
        Charge(shared.for_floors(), EVERYTHING, amount, spare, enforced),
    )
    return Reservation(name, identity, charges)


class Asking:
    """Requests at moments of a day, in seconds."""

    def __init__(self, store: OperatorStore, shared: Limit) -> None:
        self.store, self.shared, self.now = store, shared, 0.0

    @property
    def now_us(self) -> int:
        return T0 + int(self.now * 1e6)

    async def ask(self, identity: Identity, amount: int = 1, spare: int = 0) -> tuple[Reserved, Verdict]:
        asked = request(secrets.token_hex(8), identity, self.shared, amount, spare)
        return asked, await self.store.admit(asked, now_us=self.now_us)

    async def admitted(self, identity: Identity, times: int, amount: int = 1) -> int:
        return sum([(await self.ask(identity, amount))[1].admitted for _ in range(times)])

    async def left(self, identity: Identity) -> int:
        verdict = await self.store.admit(request("", identity, self.shared), now_us=self.now_us)
        return verdict.readings[0].remaining

    async def settle(self, asked: Reserved, used: int) -> None:
        owed = [charge._replace(amount=used, spare=0) for charge in asked.charges]
        await self.store.settle(asked._replace(charges=owed), NO_USAGE, now_us=self.now_us)

    async def left_of_all(self) -> int:
        """What is left of what all share, without anybody's floor."""
        alone = Reservation("", GREEDY, (Charge(replace(self.shared, floor=0), EVERYTHING, 0),))
        return (await self.store.admit(alone, now_us=self.now_us)).readings[0].remaining


@pytest.mark.parametrize("algorithm", Algorithm)
async def test_one_that_takes_all_that_is_shared_leaves_each_other_one_its_floor(
    store: OperatorStore, algorithm: Algorithm
) -> None:
    asking = Asking(store, limit(algorithm))
    assert await asking.admitted(GREEDY, 30) == 20
    assert await asking.left(MODEST) == 5
    assert await asking.admitted(MODEST, 9) == 5
    assert await asking.admitted(LATE, 9) == 5
    assert await asking.admitted(GREEDY, 9) == 0
    assert [await asking.left(each) for each in (GREEDY, MODEST, LATE)] == [0, 0, 0]


async def test_what_was_had_of_what_is_shared_is_of_the_floor_too(store: OperatorStore) -> None:
    asking = Asking(store, limit())
    assert await asking.admitted(MODEST, 3) == 3
    assert await asking.admitted(GREEDY, 30) == 17
    assert await asking.left(MODEST) == 2
    assert await asking.admitted(MODEST, 9) == 2


async def test_what_goes_by_floors_makes_no_debt_of_what_is_shared(store: OperatorStore) -> None:
    asking = Asking(store, limit(Algorithm.CALENDAR))
    assert await asking.admitted(GREEDY, 30) == 20
    assert sum([await asking.admitted(each, 9) for each in MANY]) == 20
    asking.now = DAY
    assert await asking.left_of_all() == 20
    assert await asking.admitted(GREEDY, 30) == 20
    assert await asking.admitted(MODEST, 9) == 5


@pytest.mark.parametrize("algorithm", Algorithm)
async def test_all_floors_together_give_as_much_again_as_is_shared(
    store: OperatorStore, algorithm: Algorithm
) -> None:
    asking = Asking(store, limit(algorithm))
    assert await asking.admitted(GREEDY, 30) == 20
    assert [await asking.admitted(each, 9) for each in MANY] == [5, 5, 5, 5, *[0] * 16]
    assert await asking.left(LATE) == 0
    _, verdict = await asking.ask(LATE)
    assert verdict.readings[0].wait_us


async def test_what_goes_by_what_is_shared_is_not_of_all_floors(store: OperatorStore) -> None:
    asking = Asking(store, limit(Algorithm.CALENDAR, Unit.TOKENS))
    assert await asking.admitted(MODEST, 4, amount=5) == 4
    asked, verdict = await asking.ask(LATE, 4)
    assert verdict.admitted
    # An overrun by the floor is of all floors too: 13 of their 20 are used, and 7 are left.
    await asking.settle(asked, 13)
    assert sum([await asking.admitted(each, 9) for each in MANY]) == 7


async def test_a_request_by_the_floor_gives_back_what_it_took_of_all_floors(store: OperatorStore) -> None:
    asking = Asking(store, limit(unit=Unit.TOKENS))
    assert await asking.admitted(GREEDY, 1, amount=20) == 1
    taken = [await asking.ask(each, 5) for each in MANY[:4]]
    assert [verdict.admitted for _, verdict in taken] == [True] * 4
    await asking.settle(taken[0][0], 2)
    assert await store.release(taken[1][0], now_us=asking.now_us)
    assert await asking.admitted(LATE, 9) == 5
    assert await asking.admitted(MODEST, 9) == 3
    asking.now = 61
    # All other reservations have expired: what was settled is left.
    assert await asking.admitted(GREEDY, 1, amount=20) == 1
    assert sum([await asking.admitted(each, 9) for each in MANY]) == 20 - 2


async def test_floors_that_are_used_up_come_back_as_the_limit_does(store: OperatorStore) -> None:
    asking = Asking(store, limit(Algorithm.GCRA))
    await asking.admitted(GREEDY, 1, amount=20)
    assert sum([await asking.admitted(each, 9) for each in MANY]) == 20
    asking.now = DAY / 20
    assert [await asking.admitted(each, 9) for each in (GREEDY, MODEST, LATE)] == [1, 1, 0]


async def test_a_reset_of_what_is_shared_is_one_of_all_floors(store: OperatorStore) -> None:
    asking = Asking(store, limit())
    await asking.admitted(GREEDY, 20)
    assert sum([await asking.admitted(each, 9) for each in MANY]) == 20
    assert await store.reset(EVERYTHING, [asking.shared], Identity(EVERYTHING)) == 1
    assert await asking.left_of_all() == 20
    await asking.admitted(GREEDY, 20)
    assert [await asking.admitted(each, 9) for each in (MODEST, LATE)] == [5, 5]


async def test_other_numbers_of_what_is_shared_are_those_of_all_floors(store: OperatorStore) -> None:
    await store.override(EVERYTHING, "shared", {DAY: (30, 30)}, None)
    asking = Asking(store, limit())
    assert await asking.admitted(GREEDY, 40) == 30
    assert sum([await asking.admitted(each, 9) for each in MANY]) == 30


async def test_a_request_by_the_floor_takes_of_what_is_shared_what_has_room_there(
    store: OperatorStore,
) -> None:
    asking = Asking(store, limit())
    assert await asking.admitted(GREEDY, 1, amount=18) == 1
    assert await asking.admitted(MODEST, 1, amount=4) == 1
    assert (await asking.left_of_all(), await asking.left(MODEST)) == (0, 1)


async def test_an_overrun_by_the_floor_is_the_callers_own_debt(store: OperatorStore) -> None:
    asking = Asking(store, limit(Algorithm.CALENDAR, Unit.TOKENS))
    await asking.admitted(GREEDY, 1, amount=20)
    asked, verdict = await asking.ask(MODEST, 4)
    assert verdict.admitted
    await asking.settle(asked, 8)
    asking.now = DAY
    assert (await asking.left_of_all(), await asking.left(MODEST)) == (20, 20)
    await asking.admitted(GREEDY, 1, amount=20)
    assert (await asking.left(MODEST), await asking.left(LATE)) == (2, 5)


async def test_an_overrun_of_what_is_shared_takes_of_the_floor_what_has_room_there(
    store: OperatorStore,
) -> None:
    asking = Asking(store, limit(Algorithm.CALENDAR, Unit.TOKENS))
    asked, verdict = await asking.ask(GREEDY, 2)
    assert verdict.admitted
    await asking.settle(asked, 50)
    asking.now = DAY
    # 30 are owed of what is shared, and nothing of the floor.
    assert (await asking.left_of_all(), await asking.left(GREEDY)) == (0, 5)


@pytest.mark.parametrize("used", [0, 1, 4])
async def test_what_was_not_used_is_given_back_to_where_it_was_taken(store: OperatorStore, used: int) -> None:
    asking = Asking(store, limit(unit=Unit.TOKENS))
    by_the_shared, _ = await asking.ask(MODEST, 4)
    await asking.settle(by_the_shared, used)
    assert await asking.left_of_all() == 20 - used
    await asking.admitted(GREEDY, 1, amount=20 - used)
    assert await asking.left(MODEST) == 5 - used
    by_the_floor, verdict = await asking.ask(LATE, 4)
    assert verdict.admitted
    await asking.settle(by_the_floor, used)
    assert (await asking.left_of_all(), await asking.left(LATE)) == (0, 5 - used)


async def test_a_request_that_did_not_happen_is_charged_to_neither(store: OperatorStore) -> None:
    asking = Asking(store, limit())
    by_the_shared, _ = await asking.ask(MODEST, 4)
    assert await store.release(by_the_shared, now_us=asking.now_us)
    await asking.admitted(GREEDY, 1, amount=20)
    by_the_floor, _ = await asking.ask(MODEST, 4)
    assert await asking.left(MODEST) == 1
    assert await store.release(by_the_floor, now_us=asking.now_us)
    assert await asking.left(MODEST) == 5


async def test_a_dead_owners_floor_comes_back(store: OperatorStore) -> None:
    asking = Asking(store, limit(unit=Unit.TOKENS))
    await asking.admitted(GREEDY, 1, amount=18)
    await asking.admitted(MODEST, 1, amount=4)
    asking.now = 61
    # The reservation of the greedy one has expired too.
    assert (await asking.left_of_all(), await asking.left(MODEST)) == (20, 20)


async def test_a_refusal_names_the_sooner_of_the_two(store: OperatorStore) -> None:
    asking = Asking(store, limit(Algorithm.GCRA))
    await asking.admitted(GREEDY, 1, amount=20)
    await asking.admitted(MODEST, 5)
    asking.now = 10
    _, verdict = await asking.ask(MODEST)
    # One in 20 of a day of what is shared, one in 5 of a day of the floor.
    assert verdict.readings[0].wait_us == pytest.approx((DAY / 20 - 10) * 1e6, abs=2)
    _, verdict = await asking.ask(MODEST, 21)
    assert verdict.readings[0].wait_us is None


async def test_an_answer_is_as_long_as_what_its_request_goes_by_has_room_for(store: OperatorStore) -> None:
    asking = Asking(store, limit(unit=Unit.TOKENS))
    await asking.admitted(GREEDY, 1, amount=19)
    _, verdict = await asking.ask(MODEST, 40, spare=39)
    assert verdict.admitted
    assert verdict.readings[0].amount == 5


async def test_several_windows_have_a_floor_each(store: OperatorStore) -> None:
    shared = replace(limit(), windows=(Window(8, 60, 8), Window(20, DAY, 20)))
    asking = Asking(store, shared)
    assert await asking.admitted(GREEDY, 9) == 8
    assert await asking.admitted(MODEST, 9) == 5
    asking.now = 3_600
    # What went by the floor found no room in the minute, and so is not of the day's 20 either.
    assert await asking.left_of_all() == 8
    assert await asking.admitted(GREEDY, 9) == 8
    assert (await asking.admitted(MODEST, 9), await asking.admitted(LATE, 9)) == (0, 5)


async def test_however_many_ask_at_once_the_floor_is_exact(store: OperatorStore) -> None:
    asking = Asking(store, limit())
    await asking.admitted(GREEDY, 20)
    verdicts = await asyncio.gather(*(asking.ask(each) for each in [MODEST, LATE] * 50))
    assert [sum(verdict.admitted for _, verdict in verdicts[place::2]) for place in (0, 1)] == [5, 5]
    verdicts = await asyncio.gather(*(asking.ask(each) for each in MANY * 9))
    assert sum(verdict.admitted for _, verdict in verdicts) == 10


async def test_what_is_tried_out_refuses_nobody_and_counts_where_there_is_room(store: OperatorStore) -> None:
    shared = limit()
    for number in range(30):
        asked = request(f"greedy{number}", GREEDY, shared, enforced=False)
        assert (await store.admit(asked, now_us=T0)).admitted
    asking = Asking(store, shared)
    assert (await asking.left_of_all(), await asking.left(MODEST), await asking.left(GREEDY)) == (0, 5, 0)


async def test_an_exemption_from_what_is_shared_is_one_from_both(store: OperatorStore) -> None:
    await store.override(EVERYTHING, "shared", None, None)
    asking = Asking(store, limit())
    assert await asking.admitted(MODEST, 30) == 30
    await store.drop_override(EVERYTHING, "shared")
    assert (await asking.left_of_all(), await asking.left(MODEST)) == (20, 20)


async def commands(store: OperatorStore, *asked: Reserved) -> int:
    """How many commands the server runs for these, inside scripts too."""

    async def run() -> int:
        async with store.asking() as client:
            return sum(each["calls"] for each in (await client.info("commandstats")).values())

    for each in asked:  # with all that the first request of a holder does
        await store.admit(each._replace(id=f"{each.id}-first"), now_us=T0)
    before = await run()
    for each in asked:
        assert (await store.admit(each, now_us=T0)).admitted
    return await run() - before


async def test_all_floors_together_cost_no_command(store: OperatorStore) -> None:
    shared = limit()
    by_the_shared, own = request("a", MODEST, shared), limit(floor=0)
    two_holders = (by_the_shared.charges[0]._replace(limit=own), by_the_shared.charges[1]._replace(limit=own))
    apart = by_the_shared._replace(id="b", charges=two_holders)
    count = await commands(store, apart)
    assert await commands(store, by_the_shared) == count
    await Asking(store, shared).admitted(GREEDY, 30)
    assert await commands(store, request("c", LATE, shared)) == count


async def test_numbers_from_the_store_bound_floors_together_and_those_of_the_settings_each(
    store: OperatorStore,
) -> None:
    assert [window.count for window in limit().with_counts({DAY: (3, 3)}).for_each().windows] == [3]
    await store.override(EVERYTHING, "shared", {DAY: (3, 3)}, None)
    asking = Asking(store, limit())
    assert [await asking.admitted(each, 30) for each in (GREEDY, MODEST, LATE)] == [5, 1, 0]
    await store.override(EVERYTHING, "shared", {DAY: (40, 40)}, None)
    assert await asking.admitted(LATE, 60) >= 30


def test_it_lives_where_the_shared_limit_lives() -> None:
    keys, member = Keys(b"pepper", together=True), Identity(GREEDY.principal, {Attribute.ORG: "acme"})
    for shared in (EVERYTHING, Holder(Attribute.POOL, "p"), Holder(Attribute.ORG, "acme")):
        own = Holder.together((shared, member.principal))
        places = keys.counts(shared, member), keys.counts(own, member, floor=True)
        assert len({slot_of(key) for key in places}) == 1
        assert len(set(places)) == 2
