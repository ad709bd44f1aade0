"""What a record says: one JSON object, with the same fields for the same kind (docs/audit.md).

No record has a credential, an address or a text of a query: names in it are labels
(guard/core/pseudonyms.py). Fields that say nothing are left out.
"""

from __future__ import annotations

import json
from enum import StrEnum
from math import isfinite
from typing import TYPE_CHECKING, Any

from guard.core.kept import read_json, read_moment
from guard.core.modes import Mode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from guard.telemetry.events import Event, Failure, Hold

VERSION = 1
"""The version of how a record is written, which is its `v`."""

LONGEST_TEXT = 200
"""Maximum length, in characters, of a name in a record of a decision."""


class Kind(StrEnum):
    """What a record is about. `BEGIN`, `TRIM` and `BREAK` are about the chain that they are in."""

    ACT = "act"
    DECISION = "decision"
    FAILURE = "failure"
    HOLD = "hold"
    LOST = "lost"
    BEGIN = "begin"
    TRIM = "trim"
    BREAK = "break"


def record(kind: Kind, at_us: int, **fields: object) -> dict[str, Any]:
    """A record; `at_us` is Unix microseconds."""
    said = {name: value for name, value in fields.items() if value not in _NOTHING}
    return {"v": VERSION, "kind": str(kind), "at": at_us, **said}


_NOTHING: tuple[object, ...] = (None, "", (), [], {})


def written(fields: Mapping[str, Any]) -> bytes:
    """A record as it is kept."""
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")


def read_record(text: bytes) -> dict[str, Any]:
    """A record of a text that is kept; raises `ValueError` where a field is not what it is in a record.

    Fields that this version does not know are left as they are.
    """
    fields = read_json(text)
    if not isinstance(fields, dict) or not isinstance(fields.get("kind"), str):
        raise ValueError("no record")
    for name, value in fields.items():
        # What held before an act; or the seal before the first record that a clean-up has left.
        is_one = _text if (name, fields["kind"]) == ("before", Kind.TRIM) else _SHAPES.get(name)
        if is_one is not None and not is_one(value):
            raise ValueError(f"its {name} is none")
    read_moment(fields.get("at"))
    read_moment(fields.get("last_at", 0))
    return fields


def _text(value: object) -> bool:
    return isinstance(value, str)


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(map(_text, value))


def _count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63


def _number(value: object) -> bool:
    return isinstance(value, int | float) and isfinite(value) and abs(value) < _MOST


def _state(value: object) -> bool:
    return isinstance(value, dict)


def _counts(value: object) -> bool:
    return isinstance(value, dict) and all(map(_count, value.values()))


_MOST = 1e12
"""More than any wait, in seconds, and any risk."""

_SHAPES: dict[str, Callable[[object], bool]] = {
    **dict.fromkeys(("verb", "subject", "by", "reason", "failed", "request", "last_request", "found"), _text),
    **dict.fromkeys(("identity", "vouched_by", "tier", "method", "route", "dialect", "model"), _text),
    **dict.fromkeys(("action", "mode", "band", "campaign", "store_error", "chain"), _text),
    **dict.fromkeys(("limits", "groups"), _texts),
    **dict.fromkeys(("status", "count", "until", "gone", "first"), _count),
    **dict.fromkeys(("wait_seconds", "risk_decibans"), _number),
    **dict.fromkeys(("before", "after"), _state),
    "of": _counts,
}
"""What each field is, where a record has it."""


def decision_record(event: Event, at_us: int) -> dict[str, Any]:
    """A decision other than to allow."""
    return record(
        Kind.DECISION,
        at_us,
        request=event.request_id,
        identity=_cut(event.identity),
        vouched_by=event.vouched_by,
        tier=event.tier,
        method=event.method,
        route=_cut(event.route),
        dialect=event.dialect,
        model=event.model,
        action=event.action,
        reason=event.reason,
        limits=list(event.limits),
        wait_seconds=None if event.wait_seconds is None else round(event.wait_seconds, 3),
        mode=None if event.mode is Mode.ENFORCE else event.mode,
        status=event.status,
        risk_decibans=round(event.risk, 1) or None,
        band=event.band if event.risk else None,
        groups=list(event.groups),
        campaign=event.campaign,
        store_error=event.store_error,
    )


def failure_record(failure: Failure, at_us: int) -> dict[str, Any]:
    """A request that ended in an error."""
    return record(
        Kind.FAILURE,
        at_us,
        request=failure.request_id,
        identity=None if failure.identity is None else _cut(failure.identity),
        tier=failure.tier,
        method=_cut(failure.method),
        route=_cut(failure.route),
        reason=failure.reason,
        status=failure.status,
    )


def hold_record(hold: Hold, at_us: int) -> dict[str, Any]:
    """A holder that was put on hold."""
    return record(
        Kind.HOLD,
        at_us,
        request=hold.receipt,
        identity=_cut(hold.holder),
        tier=hold.tier,
        band=hold.band,
        groups=list(hold.groups),
    )


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 1]}…"
