"""What `--json` prints of values that several verbs show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from guard.cli.output import moment
from guard.core.holds import Held
from guard.core.limits import shown

if TYPE_CHECKING:
    from guard.admin import Block, Entry, Nearest, Record, Term, Totals
    from guard.core.holds import Review
    from guard.core.identity import Holder
    from guard.core.limits import Limit, Reading


def reading_json(reading: Reading) -> dict[str, Any]:
    """A reading as data; times in seconds."""
    return {
        "limit": reading.limit.name,
        "unit": reading.limit.unit,
        "per": list(reading.limit.per),
        "algorithm": reading.limit.algorithm,
        "window_seconds": reading.window.period_seconds,
        "count": shown(reading.limit.unit, reading.window.count),
        "burst": shown(reading.limit.unit, reading.window.burst),
        "ramp_percent": round(reading.left * 100, 1),
        "remaining": shown(reading.limit.unit, reading.remaining),
        "reset_seconds": reading.reset_us / 1e6,
        "wait_seconds": None if reading.wait_us is None else reading.wait_us / 1e6,
    }


def nearest_json(found: Nearest | None) -> dict[str, Any]:
    """The tightest limit as data."""
    return {
        "tightest_limit": None if found is None else found.limit,
        "used_share": None if found is None else found.used,
    }


def block_json(holder: Holder, block: Block) -> dict[str, Any]:
    """A block as data."""
    return {
        "holder": str(holder),
        "remaining_seconds": None if block.remaining_us is None else block.remaining_us / 1e6,
        "reason": block.reason,
    }


def review_json(review: Review) -> dict[str, Any]:
    """How a holder's review stands, as data."""
    found = {
        "held": isinstance(review, Held),
        "groups": list(review.groups),
        "since": moment(review.since_us / 1e6),
        "until": None if review.until_us is None else moment(review.until_us / 1e6),
    }
    if isinstance(review, Held):
        return {**found, "receipt": review.receipt, "band": review.band}
    return {**found, "reason": review.reason}


def totals_json(totals: Totals) -> dict[str, Any]:
    """What several identities have used, as data."""
    return {
        "identities": totals.identities,
        "first_seen": moment(totals.first_seen),
        "last_seen": moment(totals.last_seen),
        "admitted": totals.admitted,
        "refused": totals.refused,
        "would_refuse": totals.shadowed,
        "input_tokens": totals.input_tokens,
        "output_tokens": totals.output_tokens,
        "cost_microdollars": totals.cost,
    }


def term_json(term: Term, limit: Limit | None) -> dict[str, Any]:
    """An override of a limit as data; times in seconds."""
    unit = "" if limit is None else limit.unit
    return {
        "limit": term.limit,
        "exempt": term.counts is None,
        "windows": [
            {"window_seconds": size, "count": shown(unit, count), "burst": shown(unit, burst)}
            for size, (count, burst) in (term.counts or {}).items()
        ],
        "remaining_seconds": None if term.remaining_us is None else term.remaining_us / 1e6,
    }


def entry_json(label: str, entry: Entry) -> dict[str, Any]:
    """An identity's record and risk as data."""
    risk = {"risk_decibans": entry.risk.decibans, "band": entry.risk.band}
    return {**record_json(label, entry.record), **risk, **nearest_json(entry.nearest)}


def record_json(label: str, record: Record) -> dict[str, Any]:
    """An identity's record as data."""
    return {
        "identity": label,
        "vouched_by": record.identity.vouched_by,
        "attributes": dict(record.identity.attributes),
        "first_seen": moment(record.first_seen),
        "last_seen": moment(record.last_seen),
        "admitted": record.admitted,
        "refused": record.refused,
        "would_refuse": record.shadowed,
        "input_tokens": record.input_tokens,
        "output_tokens": record.output_tokens,
        "cost_microdollars": record.cost,
    }
