"""What `guard calibrate` proposes, as lines for the settings file with the reasons as comments.

TOML names a table once. So a table that the file has already is not named again: a comment says which it is.
"""

from __future__ import annotations

import json
from math import ceil
from os.path import relpath
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any, NamedTuple

from guard import words
from guard.admin.budgets import LEAST_DAYS, LEAST_HOLDERS
from guard.admin.calibrate import BANDS
from guard.core.evidence import Band
from guard.core.limits import Unit
from guard.settings.cautions import LEAST_SLIDING
from guard.settings.limits import LimitSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from guard.admin.budgets import Bothered, Budget
    from guard.admin.calibrate import Calibration
    from guard.settings.root import Settings

WIDTH = 79

MOST_NAMED = 5
"""Maximum number of holders that a comment names."""


class Target(NamedTuple):
    """Where the lines go: a settings file if there is one, what it `states`, and the settings that hold."""

    file: Path | None
    states: Mapping[str, Any]
    settings: Settings

    @property
    def name(self) -> str:
        """What the file is called, or will be."""
        return str(self.file or "guard.toml")

    def relative(self, file: Path) -> str:
        """A file as the settings name it: relative to their own folder."""
        folder = Path() if self.file is None else self.file.parent
        return str(file) if file.is_absolute() else Path(relpath(file, folder)).as_posix()


def proposals(made: Calibration, reference: Path, target: Target) -> Iterator[str]:
    """The lines; those under a heading begin a table, and others go where the comment above them says."""
    yield from _detection(made, reference, target)
    for budget in made.budgets:
        yield ""
        yield from _budget(budget, target)


def _detection(made: Calibration, file: Path, target: Target) -> Iterator[str]:
    source = made.reference.calibrated
    if source is not None:
        yield from _comment(
            f"Proposed on {source.made} from {source.identities} identities with {source.queries} queries of "
            f"{source.since} to {source.until}."
        )
    if "detection" in target.states:
        yield from _comment(f"Put these into [detection] of {target.name}, in place of lines of their names:")
    else:
        yield "[detection]"
    yield f"reference = {json.dumps(target.relative(file))}"
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


def _budget(budget: Budget, target: Target) -> Iterator[str]:
    """One diversity budget."""
    largest = ", ".join(f"{name} {amount:.3g}" for name, amount in budget.largest)
    bound = "" if budget.bound is None else f", with 95 % certainty below {budget.bound:.3g}"
    yield from _comment(
        f"Tier {budget.tier}: 99 % of {words.counted(budget.days, 'day')} of "
        f"{words.counted(budget.holders, 'holder')} paid out at most "
        f"{budget.quantile:.3g} units{bound}. The largest: {largest}."
    )
    if budget.present is not None:
        windows = " ".join(words.rate(budget.limit.unit, each) for each in budget.limit.windows)
        yield from _comment(f"Now, {windows} would have refused {_refused(budget, budget.present)}.")
    if budget.proposed is None:
        yield from _comment(
            f"That is too little to propose a budget from: {LEAST_HOLDERS} holders are needed, and "
            f"{LEAST_DAYS} days."
        )
        return
    what = "no bound is sure, so this is the largest day" if budget.bound is None else "this"
    raised = budget.proposed > ceil(budget.largest[0][1] if budget.bound is None else budget.bound)
    least = f", and no less than {LEAST_SLIDING}" if raised else ""
    yield from _comment(
        f"In its place, {what}{least}; it would have refused {_refused(budget, budget.bothered)}."
    )
    yield from _placed(budget.tier, budget.limit.name, f"{budget.proposed}/day", target)


def _placed(tier: str, name: str, rate: str, target: Target) -> Iterator[str]:
    """A limit's new rate, and where it goes. A tier that only the defaults have is written out: beside a file
    that names one of its limits, the others would be gone.
    """
    states, settings = target.states, target.settings
    of_tier = states.get("tiers", {}).get(tier, {}).get("limits", ())
    for table, limits in ((f"[[tiers.{tier}.limits]]", of_tier), ("[[limits]]", states.get("limits", ()))):
        if any(each.get("name") == name for each in limits):
            yield from _comment(f'Put this into {table} with name = "{name}", in place of its rate:')
            yield f"rate = {json.dumps(rate)}"
            return
    limits = {} if "tiers" in states else {each.name: each for each in settings.tiers[tier].limits}
    limits.setdefault(name, LimitSettings(name=name, unit=Unit.NOVELTY, rate=rate))
    for place, each in enumerate(limits.values()):
        if place:
            yield ""
        yield f"[[tiers.{tier}.limits]]"
        values = each.model_dump(mode="json", exclude_defaults=True)
        for setting, value in {**values, **({"rate": rate} if each.name == name else {})}.items():
            yield f"{setting} = {json.dumps(value)}"


def _refused(budget: Budget, bothered: Sequence[Bothered]) -> str:
    if not bothered:
        return "nobody"
    refused = sum(each.refused for each in bothered)
    names = [
        f"{each.holder} ({each.refused / each.requests:.1%} of {words.counted(each.requests, 'request')}, "
        f"on {words.counted(each.days, 'day')})"
        for each in bothered
    ]
    return f"{refused / budget.requests:.2%} of {budget.requests} requests: {_some(names)}"


def _some(names: Sequence[str]) -> str:
    more = f", and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"{', '.join(names[:MOST_NAMED])}{more}"


def _comment(text: str) -> list[str]:
    return wrap(text, WIDTH, initial_indent="# ", subsequent_indent="#   ", break_long_words=False)
