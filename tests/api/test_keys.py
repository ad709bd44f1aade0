"""Keys that are issued, rotated and ended through the operator's API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import TypeAdapter

from guard.api.app import OPERATIONS
from guard.api.keys import KEYS

if TYPE_CHECKING:
    from api_client import Client

ORDERS: dict[str, dict[str, Any]] = {
    "key/new": {"name": "dora", "org": "acme/eu", "networks": ["10.0.0.0/8"], "for": "90d"},
    "key/rotate": {"name": "carl", "grace": "12h"},
    "key/disable": {"name": "carl"},
    "key/enable": {"name": "carl"},
    "key/revoke": {"name": "carl", "reason": "leaked"},
    "key/change": {"name": "carl", "org": "globex", "until": "2999-01-01"},
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
        ({"name": "a", "for": "0d"}, "for"),
    ],
)
async def test_a_wrong_field_is_named(body: dict[str, Any], field: str, api: Client) -> None:
    answer = await api.post("orders/key/new", body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["field"] == field


async def test_a_tier_that_is_not_there_is_a_409(api: Client) -> None:
    answer = await api.post("orders/key/new", {"name": "a", "tier": "gold"})
    assert answer.json()["title"] == "Not with these settings"
