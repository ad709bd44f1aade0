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
    ],
)
def test_the_first_route_that_matches_decides(method: str, path: str, action: RouteAction) -> None:
    assert POLICY.route(method, path).action is action


def test_what_no_route_names_is_as_set_but_never_a_websocket() -> None:
    open_ = replace(POLICY, unknown_paths=RouteAction.PASS)
    assert open_.route("GET", "/x").action is RouteAction.PASS
    assert open_.route(WEBSOCKET, "/x").action is RouteAction.DENY


@pytest.mark.parametrize(
    ("named", "tier"), [("pro", "pro"), ("free", "free"), ("gold", "free"), ("", "free"), (None, "free")]
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
