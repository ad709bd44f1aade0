"""What happened, as the data that `--json`, the API and the page have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from guard.core.rollups import NOVELTY_UNIT, Dimension, Measure
from guard.words import moment

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from guard.admin.rollups import Busiest, Busy, RefusedTo, Traffic
    from guard.core.rollups import Point, Sums, Use

NAMES = {
    Dimension.ACTION: "actions",
    Dimension.REASON: "reasons",
    Dimension.LIMIT: "limits",
    Dimension.TIER: "tiers",
    Dimension.MODEL: "models",
    Dimension.BAND: "bands",
    Dimension.ERROR: "errors",
}
"""What the numbers by a dimension are called."""

OF_ALL = tuple(each for each in Measure if each is not Measure.REQUESTS)

_CALLED = {Measure.COST: "cost_microdollars"}


def traffic_json(traffic: Traffic) -> dict[str, Any]:
    """Traffic as data: the sums of all of it, and of each step."""
    return {
        "since": moment(traffic.since),
        "until": moment(traffic.until),
        "step_seconds": traffic.step_seconds,
        "total": sums_json(traffic.total),
        "steps": [{"at": moment(each.at), **sums_json(each.sums)} for each in traffic.buckets],
    }


def sums_json(sums: Sums) -> dict[str, Any]:
    """The sums of a bucket as data; by a dimension only those that are not 0."""
    return {
        **{_CALLED.get(each, each.value): measured(each, sums.of(each)) for each in OF_ALL},
        **{called: _by(sums.by(dimension)) for dimension, called in NAMES.items()},
        "own_seconds": {
            name: counts[Measure.REQUESTS] for name, counts in sums.by(Dimension.OWN_SECONDS).items()
        },
    }


def measured(measure: Measure, count: int) -> float:
    """A number in its unit."""
    return count / NOVELTY_UNIT if measure is Measure.NOVELTY else count


def _by(names: Mapping[str, Mapping[Measure, int]]) -> dict[str, Any]:
    return {
        name: {_CALLED.get(each, each.value): measured(each, count) for each, count in counts.items()}
        for name, counts in names.items()
    }


def busiest_json(page: Busiest) -> dict[str, Any]:
    """A part of a list of the busiest as data."""
    return {
        "by": page.by,
        "hours": page.hours,
        "offset": page.offset,
        "more": page.more,
        "identities": [_busy_json(each) for each in page.entries],
    }


def _busy_json(busy: Busy) -> dict[str, Any]:
    last = busy.course[-1] if busy.course else None
    return {
        "identity": busy.label,
        **use_json(busy.use),
        "risk_decibans": round(busy.decibans, 1),
        "band_when_seen": None if last is None else last.band,
        "course": course_json(busy.course),
    }


def use_json(use: Use) -> dict[str, Any]:
    """What an identity has used, as data."""
    return {
        "requests": use.requests,
        "refused": use.refused,
        "input_tokens": use.input_tokens,
        "output_tokens": use.output_tokens,
        "cost_microdollars": use.cost,
        "novelty": use.novelty / NOVELTY_UNIT,
        "exact": not use.missed,
    }


def course_json(course: Iterable[Point]) -> list[dict[str, Any]]:
    """The course of a risk as data."""
    return [{"at": moment(at), "band": band, "decibans": decibans} for at, band, decibans in course]


def refusals_json(refusals: Iterable[RefusedTo]) -> list[dict[str, Any]]:
    """Refusals as data."""
    return [
        {
            "identity": each.label,
            "request_id": each.refusal.request_id,
            "at": moment(each.refusal.at),
            "mode": each.refusal.mode,
            "action": each.refusal.action,
            "reason": each.refusal.reason or None,
            "limits": list(each.refusal.limits),
        }
        for each in refusals
    ]
