"""Every order tells in one act what held before and what holds after, who gave it and why."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from guard.admin import Act, Operator
from guard.core.campaigns import Campaign, Member, Verdict
from guard.core.evidence import Band
from guard.core.holds import Held
from guard.core.identity import Attribute, Holder, Identity
from guard.core.limits import Charge
from guard.core.modes import Mode
from guard.core.query import Usage
from guard.core.signals import Group, Signal
from guard.errors import StoreError, UnknownHolderError
from guard.installation import Installation
from guard.store.port import Reservation
from guard.store.redis.orders import OperatorStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from guard.settings.root import Settings

    Give = Callable[[Operator], Awaitable[Act]]

BOB = Holder(Attribute.KEY, "bob")
NOW_US = time.time_ns() // 1000
HELD = Held("req_1", Band.HIGH, (Group.CONTENT,), NOW_US, NOW_US + 3_600_000_000)
CAMPAIGN = Campaign("c1", NOW_US, NOW_US, Verdict.LIKELY, 20.0, 1.0, {"key:bob": Member(NOW_US, 1.0)})


class Kept(list[Act]):
    """Acts, in the order in which they came."""

    async def write(self, act: Act) -> None:
        self.append(act)


class Unwritable:
    async def write(self, act: Act) -> None:
        raise StoreError("the disk is full", kind="response")


@pytest.fixture
async def settings(make_settings: Callable[..., Settings]) -> AsyncIterator[Settings]:
    """Bob has used one request, looks like a scraper, and is a member of a campaign."""
    settings = make_settings({"name": "requests", "unit": "requests", "rate": "10/hour"})
    store = Installation.of(settings, deadline_seconds=60).store
    await store.start()
    bob = Identity(BOB, {Attribute.KEY: "bob"})
    charges = tuple(Charge(limit, BOB, 1) for limit in settings.policy().limits)
    reservation = Reservation("r1", bob, charges)
    await store.admit(reservation)
    await store.settle(reservation, Usage(10, 20))
    await store.accuse(BOB, bob, {Signal.ENUMERATION: 30.0}, NOW_US, 1 << 40)
    await store.set_review(BOB, HELD, instead_of=None)
    await store.keep_campaigns([CAMPAIGN], [], NOW_US)
    yield settings
    await store.set_mode(Mode.ENFORCE)
    await store.aclose()


async def given(settings: Settings, *orders: Give, dry_run: bool = False) -> tuple[list[Act], list[Act]]:
    """What orders of Ann's return, and what was kept of them."""
    kept = Kept()
    async with Operator(settings, by="ann", dry_run=dry_run, acts=kept) as operator:
        return [await order(operator) for order in orders], kept


CONTENT = {"groups": ["content"]}
TERM = {"exempt": False, "windows": [{"window_seconds": 3_600, "count": 5, "burst": 5}], "until": None}
EXEMPT = {"exempt": True, "windows": [], "until": None}
TIERS = {"tiers": ["default"]}

ORDERS: dict[str, tuple[Give, str, str, Any, Any]] = {
    "block": (
        lambda operator: operator.orders.block(BOB, None, "leaked"),
        *("block", "key:bob"),
        {"block": None, "review": {"held": True, "receipt": "req_1", "band": "high", **CONTENT}},
        {"block": {"until": None, "reason": "leaked"}, "review": None},
    ),
    "unblock": (
        lambda operator: operator.orders.unblock(BOB, "leaked"),
        *("unblock", "key:bob"),
        {"block": None},
        {"block": None},
    ),
    "reset": (
        lambda operator: operator.orders.reset(BOB, "leaked"),
        *("reset", "key:bob"),
        {"used": {"requests": 1}},
        {"used": {}},
    ),
    "forgive": (
        lambda operator: operator.orders.forgive(BOB, "leaked"),
        *("forgive", "key:bob"),
        {"evidence": {"signals": ["enumeration"], "queries": 0}},
        {"evidence": None},
    ),
    "override": (
        lambda operator: operator.orders.override(BOB, "requests", rate="5/hour", reason="leaked"),
        *("limits set", "key:bob"),
        {"limits": {}},
        {"limits": {"requests": {**TERM, **TIERS}}},
    ),
    "exempt": (
        lambda operator: operator.orders.override(BOB, "*", reason="leaked"),
        *("limits exempt", "key:bob"),
        {"limits": {}},
        {"limits": {"*": {**EXEMPT, **TIERS}}},
    ),
    "drop an override": (
        lambda operator: operator.orders.drop_override(BOB, "requests", "leaked"),
        *("limits clear", "key:bob"),
        {"limits": {}},
        {"limits": {}},
    ),
    "mode": (
        lambda operator: operator.orders.set_mode(Mode.SHADOW, "leaked"),
        *("mode", "everything"),
        {"mode": "enforce"},
        {"mode": "shadow"},
    ),
    "release": (
        lambda operator: operator.orders.release(BOB, None, "leaked"),
        *("release", "key:bob"),
        {"review": {"held": True, **CONTENT}},
        {"review": {"held": False, "until": None, "reason": "leaked", **CONTENT}},
    ),
    "verdict": (
        lambda operator: operator.orders.judge("c1", "unrelated", "leaked", None),
        *("verdict", "campaign:c1"),
        {"verdict": "likely", "said_by": None},
        {"verdict": "unrelated", "said_by": "ann"},
    ),
    "drop a verdict": (
        lambda operator: operator.orders.drop_verdict("c1", "leaked"),
        *("verdict --drop", "campaign:c1"),
        {"verdict": "likely", "said_by": None},
        {"verdict": "likely", "said_by": None},
    ),
    "clear": (
        lambda operator: operator.orders.clear("c1", BOB, "leaked"),
        *("clear", "key:bob"),
        {"campaign": "c1", "member": True},
        {"campaign": "c1", "member": False},
    ),
}


def part_of(whole: Any, like: Any) -> Any:
    """What a state says of the things that another names."""
    if not isinstance(like, dict) or not isinstance(whole, dict):
        return whole
    return {name: part_of(whole.get(name), like[name]) for name in like}


@pytest.mark.parametrize(("order", "verb", "subject", "before", "after"), ORDERS.values(), ids=ORDERS)
async def test_an_order_hands_on_what_held_before_and_holds_after(
    settings: Settings, order: Give, verb: str, subject: str, before: Any, after: Any
) -> None:
    (act,), kept = await given(settings, order)
    assert kept == [act]
    assert (act.verb, act.subject, act.by, act.reason, act.failed) == (verb, subject, "ann", "leaked", "")
    assert (part_of(act.before, before), part_of(act.after, after)) == (before, after)
    assert set(act.before) == set(before)
    assert set(act.after) == set(after)
    assert act.changed == (before != after)
    assert abs(act.at_us - time.time_ns() // 1000) < 3_600_000_000


@pytest.mark.parametrize("order", [each[0] for each in ORDERS.values()], ids=ORDERS)
async def test_a_dry_run_tells_the_same_and_changes_nothing(settings: Settings, order: Give) -> None:
    (planned,), kept = await given(settings, order, dry_run=True)
    assert kept == []
    (done,), _ = await given(settings, order)
    assert (done.before, done.after) == (planned.before, planned.after)


async def test_what_an_order_says_holds_after_holds_before_the_next(settings: Settings) -> None:
    acts, _ = await given(
        settings,
        lambda operator: operator.orders.block(BOB, None, "leaked"),
        lambda operator: operator.orders.unblock(BOB),
        lambda operator: operator.orders.override(BOB, "requests", rate="5/hour"),
        lambda operator: operator.orders.drop_overrides(BOB),
        lambda operator: operator.orders.judge("c1", "unrelated", "a class", None),
        lambda operator: operator.orders.drop_verdict("c1"),
        lambda operator: operator.orders.set_mode(Mode.SHADOW),
        lambda operator: operator.orders.set_mode(Mode.ENFORCE),
    )
    for first, then in zip(acts[::2], acts[1::2], strict=True):
        assert part_of(first.after, then.before) == then.before


async def test_a_reload_counts_generations(settings: Settings) -> None:
    acts, _ = await given(settings, *[lambda operator: operator.orders.reload("new keys")] * 2)
    assert acts[1].before["generation"] == acts[0].after["generation"] == acts[0].before["generation"] + 1
    assert {(act.verb, act.subject, act.reason) for act in acts} == {("reload", "everything", "new keys")}


async def test_nothing_is_changed_that_cannot_be_kept(settings: Settings) -> None:
    async with Operator(settings, acts=Unwritable()) as operator:
        with pytest.raises(StoreError, match="disk is full"):
            await operator.orders.block(BOB, None, "leaked")
        assert (await operator.show(BOB)).blocks == ()


async def test_an_order_that_fails_is_kept_with_the_reason(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> None:
        raise StoreError("no room", kind="response")

    kept = Kept()
    monkeypatch.setattr(OperatorStore, "block", refuse)
    async with Operator(settings, by="ann", acts=kept) as operator:
        with pytest.raises(StoreError, match="no room"):
            await operator.orders.block(BOB, None, "leaked")
    assert [(act.verb, act.failed) for act in kept] == [("block", ""), ("block", "no room")]


async def test_somebody_else_may_give_the_same_orders(settings: Settings) -> None:
    kept = Kept()
    async with Operator(settings, by="ann", acts=kept) as operator:
        await operator.orders.given("bob").block(BOB, None, "leaked")
        await operator.orders.given("bob", dry_run=True).unblock(BOB)
        await operator.orders.unblock(BOB)
    assert [(act.verb, act.by) for act in kept] == [("block", "bob"), ("unblock", "ann")]


@pytest.mark.parametrize(
    ("by", "reason", "told"),
    [
        ("", "leaked", "by must have 1 to 100 characters, got ''"),
        ("a" * 101, "leaked", "by must have 1 to 100"),
        ("ann", "x" * 1_001, "a reason must have 1,000 characters at most, and this has 1,001"),
    ],
)
async def test_who_and_why_are_bounded(settings: Settings, by: str, reason: str, told: str) -> None:
    kept = Kept()
    async with Operator(settings, by=by, acts=kept) as operator:
        with pytest.raises(ValueError, match=told):
            await operator.orders.block(BOB, None, reason)
        assert (await operator.show(BOB)).blocks == ()
    assert kept == []


async def test_who_was_no_member_cannot_be_taken_out(settings: Settings) -> None:
    with pytest.raises(UnknownHolderError, match="key:carol is no member of campaign c1"):
        await given(
            settings, lambda operator: operator.orders.clear("c1", Holder(Attribute.KEY, "carol"), "")
        )
