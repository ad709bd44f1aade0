"""`guard watch`: what happens now, again and again until Ctrl-C."""

from __future__ import annotations

import asyncio
import sys
from contextlib import nullcontext
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from guard import words
from guard.cli import output
from guard.cli.app import Config, Json, ask_store, seconds_of
from guard.core.rollups import Measure
from guard.errors import StoreError
from guard.words import dollars, moment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from guard.admin import Operator
    from guard.admin.rollups import Busy, By
    from guard.admin.watching import Look

LEAST_SECONDS = 1
"""Nobody asks the store more often."""

BUSY = 12
"""How many identities are listed."""

MINUTES_SHOWN = 12
"""So many of the last minutes fit into 80 columns."""

_A_MINUTE = {
    Measure.ADMITTED: "admitted a minute",
    Measure.REFUSED: "refused a minute",
    Measure.FAILED: "failed a minute",
}

COLUMNS = ("identity", "requests", "refused", "tokens", "cost", "risk")


class Order(StrEnum):
    """What `--by` takes."""

    TOKENS = "tokens"
    COST = "cost"
    REFUSED = "refused"
    RISK = "risk"


def watch(
    config: Config = None,
    *,
    every: Annotated[str, typer.Option(help="How often to look, such as 2s or 1m.")] = "2s",
    by: Annotated[Order, typer.Option("--by", help="Which identities come first.")] = Order.TOKENS,
    times: Annotated[
        int | None, typer.Option("--times", "-n", min=1, help="End after so many looks.")
    ] = None,
    json: Json = False,
) -> None:
    """Watch what is admitted and refused now, and who is busiest.

    The busiest are those of this hour. Ends with Ctrl-C. Into a pipe each look is printed below the last;
    with --json it is a line of JSON. While the store does not answer, it says so and goes on looking. Sums
    are a few seconds old.
    """
    seconds = seconds_of(every)
    if seconds < LEAST_SECONDS:
        raise typer.BadParameter(f"--every must be at least {LEAST_SECONDS} s, got {every}")

    async def ask(operator: Operator) -> None:
        from guard.admin.rollups import By

        await _watch(operator, By(by), seconds, times, json=json)

    try:
        ask_store(config, ask)
    except KeyboardInterrupt:
        return


async def _watch(operator: Operator, by: By, seconds: float, times: int | None, *, json: bool) -> None:
    from guard.admin.watching import look

    screen = not json and sys.stdout.isatty()
    console = output.console()
    looks = 0
    with console.screen(hide_cursor=True) if screen else nullcontext():
        while True:
            try:
                found = await look(operator, by, BUSY)
            except StoreError as error:
                if times is not None:
                    raise
                output.complain(f"the store does not answer: {error}")
            else:
                if json:
                    output.print_json_line(_json(found))
                else:
                    if screen:
                        console.clear()
                    _print(found)
            looks += 1
            if times is not None and looks >= times:
                return
            await asyncio.sleep(seconds)


def _print(found: Look) -> None:
    console = output.console()
    for line in _lines(found):
        console.print(line, markup=False, soft_wrap=True)
    rows = list(map(_cells, found.busiest.entries))
    if rows:
        console.print(output.table("", COLUMNS, rows, right=len(COLUMNS) - 1, optional=("cost", "tokens")))


def _lines(found: Look) -> Iterator[str]:
    yield (
        f"{moment(found.at)}  mode {found.mode}, {words.counted(found.processes, 'process', 'processes')}, "
        f"{found.held} held, {words.counted(found.campaigns, 'campaign')}"
    )
    for measure, said in _A_MINUTE.items():
        counts = (bucket.sums.of(measure) for bucket in found.traffic.buckets[-MINUTES_SHOWN:])
        yield f"{said:<20}{' '.join(f'{count:>4}' for count in counts)}"


def _cells(busy: Busy) -> tuple[str, ...]:
    use = busy.use
    return (
        output.short(busy.label),
        str(use.requests),
        str(use.refused),
        str(use.tokens),
        dollars(use.cost) if use.cost else "",
        f"{busy.decibans:.0f} dB" if busy.decibans >= 0.5 else "",
    )


def _json(found: Look) -> dict[str, Any]:
    from guard.admin.json.rollups import busiest_json, traffic_json

    return {
        "at": moment(found.at),
        "mode": found.mode,
        "processes": found.processes,
        "held": found.held,
        "campaigns": found.campaigns,
        "traffic": traffic_json(found.traffic),
        "busiest": busiest_json(found.busiest),
    }
