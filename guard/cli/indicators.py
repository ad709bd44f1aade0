"""`guard indicators …`: what operators tell each other of campaigns."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from guard import words
from guard.cli import output
from guard.cli.app import Config, Json, ask_store, seconds_left
from guard.cli.orders import By, Reason
from guard.errors import ConfigError

if TYPE_CHECKING:
    from guard.admin import Operator
    from guard.admin.indicators import Exported, Known, Taken

indicators = typer.Typer(no_args_is_help=True, help="What operators tell each other of campaigns.")

OPTIONAL = ("id", "seen", "for")
"""The columns that a narrow terminal has no room for, the first one first."""


@indicators.command()
def export(
    campaigns: Annotated[
        list[str] | None,
        typer.Argument(metavar="CAMPAIGN", help="These alone; else all that are likely or confirmed."),
    ] = None,
    config: Config = None,
    *,
    confirmed: Annotated[
        bool, typer.Option("--confirmed", help="Only those that a person has confirmed.")
    ] = False,
) -> None:
    """Print campaigns as a bundle of STIX 2.1.

    One that is named and that a person holds unlikely or unrelated is taken back.
    """

    async def ask(operator: Operator) -> Exported:
        return await operator.indicators.export(campaigns or (), confirmed=confirmed)

    told = ask_store(config, ask)
    print(told.bundle)
    for name, why in told.left_out.items():
        output.complain(f"{name} is left out: {why}")
    taken_back = f"; {words.counted(len(told.revoked), 'campaign')} taken back" if told.revoked else ""
    output.complain(f"{words.counted(len(told.campaigns), 'campaign')} told{taken_back}")


@indicators.command(name="import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A bundle; - for standard input.")],
    config: Config = None,
    *,
    by: By = None,
    reason: Annotated[str, typer.Option(help="Why; kept with each indicator.")] = "",
    until: Annotated[
        str | None, typer.Option(help="For no longer than until then: 2030-06-30; else in UTC.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would come of it.")] = False,
    json: Json = False,
) -> None:
    """Take over what another operator tells, or has seen of ours.

    An indicator holds as long as it says, a year at most; no longer than --until.
    """
    data, seconds = _read(file), seconds_left(None, until, otherwise="ever")

    async def ask(operator: Operator) -> Taken:
        try:
            return await operator.indicators.take(data, reason, seconds, dry_run=dry_run)
        except ConfigError as error:
            raise ConfigError(f"{file}: {error}") from None

    taken = ask_store(config, ask, by=by)
    if json:
        from guard.admin.json.indicators import taken_json

        output.print_json(taken_json(taken))
        return
    would = "would be " if dry_run else ""
    print(
        f"{words.counted(taken.new, 'indicator')} {would}new, {taken.changed} {would}changed, "
        f"{taken.same} known, {taken.revoked} {would}taken back."
    )
    for campaign, seen in taken.sightings:
        ago = words.span(max(0.0, time.time() - seen.last_us / 1e6))
        queries = words.counted(seen.queries, "query", "queries")
        print(words.printable(f"{seen.called} has seen what {campaign} has: {queries}, the last {ago} ago."))
    for why, count in taken.skipped.most_common():
        output.complain(f"left out {count}: {why}")


@indicators.command(name="list")
def list_(config: Config = None, *, json: Json = False) -> None:
    """List what others have told, and what was seen of it here."""

    async def ask(operator: Operator) -> list[Known]:
        return await operator.indicators.all()

    known = ask_store(config, ask)
    if json:
        from guard.admin.json.indicators import known_json

        output.print_json([known_json(each) for each in known])
        return
    if not known:
        output.console().print("Nobody has told anything that holds.")
        return
    now = time.time()
    columns = ("id", "thing", "told by", "seen here", "seen", "queries", "sure", "for")
    rows = [_row(each, now) for each in known]
    output.console().print(output.table("", columns, rows, right=4, optional=OPTIONAL))
    common = sum(each.sighted is not None and each.sighted.common for each in known)
    if common:
        output.complain(
            f"{words.counted(common, 'indicator')} ignored: verified organisations here use the same"
        )


@indicators.command()
def sightings(config: Config = None) -> None:
    """Print what was seen here of what others have told, as a bundle of STIX 2.1 for them.

    What is common here is left out.
    """

    async def ask(operator: Operator) -> tuple[str, int]:
        return await operator.indicators.sightings()

    bundle, seen = ask_store(config, ask)
    print(bundle)
    output.complain(f"{words.counted(seen, 'indicator')} seen here")


@indicators.command()
def drop(
    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME", help="The start of an indicator's id, or who has told it."),
    ],
    config: Config = None,
    *,
    by: By = None,
    reason: Reason = "",
) -> None:
    """Forget what others have told."""

    async def ask(operator: Operator) -> int:
        return await operator.indicators.drop(names, reason)

    print(f"{words.counted(ask_store(config, ask, by=by), 'indicator')} forgotten.")


def _read(file: Path) -> bytes:
    """What is in a file, no more than is looked at."""
    from guard.admin.stix.received import LARGEST

    try:
        if str(file) == "-":
            return sys.stdin.buffer.read(LARGEST + 1)
        with file.open("rb") as opened:
            return opened.read(LARGEST + 1)
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from error


def _row(known: Known, now: float) -> tuple[object, ...]:
    each, seen = known
    ago = "" if seen is None else words.span(max(0.0, now - seen.last_us / 1e6))
    return (
        each.id.removeprefix("indicator--")[:8],
        each.thing,
        output.short(each.called),
        "never" if seen is None else "common, ignored" if seen.common else "yes",
        ago,
        "" if seen is None else seen.queries,
        each.confidence,
        words.span(max(0.0, each.until_us / 1e6 - now)),
    )
