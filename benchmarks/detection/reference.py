"""Makes the reference that guard ships: how honest holders come out in every signal.

    python -m benchmarks.detection.reference --data DIR --out guard/detection/reference.json

First the likenesses are made, from honest uses and enumerations (benchmarks/detection/kinds.py); then the
tables, from other instances of honest use. Each variety of honest use weighs alike, however many holders it
has, and each holder counts by the worst that it ever showed. Declared uses count for the signals that they
are not excused from.

What guard ships is made of both sides. What one side is judged by must be made of the other, with
`--side`. Without `--data` the environment variable DETECTION_DATA names the folder.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.detection.actors import actor
from benchmarks.detection.kinds import likenesses
from benchmarks.detection.side_by_side import counted, in_order
from benchmarks.detection.sources import Side, SourceError, load
from benchmarks.detection.twins import TWINS
from benchmarks.detection.watch import Eyes, declaring
from guard.core.identity import Attribute, Holder, Identity
from guard.core.signals import Signal
from guard.core.uses import Use
from guard.detection.layout import Sum
from guard.detection.likeness import ENOUGH_QUERIES
from guard.detection.profile import FADE, HORIZON, Profile
from guard.detection.reference import Distribution, Reference, statistics, table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from benchmarks.detection.sources import Split
    from guard.detection.likeness import Likeness

LIKENESS_SEED = 1_000
"""What is added to the seed for the instances that likenesses are made of."""

STRIDE = 50
"""A profile is put down at every so many of its queries."""


@dataclass(slots=True)
class Honest:
    """What one honest holder showed: the worst of each signal, and its profile from time to time."""

    variety: str
    excused: frozenset[Signal]
    worst: dict[Signal, float] = field(default_factory=dict)
    profiles: list[bytes] = field(default_factory=list)

    def note(self, profile: Profile, likenesses: Mapping[Signal, Likeness]) -> None:
        """How the holder stands after one more query."""
        _raise(self.worst, statistics(profile, likenesses))
        if profile.queries % STRIDE == 0:
            self.profiles.append(profile.write())

    def place(self, place: Distribution) -> None:
        """How far it lay from all others, at worst."""
        for each in self.profiles:
            distance = place.distance(Profile.read(each))
            if distance is not None:
                _raise(self.worst, {Signal.DISTANCE: distance})


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = _options().parse_args(arguments)
    if options.data is None:
        print("give --data DIR or set DETECTION_DATA", file=sys.stderr)
        return 2
    if options.queries < ENOUGH_QUERIES:
        print(f"of fewer than {ENOUGH_QUERIES} queries nothing is learnt", file=sys.stderr)
        return 2
    try:
        reference = build(
            options.data,
            options.side or tuple(Side),
            options.seed,
            options.instances,
            options.queries,
            date=options.date,
            place=options.place,
            processes=options.processes,
        )
    except SourceError as error:
        print(error.args[0], file=sys.stderr)
        return 1
    options.out.write_text(reference.dump() + "\n", "utf-8")
    print(f"{reference.holders} holders in {options.out}")
    return 0


def build(
    folder: Path,
    sides: Sequence[Side],
    seed: int,
    instances: int,
    queries: int,
    *,
    date: str,
    place: bool = False,
    processes: int = 1,
) -> Reference:
    """The reference from so many instances of each variety on these sides, with so many queries each.

    `place` is whether it is to say where honest queries lie. Raises `SourceError`.
    """
    told_by = likenesses(folder, sides, seed + LIKENESS_SEED, instances, processes, queries)
    work = [(side, twin.name, number) for side in sides for twin in TWINS for number in range(instances)]
    given = (folder, tuple(sides), seed, queries, told_by)
    watched = in_order(_watch, work, _open, given, processes)
    honest = [holder for holders in counted(watched, len(work)) for holder in holders]
    pools = [pool for side in sides for pool in load(folder, side).pools.values()]
    sources = sorted({record.source for pool in pools for record in pool.records})
    origin = (
        f"simulated from {', '.join(sources)}: {instances} instances of each variety of honest use"
        f" ({', '.join(twin.name for twin in TWINS)}) with {queries} queries each,"
        f" seed {seed}, made on {date}"
    )
    return make(honest, origin, told_by, place=place)


def make(
    honest: Sequence[Honest], origin: str, told_by: Mapping[Signal, Likeness], *, place: bool
) -> Reference:
    """The reference that these holders amount to; `place` is whether it is to say where they lie."""
    where = _place(honest) if place else None
    if where is not None:
        for holder in honest:
            holder.place(where)
    weights = _weights(honest)
    tables = {}
    for signal in Signal:
        showed = [
            (holder.worst[signal], weight)
            for holder, weight in zip(honest, weights, strict=True)
            if signal in holder.worst and signal not in holder.excused
        ]
        if showed:
            worst, counted = zip(*showed, strict=True)
            tables[signal] = table(signal, worst, counted)
    return Reference(origin, len(honest), tables, told_by, where)


def _place(honest: Sequence[Honest]) -> Distribution | None:
    """Where the holders lie at last, and how far from each other and from themselves."""
    seen = [holder for holder in honest if len(holder.profiles) > 2]
    if not seen:
        return None
    weights = np.array(_weights(seen))
    weights /= weights.sum()
    paths = [[Profile.read(each) for each in holder.profiles] for holder in seen]
    last = np.array([path[-1].mean * HORIZON / path[-1].sums[Sum.QUERIES] for path in paths], np.float64)
    mean = weights @ last
    within = np.array([_spread(path) for path in paths])
    return Distribution(mean, weights @ (last - mean) ** 2, weights @ within)


def _spread(path: Sequence[Profile]) -> NDArray[np.float64]:
    """The variance of one query of a holder, in each direction, from how its mean moved in `STRIDE` queries.

    What is new in a mean is the mean of the queries in between, the latest weighing most. Queries on one
    subject follow each other, so that their mean moves more than that of as many independent ones.
    """
    fading = FADE ** np.arange(STRIDE)
    moves = np.array(
        [after.mean - before.mean * FADE**STRIDE for before, after in pairwise(path)], np.float64
    ) * (HORIZON / fading.sum())
    spread: NDArray[np.float64] = moves.var(axis=0, ddof=1) * fading.sum() ** 2 / (fading**2).sum()
    return spread


def _weights(honest: Sequence[Honest]) -> list[float]:
    """How much each counts: its variety's holders one together."""
    number = Counter(holder.variety for holder in honest)
    return [1 / number[holder.variety] for holder in honest]


def _raise(worst: dict[Signal, float], found: Mapping[Signal, float]) -> None:
    for signal, statistic in found.items():
        worst[signal] = max(worst.get(signal, statistic), statistic)


@dataclass(frozen=True, slots=True)
class _Stand:
    """What honest holders are watched with, in one process."""

    splits: Mapping[Side, Split]
    eyes: Eyes
    seed: int
    queries: int
    told_by: Mapping[Signal, Likeness]

    def watch(self, side: Side, variety: str, instance: int) -> list[Honest]:
        """One instance: the holders whom its requests are about, once it is declared as it should be."""
        watched = actor(self.splits[side], self.seed, self.queries, variety, instance)
        identity = Identity(Holder(Attribute.KEY, watched.name))
        policy = declaring(identity.principal, Use(watched.declared) if watched.declared else None)
        found: dict[Holder, tuple[Profile, Honest]] = {}
        for line in watched.lines:
            look = self.eyes.look(line)
            suspect = policy.suspect(identity.asking(end_user=look.query.end_user), look.now_us)
            if suspect.holder not in found:
                found[suspect.holder] = Profile.new(), Honest(variety, suspect.excused)
            profile, honest = found[suspect.holder]
            self.eyes.learn(profile, look)
            honest.note(profile, self.told_by)
        return [honest for _, honest in found.values()]


_stand: _Stand


def _open(
    folder: Path, sides: tuple[Side, ...], seed: int, queries: int, told_by: Mapping[Signal, Likeness]
) -> None:
    global _stand
    _stand = _Stand({side: load(folder, side) for side in sides}, Eyes(), seed, queries, told_by)


def _watch(work: tuple[Side, str, int]) -> list[Honest]:
    return _stand.watch(*work)


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.detection.reference", description="Make the reference that guard ships."
    )
    data = os.environ.get("DETECTION_DATA")
    parser.add_argument(
        "--data", type=Path, default=Path(data) if data else None, help="folder of *.jsonl.gz"
    )
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    parser.add_argument(
        "--side", type=Side, choices=list(Side), action="append", help="only these sources (repeatable)"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--instances", type=int, default=12, help="of each variety")
    parser.add_argument("--queries", type=int, default=1_500, help="of each instance")
    parser.add_argument("--place", action="store_true", help="say also where honest queries lie")
    parser.add_argument("--date", default=f"{datetime.now(UTC):%Y-%m-%d}", help="when it is made")
    parser.add_argument("--processes", type=int, default=2)
    return parser


if __name__ == "__main__":
    sys.exit(main())
