"""What holds for a holder, as plain JSON: the two sides of an act."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from guard.core.calendars import MICROSECONDS
from guard.core.holds import Held
from guard.core.limits import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from guard.admin.suspicion import Suspicion
    from guard.core.holds import Review
    from guard.core.limits import Reading
    from guard.store.port import Block

State = dict[str, Any]


def moment(at_us: int | None) -> str | None:
    """Unix microseconds as ISO 8601 in UTC; `None` for no end."""
    return None if at_us is None else datetime.fromtimestamp(at_us // MICROSECONDS, UTC).strftime(_FORM)


_FORM = "%Y-%m-%dT%H:%M:%SZ"


def block_state(block: Block | None, now_us: int) -> State | None:
    """A block: until when it holds, and why."""
    if block is None:
        return None
    until_us = None if block.remaining_us is None else now_us + block.remaining_us
    return {"until": moment(until_us), "reason": block.reason}


def review_state(review: Review | None) -> State | None:
    """How a review stands: whether the holder is held or cleared, for which groups, since and until when."""
    if review is None:
        return None
    state = {
        "held": isinstance(review, Held),
        "groups": list(review.groups),
        "since": moment(review.since_us),
        "until": moment(review.until_us),
    }
    if isinstance(review, Held):
        return {**state, "receipt": review.receipt, "band": review.band}
    return {**state, "reason": review.reason}


def term_state(counts: Mapping[int, tuple[int, int]] | None, unit: str, until_us: int | None) -> State:
    """An override of one limit: other numbers, or an exemption (`None`)."""
    windows = [
        {"window_seconds": seconds, "count": shown(unit, count), "burst": shown(unit, burst)}
        for seconds, (count, burst) in (counts or {}).items()
    ]
    return {"exempt": counts is None, "windows": windows, "until": moment(until_us)}


def evidence_state(suspicion: Suspicion | None) -> State | None:
    """What speaks against a holder."""
    if suspicion is None:
        return None
    return {
        "risk_decibans": round(suspicion.risk.decibans, 1),
        "band": suspicion.risk.band,
        "signals": [finding.signal for finding in suspicion.findings],
        "queries": suspicion.habits.queries if suspicion.habits else 0,
    }


def used_state(readings: Iterable[Reading]) -> dict[str, float]:
    """How much is used of each limit of which anything is; of several windows, the most."""
    used: dict[str, float] = {}
    for each in readings:
        if each.reset_us:
            count = shown(each.limit.unit, max(0, each.window.burst - each.remaining))
            used[each.limit.name] = max(count, used.get(each.limit.name, 0))
    return used
