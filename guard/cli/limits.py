"""`guard limits …`: other numbers for one holder, for a while or for good."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from guard import words
from guard.cli import output
from guard.cli.app import Config, HolderText, Json, Until, ask_store, seconds_left, unseen_by
from guard.cli.impact import print_impact
from guard.cli.orders import By, DryRun, Foreseen, Reason, span, tell

if TYPE_CHECKING:
    from guard.admin import Act, Impact, Operator, Sheet, Unseen
    from guard.core.identity import Holder

limits = typer.Typer(no_args_is_help=True, help="Show the limits of a holder, or override them.")

LimitName = Annotated[str, typer.Argument(metavar="LIMIT", help="The limit's name in the settings.")]
Duration = Annotated[
    str | None, typer.Option("--for", help="How long, such as 30m, 12h or 7d. [until it is cleared]")
]


@limits.command()
def show(holder: HolderText, config: Config = None, *, json: Json = False) -> None:
    """Show the limits of a holder, what is left, and its overrides."""

    async def ask(operator: Operator) -> tuple[Sheet, Unseen | None]:
        sheet = await operator.limits(await operator.resolve(holder))
        return sheet, await unseen_by(operator, sheet.holder)

    sheet, unseen = ask_store(config, ask)
    output.note_unseen(unseen)
    if json:
        from guard.admin.json.limits import limits_json

        output.print_json(limits_json(sheet))
        return
    console = output.console()
    for each, term, of in sheet.overrides:
        line = f"{each} has {words.terms(term, of)}"
        console.print(words.printable(line), markup=False, soft_wrap=True)
    console.print(output.readings_table(sheet.readings))


@limits.command("set")
def set_(
    holder: HolderText,
    limit: LimitName,
    config: Config = None,
    *,
    rate: Annotated[
        str | None, typer.Option(help="Such as 500/minute; only for windows that the limit has.")
    ] = None,
    count: Annotated[int | None, typer.Option(help="For a limit on concurrency.", min=1)] = None,
    burst: Annotated[
        int | None, typer.Option(help="For GCRA; else in proportion to the rate.", min=1)
    ] = None,
    duration: Duration = None,
    until: Until = None,
    reason: Reason = "",
    by: By = None,
    dry_run: Foreseen = False,
) -> None:
    """Give a holder other numbers in one limit."""
    if (rate is None) == (count is None):
        raise typer.BadParameter("give --rate, or --count for a limit on concurrency")
    seconds = seconds_left(duration, until, otherwise="ever")

    async def ask(operator: Operator) -> tuple[str, Act, Impact | None]:
        found = await operator.resolve(holder)
        act = await operator.orders.override(
            found, limit, rate=rate, count=count, burst=burst, seconds=seconds, reason=reason
        )
        impact = None
        if dry_run:
            impact = await operator.impact_of_limit(found, limit, rate=rate, count=count, burst=burst)
        await _remark(operator, found, limit)
        return str(found), act, impact

    name, act, impact = ask_store(config, ask, by=by, dry_run=dry_run)
    tiers = act.after["limits"][limit]["tiers"]
    of_tiers = f"tier{'s' if len(tiers) > 1 else ''} {', '.join(tiers)}"
    has = "would have" if dry_run else "has"
    tell(act, f"{name} {has} {rate or count} in {limit} of {of_tiers} {_span(duration, until)}.")
    if impact is not None:
        print_impact(impact)


@limits.command()
def exempt(
    holder: HolderText,
    limit: Annotated[str, typer.Argument(metavar="LIMIT", help="The limit; without it, all.")] = "*",
    config: Config = None,
    *,
    duration: Duration = None,
    until: Until = None,
    reason: Reason = "",
    by: By = None,
    dry_run: DryRun = False,
) -> None:
    """Hold a holder to no limit, or not to this one."""
    seconds = seconds_left(duration, until, otherwise="ever")

    async def ask(operator: Operator) -> tuple[str, Act]:
        found = await operator.resolve(holder)
        act = await operator.orders.override(found, limit, seconds=seconds, reason=reason)
        await _remark(operator, found, limit)
        return str(found), act

    name, act = ask_store(config, ask, by=by, dry_run=dry_run)
    sentence = f"{name} is exempt from {_named(limit)} {_span(duration, until)}."
    tell(act, sentence, dry_run=dry_run)


@limits.command()
def clear(
    holder: HolderText,
    limit: Annotated[
        str | None, typer.Argument(metavar="LIMIT", help="The limit; without it, every limit.")
    ] = None,
    config: Config = None,
    *,
    reason: Reason = "",
    by: By = None,
    dry_run: DryRun = False,
) -> None:
    """Let the settings hold again for a holder, in one limit or in all."""

    async def ask(operator: Operator) -> tuple[str, Act, Unseen | None]:
        found = await operator.resolve(holder)
        orders = operator.orders
        act = await (
            orders.drop_overrides(found, reason)
            if limit is None
            else orders.drop_override(found, limit, reason)
        )
        return str(found), act, None if act.changed else await unseen_by(operator, found)

    name, act, unseen = ask_store(config, ask, by=by, dry_run=dry_run)
    cleared = ", ".join(map(_named, act.before["limits"]))
    sentence = f"{name} has no override{'' if limit is None else f' in {_named(limit)}'}."
    if cleared:
        sentence = f"Cleared the overrides of {name} in {cleared}."
    tell(act, sentence, dry_run=dry_run)
    output.note_unseen(unseen)


async def _remark(operator: Operator, holder: Holder, limit: str) -> None:
    """What an order may have got wrong that was carried out all the same."""
    idle = await operator.idle(holder, limit)
    if idle is not None:
        output.complain(str(idle))
    output.note_unseen(await unseen_by(operator, holder))


def _named(limit: str) -> str:
    return "all limits" if limit == "*" else limit


def _span(duration: str | None, until: str | None) -> str:
    return span(duration, until, otherwise="ever", ever="until it is cleared")
