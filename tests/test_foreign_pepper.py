"""A worker or a command with another pepper is refused, and says why (U15)."""

from __future__ import annotations

import asyncio
import logging
import secrets
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from commands import guard
from fakes import Guarded, call
from redis import Redis

from guard.core.identity import Attribute, Holder, Identity
from guard.demo.model import FakeModel
from guard.errors import ConfigError, StoreError
from guard.store.redis.keys import CONTROL, FINGERPRINT, TERMS, Keys
from guard.store.redis.orders import OperatorStore
from guard.store.transport.nodes import nodes_at
from guard.store.transport.url import RedisURL

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from starlette.types import Message

    MakeGuarded = Callable[..., Guarded]

ALICE = Identity(Holder(Attribute.KEY, "alice"), {Attribute.KEY: "alice"})
KEY = {"authorization": "Bearer sk-test"}
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
REQUESTS = {"name": "requests", "unit": "requests", "rate": "100/hour"}


def store_at(redis_url: str) -> OperatorStore:
    nodes = partial(nodes_at, RedisURL.parse(redis_url), 5.0)
    return OperatorStore(Keys(secrets.token_bytes(16)), nodes, deadline_seconds=5.0)


def client_of(redis_url: str) -> Redis:
    return Redis(unix_socket_path=redis_url.removeprefix("unix://"))


@pytest.mark.parametrize(
    "verb",
    [
        ["block", "network:203.0.113.9"],
        ["limits", "exempt", "key:bob"],
        ["top"],
        ["show", "key:bob"],
        ["mode", "shadow"],
        ["unblock", "network:203.0.113.9"],
    ],
)
async def test_u15_a_command_with_another_pepper_does_nothing_and_says_so(
    guarded: MakeGuarded, redis_url: str, tmp_path: Path, verb: list[str]
) -> None:
    app = guarded(FakeModel(), REQUESTS)
    assert (await call(app, body=CHAT, headers=KEY)).status == 200
    with client_of(redis_url) as client:
        client.delete(TERMS, CONTROL)
        done = guard(
            *verb,
            folder=tmp_path,
            GUARD_STORE__REDIS_URL=redis_url,
            GUARD_IDENTITY__PEPPER="another pepper than theirs",
        )
        assert client.exists(TERMS, CONTROL) == 0
    assert done.returncode != 0
    assert "identity.pepper" in done.stderr
    assert "store.redis_url" in done.stderr
    assert done.stdout == ""


async def test_u15_a_worker_with_another_pepper_does_not_start(store: OperatorStore, redis_url: str) -> None:
    await store.start()
    other = store_at(redis_url)
    with pytest.raises(ConfigError, match=r"identity\.pepper"):
        await other.start()
    await other.aclose()
    again = OperatorStore(store.keys, partial(nodes_at, RedisURL.parse(redis_url), 5.0))
    await again.start()
    await again.aclose()


async def test_c3_a_worker_that_does_not_start_says_nothing_of_requests(
    guarded: MakeGuarded, store: OperatorStore, caplog: pytest.LogCaptureFixture
) -> None:
    await store.start()
    app = guarded(FakeModel(), REQUESTS, identity={"pepper": "another pepper than theirs"})
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "lifespan.startup"}

    async def send(message: Message) -> None:
        sent.append(message)

    with pytest.raises(ConfigError, match=r"identity\.pepper"):
        await app({"type": "lifespan"}, receive, send)
    assert [each["type"] for each in sent] == ["lifespan.startup.failed"]
    for _ in range(50):
        await asyncio.sleep(0)
    assert not [record for record in caplog.records if "on_store_error" in record.getMessage()]


async def test_u15_what_could_not_be_asked_at_the_start_is_asked_later(
    store: OperatorStore, redis_url: str
) -> None:
    """A worker that started while Redis was down counts nothing once it hears of another pepper."""
    await store.start()
    late = store_at(redis_url)
    with pytest.raises(StoreError) as refused:
        await late.control("worker")
    assert refused.value.kind == "pepper"
    with pytest.raises(StoreError, match=r"identity\.pepper"):
        await late.look(ALICE, [])
    with client_of(redis_url) as client:
        client.delete(FINGERPRINT)
    await late.control("worker")
    assert (await late.look(ALICE, [])).admitted
    await late.aclose()


async def test_u15_an_emptied_store_is_claimed_again(
    guarded: MakeGuarded, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = guarded(FakeModel(), REQUESTS)
    assert (await call(app, body=CHAT, headers=KEY)).status == 200
    with client_of(redis_url) as client:
        mine = client.get(FINGERPRINT)
        client.delete(FINGERPRINT)
        await app.hear()
        assert client.get(FINGERPRINT) == mine
        assert client.ttl(FINGERPRINT) > 0
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_u15_a_worker_that_hears_of_another_pepper_goes_on_by_on_store_error(
    guarded: MakeGuarded, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = guarded(FakeModel(), REQUESTS, store={"redis_url": redis_url, "local_share": 0.01})
    assert (await call(app, body=CHAT, headers=KEY)).status == 200
    with client_of(redis_url) as client:
        client.set(FINGERPRINT, "f" * 32)
    await app.hear()
    answers = [await call(app, body=CHAT, headers=KEY) for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 429, 429]
    assert "identity.pepper" in caplog.text


def test_the_fingerprint_is_no_name_and_no_secret_of_the_pepper() -> None:
    keys = Keys(b"a pepper of sixteen")
    others: list[Any] = [keys.secret("fingerprint"), keys.credential("fingerprint of the pepper")]
    assert keys.fingerprint not in [*others, keys.secret("fingerprint").hex()[:32]]
    assert keys.fingerprint == Keys(b"a pepper of sixteen").fingerprint
    assert keys.fingerprint != Keys(b"a pepper of sixteeN").fingerprint
