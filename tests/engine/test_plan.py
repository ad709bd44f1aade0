from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from guard.core.globs import GlobTable
from guard.core.identity import Attribute, Holder, Identity, VouchedBy
from guard.core.ladder import Rung
from guard.core.limits import Algorithm, Limit, Match, Unit, Window
from guard.core.modes import Mode, Rollout
from guard.core.policy import (
    Caller,
    OnStoreError,
    Override,
    Policy,
    Route,
    RouteAction,
    Tier,
    estimated_charges,
)
from guard.core.prices import Price, PriceTable
from guard.core.pseudonyms import Pseudonyms
from guard.core.query import Query
from guard.engine.plan import LONGEST_KEPT, Plan, Plans

KEY = Holder(Attribute.KEY, "a")
ALICE = Identity(KEY, {Attribute.KEY: "a", Attribute.NETWORK: "198.51.100.7/32"})
QUERY = Query("small", (), stream=False, max_output_tokens=None, n=2, input_bytes=400, other_tokens=3)
ROUTE = "/v1/chat"


def limit(name: str, unit: str, *per: Attribute, **more: Any) -> Limit:
    return Limit(name, unit, per, Algorithm.SLIDING_WINDOW, (Window(100, 60, 100),), **more)


LIMITS = (
    limit("requests", Unit.REQUESTS, Attribute.KEY),
    limit("per model", Unit.TOKENS, Attribute.KEY, Attribute.MODEL),
    limit("dear", Unit.COST, Attribute.EVERYTHING, match=Match(models=("big-*",))),
    limit("people", Unit.REQUESTS, Attribute.END_USER),
    limit("tried", Unit.OUTPUT_TOKENS, Attribute.NETWORK, rollout=Rollout(Mode.SHADOW)),
    limit("free", Unit.REQUESTS, Attribute.NETWORK, match=Match(free=True)),
    limit("credits", "credits", Attribute.USER),
)
POLICY = Policy(
    rollout=Rollout(Mode.ENFORCE),
    tiers={
        "default": Tier("default", LIMITS, OnStoreError.DENY),
        "pro": Tier("pro", LIMITS[1:], OnStoreError.ALLOW, Rollout(Mode.ENFORCE, 50.0)),
    },
    default_tier="default",
    routes=(Route("/v1/models", frozenset({"GET"}), RouteAction.COUNT, free=True),),
    unknown_paths=RouteAction.DENY,
    max_output_tokens=GlobTable.of({"big-1": 1_000, "small": 50}),
    default_max_output_tokens=70,
    prices=PriceTable.of({"big-*": Price(2_000_000, 1_000_000, 8_000_000, 8_000_000)}),
    overrides={KEY: (Override("requests", {60: (7, 7)}, until_us=1_000),)},
)
KEYS = Pseudonyms(b"pepper")


def never_asked(principal: Holder) -> None:
    """When somebody was first seen."""


def find(
    plans: Plans,
    identity: Identity = ALICE,
    query: Query | None = QUERY,
    *,
    policy: Policy = POLICY,
    ceiling: Mode = Mode.ENFORCE,
    route: str = ROUTE,
    method: str = "POST",
    now_us: int = 0,
) -> Plan:
    return plans.find(policy, ceiling, identity, query, route, method, now_us)


OTHERS: dict[str, dict[str, Any]] = {
    "no query": {"query": None},
    "model": {"query": QUERY._replace(model="big-1")},
    "spelling": {"query": QUERY._replace(model="SMALL")},
    "end user": {"query": QUERY._replace(end_user="ann")},
    "alternatives": {"query": QUERY._replace(alternatives=("big-1", "big-2"))},
    "free route": {"route": "/v1/models", "query": None, "method": "GET"},
    "method": {"method": "PUT"},
    "verified": {"identity": replace(ALICE, vouched_by=VouchedBy.KEYS_FILE)},
    "crowded out": {"identity": replace(ALICE, principal=Holder(Attribute.NETWORK, "n"), crowded_out=KEY)},
    "tier": {"identity": replace(ALICE, attributes={**ALICE.attributes, Attribute.TIER: "pro"})},
    "unknown tier": {"identity": replace(ALICE, attributes={**ALICE.attributes, Attribute.TIER: "unknown"})},
    "vouched end user": {
        "identity": replace(ALICE, attributes={**ALICE.attributes, Attribute.END_USER: "ben"})
    },
    "kill switch": {"ceiling": Mode.SHADOW},
    "override over": {"now_us": 1_000},
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_what_differs_has_a_plan_of_its_own(other: dict[str, Any]) -> None:
    plans = Plans(POLICY, KEYS, never_asked)
    plan = find(plans)
    assert find(plans) is plan
    assert find(plans, **other) is not plan


@pytest.mark.parametrize("facts", [{}, *OTHERS.values()], ids=["nothing", *OTHERS])
def test_a_plan_charges_as_the_policy_does(facts: dict[str, Any]) -> None:
    identity, query = facts.get("identity", ALICE), facts.get("query", QUERY)
    route, method, now_us = facts.get("route", ROUTE), facts.get("method", "POST"), facts.get("now_us", 0)
    identity = replace(identity, amounts={"credits": 5})
    plan = find(Plans(POLICY, KEYS, never_asked), **{**facts, "identity": identity})

    named = {"tier": "default"} | {name: identity.attributes[name] for name in identity.attributes}
    if query is not None:
        named = {"end_user": query.end_user} | named | {"model": query.model}
    asked = identity.asking(**named, route=route)
    tier, place = POLICY.tier(asked), KEYS.place(asked.principal)
    mode = POLICY.mode(tier, place, facts.get("ceiling", Mode.ENFORCE))
    demand = POLICY.demand(asked, query)
    assert plan.demand(query, identity.amounts) == demand
    rung = Rung(throttle=0.5)
    assert estimated_charges(plan.due, demand, rung) == POLICY.reserve(
        asked, demand, Caller(method, mode, place, now_us), rung
    )
    assert (plan.tier, plan.mode, plan.place) == (tier, mode, place)
    assert plan.identity == replace(asked, amounts={})


def test_amounts_are_one_requests_own() -> None:
    plans = Plans(POLICY, KEYS, never_asked)
    plan = find(plans, replace(ALICE, amounts={"credits": 5}))
    assert find(plans, replace(ALICE, amounts={"credits": 9})) is plan
    assert [plan.demand(QUERY, {"credits": each}).reserve("credits")[0] for each in (5, 9)] == [5, 9]


def test_another_policy_or_mode_drops_all_plans() -> None:
    plans = Plans(POLICY, KEYS, never_asked)
    find(plans)
    find(plans, query=None)
    plan = find(plans, policy=replace(POLICY, overrides={}))
    assert plan.due[0].limit.windows[0].count == 100
    assert len(plans) == 1
    assert find(plans, policy=replace(POLICY, overrides={}), ceiling=Mode.OFF).mode is Mode.OFF
    assert len(plans) == 1


def test_an_override_holds_to_its_end() -> None:
    plans = Plans(POLICY, KEYS, never_asked)
    counts = [find(plans, now_us=now_us).due[0].limit.windows[0].count for now_us in (0, 999, 1_000, 2_000)]
    assert counts == [7, 7, 100, 100]
    assert find(plans, now_us=2_001) is find(plans, now_us=3_000)


def test_the_plans_that_were_used_last_are_kept() -> None:
    plans = Plans(POLICY, KEYS, never_asked, most=2)
    first = find(plans, query=QUERY._replace(model="1"))
    find(plans, query=QUERY._replace(model="2"))
    assert find(plans, query=QUERY._replace(model="1")) is first
    find(plans, query=QUERY._replace(model="3"))
    assert len(plans) == 2
    assert find(plans, query=QUERY._replace(model="1")) is first


@pytest.mark.parametrize(
    "long",
    [
        {"query": QUERY._replace(model="m" * LONGEST_KEPT)},
        {"query": QUERY._replace(end_user="u" * LONGEST_KEPT)},
        {"query": QUERY._replace(alternatives=("m" * LONGEST_KEPT,))},
        {"method": "M" * (LONGEST_KEPT + 1), "query": None},
    ],
    ids=["model", "end user", "alternative", "method"],
)
def test_nothing_is_kept_that_a_client_makes_long(long: dict[str, Any]) -> None:
    plans = Plans(POLICY, KEYS, never_asked)
    assert find(plans, **long).due
    assert len(plans) == 0
