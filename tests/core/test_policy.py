from __future__ import annotations

from dataclasses import replace

import pytest

from guard.core.identity import EVERYTHING, Attribute, Holder, Identity
from guard.core.limits import Algorithm, Charge, Limit, Reading, Unit, Window
from guard.core.policy import (
    WEBSOCKET,
    Action,
    Mode,
    OnStoreError,
    Policy,
    Reason,
    Route,
    RouteAction,
    Tier,
    decide,
    settle,
)
from guard.core.query import Query, Usage

WINDOW = Window(10, 60, 10)
REQUESTS = Limit("requests", Unit.REQUESTS, Attribute.KEY, Algorithm.GCRA, (WINDOW,))
TOKENS = Limit("tokens", Unit.TOKENS, Attribute.ORG, Algorithm.GCRA, (WINDOW,))
POLICY = Policy(
    mode=Mode.ENFORCE,
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
    max_output_tokens={"big-*": 7, "*": 3},
    default_max_output_tokens=5,
)


@pytest.mark.parametrize(
    ("method", "path", "action"),
    [
        ("POST", "/v1/chat", RouteAction.GUARD),
        ("GET", "/v1/chat", RouteAction.COUNT),
        ("PUT", "/v1/chat", RouteAction.DENY),
        ("GET", "/v1/models/a/b", RouteAction.COUNT),
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
        ("GET", "/v1/", RouteAction.COUNT),
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
        ("/a*", "/ab/c", True),
        ("/*/c", "/a/b/c", True),
        ("/a?c", "/abc", True),
        ("/a?c", "/a/c", True),
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


def test_of_two_routes_that_match_the_first_decides() -> None:
    routes = (Route("/v1/*", frozenset(), RouteAction.DENY), *POLICY.routes)
    assert replace(POLICY, routes=routes).route("POST", "/v1/chat").action is RouteAction.DENY
    assert POLICY.route("POST", "/v1/chat").dialect == "openai.chat"


def test_what_no_route_names_is_as_set_but_never_a_websocket() -> None:
    open_ = replace(POLICY, unknown_paths=RouteAction.PASS)
    assert open_.route("GET", "/x").action is RouteAction.PASS
    assert open_.route(WEBSOCKET, "/x").action is RouteAction.DENY
    counting = replace(POLICY, unknown_paths=RouteAction.COUNT, routes=())
    assert counting.route("DELETE", "/x/y") == Route("/x/y", frozenset(), RouteAction.COUNT)


@pytest.mark.parametrize(
    ("named", "tier"),
    [("pro", "pro"), ("free", "free"), ("gold", "free"), ("", "free"), ("Pro", "free"), (None, "free")],
)
def test_a_tier_that_does_not_exist_is_the_default_one(named: str | None, tier: str) -> None:
    attributes = {} if named is None else {Attribute.TIER: named}
    assert POLICY.tier(Identity(Holder(Attribute.KEY, "a"), attributes)).name == tier


def test_every_limit_of_the_tier_is_charged_to_its_holder() -> None:
    identity = Identity(Holder(Attribute.KEY, "a"), {Attribute.TIER: "pro", Attribute.ORG: "acme"})
    query = Query("big-1", (), stream=False, max_output_tokens=None, n=1, input_tokens=2)
    charges = POLICY.reserve(identity, query)
    assert charges == (
        Charge(REQUESTS, Holder(Attribute.KEY, "a"), 1),
        Charge(TOKENS, Holder(Attribute.ORG, "acme"), 9),
    )
    assert [charge.amount for charge in settle(charges, Usage(2, 50))] == [1, 52]


def test_limits_are_found_by_name_and_by_what_they_are_kept_for() -> None:
    assert POLICY.limits == (REQUESTS, TOKENS)
    assert POLICY.limits_per(Holder(Attribute.ORG, "x")) == (TOKENS,)
    assert POLICY.limits_per(EVERYTHING) == ()


def test_the_first_pattern_that_fits_a_model_gives_its_cap() -> None:
    assert [POLICY.output_cap(model) for model in ("big-1", "small")] == [7, 3]
    assert replace(POLICY, max_output_tokens={}).output_cap("big-1") == 5


def test_without_a_query_only_the_request_is_charged() -> None:
    identity = Identity(Holder(Attribute.KEY, "a"), {Attribute.TIER: "pro"})
    charges = POLICY.reserve(identity, None)
    assert [(charge.holder, charge.amount) for charge in charges] == [
        (identity.principal, 1),
        (identity.principal, 0),
    ]


def test_an_identity_without_the_attribute_is_charged_itself() -> None:
    identity = Identity(Holder(Attribute.KEY, "a"), {Attribute.TIER: "pro", Attribute.ORG: ""})
    query = Query("m", (), stream=False, max_output_tokens=1, n=2, input_tokens=2)
    assert POLICY.reserve(identity, query)[1] == Charge(TOKENS, identity.principal, 4)


def test_a_tier_without_limits_charges_nothing() -> None:
    policy = replace(POLICY, tiers={"free": Tier("free", (), OnStoreError.DENY)})
    assert policy.reserve(Identity(EVERYTHING), None) == ()


def readings(*waits: int | None) -> list[Reading]:
    return [Reading(REQUESTS, WINDOW, EVERYTHING, 0, 0, wait) for wait in waits]


@pytest.mark.parametrize(
    ("waits", "action", "reason", "retry_after_us"),
    [
        ((), Action.ALLOW, None, None),
        ((0, 0), Action.ALLOW, None, None),
        ((0, 5), Action.THROTTLE, Reason.QUOTA, 5),
        ((9, 5), Action.THROTTLE, Reason.QUOTA, 9),
        ((None,), Action.DENY, Reason.TOO_LARGE, None),
        ((9, None, 0), Action.DENY, Reason.TOO_LARGE, None),
        ((0, 0, 1), Action.THROTTLE, Reason.QUOTA, 1),
        ((7, 7), Action.THROTTLE, Reason.QUOTA, 7),
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
