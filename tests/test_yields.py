"""What callers draw in a day who ask for far more than they get, by the default diversity budgets.

The other limits are left out, which bound what is asked for in a minute.

Amounts are standard new answers, of 512 tokens. Every answer is all new, as an enumeration's are at worst,
but for what falls into visited cells by chance.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from dataclasses import replace
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from guard.admin.reading import LogClock
from guard.analyst.transcript import Copies
from guard.analyst.transcript import Outcome as Read
from guard.core.campaigns import Campaign, Member, Verdict
from guard.core.evidence import Evidence, Mark
from guard.core.identity import Attribute, Holder, Identity, VouchedBy
from guard.core.limits import Unit
from guard.core.novelty import CELLS, Payout, Piece, draw
from guard.core.query import Query, Usage
from guard.core.signals import Signal
from guard.detection.payout import MOST_PIECES
from guard.engine.engine import Engine
from guard.settings.tiers import TierSettings, default_tiers
from guard.store.memory.store import MemoryStore
from guard.store.redis.keys import Keys
from guard.store.redis.orders import OperatorStore
from guard.store.transport.nodes import nodes_at
from guard.store.transport.url import RedisURL

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from guard import Settings
    from guard.analyst.transcript import Transcript
    from guard.engine.admission import Admission

T0 = 1_800_000_000_000_000
DAY_US = 86_400_000_000
QUERY = Query("m", (), stream=False, max_output_tokens=None, n=1, input_bytes=40, other_tokens=0)
COPIES = Copies("openai.chat", "/v1/chat/completions", None, b"{}", b"{}", "application/json", ())
HIGH = {Signal.ENUMERATION: Mark(60.0, T0, T0 - DAY_US)}
"""So sure that it is `high` for days, though nothing is added."""


class DatedStore(OperatorStore):
    """A store on Redis that goes by a clock of the test."""

    clock: LogClock

    async def admit(self, *args: Any, **more: Any) -> Any:
        return await super().admit(*args, **more, now_us=self.clock.date_us())

    async def settle(self, *args: Any, **more: Any) -> Any:
        return await super().settle(*args, **more, now_us=self.clock.date_us())

    async def pay(self, *args: Any, **more: Any) -> Any:
        return await super().pay(*args, **more, now_us=self.clock.date_us())


class AllNew:
    """Reads answers, of which no piece is like another: each falls into any cell."""

    def __init__(self, store: MemoryStore | OperatorStore) -> None:
        self._store = store
        self._chance = Random(1)
        self._tasks: set[asyncio.Task[None]] = set()

    def hand_over(self, transcript: Transcript, done: Callable[[Read], None]) -> None:
        task = asyncio.create_task(self._pay(transcript, done))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _pay(self, transcript: Transcript, done: Callable[[Read], None]) -> None:
        tokens = transcript.usage.output_tokens
        count = min(MOST_PIECES, tokens // 64)
        pieces = [Piece(draw(tokens) // count, 0, self._chance.randrange(CELLS)) for _ in range(count)]
        payout, reservation = Payout(tuple(pieces), 0, 1), transcript.reservation
        done(Read(True, await self._store.pay(reservation, transcript.receipts, payout)))


class Place:
    """An engine with the default limits, and what its callers have drawn."""

    def __init__(
        self, settings: Settings, store: MemoryStore | OperatorStore, keys: Keys, clock: LogClock
    ) -> None:
        self.store, self.clock, self.drawn = store, clock, Counter[Holder]()
        clock.now_us = T0
        self.engine = Engine(settings.policy(), store, keys, (), clock=clock, reader=AllNew(store))
        self._asked = 0

    async def ask(self, caller: Identity, tokens: int) -> None:
        """Ask for one answer of so many tokens."""
        admission = await self.begin(caller)
        if admission is not None:
            await self.end(admission, caller, tokens)

    async def begin(self, caller: Identity, cap: int | None = None) -> Admission | None:
        """Ask for one answer of so many tokens at most; `None` where that is refused."""
        self._asked += 1
        query = QUERY._replace(max_output_tokens=cap)
        admission = await self.engine.admit(f"r{self._asked}", caller, query, "/v1/chat/completions")
        if not admission.refused:
            return admission
        self.engine.refuse(admission, 429)
        return None

    async def end(self, admission: Admission, caller: Identity, tokens: int) -> None:
        """Let the answer have so many."""
        await self.engine.conclude(admission, Usage(10, tokens), 200, COPIES)
        self.drawn[caller.principal] += draw(tokens)

    async def day(self, callers: Sequence[Identity], each: int, tokens: int = 512) -> float:
        """What they draw together in the next day, in which each asks so often."""
        before, began_us = self.drawn.total(), self.clock.now_us
        for number in range(each):
            self.clock.now_us = began_us + number * DAY_US // each
            for caller in callers:
                await self.ask(caller, tokens)
        self.clock.now_us = began_us + DAY_US
        return (self.drawn.total() - before) / 1_000


@pytest.fixture(params=["memory", "redis"])
async def place(
    request: pytest.FixtureRequest, make_settings: Callable[..., Settings], redis_url: str
) -> Any:
    """On a store in memory, and on a real one."""
    clock, keys = LogClock(), Keys(secrets.token_bytes(16))
    limits = [limit for limit in default_tiers()["default"].limits if limit.unit == Unit.NOVELTY]
    settings = make_settings(tiers={"default": TierSettings(limits=tuple(limits))})
    if request.param == "memory":
        yield Place(settings, MemoryStore(clock.date_us, keys=keys), keys, clock)
        return
    nodes = partial(nodes_at, RedisURL.parse(redis_url), 20)
    store = DatedStore(keys, nodes, deadline_seconds=20)
    store.clock = clock
    yield Place(settings, store, keys, clock)
    await store.aclose()


def stranger(number: int, pool: int) -> Identity:
    """A key that nobody vouches for, at an address of its own."""
    name = f"k{number}"
    return Identity(
        Holder(Attribute.KEY, name),
        {
            Attribute.KEY: name,
            Attribute.IP: f"ip{number}",
            Attribute.NETWORK: f"n{number}",
            Attribute.POOL: f"p{pool}",
        },
    )


ONE = stranger(0, 0)


@pytest.mark.parametrize("tokens", [128, 512, 2048])
async def test_one_new_key_draws_half_of_a_day_s_budget_and_not_more_than_200(
    place: Place, tokens: int
) -> None:
    drawn = await place.day([ONE], 200 * 512 // tokens, tokens)
    assert 95 <= drawn <= 115


async def test_what_chance_spares_is_paid_by_what_is_new_also_after_days(place: Place) -> None:
    known = replace(stranger(0, 0), vouched_by=VouchedBy.KEYS_FILE)
    drawn = [await place.day([known], 600) for _ in range(4)]
    assert 195 <= min(drawn) <= max(drawn) <= 1.15 * 200


@pytest.mark.parametrize("cap", [512, 2_048, 8_192])
async def test_what_one_new_key_has_in_flight_is_within_a_day_s_budget_and_one_answer(
    place: Place, cap: int
) -> None:
    first = await place.begin(ONE, cap)
    assert first is not None
    chance, under_way = Random(2), [first]
    for turn in range(400):
        if (admission := await place.begin(ONE, cap)) is not None:
            under_way.append(admission)
        if turn > 200 and under_way:
            await place.end(under_way.pop(chance.randrange(len(under_way))), ONE, cap)
    for admission in under_way:
        await place.end(admission, ONE, cap)
    assert place.drawn.total() <= 1.05 * 100_000 + draw(cap)


async def test_one_that_was_read_often_enough_has_four_times_a_day_s_budget_in_flight_at_most(
    place: Place,
) -> None:
    for _ in range(16):
        await place.ask(ONE, 1)
    admissions = [await place.begin(ONE, 8_192) for _ in range(200)]
    for admission in admissions:
        if admission is not None:
            await place.end(admission, ONE, 8_192)
    assert 100_000 <= place.drawn.total() <= 4 * 100_000 + draw(8_192)


@pytest.mark.parametrize(("answers", "at_once"), [(0, 6), (16, 24)])
async def test_a_large_cap_leaves_an_honest_caller_several_calls_at_once(
    place: Place, answers: int, at_once: int
) -> None:
    for _ in range(answers):
        await place.ask(ONE, 1)
    admissions = [await place.begin(ONE, 131_072) for _ in range(at_once)]
    assert None not in admissions


async def test_ten_new_keys_that_ask_much_at_once_draw_twice_what_they_share_at_most(place: Place) -> None:
    callers = [stranger(number, number) for number in range(10)]
    begun = [(each, await place.begin(each, 8_192)) for each in callers * 100]
    for caller, admission in begun:
        if admission is not None:
            await place.end(admission, caller, 8_192)
    assert place.drawn.total() <= 1.05 * 2 * 400_000 + draw(8_192)


async def test_one_that_is_high_draws_a_trickle(place: Place) -> None:
    await place.store.learn(ONE.principal, ONE, Evidence(0, b"", HIGH))
    assert 1 <= await place.day([ONE], 200) <= 30


async def test_one_that_becomes_high_draws_a_trickle_from_then_on(place: Place) -> None:
    assert await place.day([ONE], 200) > 95
    await place.store.learn(ONE.principal, ONE, Evidence(0, b"", HIGH))
    assert await place.day([ONE], 200) <= 30
    assert 1 <= await place.day([ONE], 200) <= 30


async def test_a_hundred_new_keys_with_an_address_each_draw_ten_times_what_one_draws_at_most(
    place: Place,
) -> None:
    callers = [stranger(number, number) for number in range(100)]
    drawn = await place.day(callers, 20)
    assert 400 <= drawn <= 1_000
    assert min(place.drawn[caller.principal] for caller in callers) >= 4_000


async def test_a_thousand_new_keys_with_an_address_each_draw_twice_what_they_share_at_most(
    place: Place,
) -> None:
    callers = [stranger(number, number) for number in range(1_000)]
    assert 400 <= await place.day(callers, 3) <= 2 * 400 + 1
    for caller in callers[:200]:
        for _ in range(5):
            await place.ask(caller, 512)
    assert place.drawn.total() <= 1_000 * (2 * 400 + 1)


@pytest.mark.parametrize("accounts", [4, 20, 100])
async def test_keys_of_one_network_draw_together_what_their_pool_holds(place: Place, accounts: int) -> None:
    drawn = await place.day([stranger(number, 0) for number in range(accounts)], 800 // accounts)
    assert 190 <= drawn <= 1.05 * 200 + 1


@pytest.mark.parametrize(("strength", "least", "most"), [(1.0, 95, 110), (0.5, 900, 1_100)])
async def test_accounts_of_a_campaign_draw_together_what_its_pools_hold(
    place: Place, strength: float, least: float, most: float
) -> None:
    callers = [replace(stranger(number, number), vouched_by=VouchedBy.KEYS_FILE) for number in range(100)]
    members = {str(each.principal): Member(T0, 1.0) for each in callers}
    campaign = Campaign("c1", T0, T0, Verdict.LIKELY, 20.0, strength, members)
    await place.store.keep_campaigns([campaign], [], T0)
    await place.engine.watch()
    assert least <= await place.day(callers, 20) <= most


async def test_what_others_were_answered_makes_nothing_cheaper(place: Place) -> None:
    """Not even a pool in which everything was said."""
    for number in range(3):
        await place.day([stranger(100 + number, 0)], 300)
    assert 190 <= await place.day([stranger(number, 0) for number in range(20)], 40) <= 1.05 * 200 + 1


async def test_one_that_has_been_there_for_two_weeks_is_not_refused_for_the_sake_of_new_ones(
    place: Place,
) -> None:
    for _ in range(15):
        await place.day([ONE], 4)
    before, others = place.drawn[ONE.principal], [stranger(number, number) for number in range(1, 6)]
    await place.day([ONE, *others], 120)
    assert sum(place.drawn[other.principal] for other in others) >= 400_000
    assert place.drawn[ONE.principal] - before == 120_000
