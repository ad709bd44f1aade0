"""What a calibration has found, and the settings that it proposes."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from guard.admin.calibrate import BANDS, LEVELS
from guard.core.limits import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guard.admin.budgets import Budget
    from guard.admin.calibrate import Calibration
    from guard.core.evidence import Weights


def calibration_json(made: Calibration, toml: Sequence[str]) -> dict[str, Any]:
    """As data; `toml` are the proposals as lines for the settings."""
    survey, source = made.survey, made.reference.calibrated
    return {
        "identities": made.identities,
        "queries": survey.queries,
        "days": round(survey.days, 2),
        "calibrated": source and asdict(source),
        "left_out": {
            "attack_lines": survey.attacks,
            "unread_lines": survey.unread.total(),
            "unread_reasons": dict(survey.unread.most_common()),
            "small_identities": len(survey.traces) - made.identities,
        },
        "unanswered_queries": survey.unanswered,
        "placed": made.reference.place is not None,
        "signals": {
            signal: {
                "own_identities": made.own[signal],
                "at": {
                    stratum: {f"{level}": each.statistic(level) for level in LEVELS}
                    for stratum, each in tables.items()
                },
            }
            for signal, tables in made.reference.tables.items()
        },
        "honest_high": made.honest_high,
        "false_positives": {
            "present": _thresholds(made, made.present),
            "proposed": _thresholds(made, made.proposed),
        },
        "budgets": [_budget(each) for each in made.budgets],
        "cautions": list(made.cautions),
        "toml": "\n".join(toml) + "\n",
    }


def _thresholds(made: Calibration, weights: Weights) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for band in BANDS:
        reached, (least, most) = made.reached(band, weights), made.bounds(band, weights)
        found[band] = {
            "from_decibans": getattr(weights, band),
            "identities": reached,
            "share": len(reached) / made.identities,
            "at_least": least,
            "at_most": most,
        }
    return found


def _budget(budget: Budget) -> dict[str, Any]:
    fields = asdict(budget)
    limit = budget.limit
    fields["limit"] = limit.name
    fields["present_windows"] = (
        None
        if budget.present is None
        else [
            {"count": shown(limit.unit, each.count), "window_seconds": each.period_seconds}
            for each in limit.windows
        ]
    )
    return fields
