"""A traffic log of many actors, as `guard replay` reads it.

    python -m benchmarks.detection.log --data DIR --seed 1 --out traffic.jsonl --actors 3 --queries 300

makes three instances of every variety with 300 queries each, and with `--accounts 20` three of every kind of
campaign, of so many accounts. `label` is the truth about a line, `actor` who
sent it. Without `--data` the environment variable DETECTION_DATA names the folder.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import sys
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from benchmarks.detection.actors import VARIETIES, actors
from benchmarks.detection.campaigns import campaigns
from benchmarks.detection.fleets import FLEETS
from benchmarks.detection.sources import Side, SourceError, load

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from benchmarks.detection.traffic import Actor, Json, Line

_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


def merged(cast: Iterable[Actor]) -> Iterator[tuple[Line, Actor]]:
    """All actors' lines in time order, each with who sent it."""
    return heapq.merge(*map(_lines, cast), key=lambda entry: entry[0].ts)


def _lines(actor: Actor) -> Iterator[tuple[Line, Actor]]:
    return ((line, actor) for line in actor.lines)


def entry(line: Line, actor: Actor, number: int) -> Json:
    """One line of the log, the `number`th."""
    return {
        "ts": line.ts,
        "id": f"r{number:08d}",
        "method": "POST",
        "path": line.path,
        "headers": line.headers,
        "client": line.client,
        "attributes": line.attributes,
        "body": line.body,
        "response": line.response,
        "label": line.label,
        "actor": actor.name,
        **({"campaign": actor.campaign} if actor.campaign else {}),
    }


def write(cast: Iterable[Actor], out: TextIO) -> int:
    """Write a merged log; returns how many lines it has."""
    number = 0
    for number, (line, actor) in enumerate(merged(cast), start=1):
        out.write(_encode(entry(line, actor, number)) + "\n")
    return number


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = _options().parse_args(arguments)
    if options.data is None:
        print("give --data DIR or set DETECTION_DATA", file=sys.stderr)
        return 2
    try:
        split = load(options.data, options.side)
        cast: Iterable[Actor] = actors(
            split, options.seed, options.queries, instances=options.actors, varieties=options.variety
        )
        if options.accounts:
            allied = campaigns(
                split,
                options.seed,
                options.accounts,
                options.queries,
                instances=options.actors,
                fleets=options.variety,
            )
            cast = chain(cast, *(campaign.actors for campaign in allied))
        with options.out.open("w", encoding="ascii") as out:
            number = write(cast, out)
    except SourceError as error:
        print(error.args[0], file=sys.stderr)
        return 1
    print(f"{number} lines in {options.out}")
    return 0


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.detection.log", description="Make a traffic log."
    )
    data = os.environ.get("DETECTION_DATA")
    parser.add_argument(
        "--data", type=Path, default=Path(data) if data else None, help="folder of *.jsonl.gz"
    )
    parser.add_argument("--out", type=Path, required=True, help="the log to write")
    parser.add_argument("--side", type=Side, default=Side.JUDGING, choices=list(Side), help="which sources")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--actors", type=int, default=1, help="instances of each variety")
    parser.add_argument("--queries", type=int, default=300, help="lines of each actor")
    parser.add_argument(
        "--accounts", type=int, default=0, help="accounts of each campaign; 0 for no campaigns"
    )
    names = [variety.name for variety in VARIETIES] + [fleet.name for fleet in FLEETS]
    parser.add_argument(
        "--variety",
        action="append",
        choices=names,
        metavar="NAME",
        help=f"only this (repeatable): {', '.join(names)}",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
