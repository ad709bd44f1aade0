from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.core.decision import Action, Reason, decide
from guard.core.demand import Demand
from guard.core.detection import Detection, Suspect
from guard.core.globs import GlobTable
from guard.core.identity import EVERYTHING, Attribute, Holder, Identity, VouchedBy
from guard.core.ladder import NO_ACTION, Rung
from guard.core.limits import Algorithm, Charge, Holders, Limit, Match, Ramp, Reading, Unit, Window
from guard.core.modes import ENFORCED, Mode, Rollout, mildest
from guard.core.policy import (
    WEBSOCKET,
    Caller,
    OnStoreError,
    Override,
    Policy,
    Route,
    RouteAction,
    Tier,
    actual_charges,
)
from guard.core.prices import FREE, Price, PriceTable
from guard.core.query import NO_USAGE, Query, Usage
from guard.core.uses import Declared, Use

if TYPE_CHECKING:
    from guard.core.signals import Signal

KEY = Holder(Attribute.KEY, "a")
ACME = Holder(Attribute.ORG, "acme")
WINDOW = Window(10, 60, 10)
REQUESTS = Limit("requests", Unit.REQUESTS, (Attribute.KEY,), Algorithm.GCRA, (WINDOW,))
TOKENS = Limit("tokens", Unit.TOKENS, (Attribute.ORG,), Algorithm.GCRA, (WINDOW,))
DEAR = Price(2_000_000, 1_000_000, 8_000_000, 8_000_000, 2_000_000, 2_000_000)
POLICY = Policy(
    rollout=ENFORCED,
    tiers={
        "free": Tier("free", (REQUESTS,), OnStoreError.DENY),
        "pro": Tier("pro", (REQUESTS, TOKENS), OnStoreError.ALLOW),
    },
    default_tier="free",
    routes=(
        Route("/v1/chat", frozenset({"POST"}), RouteAction.GUARD, "openai.chat"),
        Route("/v1/*", frozenset({"GET"}), RouteAction.COUNT),
        Route("/health", frozenset(), RouteAction.PASS),
        Route("/realtime", frozenset({WEBSOCKET}), RouteAction.COUNT),
    ),
    unknown_paths=RouteAction.DENY,
    max_output_tokens=GlobTable.of({"big-*": 7, "*": 3}),
    default_max_output_tokens=5,
    prices=PriceTable.of({"big-*": DEAR, "small": FREE}),
)
PRO = Identity(KEY, {Attribute.TIER: "pro", Attribute.ORG: "acme"})
CALLER = Caller()


def query(model: str = "big-1", *, cap: int | None = None, n: int = 1, input_tokens: int = 2) -> Query:
    return Query(
        model, (), stream=False, max_output_tokens=cap, n=n, input_bytes=0, other_tokens=input_tokens
    )


def of_limits(*limits: Limit, **overrides: tuple[Override, ...]) -> Policy:
    """A policy with these limits in its one tier; an override for `key` or `org` is for KEY or ACME."""
    holders = {"key": KEY, "org": ACME}
    return replace(
        POLICY,
        tiers={"free": Tier("free", limits, OnStoreError.DENY)},
        overrides={holders[name]: each for name, each in overrides.items()},
    )


def charges(policy: Policy, caller: Caller = CALLER, identity: Identity = PRO) -> tuple[Charge, ...]:
    """What a request of one input token and no answer is charged."""
    return policy.reserve(identity, policy.demand(identity, query(cap=0, input_tokens=1)), caller)


@pytest.mark.parametrize(
    ("method", "path", "action"),
    [
        ("POST", "/v1/chat", RouteAction.GUARD),
        ("GET", "/v1/chat", RouteAction.COUNT),
        ("PUT", "/v1/chat", RouteAction.DENY),
        ("GET", "/v1/models/a/b", RouteAction.DENY),
        ("GET", "/v1/models", RouteAction.COUNT),
        ("GET", "/V1/models", RouteAction.DENY),
        ("DELETE", "/health", RouteAction.PASS),
        (WEBSOCKET, "/health", RouteAction.DENY),
        (WEBSOCKET, "/realtime", RouteAction.COUNT),
        ("GET", "/realtime", RouteAction.DENY),
        ("post", "/v1/chat", RouteAction.DENY),
        ("POST", "/v1/chat/", RouteAction.DENY),
        ("POST", "//v1/chat", RouteAction.DENY),
        ("POST", "/v1/chat/batch", RouteAction.DENY),
        ("POST", "/v1/chat\n", RouteAction.DENY),
        ("POST", "/x/v1/chat", RouteAction.DENY),
        ("POST", "", RouteAction.DENY),
        ("GET", "/v1", RouteAction.DENY),
        ("GET", "/v1/", RouteAction.DENY),
        ("HEAD", "/v1/models", RouteAction.DENY),
        (WEBSOCKET, "/v1/chat", RouteAction.DENY),
        (WEBSOCKET, "/v1/models", RouteAction.DENY),
    ],
)
def test_the_first_route_that_matches_decides(method: str, path: str, action: RouteAction) -> None:
    assert POLICY.route(method, path).action is action


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("/a", "/a", True),
        ("/a", "/A", False),
        ("/a", "/ab", False),
        ("/a*", "/ab/c", False),
        ("/a*", "/a", True),
        ("/a/*", "/a/", False),
        ("/a/**", "/a/b/c", True),
        ("/a/**", "/a/b//c", False),
        ("/a/**", "/a", False),
        ("/a/**/c", "/a/x/y/c", True),
        ("/m/{model}:go", "/m/x:go", True),
        ("/m/{model}:go", "/m/x:y:go", False),
        ("/m/{model}:go", "/m/x/y:go", False),
        ("/*/c", "/a/b/c", False),
        ("/*/c", "/a/c", True),
        ("/a?c", "/abc", True),
        ("/a?c", "/a/c", False),
        ("/a?c", "/ac", False),
        ("/[ab]", "/b", True),
        ("/[ab]", "/[ab]", True),
        ("/[!a]", "/b", True),
        ("/[!a]", "/a", False),
        ("*", "", True),
    ],
)
def test_a_path_is_a_glob_or_stands_for_itself(pattern: str, path: str, *, fits: bool) -> None:
    assert Route(pattern, frozenset(), RouteAction.PASS).matches("GET", path) is fits


@pytest.mark.parametrize("action", RouteAction)
def test_a_route_without_methods_takes_websockets_only_to_deny_them(action: RouteAction) -> None:
    assert Route("/x", frozenset(), action).matches(WEBSOCKET, "/x") is (action is RouteAction.DENY)


def test_of_two_routes_that_match_the_first_decides() -> None:
    routes = (Route("/v1/*", frozenset(), RouteAction.DENY), *POLICY.routes)
    assert replace(POLICY, routes=routes).route("POST", "/v1/chat").action is RouteAction.DENY
    assert POLICY.route("POST", "/v1/chat").dialect == "openai.chat"


def test_what_no_route_names_is_as_set() -> None:
    open_ = replace(POLICY, unknown_paths=RouteAction.PASS)
    assert open_.route("GET", "/x").action is RouteAction.PASS
    assert open_.route(WEBSOCKET, "/x").action is RouteAction.PASS
    assert POLICY.route(WEBSOCKET, "/x").action is RouteAction.DENY
    counting = replace(POLICY, unknown_paths=RouteAction.COUNT, routes=())
    assert counting.route("DELETE", "/x/y") == Route("*", frozenset(), RouteAction.COUNT)


@pytest.mark.parametrize(
    ("named", "tier"),
    [("pro", "pro"), ("free", "free"), ("gold", "free"), ("", "free"), ("Pro", "free"), (None, "free")],
)
def test_a_tier_that_does_not_exist_is_the_default_one(named: str | None, tier: str) -> None:
    attributes = {} if named is None else {Attribute.TIER: named}
    assert POLICY.tier(Identity(Holder(Attribute.KEY, "a"), attributes)).name == tier


def test_every_limit_of_the_tier_is_charged_to_its_holder() -> None:
    demand = POLICY.demand(PRO, query())
    charged = POLICY.reserve(PRO, demand, CALLER)
    assert charged == (Charge(REQUESTS, KEY, 1), Charge(TOKENS, ACME, 9))
    assert actual_charges(charged, demand, Usage(2, 50)) == (
        Charge(REQUESTS, KEY, 1),
        Charge(TOKENS, ACME, 52),
    )
    assert [charge.amount for charge in actual_charges(charged, demand, NO_USAGE)] == [1, 0]


@pytest.mark.parametrize(
    ("asked", "output_tokens", "price"),
    [
        (query(), 7, DEAR),
        (query(cap=100), 100, DEAR),
        (query(cap=0), 0, DEAR),
        (query(n=3), 21, DEAR),
        (query(cap=4, n=3), 12, DEAR),
        (query("small"), 3, FREE),
        (query("unheard-of"), 3, DEAR),
        (query(""), 3, DEAR),
    ],
)
def test_a_request_asks_for_all_its_answers_at_its_models_price(
    asked: Query, output_tokens: int, price: Price
) -> None:
    assert POLICY.demand(PRO, asked) == Demand(asked, output_tokens, price, {}, prices=POLICY.prices)


def test_the_operators_own_amounts_are_asked_for_with_and_without_a_query() -> None:
    identity = replace(PRO, amounts={"pages": 7})
    pages = replace(REQUESTS, name="pages", unit="pages")
    for asked in (query(), None):
        demand = POLICY.demand(identity, asked)
        assert of_limits(pages).reserve(identity, demand, CALLER) == (Charge(pages, KEY, 7),)


def test_without_a_query_only_the_request_is_charged() -> None:
    demand = POLICY.demand(PRO, None)
    assert POLICY.reserve(PRO, demand, CALLER) == (Charge(REQUESTS, KEY, 1), Charge(TOKENS, ACME, 0))


def test_an_identity_without_the_attribute_is_charged_itself() -> None:
    identity = Identity(KEY, {Attribute.TIER: "pro", Attribute.ORG: ""})
    assert [charge.holder for charge in charges(POLICY, identity=identity)] == [KEY, KEY]


def test_a_limit_per_several_attributes_is_charged_to_their_one_holder() -> None:
    each = replace(TOKENS, per=(Attribute.ORG, Attribute.MODEL, Attribute.END_USER))
    asking = PRO.asking(model="big-1", end_user="ann")
    found = charges(of_limits(each), identity=asking)
    assert [str(charge.holder) for charge in found] == ["org:acme+model:big-1+key:a+end_user:ann"]


def test_a_tier_without_limits_charges_nothing() -> None:
    assert charges(of_limits()) == ()


NAMED = replace(REQUESTS, match=Match(models=("big-*",)))
ON_CHAT = replace(REQUESTS, match=Match(routes=("/v1/chat",)))
OF_POSTS = replace(REQUESTS, match=Match(methods=("POST",)))


DAY_US = 86_400_000_000


@pytest.mark.parametrize(
    ("holders", "vouched_by", "age_us", "held"),
    [
        (Holders.ALL, None, None, True),
        (Holders.ALL, VouchedBy.TOKEN, None, True),
        (Holders.VERIFIED, None, None, False),
        (Holders.VERIFIED, VouchedBy.APP, None, True),
        (Holders.UNVERIFIED, None, 99 * DAY_US, True),
        (Holders.UNVERIFIED, VouchedBy.GATEWAY, None, False),
        (Holders.NEW, None, None, True),
        (Holders.NEW, None, 0, True),
        (Holders.NEW, None, 14 * DAY_US - 1, True),
        (Holders.NEW, None, 14 * DAY_US, False),
        (Holders.NEW, VouchedBy.KEYS_FILE, 0, False),
    ],
)
def test_a_limit_holds_those_that_it_is_for(
    holders: Holders, vouched_by: VouchedBy | None, age_us: int | None, *, held: bool
) -> None:
    limit, identity = replace(REQUESTS, holders=holders), replace(PRO, vouched_by=vouched_by)
    policy = replace(of_limits(limit), new_for_us=14 * DAY_US)
    now_us = 100 * DAY_US
    caller = Caller(now_us=now_us, since_us=None if age_us is None else now_us - age_us)
    assert len(charges(policy, caller, identity)) == held


@pytest.mark.parametrize(
    ("limit", "facts", "method", "held"),
    [
        (REQUESTS, {}, "GET", True),
        (NAMED, {"model": "big-1"}, "POST", True),
        (NAMED, {"model": "small"}, "POST", False),
        (NAMED, {}, "POST", False),
        (ON_CHAT, {"route": "/v1/chat"}, "POST", True),
        (ON_CHAT, {"route": "/v1/models"}, "POST", False),
        (OF_POSTS, {}, "POST", True),
        (OF_POSTS, {}, "GET", False),
        (replace(REQUESTS, rollout=Rollout(Mode.OFF)), {}, "POST", False),
        (replace(REQUESTS, rollout=Rollout(Mode.SHADOW)), {}, "POST", True),
        (replace(REQUESTS, rollout=Rollout(Mode.ENFORCE, 0)), {}, "POST", True),
    ],
)
def test_a_request_is_held_to_the_limits_that_are_for_it(
    limit: Limit, facts: dict[str, str], method: str, *, held: bool
) -> None:
    policy, caller, identity = of_limits(limit), Caller(method), PRO.asking(**facts)
    assert list(policy.applicable(identity, caller)) == [limit] * held
    assert len(charges(policy, caller, identity)) == held


@pytest.mark.parametrize(
    ("callers", "limits", "place", "enforced"),
    [
        (Mode.ENFORCE, ENFORCED, 0.0, True),
        (Mode.ENFORCE, Rollout(Mode.SHADOW), 0.0, False),
        (Mode.SHADOW, ENFORCED, 0.0, False),
        (Mode.OFF, ENFORCED, 0.0, False),
        (Mode.SHADOW, Rollout(Mode.SHADOW), 0.0, False),
        (Mode.ENFORCE, Rollout(Mode.ENFORCE, 5), 4.9, True),
        (Mode.ENFORCE, Rollout(Mode.ENFORCE, 5), 5.0, False),
        (Mode.SHADOW, Rollout(Mode.ENFORCE, 5), 4.9, False),
    ],
)
def test_a_charge_refuses_only_where_caller_and_limit_are_both_enforced(
    callers: Mode, limits: Rollout, place: float, *, enforced: bool
) -> None:
    policy = of_limits(replace(REQUESTS, rollout=limits), TOKENS)
    of_limit, of_other = charges(policy, Caller(mode=callers, place=place))
    assert of_limit.enforced is enforced
    assert of_other.enforced is (callers is Mode.ENFORCE)


@pytest.mark.parametrize(
    ("policys", "tiers", "ceiling", "place", "mode"),
    [
        (ENFORCED, ENFORCED, Mode.ENFORCE, 0.0, Mode.ENFORCE),
        (Rollout(Mode.SHADOW), ENFORCED, Mode.ENFORCE, 0.0, Mode.SHADOW),
        (ENFORCED, Rollout(Mode.SHADOW), Mode.ENFORCE, 0.0, Mode.SHADOW),
        (ENFORCED, ENFORCED, Mode.SHADOW, 0.0, Mode.SHADOW),
        (ENFORCED, ENFORCED, Mode.OFF, 0.0, Mode.OFF),
        (Rollout(Mode.OFF), Rollout(Mode.SHADOW), Mode.ENFORCE, 0.0, Mode.OFF),
        (ENFORCED, Rollout(Mode.OFF), Mode.SHADOW, 0.0, Mode.OFF),
        (Rollout(Mode.ENFORCE, 10), Rollout(Mode.ENFORCE, 5), Mode.ENFORCE, 4.0, Mode.ENFORCE),
        (Rollout(Mode.ENFORCE, 10), Rollout(Mode.ENFORCE, 5), Mode.ENFORCE, 7.0, Mode.SHADOW),
        (Rollout(Mode.ENFORCE, 5), Rollout(Mode.ENFORCE, 10), Mode.ENFORCE, 7.0, Mode.SHADOW),
    ],
)
def test_the_mildest_of_policy_tier_and_ceiling_holds(
    policys: Rollout, tiers: Rollout, ceiling: Mode, place: float, mode: Mode
) -> None:
    tier = Tier("t", (), OnStoreError.DENY, tiers)
    assert replace(POLICY, rollout=policys).mode(tier, place, ceiling) is mode


@given(
    policys=st.builds(Rollout, st.sampled_from(Mode), st.floats(0, 100)),
    tiers=st.builds(Rollout, st.sampled_from(Mode), st.floats(0, 100)),
    ceiling=st.sampled_from(Mode),
    place=st.floats(0, 100, exclude_max=True),
)
def test_nothing_makes_a_mode_harsher_than_any_of_its_settings(
    policys: Rollout, tiers: Rollout, ceiling: Mode, place: float
) -> None:
    tier = Tier("t", (), OnStoreError.DENY, tiers)
    mode = replace(POLICY, rollout=policys).mode(tier, place, ceiling)
    assert all(mildest(mode, each) is mode for each in (policys.mode, tiers.mode, ceiling))


def numbers(count: int, limit: str = "*", until_us: int | None = None) -> Override:
    return Override(limit, {60: (count, count)}, until_us)


EXEMPT = Override("*", None)


@pytest.mark.parametrize(
    ("overrides", "now_us", "count"),
    [
        ((), 0, 10),
        ((numbers(99),), 0, 99),
        ((numbers(0),), 0, 0),
        ((EXEMPT,), 0, None),
        ((numbers(99, "requests"),), 0, 99),
        ((numbers(99, "req*"),), 0, 99),
        ((numbers(99, "tokens"),), 0, 10),
        ((numbers(99, "Requests"),), 0, 10),
        ((Override("*", {3_600: (99, 99)}),), 0, 10),
        ((numbers(99, until_us=100),), 99, 99),
        ((numbers(99, until_us=100),), 100, 10),
        ((Override("*", None, 100),), 99, None),
        ((Override("*", None, 100),), 100, 10),
        ((numbers(7, until_us=100), numbers(99)), 99, 7),
        ((numbers(7, until_us=100), numbers(99)), 100, 99),
        ((numbers(7, "tokens"), numbers(99)), 0, 99),
        ((numbers(99), EXEMPT), 0, 99),
        ((EXEMPT, numbers(99)), 0, None),
    ],
)
def test_the_first_override_that_holds_gives_the_numbers(
    overrides: tuple[Override, ...], now_us: int, count: int | None
) -> None:
    found = charges(of_limits(REQUESTS, key=overrides), Caller(now_us=now_us))
    changed = [] if count is None else [replace(REQUESTS, windows=(Window(count, 60, count),))]
    assert found == tuple(Charge(limit, KEY, 1) for limit in changed)


def test_an_override_is_for_its_holder_alone() -> None:
    of_key, of_org = charges(of_limits(REQUESTS, TOKENS, key=(numbers(99),)))
    assert (of_key.limit.windows[0].count, of_org.limit) == (99, TOKENS)
    policy = of_limits(REQUESTS, TOKENS, org=(EXEMPT,))
    assert charges(policy) == (Charge(REQUESTS, KEY, 1),)
    assert len(charges(policy, identity=Identity(KEY))) == 2


def test_an_override_of_a_combined_holder_leaves_its_parts_alone() -> None:
    per_both = replace(TOKENS, per=(Attribute.ORG, Attribute.MODEL))
    both = Holder.together([ACME, Holder(Attribute.MODEL, "big-1")])
    policy = replace(of_limits(TOKENS, per_both), overrides={both: (numbers(99),)})
    found = charges(policy, identity=PRO.asking(model="big-1"))
    assert [each.limit.windows[0].count for each in found] == [10, 99]
    other = charges(policy, identity=PRO.asking(model="big-2"))
    assert [each.limit.windows[0].count for each in other] == [10, 10]


def test_limits_are_found_by_name() -> None:
    assert POLICY.limits == (REQUESTS, TOKENS)


PER_BOTH = replace(TOKENS, name="both", per=(Attribute.ORG, Attribute.MODEL))
PER_END_USER = replace(TOKENS, name="end_user", per=(Attribute.END_USER,))
PER_KEY_END_USER = replace(TOKENS, name="key_end_user", per=(Attribute.KEY, Attribute.END_USER))
PER_MODEL_END_USER = replace(TOKENS, name="model_end_user", per=(Attribute.MODEL, Attribute.END_USER))
OF_ALL = replace(TOKENS, name="all", per=(Attribute.EVERYTHING,))
ALL = (REQUESTS, TOKENS, PER_BOTH, PER_END_USER, PER_KEY_END_USER, PER_MODEL_END_USER, OF_ALL)


@pytest.mark.parametrize(
    ("holder", "names"),
    [
        ("key:a", ["requests"]),
        ("org:acme", ["tokens"]),
        ("everything", ["all"]),
        ("user:u", []),
        ("org:acme+model:small", ["both"]),
        ("model:small+org:acme", ["both"]),
        ("key:a+model:small", []),
        ("key:a+end_user:ann", ["end_user", "key_end_user"]),
        ("user:u+end_user:ann", ["end_user"]),
        ("model:small+key:a+end_user:ann", ["model_end_user"]),
        ("org:acme+key:a+end_user:ann", []),
    ],
)
def test_limits_are_found_by_what_they_are_kept_for(holder: str, names: list[str]) -> None:
    assert [limit.name for limit in of_limits(*ALL).limits_per(Holder.parse(holder))] == names


@pytest.mark.parametrize("limit", ALL)
@pytest.mark.parametrize("principal", ["key:a", "user:u", "network:192.0.2.1/32"])
def test_a_limit_is_found_by_the_holder_that_it_charges(limit: Limit, principal: str) -> None:
    identity = Identity(Holder.parse(principal), {Attribute.KEY: "a", Attribute.ORG: "acme"})
    holder = identity.asking(model="small", end_user="ann").holder(*limit.per)
    assert limit in of_limits(*ALL).limits_per(holder)


def test_the_first_pattern_that_fits_a_model_gives_its_cap() -> None:
    assert [POLICY.output_cap(model) for model in ("big-1", "small")] == [7, 3]
    assert replace(POLICY, max_output_tokens=GlobTable.of({})).output_cap("big-1") == 5


def readings(*waits: int | None, enforced: bool = True) -> list[Reading]:
    return [Reading(REQUESTS, WINDOW, EVERYTHING, 0, 0, wait, enforced) for wait in waits]


@pytest.mark.parametrize(
    ("waits", "action", "reason", "retry_after_us"),
    [
        ((), Action.ALLOW, None, None),
        ((0, 0), Action.ALLOW, None, None),
        ((0, 5), Action.LIMITED, Reason.QUOTA, 5),
        ((9, 5), Action.LIMITED, Reason.QUOTA, 9),
        ((None,), Action.DENY, Reason.TOO_LARGE, None),
        ((9, None, 0), Action.DENY, Reason.TOO_LARGE, None),
        ((0, 0, 1), Action.LIMITED, Reason.QUOTA, 1),
        ((7, 7), Action.LIMITED, Reason.QUOTA, 7),
        ((0, None), Action.DENY, Reason.TOO_LARGE, None),
    ],
)
def test_the_slowest_window_decides(
    waits: tuple[int | None, ...], action: Action, reason: Reason | None, retry_after_us: int | None
) -> None:
    decision = decide(readings(*waits))
    assert (decision.action, decision.reason, decision.retry_after_us) == (action, reason, retry_after_us)
    assert decision.refused == (action is not Action.ALLOW)
    assert len(decision.violated) == sum(wait != 0 for wait in waits)


def test_a_block_goes_before_everything() -> None:
    assert decide(readings(None, 5), blocked=True, block_us=7).retry_after_us == 7
    assert decide(readings(), blocked=True).reason is Reason.BLOCKED


@pytest.mark.parametrize("waits", [(), (0,), (5,), (None,)])
@pytest.mark.parametrize("block_us", [None, 0, 7])
def test_who_is_blocked_is_denied_for_as_long_as_the_block_holds(
    waits: tuple[int | None, ...], block_us: int | None
) -> None:
    decision = decide(readings(*waits), blocked=True, block_us=block_us)
    assert (decision.action, decision.reason) == (Action.DENY, Reason.BLOCKED)
    assert decision.retry_after_us == block_us
    assert decision.refused
    assert decision.readings == tuple(readings(*waits))


def test_a_block_that_has_ended_tells_no_wait() -> None:
    assert decide(readings(0), blocked=False, block_us=7) == decide(readings(0))


@pytest.mark.parametrize(
    ("enforced", "shadowed", "action", "retry_after_us", "refused"),
    [
        ((), (), Action.ALLOW, None, False),
        ((0,), (0,), Action.ALLOW, None, False),
        ((0,), (5,), Action.LIMITED, 5, False),
        ((), (5, 9), Action.LIMITED, 9, False),
        ((0,), (5, None), Action.DENY, None, False),
        ((5,), (0,), Action.LIMITED, 5, True),
        ((5,), (9,), Action.LIMITED, 5, True),
        ((5,), (None,), Action.LIMITED, 5, True),
        ((None,), (9,), Action.DENY, None, True),
    ],
)
def test_what_is_shadowed_is_judged_only_where_nothing_enforced_refuses(
    enforced: tuple[int | None, ...],
    shadowed: tuple[int | None, ...],
    action: Action,
    retry_after_us: int | None,
    *,
    refused: bool,
) -> None:
    told, tried = readings(*enforced), readings(*shadowed, enforced=False)
    for read in ([*told, *tried], [*tried, *told]):
        decision = decide(read)
        assert (decision.action, decision.retry_after_us, decision.refused) == (
            action,
            retry_after_us,
            refused,
        )
        assert decision.visible == tuple(told)
        assert decision.readings == tuple(read)


@pytest.mark.parametrize(
    ("mode", "blocked", "refused"),
    [
        (Mode.ENFORCE, True, True),
        (Mode.SHADOW, True, False),
        (Mode.OFF, True, False),
        (Mode.ENFORCE, False, False),
        (Mode.SHADOW, False, False),
    ],
)
def test_a_block_bites_as_far_as_the_mode_says(mode: Mode, *, blocked: bool, refused: bool) -> None:
    decision = decide(readings(0), mode, blocked=blocked)
    assert (decision.mode, decision.refused) == (mode, refused)
    assert (decision.action is Action.DENY) is blocked


WAITS = st.none() | st.integers(0, 9)


@given(read=st.lists(st.tuples(WAITS, st.booleans())))
def test_a_request_is_refused_exactly_where_an_enforced_window_has_no_room(
    read: list[tuple[int | None, bool]],
) -> None:
    found = [reading for wait, enforced in read for reading in readings(wait, enforced=enforced)]
    decision = decide(found)
    waits = [wait for wait, enforced in read if enforced and wait != 0]
    assert decision.refused == bool(waits)
    assert decision.violated == tuple(reading for reading in found if not reading.fits)
    if waits:
        longest = None if None in waits else max(wait for wait in waits if wait is not None)
        assert decision.retry_after_us == longest


@pytest.mark.parametrize(
    ("per", "told"),
    [
        ((Attribute.KEY,), True),
        ((Attribute.ORG, Attribute.MODEL), True),
        ((Attribute.NETWORK,), True),
        ((Attribute.END_USER,), True),
        ((Attribute.EVERYTHING,), False),
        ((Attribute.MODEL,), False),
        ((Attribute.TIER, Attribute.ROUTE), False),
    ],
)
def test_a_client_is_not_told_what_strangers_have_left(per: tuple[Attribute, ...], *, told: bool) -> None:
    reading = Reading(replace(REQUESTS, per=per), WINDOW, EVERYTHING, 3, 0, 0)
    assert bool(decide([reading]).visible) is told


NOVEL = replace(TOKENS, name="novel", unit=Unit.NOVELTY)


def test_a_diversity_budget_reserves_for_the_cap() -> None:
    policy = of_limits(REQUESTS, NOVEL)
    demand = policy.demand(PRO, query(cap=512))
    assert policy.reserve(PRO, demand, CALLER) == (
        Charge(REQUESTS, KEY, 1),
        Charge(NOVEL, ACME, 1_000, 750),
    )


@pytest.mark.parametrize(("usage", "amount"), [(Usage(2, 512), 1_000), (Usage(2, 0), 0), (NO_USAGE, 0)])
def test_a_diversity_budget_is_owed_what_was_answered(usage: Usage, amount: int) -> None:
    policy = of_limits(REQUESTS, NOVEL)
    demand = policy.demand(PRO, query(cap=512))
    settled = actual_charges(policy.reserve(PRO, demand, CALLER), demand, usage)
    assert settled == (Charge(REQUESTS, KEY, 1), Charge(NOVEL, ACME, amount))


PER_IP = replace(REQUESTS, name="ip", per=(Attribute.IP,))
PER_MODEL = replace(REQUESTS, name="model", per=(Attribute.MODEL,))
OWN_NOVELTY = replace(NOVEL, per=(Attribute.KEY,))
HALF, PRICED = Rung(throttle=0.5), Rung(novelty_price=10)


@pytest.mark.parametrize(
    ("limit", "rung", "left"),
    [
        (REQUESTS, NO_ACTION, 1.0),
        (REQUESTS, HALF, 0.5),
        (REQUESTS, PRICED, 1.0),
        (replace(REQUESTS, per=(Attribute.USER,)), HALF, 0.5),
        (PER_END_USER, HALF, 0.5),
        (replace(REQUESTS, per=(Attribute.KEY, Attribute.MODEL)), HALF, 0.5),
        (TOKENS, HALF, 1.0),
        (PER_BOTH, HALF, 1.0),
        (PER_IP, HALF, 1.0),
        (PER_MODEL, HALF, 1.0),
        (OF_ALL, HALF, 1.0),
        (OWN_NOVELTY, PRICED, 0.1),
        (OWN_NOVELTY, Rung(throttle=0.5, novelty_price=10), 0.05),
        (NOVEL, PRICED, 1.0),
    ],
)
def test_risk_cuts_what_is_the_callers_own_and_nothing_that_others_share(
    limit: Limit, rung: Rung, left: float
) -> None:
    policy = of_limits(limit)
    demand = policy.demand(PRO, query(cap=0, input_tokens=1))
    (charge,) = policy.reserve(PRO, demand, CALLER, rung)
    assert charge.limit == limit
    assert charge.left == pytest.approx(left)


RAMPED = replace(REQUESTS, ramp=Ramp(100, 0.5))
STRANGER, KNOWN = Identity(KEY), Identity(KEY, vouched_by=VouchedBy.TOKEN)


@pytest.mark.parametrize(
    ("limit", "identity", "age_us", "rung", "left", "told"),
    [
        (RAMPED, STRANGER, None, NO_ACTION, 0.5, 0.5),
        (RAMPED, STRANGER, 50, NO_ACTION, 0.75, 0.75),
        (RAMPED, STRANGER, 100, NO_ACTION, 1.0, 1.0),
        (RAMPED, STRANGER, 50, HALF, 0.375, 0.75),
        (RAMPED, KNOWN, None, NO_ACTION, 1.0, 1.0),
        (RAMPED, KNOWN, None, HALF, 0.5, 1.0),
        (replace(RAMPED, per=(Attribute.EVERYTHING,)), STRANGER, None, HALF, 0.5, 0.5),
        (REQUESTS, STRANGER, None, NO_ACTION, 1.0, 1.0),
    ],
)
def test_a_ramp_cuts_what_nobody_vouches_for_until_it_is_over(
    limit: Limit, identity: Identity, age_us: int | None, rung: Rung, left: float, told: float
) -> None:
    policy = of_limits(limit)
    (charge,) = policy.reserve(identity, policy.demand(identity, None), CALLER, rung, age_us)
    assert charge.left == pytest.approx(left)
    assert charge.told == pytest.approx(told)


def test_an_override_is_what_a_ramp_grows_to() -> None:
    policy = of_limits(RAMPED, key=(numbers(100),))
    (charge,) = policy.reserve(STRANGER, policy.demand(STRANGER, None), CALLER)
    assert (charge.limit.windows[0].count, charge.left) == (100, 0.5)


@pytest.mark.parametrize(
    ("per", "holder"),
    [
        (Attribute.EVERYTHING, "everything+key:a"),
        (Attribute.UNVERIFIED, "unverified+key:a"),
        (Attribute.ORG, None),
    ],
)
def test_what_a_caller_has_for_itself_of_a_shared_limit_and_all_have_so_come_behind_it(
    per: Attribute, holder: str | None
) -> None:
    shared = replace(RAMPED, per=(per,), floor=1)
    policy = of_limits(shared)
    charges = policy.reserve(STRANGER, policy.demand(STRANGER, None), CALLER, HALF)
    owns = [(charge.limit, str(charge.holder), charge.left) for charge in charges[1:]]
    assert charges[0].limit == shared
    # Who is held as itself has all of that for itself.
    beside = [(shared.for_each(), holder, 1.0), (shared.for_floors(), str(per), 1.0)]
    assert owns == ([] if holder is None else beside)


def test_a_throttle_cuts_an_override() -> None:
    policy = of_limits(REQUESTS, key=(numbers(100),))
    (charge,) = policy.reserve(PRO, policy.demand(PRO, None), CALLER, HALF)
    assert (charge.limit.windows[0].count, charge.left) == (100, 0.5)


ANN = PRO.asking(end_user="ann")
ANNS = Holder.parse("key:a+end_user:ann")


@pytest.mark.parametrize(
    ("uses", "identity", "suspect", "excused"),
    [
        ({}, ANN, KEY, frozenset()),
        ({KEY: Declared(Use.JUDGE)}, ANN, KEY, Use.JUDGE.excuses(one_person=True)),
        ({ACME: Declared(Use.BATCH)}, ANN, KEY, Use.BATCH.excuses(one_person=True)),
        ({EVERYTHING: Declared(Use.BATCH)}, ANN, KEY, Use.BATCH.excuses(one_person=True)),
        ({Holder(Attribute.KEY, "b"): Declared(Use.BATCH)}, ANN, KEY, frozenset()),
        (
            {KEY: Declared(Use.JUDGE), ACME: Declared(Use.BATCH)},
            ANN,
            KEY,
            Use.JUDGE.excuses(one_person=True) | Use.BATCH.excuses(one_person=True),
        ),
        ({KEY: Declared(Use.ROUTER)}, ANN, ANNS, Use.ROUTER.excuses(one_person=True)),
        ({ACME: Declared(Use.ROUTER)}, ANN, ANNS, Use.ROUTER.excuses(one_person=True)),
        ({KEY: Declared(Use.ROUTER)}, PRO, KEY, Use.ROUTER.excuses(one_person=False)),
        (
            {KEY: Declared(Use.ROUTER), ANNS: Declared(Use.JUDGE)},
            ANN,
            ANNS,
            Use.ROUTER.excuses(one_person=True) | Use.JUDGE.excuses(one_person=True),
        ),
        ({KEY: Declared(Use.ROUTER, until_us=100)}, ANN, KEY, frozenset()),
        ({KEY: Declared(Use.ROUTER, until_us=101)}, ANN, ANNS, Use.ROUTER.excuses(one_person=True)),
    ],
)
def test_evidence_is_about_the_principal_or_about_one_end_user_of_a_router(
    uses: dict[Holder, Declared], identity: Identity, suspect: Holder, excused: frozenset[Signal]
) -> None:
    policy = replace(POLICY, detection=Detection(uses=uses))
    assert policy.suspect(identity, now_us=100) == Suspect(suspect, excused)


def test_without_a_word_from_the_operator_nobody_is_looked_at() -> None:
    assert POLICY.detection.rollout.mode is Mode.OFF
