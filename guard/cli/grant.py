"""`guard grant`: more of one limit for a while; it ends by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from guard import words
from guard.cli import output
from guard.cli.app import Config, HolderText, Until, ask_store, seconds_left, unseen_by
from guard.cli.orders import By, DryRun

if TYPE_CHECKING:
    from collections.abc import Mapping

    from guard.admin import Operator, Unseen
    from guard.admin.acts import Act


def grant(
    holder: HolderText,
    limit: Annotated[str, typer.Argument(metavar="LIMIT", help="The limit's name in the settings.")],
    config: Config = None,
    *,
    times: Annotated[
        float | None, typer.Option(help="So many times what it has for good, such as 2 or 1.5.")
    ] = None,
    rate: Annotated[str | None, typer.Option(help="Or a rate, such as 500/minute.")] = None,
    count: Annotated[int | None, typer.Option(help="Or a count, of a limit on concurrency.", min=1)] = None,
    duration: Annotated[
        str | None, typer.Option("--for", help="How long, such as 30m, 12h or 7d; else 1d.")
    ] = None,
    until: Until = None,
    end: Annotated[bool, typer.Option("--end", help="End it now: what held before holds again.")] = False,
    reason: Annotated[str, typer.Option(help="Why; shown by `guard show`, never to the caller.")] = "",
    by: By = None,
    dry_run: DryRun = False,
) -> None:
    """Give a holder more of one limit for a while.

    It ends by itself: what the settings or an override for good give the holder holds again then.
    """
    given = [each for each in (times, rate, count) if each is not None]
    if len(given) != (0 if end else 1):
        raise typer.BadParameter("give one of --times, --rate, --count and --end")
    if times is not None and not 0 < times < float("inf"):
        raise typer.BadParameter(f"--times must be more than 0, got {times:g}")
    seconds = None if end else seconds_left(duration, until, otherwise="1d")
    if seconds is None and not end:
        raise typer.BadParameter("a grant ends; `guard limits set` gives other numbers for good")

    async def ask(operator: Operator) -> tuple[str, Act, Unseen | None]:
        found = await operator.resolve(holder)
        if end:
            act = await operator.orders.end_override(found, limit, reason)
        else:
            act = await operator.orders.override(
                found, limit, rate=rate, count=count, times=times, seconds=seconds, reason=reason
            )
        return str(found), act, await unseen_by(operator, found)

    name, act, unseen = ask_store(config, ask, by=by, dry_run=dry_run)
    shown = words.printable(name)
    if end and not act.changed:
        print(f"{shown} has no grant in {limit}.")
    else:
        before, after = (_said(each["limits"].get(limit)) for each in (act.before, act.after))
        print(f"{shown} {'would have' if dry_run else 'has'} {after} in {limit}; before: {before}.")
    output.note_unseen(unseen)


def _said(term: Mapping[str, Any] | None) -> str:
    """What holds in a limit, in words."""
    if term is None:
        return "what the settings say"
    rates = [
        f"{each['count']:g}/{words.period(each['window_seconds'])}"
        if each["window_seconds"]
        else f"{each['count']:g} at once"
        for each in term["windows"]
    ]
    until = "for good" if term["until"] is None else f"until {term['until']}"
    return f"{', '.join(rates) or 'no limit'} {until}"
