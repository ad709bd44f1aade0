from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fakes import FlakyStore

from guard.core.globs import GlobTable
from guard.core.identity import Attribute, Holder, Identity
from guard.core.limits import Algorithm, Charge, Limit, Unit, Window
from guard.core.modes import Mode, Rollout
from guard.core.policy import Action, Caller, OnStoreError, Policy, Reason, RouteAction, Tier
from guard.core.prices import PriceTable
from guard.core.query import Query, Usage
from guard.engine import Engine

if TYPE_CHECKING:
    from guard.store.operator import OperatorStore
    from guard.telemetry import Event

ALICE = Identity(Holder(Attribute.KEY, "alice"), {Attribute.KEY: "alice"}, verified=True)
QUERY = Query("m", (), stream=False, max_output_tokens=100, n=1, input_bytes=40, other_tokens=0)
LIMITS = tuple(
    Limit(name, unit, (Attribute.KEY,), Algorithm.SLIDING_WINDOW, (Window(count, 3600, count),))
    for name, unit, count in (("requests", Unit.REQUESTS, 3), ("tokens", Unit.TOKENS, 1000))
)


def policy(on_store_error: OnStoreError = OnStoreError.DENY, mode: Mode = Mode.ENFORCE) -> Policy:
    return Policy(
        rollout=Rollout(mode),
        tiers={"default": Tier("default", LIMITS, on_store_error)},
        default_tier="default",
        routes=(),
        unknown_paths=RouteAction.DENY,
        max_output_tokens=GlobTable.of({}),
        default_max_output_tokens=4096,
        prices=PriceTable.of({}),
    )


def owed(identity: Identity, query: Query) -> tuple[Charge, ...]:
    return policy().reserve(identity, policy().demand(identity, query), Caller())


async def left(store: OperatorStore) -> list[int]:
    verdict = await store.look(ALICE, [Charge(limit, ALICE.principal, 0) for limit in LIMITS])
    return [reading.remaining for reading in verdict.readings]


async def test_an_estimate_is_reserved_and_settled_to_the_usage(store: OperatorStore) -> None:
    engine = Engine(policy(), store, store.keys, hooks=())
    admission = await engine.admit("r", ALICE, QUERY, "/")
    assert not admission.refused
    assert await left(store) == [2, 1000 - 110]
    await engine.settle(admission, Usage(12, 34), 200)
    assert await left(store) == [2, 1000 - 46]


async def test_what_was_waved_through_is_charged_when_the_store_is_back(store: OperatorStore) -> None:
    flaky = FlakyStore(store)
    engine = Engine(policy(OnStoreError.ALLOW), flaky, store.keys, hooks=())
    admission = await engine.admit("r", ALICE, QUERY, "/")
    assert (admission.decision.action, admission.decision.reason) == (Action.ALLOW, Reason.STORE)
    await engine.settle(admission, Usage(12, 34), 200)
    flaky.broken = False
    await engine.drain()
    assert await left(store) == [2, 1000 - 46]


async def test_what_timed_out_but_was_charged_is_given_back_when_it_is_denied(store: OperatorStore) -> None:
    flaky = FlakyStore(store, "timeout")
    engine = Engine(policy(), flaky, store.keys, hooks=())
    await store.admit("r", ALICE, owed(ALICE, QUERY))  # the script ran, only its answer was late
    admission = await engine.admit("r", ALICE, QUERY, "/")
    assert admission.refused
    assert admission.decision.retry_after_us is not None
    assert 1_000_000 <= admission.decision.retry_after_us <= 5_000_000
    flaky.broken = False
    await engine.drain()
    assert await left(store) == [3, 1000]


async def test_what_timed_out_but_was_charged_is_not_charged_twice_when_it_is_allowed(
    store: OperatorStore,
) -> None:
    flaky = FlakyStore(store, "timeout")
    engine = Engine(policy(OnStoreError.ALLOW), flaky, store.keys, hooks=())
    await store.admit("r", ALICE, owed(ALICE, QUERY))
    admission = await engine.admit("r", ALICE, QUERY, "/")
    flaky.broken = False
    await engine.settle(admission, Usage(12, 34), 200)
    await engine.drain()
    assert await left(store) == [2, 1000 - 46]


@pytest.mark.parametrize(("mode", "refused"), [(Mode.ENFORCE, True), (Mode.SHADOW, False)])
async def test_shadow_decides_alike_and_charges_alike(
    store: OperatorStore, mode: Mode, *, refused: bool
) -> None:
    events: list[Event] = []
    engine = Engine(policy(mode=mode), store, store.keys, hooks=[events.append])
    for number in range(4):
        admission = await engine.admit(f"r{number}", ALICE, QUERY, "/")
        if admission.refused:
            engine.refuse(admission, 429)
        else:
            await engine.settle(admission, Usage(1, 1), 200)
    assert admission.decision.action is Action.THROTTLE
    assert admission.refused is refused
    assert admission.decision.mode is mode
    assert await left(store) == [0, 1000 - 6]
    assert [event.action for event in events] == [Action.ALLOW] * 3 + [Action.THROTTLE]
    assert events[3].limits == ("requests",)
