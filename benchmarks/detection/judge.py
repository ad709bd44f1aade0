"""How well guard tells distillers from honest holders, on sources that it was not calibrated on.

    python -m benchmarks.detection.judge --data DIR

writes docs/detection-results.md, and the same as JSON beside it where `--json` says so. Each side is judged
by a reference that is made of the other side alone; `--reference` names one for both instead. Without
`--data` the environment variable DETECTION_DATA names the folder. `--quick` is for a look: a few instances, a
few queries.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from benchmarks.detection.actors import VARIETIES
from benchmarks.detection.attacks import ATTACKS
from benchmarks.detection.reference import build
from benchmarks.detection.side_by_side import counted
from benchmarks.detection.sources import Side, SourceError, load
from benchmarks.detection.tables import BENIGN_WITHIN, WINDOW, Table, attacks, dilution, honest
from benchmarks.detection.trial import Case, Trial, hear
from benchmarks.detection.twins import TWINS
from guard.detection.reference import Reference
from guard.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

LONG = ("bulk", "low-and-slow", "templated", "paraphrased", "resampling", "narrow-domain", "fake-history")
"""Attackers that are followed for longer, as far as nobody stops them."""

SAME_SOURCE = ("provocative-person", "evaluation", "probe", "hazard")
"""Varieties whose prompts come from sources that both sides have a share of."""


@dataclass(frozen=True, slots=True)
class Size:
    """How many instances of each, with how many queries."""

    twins: int
    twin_queries: int
    attackers: int
    attacker_queries: int
    long: int
    long_queries: int
    windows: int
    window_queries: int
    reference: int
    reference_queries: int


FULL = Size(15, BENIGN_WITHIN, 20, 300, 3, 5_000, 20, WINDOW, 12, 1_500)
QUICK = Size(2, 120, 2, 80, 1, 160, 1, 120, 1, 120)


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = _options().parse_args(arguments)
    if options.data is None:
        print("give --data DIR or set DETECTION_DATA", file=sys.stderr)
        return 2
    try:
        size = QUICK if options.quick else FULL
        sides = options.side or list(Side)
        same_source = {source for side in sides for source in load(options.data, side).same_source}
        cases = list(_cases(size, options.instances, options.variety))
        trials: list[Trial] = []
        origins: dict[Side, str] = {}
        with TemporaryDirectory() as folder:
            for side in sides:
                file = options.reference or _reference(options, size, side, Path(folder))
                origins[side] = Reference.load(file).origin
                heard = hear(
                    options.data, side, options.seed, cases, reference=file, processes=options.processes
                )
                trials += counted(heard, len(cases))
    except (SourceError, ConfigError) as error:
        print(error.args[0], file=sys.stderr)
        return 1
    tables = _tables(sorted(trials, key=lambda trial: cases.index(trial.case)))
    head = _head(options, size, origins, sorted(same_source))
    options.out.write_text("\n".join([head, *(table.markdown() for table in tables)]), "utf-8")
    if options.json is not None:
        found = {"seed": options.seed, "references": origins}
        tables_found = [table.values() for table in tables]
        options.json.write_text(json.dumps({**found, "tables": tables_found}, indent=1), "utf-8")
    print(f"{sum(trial.queries for trial in trials):,} queries; see {options.out}")
    return 0


def _reference(options: argparse.Namespace, size: Size, judged: Side, folder: Path) -> Path:
    """The file of a reference that is made of all sides but the one that is judged by it."""
    others = [side for side in Side if side is not judged]
    made = build(
        options.data,
        others,
        options.seed,
        size.reference,
        size.reference_queries,
        date=options.date,
        processes=options.processes,
    )
    file = (options.references or folder) / f"reference-{'-'.join(others)}.json"
    made.save(file)
    return file


def _cases(size: Size, instances: int | None, only: Sequence[str] | None) -> Iterator[Case]:
    """All cases, those of one variety together."""
    for twin in TWINS:
        if only and twin.name not in only:
            continue
        for declared in (False, True) if twin.declared else (False,):
            for instance in range(instances or size.twins):
                yield Case(twin.name, instance, size.twin_queries, declared)
    for attack in ATTACKS:
        if only and attack.name not in only:
            continue
        hides = _hides(attack.name)
        number = size.windows if hides else size.attackers
        queries = size.window_queries if hides else size.attacker_queries
        for instance in range(instances or number):
            yield Case(attack.name, instance, queries, stops=True)
        if attack.name in LONG:
            for instance in range(min(instances or size.long, size.long)):
                yield Case(attack.name, instance, size.long_queries, stops=True)


def _tables(trials: Sequence[Trial]) -> list[Table]:
    told = {twin.name for twin in TWINS if twin.declared}
    names = {twin.name for twin in TWINS}
    twins = [trial for trial in trials if trial.case.variety in names]
    attackers = [trial for trial in trials if trial.case.variety not in names]
    as_told = [trial for trial in twins if trial.case.declared == (trial.case.variety in told)]
    untold = [trial for trial in twins if not trial.case.declared]
    return [
        honest("Honest holders", _HONEST, as_told),
        honest(
            "Declared uses, had nobody declared them",
            _UNTOLD,
            [trial for trial in untold if trial.case.variety in told],
        ),
        attacks("Attackers", _ATTACKS, [trial for trial in attackers if not _hides(trial.case.variety)]),
        dilution(
            "Attacks that hide in other traffic",
            _DILUTION,
            [trial for trial in attackers if _hides(trial.case.variety)],
            untold,
        ),
    ]


def _hides(variety: str) -> bool:
    return variety.startswith("hidden-")


_HONEST = f"""\
Each instance is watched for {BENIGN_WITHIN:,} queries. A share is of the instances that *ever* came into
a band, with the 95 % bounds of Clopper and Pearson. Declared uses are declared, as their owners would.
"Because of" counts the two strongest signals when an instance first reached its worst band."""

_UNTOLD = "For information: what declaring them is good for."

_ATTACKS = """\
Queries are those that were answered before a band was reached; who is denied is followed no further.
*Exemplars* are different queries, as folded, that were answered until then, or until the run ended.
A deny lags by the longest delay that the defaults allow. The budget is the diversity budget."""

_DILUTION = f"""\
Whoever sends so many attacks in a hundred queries, with what they hide in, is found or not in one window of
{WINDOW} queries. 0 is the cover alone, undeclared: what is found there is found wrongly."""

_CAVEATS = """\
Prompts are real, all else is made up: who asked them, when, with which parameters, and what was answered.
No open data has many conversations of each of many users, so a simulated person is a mixture of persons.
Times are simulated, so what rests on them (no_ramp, round_the_clock, how fast evidence fades) is an example.
References were made on other sources, except that these have a share on both sides, which flatters:"""


def _head(
    options: argparse.Namespace, size: Size, origins: Mapping[Side, str], same_source: Sequence[str]
) -> str:
    references = "\n".join(f"- {side}, by a reference that is {origin}" for side, origin in origins.items())
    command = "python -m benchmarks.detection.judge" + (" --quick" if options.quick else "")
    return f"""\
# How well distillers are told from honest holders

<!-- Written by `{command}` (`make detection`); do not edit. -->

Sides that were judged, with seed {options.seed}:

{references}

Settings: guard's defaults. Instances on each side: {options.instances or size.twins} of each honest variety,
{options.instances or size.attackers} of each attack. The reference that guard ships is made of both sides.

{_CAVEATS} {", ".join(same_source)}
(the prompts of {", ".join(SAME_SOURCE)}).
"""


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.detection.judge", description="Judge what detection detects."
    )
    data = os.environ.get("DETECTION_DATA")
    parser.add_argument(
        "--data", type=Path, default=Path(data) if data else None, help="folder of *.jsonl.gz"
    )
    parser.add_argument("--out", type=Path, default=Path("docs/detection-results.md"), help="what to write")
    parser.add_argument("--json", type=Path, help="the same as JSON")
    parser.add_argument("--reference", type=Path, help="for all sides, instead of one made for each")
    parser.add_argument("--references", type=Path, metavar="DIR", help="where to keep those that are made")
    parser.add_argument(
        "--side", type=Side, choices=list(Side), action="append", help="only these sources (repeatable)"
    )
    parser.add_argument("--date", default=f"{datetime.now(UTC):%Y-%m-%d}", help="when it is done")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--instances", type=int, help="of each variety, instead of the usual number")
    parser.add_argument("--quick", action="store_true", help="a few instances, a few queries")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument(
        "--variety",
        action="append",
        choices=[variety.name for variety in VARIETIES],
        metavar="NAME",
        help="only this (repeatable)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
