"""Makes the reference that guard ships: how honest holders come out in every signal.

    python -m benchmarks.detection.reference --data DIR --out guard/analysis/reference.json

It is made of the calibrating side only. Each variety of honest use weighs alike, however many holders it has,
and each holder counts by the worst that it ever showed. Declared uses count for the signals that they are not
excused from. Without `--data` the environment variable GUARD_DATA names the folder.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.detection.actors import actors
from benchmarks.detection.side_by_side import counted, in_order
from benchmarks.detection.sources import Side, SourceError, load
from benchmarks.detection.twins import TWINS
from benchmarks.detection.watch import Eyes, declaring
from guard.analysis.profile import FADE, HORIZON, Profile, Sum
from guard.analysis.reference import Place, Reference, statistics, table
from guard.core.evidence import Signal
from guard.core.identity import Attribute, Holder, Identity
from guard.core.uses import Use

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from benchmarks.detection.sources import Split

STRIDE = 50
"""A profile is put down at every so many of its queries."""


@dataclass(slots=True)
class Honest:
    """What one honest holder showed: the worst of each signal, and its profile from time to time."""

    variety: str
    excused: frozenset[Signal]
    worst: dict[Signal, float] = field(default_factory=dict)
    profiles: list[bytes] = field(default_factory=list)

    def note(self, profile: Profile) -> None:
        """How the holder stands after one more query."""
        _raise(self.worst, statistics(profile, None))
        if profile.queries % STRIDE == 0:
            self.profiles.append(profile.write())

    def place(self, place: Place) -> None:
        """How far it lay from all others, at worst."""
        for each in self.profiles:
            distance = place.distance(Profile.read(each))
            if distance is not None:
                _raise(self.worst, {Signal.DISTANCE: distance})


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = _options().parse_args(arguments)
    if options.data is None:
        print("give --data DIR or set GUARD_DATA", file=sys.stderr)
        return 2
    try:
        split = load(options.data, Side.CALIBRATION)
        work = [(twin.name, number) for twin in TWINS for number in range(options.instances)]
        given = (options.data, options.seed, options.queries)
        watched = in_order(_watch, work, _open, given, options.processes)
        honest = [holder for holders in counted(watched, len(work)) for holder in holders]
    except SourceError as error:
        print(error.args[0], file=sys.stderr)
        return 1
    reference = make(honest, _origin(options, split), place=options.place)
    options.out.write_text(reference.dump() + "\n", "utf-8")
    print(f"{len(honest)} holders in {options.out}")
    return 0


def make(honest: Sequence[Honest], origin: str, *, place: bool) -> Reference:
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
    return Reference(origin, len(honest), tables, where)


def _place(honest: Sequence[Honest]) -> Place | None:
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
    return Place(mean, weights @ (last - mean) ** 2, weights @ within)


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

    split: Split
    eyes: Eyes
    seed: int
    queries: int

    def watch(self, variety: str, instance: int) -> list[Honest]:
        """One instance: the holders whom its requests are about, once it is declared as it should be."""
        cast = actors(self.split, self.seed, self.queries, instances=instance + 1, varieties=[variety])
        actor = next(islice(cast, instance, None))
        identity = Identity(Holder(Attribute.KEY, actor.name))
        policy = declaring(identity.principal, Use(actor.declared) if actor.declared else None)
        found: dict[Holder, tuple[Profile, Honest]] = {}
        for line in actor.lines:
            look = self.eyes.look(line)
            suspect = policy.suspect(identity.asking(end_user=look.query.end_user), look.now_us)
            if suspect.holder not in found:
                found[suspect.holder] = Profile.new(), Honest(variety, suspect.excused)
            profile, honest = found[suspect.holder]
            self.eyes.learn(profile, look)
            honest.note(profile)
        return [honest for _, honest in found.values()]


_stand: _Stand


def _open(folder: Path, seed: int, queries: int) -> None:
    global _stand
    _stand = _Stand(load(folder, Side.CALIBRATION), Eyes(), seed, queries)


def _watch(work: tuple[str, int]) -> list[Honest]:
    return _stand.watch(*work)


def _origin(options: argparse.Namespace, split: Split) -> str:
    sources = sorted({record.source for pool in split.pools.values() for record in pool.records})
    return (
        f"simulated from {', '.join(sources)}: {options.instances} instances of each variety of honest use"
        f" ({', '.join(twin.name for twin in TWINS)}) with {options.queries} queries each,"
        f" seed {options.seed}, made on {options.date}"
    )


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.detection.reference", description="Make the reference that guard ships."
    )
    data = os.environ.get("GUARD_DATA")
    parser.add_argument(
        "--data", type=Path, default=Path(data) if data else None, help="folder of *.jsonl.gz"
    )
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--instances", type=int, default=20, help="of each variety")
    parser.add_argument("--queries", type=int, default=1_500, help="of each instance")
    parser.add_argument("--place", action="store_true", help="say also where honest queries lie")
    parser.add_argument("--date", default=f"{datetime.now(UTC):%Y-%m-%d}", help="when it is made")
    parser.add_argument("--processes", type=int, default=2)
    return parser


if __name__ == "__main__":
    sys.exit(main())
