"""What an operator, or an app, orders of the keys that guard issues."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from guard.admin import Act, KeyOrders, Operator
from guard.clock import SystemClock
from guard.core.identity import Attribute, Holder
from guard.core.issued import MOST_NETWORKS
from guard.core.secret import is_whole
from guard.errors import ConfigError, CredentialError, KeyOrderError, StoreError, UnknownHolderError
from guard.identity.issued import IssuedKeys

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from fakes import Clock

    from guard.settings.root import Settings

DAY = 86_400
TIERS: dict[str, Any] = {"default": {}, "pro": {}}


class Kept(list[Act]):
    async def write(self, act: Act) -> None:
        """Keep an act."""
        self.append(act)


@pytest.fixture
def acts() -> Kept:
    return Kept()


@pytest.fixture
async def operator(make_settings: Callable[..., Settings], acts: Kept) -> AsyncIterator[Operator]:
    async with Operator(make_settings(tiers=TIERS), by="ann", acts=acts) as operator:
        yield operator


@pytest.fixture
def orders(operator: Operator) -> KeyOrders:
    return operator.orders.keys


async def test_a_new_key_has_what_was_said_and_a_secret_that_is_shown_once(
    operator: Operator, orders: KeyOrders
) -> None:
    issued = await orders.new(
        "alice", user="Ann", org="acme", tier="pro", networks=["10.0.0.0/8", "192.0.2.1"], seconds=DAY
    )
    assert is_whole(issued.secret)
    assert issued.secret not in repr(issued)
    found = operator.keys.data(await operator.keys.of("alice"))
    assert found == issued.act.after["key"]
    assert (found["holder"], found["state"]) == ("key:alice", "active")
    assert (found["user"], found["org"], found["tier"]) == ("Ann", "acme", "pro")
    assert found["networks"] == ["10.0.0.0/8", "192.0.2.1/32"]
    assert [secret["until"] for secret in found["secrets"]] == [None]
    assert issued.secret not in str(found)
    assert not re.search(r"[0-9a-f]{32}", str(found)), "not even a hash of it"


ORDERS: dict[str, tuple[Callable[[KeyOrders], Awaitable[Any]], str, Any, Any]] = {
    "rotate": (lambda keys: keys.rotate("alice", 60, "a leak"), "secrets", 1, 2),
    "disable": (lambda keys: keys.disable("alice", "a leak"), "state", "active", "disabled"),
    "revoke": (lambda keys: keys.revoke("alice", "a leak"), "state", "active", "revoked"),
    "change": (lambda keys: keys.change("alice", tier="pro", reason="a leak"), "tier", None, "pro"),
}


@pytest.mark.parametrize("order", ORDERS)
async def test_each_order_is_an_act_with_what_held_before_and_after(
    orders: KeyOrders, acts: Kept, order: str
) -> None:
    give, field_, before, after = ORDERS[order]
    await orders.new("alice")
    await give(orders)
    act = acts[-1]
    assert (act.verb, act.subject, act.by, act.reason) == (f"key {order}", "key:alice", "ann", "a leak")
    shown = [
        value if not isinstance(value, list) else len(value)
        for value in (act.before["key"][field_], act.after["key"][field_])
    ]
    assert shown == [before, after]


@pytest.mark.parametrize("order", ORDERS)
async def test_a_dry_run_changes_nothing(operator: Operator, order: str, acts: Kept) -> None:
    before = (await operator.orders.keys.new("alice")).key
    orders = operator.orders.given("ann", dry_run=True).keys
    await ORDERS[order][0](orders)
    await orders.new("bob")
    assert await operator.keys.all() == [before]
    assert len(acts) == 1


@pytest.mark.parametrize("name", ["", " ", "a" * 257, " alice", "a\nb", "a\x1b[31m", "ab" * 16])
async def test_a_name_that_cannot_be_shown_or_stands_for_an_unknown_key_is_refused(
    orders: KeyOrders, name: str
) -> None:
    with pytest.raises(ValueError, match="name"):
        await orders.new(name)


@pytest.mark.parametrize(
    ("said", "error", "message"),
    [
        ({"tier": "gold"}, ConfigError, "tier 'gold' is not defined; there are default, pro"),
        ({"org": "a\nb"}, ValueError, "org must be 1 to 256 printable characters"),
        ({"networks": ["here"]}, ValueError, "'here' is no network; write one such as 10.0.0.0/8"),
        ({"networks": ["10.0.0.1/8"]}, ValueError, "write 10.0.0.0/8 for all of it"),
        (
            {"networks": [f"10.0.{each}.0/24" for each in range(MOST_NETWORKS + 1)]},
            ValueError,
            f"{MOST_NETWORKS} networks at most",
        ),
    ],
)
async def test_what_cannot_be_said_of_a_key_is_refused(
    operator: Operator, orders: KeyOrders, said: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=re.escape(message)):
        await orders.new("alice", **said)
    assert await operator.keys.all() == []
    await orders.new("alice")
    with pytest.raises(error, match=re.escape(message)):
        await orders.change("alice", **said)


async def test_a_name_is_there_once(orders: KeyOrders) -> None:
    await orders.new("alice")
    with pytest.raises(KeyOrderError, match="a key alice already, which is active; rotate it"):
        await orders.new("alice")
    await orders.revoke("alice")
    with pytest.raises(KeyOrderError, match="which is revoked; its name is free from 20"):
        await orders.new("alice")


async def test_of_two_who_issue_it_at_the_same_time_one_does(operator: Operator, orders: KeyOrders) -> None:
    ends = await asyncio.gather(*(orders.new("alice") for _ in range(5)), return_exceptions=True)
    made = [end for end in ends if not isinstance(end, BaseException)]
    assert len(made) == 1
    assert all(isinstance(end, KeyOrderError) for end in ends if end is not made[0])
    assert (await operator.keys.heard()).find(made[0].secret) is not None


async def test_a_name_of_the_keys_file_is_taken_too(
    make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    (tmp_path / "keys.toml").write_text(f'[alice]\nsha256 = "{"0" * 64}"')
    settings = make_settings(identity={"keys_file": tmp_path / "keys.toml"})
    async with Operator(settings) as operator:
        with pytest.raises(KeyOrderError, match="the keys file has a key alice"):
            await operator.orders.keys.new("alice")


async def test_rotations_at_the_same_time_all_hold(operator: Operator, orders: KeyOrders) -> None:
    first = await orders.new("alice")
    made = await asyncio.gather(*(orders.rotate("alice", DAY) for _ in range(5)))
    heard = await operator.keys.heard()
    now_us = SystemClock().date_us()
    for each in (first, *made):
        found = heard.find(each.secret)
        assert found is not None
        assert found[1].holds(now_us)


@pytest.mark.parametrize("order", ["rotate", "disable", "enable", "change"])
async def test_nothing_can_be_done_to_a_revoked_key(orders: KeyOrders, order: str) -> None:
    await orders.new("alice")
    await orders.revoke("alice")
    with pytest.raises(KeyOrderError, match="alice is revoked, for good"):
        await getattr(orders, order)("alice")
    assert not (await orders.revoke("alice")).changed


async def test_a_key_that_has_expired_may_get_a_later_end(operator: Operator, orders: KeyOrders) -> None:
    secret = (await orders.new("alice", seconds=1e-6)).secret
    with pytest.raises(KeyOrderError, match="`guard key change alice --for 90d` gives it a later end"):
        await orders.rotate("alice")
    await orders.change("alice", seconds=DAY)
    assert operator.keys.data(await operator.keys.of("alice"))["state"] == "active"
    assert (await operator.keys.heard()).find(secret) is not None
    await orders.change("alice", for_good=True)
    assert (await operator.keys.of("alice")).until_us is None


async def test_an_empty_text_takes_away_what_was_said(operator: Operator, orders: KeyOrders) -> None:
    await orders.new("alice", org="acme", user="Ann", networks=["10.0.0.0/8"])
    await orders.change("alice", org="", networks=[])
    key = await operator.keys.of("alice")
    assert (key.attributes, key.networks) == ({Attribute.USER: "Ann"}, ())


@pytest.mark.parametrize("order", ["rotate", "disable", "enable", "revoke", "change"])
async def test_an_order_for_nobody_says_so(orders: KeyOrders, order: str) -> None:
    with pytest.raises(UnknownHolderError, match="there is no issued key bob"):
        await getattr(orders, order)("bob")


async def test_a_damaged_key_is_named(operator: Operator, orders: KeyOrders) -> None:
    await orders.new("alice")
    async with operator._store.asking() as client:
        await client.hset("guard:5:{keys}:issued", "alice", "[]")
    with pytest.raises(StoreError, match="the key alice is damaged in Redis") as error:
        await orders.revoke("alice")
    assert error.value.kind == "damaged"
    assert await operator.keys.all() == []


async def test_keys_are_listed_by_name_or_those_of_an_organisation(
    operator: Operator, orders: KeyOrders
) -> None:
    for name, org in (("c", "acme"), ("a", None), ("b", "acme")):
        await orders.new(name, org=org)
    assert [key.name for key in await operator.keys.all()] == ["a", "b", "c"]
    assert [key.name for key in await operator.keys.all("acme")] == ["b", "c"]


async def test_whose_a_secret_is_is_told_also_where_it_is_refused(
    operator: Operator, orders: KeyOrders
) -> None:
    secret = (await orders.new("alice", org="acme", networks=["10.0.0.0/8"])).secret
    found = await operator.find_credential(f"Bearer {secret}\n")
    assert (found.holders[0], found.how) == (Holder(Attribute.KEY, "alice"), "an issued key, active")
    assert found.attributes[Attribute.ORG] == "acme"
    await orders.rotate("alice", 0)
    assert "an issued key, replaced; it held until 20" in (await operator.find_credential(secret)).how
    await orders.revoke("alice")
    assert (await operator.find_credential(secret)).how == "an issued key, revoked"


@pytest.mark.parametrize(("cut", "detail"), [(0, "issued elsewhere"), (1, "it was cut or mistyped")])
async def test_a_secret_that_nobody_has_is_refused_with_what_may_be_wrong(
    operator: Operator, orders: KeyOrders, cut: int, detail: str
) -> None:
    secret = (await operator.orders.given("ann", dry_run=True).keys.new("alice")).secret
    with pytest.raises(CredentialError) as error:
        await operator.find_credential(secret[cut:] if not cut else secret[:-cut])
    assert detail in str(error.value.detail)


async def test_the_tiers_and_names_that_keys_give_are_known(operator: Operator, orders: KeyOrders) -> None:
    await orders.new("alice", org="acme", tier="pro")
    assert await operator.tiers(Holder(Attribute.ORG, "acme")) == ("pro",)
    assert await operator.tiers(Holder(Attribute.KEY, "alice")) == ("pro",)
    unseen = await operator.unseen(Holder(Attribute.KEY, "alicf"))
    assert unseen is not None
    assert unseen.hint.endswith("did you mean key:alice?")
    unseen = await operator.unseen(Holder(Attribute.ORG, "acne"))
    assert unseen is not None
    assert unseen.hint.endswith("did you mean org:acme?")


@pytest.mark.parametrize("org", ["acme", 'a"c\\me', "Ünal & Söhne", "a/b", "made"])
async def test_keys_are_found_by_what_is_said_of_them_however_that_is_written(
    operator: Operator, orders: KeyOrders, org: str
) -> None:
    await orders.new("made", tier="pro")
    await orders.new("alice", org=org, tier="pro")
    await orders.new("bob", org=f"{org}2")
    assert await operator.tiers(Holder(Attribute.ORG, org)) == ("pro",)


@pytest.mark.parametrize("seconds", [0.0, -1.0, 101 * 366 * DAY, float("inf"), float("nan")])
async def test_an_end_that_is_none_is_refused(orders: KeyOrders, seconds: float) -> None:
    with pytest.raises(ValueError, match="a key ends within 100 years"):
        await orders.new("alice", seconds=seconds)
    await orders.new("alice")
    if seconds:
        with pytest.raises(ValueError, match="a grace is between 0 and 100 years"):
            await orders.rotate("alice", seconds)


@dataclass
class Model:
    """What a key should be: its secrets with their ends, the newest last."""

    secrets: list[list[Any]]
    until: float | None
    disabled: bool = False
    revoked: bool = False

    def reason(self, place: int, now: float) -> str | None:
        """Why a request with one of its secrets should be refused."""
        ends = self.secrets[place][1]
        if self.revoked:
            return "key_revoked"
        if self.until is not None and self.until <= now:
            return "key_expired"
        if ends is not None and ends <= now:
            return "key_rotated"
        return "key_disabled" if self.disabled else None


@dataclass
class World:
    """A store with an operator, a process that serves, and their clock."""

    settings: Settings
    clock: Clock
    runner: asyncio.Runner = field(default_factory=asyncio.Runner)
    numbers: count[int] = field(default_factory=count)


def machine_of(world: World) -> type[RuleBasedStateMachine]:
    """A machine that orders of a few keys, and looks after each order who may come in."""

    class Keys(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.run = world.runner.run
            self.operator = Operator(world.settings)
            self.run(self.operator.__aenter__())
            self.serving = IssuedKeys(self.operator._keys)
            self.prefix = f"{next(world.numbers)}-"
            self.models: dict[str, Model] = {}

        names = st.sampled_from("abc")

        @property
        def orders(self) -> KeyOrders:
            return self.operator.orders.keys

        @property
        def now(self) -> float:
            return self.hours * 3600.0

        hours = 0

        @initialize()
        def begin(self) -> None:
            self.new("a", None)
            self.new("b", 60)

        @rule(name=names, hours=st.none() | st.integers(20, 90))
        def new(self, name: str, hours: int | None) -> None:
            asked = self.orders.new(self.prefix + name, seconds=hours and hours * 3600 - 1800)
            if name in self.models:
                with pytest.raises(KeyOrderError):
                    self.run(asked)
            else:
                until = None if hours is None else self.now + hours * 3600 - 1800
                self.models[name] = Model([[self.run(asked).secret, None]], until)

        @rule(name=names, hours=st.integers(0, 30))
        def rotate(self, name: str, hours: int) -> None:
            grace = max(0, hours * 3600 - 1800)
            asked = self.orders.rotate(self.prefix + name, grace)
            if self._refused(name, asked):
                return
            model = self.models[name]
            holding = [end for _, end in model.secrets if end is None or end > self.now]
            if grace and len(holding) >= 8:
                with pytest.raises(KeyOrderError):
                    self.run(asked)
                return
            for each in model.secrets:
                ends = self.now + grace
                each[1] = ends if each[1] is None else min(each[1], ends)
            model.secrets.append([self.run(asked).secret, None])

        @rule(name=names)
        def disable(self, name: str) -> None:
            if not self._refused(name, asked := self.orders.disable(self.prefix + name)):
                self.run(asked)
                self.models[name].disabled = True

        @rule(name=names)
        def enable(self, name: str) -> None:
            if not self._refused(name, asked := self.orders.enable(self.prefix + name)):
                self.run(asked)
                self.models[name].disabled = False

        @rule(name=names)
        def revoke(self, name: str) -> None:
            asked = self.orders.revoke(self.prefix + name)
            if name in self.models:
                self.run(asked)
                self.models[name].revoked = True
            else:
                self._refused(name, asked)

        @rule(hours=st.integers(1, 15))
        def wait(self, hours: int) -> None:
            self.hours += hours
            world.clock.ahead_seconds += hours * 3600

        @invariant()
        def each_secret_is_judged_as_it_should_be(self) -> None:
            later = IssuedKeys(self.operator._keys)
            self.run(self.serving.hear(self.operator._store))
            self.run(later.hear(self.operator._store))
            for model in self.models.values():
                for place, (secret, _) in enumerate(model.secrets):
                    expected = model.reason(place, self.now)
                    assert self.judged(self.serving, secret) == self.judged(later, secret) == expected

        def judged(self, process: IssuedKeys, secret: str) -> str | None:
            try:
                process.judge(secret, None, SystemClock().date_us(), {})
            except CredentialError as error:
                return error.reason
            return None

        def _refused(self, name: str, asked: Any) -> bool:
            """Whether an order should be refused, and was."""
            model = self.models.get(name)
            if model is None:
                with pytest.raises(UnknownHolderError):
                    self.run(asked)
                return True
            if model.revoked or (model.until is not None and model.until <= self.now):
                with pytest.raises(KeyOrderError):
                    self.run(asked)
                return True
            return False

        def teardown(self) -> None:
            self.run(self.operator.__aexit__(None, None, None))

    return Keys


def test_whatever_is_ordered_each_secret_is_judged_as_a_small_model_says(
    make_settings: Callable[..., Settings], clock: Clock
) -> None:
    """Steps take no half hour, by which all ends are off the full hours at which the clock is put forward."""
    settings = make_settings(tiers=TIERS)
    world = World(settings, clock)
    with world.runner:
        run_state_machine_as_test(
            machine_of(world), settings=hypothesis_settings(stateful_step_count=40, deadline=None)
        )
