"""Exported records are events of OCSF 1.8.0, as its schema has them (https://github.com/ocsf/ocsf-schema)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from guard.admin.acts import Act
from guard.admin.audit import Kept
from guard.admin.ocsf import ocsf_event
from guard.audit.records import Kind, decision_record, failure_record, hold_record, record
from guard.core.chains import Chain
from guard.core.decision import Action, Reason
from guard.core.evidence import Band
from guard.core.modes import Mode
from guard.core.signals import Group
from guard.telemetry.events import Event, Failure, Hold

AT_US = 1_800_000_000_123_456

REQUIRED = {
    6003: {
        *("activity_id", "actor", "api", "category_uid", "class_uid", "metadata", "severity_id"),
        *("src_endpoint", "time", "type_uid"),
    },
    2004: {
        *("activity_id", "category_uid", "class_uid", "finding_info", "metadata", "severity_id"),
        *("time", "type_uid"),
    },
}
KNOWN = {
    6003: REQUIRED[6003]
    | {
        *("http_request", "http_response", "message", "resources", "status_id", "status_code", "unmapped"),
        *("status_detail", "count", "start_time", "end_time", "duration", "action_id", "disposition_id"),
    },
    2004: REQUIRED[2004]
    | {
        *("message", "resources", "is_alert", "count", "start_time", "end_time", "duration", "unmapped"),
        *("action_id", "disposition_id"),
    },
}
"""The attributes of each class that guard uses, of its own, of the base event and of `security_control`."""

OBJECTS: dict[str, tuple[set[str], set[str]]] = {
    "actor": (set(), {"user", "app_name"}),
    "api": ({"operation"}, {"request", "response"}),
    "metadata": (
        {"product", "version"},
        {"profiles", "uid", "log_name", "sequence", "event_code", "correlation_uid"},
    ),
    "finding_info": ({"uid"}, {"title", "analytic", "types", "created_time", "related_analytics"}),
    "http_response": ({"code"}, set()),
    "http_request": (set(), {"http_method"}),
    "src_endpoint": (set(), {"uid", "name"}),
}
"""What an object has to have, and what else it may; where nothing has to be there, one of the rest does."""

ENUMS = {
    "severity_id": range(7),
    "status_id": (0, 1, 2, 99),
    "action_id": (0, 1, 2, 3, 4, 99),
    "disposition_id": (*range(28), 99),
}
ACTIVITIES = {6003: (0, 1, 2, 3, 4, 99), 2004: (0, 1, 2, 3, 99)}
CATEGORIES = {6003: 6, 2004: 2}


def decision(**more: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "tier": "default",
        "route": "/v1/messages",
        "method": "POST",
        "mode": Mode.ENFORCE,
        "action": Action.LIMITED,
        "reason": Reason.QUOTA,
        "limits": ("requests",),
        "status": 429,
        "input_tokens": 0,
        "output_tokens": 0,
        "store_error": None,
    }
    return decision_record(Event("req_1", "key:a", **{**fields, **more}), AT_US)


def failure(status: int, identity: str | None = None, method: str = "POST") -> dict[str, Any]:
    told = Failure("req_1", "backend_timeout", status, method, "", None, identity, None, "")
    return failure_record(told, AT_US)


RISKY = {"reason": Reason.RISK, "risk": 41.0, "band": Band.CRITICAL, "groups": (Group.CONTENT,)}
RECORDS: dict[str, tuple[dict[str, Any], int]] = {
    **{f"action {action}": (decision(action=action), 6003) for action in Action},
    **{f"risk {action}": (decision(action=action, campaign="c1", **RISKY), 2004) for action in Action},
    "shadow": (decision(mode=Mode.SHADOW, status=200), 6003),
    "shadow of risk": (decision(mode=Mode.SHADOW, status=200, **RISKY), 2004),
    "several": ({**decision(), "count": 9, "last_request": "req_9", "last_at": AT_US + 900_000}, 6003),
    "left": (decision(status=None), 6003),
    "401": (failure(401), 6003),
    "403": (failure(403, "key:a"), 6003),
    "504": (failure(504, "key:a"), 6003),
    "a method of nobody's": (failure(401, method="BREW"), 6003),
    "hold": (hold_record(Hold("req_1", "key:a", "default", Band.HIGH, (Group.CONTENT,), 1.0), AT_US), 2004),
    "act": (Act("block", "key:a", {"block": None}, {"block": {}}, "ann", "leaked", AT_US).record(), 6003),
    "act that failed": (Act("mode", "everything", {}, {}, "ann", "", AT_US, failed="x").record(), 6003),
    **{f"chain {kind}": (record(kind, AT_US), 6003) for kind in (Kind.BEGIN, Kind.TRIM, Kind.LOST)},
    "broken": (record(Kind.BREAK, AT_US, found="the head was missing or false"), 2004),
    "of a later version": (record(Kind.ACT, AT_US) | {"kind": "unheard of"}, 6003),
}


@pytest.mark.parametrize(("fields", "class_uid"), RECORDS.values(), ids=RECORDS)
def test_an_event_has_what_its_class_requires_and_nothing_that_it_does_not_know(
    fields: dict[str, Any], class_uid: int
) -> None:
    before = Kept(Chain.DECISIONS, 6, {}, b"b" * 32)
    event = json.loads(json.dumps(ocsf_event(Kept(Chain.DECISIONS, 7, fields, b"a" * 32), before)))
    assert event["class_uid"] == class_uid
    assert event["category_uid"] == CATEGORIES[class_uid]
    assert event["type_uid"] == class_uid * 100 + event["activity_id"]
    assert event["activity_id"] in ACTIVITIES[class_uid]
    assert event.keys() >= REQUIRED[class_uid]
    assert event.keys() <= KNOWN[class_uid]
    assert event["time"] == AT_US // 1000
    assert event["metadata"]["version"] == "1.8.0"
    for name, allowed in ENUMS.items():
        assert event.get(name, 0) in allowed
    for name, (required, others) in OBJECTS.items():
        if name in event:
            assert event[name].keys() >= required
            assert event[name].keys() <= required | others
            assert event[name]
    if "duration" in event:
        assert event["duration"] == event["end_time"] - event["start_time"]
    attestation = event["unmapped"]["attestation_list"][0]
    assert attestation["fingerprint"]["value"] == (b"a" * 32).hex()
    assert attestation["prev_event"]["fingerprint"]["value"] == (b"b" * 32).hex()
    assert attestation["prev_event"]["uid"] == "decisions:6"


def test_the_first_event_of_a_chain_has_none_before_it() -> None:
    event = ocsf_event(Kept(Chain.ACTS, 1, record(Kind.BEGIN, AT_US), b"a" * 32), None)
    assert "prev_event" not in event["unmapped"]["attestation_list"][0]
    assert event["metadata"]["uid"] == "acts:1"
