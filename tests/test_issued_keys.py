"""Keys that guard issues, at the door: who comes with one, and what becomes of it while processes serve."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from fakes import Clock, Guarded, Heard, call
from redis import Redis

from guard.admin import Operator
from guard.core.identity import Attribute, Holder
from guard.core.secret import SECRET_BYTES, secret_of
from guard.demo.model import FakeModel
from guard.errors import StoreError
from guard.store.embedded.server import EmbeddedServer
from guard.store.redis.keys import ISSUED, ISSUED_ENDS, ISSUED_VERSIONS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from guard.admin import KeyOrders
    from guard.telemetry.events import Failure

    MakeGuarded = Callable[..., Guarded]

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
REQUESTS = {"name": "requests", "unit": "requests", "rate": "5/day"}
PER_ORG = {**REQUESTS, "per": "org"}
PRO = {"default": {"limits": [REQUESTS]}, "pro": {"limits": [{**REQUESTS, "rate": "50/day"}]}}
DAY = 86_400
PATHS = ["/v1/chat/completions", "/v1/messages", "/v1beta/models/m:generateContent", "/api/chat"]


class Failures:
    """A hook that keeps the failures."""

    def __init__(self) -> None:
        self.found: list[Failure] = []

    def __call__(self, event: object, /) -> None:
        """Leave the rest alone."""

    def failed(self, failure: Failure, /) -> None:
        """Keep one."""
        self.found.append(failure)


@asynccontextmanager
async def ordering(app: Guarded, *, hear: bool = True) -> AsyncIterator[KeyOrders]:
    """An operator's orders, of which the app has heard when they are given."""
    async with Operator(app.settings, by="ann") as operator:
        yield operator.orders.keys
    if hear:
        await app.hear()


async def issued(app: Guarded, name: str = "alice", **said: Any) -> str:
    async with ordering(app) as keys:
        return (await keys.new(name, **said)).secret


async def status(app: Guarded, secret: str, client: str = "192.0.2.1", **headers: str) -> int:
    asked = {"authorization": f"Bearer {secret}", **headers}
    return (await call(app, body=CHAT, headers=asked, client=client)).status


async def reason(app: Guarded, secret: str, client: str = "192.0.2.1") -> tuple[int, str]:
    """How a request is refused, and why by the log."""
    failures = Failures()
    service = await app.middleware._opened()
    hooks, service.engine._events._hooks = service.engine._events._hooks, (failures,)
    try:
        answered = await status(app, secret, client)
    finally:
        service.engine._events._hooks = hooks
    (failure,) = failures.found
    assert failure.status == answered
    return answered, failure.reason


class TestWhoComes:
    async def test_a_key_that_is_issued_while_a_process_serves_names_its_caller(
        self, guarded: MakeGuarded
    ) -> None:
        heard = Heard()
        app = guarded(FakeModel(), hooks=(heard,), tiers=PRO)
        assert await status(app, "sk-other") == 200
        secret = await issued(app, user="Ann", org="acme", tier="pro")
        answer = await call(app, body=CHAT, headers={"x-api-key": secret})
        assert answer.status == 200
        assert answer.headers["x-ratelimit-limit-requests"] == "50"
        await app.settled()
        assert (heard[-1].identity, heard[-1].tier, heard[-1].vouched_by) == ("key:alice", "pro", "issued")
        async with Operator(app.settings) as operator:
            sheet = await operator.show(Holder(Attribute.KEY, "alice"))
        assert sheet.record is not None
        attributes = sheet.record.identity.attributes
        assert (attributes[Attribute.USER], attributes[Attribute.ORG]) == ("Ann", "acme")

    @pytest.mark.parametrize("path", PATHS)
    async def test_it_may_come_in_every_place_for_a_key(self, guarded: MakeGuarded, path: str) -> None:
        app = guarded(FakeModel(), REQUESTS, identity={"unknown_keys": "refuse"})
        secret = await issued(app)
        body = (
            {"contents": [{"parts": [{"text": "hi"}]}]} if "generate" in path else {**CHAT, "max_tokens": 9}
        )
        for header in ("x-api-key", "x-goog-api-key", "api-key"):
            assert (await call(app, path, body, headers={header: secret})).status == 200
        if "generate" in path:
            assert (await call(app, f"{path}?key={secret}", body)).status == 200

    async def test_a_process_that_starts_later_knows_it_at_its_first_request(
        self, guarded: MakeGuarded
    ) -> None:
        first, later = (guarded(FakeModel(), REQUESTS) for _ in range(2))
        secret = await issued(first)
        assert await status(later, secret) == 200

    async def test_nothing_that_a_request_says_changes_whose_key_it_is(self, guarded: MakeGuarded) -> None:
        app = guarded(FakeModel(), tiers=PRO)
        secret = await issued(app)
        asked = {**CHAT, "user": "mallory", "tier": "pro", "metadata": {"tier": "pro"}}
        headers = {"x-api-key": secret, "x-tier": "pro", "x-user-id": "mallory", "x-org-id": "big"}
        answer = await call(app, body=asked, headers=headers)
        assert answer.headers["x-ratelimit-limit-requests"] == "5"

    async def test_its_limits_are_its_own_wherever_it_is_used(self, guarded: MakeGuarded) -> None:
        app = guarded(FakeModel(), REQUESTS)
        secret = await issued(app)
        answered = [await status(app, secret, f"192.0.2.{number}") for number in range(6)]
        assert answered == [200] * 5 + [429]

    async def test_what_the_keys_file_says_of_a_name_holds_where_both_have_it(
        self, guarded: MakeGuarded, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        file = tmp_path / "keys.toml"
        file.write_text(f'[bob]\nsha256 = "{"0" * 64}"')
        app = guarded(FakeModel(), tiers=PRO, identity={"keys_file": file})
        secret = await issued(app, tier="default")
        file.write_text(f'[alice]\nsha256 = "{"0" * 64}"\ntier = "pro"')
        other = guarded(FakeModel(), tiers=PRO, identity={"keys_file": file})
        answer = await call(other, body=CHAT, headers={"x-api-key": secret})
        assert answer.headers["x-ratelimit-limit-requests"] == "50"
        assert "key 'alice' is in the keys file and issued" in caplog.text


class TestWhatIsRefused:
    @pytest.mark.parametrize("accepted", ["accept", "refuse"])
    async def test_a_secret_that_nobody_was_issued_is_refused_whatever_becomes_of_unknown_keys(
        self, guarded: MakeGuarded, accepted: str
    ) -> None:
        app = guarded(FakeModel(), REQUESTS, identity={"unknown_keys": accepted})
        secret = await issued(app)
        made_up = secret_of(secrets.token_bytes(SECRET_BYTES))
        answers = [
            await call(app, body=CHAT, headers={"x-api-key": each})
            for each in (made_up, secret[:-1], "guard_key_")
        ]
        assert {answer.status for answer in answers} == {401}
        messages = {answer.json["error"]["message"] for answer in answers}
        assert messages == {"Incorrect API key provided."}

    async def test_near_misses_and_ten_thousand_random_secrets_are_all_unknown(
        self, guarded: MakeGuarded
    ) -> None:
        app = guarded(FakeModel(), REQUESTS)
        secret = await issued(app)
        service = await app.middleware._opened()
        judge = partial(service.rules.identifier.judge, client=("192.0.2.1", 1))
        near = [secret[:place] + letter + secret[place + 1 :] for place in range(10, 59) for letter in "0aZ"]
        near += [secret[:length] for length in range(10, 59)] + [secret + "0", secret.swapcase()]
        random = [secret_of(secrets.token_bytes(SECRET_BYTES)) for _ in range(10_000)]
        assert judge([(b"x-api-key", secret.encode())]).identity.principal.value == "alice"
        for each in (*near, *random):
            if each == secret:
                continue
            if not each.startswith("guard_key_"):
                assert not judge([(b"x-api-key", each.encode())]).identity.verified
                continue
            with pytest.raises(Exception, match="Incorrect API key provided"):
                judge([(b"x-api-key", each.encode())])

    async def test_a_disabled_key_is_served_again_when_it_is_enabled(self, guarded: MakeGuarded) -> None:
        app = guarded(FakeModel(), REQUESTS)
        secret = await issued(app)
        assert await status(app, secret) == 200
        async with ordering(app) as keys:
            await keys.disable("alice")
        assert await reason(app, secret) == (403, "key_disabled")
        async with ordering(app) as keys:
            await keys.enable("alice")
        assert await status(app, secret) == 200

    async def test_a_revoked_key_never_comes_back(self, guarded: MakeGuarded, clock: Clock) -> None:
        app = guarded(FakeModel(), REQUESTS)
        secret = await issued(app)
        async with ordering(app) as keys:
            await keys.revoke("alice")
        assert await reason(app, secret) == (401, "key_revoked")
        clock.ahead_seconds = 91 * DAY
        other = guarded(FakeModel(), REQUESTS)
        assert await reason(other, secret) == (
            401,
            "key_revoked",
        )  # the store's clock says when it is forgotten

    async def test_a_key_ends_at_its_end_although_nobody_orders_anything(
        self, guarded: MakeGuarded, clock: Clock
    ) -> None:
        app = guarded(FakeModel(), REQUESTS)
        secret = await issued(app, seconds=DAY)
        assert await status(app, secret) == 200
        clock.ahead_seconds = DAY - 60
        assert await status(app, secret) == 200
        clock.ahead_seconds = DAY + 1
        assert await reason(app, secret) == (401, "key_expired")

    @pytest.mark.parametrize(
        ("client", "headers", "answered"),
        [
            ("10.1.2.3", {}, 200),
            ("192.0.2.1", {}, 403),
            ("192.0.2.1", {"x-forwarded-for": "10.1.2.3"}, 403),
            ("172.16.0.1", {"x-forwarded-for": "10.1.2.3"}, 200),
            ("172.16.0.1", {"x-forwarded-for": "10.1.2.3, 192.0.2.1"}, 403),
            ("172.16.0.1", {}, 403),
            ("", {}, 403),
        ],
    )
    async def test_a_key_that_is_bound_to_networks_holds_there_by_the_address_that_proxies_give(
        self, guarded: MakeGuarded, client: str, headers: dict[str, str], answered: int
    ) -> None:
        app = guarded(FakeModel(), REQUESTS, identity={"trusted_proxies": ["172.16.0.0/12"]})
        secret = await issued(app, networks=["10.0.0.0/8", "2001:db8::/32"])
        assert await status(app, secret, client, **headers) == answered
        assert await status(app, secret, client, **headers) == answered, "what is remembered is told again"

    @pytest.mark.parametrize("path", PATHS)
    async def test_each_api_says_it_in_its_own_shape(self, guarded: MakeGuarded, path: str) -> None:
        app = guarded(FakeModel(), REQUESTS)
        secret = await issued(app, networks=["10.0.0.0/8"])
        revoked = await issued(app, "bob")
        async with ordering(app) as keys:
            await keys.revoke("bob")
        for each, code, said in (
            (secret, 403, "This API key may not be used from this address."),
            (revoked, 401, "This API key was revoked."),
        ):
            answer = await call(app, path, CHAT, headers={"x-api-key": each})
            error = answer.json["error"]
            assert answer.status == code
            assert said in (error if isinstance(error, str) else error["message"])
            assert "10.0.0.0" not in answer.body.decode()

    async def test_the_log_says_whose_key_it_was_and_never_the_secret(
        self, guarded: MakeGuarded, caplog: pytest.LogCaptureFixture
    ) -> None:
        app = guarded(FakeModel(), REQUESTS)
        secret = await issued(app)
        async with ordering(app) as keys:
            await keys.disable("alice")
        assert await status(app, secret) == 403
        lines = [json.loads(text) for each in caplog.records if (text := each.getMessage()).startswith("{")]
        failed = next(line for line in lines if line.get("kind") == "failed")
        assert (failed["identity"], failed["reason"]) == ("key:alice", "key_disabled")
        assert secret not in caplog.text
        assert secret[-20:] not in caplog.text


class TestRotation:
    async def test_both_secrets_hold_during_the_grace_and_have_one_budget(
        self, guarded: MakeGuarded, clock: Clock
    ) -> None:
        app = guarded(FakeModel(), REQUESTS)
        old = await issued(app)
        assert [await status(app, old) for _ in range(2)] == [200, 200]
        async with ordering(app) as keys:
            new = (await keys.rotate("alice", 3600)).secret
        assert [await status(app, each) for each in (old, new, old)] == [200] * 3
        assert [await status(app, each) for each in (old, new)] == [429, 429]
        clock.ahead_seconds = 3601
        assert await reason(app, old) == (401, "key_rotated")

    async def test_overrides_and_blocks_hold_over_it(self, guarded: MakeGuarded) -> None:
        app = guarded(FakeModel(), REQUESTS)
        await issued(app)
        alice = Holder(Attribute.KEY, "alice")
        async with Operator(app.settings) as operator:
            await operator.orders.override(alice, "requests", rate="9/day")
            new = (await operator.orders.keys.rotate("alice", 0)).secret
            await app.hear()
            answer = await call(app, body=CHAT, headers={"x-api-key": new})
            assert answer.headers["x-ratelimit-limit-requests"] == "9"
            await operator.orders.block(alice, 60, "")
            assert await status(app, new) == 403

    async def test_no_request_is_lost_while_keys_are_rotated(self, guarded: MakeGuarded) -> None:
        app = guarded(FakeModel(), {**REQUESTS, "rate": "100000/day"})
        current = await issued(app)
        answered: list[int] = []
        over = asyncio.Event()

        async def keep_asking() -> None:
            while not over.is_set():
                answered.append(await status(app, current))

        asking = [asyncio.create_task(keep_asking()) for _ in range(4)]
        for _ in range(5):
            async with ordering(app) as keys:
                new = (await keys.rotate("alice", 3600)).secret
            current = new  # which each process knows by now
            for _ in range(3):
                await asyncio.sleep(0)
        over.set()
        await asyncio.gather(*asking)
        assert len(answered) > 5
        assert set(answered) == {200}


class TestWithoutTheStore:
    async def test_what_was_heard_last_holds_while_it_is_down(
        self, guarded: MakeGuarded, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        app = guarded(FakeModel(), REQUESTS, on_store_error="allow")
        secret, disabled = await issued(app), await issued(app, "bob")
        async with ordering(app) as keys:
            await keys.disable("bob")
        service = await app.middleware._opened()

        async def down(version: int) -> None:
            raise AssertionError("a request asks the store for keys")

        monkeypatch.setattr(service.engine._store, "issued_since", down)
        assert await status(app, secret) == 200
        assert await status(app, disabled) == 403

    async def test_where_it_was_never_heard_a_key_is_told_to_come_again(
        self, guarded: MakeGuarded, redis_url: str
    ) -> None:
        app = guarded(
            FakeModel(),
            REQUESTS,
            store={"redis_url": "redis://127.0.0.1:1/0", "deadline_ms": 50},
            on_store_error="allow",
        )
        answer = await call(app, body=CHAT, headers={"x-api-key": secret_of(bytes(32))})
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert await reason(app, secret_of(bytes(32))) == (503, "keys_unheard")
        assert await status(app, "sk-other") == 200

    async def test_a_store_that_has_lost_its_keys_is_not_believed(
        self, guarded: MakeGuarded, redis_url: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        app = guarded(FakeModel(), REQUESTS)
        secret = await issued(app)
        lose(redis_url)
        await app.hear()
        assert await status(app, secret) == 200
        assert caplog.text.count("Redis has lost its keys; the 1 that were heard hold") == 1
        await app.hear()
        assert caplog.text.count("Redis has lost its keys") == 1
        new = await issued(app, "bob")
        assert (await status(app, secret), await status(app, new)) == (401, 200)

    async def test_what_is_wrong_with_all_of_it_is_said_once(
        self, guarded: MakeGuarded, redis_url: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        app = guarded(FakeModel(), REQUESTS)
        secret = await issued(app)
        with client_of(redis_url) as client:
            client.set(ISSUED_VERSIONS, "not ours")
            client.hset(ISSUED, "", "1 2")
        for _ in range(3):
            await app.hear()
        assert caplog.text.count("Redis has lost its keys") == 1
        assert await status(app, secret) == 200

    async def test_a_process_that_starts_while_redis_is_full_knows_the_keys(
        self, guarded: MakeGuarded, tmp_path: Path
    ) -> None:
        with EmbeddedServer(tmp_path, maxmemory_mb=64) as server:
            store = {"redis_url": f"unix://{server.socket}", "deadline_ms": 60_000}
            first = guarded(FakeModel(), REQUESTS, store=store)
            secret, revoked = await issued(first), await issued(first, "bob")
            async with ordering(first) as keys:
                await keys.revoke("bob")
            with client_of(f"unix://{server.socket}") as client:
                client.config_set("maxmemory", 1)
            later = guarded(FakeModel(), REQUESTS, store=store, on_store_error="allow")
            assert await status(later, secret) == 200
            assert await reason(later, revoked) == (401, "key_revoked")
            async with Operator(later.settings) as operator:
                with pytest.raises(StoreError, match="no memory left"):
                    await operator.orders.keys.revoke("alice")
            for app in (first, later):
                await app.middleware.aclose()

    async def test_one_that_has_lost_a_part_is(self, guarded: MakeGuarded, redis_url: str) -> None:
        """As a replica that took over before it had all."""
        app = guarded(FakeModel(), REQUESTS)
        await issued(app)
        lost = await issued(app, "bob")
        with client_of(redis_url) as client:
            client.hdel(ISSUED, "bob")
            client.zrem(ISSUED_VERSIONS, "bob")
        new = await issued(app, "carl")
        assert (await status(app, lost), await status(app, new)) == (401, 200)

    async def test_a_damaged_key_is_nobodys_and_the_others_hold(
        self, guarded: MakeGuarded, redis_url: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        app = guarded(FakeModel(), REQUESTS)
        broken, whole = await issued(app), await issued(app, "bob")
        with client_of(redis_url) as client:
            client.hset(ISSUED, "alice", '{"v":7}')
        other = guarded(FakeModel(), REQUESTS)
        assert (await status(other, broken), await status(other, whole)) == (401, 200)
        assert "the key 'alice' is damaged in Redis, so it is nobody's" in caplog.text


class TestWhatAStartSays:
    @pytest.mark.parametrize("says_org", [True, False])
    async def test_settings_are_not_blamed_for_what_keys_say(
        self, guarded: MakeGuarded, caplog: pytest.LogCaptureFixture, says_org: bool
    ) -> None:
        first = guarded(FakeModel(), PER_ORG)
        await issued(first, org="acme" if says_org else None)
        caplog.clear()
        caplog.set_level(logging.WARNING, "guard")
        assert await status(guarded(FakeModel(), PER_ORG), "sk-other") == 200
        assert ("nothing says the org of a caller" in caplog.text) != says_org


def client_of(redis_url: str) -> Redis:
    return Redis(unix_socket_path=redis_url.removeprefix("unix://"))


def lose(redis_url: str) -> None:
    with client_of(redis_url) as client:
        client.delete(ISSUED, ISSUED_VERSIONS, ISSUED_ENDS)
