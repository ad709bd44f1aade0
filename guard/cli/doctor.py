"""`guard doctor`: what is wrong, and what helps."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import asdict
from textwrap import fill
from typing import TYPE_CHECKING, Annotated

import typer

from guard import words
from guard.cli import output
from guard.cli.app import FAULT, Config, Json

if TYPE_CHECKING:
    from pathlib import Path

    from guard.admin.doctor import Finding

WIDTH = 14
"""Of the column that names what was looked at."""


def doctor(
    config: Config = None,
    *,
    backend: Annotated[
        str | None, typer.Option(help="The URL of the model server, where the settings do not name it.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 for a warning too.")] = False,
    json: Json = False,
) -> None:
    """Look for what is wrong, and say what helps.

    The settings and their traps, the store (version, memory, disk, latency, clock, rights, pepper), the
    processes that serve, who looks for campaigns, and the backend. Changes nothing. Exits with 1 where
    something fails.
    """
    from guard.admin.doctor import State

    found = asyncio.run(_ask(config, backend))
    if json:
        output.print_json([asdict(each) for each in found])
    else:
        for each in found:
            print(_lines(each))
    states = [each.state for each in found]
    if not json:
        print(_summary(states.count(State.FAILURE), states.count(State.WARNING)))
    if State.FAILURE in states or (strict and State.WARNING in states):
        raise typer.Exit(FAULT)


async def _ask(config: Path | None, backend: str | None) -> list[Finding]:
    from guard.admin.doctor import examine

    return [each async for each in examine(config, backend)]


def _lines(found: Finding) -> str:
    cure = f"\nCure: {found.cure}." if found.cure else ""
    parts = words.printable(found.says + cure, keep="\n").split("\n")
    head = f"{found.state.upper():<8} {words.printable(found.part):<{WIDTH}} "
    if not sys.stdout.isatty():
        return f"{head}{' '.join(parts)}"
    indent = " " * 9
    width = output.console().width
    return "\n".join(
        fill(text, width, initial_indent=head if place == 0 else indent, subsequent_indent=indent)
        for place, text in enumerate(parts)
    )


def _summary(failures: int, warnings: int) -> str:
    if not failures and not warnings:
        return "Nothing is wrong."
    return f"{words.counted(failures, 'failure')}, {words.counted(warnings, 'warning')}."
