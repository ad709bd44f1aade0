from __future__ import annotations

import json
import logging
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from fakes import Guarded, call
from prometheus_client import CollectorRegistry, generate_latest

from guard import GuardMiddleware, errors
from guard.core.decision import Action, Reason
from guard.core.evidence import Band
from guard.core.modes import Mode
from guard.core.sealed import MismatchReason
from guard.core.signals import Group
from guard.demo.model import FakeModel
from guard.errors import BackendError, CredentialError, PathError, QueryError, RequestError
from guard.telemetry.events import Event, Failure, Hold
from guard.telemetry.lines import LINES_PER_SECOND, LineLimit
from guard.telemetry.log import EventLog
from guard.telemetry.prometheus import PrometheusHook

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Receive, Scope, Send

    from guard.settings.root import Settings

    MakeGuarded = Callable[..., Guarded]
    MakeSettings = Callable[..., Settings]

KEY = {"authorization": "Bearer sk-test"}
CHAT = {"model": "m", "messages": [{"role": "user", "content": "where is the canary"}]}
ONCE = {"name": "requests", "unit": "requests", "rate": "1/hour"}
ROOT = Path(__file__).parents[1]
NO_REASONS = {"token_details", "token_ids", "token_logprobs"}
"""Names of fields that look like a reason."""
SECRET = "a secret of more than thirty-two bytes"

DENIED = Event(
    request_id="r1",
    identity="key:alice",
    tier="default",
    route="/v1/chat/completions",
    mode=Mode.ENFORCE,
    action=Action.DENY,
    reason=Reason.RISK,
    limits=(),
    status=429,
    input_tokens=0,
    output_tokens=0,
    store_error=None,
    risk=52.5,
    band=Band.CRITICAL,
    groups=(Group.CONTENT, Group.INTENT),
)


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """The lines of requests."""
    return [json.loads(message) for message in caplog.messages if message.startswith("{")]


def levels(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.levelname for record in caplog.records if record.getMessage().startswith("{")]


def test_a_line_of_the_log_is_json_with_the_risk_and_its_groups(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "guard"):
        EventLog()(DENIED)
    (line,) = lines(caplog)
    assert (line["kind"], line["action"], line["reason"]) == ("refused", "deny", "risk")
    assert (line["risk"], line["band"], line["groups"]) == (52.5, "critical", ["content", "intent"])


def test_a_line_of_the_log_is_no_longer_for_thousands_of_blobs(caplog: pytest.LogCaptureFixture) -> None:
    moved, damaged = MismatchReason.ORGANIZATION, MismatchReason.UNREADABLE
    with caplog.at_level(logging.INFO, "guard"):
        EventLog()(replace(DENIED, mismatches=(damaged, moved, *[damaged] * 5_000)))
    (record,) = caplog.records
    assert json.loads(record.message)["mismatches"] == [moved, damaged]


def test_the_log_says_who_has_been_put_on_hold(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "guard"):
        EventLog().held(Hold("req_1", "key:alice", "default", Band.HIGH, (Group.CONTENT,), 1.5))
    (line,) = lines(caplog)
    assert line == {
        "kind": "held",
        "receipt": "req_1",
        "holder": "key:alice",
        "tier": "default",
        "band": "high",
        "groups": ["content"],
        "at": 1.5,
    }


def test_u14_a_flood_does_not_fill_a_disk(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    log = EventLog(LineLimit(seconds=lambda: now[0]))
    failure = Failure("r", "unknown_key", 401, "POST", "/v1/messages", None, None, None, "")
    with caplog.at_level(logging.INFO, "guard"):
        for _ in range(500):
            log(DENIED)
            log.failed(failure)
        assert len(lines(caplog)) == 2 * LINES_PER_SECOND
        now[0] += 1
        log(DENIED)
        log.failed(failure)
    assert [line["suppressed"] for line in lines(caplog)[-2:]] == [500 - LINES_PER_SECOND] * 2


async def test_the_log_never_has_the_text_of_a_query(
    guarded: MakeGuarded, caplog: pytest.LogCaptureFixture
) -> None:
    app = guarded(FakeModel(), ONCE)
    with caplog.at_level(logging.DEBUG):
        statuses = [(await call(app, body=CHAT, headers=KEY)).status for _ in range(2)]
    assert statuses == [200, 429]
    assert {"admitted", "refused"} <= {line["kind"] for line in lines(caplog)}
    assert "canary" not in caplog.text


async def test_u4_a_hook_adds_to_the_log(
    make_settings: MakeSettings, caplog: pytest.LogCaptureFixture
) -> None:
    events: list[Event] = []
    app = GuardMiddleware(FakeModel(), make_settings(ONCE), hooks=[events.append])
    with caplog.at_level(logging.INFO, "guard"):
        for _ in range(2):
            await call(app, body=CHAT, headers=KEY)
    await app.aclose()
    assert len(events) == 2
    assert [line["kind"] for line in lines(caplog)] == ["refused"]


async def test_u4_the_log_can_be_turned_off(
    make_settings: MakeSettings, caplog: pytest.LogCaptureFixture
) -> None:
    app = GuardMiddleware(FakeModel(), make_settings(ONCE), log=False)
    with caplog.at_level(logging.DEBUG, "guard"):
        for _ in range(2):
            await call(app, body=CHAT, headers=KEY)
        await call(app, "/nowhere")
    await app.aclose()
    assert not lines(caplog)


async def test_u4_a_refusal_is_a_warning_which_python_shows_where_nothing_is_configured(
    guarded: MakeGuarded, caplog: pytest.LogCaptureFixture
) -> None:
    app = guarded(FakeModel(), ONCE)
    tried = guarded(FakeModel(), ONCE, mode="shadow")
    with caplog.at_level(logging.INFO, "guard"):
        for each, secret in ((app, "one"), (tried, "another")):
            for _ in range(2):
                await call(each, body=CHAT, headers={"x-api-key": secret})
    assert [line["kind"] for line in lines(caplog)] == ["refused", "would_refuse"]
    assert levels(caplog) == ["WARNING", "INFO"]


async def test_a_line_says_who_vouches_for_the_caller(
    guarded: MakeGuarded, caplog: pytest.LogCaptureFixture
) -> None:
    settings = {"trusted_proxies": ["192.0.2.1/32"], "headers": {"user": "x-user"}}
    app = guarded(FakeModel(), ONCE, identity=settings)
    with caplog.at_level(logging.DEBUG, "guard"):
        await call(app, "/v1/messages", {**CHAT, "max_tokens": 9}, headers={"x-user": "ann"})
        await call(app, "/v1/messages", {**CHAT, "max_tokens": 9}, headers=KEY)
    assert [line["vouched_by"] for line in lines(caplog)] == ["gateway", None]


async def test_u14_a_refusal_leads_from_the_clients_request_id_to_its_line(
    guarded: MakeGuarded, caplog: pytest.LogCaptureFixture
) -> None:
    app = guarded(FakeModel(), ONCE)
    with caplog.at_level(logging.INFO, "guard"):
        await call(app, "/v1/messages", {**CHAT, "max_tokens": 9}, headers=KEY)
        stored = await call(app, "/v1/messages", {**CHAT, "max_tokens": 9}, headers=KEY)
        remembered = await call(app, "/v1/messages", {**CHAT, "max_tokens": 9}, headers=KEY)
    found = lines(caplog)
    assert [line["request_id"] for line in found] == [
        answer.headers["x-request-id"] for answer in (stored, remembered)
    ]
    for line in found:
        assert (line["status"], line["method"], line["route"]) == (429, "POST", "/v1/messages")
        assert (line["tier"], line["limits"], line["reason"]) == ("default", ["requests"], "quota")
        assert 0 < line["wait_seconds"] <= 2 * 3600
        assert line["identity"].startswith("key:")
    assert "sk-test" not in caplog.text


@pytest.mark.parametrize(
    ("path", "options", "status", "reason"),
    [
        ("/nowhere", {}, 404, "unknown_path"),
        ("/v1/chat/completions", {"headers": {"authorization": "Basic x"}}, 401, "invalid_credential"),
        ("/v1/chat/completions", {"headers": {**KEY, "x-api-key": "y"}}, 400, "ambiguous_credential"),
        ("/v1/chat/completions", {"body": b"{", "headers": KEY}, 400, "invalid_body"),
        ("/v1/chat/completions", {"body": b"{}" * 999, "headers": KEY}, 413, "body_too_large"),
        (
            "/v1/chat/completions",
            {"body": b"x", "headers": {**KEY, "content-encoding": "gzip"}},
            415,
            "content_encoding",
        ),
        (
            "/v1/chat/completions",
            {"body": b"{}", "headers": {**KEY, "content-type": "text/plain"}},
            415,
            "media_type",
        ),
    ],
)
async def test_u14_every_error_leaves_one_line_with_its_reason(
    guarded: MakeGuarded,
    caplog: pytest.LogCaptureFixture,
    path: str,
    options: dict[str, Any],
    status: int,
    reason: str,
) -> None:
    app = guarded(FakeModel(), body={"max_bytes": 500})
    with caplog.at_level(logging.INFO, "guard"):
        answer = await call(app, path, **options)
    (line,) = lines(caplog)
    assert answer.status == line["status"] == status
    assert (line["kind"], line["reason"], line["method"]) == ("failed", reason, "POST")
    assert line["request_id"] == answer.headers["x-request-id"]
    assert line["path"] == (path if status == 404 else None)
    of_the_body = ("body_too_large", "content_encoding", "invalid_body", "media_type")
    assert bool(line["identity"]) == (reason in of_the_body)
    assert levels(caplog) == ["WARNING"]


def test_u14_every_reason_is_documented() -> None:
    """Those that a class gives by status, and those that stand in the code."""
    package = Path(errors.__file__).parent
    sources = "".join(path.read_text("utf-8") for path in package.rglob("*.py"))
    reasons = {
        *re.findall(r'reason="([a-z_]+)"', sources),
        *re.findall(r'"((?:token|backend)_[a-z_]+)"', sources),
    }
    for kind in (RequestError, PathError, CredentialError, QueryError):
        reasons |= set(kind.reasons.values())
    documented = set(re.findall(r"`([a-z_]+)`", (ROOT / "docs" / "logging.md").read_text("utf-8")))
    assert "token_expired" in reasons
    assert reasons - NO_REASONS <= documented


async def test_u14_unidentified_callers_say_why(
    guarded: MakeGuarded, caplog: pytest.LogCaptureFixture
) -> None:
    strict = {
        "anonymous": "refuse",
        "unknown_keys": "refuse",
        "jwt": {"secret": SECRET, "algorithms": ["HS256"]},
    }
    app = guarded(FakeModel(), identity=strict)
    with caplog.at_level(logging.INFO, "guard"):
        await call(app, body=CHAT)
        await call(app, body=CHAT, headers=KEY)
    assert [line["reason"] for line in lines(caplog)] == ["no_credential", "unknown_key"]


@pytest.mark.parametrize(
    ("claims", "signed_by", "reason"),
    [
        ({"exp": -10}, SECRET, "token_expired"),
        ({"nbf": 3600}, SECRET, "token_not_yet_valid"),
        ({"iat": 3600}, SECRET, "token_not_yet_valid"),
        ({}, "another " + SECRET, "token_signature"),
        ({"aud": "others"}, SECRET, "token_audience"),
        ({"iss": "others"}, SECRET, "token_issuer"),
        ({"aud": None}, SECRET, "token_claim_missing"),
        ({"exp": None}, SECRET, "token_claim_missing"),
        ({"sub": None}, SECRET, "token_no_subject"),
    ],
)
async def test_u14_the_log_says_why_a_token_is_not_believed_and_the_client_is_not_told(
    guarded: MakeGuarded,
    caplog: pytest.LogCaptureFixture,
    claims: dict[str, Any],
    signed_by: str,
    reason: str,
) -> None:
    believed = {"secret": SECRET, "algorithms": ["HS256"], "audience": "us", "issuer": "idp"}
    app = guarded(FakeModel(), identity={"jwt": believed})
    now = int(time.time())
    given = {"sub": "ann", "aud": "us", "iss": "idp", "exp": 3600, **claims}
    dated = {
        name: now + value if isinstance(value, int) else value
        for name, value in given.items()
        if value is not None
    }
    token = jwt.encode(dated, signed_by, "HS256")
    with caplog.at_level(logging.INFO, "guard"):
        answer = await call(app, body=CHAT, headers={"authorization": f"Bearer {token}"})
    (line,) = lines(caplog)
    assert answer.status == 401
    assert line["reason"] == reason
    message = answer.json["error"]["message"]
    assert message == (
        "The token has no subject claim." if "subject" in reason else "The token is not valid."
    )
    assert token not in caplog.text


async def test_u14_tokens_of_another_kind_say_why_too(
    guarded: MakeGuarded, caplog: pytest.LogCaptureFixture
) -> None:
    app = guarded(FakeModel(), identity={"jwt": {"secret": SECRET, "algorithms": ["HS256"]}})
    other = jwt.encode({"sub": "ann", "exp": int(time.time()) + 60}, SECRET * 2, "HS512")
    with caplog.at_level(logging.INFO, "guard"):
        for token in ("a.b.c", other):
            await call(app, body=CHAT, headers={"authorization": f"Bearer {token}"})
    assert [line["reason"] for line in lines(caplog)] == ["token_malformed", "token_algorithm"]


@pytest.mark.parametrize(("status", "reason"), [(502, "backend_failed"), (504, "backend_timeout")])
async def test_u14_a_backend_that_fails_leaves_an_error_with_its_cause(
    guarded: MakeGuarded, caplog: pytest.LogCaptureFixture, status: int, reason: str
) -> None:
    async def failing(scope: Scope, receive: Receive, send: Send) -> None:
        raise BackendError("The model cannot be reached.", status=status) from OSError("connection refused")

    app = guarded(failing)
    with caplog.at_level(logging.INFO, "guard"):
        answer = await call(app, body=CHAT, headers=KEY)
    (line,) = lines(caplog)
    assert (answer.status, line["status"], line["reason"]) == (status, status, reason)
    assert line["request_id"] == answer.headers["x-request-id"]
    assert "connection refused" in line["detail"]
    assert "connection refused" not in answer.body.decode()
    assert levels(caplog) == ["ERROR"]


async def test_u14_what_a_client_chooses_is_bounded_and_cannot_forge_a_line(
    guarded: MakeGuarded, caplog: pytest.LogCaptureFixture
) -> None:
    app = guarded(FakeModel())
    with caplog.at_level(logging.WARNING, "guard"):
        await call(app, '/x"}\n{"kind": "refused"}\x1b[2J' + "y/" * 9_000, method="M" * 9_000)
        await call(app, "/sk-test-0123456789abcdef/v1")
    (forged, secret) = caplog.messages
    assert "\n" not in forged
    assert "\x1b" not in forged
    assert len(forged) < 1_000
    assert "0123456789" not in secret


async def test_u14_errors_are_counted_by_reason(guarded: MakeGuarded) -> None:
    registry = CollectorRegistry()
    app = guarded(FakeModel(), hooks=[PrometheusHook(registry)])
    for number in range(3):
        await call(app, f"/nowhere/{number}")
    counted = generate_latest(registry).decode()
    assert 'guard_errors_total{reason="unknown_path",status="404"} 3.0' in counted
    assert "nowhere" not in counted


async def test_a_hook_that_fails_on_an_error_harms_no_request(guarded: MakeGuarded) -> None:
    class Broken:
        def __call__(self, event: Event, /) -> None:
            raise LookupError

        def failed(self, failure: Failure) -> None:
            raise LookupError

    assert (await call(guarded(FakeModel(), hooks=[Broken()]), "/nowhere")).status == 404
