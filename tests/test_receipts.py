"""Receipts: what a client that was refused holds in its hand, and an operator reads."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest
from commands import guard
from fakes import Guarded, call
from test_detection import AT_ONCE, CRITICAL, HIGH, accuse, chat, holder

from guard import load
from guard.admin import Operator
from guard.core.campaigns import Campaign, Member, Verdict
from guard.core.decision import Action, Reason
from guard.core.evidence import Evidence, Mark
from guard.core.identity import Attribute, Holder, Identity, VouchedBy
from guard.core.query import Usage
from guard.core.signals import Signal
from guard.demo.model import FakeModel
from guard.errors import UnknownReceiptError
from guard.installation import Installation
from guard.receipts import Receipts, Refused
from guard.sealing.seal import Seals
from guard.store.port import Reservation
from guard.store.redis.keys import Keys

if TYPE_CHECKING:
    from pathlib import Path

    from fakes import Answer

MakeGuarded = Callable[..., Guarded]

TEN = {"name": "requests", "unit": "requests", "rate": "10/hour"}
ONE = {"name": "one", "unit": "requests", "rate": "1/hour"}
BUDGET = {"name": "diversity", "unit": "novelty", "rate": "1/hour"}
TINY = {"name": "tokens", "unit": "tokens", "rate": "2/hour"}
SEALED = Refused("key:alice", "req_" + "ab" * 12, 1_700_000_000_000_000, Action.LIMITED, Reason.QUOTA, "one")
KEYS = Keys(b"a pepper of a test")


async def ask(app: Guarded, path: str = "/v1/chat/completions", **headers: str) -> Answer:
    contents = [{"role": "user", "parts": [{"text": "hello"}]}]
    body = {"contents": contents} if path.startswith("/v1beta/") else chat("words=512", max_tokens=512)
    return await call(app, path, body=body, headers={"authorization": "Bearer sk-test", **headers})


def opened(app: Guarded, answer: Answer) -> Refused:
    return Receipts(Installation.of(app.settings).keys).open(answer.headers["guard-receipt"])


async def refused_for(reason: str, guarded: MakeGuarded) -> tuple[Guarded, Answer]:
    """An app that refuses for one reason, and its answer."""
    if reason in ("limit", "too large", "diversity"):
        app = guarded(FakeModel(), {"limit": ONE, "too large": TINY, "diversity": BUDGET}[reason])
        for _ in range(40):
            answer = await ask(app)
            if answer.status != 200:
                break
            await app.settled()
        return app, answer
    if reason == "block":
        app = guarded(FakeModel(), TEN)
        async with Operator(app.settings) as operator:
            await operator.orders.block(holder(app), None, "")
        return app, await ask(app)
    rungs = {"deny": {"deny": True}, "hold": {"hold": True}, "challenge": {"challenge": "Who are you?"}}
    app = guarded(FakeModel(), TEN, ladder={**AT_ONCE, "critical": rungs[reason], "high": rungs[reason]})
    await accuse(app, CRITICAL if reason == "deny" else HIGH)
    return app, await ask(app)


REASONS: dict[str, tuple[int, Action, Reason, str]] = {
    "limit": (429, Action.LIMITED, Reason.QUOTA, "one"),
    "diversity": (429, Action.LIMITED, Reason.QUOTA, "diversity"),
    "too large": (413, Action.DENY, Reason.TOO_LARGE, "tokens"),
    "block": (403, Action.DENY, Reason.BLOCKED, ""),
    "deny": (429, Action.DENY, Reason.RISK, ""),
    "hold": (403, Action.HOLD, Reason.RISK, ""),
    "challenge": (403, Action.CHALLENGE, Reason.RISK, ""),
}


@pytest.mark.parametrize("reason", REASONS)
async def test_whoever_is_refused_gets_a_receipt_that_says_why_to_the_operator_alone(
    guarded: MakeGuarded, reason: str
) -> None:
    status, action, why, limit = REASONS[reason]
    app, answer = await refused_for(reason, guarded)
    receipt = answer.headers["guard-receipt"]
    assert answer.status == status
    # One length, also for who is denied under the pretext of a limit.
    assert len(receipt) == 288
    refused = opened(app, answer)
    assert (refused.label, refused.request_id) == (str(holder(app)), answer.headers["x-request-id"])
    assert (refused.action, refused.reason) == (action, why)
    assert refused.limit == limit or why is Reason.RISK


async def test_each_refusal_has_one_of_its_own(guarded: MakeGuarded) -> None:
    app, first = await refused_for("limit", guarded)
    again = await ask(app)  # from memory
    assert first.headers["guard-receipt"] != again.headers["guard-receipt"]
    assert opened(app, again).request_id == again.headers["x-request-id"]


async def test_who_is_served_and_what_is_no_request_gets_none(guarded: MakeGuarded) -> None:
    app = guarded(FakeModel(), TEN)
    answers = [await ask(app), await call(app, body=b"{"), await call(app, "/nowhere")]
    assert [answer.status for answer in answers] == [200, 400, 404]
    assert not any("guard-receipt" in answer.headers for answer in answers)


@pytest.mark.parametrize(
    ("path", "accept"),
    [
        ("/v1beta/models/m:generateContent", "*/*"),
        ("/v1beta/models/m:streamGenerateContent", "*/*"),
        ("/v1/chat/completions", "application/problem+json"),
    ],
)
async def test_it_stands_in_the_body_where_there_is_a_place_for_it(
    guarded: MakeGuarded, path: str, accept: str
) -> None:
    app = guarded(FakeModel(), ONE)
    await ask(app, path)
    answer = await ask(app, path, accept=accept)
    told = answer.json
    place = told["receipt"] if "receipt" in told else told["error"]["details"][0]["servingData"]
    assert place == answer.headers["guard-receipt"]


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/chat/completions", "/v1/responses", "/api/chat"])
async def test_the_bodies_of_other_apis_are_as_they_were(guarded: MakeGuarded, path: str) -> None:
    app = guarded(FakeModel(), {**ONE, "rate": "1/hour"})
    answers = [await ask(app, path) for _ in range(2)]
    assert answers[1].status == 429
    assert answers[1].headers["guard-receipt"] not in answers[1].body.decode()


@pytest.mark.parametrize("label", ["key:a", "key:" + "a" * 60, "key:" + "é" * 500, "key:a+end_user:\0x"])
def test_receipts_of_one_caller_are_of_one_length(label: str) -> None:
    receipts = Receipts(KEYS)
    lengths = {
        len(receipts.seal(replace(SEALED, label=label, action=action, reason=reason, limit=limit)))
        for action, reason, limit in product(Action, Reason, ("", "a" * 100))
    }
    assert len(lengths) == 1


def test_what_is_sealed_is_what_is_opened() -> None:
    receipts = Receipts(KEYS)
    for action, reason in product(Action, Reason):
        refused = replace(SEALED, action=action, reason=reason)
        assert receipts.open(receipts.seal(refused)) == refused
    long = receipts.open(receipts.seal(replace(SEALED, label="key:" + "é" * 500, limit="ü" * 50)))
    assert long.label.endswith("é…")
    assert long.limit.endswith("ü…")


def test_the_same_refusal_sealed_twice_tells_nothing_of_others() -> None:
    receipts = Receipts(KEYS)
    one, other = (receipts.seal(replace(SEALED, limit=limit)) for limit in ("one", "two"))
    assert not any(one[start : start + 8] in other for start in range(len(one) - 8))


def forged() -> dict[str, str]:
    receipt = Receipts(KEYS).seal(SEALED)
    return {
        "nothing": "",
        "another pepper's": Receipts(Keys(b"another pepper")).seal(SEALED),
        "cut off": receipt[:-1],
        "too short": receipt[:8],
        "changed": receipt[:-1] + ("A" if receipt[-1] != "A" else "B"),
        "longer": receipt + "AAAA",
        "not ASCII": "é" + receipt[1:],
        "sealed for something else": Seals(KEYS.secret("receipt")).seal(b"a thought" * 30, "a thought"),
        "words": "to whom it may concern",
    }


@pytest.mark.parametrize("which", forged())
def test_what_was_not_sealed_here_is_no_receipt(which: str) -> None:
    with pytest.raises(UnknownReceiptError, match="made with another pepper, cut off, or made up"):
        Receipts(KEYS).open(forged()[which])


CONFIG = """
data_dir = "data"
[[tiers.default.limits]]
name = "one"
unit = "requests"
rate = "10/hour"
"""
ALICE = Identity(Holder(Attribute.KEY, "alice"), {Attribute.KEY: "alice"}, VouchedBy.KEYS_FILE)


async def fill(folder: Path) -> None:
    """A caller that is suspect, and a member of a campaign."""
    store = Installation.of(load(folder / "guard.toml")).store
    await store.start()
    now_us = SEALED.at_us + 10**15
    await store.settle(Reservation("r1", ALICE, ()), Usage(10, 20))
    await store.learn(ALICE.principal, ALICE, Evidence(0, b"", {Signal.GRADING: Mark(20.0, now_us, now_us)}))
    members = {"key:alice": Member(now_us, 0.9)}
    await store.keep_campaigns(
        [Campaign("c1", now_us, now_us, Verdict.LIKELY, 20.0, 1.0, members)], [], now_us
    )
    await store.aclose()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "guard.toml").write_text(CONFIG)
    asyncio.run(fill(tmp_path))
    return tmp_path


def receipt_of(folder: Path, **other: Any) -> str:
    keys = Installation.of(load(folder / "guard.toml")).keys
    return Receipts(keys).seal(replace(SEALED, **other))


class TestAppeals:
    @pytest.mark.parametrize(
        ("other", "why"),
        [
            ({}, "the limit one had no room"),
            ({"reason": Reason.TOO_LARGE}, "the limit one is smaller than this request"),
            ({"action": Action.DENY, "reason": Reason.BLOCKED, "limit": ""}, "it was blocked"),
            ({"action": Action.DENY, "reason": Reason.RISK, "limit": ""}, "its risk was too high"),
            (
                {"action": Action.HOLD, "reason": Reason.RISK},
                "it was held for review, because of its risk",
            ),
            (
                {"action": Action.CHALLENGE, "reason": Reason.RISK},
                "it was to verify itself, because of its risk",
            ),
            ({"action": Action.DENY, "reason": Reason.STORE}, "the store did not answer"),
        ],
    )
    def test_one_says_who_when_why_and_what_helps(
        self, folder: Path, other: dict[str, Any], why: str
    ) -> None:
        lines = guard("appeal", receipt_of(folder, **other), folder=folder).stdout.splitlines()
        assert lines[0] == f"key:alice was refused at 2023-11-14T22:13:20Z: {why}."
        assert SEALED.request_id in lines[1]
        assert any(line.startswith("grading ") for line in lines)
        assert "member of campaign c1 (likely, says guard): `guard campaign c1`" in lines
        assert any(line.startswith("guard forgive key:alice ") for line in lines)
        assert any(line.startswith("guard clear c1 key:alice ") for line in lines)

    @pytest.mark.parametrize("text", ["{}\n", "guard-receipt: {}\n", "  {}  "])
    def test_a_receipt_may_come_on_standard_input(self, folder: Path, text: str) -> None:
        told = guard("appeal", folder=folder, stdin=text.format(receipt_of(folder)))
        assert told.returncode == 0
        assert told.stdout.startswith("key:alice was refused at ")

    def test_one_is_there_as_data(self, folder: Path) -> None:
        found = json.loads(guard("appeal", receipt_of(folder), "--json", folder=folder).stdout)
        assert found["schema"] == "guard/appeal/1"
        assert found["refused"] == {
            "identity": "key:alice",
            "request_id": SEALED.request_id,
            "at": "2023-11-14T22:13:20Z",
            "action": "limited",
            "reason": "quota",
            "limit": "one",
        }
        assert found["evidence"]["holder"] == "key:alice"

    def test_what_was_refused_to_an_end_user_for_a_limit_was_refused_to_its_caller(
        self, folder: Path
    ) -> None:
        receipt = receipt_of(folder, label="key:alice+end_user:ann")
        found = json.loads(guard("appeal", receipt, "--json", folder=folder).stdout)
        assert found["refused"]["identity"] == "key:alice+end_user:ann"
        assert found["evidence"]["holder"] == "key:alice"

    def test_a_name_that_was_cut_is_found_by_its_start(self, folder: Path) -> None:
        receipt = receipt_of(folder, label="key:ali…")
        assert "\nkey:alice\n" in guard("appeal", receipt, folder=folder).stdout

    def test_one_of_somebody_who_is_forgotten_still_says_why(self, folder: Path) -> None:
        told = guard("appeal", receipt_of(folder, label="key:bob"), folder=folder)
        assert told.returncode == 0
        assert told.stdout.startswith("key:bob was refused at ")
        assert told.stdout.endswith("Nothing is known of it any more.\n")
        data = guard("appeal", receipt_of(folder, label="key:bob"), "--json", folder=folder).stdout
        assert json.loads(data)["evidence"] is None

    def test_one_that_was_made_up_is_an_error(self, folder: Path) -> None:
        other = Receipts(Keys(secrets.token_bytes(16))).seal(SEALED)
        told = guard("appeal", other, folder=folder)
        assert (told.returncode, told.stdout) == (3, "")
        assert told.stderr.startswith("guard: this is no receipt of this installation's: ")

    def test_none_is_wrong_usage(self, folder: Path) -> None:
        told = guard("appeal", folder=folder, stdin="\n")
        assert told.returncode == 2
        assert "give a receipt" in told.stderr

    def test_that_of_a_hold_that_is_over_is_nobodys(self, folder: Path) -> None:
        told = guard("appeal", "req_0", folder=folder)
        assert (told.returncode, told.stderr) == (3, "guard: nobody is held under the receipt req_0\n")


async def test_a_hold_is_found_by_its_own_receipt(guarded: MakeGuarded) -> None:
    app, answer = await refused_for("hold", guarded)
    await app.placed()
    async with Operator(app.settings) as operator:
        appeal = await operator.appeal(answer.headers["x-request-id"])
    assert appeal.refused is None
    assert appeal.sheet is not None
    assert appeal.sheet.review is not None
