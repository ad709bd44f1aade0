"""`guard calibrate LOG`: what signals are worth in the operator's own traffic."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Annotated

import typer

from guard.cli import output
from guard.cli.app import Config, Json
from guard.cli.replay import Declare, LogFile
from guard.extras import require_detection

if TYPE_CHECKING:
    from rich.console import Console

    from guard.admin.calibrate import Calibration


WIDTH = 79


def calibrate_(
    log: LogFile,
    config: Config = None,
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="The reference to write.")] = Path(
        "reference.json"
    ),
    declare: Declare = None,
    json: Json = False,
) -> None:
    """Learn from a log how often honest callers look suspicious.

    Lines that are labelled attacks are left out. Name the file in the settings as `reference` under
    [detection]. What it will cost honest callers is said too, judged on others than it was made from.
    """
    require_detection("guard calibrate")
    from guard.admin.calibrate import calibrate, survey
    from guard.admin.declared import read_declared
    from guard.admin.traffic import STDIN, read_log
    from guard.detection.reference import Reference
    from guard.settings.load import load

    settings = load(config)
    declared = read_declared(declare) if declare is not None else {}
    name = "standard input" if log == STDIN else log.name
    shipped = Reference.load()
    found = survey(settings, read_log(log), declared, shipped.likenesses)
    made = calibrate(settings, found, name, shipped)
    made.reference.save(out)
    if json:
        output.print_json(made.json())
    else:
        _show(made, out, output.console())


def _show(made: Calibration, out: Path, console: Console) -> None:
    from guard.admin.calibrate import BANDS

    left = made.survey
    lines = [f"{out}: from {made.identities} identities with {left.queries} queries"]
    if len(left.traces) > made.identities:
        lines.append(f"left out: {len(left.traces) - made.identities} identities with too few queries")
    if left.attacks:
        lines.append(f"left out: {left.attacks} lines labelled attacks")
    if left.unread:
        lines.append(f"left out: {left.unread} lines that could not be read or had no answer")
    if made.reference.place is None:
        lines.append("too few identities with 200 queries to learn `distance`")
    for text in lines:
        console.print(output.printable(text), markup=False, soft_wrap=True)
    console.print()
    rows = [
        (
            signal,
            *(f"{each.statistic(level):.3g}" for level in (10, 20, 25)),
            "yes" if signal in made.own else "",
        )
        for signal, each in made.reference.tables.items()
    ]
    columns = ("signal", "at 10 dB", "at 20 dB", "at 25 dB", "from your data only")
    console.print(output.table("Statistic at which a signal is worth this", columns, rows, right=4))
    console.print()
    shares = [
        (
            band,
            f"{made.reached[band]} of {made.identities}",
            f"{made.reached[band] / made.identities:.1%}",
            f"{made.bounds(band)[0]:.1%} to {made.bounds(band)[1]:.1%}",
        )
        for band in BANDS
    ]
    names = ("band", "honest identities", "share", "95 % interval")
    console.print(output.table("Expected false positives", names, shares, right=3))
    if made.caution is not None:
        console.print(f"\n{fill(made.caution, WIDTH)}", markup=False)
