"""What can be ordered through the operator's API."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import TypeAdapter

from guard.admin import Operator
from guard.api import orders as api_orders
from guard.api.orders import Done
from guard.core.identity import Holder

if TYPE_CHECKING:
    from api_client import Client

    from guard.settings.root import Settings

ORDERS: dict[str, dict[str, Any]] = {
    "block": {"holder": "org:acme/eu", "for": "12h", "reason": "leaked"},
    "unblock": {"holder": "org:acme/eu"},
    "reset": {"holder": "user:alice"},
    "forgive": {"holder": "user:carol"},
    "release": {"holder": "user:carol", "for": "ever"},
    "limits/set": {"holder": "org:acme/eu", "limit": "org-requests", "rate": "99/hour", "for": "2h"},
    "limits/exempt": {"holder": "user:alice"},
    "limits/clear": {"holder": "user:alice"},
    "grant": {"holder": "org:acme/eu", "limit": "org-requests", "times": 2, "for": "2h"},
    "grant/end": {"holder": "org:acme/eu", "limit": "org-requests"},
    "mode": {"mode": "shadow", "reason": "an outage"},
    "reload": {},
    "verdict": {"campaign": "c1", "verdict": "confirmed", "reason": "one bank account"},
    "verdict/drop": {"campaign": "c1"},
    "clear": {"campaign": "c1", "member": "user:bob", "reason": "a colleague"},
}
CHANGING = [path for path in ORDERS if path not in ("unblock", "limits/clear", "grant/end", "verdict/drop")]
"""Those that change something where nobody has given an order yet."""


def test_there_is_an_example_of_each() -> None:
    assert {each.path for each in api_orders.ORDERS} == {f"orders/{path}" for path in ORDERS}


class TestEvery:
    @pytest.mark.parametrize("path", ORDERS)
    async def test_it_is_carried_out_in_the_name_of_the_token(self, path: str, api: Client) -> None:
        done = await api.order(path, **ORDERS[path])
        assert TypeAdapter(Done).validate_python(done)
        assert done["by"] == "ann"
        assert done["changed"] == (path in CHANGING)
        assert not done["dry_run"]

    @pytest.mark.parametrize("path", ORDERS)
    async def test_who_may_only_read_may_not_give_it(self, path: str, api: Client) -> None:
        answer = await api.post(f"orders/{path}", ORDERS[path], "bob")
        assert answer.status_code == 403
        assert answer.json()["title"] == "Wrong role"
        assert (await api.order(path, **ORDERS[path]))["changed"] == (path in CHANGING)

    @pytest.mark.parametrize("path", CHANGING)
    async def test_one_that_is_tried_says_the_same_and_changes_nothing(self, path: str, api: Client) -> None:
        tried = await api.order(path, **ORDERS[path], dry_run=True)
        assert tried["dry_run"]
        assert (tried["impact"] is not None) == (path in ("block", "limits/set"))
        done = await api.order(path, **ORDERS[path])
        assert done["changed"]
        for side in ("before", "after"):
            assert without_times(tried[side]) == without_times(done[side])

    @pytest.mark.parametrize("path", [path for path in ORDERS if path != "reload"])
    async def test_given_twice_the_same_holds_after(self, path: str, api: Client) -> None:
        first, second = [await api.order(path, **ORDERS[path]) for _ in range(2)]
        assert without_times(first["after"]) == without_times(second["after"])

    @pytest.mark.parametrize("path", ORDERS)
    async def test_an_unknown_field_is_named_and_nothing_is_done(self, path: str, api: Client) -> None:
        answer = await api.post(f"orders/{path}", {**ORDERS[path], "reasn": "x"})
        assert answer.status_code == 422
        assert {"field": "reasn", "detail": "there is no such field"} in answer.json()["errors"]
        assert (await api.order(path, **ORDERS[path]))["changed"] == (path in CHANGING)


def without_times(state: Any) -> Any:
    """A state without the moments at which it begins and ends, and without how often it was ordered."""
    if not isinstance(state, dict):
        return state
    gone = ("until", "since", "generation")
    return {name: without_times(each) for name, each in state.items() if name not in gone}


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("block", {"holder": "nobody"}, "holder"),
    ("block", {"holder": 7}, "holder"),
    ("block", {"holder": ["user:a"]}, "holder"),
    ("block", {}, "holder"),
    ("block", {"holder": "user:a", "for": "soon"}, "for"),
    ("block", {"holder": "user:a", "for": 60}, "for"),
    ("block", {"holder": "user:a", "for": "999999w"}, "for"),
    ("key/rotate", {"name": "a", "grace": "999999w"}, "grace"),
    ("grant", {"holder": "user:a", "limit": "requests", "times": 1e308}, "times"),
    ("block", {"holder": "user:a", "until": "2001-01-01"}, "until"),
    ("block", {"holder": "user:a", "until": "tomorrow"}, "until"),
    ("block", {"holder": "user:a", "for": "1h", "until": "2999-01-01"}, "body"),
    ("block", {"holder": "user:a", "reason": "x" * 1_001}, "reason"),
    ("block", {"holder": "user:a", "dry_run": "true"}, "dry_run"),
    ("limits/set", {"holder": "user:a", "limit": "nope", "rate": "1/hour"}, "limit"),
    ("limits/set", {"holder": "user:a", "limit": "requests", "rate": "1/fortnight"}, "rate"),
    ("limits/set", {"holder": "user:a", "limit": "requests", "rate": "1/minute"}, "rate"),
    ("limits/set", {"holder": "user:a", "limit": "requests", "count": 4}, "count"),
    ("limits/set", {"holder": "user:a", "limit": "requests", "count": 0}, "count"),
    ("limits/set", {"holder": "user:a", "limit": "requests"}, "body"),
    ("limits/exempt", {"holder": "user:a", "limit": "nope"}, "limit"),
    ("grant", {"holder": "user:a", "limit": "requests", "times": 0}, "times"),
    ("grant", {"holder": "user:a", "limit": "requests", "times": 2, "rate": "2/hour"}, "body"),
    ("grant", {"holder": "user:a", "limit": "requests", "times": 2, "for": "ever"}, "for"),
    ("grant", {"holder": "user:a", "limit": "nope", "times": 2}, "limit"),
    ("limits/clear", {"holder": "user:a", "limit": "nope"}, "limit"),
    ("mode", {"mode": "Shadow"}, "mode"),
    ("mode", {}, "mode"),
    ("verdict", {"campaign": "c1", "verdict": "stale", "reason": "x"}, "verdict"),
    ("verdict", {"campaign": "c1", "verdict": "confirmed"}, "reason"),
    ("verdict", {"campaign": "c1", "verdict": "confirmed", "reason": " "}, "reason"),
    ("clear", {"campaign": "c1", "member": "bob", "reason": "x"}, "member"),
    ("clear", {"campaign": "c1", "member": "user:bob"}, "reason"),
]


class TestWrongInput:
    @pytest.mark.parametrize(("path", "body", "field"), WRONG)
    async def test_the_field_is_named_in_plain_words(
        self, path: str, body: dict[str, Any], field: str, api: Client
    ) -> None:
        answer = await api.post(f"orders/{path}", body)
        assert answer.status_code == 422
        (error,) = answer.json()["errors"]
        assert error["field"] == field
        assert "Input" not in error["detail"]
        assert "Value error" not in error["detail"]

    @pytest.mark.parametrize(
        ("path", "body", "title"),
        [
            ("block", {"holder": "req_none"}, "Unknown holder"),
            ("block", {"holder": "user:zz…"}, "Unknown holder"),
            ("verdict", {"campaign": "c9", "verdict": "confirmed", "reason": "x"}, "Unknown campaign"),
            ("verdict/drop", {"campaign": "c9"}, "Unknown campaign"),
            ("clear", {"campaign": "c9", "member": "user:bob", "reason": "x"}, "Unknown campaign"),
            ("clear", {"campaign": "c1", "member": "user:carol", "reason": "x"}, "Unknown holder"),
        ],
    )
    async def test_what_is_not_there_is_a_404(
        self, path: str, body: dict[str, Any], title: str, api: Client
    ) -> None:
        answer = await api.post(f"orders/{path}", body)
        assert (answer.status_code, answer.json()["title"]) == (404, title)


class TestWhatHolds:
    async def test_a_block_bites_and_ends(self, api: Client, settings: Settings) -> None:
        done = await api.order("block", holder="org:acme/eu", until="2999-01-01", reason="leaked")
        assert done["until"] == "2999-01-01T00:00:00Z"
        async with Operator(settings) as operator:
            sheet = await operator.show(Holder.parse("user:alice"))
            assert [(str(holder), block.reason) for holder, block in sheet.blocks] == [
                ("org:acme/eu", "leaked")
            ]
        await api.order("unblock", holder="org:acme/eu")
        assert (await api.told("identity", holder="user:alice"))["blocks"] == []

    async def test_a_name_that_nobody_has_is_remarked(self, api: Client) -> None:
        done = await api.order("block", holder="org:acme/us")
        assert done["remarks"] == ["no identity of that name has been seen; did you mean org:acme/eu?"]

    async def test_what_members_have_of_their_own_is_remarked(self, api: Client) -> None:
        done = await api.order("reset", holder="org:acme/eu")
        assert "user:alice, user:bob" in done["remarks"][0]

    async def test_an_order_that_would_change_nothing_for_sure_is_a_409(self, api: Client) -> None:
        answer = await api.post(
            "orders/limits/set", {"holder": "user:alice", "limit": "org-requests", "rate": "9/hour"}
        )
        assert answer.status_code == 409, answer.text
        assert answer.json()["title"] == "Not with these settings"

    async def test_many_at_once_are_all_carried_out_and_recorded(
        self, api: Client, settings: Settings
    ) -> None:
        names = [f"user:u{number}" for number in range(20)]
        await asyncio.gather(*(api.order("block", holder=name) for name in names))
        told = await asyncio.gather(*(api.told("identity", holder=name) for name in names))
        assert all(each["blocks"] for each in told)
        records = (await api.told("audit", verb="block"))["items"]
        assert {(each["subject"], each["by"]) for each in records} == {(name, "ann") for name in names}
        async with Operator(settings) as operator:
            assert not any(each.problems for each in (await operator.audit.verify()).values())
