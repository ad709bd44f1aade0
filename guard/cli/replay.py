"""`guard replay LOG`: what guard would have done about past traffic."""

from __future__ import annotations

import asyncio
import json as json_module
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from guard.cli import output
from guard.cli.app import Config
from guard.core.evidence import Band
from guard.errors import ConfigError
from guard.extras import NEEDS_DETECTION

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Mapping
    from typing import TextIO

    from rich.console import Console

    from guard.admin.summary import Summary
    from guard.admin.traffic import Label
    from guard.core.identity import Holder
    from guard.core.uses import Declared
    from guard.settings.root import Settings

SIGNALS_WIDTH = 26
"""So wide is the column of signals, so that the table fits on 80 columns."""

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
) -> None:
    """Report what guard would have done with a log of traffic.

    The settings decide as they would have then, on an empty store that is gone afterwards; the live store is
    not touched. The same log and settings give the same results, to the byte.
    """
    from rich.console import Console

    from guard.admin.declared import read_declared
    from guard.admin.traffic import STDIN
    from guard.settings.load import load

    settings = load(config)
    if settings.detection.missing:
        output.complain(f"replayed without detection, which {NEEDS_DETECTION}")
    declared = read_declared(declare) if declare is not None else {}
    with _written(json) as file:
        summary = run(_replay(log, settings, declared, file))
    if summary_json is not None:
        with _written(summary_json) as file:
            print(json_module.dumps(summary.json(), indent=2), file=file)
    aside = STDIN in (json, summary_json)  # what is data is not to be mixed with words
    show(summary, Console(stderr=True, highlight=False) if aside else output.console())


async def _replay(
    log: Path, settings: Settings, declared: Mapping[Holder, Declared], file: TextIO | None
) -> Summary:
    from guard.admin.replay import Replay
    from guard.admin.summary import Summary
    from guard.admin.traffic import read_log

    summary = Summary()
    async for result in Replay(settings, declared).results(read_log(log)):
        summary.add(result)
        if file is not None:
            file.write(json_module.dumps(result.json(), separators=(",", ":")) + "\n")
    return summary


def run(work: Coroutine[None, None, Summary]) -> Summary:
    """Run it to its end, on uvloop where that is installed."""
    runner: Callable[[Coroutine[None, None, Summary]], Summary] = asyncio.run
    try:
        import uvloop
    except ImportError:
        pass
    else:
        runner = uvloop.run
    return runner(work)


def show(summary: Summary, console: Console) -> None:
    """Print a summary, at most 80 columns wide."""
    from guard.admin.summary import BANDS
    from guard.admin.traffic import Label

    requests = output.counted(summary.requests, "request")
    identities = output.counted(len(summary.courses), "identity", "identities")
    console.print(f"{requests} from {identities}", markup=False)
    if summary.estimated:
        console.print(f"{summary.estimated} without an answer in the log: payout estimated", markup=False)
    console.print()
    actions = [(action, mode, count) for (action, mode), count in sorted(summary.actions.items())]
    console.print(output.table("", ("action", "mode", "requests"), actions, right=1))
    for title, counts in (("limits violated", summary.limits), ("no decision", summary.reasons)):
        if counts:
            most = [(name[:60], count) for name, count in counts.most_common(10)]
            console.print(output.table("", (title, "requests"), most, right=1))
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


def _queries(summary: Summary, band: Band, label: Label) -> str:
    count = None if band is Band.LOW else summary.queries_to(band, label)
    return "-" if count is None else f"{count:g}"


def _signals(signals: tuple[tuple[str, float], ...]) -> str:
    """The strongest, as many as there is room for."""
    text = ""
    for signal, decibans in signals:
        longer = f"{text}{', ' if text else ''}{signal} {decibans:.0f}"
        if len(longer) > SIGNALS_WIDTH:
            break
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
