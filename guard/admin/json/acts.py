"""What an order has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from typing_extensions import TypedDict

from guard.words import moment

if TYPE_CHECKING:
    from guard.admin.acts import Act


class ActJson(TypedDict):
    """An order: what held before and what holds after, by what it is about; who gave it and why. It ends by
    itself at `until`, or not (`null`). One that was tried, and changed nothing, is a `dry_run`.
    """

    verb: str
    subject: str
    before: dict[str, Any]
    after: dict[str, Any]
    changed: bool
    by: str
    reason: str
    at: str
    until: str | None
    dry_run: bool


def act_json(act: Act, *, dry_run: bool = False) -> ActJson:
    """An order that was given, or tried."""
    return {
        "verb": act.verb,
        "subject": act.subject,
        "before": dict(act.before),
        "after": dict(act.after),
        "changed": act.changed,
        "by": act.by,
        "reason": act.reason,
        "at": moment(act.at_us / 1e6),
        "until": None if act.until_us is None else moment(act.until_us / 1e6),
        "dry_run": dry_run,
    }
