"""Keys that are issued, rotated and ended through the operator's API."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import TypeAdapter

from guard.admin.once import REMEMBERED_SECONDS, Once
from guard.api.app import OPERATIONS
from guard.api.keys import KEYS
from guard.errors import StoreError
from guard.installation import Installation

if TYPE_CHECKING:
    import httpx2
    from api_client import Client

    from guard.settings.root import Settings

ORDERS: dict[str, dict[str, Any]] = {
    "key/new": {"name": "dora", "org": "acme/eu", "networks": ["10.0.0.0/8"], "for": "90d"},
    "key/rotate": {"name": "carl", "grace": "12h"},
    "key/disable": {"name": "carl"},
    "key/enable": {"name": "carl"},
    "key/revoke": {"name": "carl", "reason": "leaked"},
    "key/change": {"name": "carl", "org": "globex", "until": "2099-01-01"},
}


@pytest.fixture(autouse=True)
async def carl(api: Client) -> str:
    """The secret of the key of that name."""
    return str((await api.order("key/new", name="carl"))["secret"])


def test_there_is_an_example_of_each() -> None:
    assert {each.path for each in KEYS if each.is_order} == {f"orders/{path}" for path in ORDERS}


@pytest.mark.parametrize("path", ORDERS)
async def test_each_is_carried_out_tried_and_kept_from_who_may_only_read(path: str, api: Client) -> None:
    gives = next(each.gives for each in OPERATIONS if each.path == f"orders/{path}")
    assert (await api.post(f"orders/{path}", ORDERS[path], "bob")).status_code == 403
    tried = await api.order(path, **ORDERS[path], dry_run=True)
    done = await api.order(path, **ORDERS[path])
    assert TypeAdapter(gives).validate_python(done)
    assert (done["changed"], done["by"]) == (path != "key/enable", "ann")
    assert tried.get("secret") is None
    assert ("secret" in done) == (path in ("key/new", "key/rotate"))


async def test_a_secret_is_told_once_and_its_key_is_found(api: Client, carl: str) -> None:
    found = await api.post("find", {"credential": carl})
    assert found.json()["names"][0] == "key:carl"
    for path, query in (("key", {"name": "carl"}), ("keys", {}), ("audit", {})):
        answer = await api.get(path, "bob", **query)
        assert answer.status_code == 200
        assert "carl" in answer.text
        assert carl not in answer.text


async def test_a_rotated_one_is_another(api: Client, carl: str) -> None:
    done = await api.order("key/rotate", name="carl")
    assert done["secret"] != carl
    assert len((await api.told("key", name="carl"))["secrets"]) == 2


async def test_a_name_is_given_once(api: Client) -> None:
    answer = await api.post("orders/key/new", {"name": "carl"})
    assert (answer.status_code, answer.json()["title"]) == (409, "Not as the key stands")


async def test_what_is_revoked_stays_so(api: Client) -> None:
    await api.order("key/revoke", name="carl")
    answer = await api.post("orders/key/enable", {"name": "carl"})
    assert answer.status_code == 409
    assert (await api.told("key", name="carl"))["state"] == "revoked"


async def test_one_that_is_not_there_is_a_404(api: Client) -> None:
    assert (await api.get("key", name="nobody")).status_code == 404
    assert (await api.post("orders/key/disable", {"name": "nobody"})).status_code == 404


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": "a", "org": "a\nb"}, "org"),
        ({"name": "a", "networks": ["here"]}, "networks"),
        ({"name": "a", "networks": "10.0.0.0/8"}, "networks"),
        ({"name": "a", "networks": ["name"]}, "networks"),
        ({"name": "a", "for": "0d"}, "for"),
        ({"name": "a", "for": "999999w"}, "for"),
        ({"name": "a", "until": "2999-01-01"}, "until"),
    ],
)
async def test_a_wrong_field_is_named(body: dict[str, Any], field: str, api: Client) -> None:
    answer = await api.post("orders/key/new", body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["field"] == field


async def test_a_grace_that_is_too_long_is_named(api: Client) -> None:
    answer = await api.post("orders/key/rotate", {"name": "carl", "grace": "999999w"})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "grace")


async def test_a_tier_that_is_not_there_is_a_409(api: Client) -> None:
    answer = await api.post("orders/key/new", {"name": "a", "tier": "gold"})
    assert answer.json()["title"] == "Not with these settings"


class TestWithAnIdempotencyKey:
    """A new key and a rotation are ordered once, however often they are asked for."""

    async def test_an_order_is_carried_out_once(self, api: Client) -> None:
        first = await again(api, "rotate", {"name": "carl"}, "k1")
        second = await again(api, "rotate", {"name": "carl"}, "k1")
        assert first.json()["secret"]
        assert (second.status_code, second.json()["title"]) == (409, "Given before")
        assert first.json()["secret"] not in second.text
        assert len((await api.told("key", name="carl"))["secrets"]) == 2
        assert (await again(api, "rotate", {"name": "carl"}, "k2")).status_code == 200

    async def test_of_many_at_once_one_is(self, api: Client) -> None:
        answers = await asyncio.gather(*(again(api, "rotate", {"name": "carl"}, "k1") for _ in range(20)))
        assert sorted(each.status_code for each in answers) == [200, *[409] * 19]
        assert len((await api.told("key", name="carl"))["secrets"]) == 2

    async def test_one_that_was_refused_or_tried_does_not_count(self, api: Client) -> None:
        for body, status in (
            ({"name": "carl"}, 409),
            ({"name": "a", "tier": "gold"}, 409),
            ({"name": "a\nb"}, 422),
            ({"name": "dora", "dry_run": True}, 200),
            ({"name": "dora"}, 200),
            ({"name": "dora"}, 409),
        ):
            answer = await again(api, "new", body, "k1")
            assert answer.status_code == status, answer.text
        assert answer.json()["title"] == "Given before"

    async def test_one_of_which_nobody_knows_what_became_counts(
        self, api: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def lost(*_: Any, **__: Any) -> bool:
            raise StoreError("it was reset", kind="connection")

        with monkeypatch.context() as broken:
            broken.setattr("guard.store.redis.orders.OperatorStore.keep_issued", lost)
            assert (await again(api, "new", {"name": "dora"}, "k1")).status_code == 503
        assert (await again(api, "new", {"name": "dora"}, "k1")).json()["title"] == "Given before"

    async def test_it_is_kept_for_a_day_as_a_hash_of_it_and_of_the_token(
        self, api: Client, settings: Settings
    ) -> None:
        await again(api, "rotate", {"name": "carl"}, "k1-of-ann")
        store = Installation.of(settings, deadline_seconds=60).store
        await store.start()
        async with store.asking() as client:
            kept = [key async for key in client.scan_iter(match="guard:*:told:*")]
            assert len(kept) == 1
            assert b"ann" not in kept[0]
            assert 0 < await client.ttl(kept[0]) <= REMEMBERED_SECONDS
        assert await Once(store).give("bob", "k1-of-ann", order=nothing) == "done"
        await store.aclose()

    @pytest.mark.parametrize("keys", [["a b"], [""], ["x" * 256], ["\xe9"], ["a", "b"]])
    async def test_one_that_cannot_be_read_is_said(self, keys: list[str], api: Client) -> None:
        headers = [("idempotency-key", each.encode("latin-1")) for each in keys]
        answer = await api.send("POST", "/v1/orders/key/rotate", headers=headers, json={"name": "carl"})
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] == "Idempotency-Key"

    async def test_orders_that_can_be_given_twice_need_none(self, api: Client) -> None:
        for _ in range(2):
            assert (await again(api, "disable", {"name": "carl"}, "k1")).status_code == 200


async def again(api: Client, verb: str, body: dict[str, Any], key: str) -> httpx2.Response:
    """The answer to an order about a key that is given under an idempotency key."""
    headers = [("idempotency-key", key)]
    return await api.send("POST", f"/v1/orders/key/{verb}", headers=headers, json=body)


async def nothing() -> str:
    return "done"


async def test_secrets_are_kept_by_nobody_on_the_way_and_not_logged(
    api: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    answer = await api.post("orders/key/rotate", {"name": "carl", "reason": "a leak"})
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["secret"] not in caplog.text
