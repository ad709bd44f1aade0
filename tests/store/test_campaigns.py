"""Campaigns as stores keep them: one on Redis, one on a cluster, one in memory."""

from __future__ import annotations

import asyncio
import json
import math
import secrets
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from guard.core.campaigns import (
    Campaign,
    Event,
    Finding,
    Judged,
    Lag,
    Member,
    Membership,
    Tie,
    TieKind,
    Verdict,
)
from guard.core.evidence import Evidence, Mark
from guard.core.identity import Attribute, Holder, Identity, VouchedBy
from guard.core.signals import Signal
from guard.errors import DAMAGED, StoreError, UnknownCampaignError, UnknownHolderError
from guard.store.memory.store import MemoryStore
from guard.store.port import CAMPAIGN_SECONDS, FIRST_TRACE
from guard.store.redis.keys import CAMPAIGNS, LEAD, POOLS, READ, TRACES, WORDS, Keys
from guard.store.redis.orders import OperatorStore

sys.path.insert(0, str(Path(__file__).parent))

from admitting import store_at
from servers import cluster, standalone

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

Kept = OperatorStore | MemoryStore

PEPPER = secrets.token_bytes(16)
NAMES = tuple("abcdefgh")
LABELS = tuple(f"key:{name}" for name in NAMES)
DAY_US = 86_400_000_000
ALICE = Identity(Holder(Attribute.KEY, "alice"), {}, VouchedBy.KEYS_FILE)


def now() -> int:
    return time.time_ns() // 1000


def campaign(
    name: str = "c1", labels: tuple[str, ...] = LABELS, strength: float = 1.0, **more: object
) -> Campaign:
    members = {label: Member(now(), 0.75) for label in labels}
    known = Campaign(name, now(), now(), Verdict.LIKELY, 23.5, strength, members)
    return replace(known, **more)  # type: ignore[arg-type]


WHOLE = campaign(
    ties=(Tie(TieKind.PAYMENT, "ab" * 16, 8, 30.0), Tie(TieKind.SLICES, "", 3, 4.25)),
    speaks_for=(Finding("they ask for parts of one set", 12.0),),
    speaks_against=(Finding("one of them is years old"),),
    not_seen=("a shared network",),
    queries=4_000,
    paid=812.5,
    cleared=frozenset({"key:z"}),
    events=(Event(5, "it began"),),
)


def word(verdict: Verdict, until_us: int | None = None) -> Judged:
    return Judged(verdict, "ann", "I asked them", now(), until_us)


def digest(label: str) -> str:
    return Keys(PEPPER).digest(Holder.parse(label))


async def pools(store: Kept) -> dict[str, str]:
    """The pool of each member, by its label."""
    membership = await store.membership(-1)
    assert membership is not None
    names = {digest(label): label for label in LABELS}
    return {names[each]: pool for each, pool in membership.pools.items()}


@pytest.fixture(scope="module")
def several() -> Iterator[str]:
    with cluster(masters=3) as found:
        yield f"redis+cluster://{','.join(master.address for master in found.masters)}"


@pytest.fixture(scope="module")
def single() -> Iterator[str]:
    with standalone() as server:
        yield f"unix://{server.socket}"


@pytest.fixture(params=["redis", "cluster", "memory"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Kept]:
    if request.param == "memory":
        yield MemoryStore(now, keys=Keys(PEPPER))
        return
    url = request.getfixturevalue("several" if request.param == "cluster" else "single")
    found = store_at(url, PEPPER)
    async with found.asking() as client:
        await client.flushall()
    yield found
    await found.aclose()


@pytest.fixture
async def redis(single: str) -> AsyncIterator[OperatorStore]:
    found = store_at(single, PEPPER)
    async with found.asking() as client:
        await client.flushall()
    yield found
    await found.aclose()


async def test_a_campaign_comes_back_as_it_was_written(store: Kept) -> None:
    assert await store.campaigns() == []
    assert await store.campaign("c1") is None
    await store.keep_campaigns([campaign("c2"), WHOLE], [], now())
    assert [each.id for each in await store.campaigns()] == ["c1", "c2"]
    assert await store.campaign("c1") == WHOLE


async def test_members_are_spread_over_the_pools_that_their_ties_leave(store: Kept) -> None:
    await store.keep_campaigns([campaign()], [], now())
    assert await pools(store) == dict.fromkeys(LABELS, "c1")
    await store.keep_campaigns([campaign(strength=0.5)], [], now())
    assert await pools(store) == {label: f"c1.{int(digest(label)[:8], 16) % 3}" for label in LABELS}
    await store.keep_campaigns([campaign(found=Verdict.STALE)], [], now())
    assert await pools(store) == {}


async def test_a_member_of_several_campaigns_is_in_that_with_the_fewest_pools(store: Kept) -> None:
    loose, tight = campaign("z", strength=0.0), campaign("a", LABELS[:2])
    await store.keep_campaigns([loose, tight], [], now())
    found = await pools(store)
    assert {found[label] for label in LABELS[:2]} == {"a"}
    assert all(found[label].startswith("z.") for label in LABELS[2:])
    await store.keep_campaigns([], ["a"], now())
    assert all(pool.startswith("z.") for pool in (await pools(store)).values())


async def test_the_pools_come_once_for_each_version(store: Kept) -> None:
    assert await store.membership(0) is None
    assert (await store.control()).campaigns == 0
    await store.keep_campaigns([campaign()], [], now())
    version = (await store.control()).campaigns
    assert version
    known = await store.membership(0)
    assert known is not None
    assert known.version == version
    assert await store.membership(version) is None
    await store.judge("c1", word(Verdict.UNRELATED))
    later = await store.membership(version)
    assert later is not None
    assert (later.version > version, dict(later.pools)) == (True, {})


async def test_what_a_person_says_outranks_what_guard_finds_and_stays(store: Kept) -> None:
    await store.keep_campaigns([campaign(strength=0.0)], [], now())
    seen = await store.campaign("c1")
    assert seen is not None
    said = word(Verdict.CONFIRMED)
    await store.judge("c1", said)
    assert set((await pools(store)).values()) == {"c1"}
    # Found before the word, and written after it.
    await store.keep_campaigns([replace(seen, queries=9)], [], now())
    after = await store.campaign("c1")
    assert after is not None
    assert (after.judged, after.queries) == (said, 9)
    await store.judge("c1", None)
    after = await store.campaign("c1")
    assert after is not None
    assert after.judged is None
    assert len(set((await pools(store)).values())) > 1


async def test_a_word_that_is_over_leaves_the_pools_with_the_next_writing(store: Kept) -> None:
    await store.keep_campaigns([campaign()], [], now())
    await store.judge("c1", word(Verdict.UNLIKELY, now() + DAY_US))
    assert await pools(store) == {}
    await store.keep_campaigns([], [], now() + 2 * DAY_US)
    assert set(await pools(store)) == set(LABELS)


async def test_who_was_cleared_never_comes_back(store: Kept) -> None:
    seen = campaign()
    await store.keep_campaigns([seen], [], now())
    await store.clear("c1", LABELS[0])
    await store.clear("c1", LABELS[0])
    await store.keep_campaigns([seen], [], now())
    found = await store.campaign("c1")
    assert found is not None
    assert set(found.members) == set(LABELS[1:])
    assert set(await pools(store)) == set(LABELS[1:])
    # Nor under another id, since who gives it one takes the cleared along.
    await store.keep_campaigns([replace(seen, id="c2", cleared=found.cleared)], ["c1"], now())
    assert set(await pools(store)) == set(LABELS[1:])


async def test_one_that_a_person_has_judged_is_not_dropped_while_that_holds(store: Kept) -> None:
    await store.keep_campaigns([campaign()], [], now())
    await store.judge("c1", word(Verdict.CONFIRMED, now() + DAY_US))
    await store.keep_campaigns([], ["c1", "no_such"], now())
    assert set(await pools(store)) == set(LABELS)
    await store.keep_campaigns([], ["c1"], now() + 2 * DAY_US)
    assert await store.campaigns() == []
    assert await pools(store) == {}


async def test_what_people_do_stands_among_the_events_once(store: Kept) -> None:
    found = campaign(events=(Event(5, "it began"), Event(now() + DAY_US, "it goes on")))
    await store.keep_campaigns([found], [], now())
    said, cleared = Event(now(), "ann says confirmed"), Event(now() + 1, "ann takes key:a out")
    await store.judge("c1", word(Verdict.CONFIRMED), said)
    await store.clear("c1", LABELS[0], cleared)
    known = await store.campaign("c1")
    assert known is not None
    assert known.events == (found.events[0], said, cleared, found.events[1])
    await store.keep_campaigns([known], [], now())
    again = await store.campaign("c1")
    assert again is not None
    assert again.events == known.events


async def test_what_is_said_of_nobody_is_an_error(store: Kept) -> None:
    with pytest.raises(UnknownCampaignError, match="there is no campaign c1"):
        await store.judge("c1", word(Verdict.CONFIRMED))
    with pytest.raises(UnknownCampaignError, match="there is no campaign c1"):
        await store.clear("c1", LABELS[0])
    await store.keep_campaigns([campaign()], [], now())
    with pytest.raises(UnknownHolderError, match="key:nobody is no member of campaign c1"):
        await store.clear("c1", "key:nobody")


async def test_a_campaign_of_which_nobody_writes_for_ninety_days_goes(store: Kept) -> None:
    life_us = CAMPAIGN_SECONDS * 1_000_000
    await store.keep_campaigns(
        [campaign("old"), campaign("told"), campaign("new")], [], now() - life_us - DAY_US
    )
    await store.keep_campaigns([campaign("told"), campaign("new")], [], now() - life_us - DAY_US)
    assert len(await store.campaigns()) == 3
    await store.judge("told", word(Verdict.CONFIRMED))
    assert [each.id for each in await store.campaigns()] == ["told"]


async def test_what_two_write_at_the_same_time_is_all_kept(store: Kept) -> None:
    await store.keep_campaigns([campaign(f"c{number}") for number in range(4)], [], now())
    said = word(Verdict.CONFIRMED)
    await asyncio.gather(
        *(store.judge(f"c{number}", said) for number in range(4)),
        store.clear("c1", LABELS[0]),
        store.clear("c1", LABELS[1]),
        store.keep_campaigns([campaign("c1", queries=7)], [], now()),
        store.keep_campaigns([campaign("new")], [], now()),
    )
    found = {each.id: each for each in await store.campaigns()}
    assert [found[f"c{number}"].judged for number in range(4)] == [said] * 4
    assert found["c1"].queries == 7
    assert set(found["c1"].members) == set(LABELS[2:])
    assert "new" in found


async def test_evidence_of_others_is_added_and_the_profile_stays(store: Kept) -> None:
    moment, day = now() // 1_000_000 * 1_000_000, DAY_US
    mark = Mark(20.0, moment, moment)
    await store.learn(ALICE.principal, ALICE, Evidence(0, b"profile", {Signal.GRADING: mark}))
    assert await store.accuse(ALICE.principal, ALICE, {Signal.CAMPAIGN: 25.0}, moment, day)
    # A fresh look, by who has learnt nothing of it.
    known = (await store.learn(ALICE.principal, ALICE, Evidence())).evidence
    assert known.profile == b"profile"
    assert known.marks == {Signal.GRADING: mark, Signal.CAMPAIGN: Mark(25.0, moment, moment)}
    assert await store.accuse(ALICE.principal, ALICE, {Signal.CAMPAIGN: 20.0}, moment, day)
    assert (await store.learn(ALICE.principal, ALICE, Evidence())).evidence == known


async def test_two_who_accuse_at_the_same_time_are_both_heard(store: Kept) -> None:
    signals = [Signal.CAMPAIGN, Signal.LINEAGE, Signal.GRADING, Signal.SWEEP]
    added = await asyncio.gather(
        *(store.accuse(ALICE.principal, ALICE, {signal: 20.0}, now(), DAY_US) for signal in signals)
    )
    assert all(added)
    known = (await store.learn(ALICE.principal, ALICE, Evidence())).evidence
    assert set(known.marks) == set(signals)


async def test_one_process_leads_until_it_resigns(store: Kept) -> None:
    assert not await store.is_led()
    assert await store.lead("a", 600)
    assert await store.is_led()
    assert not await store.lead("b", 600)
    assert await store.lead("a", 600)
    await store.resign("b")
    assert not await store.lead("b", 600)
    await store.resign("a")
    assert not await store.is_led()
    assert await store.lead("b", 600)


async def test_a_lead_that_nobody_renews_is_free() -> None:
    moment = [0]
    store = MemoryStore(lambda: moment[0])
    assert await store.lead("a", 2)
    moment[0] = 1_999_999
    assert not await store.lead("b", 2)
    moment[0] = 2_000_000
    assert await store.lead("b", 2)


async def test_a_lead_expires(redis: OperatorStore) -> None:
    assert await redis.lead("a", 600)
    async with redis.asking() as client:
        assert 0 < await client.pttl(LEAD) <= 600_000


async def test_traces_are_read_on_from_where_the_last_reading_ended(store: Kept) -> None:
    assert await store.traces(FIRST_TRACE, 10) == []
    await store.observe([])
    await store.observe([b"1", b"2"])
    await store.observe([b"3"])
    first = await store.traces(FIRST_TRACE, 2)
    assert [record for _, record in first] == [b"1", b"2"]
    ((last, record),) = await store.traces(first[-1][0], 10)
    assert record == b"3"
    assert await store.traces(last, 10) == []


async def test_who_leads_lags_by_what_it_has_not_read(store: Kept) -> None:
    assert await store.lag() == Lag()
    assert await store.lead("a", 600)
    await store.observe([b"1", b"2", b"3"])
    assert (await store.lag()).queries == 3
    names = [name for name, _ in await store.traces(FIRST_TRACE, 10)]
    assert await store.lead("a", 600, names[0])
    assert not await store.lead("b", 600, names[2])
    assert await store.lead("a", 600)
    assert (await store.lag()).queries == 2
    await store.resign("a")
    assert (await store.lag()).queries == 2
    assert await store.lead("b", 600, names[2])
    assert await store.lag() == Lag()
    assert await store.lead("b", 600, names[1])  # it reads all of it again
    assert await store.lag() == Lag()


async def test_a_lag_is_as_long_as_the_oldest_has_waited() -> None:
    moment = [0]
    store = MemoryStore(lambda: moment[0])
    await store.observe([b"1"])
    moment[0] = 59_000_000
    await store.observe([b"2"])
    assert await store.lag() == Lag(2, 59.0)
    assert not (await store.lag()).late
    moment[0] = 60_000_000
    assert (await store.lag()).late
    await store.lead("a", 600, "1")
    assert await store.lag() == Lag(1, 1.0)


async def test_a_lag_is_measured_by_the_clock_of_redis(redis: OperatorStore) -> None:
    async with redis.asking() as client:
        hour_ago_ms = now() // 1_000 - 3_600_000
        await client.xadd(TRACES, {"trace": b"1", "at": hour_ago_ms}, "7-1")
        await client.xadd(TRACES, {"trace": b"2", "at": now() // 1_000}, "7-2")
        assert 3_600 <= (await redis.lag()).seconds < 7_200
        assert await redis.lead("a", 600, "7-1")
        assert 0 <= (await redis.lag()).seconds < 3_600
        await client.set(READ, "nonsense")
        assert (await redis.lag()).queries == 2


@pytest.mark.parametrize("kind", ["redis", "memory"])
async def test_of_many_traces_the_latest_are_kept(kind: str, single: str) -> None:
    store: Kept = MemoryStore(now) if kind == "memory" else store_at(single, PEPPER)
    if isinstance(store, OperatorStore):
        async with store.asking() as client:
            await client.flushall()
    store.most_traces = 100
    await store.observe([str(number).encode() for number in range(1_000)])
    kept = await store.traces(FIRST_TRACE, 1_000)
    assert 100 <= len(kept) <= 300  # Redis drops whole nodes of a stream
    assert kept[-1][1] == b"999"
    first = kept[0][0]
    assert (await store.lag()).queries == len(kept)
    await store.lead("a", 600, first)
    assert (await store.lag()).queries == len(kept) - 1
    if isinstance(store, OperatorStore):
        await store.aclose()


async def test_no_name_of_a_trace_comes_again_after_all_was_lost(redis: OperatorStore) -> None:
    await redis.observe([b"1", b"2"])
    last = (await redis.traces(FIRST_TRACE, 10))[-1][0]
    await redis.lead("a", 600, last)
    async with redis.asking() as client:
        began = int(last.partition("-")[0])
        await client.delete(TRACES)
    while now() // 1_000 == began:
        pass
    await redis.observe([b"3"])
    assert [record for _, record in await redis.traces(last, 10)] == [b"3"]
    assert (await redis.lag()).queries == 1


async def test_every_key_has_an_expiry_and_names_nobody_in_a_key(redis: OperatorStore) -> None:
    await redis.keep_campaigns([campaign()], [], now())
    await redis.judge("c1", word(Verdict.CONFIRMED))
    await redis.observe([b"1"])
    await redis.lead("a", 600, "7-1")
    async with redis.asking() as client:
        keys = [key async for key in client.scan_iter()]
        assert {CAMPAIGNS, WORDS, POOLS, LEAD, READ, TRACES} == set(map(bytes.decode, keys))
        assert all([await client.pttl(key) > 0 for key in keys])
        assert await client.ttl(CAMPAIGNS) > CAMPAIGN_SECONDS - 600


async def test_what_was_acknowledged_is_there_whole_after_a_crash(tmp_path: Path) -> None:
    with standalone(appendonly="yes", appendfsync="always") as server:
        store = store_at(f"unix://{server.socket}", PEPPER)
        await store.keep_campaigns([WHOLE], [], now())
        await store.judge("c1", word(Verdict.CONFIRMED))
        known, membership = await store.campaigns(), await store.membership(0)
        await store.aclose()
        server.restart()
        store = store_at(f"unix://{server.socket}", PEPPER)
        assert await store.campaigns() == known
        assert await store.membership(0) == membership
        await store.aclose()


async def test_a_campaign_whose_members_are_none_is_not_written(redis: OperatorStore) -> None:
    with pytest.raises(ValueError, match="not a holder"):
        await redis.keep_campaigns([campaign(labels=("nobody",))], [], now())
    assert await redis.campaigns() == []


@pytest.mark.parametrize("name", ["", "c1.3"])
def test_an_id_that_would_be_a_pools_is_none(name: str) -> None:
    with pytest.raises(ValueError, match="has no dot"):
        campaign(name)


async def written(store: OperatorStore) -> None:
    """Something is written to each hash."""
    await store.keep_campaigns([campaign()], [], now())
    await store.judge("c1", word(Verdict.CONFIRMED))


class TestDamage:
    @pytest.mark.parametrize(
        "text",
        [
            pytest.param(b"\xff", id="no JSON"),
            pytest.param(b"[]", id="no object"),
            pytest.param(b'{"version":2}', id="another version"),
            pytest.param(b'{"version":1}', id="nothing in it"),
        ],
    )
    async def test_one_that_cannot_be_read_is_named_and_left_as_it_is(
        self, redis: OperatorStore, text: bytes
    ) -> None:
        await redis.keep_campaigns([campaign(), campaign("c2", LABELS[:1])], [], now())
        await redis.judge("c1", word(Verdict.CONFIRMED))
        async with redis.asking() as client:
            await client.hset(CAMPAIGNS, "c2", text)
            await client.hset(WORDS, "c1", text)
        assert [each.id for each in await redis.campaigns()] == ["c1"]
        assert set(redis.damaged) == {"the campaign c2", "what was said of the campaign c1"}
        await redis.keep_campaigns([campaign(queries=3)], [], now())
        async with redis.asking() as client:
            assert await client.hget(CAMPAIGNS, "c2") == text

    @pytest.mark.parametrize("moment", [-1, 10**18, 10**30])
    async def test_a_moment_that_no_calendar_has_is_damage(self, redis: OperatorStore, moment: int) -> None:
        await redis.keep_campaigns([campaign()], [], now())
        async with redis.asking() as client:
            text = json.loads((await client.hget(CAMPAIGNS, "c1")) or b"")
            await client.hset(CAMPAIGNS, "c1", json.dumps({**text, "since": moment}))
        assert await redis.campaigns() == []
        assert f"{moment} is no moment" in redis.damaged["the campaign c1"]

    @pytest.mark.parametrize(
        "field",
        [
            {"decibans": math.nan},
            {"strength": math.inf},
            {"paid": "nan"},
            {"ties": [["payment", "", 2, math.nan]]},
            {"speaks_for": [["a reason", -math.inf]]},
            {"members": {"key:a": [1, math.nan]}},
        ],
    )
    async def test_a_number_that_json_has_not_is_damage(
        self, redis: OperatorStore, field: dict[str, Any]
    ) -> None:
        await redis.keep_campaigns([campaign()], [], now())
        async with redis.asking() as client:
            text = json.loads((await client.hget(CAMPAIGNS, "c1")) or b"")
            await client.hset(CAMPAIGNS, "c1", json.dumps({**text, **field}))
        assert await redis.campaigns() == []
        assert "is no number" in redis.damaged["the campaign c1"]

    @pytest.mark.parametrize("text", [b"\xff", b"[]", b'{"a":1}'])
    async def test_pools_that_cannot_be_read_are_none_and_mended_with_the_next_writing(
        self, redis: OperatorStore, text: bytes
    ) -> None:
        await redis.keep_campaigns([campaign()], [], now())
        async with redis.asking() as client:
            await client.hset(POOLS, "pools", text)
        assert await pools(redis) == {}
        assert set(redis.damaged) == {"the pools of campaigns"}
        await redis.keep_campaigns([], [], now())
        assert set(await pools(redis)) == set(LABELS)

    async def test_a_version_that_is_none_is_written_anew(self, redis: OperatorStore) -> None:
        async with redis.asking() as client:
            await client.hset(POOLS, "version", "x")
        assert (await redis.control()).campaigns == 0
        await redis.keep_campaigns([campaign()], [], now())
        assert (await redis.control()).campaigns > 0

    @pytest.mark.parametrize("key", [TRACES, READ])
    async def test_a_lag_that_cannot_be_measured_is_named(self, redis: OperatorStore, key: str) -> None:
        await redis.observe([b"1"])
        async with redis.asking() as client:
            await client.delete(key)
            await client.hset(key, "x", "x")
        assert await redis.lag() == Lag()
        assert set(redis.damaged) == {"what campaigns are found by"}

    @pytest.mark.parametrize("key", [CAMPAIGNS, WORDS, POOLS])
    async def test_a_key_of_another_type_is_named_and_fails_no_reading(
        self, redis: OperatorStore, key: str
    ) -> None:
        async with redis.asking() as client:
            await client.set(key, "x")
        assert (await redis.control()).campaigns == 0
        assert await redis.campaigns() == []
        assert (await redis.membership(1)) == Membership()
        with pytest.raises(StoreError) as raised:
            await written(redis)
        assert raised.value.kind == DAMAGED
