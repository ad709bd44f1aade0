"""How soon thefts are told from honest uses, by references that know none of the sources that are judged.

Whoever is judged on one side is held against a reference that is made of the other. Holders are those of
benchmarks/detection/lives.py, whom nobody refuses anything. No time passes here, so evidence does not fade:
that is for the thefts and against honest holders, who are judged with a clock in costs.py.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.detection.attacks import ATTACKS, DILUTED
from benchmarks.detection.figures import Share, Table
from benchmarks.detection.lives import DEFAULTS, ENUMERATING, Work
from benchmarks.detection.sources import Part, load
from benchmarks.detection.weights import statistics
from guard.core.evidence import Band, Mark, risk
from guard.detection.reference import Seen

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from benchmarks.detection.lives import Life
    from benchmarks.detection.sources import Side
    from guard.core.signals import Signal
    from guard.detection.reference import Reference

QUERIES = 500
"""A theft is watched for so many queries."""

MILESTONES = (100, 200, QUERIES)
NOTICED = (Band.ELEVATED, Band.HIGH)
BY_SET = (*ENUMERATING, *DILUTED, "base64")
"""Attacks on each instruction set by itself."""

HIDING = "hidden-"
ALL = "enumerations"


@dataclass(frozen=True, slots=True)
class Judged:
    """A holder, and how many queries it had sent when it came into each band."""

    life: Life
    reached: Mapping[Band, int]

    def within(self, band: Band, queries: int) -> bool:
        """Whether it was in a band by so many queries."""
        return self.reached.get(band, queries + 1) <= queries


def thefts(folder: Path, side: Side, instances: int, queries: int = QUERIES) -> Iterator[Work]:
    """All attacks on a side; those that hide, which are a matter of luck, twice as often."""
    for attack in ATTACKS:
        if attack.name in BY_SET:
            for source in sorted(load(folder, side).pool(Part.DISTILL).sources):
                for instance in range(max(1, instances // 2)):
                    yield Work(side, attack.name, instance, queries, source)
        else:
            for instance in range(instances * (1 + attack.name.startswith(HIDING))):
                yield Work(side, attack.name, instance, queries)


def judged(life: Life, reference: Reference) -> Judged:
    """When a holder comes into which band, by this reference."""
    scored = {signal: statistics(life, score) for signal, score in reference.scores.items()}
    weights = DEFAULTS.detection.weights
    marks: dict[Signal, Mark] = {}
    reached: dict[Band, int] = {}
    for place, moment in enumerate(life.moments):
        known = {signal: values[place] for signal, values in scored.items() if values[place] == values[place]}
        seen = Seen({**moment.statistics, **known}, moment.stratum, moment.drawn)
        for signal, decibans in reference.weigh(seen).items():
            if signal not in marks or decibans > marks[signal].decibans:
                marks[signal] = Mark(decibans, 0, 0)
        band = risk(marks, 0, weights, excused=life.excused).band
        for each in tuple(Band)[1 : tuple(Band).index(band) + 1]:
            reached.setdefault(each, moment.queries)
    return Judged(life, reached)


def soon(found: Iterable[Judged]) -> Table:
    """How soon attacks are noticed, by attack and by instruction set."""
    open_ones = [each for each in found if not each.life.variety.startswith(HIDING)]
    groups: dict[tuple[str, str], list[Judged]] = {(ALL, "all"): []}
    for each in sorted(open_ones, key=lambda each: _NAMES.index(each.life.variety)):
        groups.setdefault((each.life.variety, "all"), []).append(each)
    for each in open_ones:
        if each.life.variety in ENUMERATING:
            groups[ALL, "all"].append(each)
            groups.setdefault((ALL, each.life.source or ""), []).append(each)
    columns = (
        *("attack", "instruction set", "holders"),
        *(f"{band} by {number}" for band in NOTICED[::-1] for number in MILESTONES),
    )
    rows = [
        (*name, len(group), *(_by(group, band, n) for band in NOTICED[::-1] for n in MILESTONES))
        for name, group in groups.items()
        if group
    ]
    return Table("Attacks, by sources left out", _SOON, columns, tuple(rows))


def hidden(found: Iterable[Judged]) -> Table:
    """How often an attack is found that hides in other traffic."""
    groups: dict[tuple[str, int], list[Judged]] = defaultdict(list)
    for each in found:
        if each.life.variety.startswith(HIDING):
            cover, share = each.life.variety.removeprefix(HIDING).rsplit("-", 1)
            groups[cover, int(share)].append(each)
    rows = [
        (cover, share, len(group), *(_by(group, band, QUERIES) for band in NOTICED))
        for (cover, share), group in sorted(groups.items())
    ]
    columns = ("cover", "attack in 100", "holders", *NOTICED)
    return Table("Attacks that hide, by sources left out", _HIDDEN, columns, tuple(rows))


def _by(group: Sequence[Judged], band: Band, queries: int) -> Share:
    return Share(sum(each.within(band, queries) for each in group), len(group))


_SOON = """\
The share of attacking keys that had come into a band by so many queries, with the 95 % bounds of Clopper and
Pearson. *Enumerations* are those that only go through a set, in whatever wording."""

_NAMES = [attack.name for attack in ATTACKS]

_HIDDEN = f"""\
The share of keys that had come into a band in {QUERIES} queries, of which so many in a hundred were attacks
and the others what the cover sends."""
