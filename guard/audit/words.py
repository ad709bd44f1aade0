"""A record in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from guard.audit.records import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping


def said(fields: Mapping[str, Any]) -> str:
    """A record in a few words."""
    several = f" x{fields['count']:,}" if isinstance(fields.get("count"), int) else ""
    match fields.get("kind"):
        case Kind.ACT:
            changes = "; ".join(changed(fields.get("before") or {}, fields.get("after") or {}))
            why = f": {fields['reason']}" if fields.get("reason") else ""
            failed = f"; FAILED: {fields['failed']}" if fields.get("failed") else ""
            words = (fields.get("verb"), fields.get("subject"), "by", fields.get("by"))
            return f"{' '.join(map(str, words))}{why} ({changes or 'no change'}){failed}"
        case Kind.DECISION:
            would = "would be " if fields.get("mode") else ""
            reason = " ".join((str(fields.get("reason", "")), *map(str, fields.get("limits", ()))))
            where = f"{fields.get('method', '')} {fields.get('route', '')}".strip()
            return f"{would}{fields.get('action')} {fields.get('identity')}: {reason}, {where}{several}"
        case Kind.FAILURE:
            who = fields.get("identity") or "somebody"
            return f"failed {who}: {fields.get('reason')} {fields.get('status')}{several}"
        case Kind.HOLD:
            groups = ", ".join(map(str, fields.get("groups", ())))
            return f"hold {fields.get('identity')}: {fields.get('band')} ({groups})"
        case Kind.LOST:
            what = ", ".join(f"{count:,} {name}" for name, count in (fields.get("of") or {}).items())
            return f"lost: {fields.get('count', 0):,} decisions without a record of their own ({what})"
        case Kind.BREAK:
            return f"break: {fields.get('found')}"
        case kind:
            return str(kind)


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What an act changes, old -> new, for each thing that it is about."""
    names = dict.fromkeys((*before, *after))
    return [
        f"{name} {_plain(before.get(name))} -> {_plain(after.get(name))}"
        for name in names
        if before.get(name) != after.get(name)
    ]


def _plain(value: object) -> str:
    """A state in words: `none`, `shadow`, or what it has to say."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        if "window_seconds" in value:
            return f"{value.get('count')}/{value['window_seconds']} s"
        parts = {name: _plain(each) for name, each in value.items() if name not in _NOT_SAID}
        return ", ".join(f"{name} {said}" for name, said in parts.items() if said not in _EMPTY) or "none"
    if isinstance(value, list):
        return " ".join(map(_plain, value)) or "none"
    return "none" if value is None else str(value)


_NOT_SAID = ("since", "receipt", "tiers")
_EMPTY = ("none", "no", "")
