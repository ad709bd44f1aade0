"""`guard calibrate LOG`: what signals are worth in the operator's own traffic, and what follows."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Annotated

import typer

from guard import words
from guard.cli import output
from guard.cli.app import Config, Json
from guard.cli.replay import Declare, LogFile
from guard.errors import ConfigError
from guard.extras import require_detection

MOST_REASONS = 5
"""Maximum number of reasons that are listed for which lines are left out; `--json` has all."""

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from guard.admin.calibrate import Calibration
    from guard.detection.tables import Table


def calibrate_(
    log: LogFile,
    config: Config = None,
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="The reference to write.")] = Path(
        "reference.json"
    ),
    declare: Declare = None,
    honest_high: Annotated[
        str, typer.Option(help="The share of honest identities that may ever be `high`.")
    ] = "1%",
    force: Annotated[bool, typer.Option("--force", help="Replace a reference that is there.")] = False,
    json: Json = False,
) -> None:
    """Learn from a log how often honest callers look suspicious.

    Lines that are labelled attacks are left out. Proposed are thresholds for a share of honest `high`, and a
    diversity budget for each tier, as lines to paste into the settings, beside the reference, which is
    written. What they will cost honest callers is judged on others than they were made from.
    """
    require_detection("guard calibrate")
    from guard.admin.calibrate import calibrate
    from guard.admin.declared import read_declared
    from guard.admin.json.calibration import calibration_json
    from guard.admin.survey import survey
    from guard.admin.traffic import STDIN, read_log
    from guard.cli.proposals import Target, proposals
    from guard.detection.reference import Reference
    from guard.settings.load import find, load, read_toml

    share = _share(honest_high)
    if out.exists() and not force:
        raise ConfigError(f"{out} is there already; --force replaces it")
    file = find(config)
    settings = load(file)
    declared = read_declared(declare) if declare is not None else {}
    shipped, digest = Reference.load(), sha256()
    found = asyncio.run(survey(settings, read_log(log, digest=digest), declared, shipped.scores))
    made = calibrate(
        settings.detection.weights,
        found,
        "standard input" if log == STDIN else log.name,
        shipped,
        made=f"{datetime.now(UTC):%Y-%m-%d}",
        log_sha256=digest.hexdigest(),
        honest_high=share,
    )
    made.reference.save(out)
    target = Target(file, {} if file is None else read_toml(file), settings)
    toml = list(proposals(made, out, target))
    if json:
        output.print_json(calibration_json(made, toml))
        return
    console = output.console()
    _show(made, out, console)
    for line in ("", *toml):
        console.print(words.printable(line), markup=False, soft_wrap=True)


def _share(text: str) -> float:
    """What `1%` or `0.01` says; anything else is wrong usage."""
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = 0.0
    if not 0 < share < 0.5:
        raise typer.BadParameter(f"{text!r} is no share above 0 and below a half; write 1% or 0.01")
    return share


def _show(made: Calibration, out: Path, console: Console) -> None:
    from guard.admin.calibrate import BANDS, LEVELS
    from guard.cli.proposals import WIDTH
    from guard.detection.tables import Stratum

    for text in _left_out(made, out):
        console.print(words.printable(text), markup=False, soft_wrap=True)
    for caution in made.cautions:
        console.print(fill(caution, WIDTH), markup=False)
    rows = [
        (signal, *(_level(tables[Stratum.ANY], level) for level in LEVELS), made.own[signal])
        for signal, tables in made.reference.tables.items()
        if Stratum.ANY in tables
    ]
    columns = ("signal", *(f"at {level} dB" for level in LEVELS), "your identities")
    title = "Statistic at which a signal is worth this"
    console.print()
    console.print(output.table(title, columns, rows, right=4))
    console.print()
    shares = []
    for band in BANDS:
        row: list[str] = [band]
        for weights in (made.present, made.proposed):
            reached = len(made.reached(band, weights))
            least, most = made.bounds(band, weights)
            row += [f"{getattr(weights, band):g} dB", f"{reached}", f"{least:.1%} to {most:.1%}"]
        shares.append(tuple(row))
    names = ("band", "now", "ever", "95 %", "proposed", "ever", "95 %")
    title = f"How many of {made.identities} honest identities are ever in a band"
    console.print(output.table(title, names, shares, right=6))


def _left_out(made: Calibration, out: Path) -> Iterator[str]:
    left = made.survey
    queries = words.counted(left.queries, "query", "queries")
    yield f"{out}: from {made.identities} identities with {queries} in {left.days:.1f} days"
    if len(left.traces) > made.identities:
        few = words.counted(len(left.traces) - made.identities, "identity", "identities")
        yield f"left out: {few} with too few queries"
    if left.attacks:
        yield f"left out: {words.counted(left.attacks, 'line')} labelled attack"
    if left.unread:
        yield f"left out: {words.counted(left.unread.total(), 'line')} of no use here:"
        for reason, count in left.unread.most_common(MOST_REASONS):
            yield f"  {count} {reason}"
    if made.reference.place is None:
        yield "too few identities with 200 queries to learn `distance`"


def _level(table: Table, decibans: float) -> str:
    statistic = table.statistic(decibans)
    return "never" if statistic is None else f"{statistic:.3g}"
