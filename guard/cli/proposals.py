"""What `guard calibrate` proposes, as lines for guard.toml with the reasons as comments."""

from __future__ import annotations

import json
from textwrap import wrap
from typing import TYPE_CHECKING

from guard.admin.budgets import LEAST_DAYS, LEAST_HOLDERS
from guard.admin.calibrate import BANDS
from guard.cli import output
from guard.core.evidence import Band
from guard.core.identity import Attribute
from guard.core.limits import Algorithm, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from guard.admin.budgets import Bothered, Budget
    from guard.admin.calibrate import Calibration
    from guard.core.limits import Limit

WIDTH = 79

MOST_NAMED = 5
"""Maximum number of holders that a comment names."""


def proposals(made: Calibration, file: Path) -> Iterator[str]:
    """The lines; those under one heading go into the section of that name."""
    yield from _detection(made, file)
    for budget in made.budgets:
        yield ""
        yield from _budget(budget)


def _detection(made: Calibration, file: Path) -> Iterator[str]:
    source = made.reference.calibrated
    if source is not None:
        yield from _comment(
            f"Proposed on {source.made} from {source.identities} identities with {source.queries} queries of "
            f"{source.since} to {source.until}."
        )
    yield "[detection]"
    yield f"reference = {json.dumps(str(file))}"
    yield from _comment(
        f"Thresholds for {made.honest_high * 100:.3g}% of honest identities that are ever `high`, as far as "
        f"{made.identities} can show, each judged by tables made from others:"
    )
    for band in BANDS:
        yield from _comment(_reached(made, band))
        yield f"{band} = {getattr(made.proposed, band):g}"
    highs = made.reached(Band.HIGH, made.present)
    if highs:
        names = [f"{name} ({made.worst[name].decibans:.1f} dB)" for name in highs]
        yield from _comment(
            f"Ever `high` as it is now: {_some(names)}. Declare their use ([[uses]]), or label them as "
            "attacks, if that is what they are."
        )


def _reached(made: Calibration, band: Band) -> str:
    """What a threshold will cost, and what that of the settings does."""
    told = {}
    for weights in (made.present, made.proposed):
        least, most = made.bounds(band, weights)
        ever = len(made.reached(band, weights))
        told[getattr(weights, band)] = f"{ever} of {made.identities} ever ({least:.1%} to {most:.1%})"
    return "; ".join(f"from {decibans:g} dB {what}" for decibans, what in told.items())


def _budget(budget: Budget) -> Iterator[str]:
    """One diversity budget."""
    largest = ", ".join(f"{name} {amount:.3g}" for name, amount in budget.largest)
    bound = "" if budget.bound is None else f", with 95 % certainty below {budget.bound:.3g}"
    yield from _comment(
        f"Tier {budget.tier}: 99 % of {budget.days} days of {budget.holders} holders paid out at most "
        f"{budget.quantile:.3g} units{bound}. The largest: {largest}."
    )
    if budget.present is not None:
        windows = ";".join(
            f"{shown(budget.limit.unit, each.count)}/{output.length(each)}" for each in budget.limit.windows
        )
        yield from _comment(f"Now, {windows} would have refused {_refused(budget, budget.present)}.")
    if budget.proposed is None:
        yield from _comment(
            f"That is too little to propose a budget from: {LEAST_HOLDERS} holders are needed, and "
            f"{LEAST_DAYS} days."
        )
        return
    what = "no bound is sure, so this is the largest day" if budget.bound is None else "this"
    yield from _comment(f"In its place, {what}; it would have refused {_refused(budget, budget.bothered)}.")
    yield f"[[tiers.{budget.tier}.limits]]"
    yield from _limit(budget.limit)
    yield f'rate = "{budget.proposed}/day"'


def _limit(limit: Limit) -> Iterator[str]:
    """What makes it that limit, but for its numbers."""
    yield f"name = {json.dumps(limit.name)}"
    yield f"unit = {json.dumps(limit.unit)}"
    if limit.per != (Attribute.KEY,):
        yield f"per = {json.dumps(list(limit.per))}"
    if limit.algorithm is not Algorithm.SLIDING_WINDOW:
        yield f"algorithm = {json.dumps(limit.algorithm)}"
    if limit.zone is not None:
        yield f"time_zone = {json.dumps(str(limit.zone))}"
    for name in ("models", "routes", "methods"):
        globs = getattr(limit.match, name)
        if globs:
            yield f"{name} = {json.dumps(list(globs))}"


def _refused(budget: Budget, bothered: Sequence[Bothered]) -> str:
    if not bothered:
        return "nobody"
    refused = sum(each.refused for each in bothered)
    names = [
        f"{each.holder} ({each.refused / each.requests:.1%} of {each.requests} requests, on {each.days} days)"
        for each in bothered
    ]
    return f"{refused / budget.requests:.2%} of {budget.requests} requests: {_some(names)}"


def _some(names: Sequence[str]) -> str:
    more = f", and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"{', '.join(names[:MOST_NAMED])}{more}"


def _comment(text: str) -> list[str]:
    return wrap(text, WIDTH, initial_indent="# ", subsequent_indent="#   ", break_long_words=False)
