"""Records as events of the Open Cybersecurity Schema Framework 1.8.0 (https://schema.ocsf.io/1.8.0).

    decisions, failures, acts       API Activity, class 6003
    suspicion, holds, campaigns     Detection Finding, class 2004

The schema of 1.9 has an attestation for records of a chain (profile `record_integrity`), and 1.8 has none. So
it stands in `unmapped`, under the names of 1.9. Its fingerprint is the seal of the record as guard keeps it,
which `guard audit verify` checks; it is not one of the exported event.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from guard.audit.records import Kind
from guard.audit.words import said
from guard.core.decision import FORWARDED, Action, Reason
from guard.core.evidence import Band
from guard.core.modes import Mode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from guard.admin.audit import Kept

SCHEMA = "1.8.0"

API_ACTIVITY, DETECTION_FINDING = 6003, 2004
CATEGORIES = {API_ACTIVITY: 6, DETECTION_FINDING: 2}

UNKNOWN, OTHER = 0, 99
CREATE, READ, UPDATE, DELETE = 1, 2, 3, 4
_ACTIVITIES = {"POST": CREATE, "GET": READ, "HEAD": READ, "PUT": UPDATE, "PATCH": UPDATE, "DELETE": DELETE}

INFORMATIONAL, LOW, MEDIUM, HIGH, CRITICAL = 1, 2, 3, 4, 5
_SEVERITIES: dict[str, int] = {Band.LOW: LOW, Band.ELEVATED: MEDIUM, Band.HIGH: HIGH, Band.CRITICAL: CRITICAL}

SUCCESS, FAILURE = 1, 2

ALLOWED, DENIED, OBSERVED, MODIFIED = 1, 2, 3, 4
"""`action_id`."""

BLOCKED, DELAYED, DETECTED, LOGGED, CHALLENGE, REJECTED, CORRECTED, UNAUTHORIZED, ERROR = (
    *(2, 14, 15, 17, 23, 25),
    *(11, 26, 27),
)
"""`disposition_id`."""

_OUTCOMES = {
    Action.RESHAPE: (MODIFIED, CORRECTED),
    Action.SLOW: (MODIFIED, DELAYED),
    Action.LIMITED: (DENIED, REJECTED),
    Action.CHALLENGE: (DENIED, CHALLENGE),
    Action.HOLD: (DENIED, BLOCKED),
    Action.DENY: (DENIED, BLOCKED),
}

BEHAVIOURAL = 2
"""`analytic.type_id`."""

SHA_256_HMAC = "HMAC-SHA-256"


def ocsf_event(kept: Kept, before: Kept | None) -> dict[str, Any]:
    """The event of a record; `before` is the record before it in its chain."""
    fields = kept.fields
    kind = fields.get("kind")
    suspicious = kind == Kind.DECISION and fields.get("reason") == Reason.RISK
    if kind == Kind.HOLD or kind == Kind.BREAK or suspicious:
        event = _finding(kept)
    elif kind == Kind.ACT:
        event = _act(fields)
    elif kind in (Kind.DECISION, Kind.FAILURE):
        event = _request(fields)
    else:
        event = _about_the_chain(fields)
    event["unmapped"] = {"guard": dict(fields), "attestation_list": [_attestation(kept, before)]}
    return {**_head(kept), **event}


def _head(kept: Kept) -> dict[str, Any]:
    class_uid = _class(kept)
    metadata = {
        "version": SCHEMA,
        "product": {"name": "guard", "vendor_name": "asgi-guard", "version": version("asgi-guard")},
        "profiles": ["security_control"],
        "uid": _uid(kept),
        "log_name": str(kept.chain),
        "sequence": kept.number,
        "event_code": str(kept.fields.get("kind")),
    }
    if "request" in kept.fields:
        metadata["correlation_uid"] = kept.fields["request"]
    activity_id = _activity(kept)
    return {
        "category_uid": CATEGORIES[class_uid],
        "class_uid": class_uid,
        "activity_id": activity_id,
        "type_uid": class_uid * 100 + activity_id,
        "time": kept.at_us // 1000,
        "metadata": metadata,
    }


def _class(kept: Kept) -> int:
    kind, reason = kept.fields.get("kind"), kept.fields.get("reason")
    found = kind in (Kind.HOLD, Kind.BREAK) or (kind == Kind.DECISION and reason == Reason.RISK)
    return DETECTION_FINDING if found else API_ACTIVITY


def _activity(kept: Kept) -> int:
    if _class(kept) == DETECTION_FINDING:
        return CREATE
    if kept.fields.get("kind") == Kind.ACT:
        return UPDATE
    return _ACTIVITIES.get(str(kept.fields.get("method")), OTHER if "method" not in kept.fields else UNKNOWN)


def _request(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A request that was decided on, or that failed."""
    status = fields.get("status")
    operation = fields.get("route") or fields.get("reason") or "unknown"
    api: dict[str, Any] = {
        "operation": f"{fields.get('method', '')} {operation}".strip(),
        "request": {"uid": fields.get("request", "unknown")},
    }
    event = {
        "severity_id": MEDIUM if isinstance(status, int) and status >= 500 else LOW,
        "actor": _actor(fields),
        "api": api,
        "src_endpoint": _source(fields),
        "message": said(fields),
        **_outcome(fields),
        **_several(fields),
    }
    if isinstance(status, int):
        api["response"] = {"code": status}
        event["http_response"] = {"code": status}
        event["status_code"] = str(status)
        event["status_id"] = FAILURE if status >= 400 else SUCCESS
    if fields.get("reason"):
        event["status_detail"] = fields["reason"]
    if fields.get("method"):
        event["http_request"] = {"http_method": fields["method"]}
    return event


def _act(fields: Mapping[str, Any]) -> dict[str, Any]:
    """An order of an operator's."""
    failed = fields.get("failed")
    event = {
        "severity_id": INFORMATIONAL,
        "actor": {"user": {"name": fields.get("by") or "unknown", "type_id": 2}, "app_name": "guard"},
        "api": {"operation": f"guard {fields.get('verb', '')}".strip()},
        "src_endpoint": {"name": "guard"},
        "resources": [{"uid": fields.get("subject") or "everything"}],
        "status_id": FAILURE if failed else SUCCESS,
        "message": said(fields),
        "action_id": ALLOWED,
        "disposition_id": LOGGED,
    }
    if fields.get("reason"):
        event["status_detail"] = fields["reason"]
    return event


def _about_the_chain(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "severity_id": INFORMATIONAL,
        "actor": {"app_name": "guard"},
        "api": {"operation": f"audit {fields.get('kind')}"},
        "src_endpoint": {"name": "guard"},
        "message": said(fields),
        "action_id": OBSERVED,
        "disposition_id": LOGGED,
    }


def _finding(kept: Kept) -> dict[str, Any]:
    """Somebody is suspected, or held; or somebody has tampered with the records."""
    fields = kept.fields
    kind = fields.get("kind")
    who = fields.get("identity") or "the audit records"
    titles = {Kind.HOLD: "held for review", Kind.BREAK: "were tampered with, or lost"}
    title = titles.get(Kind(str(kind)), f"{fields.get('action')} because of its risk")
    info: dict[str, Any] = {
        "uid": _uid(kept),
        "title": f"{who}: {title}",
        "analytic": {"name": "guard", "type_id": BEHAVIOURAL},
        "types": list(fields.get("groups", ())),
        "created_time": kept.at_us // 1000,
    }
    if fields.get("campaign"):
        info["related_analytics"] = [{"uid": fields["campaign"], "name": "campaign", "type_id": BEHAVIOURAL}]
    event = {
        "severity_id": CRITICAL if kind == Kind.BREAK else _SEVERITIES.get(str(fields.get("band")), LOW),
        "finding_info": info,
        "resources": [{"uid": who}],
        "is_alert": True,
        "message": said(fields),
        **_several(fields),
    }
    if kind == Kind.BREAK:
        return {**event, "action_id": OBSERVED, "disposition_id": DETECTED}
    held = {"action_id": DENIED, "disposition_id": BLOCKED}
    return {**event, **(held if kind == Kind.HOLD else _outcome(fields))}


def _outcome(fields: Mapping[str, Any]) -> dict[str, Any]:
    if fields.get("kind") == Kind.FAILURE:
        status = fields.get("status")
        refused = status in (401, 403)
        return {
            "action_id": DENIED if refused else OBSERVED,
            "disposition_id": UNAUTHORIZED if refused else ERROR,
        }
    action = fields.get("action")
    known = action in set(Action)
    if fields.get("mode") == Mode.SHADOW and not (known and Action(str(action)) in FORWARDED):
        return {"action_id": OBSERVED, "disposition_id": DETECTED}
    action_id, disposition_id = _OUTCOMES.get(Action(str(action)), (ALLOWED, LOGGED)) if known else (0, 0)
    return {"action_id": action_id, "disposition_id": disposition_id}


def _actor(fields: Mapping[str, Any]) -> dict[str, Any]:
    identity = fields.get("identity")
    return {"user": {"uid": identity, "type_id": UNKNOWN}} if identity else {"app_name": "unidentified"}


def _source(fields: Mapping[str, Any]) -> dict[str, Any]:
    """No address is recorded; an endpoint needs a name."""
    return {"uid": fields["identity"]} if fields.get("identity") else {"name": "unidentified"}


def _several(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Where a record stands for several."""
    if "count" not in fields or "last_at" not in fields:
        return {}
    start, end = fields["at"] // 1000, fields["last_at"] // 1000
    return {"count": fields["count"], "start_time": start, "end_time": end, "duration": end - start}


def _attestation(kept: Kept, before: Kept | None) -> dict[str, Any]:
    attestation: dict[str, Any] = {"chain_uid": f"guard:{kept.chain}", "fingerprint": _fingerprint(kept)}
    if before is not None:
        attestation["prev_event"] = {"uid": _uid(before), "fingerprint": _fingerprint(before)}
    return attestation


def _fingerprint(kept: Kept) -> dict[str, Any]:
    return {"algorithm_id": OTHER, "algorithm": SHA_256_HMAC, "encoding_id": 1, "value": kept.seal.hex()}


def _uid(kept: Kept) -> str:
    return f"{kept.chain}:{kept.number}"
