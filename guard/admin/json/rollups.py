"""What happened: traffic, the busiest identities, how risks went, and what was refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import TypedDict

from guard.admin.rollups import By
from guard.core.evidence import Band
from guard.core.modes import Mode
from guard.core.rollups import NOVELTY_UNIT, Dimension, Measure
from guard.words import moment

if TYPE_CHECKING:
    from collections.abc import Iterable

    from guard.admin.rollups import Busiest, Busy, RefusedTo, Traffic
    from guard.core.rollups import Point, Sums, Use


class OutcomesJson(TypedDict):
    """Requests by what became of them: `would_refuse` were forwarded in mode `shadow`."""

    admitted: int
    refused: int
    would_refuse: int


class AmountsJson(OutcomesJson):
    """And what they used; novelty is in units."""

    input_tokens: int
    output_tokens: int
    cost_microdollars: int
    novelty: float


class SumsJson(AmountsJson):
    """What happened in a time: all of it, then by name. `failed` ended in an error before a decision;
    `own_seconds` are requests by guard's own time for them, each bound with those under it and over the one
    before.
    """

    failed: int
    actions: dict[str, OutcomesJson]
    reasons: dict[str, OutcomesJson]
    limits: dict[str, OutcomesJson]
    bands: dict[str, OutcomesJson]
    tiers: dict[str, AmountsJson]
    models: dict[str, AmountsJson]
    errors: dict[str, int]
    own_seconds: dict[str, int]


class StepJson(SumsJson):
    """What happened in one step, which begins `at`."""

    at: str


class TrafficJson(TypedDict):
    """What happened from `since` until `until`."""

    since: str
    until: str
    step_seconds: int
    total: SumsJson
    steps: list[StepJson]


class RecentUseJson(TypedDict):
    """What an identity has used; where that is not `exact`, at least."""

    requests: int
    refused: int
    input_tokens: int
    output_tokens: int
    cost_microdollars: int
    novelty: float
    exact: bool


class RiskPointJson(TypedDict):
    """The most that spoke against an identity in the hour that begins `at`."""

    at: str
    band: Band
    decibans: int


class BusyJson(RecentUseJson):
    """One of the busiest: `risk_decibans` is what is left now of the last point of its `course`."""

    identity: str
    risk_decibans: float
    course: list[RiskPointJson]


class BusiestJson(TypedDict):
    """A part of a list of the busiest identities of the last `hours`, and whether there are `more`."""

    by: By
    hours: int
    offset: int
    more: bool
    identities: list[BusyJson]


class RefusalJson(TypedDict):
    """A request that was refused, or in mode `shadow` would have been."""

    identity: str
    request_id: str
    at: str
    mode: Mode
    action: str
    reason: str | None
    limits: list[str]


def traffic_json(traffic: Traffic) -> TrafficJson:
    """What happened, in all and in steps."""
    return {
        "since": moment(traffic.since),
        "until": moment(traffic.until),
        "step_seconds": traffic.step_seconds,
        "total": sums_json(traffic.total),
        "steps": [{"at": moment(each.at), **sums_json(each.sums)} for each in traffic.buckets],
    }


def sums_json(sums: Sums) -> SumsJson:
    """What happened in a time; by name, only where anything did."""
    errors, own = sums.by(Dimension.ERROR), sums.by(Dimension.OWN_SECONDS)
    return {
        **_amounts(sums, Dimension.ALL, ""),
        "failed": sums.of(Measure.FAILED),
        "actions": _outcomes_by(sums, Dimension.ACTION),
        "reasons": _outcomes_by(sums, Dimension.REASON),
        "limits": _outcomes_by(sums, Dimension.LIMIT),
        "bands": _outcomes_by(sums, Dimension.BAND),
        "tiers": {name: _amounts(sums, Dimension.TIER, name) for name in sums.by(Dimension.TIER)},
        "models": {name: _amounts(sums, Dimension.MODEL, name) for name in sums.by(Dimension.MODEL)},
        "errors": {name: counts[Measure.FAILED] for name, counts in errors.items()},
        "own_seconds": {name: own[name][Measure.REQUESTS] for name in sorted(own, key=float)},
    }


def _outcomes_by(sums: Sums, dimension: Dimension) -> dict[str, OutcomesJson]:
    return {name: _outcomes(sums, dimension, name) for name in sums.by(dimension)}


def _outcomes(sums: Sums, dimension: Dimension, name: str) -> OutcomesJson:
    return {
        "admitted": sums.of(Measure.ADMITTED, dimension, name),
        "refused": sums.of(Measure.REFUSED, dimension, name),
        "would_refuse": sums.of(Measure.WOULD_REFUSE, dimension, name),
    }


def _amounts(sums: Sums, dimension: Dimension, name: str) -> AmountsJson:
    return {
        **_outcomes(sums, dimension, name),
        "input_tokens": sums.of(Measure.INPUT_TOKENS, dimension, name),
        "output_tokens": sums.of(Measure.OUTPUT_TOKENS, dimension, name),
        "cost_microdollars": sums.of(Measure.COST, dimension, name),
        "novelty": sums.of(Measure.NOVELTY, dimension, name) / NOVELTY_UNIT,
    }


def busiest_json(page: Busiest) -> BusiestJson:
    """A part of a list of the busiest."""
    return {
        "by": page.by,
        "hours": page.hours,
        "offset": page.offset,
        "more": page.more,
        "identities": [_busy_json(each) for each in page.entries],
    }


def _busy_json(busy: Busy) -> BusyJson:
    return {
        "identity": busy.label,
        **use_json(busy.use),
        "risk_decibans": round(busy.decibans, 1),
        "course": course_json(busy.course),
    }


def use_json(use: Use) -> RecentUseJson:
    """What an identity has used."""
    return {
        "requests": use.requests,
        "refused": use.refused,
        "input_tokens": use.input_tokens,
        "output_tokens": use.output_tokens,
        "cost_microdollars": use.cost,
        "novelty": use.novelty / NOVELTY_UNIT,
        "exact": not use.missed,
    }


def course_json(course: Iterable[Point]) -> list[RiskPointJson]:
    """How a risk went, the oldest hour first."""
    return [{"at": moment(at), "band": band, "decibans": decibans} for at, band, decibans in course]


def refusals_json(refusals: Iterable[RefusedTo]) -> list[RefusalJson]:
    """Refusals, the latest first."""
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
