"""What guard leaves to who copies a model, and what it costs everybody else.

    python -m benchmarks.detection.evaluate --data DIR

writes docs/detection-results.md, the same as JSON, and pictures. Whoever is judged is judged by a reference
that is made of other sources (`SIDES` in benchmarks/detection/sources.py). Without `--data` the environment
variable DETECTION_DATA names the folder. `--part` runs a part of it and keeps what the JSON has of the
others; `--quick` is for a look: a few instances, a few queries.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from datetime import UTC, datetime
from functools import cache, cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from benchmarks.detection import alliances, calibration, costs, leftout, yields
from benchmarks.detection.costs import Standing, bill
from benchmarks.detection.figures import Table
from benchmarks.detection.harvest import DAYS, PER_DAY, Scene, harvest
from benchmarks.detection.lives import honest, lives, watched
from benchmarks.detection.reference import make
from benchmarks.detection.side_by_side import counted, in_order
from benchmarks.detection.sources import Part, Side, SourceError, load
from benchmarks.detection.twins import TWINS
from guard.detection.reference import Reference
from guard.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from benchmarks.detection.alliances import Group
    from benchmarks.detection.costs import Bill
    from benchmarks.detection.harvest import Harvest
    from benchmarks.detection.lives import Life, Work
    from benchmarks.detection.sources import Split
    from guard.campaigns.observation import Observation, Refusal

T = TypeVar("T")
R = TypeVar("R")

TOLD, COSTS, YIELDS, CAMPAIGNS = "told", "costs", "yields", "campaigns"
PARTS = (YIELDS, COSTS, TOLD, CAMPAIGNS)

ATTACKED = Side.JUDGING
"""The side whose instruction sets campaigns go through."""


DECLARED = frozenset(twin.name for twin in TWINS if twin.declared)


class Size(NamedTuple):
    """How many instances, with how many queries each."""

    lives: int
    queries: int
    thefts: int
    theft_queries: int
    costs: int
    cost_queries: int
    days: int
    per_day: int
    neighbours: int


FULL = Size(8, 600, 4, leftout.QUERIES, 4, 400, DAYS, PER_DAY, 8)
QUICK = Size(2, 96, 1, 112, 1, 40, 1, 300, 1)
QUICK_SCENES = (Scene(), Scene(accounts=10, one_network=True), Scene(accounts=10))


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = _options().parse_args(arguments)
    if options.data is None:
        print("give --data DIR or set DETECTION_DATA", file=sys.stderr)
        return 2
    size = QUICK if options.quick else FULL
    try:
        with TemporaryDirectory() as folder:
            evaluation = Evaluation(options, size, options.references or Path(folder))
            found = _read(options.json)
            for part in options.part or PARTS:
                print(part, file=sys.stderr)
                found[part] = [table.values() for table in getattr(evaluation, part)()]
    except (SourceError, ConfigError) as error:
        print(error.args[0], file=sys.stderr)
        return 1
    found["run"] = {"seed": options.seed, "date": options.date, **size._asdict()}
    options.json.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")
    options.out.write_text(page(found, options.out.with_suffix("").name), "utf-8")
    print(f"see {options.out}")
    return 0


class Evaluation:
    """One run of its parts, each of which gives tables, and draws its picture. Raises `SourceError`."""

    def __init__(self, options: argparse.Namespace, size: Size, references: Path) -> None:
        self._options = options
        self._size = size
        self._folder = references
        self._pictures = options.out.with_suffix("")

    def yields(self) -> list[Table]:
        """What campaigns carry off."""
        sources = sorted(load(self._options.data, ATTACKED).pool(Part.DISTILL).sources)
        work = QUICK_SCENES if self._options.quick else list(yields.scenes(sources))
        found: list[Harvest] = self._each(_harvest, work)
        yields.draw(found, self._pictures / "yields.svg")
        tables = (yields.headline, yields.covered, yields.disguised)
        return [*(table for make in tables if (table := make(found)).rows), yields.profiles()]

    def costs(self) -> list[Table]:
        """What guard costs honest holders."""
        work = [
            (each, standing)
            for side in Side
            for each in honest(load(self._options.data, side), self._size.costs, self._size.cost_queries)
            for standing in Standing
            if standing is Standing.VERIFIED or each.variety not in DECLARED
        ]
        found = self._each(_bill, work)
        return [costs.costs(found, standing) for standing in Standing]

    def told(self) -> list[Table]:
        """What is told of whom, and whether p-values are true."""
        options, size, found = self._options, self._size, []
        for side, reference in self._references.items():
            work = list(leftout.thefts(options.data, side, size.thefts, size.theft_queries))
            seen = watched(options.data, options.seed, work, options.processes)
            found += [leftout.judged(life, reference) for life in seen]
        honest_ones = [
            (life, self._references[side]) for side in Side for life in self._lives[side] if not life.theft
        ]
        cells = calibration.cells(honest_ones)
        calibration.draw(cells, self._pictures / "calibration.svg")
        return [leftout.soon(found), leftout.hidden(found), calibration.calibration(cells)]

    def campaigns(self) -> list[Table]:
        """Which groups are found to be campaigns."""
        choose = alliances.quick if self._options.quick else alliances.groups_of
        splits = {side: load(self._options.data, side) for side in Side}
        work = [group for split in splits.values() for group in choose(split)]
        found = self._each(_watch, work)
        outcomes = [outcome for outcome, _ in found]
        together = {}
        for side, split in splits.items():
            near = alliances.neighbours(split, self._options.seed, self._size.neighbours)
            others = [each for _, each in found if each is not None and each.group.side is side]
            together[side] = alliances.together(others, near, Reference.load(self._files[side]))
        drawn = self._each(_amplify, yields.AMPLIFIED[:2] if self._options.quick else yields.AMPLIFIED)
        return [
            alliances.thefts(outcomes),
            alliances.honest(outcomes),
            alliances.at_once(together),
            alliances.in_replay(self._each(_replay, list(splits))),
            yields.amplified(drawn),
        ]

    @cached_property
    def _lives(self) -> Mapping[Side, Sequence[Life]]:
        options, size = self._options, self._size
        return {
            side: lives(options.data, [side], options.seed, size.lives, size.queries, options.processes)
            for side in Side
        }

    @cached_property
    def _references(self) -> Mapping[Side, Reference]:
        """The reference that each side is judged by, which is made of the other."""
        return {side: make(self._lives[_other(side)], f"simulated from {_other(side)}") for side in Side}

    @cached_property
    def _files(self) -> Mapping[Side, Path]:
        """The same as files, which are kept where the options say so."""
        files = {side: self._folder / f"reference-for-{side}.json" for side in Side}
        if not all(file.exists() for file in files.values()):
            self._folder.mkdir(parents=True, exist_ok=True)
            for side, file in files.items():
                self._references[side].save(file)
        return files

    def _each(self, work: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """The work done on all of these, by several processes."""
        options = self._options
        given = (options.data, self._files, options.seed, self._size)
        return list(counted(in_order(work, items, _open, given, options.processes), len(items)))


def page(found: Mapping[str, Any], pictures: str) -> str:
    """The page of all that was found."""
    run = found["run"]
    sections = [_HEAD.format(**run)]
    for part, (title, picture) in _SECTIONS.items():
        if part in found:
            drawn = [f"![{picture}]({pictures}/{picture}.svg)\n"] if picture else []
            sections += [f"# {title}\n", *drawn, *(Table.of(each).markdown() for each in found[part])]
    return "\n".join(sections)


def _read(file: Path) -> dict[str, Any]:
    """What earlier runs have found; nothing where there is no such file."""
    if not file.exists():
        return {}
    found = json.loads(file.read_text("utf-8"))
    return {part: found[part] for part in PARTS if part in found}


def _other(side: Side) -> Side:
    return next(each for each in Side if each is not side)


_loaded: tuple[Mapping[Side, Split], Mapping[Side, Path], int, Size]


def _open(folder: Path, files: Mapping[Side, Path], seed: int, size: Size) -> None:
    global _loaded
    _loaded = {side: load(folder, side) for side in Side}, files, seed, size


def _harvest(scene: Scene) -> Harvest:
    splits, files, seed, size = _loaded
    return harvest(splits[ATTACKED], scene, seed, files[ATTACKED], size.days, size.per_day)


def _amplify(scene: Scene) -> Harvest:
    splits, files, seed, size = _loaded
    split = splits[ATTACKED]
    known = alliances.others(split, seed, size.neighbours)
    return harvest(split, scene, seed, files[ATTACKED], 1, size.per_day, others=known)


def _replay(side: Side) -> alliances.Replayed:
    splits, files, seed, size = _loaded
    return alliances.replayed(splits[side], seed, size.neighbours, files[side])


def _bill(work: tuple[Work, Standing]) -> Bill:
    splits, files, seed, _ = _loaded
    honest_one, standing = work
    side = honest_one.side
    return bill(splits[side], honest_one, standing, seed, files[side])


@cache
def _neighbours(side: Side) -> tuple[Sequence[Observation | Refusal], Reference]:
    """The callers that groups are watched among, and what those are judged by."""
    splits, files, seed, size = _loaded
    return alliances.neighbours(splits[side], seed, size.neighbours), Reference.load(files[side])


def _watch(group: Group) -> tuple[alliances.Outcome, alliances.Watched | None]:
    splits, _, seed, _ = _loaded
    seen = alliances.watched(splits[group.side], group, seed)
    return alliances.outcome(seen, *_neighbours(group.side)), seen if group.stands_with_others else None


_SECTIONS = {
    YIELDS: ("What is carried off", "yields"),
    COSTS: ("What it costs honest holders", ""),
    TOLD: ("What is told of whom", "calibration"),
    CAMPAIGNS: ("Which groups are found", ""),
}

_HEAD = """\
# What guard leaves to who copies a model, and what it costs everybody else

<!-- Written by `python -m benchmarks.detection.evaluate` (`make detection`); do not edit. -->

All settings are those that guard ships. Whoever is judged is held against a reference that is made of other
sources: those of the side `calibration` by the side `judging`, and the other way round
(benchmarks/detection/sources.py has the sides). Which traits there are, how dear large weights are and
where the bands begin was chosen with both sides in view; weights and tables are made without the judged one.

Prompts and most answers are real, all else is made up: who asked, when, with which parameters. No open data
has many conversations of each of many users, so a simulated person is a mixture of persons.

Made on {date} with seed {seed}: references of {lives} instances of each use with {queries} queries each,
{thefts} of each attack with {theft_queries}, {costs} of each honest use through the engine with
{cost_queries}; campaigns of {days} days, with {per_day:,} queries a day for each account at most.
"""


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.detection.evaluate", description="What guard leaves, and what it costs."
    )
    data = os.environ.get("DETECTION_DATA")
    parser.add_argument(
        "--data", type=Path, default=Path(data) if data else None, help="folder of *.jsonl.gz"
    )
    parser.add_argument("--out", type=Path, default=Path("docs/detection-results.md"), help="what to write")
    parser.add_argument("--json", type=Path, default=Path("docs/detection-results.json"), help="as JSON")
    parser.add_argument(
        "--references", type=Path, metavar="DIR", help="where to keep references, and to find them again"
    )
    parser.add_argument("--part", choices=PARTS, action="append", help="only this (repeatable)")
    parser.add_argument("--date", default=f"{datetime.now(UTC):%Y-%m-%d}", help="when it is done")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="a few instances, a few queries")
    parser.add_argument("--processes", type=int, default=2)
    return parser


if __name__ == "__main__":
    sys.exit(main())
