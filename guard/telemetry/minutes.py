"""What one process has summed up of one minute."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from guard.core.decision import FORWARDED
from guard.core.modes import Mode
from guard.core.rollups import OTHER, Dimension, Measure, field_of
from guard.telemetry.metrics import OWN_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from guard.core.evidence import Band

MOST_IDENTITIES = 2_000
"""Maximum number of identities whose use of one minute is kept apart until it is sent; what the others use is
summed up as one."""

MOST_MODELS = 50
"""Maximum number of models of one hour that a process tells apart: a file of prices names thousands."""

Cell = tuple[str, str, Mode, str | None, tuple[str, ...], "Band", str | None]
"""What requests are alike in: tier, action, mode, reason, limits, band, model."""

USED = (
    *(Measure.ADMITTED, Measure.REFUSED, Measure.INPUT_TOKENS, Measure.OUTPUT_TOKENS),
    *(Measure.COST, Measure.NOVELTY),
)
"""What the use of an identity sums up, in order: what was forwarded in mode `shadow` counts as admitted."""


@dataclass(slots=True)
class Minute:
    """What was summed up of a minute, which began at `at` (Unix seconds).

    `cells` are the number of requests, input tokens, output tokens and cost. `uses` are as in `USED`, by
    identity; that of `None` is all who are not kept apart. `paid` is novelty by tier, in its unit for sums,
    and `own` are the requests by guard's own time for them, by its bounds.
    """

    at: int
    cells: dict[Cell, list[int]] = field(default_factory=dict)
    uses: dict[str | None, list[int]] = field(default_factory=dict)
    paid: dict[str, int] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    own: list[int] = field(default_factory=lambda: [0] * (len(OWN_SECONDS) + 1))

    def use(self, identity: str) -> list[int]:
        """What an identity has used, or what all those have who are too many to be kept apart."""
        kept = identity if identity in self.uses or len(self.uses) < MOST_IDENTITIES else None
        return self.uses.setdefault(kept, [0] * len(USED))

    def forget_who(self) -> None:
        """Keep nobody's use apart any more."""
        everybody = [sum(column) for column in zip(*self.uses.values(), strict=True)]
        self.uses = {None: everybody} if everybody else {}

    def counts(self, models: set[str]) -> dict[str, int]:
        """What buckets are to be given, by field. `models` are those that are told apart already."""
        counts: dict[str, int] = {}
        for measure, count, names in self._numbers(models):
            if count:
                for dimension, name in ((Dimension.ALL, ""), *names):
                    text = field_of(dimension, measure, name)
                    counts[text] = counts.get(text, 0) + count
        for measure, count in zip(USED, self.uses.get(None, [0] * len(USED)), strict=True):
            if count:
                counts[field_of(Dimension.OTHERS, measure)] = count
        for bound, count in zip((*OWN_SECONDS, math.inf), self.own, strict=True):
            if count:
                counts[field_of(Dimension.OWN_SECONDS, Measure.REQUESTS, f"{bound:g}")] = count
        return counts

    def _numbers(self, models: set[str]) -> Iterator[tuple[Measure, int, tuple[tuple[Dimension, str], ...]]]:
        """Each number, and by what it is summed up beside all."""
        for cell, (requests, given, got, cost) in self.cells.items():
            tier, action, mode, reason, limits, band, model = cell
            if model not in models and len(models) < MOST_MODELS and model is not None:
                models.add(model)
            of = ((Dimension.TIER, tier), (Dimension.MODEL, model if model in models else OTHER))
            why = (
                ((Dimension.REASON, reason), *((Dimension.LIMIT, each) for each in limits)) if reason else ()
            )
            more = (*of, *why, (Dimension.ACTION, action), (Dimension.BAND, band))
            yield _became(action, mode), requests, more
            yield Measure.INPUT_TOKENS, given, of
            yield Measure.OUTPUT_TOKENS, got, of
            yield Measure.COST, cost, of
        for tier, novelty in self.paid.items():
            yield Measure.NOVELTY, novelty, ((Dimension.TIER, tier),)
        for error, count in self.errors.items():
            yield Measure.FAILED, count, ((Dimension.ERROR, error),)


def _became(action: str, mode: Mode) -> Measure:
    """What became of requests."""
    if action in FORWARDED:
        return Measure.ADMITTED
    return Measure.REFUSED if mode is Mode.ENFORCE else Measure.WOULD_REFUSE
