"""What can be asked of the operator's API."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from typing import TYPE_CHECKING, Any

import pytest
from api_client import CHAT, GATEWAY
from fakes import call
from pydantic import TypeAdapter

from guard import GuardMiddleware
from guard.admin import Operator
from guard.admin.json.sheets import sheet_json
from guard.api.app import OPERATIONS
from guard.core.identity import Holder, Identity
from guard.demo.model import FakeModel
from guard.installation import Installation

if TYPE_CHECKING:
    from api_client import Client

    from guard.settings.root import Settings

QUESTIONS: dict[str, dict[str, Any]] = {
    "identities": {},
    "identity": {"holder": "org:acme/eu"},
    "limits": {"holder": "user:alice"},
    "groups": {"by": "org"},
    "campaigns": {},
    "campaign": {"id": "c1"},
    "evidence": {"name": "user:carol"},
    "holds": {},
    "control": {},
    "policy": {},
    "traffic": {},
    "busiest": {},
    "risk": {"holder": "user:carol"},
    "refusals": {"holder": "org:acme/eu"},
    "impact": {},
    "audit": {},
    "keys": {},
    "health": {},
}
TOO_FAR = urlsafe_b64encode(b'["latest", 9223372036854775808]').decode()
ALL = ["user:alice", "user:bob", "user:carol"]
SECRET_QUESTIONS = {"find": {"credential": "sk-made-up"}, "appeal": {"receipt": "req_1"}}


class TestEvery:
    def test_there_is_an_example_of_each(self) -> None:
        asked = {each.path for each in OPERATIONS if not each.is_order}
        assert asked == {*QUESTIONS, *SECRET_QUESTIONS, "explain", "key"}

    @pytest.mark.parametrize("path", [*QUESTIONS, *SECRET_QUESTIONS])
    async def test_whoever_may_read_is_answered_as_the_description_says(self, path: str, api: Client) -> None:
        if path in QUESTIONS:
            answer = await api.get(path, "bob", **QUESTIONS[path])
        else:
            answer = await api.post(path, SECRET_QUESTIONS[path], "bob")
        assert answer.status_code == 200, answer.text
        gives = next(each.gives for each in OPERATIONS if each.path == path)
        assert TypeAdapter(gives).validate_json(answer.content)

    @pytest.mark.parametrize("path", QUESTIONS)
    async def test_an_unknown_or_doubled_parameter_is_named(self, path: str, api: Client) -> None:
        for query, named in (({"nonsense": "1"}, "nonsense"), ([("a", "1"), ("a", "2")], "a")):
            answer = await api.send("GET", f"/v1/{path}", params=query)
            assert answer.status_code == 422
            assert named in [each["field"] for each in answer.json()["errors"]]

    async def test_numbers_stand_as_the_command_line_has_them(self, api: Client, settings: Settings) -> None:
        async with Operator(settings) as operator:
            made = sheet_json(await operator.show(Holder.parse("org:acme/eu")))
        told, sheet = await api.told("identity", holder="org:acme/eu"), json.loads(json.dumps(made))
        for reading in (*told["limits"], *sheet["limits"]):
            del reading["reset_seconds"]  # which goes on
        assert told == sheet


class TestIdentities:
    @pytest.mark.parametrize(("order", "first"), [("latest", "user:carol"), ("tokens", "user:alice")])
    async def test_pages_have_each_one_once(self, order: str, first: str, api: Client) -> None:
        found, cursor = [], ""
        for _ in ALL:
            page = await api.told("identities", count=1, order=order, after=cursor)
            found += [each["identity"] for each in page["items"]]
            cursor = page["next"]
        assert sorted(found) == ALL
        assert found[0] == first
        assert cursor is None

    async def test_by_risk_the_most_suspect_is_first(self, api: Client) -> None:
        first = await api.told("identities", count=1, order="risk")
        assert [(each["identity"], each["band"]) for each in first["items"]] == [("user:carol", "high")]
        rest = await api.told("identities", order="risk", after=first["next"])
        assert [each["identity"] for each in rest["items"]] == ["user:alice", "user:bob"]

    @pytest.mark.parametrize(
        "cursor",
        ["x", "é", "bnVsbA==", "WyJyaXNrIixbMCwwLDAsIngiXV0=", "WyJsYXRlc3QiLC0xXQ==", TOO_FAR, "a" * 8_192],
    )
    async def test_what_is_no_cursor_of_this_list_is_an_error(self, cursor: str, api: Client) -> None:
        answer = await api.get("identities", after=cursor)
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] == "after"

    @pytest.mark.parametrize(
        ("query", "field"),
        [
            ({"count": "0"}, "count"),
            ({"count": "1001"}, "count"),
            ({"count": "many"}, "count"),
            ({"since": "0d"}, "since"),
            ({"since": ""}, "since"),
            ({"order": "Risk"}, "order"),
        ],
    )
    async def test_a_wrong_value_is_named(self, query: dict[str, str], field: str, api: Client) -> None:
        answer = await api.get("identities", **query)
        assert answer.status_code == 422
        (error,) = answer.json()["errors"]
        assert error["field"] == field
        assert "Value error" not in error["detail"]


class TestHolders:
    async def test_a_name_with_a_slash_is_that_holder(self, api: Client) -> None:
        told = await api.told("identity", holder="org:acme/eu")
        assert told["totals"]["identities"] == 2
        assert {each["identity"] for each in told["members"]} == {"user:alice", "user:bob"}

    async def test_as_many_members_are_listed_as_are_asked_for(self, api: Client) -> None:
        told = await api.told("identity", holder="org:acme/eu", members=1)
        assert len(told["members"]) == 1
        assert told["totals"]["identities"] == 2

    @pytest.mark.parametrize("path", ["identity", "evidence"])
    async def test_nobody_of_a_name_is_a_404(self, path: str, api: Client) -> None:
        field = "holder" if path == "identity" else "name"
        answer = await api.get(path, **{field: "user:nobody/../x"})
        assert answer.status_code == 404
        assert answer.json()["title"] == "Unknown holder"

    @pytest.mark.parametrize("path", ["identity", "limits"])
    @pytest.mark.parametrize("holder", ["alice", "color:red", "ip:none", "a" * 2_049, ""])
    async def test_a_text_that_is_no_holder_is_a_422(self, path: str, holder: str, api: Client) -> None:
        answer = await api.get(path, holder=holder)
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] == "holder"

    async def test_limits_hold_also_for_who_has_not_come_yet(self, api: Client) -> None:
        told = await api.told("limits", holder="key:nobody")
        assert {each["limit"] for each in told["limits"]} == {"requests"}

    async def test_customers_are_added_up(self, api: Client) -> None:
        told = await api.told("groups", by="org")
        assert [(each["holder"], each["admitted"]) for each in told["items"]] == [
            ("org:acme/eu", 5),
            ("org:globex", 1),
        ]


class TestSecrets:
    async def test_a_key_is_found_and_does_not_come_back(self, api: Client) -> None:
        answer = await api.post("find", {"credential": "sk-made-up"})
        assert answer.json()["how"] == "a key that is in no keys file"
        assert "sk-made-up" not in answer.text

    @pytest.mark.parametrize(
        "body", [{"credential": "sk-secret", "address": "x"}, {"credential": ["sk-secret"]}]
    )
    async def test_nor_does_it_in_an_error(self, body: Any, api: Client) -> None:
        answer = await api.post("find", body)
        assert answer.status_code == 422
        assert "sk-secret" not in answer.text

    async def test_an_address_is_found(self, api: Client) -> None:
        answer = await api.post("find", {"address": "203.0.113.9"})
        assert [name.partition(":")[0] for name in answer.json()["names"]] == ["network", "ip", "pool"]

    async def test_it_does_not_stand_in_the_query_string(self, api: Client) -> None:
        answer = await api.send("POST", "/v1/find?credential=sk-secret", json={"address": "203.0.113.9"})
        assert answer.status_code == 422
        assert answer.json()["errors"] == [{"field": "credential", "detail": "write it into the body"}]

    async def test_a_receipt_that_nobody_gave_is_a_404(self, api: Client) -> None:
        assert (await api.post("appeal", {"receipt": "made-up"})).json()["title"] == "Unknown receipt"


class TestCampaigns:
    async def test_those_from_which_nothing_follows_are_left_out(self, api: Client) -> None:
        assert [each["campaign"] for each in (await api.told("campaigns"))["items"]] == ["c1"]
        await api.order("verdict", campaign="c1", verdict="unrelated", reason="two colleagues")
        assert (await api.told("campaigns"))["left_out"] == 1
        assert [each["verdict"] for each in (await api.told("campaigns", all="true"))["items"]] == [
            "unrelated"
        ]

    async def test_the_case_of_one_has_what_speaks_against_its_members(self, api: Client) -> None:
        told = await api.told("evidence", name="c1")
        assert told["kind"] == "campaign"
        assert [each["identity"] for each in told["identities"]] == ["user:alice", "user:bob"]

    async def test_there_is_none_of_another_name(self, api: Client) -> None:
        assert (await api.get("campaign", id="c9")).json()["title"] == "Unknown campaign"


class TestHealth:
    async def test_what_is_the_matter_is_said(self, api: Client) -> None:
        await api.order("mode", mode="shadow")
        told = await api.told("health")
        assert not told["well"]
        assert any("kill switch is at shadow" in each for each in told["warnings"])
        assert told["control"]["mode"] == "shadow"


class TestDamage:
    async def test_what_cannot_be_read_is_named_for_the_answer_that_lacks_it(
        self, api: Client, settings: Settings
    ) -> None:
        store = Installation.of(settings, deadline_seconds=60).store
        carol = Holder.parse("user:carol")
        async with store.asking() as client:
            await client.set(store.keys.evidence(carol, Identity(carol)), b"\xff" * 9)
        await store.aclose()
        answer = await api.get("identity", holder="user:carol")
        assert answer.status_code == 200
        assert answer.headers["guard-damaged"] == "the%20evidence%20of%20user%3Acarol"
        assert "guard-damaged" not in (await api.get("identity", holder="user:alice")).headers


class TestHistory:
    @pytest.fixture
    async def refused(self, api: Client, settings: Settings) -> str:
        """The request of Alice's that was refused, among others that were admitted."""
        app, headers = (
            GuardMiddleware(FakeModel(), settings, log=False),
            {"x-user": "bob", "x-org": "acme/eu"},
        )
        for _ in range(2):
            assert (await call(app, body=CHAT, headers=headers, client=GATEWAY)).status == 200
        await api.order("block", holder="user:alice")
        answer = await call(app, body=CHAT, headers={**headers, "x-user": "alice"}, client=GATEWAY)
        await app.aclose()
        return answer.headers["x-request-id"]

    async def test_all_of_it(self, api: Client, refused: str) -> None:
        told = await api.told("traffic", since="2h", step="1h")
        assert told["step_seconds"] == 3_600
        assert sum(each["admitted"] for each in told["steps"]) == told["total"]["admitted"] == 2
        busiest = await api.told("busiest", count=1)
        assert [each["identity"] for each in busiest["identities"]] == ["user:bob"]
        explained = await api.told("explain", request=refused)
        assert (explained["identity"], explained["reason"]) == ("user:alice", "blocked")
        (refusal,) = (await api.told("refusals", holder="org:acme/eu"))["items"]
        assert (refusal["identity"], refusal["request_id"]) == ("user:alice", refused)

    @pytest.mark.parametrize(
        ("query", "field"),
        [
            ({"since": "36d"}, "since"),
            ({"since": "ever"}, "since"),
            ({"step": "7s"}, "step"),
            ({"step": "36d"}, "step"),
        ],
    )
    async def test_of_no_other_time(self, query: dict[str, str], field: str, api: Client) -> None:
        answer = await api.get("traffic", **query)
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] == field

    async def test_what_the_settings_would_have_refused(self, api: Client, refused: str) -> None:
        told = await api.told("impact", hours=1)
        assert told["forwarded"]["requests"] == 2
        assert told["would_refuse"]["requests"] == {"least": 0, "most": 0}
        assert (await api.get("impact", hours="25")).status_code == 422

    async def test_an_order_is_on_record(self, api: Client) -> None:
        await api.order("block", holder="user:bob", reason="leaked")
        (record,) = (await api.told("audit", identity="user:bob", verb="block"))["items"]
        assert (record["by"], record["reason"]) == ("ann", "leaked")

    async def test_one_without_a_record_is_a_404(self, api: Client) -> None:
        assert (await api.get("explain", request="req_none")).json()["title"] == "Unknown request"
