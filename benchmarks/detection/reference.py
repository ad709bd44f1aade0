"""Makes the reference that guard ships: what enumerations are told by, and how honest holders come out.

    python -m benchmarks.detection.reference --data DIR --out guard/detection/reference.json

Holders are simulated once (benchmarks/detection/lives.py). From them come the scores
(benchmarks/detection/weights.py), and the tables: those of honest holders, each of whom counts by the most
that it ever showed in a stratum. Each sort of honest use weighs alike. Declared uses count for the signals
that they are not excused from.

What guard ships is made of both sides. What one side is judged by must be made of the other, with `--side`.
Without `--data` the environment variable DETECTION_DATA names the folder.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter, defaultdict
from datetime import UTC, datetime
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.detection.lives import lives
from benchmarks.detection.sources import Side, SourceError, load
from benchmarks.detection.weights import scores, statistics
from guard.core.signals import Signal
from guard.detection.reference import Reference
from guard.detection.tables import LEAST_HOLDERS, Stratum, table
from guard.detection.traits import ENOUGH_DRAWN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.detection.lives import Life
    from guard.detection.tables import Table
    from guard.detection.traits import Score


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = _options().parse_args(arguments)
    if options.data is None:
        print("give --data DIR or set DETECTION_DATA", file=sys.stderr)
        return 2
    if options.queries < ENOUGH_DRAWN:
        print(f"of fewer than {ENOUGH_DRAWN:.0f} queries nothing is learnt", file=sys.stderr)
        return 2
    try:
        reference = build(
            options.data,
            options.side or tuple(Side),
            options.seed,
            options.instances,
            options.queries,
            date=options.date,
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
    processes: int = 1,
) -> Reference:
    """The reference from so many instances of each variety on these sides, with so many queries each.

    Raises `SourceError`.
    """
    found = lives(folder, sides, seed, instances, queries, processes)
    pools = [pool for side in sides for pool in load(folder, side).pools.values()]
    sources = sorted({record.source for pool in pools for record in pool.records})
    origin = (
        f"simulated from {', '.join(sources)}: {instances} instances of each variety of honest use"
        f" with {queries} queries each, seed {seed}, made on {date}"
    )
    return make(found, origin)


def make(found: Sequence[Life], origin: str) -> Reference:
    """The reference that these lives amount to."""
    told_by = scores(found)
    honest = [life for life in found if not life.theft]
    tables = {signal: kept for signal in Signal if (kept := _tables(signal, honest, told_by.get(signal)))}
    return Reference(origin, len(honest), tables, told_by)


def _tables(signal: Signal, honest: Sequence[Life], score: Score | None) -> Mapping[Stratum, Table]:
    """The tables of a signal, for any stratum and for those that have holders enough."""
    most: dict[Stratum, list[tuple[float, Life]]] = defaultdict(list)
    for life in honest:
        if signal not in life.excused:
            for stratum, value in most_shown(signal, life, score).items():
                most[stratum].append((value, life))
    tables = {}
    for stratum, showed in most.items():
        if stratum is Stratum.ANY or len(showed) >= LEAST_HOLDERS:
            number = Counter(life.sort for _, life in showed)
            weights = [1 / number[life.sort] for _, life in showed]
            tables[stratum] = table(signal, [value for value, _ in showed], weights)
    return tables


def most_shown(signal: Signal, life: Life, score: Score | None) -> dict[Stratum, float]:
    """The most that a holder ever showed of a signal, in each stratum and in any."""
    if score is None:
        read = [moment.statistics.get(signal, float("nan")) for moment in life.moments]
    else:
        read = statistics(life, score)
    most: dict[Stratum, float] = {}
    for value, moment in zip(read, life.moments, strict=True):
        if not isnan(value):
            for stratum in (moment.stratum, Stratum.ANY):
                most[stratum] = max(most.get(stratum, value), value)
    return most


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
    parser.add_argument("--queries", type=int, default=700, help="of each instance, at most")
    parser.add_argument("--date", default=f"{datetime.now(UTC):%Y-%m-%d}", help="when it is made")
    parser.add_argument("--processes", type=int, default=2)
    return parser


if __name__ == "__main__":
    sys.exit(main())
