"""What guard costs honest holders: requests that are refused or slowed, and suspicions.

Each holder goes through guard as it ships, alone, with its own times for the clock, and is held against a
reference that knows none of its sources. It does so three times over: as one that a gateway vouches for, on
the first day of a key that nobody vouches for, and when such a key is older than any ramp.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import takewhile
from typing import TYPE_CHECKING

from benchmarks.detection.actors import actor
from benchmarks.detection.figures import Share, Table
from benchmarks.detection.gate import Gate, answered, diversity_limits
from benchmarks.detection.timing import DAY
from benchmarks.detection.twins import RECORDED
from guard.core.calendars import MICROSECONDS
from guard.core.decision import Action
from guard.core.evidence import Band

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from benchmarks.detection.lives import Work
    from benchmarks.detection.sources import Split
    from benchmarks.detection.traffic import Actor, Line

AGED_SECONDS = 15 * DAY
"""By then every ramp that guard ships is over."""

NOTICED = (Band.ELEVATED, Band.HIGH, Band.CRITICAL)


class Standing(StrEnum):
    """Who vouches for a holder, and since when it is known."""

    VERIFIED = "verified"
    FIRST_DAY = "unverified, first day"
    AGED = "unverified, after the ramp"


@dataclass(frozen=True, slots=True)
class Bill:
    """What one holder paid: of so many requests those refused, those of them that a diversity budget refused,
    and those slowed; and the worst band that it was in.
    """

    variety: str
    source: str | None
    standing: Standing
    asked: int = 0
    refused: int = 0
    by_diversity: int = 0
    slowed: int = 0
    worst: Band = Band.LOW


def bill(split: Split, work: Work, standing: Standing, seed: int, reference: Path) -> Bill:
    """Send one instance of an honest use through guard."""
    if work.source is not None:
        split = split.only(RECORDED[work.variety], work.source)
    return asyncio.run(
        _bill(actor(split, seed, work.queries, work.variety, work.instance), work, standing, reference)
    )


async def _bill(sender: Actor, work: Work, standing: Standing, reference: Path) -> Bill:
    user = sender.name if standing is Standing.VERIFIED else None
    gate = Gate(reference, {sender.name: sender.declared} if sender.declared else {})
    found, budgets = Bill(work.variety, work.source, standing), diversity_limits()
    for line in _sent(sender, standing):
        result = await gate.ask(line, int(line.ts * MICROSECONDS), user=user)
        refused = not answered(result)
        found = replace(
            found,
            asked=found.asked + 1,
            refused=found.refused + refused,
            by_diversity=found.by_diversity + (refused and not budgets.isdisjoint(result.limits)),
            slowed=found.slowed + (result.action == Action.SLOW),
            worst=max(found.worst, result.band, key=tuple(Band).index),
        )
    return found


def _sent(sender: Actor, standing: Standing) -> Iterator[Line]:
    lines = iter(sender.lines)
    first = next(lines)
    if standing is Standing.AGED:
        yield replace(first, ts=first.ts - AGED_SECONDS)
    yield first
    if standing is Standing.FIRST_DAY:
        yield from takewhile(lambda line: line.ts < first.ts + DAY, lines)
    else:
        yield from lines


def costs(bills: Sequence[Bill], standing: Standing) -> Table:
    """What holders of one standing paid, by variety, and recorded ones by source."""
    groups: dict[tuple[str, str], list[Bill]] = {("all", ""): []}
    for each in bills:
        if each.standing is standing:
            groups["all", ""].append(each)
            groups.setdefault((each.variety, each.source or ""), []).append(each)
    rows = [(*name, len(group), *_row(group)) for name, group in groups.items() if group]
    columns = (
        *("use", "source", "holders", "requests", "refused", "by a diversity budget", "slowed"),
        *(f"ever {band}" for band in NOTICED),
    )
    return Table(f"Honest holders: {standing}", _NOTES[standing], columns, tuple(rows))


def _row(group: Iterable[Bill]) -> Iterator[int | Share]:
    holders = list(group)
    asked = sum(each.asked for each in holders)
    yield asked
    for what in ("refused", "by_diversity", "slowed"):
        yield Share(sum(getattr(each, what) for each in holders), asked)
    for band in NOTICED:
        yield Share(
            sum(tuple(Band).index(each.worst) >= tuple(Band).index(band) for each in holders), len(holders)
        )


_NOTES = {
    Standing.VERIFIED: """\
Shares with the 95 % bounds of Clopper and Pearson. Requests of one holder hang together, so that the bounds
of shares of requests are too narrow. Declared uses are declared, as their owners would.""",
    Standing.FIRST_DAY: "The first day of a key that nobody vouches for, alone before an empty guard.",
    Standing.AGED: "A key that nobody vouches for, first seen 15 days before.",
}
