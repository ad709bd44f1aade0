"""Campaigns on the path of a request: who is held as one, from the store to the decision."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fakes import FlakyStore, Guarded, Heard, call
from patience import PATIENCE_SECONDS, eventually

from guard.admin import Operator
from guard.core.campaigns import Campaign, Judged, Member, Verdict
from guard.core.decision import Action, Reason
from guard.core.detection import Detection
from guard.core.globs import GlobTable
from guard.core.identity import Attribute, Holder, Identity, VouchedBy
from guard.core.limits import Algorithm, Limit, Unit, Window
from guard.core.modes import ENFORCED, Mode, Rollout
from guard.core.policy import OnStoreError, Override, Policy, RouteAction, Tier
from guard.core.prices import PriceTable
from guard.core.query import NO_USAGE, Query
from guard.core.uses import Declared, Use
from guard.demo.model import FakeModel
from guard.engine.engine import Engine
from guard.errors import ConfigError
from guard.identity.vouched import vouched_in
from guard.installation import Installation
from guard.settings.cautions import loosened, unsupplied
from guard.settings.tiers import default_tiers
from guard.store.memory.store import MemoryStore
from guard.store.redis.keys import CAMPAIGNS, POOLS, WORDS, Keys
from guard.store.redis.orders import OperatorStore

sys.path.insert(0, str(Path(__file__).parent / "store"))

from admitting import store_at
from servers import cluster

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from guard import Settings

    MakeGuarded = Callable[..., Guarded]

Kept = OperatorStore | MemoryStore

PEPPER = b"the pepper of these tests"
QUERY = Query("m", (), stream=False, max_output_tokens=100, n=1, input_bytes=40, other_tokens=0)


def caller(name: str, **attributes: str) -> Identity:
    facts = {Attribute.KEY: name, **{Attribute(each): value for each, value in attributes.items()}}
    return Identity(Holder(Attribute.KEY, name), facts, VouchedBy.KEYS_FILE)


MEMBERS = tuple(caller(f"m{number}") for number in range(8))
OTHER = caller("other")
A_HOUR = (Window(3, 3_600, 3),)
PER_CAMPAIGN = Limit("c", Unit.REQUESTS, (Attribute.CAMPAIGN,), Algorithm.SLIDING_WINDOW, A_HOUR)


def policy(*limits: Limit, **more: Any) -> Policy:
    return Policy(
        **{
            "rollout": ENFORCED,
            "tiers": {"default": Tier("default", limits or (PER_CAMPAIGN,), OnStoreError.LOCAL)},
            "default_tier": "default",
            "routes": (),
            "unknown_paths": RouteAction.DENY,
            "max_output_tokens": GlobTable.of({}),
            "default_max_output_tokens": 4096,
            "prices": PriceTable.of({}),
            **more,
        }
    )


def now() -> int:
    return time.time_ns() // 1000


def campaign(name: str = "c1", strength: float = 1.0, labels: tuple[str, ...] = ()) -> Campaign:
    names = labels or tuple(str(each.principal) for each in MEMBERS)
    members = {label: Member(now(), 1.0) for label in names}
    return Campaign(name, now(), now(), Verdict.LIKELY, 20.0, strength, members)


@pytest.fixture(scope="module")
def several() -> Iterator[str]:
    with cluster(masters=3) as found:
        yield f"redis+cluster://{','.join(master.address for master in found.masters)}"


@pytest.fixture(params=["redis", "cluster", "memory"])
async def store(request: pytest.FixtureRequest, redis_url: str) -> AsyncIterator[Kept]:
    if request.param == "memory":
        yield MemoryStore(now, keys=Keys(PEPPER))
        return
    found = store_at(request.getfixturevalue("several") if request.param == "cluster" else redis_url, PEPPER)
    async with found.asking() as client:
        await client.flushall()
    yield found
    async with found.asking() as client:
        await client.flushall()
    await found.aclose()


def engine_on(store: Any, rules: Policy | None = None, **more: Any) -> Engine:
    return Engine(rules or policy(), store, Keys(PEPPER), **more)


NUMBERS = count()


async def ask(engine: Engine, who: Identity, query: Query | None = QUERY) -> bool:
    """Whether a request is admitted."""
    admission = await engine.admit(f"r{next(NUMBERS)}", who, query, "/")
    if admission.refused:
        engine.refuse(admission, 429)
    else:
        await engine.conclude(admission, NO_USAGE, 200)
    return not admission.refused


async def admitted(engine: Engine, *callers: Identity) -> int:
    return sum([await ask(engine, each) for each in callers])


class TestALimitPerCampaign:
    async def test_it_is_one_for_all_members_and_holds_nobody_else(self, store: Kept) -> None:
        engine = engine_on(store)
        assert await admitted(engine, *MEMBERS, *[OTHER] * 5) == 13
        await store.keep_campaigns([campaign()], [], now())
        await engine.watch()
        assert await admitted(engine, *MEMBERS, *MEMBERS) == 3
        assert await admitted(engine, *[OTHER] * 5) == 5

    async def test_each_pool_has_the_whole_limit(self, store: Kept) -> None:
        await store.keep_campaigns([campaign(strength=0.5)], [], now())
        engine = engine_on(store)
        await engine.watch()
        places = {int(Keys(PEPPER).digest(each.principal)[:8], 16) % 3 for each in MEMBERS}
        assert await admitted(engine, *MEMBERS * 3) == 3 * len(places)

    async def test_with_another_attribute_it_is_one_for_both(self, store: Kept) -> None:
        both = replace(PER_CAMPAIGN, per=(Attribute.CAMPAIGN, Attribute.MODEL))
        await store.keep_campaigns([campaign()], [], now())
        engine = engine_on(store, policy(both))
        await engine.watch()
        assert await admitted(engine, *MEMBERS, *[OTHER] * 4) == 7
        small = QUERY._replace(model="small")
        assert sum([await ask(engine, each, small) for each in MEMBERS]) == 3

    async def test_it_ends_with_the_campaign(self, store: Kept) -> None:
        await store.keep_campaigns([campaign()], [], now())
        engine = engine_on(store)
        await engine.watch()
        assert await admitted(engine, *MEMBERS) == 3
        await store.judge("c1", Judged(Verdict.UNRELATED, "ann", "a class of students", now()))
        await engine.watch()
        assert await admitted(engine, *MEMBERS) == 8

    async def test_who_was_cleared_is_held_no_more(self, store: Kept) -> None:
        await store.keep_campaigns([campaign()], [], now())
        await store.clear("c1", str(MEMBERS[0].principal))
        engine = engine_on(store)
        await engine.watch()
        assert await admitted(engine, *MEMBERS[1:]) == 3
        assert await admitted(engine, *[MEMBERS[0]] * 5) == 5

    async def test_one_end_user_of_a_router_may_be_a_member(self, store: Kept) -> None:
        uses = {Holder(Attribute.KEY, "router"): Declared(Use.ROUTER)}
        rules = policy(detection=Detection(Rollout(Mode.SHADOW), uses=uses))
        labels = ("key:router+end_user:eve", *(str(each.principal) for each in MEMBERS))
        await store.keep_campaigns([campaign(labels=labels)], [], now())
        engine, router = engine_on(store, rules), caller("router")
        await engine.watch()
        eve, ann = (QUERY._replace(end_user=name) for name in ("eve", "ann"))
        assert await admitted(engine, *MEMBERS) == 3
        assert not await ask(engine, router, eve)
        assert await ask(engine, router, ann)

    async def test_who_of_a_router_asks_is_not_known_before_the_body_is_read(self, store: Kept) -> None:
        uses = {Holder(Attribute.KEY, "router"): Declared(Use.ROUTER)}
        rules = policy(detection=Detection(Rollout(Mode.SHADOW), uses=uses))
        others = campaign("c2", labels=("key:router+end_user:eve",))
        labels = ("key:router", *(str(each.principal) for each in MEMBERS))
        await store.keep_campaigns([campaign(labels=labels), others], [], now())
        engine, router = engine_on(store, rules), caller("router")
        await engine.watch()
        assert await admitted(engine, *MEMBERS) == 3
        # The router's campaign has nothing left, and that of one of its people has.
        assert engine.foresee("f", router, "/", "GET", read=False) is not None
        assert engine.foresee("f", router, "/", "POST", read=True) is None
        assert await ask(engine, router, QUERY._replace(end_user="eve"))
        assert not await ask(engine, router, QUERY._replace(end_user="ann"))

    async def test_numbers_of_its_own_are_for_a_pool(self, store: Kept) -> None:
        await store.keep_campaigns([campaign()], [], now())
        five = Override("c", {3_600: (5, 5)}, of=PER_CAMPAIGN)
        engine = engine_on(store, policy(overrides={Holder(Attribute.CAMPAIGN, "c1"): (five,)}))
        await engine.watch()
        assert await admitted(engine, *MEMBERS) == 5
        if isinstance(store, OperatorStore):
            await store.override(Holder(Attribute.CAMPAIGN, "c1"), "c", {3_600: (7, 7)}, None)
            await engine.drain()
            again = engine_on(store)
            await again.watch()
            await _terms_are_read_again(store)
            assert await admitted(again, *MEMBERS) == 2

    async def test_it_is_kept_by_shares_while_the_store_fails(self, store: Kept) -> None:
        if isinstance(store, MemoryStore):
            return
        await store.keep_campaigns([campaign()], [], now())
        flaky = FlakyStore(store)
        flaky.broken = False
        engine = engine_on(flaky, local=MemoryStore(now), local_share=1.0)
        await engine.watch()
        flaky.broken = True
        assert await engine.watch() is None
        # The last membership holds.
        assert await admitted(engine, *MEMBERS, *[OTHER] * 5) == 3 + 5


async def _terms_are_read_again(store: OperatorStore) -> None:
    """On a cluster a process keeps the operator's terms for a moment."""
    store._terms.clear()


class TestABlock:
    @pytest.mark.parametrize("strength", [1.0, 0.5])
    async def test_one_of_a_campaign_bites_in_all_of_its_pools(self, store: Kept, strength: float) -> None:
        if isinstance(store, MemoryStore):
            return  # which knows no blocks
        await store.keep_campaigns([campaign(strength=strength)], [], now())
        engine = engine_on(store)
        await engine.watch()
        await store.block(Holder(Attribute.CAMPAIGN, "c1"), None, "they resell")
        admission = await engine.admit("b", MEMBERS[0], QUERY, "/")
        assert (admission.decision.action, admission.decision.reason) == (Action.DENY, Reason.BLOCKED)
        assert await admitted(engine, *MEMBERS) == 0
        assert await admitted(engine, OTHER) == 1

    async def test_one_of_a_pool_bites_there_alone(self, store: Kept) -> None:
        if isinstance(store, MemoryStore):
            return
        await store.keep_campaigns([campaign(strength=0.0)], [], now())
        engine = engine_on(store)
        await engine.watch()
        pool = int(Keys(PEPPER).digest(MEMBERS[0].principal)[:8], 16) % 8
        await store.block(Holder(Attribute.CAMPAIGN, f"c1.{pool}"), None, "")
        assert not await ask(engine, MEMBERS[0])
        assert await admitted(engine, *MEMBERS) > 0


class TestMembership:
    async def test_it_is_asked_for_only_where_it_has_changed(self, store: Kept) -> None:
        asked = []

        class Counting(FlakyStore):
            async def membership(self, version: int) -> Any:
                asked.append(version)
                return await super().membership(version)

        counting = Counting(store)  # type: ignore[arg-type]
        counting.broken = False
        engine = engine_on(counting)
        await engine.watch()
        await engine.watch()
        assert asked == []
        await store.keep_campaigns([campaign()], [], now())
        await engine.watch()
        await engine.watch()
        assert asked == [0]

    async def test_plans_stay_where_the_pools_do(self, store: Kept) -> None:
        await store.keep_campaigns([campaign()], [], now())
        engine = engine_on(store)
        await engine.watch()
        await ask(engine, OTHER)
        assert len(engine._plans) == 1
        await store.keep_campaigns([replace(campaign(), queries=9)], [], now())
        await engine.watch()
        assert len(engine._plans) == 1
        await store.clear("c1", str(MEMBERS[0].principal))
        await engine.watch()
        assert len(engine._plans) == 0

    async def test_a_store_that_was_emptied_has_no_members(self, redis_url: str) -> None:
        store = store_at(redis_url, PEPPER)
        await store.keep_campaigns([campaign()], [], now())
        engine = engine_on(store)
        await engine.watch()
        async with store.asking() as client:
            await client.delete(CAMPAIGNS, WORDS, POOLS)
        await engine.watch()
        assert await admitted(engine, *MEMBERS) == 8
        await store.aclose()

    @pytest.mark.parametrize("mode", [Mode.SHADOW, Mode.OFF])
    async def test_in_other_modes_nothing_follows_and_in_shadow_events_say_it(
        self, store: Kept, mode: Mode
    ) -> None:
        heard = Heard()
        await store.keep_campaigns([campaign(strength=0.5)], [], now())
        engine = engine_on(store, policy(campaigns=mode), hooks=(heard,))
        await engine.watch()
        assert await admitted(engine, *MEMBERS, OTHER) == 9
        said = "c1" if mode is Mode.SHADOW else None
        assert [event.campaign for event in heard] == [said] * 8 + [None]
        if isinstance(store, OperatorStore):
            await store.block(Holder(Attribute.CAMPAIGN, "c1"), None, "")
            await _terms_are_read_again(store)
            assert await admitted(engine, *MEMBERS) == 8

    async def test_events_have_the_id_of_the_campaign_and_not_the_pool(self, store: Kept) -> None:
        heard = Heard()
        await store.keep_campaigns([campaign(strength=0.5)], [], now())
        engine = engine_on(store, hooks=(heard,))
        await engine.watch()
        assert await admitted(engine, MEMBERS[0], OTHER) == 2
        assert [event.campaign for event in heard] == ["c1", None]

    async def test_it_reaches_an_app_by_itself_and_leaves_with_the_campaign(
        self, guarded: MakeGuarded
    ) -> None:
        limit = {"name": "c", "unit": "requests", "rate": "1/day", "per": "campaign"}
        gateway = {"trusted_proxies": ["192.0.2.1"], "headers": {"user": "x-user"}}
        app = guarded(FakeModel(), limit, identity=gateway, reload_seconds=0.02)
        body = {"model": "m", "messages": [{"role": "user", "content": "one two three"}]}

        async def status(user: str) -> int:
            return (await call(app, body=body, headers={"x-user": user})).status

        assert [await status(user) for user in ("ann", "ben", "ann")] == [200] * 3
        store = Installation.of(app.settings, deadline_seconds=PATIENCE_SECONDS).store
        await store.keep_campaigns([campaign(labels=("user:ann", "user:ben"))], [], now())
        await eventually(lambda: _is(status("ann"), 429))
        assert await status("ben") == 429
        assert await status("eve") == 200
        async with Operator(app.settings) as operator:
            await app.hear()
            sheet = await operator.show(Holder(Attribute.CAMPAIGN, "c1"))
            assert [each.remaining for each in sheet.readings] == [0]
            assert {str(each.identity.principal) for each in sheet.members} >= {"user:ann"}
        await store.judge("c1", Judged(Verdict.UNRELATED, "ann", "", now()))
        await eventually(lambda: _is(status("ann"), 200))
        await store.aclose()


async def _is(status: Any, wanted: int) -> bool:
    return bool(await status == wanted)


class TestWhoSaysIt:
    def test_an_app_may_not(self) -> None:
        with pytest.raises(ConfigError, match="`identify` names 'campaign'"):
            vouched_in({"campaign": "c1"})

    @pytest.mark.parametrize(
        ("pool", "holders"), [("c1", ["campaign:c1"]), ("c1.3", ["campaign:c1.3", "campaign:c1"])]
    )
    def test_a_member_is_its_pool_and_its_campaign(self, pool: str, holders: list[str]) -> None:
        found = map(str, caller("a", campaign=pool).holders)
        assert [each for each in found if each.startswith("campaign")] == holders


class TestSettings:
    def test_the_default_tier_has_a_budget_per_campaign(self) -> None:
        (limit,) = (each for each in default_tiers()["default"].limits if each.per == (Attribute.CAMPAIGN,))
        assert (limit.name, limit.unit, limit.rate) == ("campaign-diversity", Unit.NOVELTY, "100/day")

    @pytest.mark.parametrize("mode", ["shadow", "off"])
    def test_a_limit_that_holds_nobody_is_named(
        self, make_settings: Callable[..., Settings], mode: str
    ) -> None:
        limit = {"name": "c", "unit": "requests", "rate": "100/day", "per": "campaign"}
        said = f"limit `c`: it holds nobody, since campaigns.mode is `{mode}`"
        assert list(unsupplied(make_settings(limit, campaigns={"mode": mode}))) == [said]
        assert list(unsupplied(make_settings(limit))) == []

    def test_an_edit_that_lets_members_go_is_warned_of(self, make_settings: Callable[..., Settings]) -> None:
        said = list(loosened(make_settings(), make_settings(campaigns={"mode": "shadow"})))
        assert said == ["campaigns.mode is `shadow`: members of a campaign are held each by itself"]
