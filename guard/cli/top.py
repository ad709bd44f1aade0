"""`guard top`: who uses most, by identity or by what identities have in common."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from guard import words
from guard.cli import output
from guard.cli.app import Config, Json, ask_store, seconds_of
from guard.core.identity import Attribute, GroupedBy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guard.admin import Entry, Group, Operator


UNIMPORTANT = ("tier", "out", "would refuse", "last seen")
"""The columns that a narrow terminal has no room for, the first one first."""


def top(
    config: Config = None,
    *,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many to show.")] = 20,
    since: Annotated[
        str, typer.Option(help="Only identities seen in this time, such as 10m, 2h or 7d.")
    ] = "1d",
    risk: Annotated[bool, typer.Option("--risk", help="Those with most risk first.")] = False,
    by: Annotated[
        GroupedBy | None, typer.Option("--by", help="Add up the identities by this attribute.")
    ] = None,
    json: Json = False,
) -> None:
    """List who used most tokens, with cost and risk.

    Totals are those of an identity since it was first seen.
    """
    seconds = seconds_of(since)
    if by is not None and risk:
        raise typer.BadParameter("--risk is of one identity; leave out --by")
    if by is None:
        entries = ask_store(config, lambda operator: _ask(operator, count, seconds, risk))
        _entries(entries, since, by_risk=risk, json=json)
    else:
        attribute = Attribute(by)
        groups = ask_store(config, lambda operator: operator.groups(attribute, count, seconds=seconds))
        _groups(groups, attribute, since, json)


async def _ask(operator: Operator, count: int, seconds: float, by_risk: bool) -> list[tuple[str, Entry]]:
    entries = await operator.top(count, seconds=seconds, by_risk=by_risk)
    return [(operator.label(entry.record), entry) for entry in entries]


def _entries(entries: Sequence[tuple[str, Entry]], since: str, *, by_risk: bool, json: bool) -> None:
    if json:
        from guard.admin.json.records import entry_json

        output.print_json([entry_json(label, entry) for label, entry in entries])
        return
    rows = [
        (
            output.short(label),
            output.short(entry.record.identity.attributes.get(Attribute.TIER, "")),
            f"{entry.risk.decibans:.0f} {entry.risk.band}" if entry.risk.decibans else "",
            *output.usage_cells(entry.record),
            output.nearest(entry.nearest),
            _ago(entry.record.last_seen),
        )
        for label, entry in entries
    ]
    columns = ("identity", "tier", "risk", *output.USAGE_COLUMNS, "limit used", "last seen")
    _print(columns, rows, (*UNIMPORTANT, *(("cost",) if by_risk else ("risk", "cost"))), since)


def _groups(groups: Sequence[Group], attribute: Attribute, since: str, json: bool) -> None:
    if json:
        from guard.admin.json.records import group_json

        output.print_json([group_json(group, attribute) for group in groups])
        return
    rows = [
        (
            f"no {attribute}" if group.holder is None else output.short(str(group.holder)),
            group.totals.identities,
            *output.usage_cells(group.totals),
            output.nearest(group.nearest),
            _ago(group.totals.last_seen),
        )
        for group in groups
    ]
    columns = (attribute.value, "identities", *output.USAGE_COLUMNS, "limit used", "last seen")
    _print(columns, rows, (*UNIMPORTANT, "cost"), since)


def _print(
    columns: Sequence[str], rows: Sequence[tuple[Any, ...]], optional: Sequence[str], since: str
) -> None:
    if not rows:
        output.console().print(f"No identity was active in the last {since}.")
        return
    first_number = "identities" if "identities" in columns else output.USAGE_COLUMNS[0]
    right = len(columns) - columns.index(first_number)
    output.console().print(output.table("", columns, rows, right=right, optional=optional))


def _ago(seconds: float) -> str:
    return f"{words.span(max(0.0, time.time() - seconds))} ago"
