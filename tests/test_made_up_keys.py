"""Keys that nobody has checked: how long they are remembered, and how many of one network (W19)."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import TYPE_CHECKING, cast

import pytest
from commands import guard, open_store
from fakes import Clock, Guarded, call
from redis import Redis
from starlette.responses import JSONResponse

from guard.admin import Operator
from guard.core.evidence import Band
from guard.core.holds import Held
from guard.core.identity import Attribute, Holder, Identity, VouchedBy
from guard.core.signals import Group
from guard.demo.model import FakeModel
from guard.errors import StoreError
from guard.identity.crowds import Crowds
from guard.installation import Installation
from guard.store.embedded.server import EmbeddedServer
from guard.store.redis.condition import Capacity

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from starlette.types import Receive, Scope, Send

    from guard import Event

    MakeGuarded = Callable[..., Guarded]

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
REQUESTS = {"name": "requests", "unit": "requests", "rate": "5/day"}
PUBLIC = "8.8.4.4"
DAY_MS = 86_400_000


def client_of(redis_url: str) -> Redis:
    return Redis(unix_socket_path=redis_url.removeprefix("unix://"))


def lives(redis_url: str) -> dict[str, int]:
    """How long each key of guard's lives on that is a holder's, in ms."""
    with client_of(redis_url) as client:
        names = cast("list[bytes]", client.keys("guard:5:{*"))
        ours = [name for name in names if b"{lineage}" not in name]  # tables of fixed size, for all
        return {name.decode(): cast("int", client.pttl(name)) for name in ours}


async def test_w19_what_is_kept_of_a_made_up_key_lives_a_day(guarded: MakeGuarded, redis_url: str) -> None:
    novel = {"name": "novel", "unit": "novelty", "rate": "50/day"}
    app = guarded(FakeModel(), REQUESTS, novel)
    before = lives(redis_url)
    assert (await call(app, body=CHAT, headers={"authorization": "Bearer sk-made-up"})).status == 200
    await app.settled()
    left = {name: ms for name, ms in lives(redis_url).items() if name not in before}
    nouns = {name.rsplit("}:")[-1] for name in left}
    assert {"record", "evidence", "coverage", "counts"} <= nouns
    for name, ms in left.items():
        # A limit of 5/day is needed for two days, and kept for a quarter more; all else is gone after one.
        assert 0 < ms <= (2.5 * DAY_MS + 75_000 if "counts" in name else DAY_MS), name


async def test_w19_further_made_up_keys_of_a_network_share_its_limits(guarded: MakeGuarded) -> None:
    app = guarded(FakeModel(), REQUESTS, store={"unverified_per_network": 3})

    async def ask(key: str, client: str = PUBLIC) -> int:
        return (await call(app, body=CHAT, headers={"authorization": f"Bearer {key}"}, client=client)).status

    assert [await ask(f"sk-{number}") for number in range(3)] == [200] * 3
    # Whoever comes with more keys has the five of one holder with all of them.
    assert [await ask(f"sk-new-{number}") for number in range(8)] == [200] * 5 + [429] * 3
    # Those that are known go on, and so does everybody else.
    assert [await ask("sk-0") for _ in range(5)] == [200] * 4 + [429]
    assert await ask("sk-new-0", client="8.8.8.8") == 200


@dataclass(frozen=True)
class Crowded:
    """An app whose network has used up its five a day, and a key that counts under it."""

    app: Guarded
    secret: str = "sk-made-up"

    @property
    def holder(self) -> Holder:
        keys = Installation.of(self.app.settings).keys
        return Holder(Attribute.KEY, keys.credential(self.secret))

    async def status(self, secret: str | None = None) -> int:
        headers = {"authorization": f"Bearer {secret or self.secret}"}
        return (await call(self.app, body=CHAT, headers=headers, client=PUBLIC)).status

    async def order(self, order: Callable[[Operator, Holder], Awaitable[object]]) -> None:
        async with Operator(self.app.settings) as operator:
            await order(operator, self.holder)
        await self.app.hear()


@pytest.fixture
async def crowded(guarded: MakeGuarded) -> Crowded:
    crowded = Crowded(guarded(FakeModel(), REQUESTS, store={"unverified_per_network": 1}))
    assert await crowded.status("sk-first") == 200
    assert [await crowded.status() for _ in range(6)] == [200] * 5 + [429]
    return crowded


ORDERS: dict[str, tuple[Callable[[Operator, Holder], Awaitable[object]], list[int]]] = {
    "a block": (lambda operator, key: operator.orders.block(key, None, "leaked"), [403]),
    "a block for a while": (lambda operator, key: operator.orders.block(key, 3_600, "leaked"), [403]),
    "an exemption": (lambda operator, key: operator.orders.override(key, "*"), [200] * 12),
    "other numbers": (
        lambda operator, key: operator.orders.override(key, "requests", rate="7/day"),
        [200] * 7 + [429],
    ),
    "a reset": (lambda operator, key: operator.orders.reset(key), [200] * 5 + [429]),
    "evidence forgiven": (lambda operator, key: operator.orders.forgive(key), [200] * 5 + [429]),
}


@pytest.mark.parametrize(("order", "statuses"), ORDERS.values(), ids=ORDERS)
async def test_an_order_for_a_key_holds_while_its_network_has_too_many(
    crowded: Crowded, order: Callable[[Operator, Holder], Awaitable[object]], statuses: list[int]
) -> None:
    await crowded.order(order)
    assert [await crowded.status() for _ in statuses] == statuses
    # All others of its network still count together.
    assert await crowded.status("sk-other") == 429


async def test_a_key_whose_block_was_lifted_counts_for_itself_still(crowded: Crowded) -> None:
    await crowded.order(lambda operator, key: operator.orders.block(key, 3_600, "leaked"))
    await crowded.order(lambda operator, key: operator.orders.unblock(key))
    assert [await crowded.status() for _ in range(6)] == [200] * 5 + [429]


@pytest.mark.parametrize("settings", ["overrides", "uses"])
async def test_a_key_that_the_settings_name_counts_for_itself(guarded: MakeGuarded, settings: str) -> None:
    app = guarded(FakeModel(), REQUESTS, store={"unverified_per_network": 1})
    key = str(Crowded(app).holder)
    named = {
        "overrides": {"overrides": [{"holder": key, "limit": "requests", "rate": "2/day"}]},
        "uses": {"uses": [{"holder": key, "use": "evaluation"}]},
    }
    identity = {"pepper": app.settings.identity.pepper}
    crowded = Crowded(
        guarded(
            FakeModel(), REQUESTS, store={"unverified_per_network": 1}, identity=identity, **named[settings]
        )
    )
    assert [await crowded.status(f"sk-{number}") for number in range(7)] == [200] * 6 + [429]
    admitted = 2 if settings == "overrides" else 5
    assert [await crowded.status() for _ in range(admitted + 1)] == [200] * admitted + [429]


async def test_a_hold_on_a_key_holds_while_its_network_has_too_many(
    guarded: MakeGuarded, clock: Clock
) -> None:
    ladder = {"high": {"hold": True}}
    app = guarded(FakeModel(), REQUESTS, store={"unverified_per_network": 1}, ladder=ladder)
    crowded = Crowded(app)
    assert [await crowded.status(f"sk-{number}") for number in range(3)] == [200] * 3
    store = (await app.middleware._opened())._installation.store
    held = Held("req_1", Band.HIGH, (Group.CONTENT,), 1, 1 << 52)
    assert await store.set_review(crowded.holder, held, instead_of=None)
    await app.hear()
    assert await crowded.status() == 403
    await crowded.order(lambda operator, key: operator.orders.release(key, 3_600))
    clock.ahead_seconds += 2
    assert [await crowded.status() for _ in range(6)] == [200] * 5 + [429]


def identity(key: str, network: str = "8.8.4.4/32", *, verified: bool = False) -> Identity:
    attributes = {Attribute.KEY: key, Attribute.NETWORK: network}
    vouched_by = VouchedBy.KEYS_FILE if verified else None
    return Identity(Holder(Attribute.KEY, key), attributes, vouched_by)


def test_w19_a_crowd_is_held_together_until_one_of_it_has_been_away() -> None:
    crowds = Crowds(2, 100)
    a, b, c = map(identity, "abc")
    assert [crowds.held(each, 0) for each in (a, b)] == [a, b]
    together = crowds.held(c, 1)
    assert together.principal == Holder(Attribute.NETWORK, "8.8.4.4/32")
    assert together.attributes == {Attribute.NETWORK: "8.8.4.4/32"}
    assert together.holder(Attribute.KEY) == together.principal
    assert crowds.held(a, 60) == a
    assert crowds.held(c, 100) == c
    assert crowds.held(b, 101).principal == together.principal
    assert len(crowds) == 2


def test_w19_a_key_that_was_accepted_takes_the_place_of_one_that_was_not() -> None:
    crowds = Crowds(2, 100)
    a, b, c, d = map(identity, "abcd")
    assert [crowds.held(each, 0) for each in (a, b)] == [a, b]
    crowds.accept(a, 1)
    together = crowds.held(c, 1)
    assert together.principal == Holder(Attribute.NETWORK, "8.8.4.4/32")
    crowds.accept(together, 2)
    assert [crowds.held(each, 3) for each in (c, a)] == [c, a]
    assert crowds.held(b, 3).principal == together.principal
    # All places belong to accepted keys: the next one waits until one of them has been away.
    crowds.accept(crowds.held(d, 3), 4)
    assert crowds.held(d, 5).principal == together.principal
    assert crowds.held(c, 50) == c
    assert crowds.held(d, 103) == d
    assert len(crowds) == 2


def test_w19_a_key_that_lost_its_place_while_it_was_served_has_it_again() -> None:
    crowds = Crowds(1, 100)
    a, b = map(identity, "ab")
    assert crowds.held(a, 0) == a
    crowds.accept(crowds.held(b, 0), 1)
    assert crowds.held(b, 2) == b
    crowds.accept(a, 3)
    assert crowds.held(a, 4).principal == Holder(Attribute.NETWORK, "8.8.4.4/32")
    assert len(crowds) == 1


async def test_w19_keys_that_the_server_refuses_shut_no_true_one_out(guarded: MakeGuarded) -> None:
    true = {f"Bearer sk-true-{number}".encode() for number in range(3)}

    async def checking(scope: Scope, receive: Receive, send: Send) -> None:
        known = dict(scope["headers"])[b"authorization"] in true
        await JSONResponse({"choices": []}, 200 if known else 401)(scope, receive, send)

    app = guarded(checking, REQUESTS, store={"unverified_per_network": 2})

    async def ask(key: str) -> int:
        return (await call(app, body=CHAT, headers={"authorization": f"Bearer {key}"}, client=PUBLIC)).status

    assert [await ask(f"sk-made-up-{number}") for number in range(4)] == [401] * 4
    # Held by the network, which has two of its five left, once each; then by its own key.
    for key in ("sk-true-0", "sk-true-1"):
        assert [await ask(key) for _ in range(7)] == [200] * 6 + [429]
    assert [await ask(f"sk-made-up-{number}") for number in range(4, 8)] == [401] + [429] * 3


@pytest.mark.parametrize(
    ("ip", "network", "held_by"),
    [
        ("8.8.4.4", "8.8.4.4/32", "8.8.4.4/32"),
        ("8.8.4.4", "8.8.4.0/24", "8.8.4.0/24"),
        ("2a00:1450:4001::1", "2a00:1450:4001::/64", "2a00:1450:4001::/48"),
        ("2a00:1450:4001::1", "2a00:1450:4001::/48", "2a00:1450:4001::/48"),
        ("2a00:1450:4001::1", "2a00:1450::/32", "2a00:1450::/32"),
        ("8.8.4.4", "a name that a log gives", "8.8.4.4/32"),
    ],
)
def test_a_crowd_is_of_one_address_whatever_a_network_is(ip: str, network: str, held_by: str) -> None:
    crowds = Crowds(most=1, seconds=60)

    def of(key: str, ip: str) -> Identity:
        known = identity(key, network)
        return replace(known, attributes={**known.attributes, Attribute.IP: ip})

    neighbour = str(ip_address(ip) + (1 if "." in ip else 1 << 80))
    assert crowds.held(of("a", ip), 0).principal.value == "a"
    assert crowds.held(of("b", neighbour), 0).principal.value == "b"
    together = crowds.held(of("c", ip), 0)
    assert together.principal == Holder(Attribute.NETWORK, held_by)
    assert together.crowded_out == Holder(Attribute.KEY, "c")


def test_w19_the_networks_of_one_ipv6_site_are_one_crowd() -> None:
    crowds = Crowds(2, 100)
    asked = [crowds.held(identity(f"k{number}", f"2a00:1450:4001:{number}::/64"), 0) for number in range(9)]
    assert len({each.principal for each in asked}) == 3
    assert asked[-1].principal == Holder(Attribute.NETWORK, "2a00:1450:4001::/48")
    other = identity("k", "2a00:1450:4002::/64")
    assert crowds.held(other, 0) == other


@pytest.mark.parametrize(
    "free",
    [
        identity("c", verified=True),
        identity("c", "10.0.0.7/32"),
        identity("c", "127.0.0.1/32"),
        identity("c", "fd00::/64"),
        identity("c", "unknown"),
        Identity(Holder(Attribute.USER, "c"), {Attribute.USER: "c", Attribute.NETWORK: "8.8.4.4/32"}),
    ],
)
def test_who_is_checked_or_comes_from_no_public_address_is_in_no_crowd(free: Identity) -> None:
    crowds = Crowds(1, 100)
    crowds.held(identity("a", free.attributes[Attribute.NETWORK]), 0)
    assert crowds.held(free, 0) == free


def test_a_flood_of_networks_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("guard.identity.crowds.MOST_KEYS", 50)
    crowds = Crowds(3, 100)
    for number in range(500):
        crowds.held(identity(f"k{number}", f"9.9.{number // 200}.{number % 200}/32"), 0)
    assert len(crowds) == 50


@pytest.fixture
def evicting(tmp_path: Path) -> Iterator[str]:
    """A server that forgets keys when it is full."""
    with EmbeddedServer(tmp_path / "store", maxmemory_mb=20) as server:
        with Redis(unix_socket_path=str(server.socket)) as client:
            client.config_set("maxmemory-policy", "allkeys-lru")
        yield f"unix://{server.socket}"


def test_w19_guards_own_server_is_bounded_and_forgets_nothing(tmp_path: Path) -> None:
    (tmp_path / "guard.toml").write_text("store.maxmemory_mb = 33\n")
    open_store(tmp_path)
    done = guard("check", "--store", folder=tmp_path)
    assert done.returncode == 0
    assert "maxmemory 33 MB" in done.stdout
    assert "noeviction" in done.stdout
    assert "on_store_error" in done.stdout


def test_w19_a_server_that_forgets_is_warned_of_by_check(evicting: str, tmp_path: Path) -> None:
    environment = {"GUARD_STORE__REDIS_URL": evicting, "GUARD_IDENTITY__PEPPER": "sixteen characters"}
    done = guard("check", "--store", folder=tmp_path, **environment)
    assert done.returncode == 0
    assert "allkeys-lru" in done.stderr
    assert "noeviction" in done.stderr
    assert "allkeys-lru" not in guard("check", folder=tmp_path, **environment).stderr


async def test_w19_a_server_that_forgets_is_warned_of_at_the_start(
    guarded: MakeGuarded, evicting: str, caplog: pytest.LogCaptureFixture
) -> None:
    events: list[Event] = []
    app = guarded(FakeModel(), REQUESTS, store={"redis_url": evicting}, hooks=[events.append])
    with caplog.at_level(logging.INFO):
        await call(app, body=CHAT)
    # The analyst has a connection of its own, and says so too where it runs in a thread.
    record, *_ = [record for record in caplog.records if "maxmemory-policy" in record.getMessage()]
    assert record.levelno == logging.WARNING
    assert "allkeys-lru" in record.getMessage()
    await app.hear()
    await call(app, body=CHAT)
    assert events[-1].store_forgets


@pytest.mark.parametrize(
    ("room", "words"),
    [
        (Capacity(0, 5 << 20, "noeviction"), "Redis has no maxmemory, uses 5 MB"),
        (Capacity(64 << 20, 5 << 20, "volatile-lru"), "it forgets counts"),
        (Capacity(64 << 20, 5 << 20, "noeviction"), "requests go by `on_store_error`"),
    ],
)
def test_what_a_full_server_does_is_said_in_words(room: Capacity, words: str) -> None:
    assert words in str(room)


async def test_a_server_that_does_not_say_what_it_does_when_full_is_used(
    guarded: MakeGuarded, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def forbidden(_: object) -> None:
        raise StoreError("NOPERM", kind="permission")

    monkeypatch.setattr("guard.store.redis.store.RedisStore.capacity", forbidden)
    app = guarded(FakeModel(), REQUESTS)
    assert (await call(app, body=CHAT)).status == 200
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
