"""`guard replay LOG`: what guard would have done about past traffic."""

from __future__ import annotations

import json as json_module
import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from guard import words
from guard.cli import output
from guard.cli.app import Config
from guard.core.evidence import Band
from guard.core.modes import Mode
from guard.errors import ConfigError
from guard.extras import NEEDS_DETECTION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TextIO

    from rich.console import Console

    from guard.admin.jobs import Work
    from guard.admin.shards import Shards
    from guard.admin.summary import Summary
    from guard.admin.traffic import Label

SIGNALS_WIDTH = 26
"""So wide is the column of signals, so that the table fits on 80 columns."""

LONGEST_REASON = 68
"""Likewise why a request would have been answered with an error."""

MOST_COUNTED = 10
"""Maximum number of limits, and of errors, that are listed; `--summary-json` has all."""

UNEVEN = 1.5
"""Said is where one process has so many times its part of the lines."""

LogFile = Annotated[
    Path,
    typer.Argument(metavar="LOG", help="The traffic log, `.jsonl` or `.jsonl.gz`; - for standard input."),
]
Declare = Annotated[
    Path | None,
    typer.Option(help='Declared uses, a line each: {"identity": "key:nightly", "use": "evaluation"}.'),
]


def replay(
    log: LogFile,
    config: Config = None,
    *,
    json: Annotated[
        Path | None, typer.Option(help="Write what was decided, one line each; - for standard output.")
    ] = None,
    summary_json: Annotated[Path | None, typer.Option(help="Write the summary as JSON.")] = None,
    declare: Declare = None,
    jobs: Annotated[
        int, typer.Option(min=1, max=128, help="Number of processes; callers that share a limit share one.")
    ] = 1,
) -> None:
    """Report what guard would have done with a log of traffic.

    The settings decide as they would have then, on an empty store that is gone afterwards; the live store is
    not touched. The same log and settings give the same results, to the byte, with any number of jobs, but
    for campaigns and lineage: several jobs look for no campaigns.
    """
    from rich.console import Console

    from guard.admin.declared import read_declared
    from guard.admin.jobs import Work
    from guard.admin.traffic import STDIN
    from guard.settings.load import load

    settings = load(config)
    if settings.detection.missing:
        output.complain(f"replayed without detection, which {NEEDS_DETECTION}")
    declared = read_declared(declare) if declare is not None else {}
    with _written(json) as file:
        summary = _replayed(Work(log, settings, declared, told=file is not None), jobs, file)
    if summary_json is not None:
        with _written(summary_json) as file:
            print(json_module.dumps(summary.json(), indent=2), file=file)
    aside = STDIN in (json, summary_json)  # what is data is not to be mixed with words
    show(summary, Console(stderr=True, highlight=False) if aside else output.console())


def _replayed(work: Work, jobs: int, file: TextIO | None) -> Summary:
    from guard.admin.jobs import Jobs, replay_all
    from guard.admin.shards import shards_of
    from guard.admin.traffic import read_log

    write: Callable[[str], object] = (lambda _: None) if file is None else file.write
    if jobs == 1:
        return replay_all(work, write)
    if not work.log.is_file() and (work.log.exists() or work.log == Path("-")):
        raise ConfigError(f"--jobs {jobs} reads the log twice, which takes a file, not {work.log}")
    shards = shards_of(read_log(work.log), work.settings, jobs)
    if shards.largest_share > UNEVEN / jobs:
        output.complain(_uneven(shards))
    if len(shards.sizes) == 1:
        return replay_all(work, write)
    if Mode.OFF not in (work.settings.detection.mode, work.settings.campaigns.mode):
        output.complain("nobody looks for campaigns in several processes; --jobs 1 does")
    with Jobs(work, shards) as running:
        return running.run(write)


def _uneven(shards: Shards) -> str:
    """That less is gained by several processes than was asked for, and why."""
    share = f"{shards.largest_share:.0%} of the lines are replayed in one process"
    if shards.sharing:
        return f"{share}: their callers share {', '.join(shards.sharing)}"
    return f"{share}: they are one caller's"


def show(summary: Summary, console: Console) -> None:
    """Print a summary, at most 80 columns wide."""
    from guard.admin.summary import BANDS
    from guard.admin.traffic import Label

    requests = words.counted(summary.requests, "request")
    identities = words.counted(len(summary.courses), "identity", "identities")
    console.print(f"{requests} from {identities}", markup=False)
    if summary.estimated:
        console.print(f"{summary.estimated} without an answer in the log: payout estimated", markup=False)
    console.print()
    actions = [(action, mode, count) for (action, mode), count in sorted(summary.actions.items())]
    console.print(output.table("", ("action", "mode", "requests"), actions, right=1))
    for title, counts in (("limit violated", summary.limits), ("error", summary.errors)):
        if counts:
            console.print(output.table("", (title, "requests"), _most(counts), right=1))
    labels = [label for label in Label if summary.known(label)]
    columns = ["band", "ever reached by"]
    for label in labels:
        columns += [f"{label} at most", "after"]
    console.print()
    rows = [
        (
            band,
            summary.reached(band),
            *(
                cell
                for label in labels
                for cell in (f"{summary.highest(label)[band]:.1%}", _queries(summary, band, label))
            ),
        )
        for band in BANDS
    ]
    console.print(output.table("", columns, rows, right=len(columns) - 1))
    top = [
        (
            output.short(name),
            course.requests,
            f"{course.worst.decibans:.1f}",
            course.band,
            course.label or "",
            _signals(course.signals),
        )
        for name, course in summary.top()
    ]
    if top:
        console.print()
        names = ("highest risk", "requests", "risk", "band", "label", "signals")
        console.print(output.table("", names, top))


def _most(counts: Counter[str]) -> list[tuple[str, int]]:
    """The commonest, and how many there are of the others."""
    ordered = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    rest = ordered[MOST_COUNTED:]
    others = [(f"{len(rest)} others: --summary-json", sum(count for _, count in rest))] if rest else []
    return [(_cut(name, LONGEST_REASON), count) for name, count in ordered[:MOST_COUNTED]] + others


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _queries(summary: Summary, band: Band, label: Label) -> str:
    count = None if band is Band.LOW else summary.queries_to(band, label)
    return "-" if count is None else f"{count:g}"


def _signals(signals: tuple[tuple[str, float], ...]) -> str:
    """The strongest, as many as there is room for; dots stand for the others."""
    text = ""
    for signal, decibans in signals:
        longer = f"{text}{', ' if text else ''}{signal} {decibans:.0f}"
        if len(longer) > SIGNALS_WIDTH:
            return f"{text}, …" if text else _cut(longer, SIGNALS_WIDTH)
        text = longer
    return text


@contextmanager
def _written(path: Path | None) -> Iterator[TextIO | None]:
    """A file to write, or standard output where it is `-`."""
    from guard.admin.traffic import STDIN

    if path is None or path == STDIN:
        yield None if path is None else sys.stdout
        return
    try:
        file = path.open("w", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    with file:
        yield file
