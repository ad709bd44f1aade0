"""`guard campaigns`, `campaign`, `verdict`, `clear`: who is held to be one, and what a person says of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from guard import words
from guard.cli import cases, output
from guard.cli.app import Config, HolderText, Json, Until, ask_store, seconds_left
from guard.cli.orders import By, DryRun, Reason, tell
from guard.cli.reports import print_report
from guard.core.campaigns import SAID_BY_PEOPLE

if TYPE_CHECKING:
    from guard.admin import Act, Case, Operator
    from guard.core.campaigns import Campaign, Judged, Lag

OPTIONAL = ("since", "tie", "by", "queries", "dB")
"""The columns that a narrow terminal has no room for, the first one first."""

CampaignId = Annotated[str, typer.Argument(metavar="ID", help="The campaign, as `guard campaigns` lists it.")]


def campaigns(
    config: Config = None,
    *,
    every: Annotated[
        bool, typer.Option("--all", help="Also those of which nothing follows, such as stale ones.")
    ] = False,
    json: Json = False,
) -> None:
    """List the campaigns: identities that are held to be one.

    `guard campaign ID` shows one, and `guard verdict ID` says what you hold of it.
    """

    async def ask(operator: Operator) -> tuple[list[Campaign], bool, Lag]:
        asked = operator.campaigns
        return await asked.all(), await asked.are_looked_for(), await asked.lag()

    now_us = int(time.time() * 1e6)
    known, looked_for, lag = ask_store(config, ask)
    if not looked_for:
        output.complain("nobody looks for campaigns now: neither guard's analyst nor a `guard worker` runs")
    elif lag.late:
        waiting = words.counted(lag.queries, "query", "queries")
        output.complain(f"campaigns are found late: {waiting} wait, the oldest for {words.span(lag.seconds)}")
    found = [each for each in known if every or each.verdict(now_us).counts]
    if json:
        from guard.admin.json.campaigns import campaign_json

        output.print_json([campaign_json(each, now_us) for each in found])
        return
    if found:
        rows = [_row(each, now_us) for each in found]
        columns = (
            *("id", "verdict", "by", "tie", "members", "queries", "units"),
            *("since", "seen", "dB"),
        )
        output.console().print(output.table("", columns, rows, right=6, optional=OPTIONAL))
    else:
        output.console().print("There is no campaign." if every or not known else "No campaign counts now.")
    if len(found) < len(known):
        rest = words.counted(len(known) - len(found), "campaign")
        output.complain(f"nothing follows from {rest} more; --all lists all")


def _row(campaign: Campaign, now_us: int) -> tuple[object, ...]:
    strongest = max(campaign.ties, key=lambda tie: tie.decibans, default=None)
    return (
        campaign.id,
        campaign.verdict(now_us),
        cases.said_by(campaign, now_us),
        "" if strongest is None else strongest.kind,
        len(campaign.members),
        campaign.queries,
        f"{campaign.paid:.0f}",
        words.span(max(0.0, (now_us - campaign.since_us) / 1e6)),
        words.span(max(0.0, (now_us - campaign.seen_us) / 1e6)),
        f"{campaign.decibans:.0f}",
    )


def campaign(
    campaign_id: CampaignId,
    config: Config = None,
    *,
    members: Annotated[
        int, typer.Option("--members", min=0, help="How many members to list, the surest first.")
    ] = output.MOST_MEMBERS,
    json: Json = False,
) -> None:
    """Show a campaign, with the evidence for and against.

    And its verdict, its ties, its members, what is left of its limits, and what happened when.
    """

    async def ask(operator: Operator) -> Case:
        return await operator.campaigns.of(campaign_id)

    case = ask_store(config, ask)
    if json:
        from guard.admin.json.campaigns import case_json

        output.print_json(case_json(case))
    else:
        print_report(cases.case_report(case, members))


def verdict(
    campaign_id: CampaignId,
    said: Annotated[
        str | None, typer.Argument(metavar="VERDICT", help=f"What you hold: {', '.join(SAID_BY_PEOPLE)}.")
    ] = None,
    config: Config = None,
    *,
    drop: Annotated[bool, typer.Option("--drop", help="Take back what a person has said.")] = False,
    by: By = None,
    reason: Reason = "",
    duration: Annotated[
        str | None,
        typer.Option("--for", help="How long it holds, such as 12h or 30d; `ever` for good. [ever]"),
    ] = None,
    until: Until = None,
    dry_run: DryRun = False,
) -> None:
    """Say what a campaign is; that outranks what guard says.

    Needs a --reason. With `confirmed`, its members share one budget; with `unlikely` or `unrelated`, nothing
    follows for them. --drop has what guard says hold again.
    """
    if drop:
        if said is not None or duration is not None or until is not None:
            raise typer.BadParameter("--drop says nothing new: leave out the verdict, --for and --until")
        _drop(campaign_id, config, by, reason, dry_run=dry_run)
        return
    if said is None:
        raise typer.BadParameter(f"say one of {', '.join(SAID_BY_PEOPLE)}, or --drop")
    _need(reason)
    seconds = seconds_left(duration, until, otherwise="ever")

    async def ask(operator: Operator) -> tuple[Act, Case]:
        act = await operator.orders.judge(campaign_id, said, reason, seconds)
        return act, await operator.campaigns.of(campaign_id)

    act, case = ask_store(config, ask, by=by, dry_run=dry_run)
    end = words.until_us(case.word.until_us) if case.word else ""
    tell(act, f"{campaign_id} is {case.verdict} {end}: {case.verdict.meaning}.", dry_run=dry_run)
    if not dry_run:
        print(f"{cases.spread(case)}.")


def _drop(campaign_id: str, config: Config, by: str | None, reason: str, *, dry_run: bool) -> None:
    async def ask(operator: Operator) -> tuple[Act, Judged | None, Case]:
        judged = (await operator.campaigns.of(campaign_id)).campaign.judged
        act = await operator.orders.drop_verdict(campaign_id, reason)
        return act, judged, await operator.campaigns.of(campaign_id)

    act, judged, case = ask_store(config, ask, by=by, dry_run=dry_run)
    sentence = f"Nobody has said anything of {campaign_id}; guard says {case.verdict}."
    if judged is not None:
        sentence = f"{campaign_id} is {case.verdict} again, as guard says; {judged.by} said {judged.verdict}."
    tell(act, sentence, dry_run=dry_run)


def clear(
    campaign_id: CampaignId,
    member: HolderText,
    config: Config = None,
    *,
    by: By = None,
    reason: Reason = "",
    dry_run: DryRun = False,
) -> None:
    """Take an innocent member out of a campaign, for good.

    Needs a --reason. What speaks against it stays: `guard forgive` clears that.
    """
    _need(reason)

    async def ask(operator: Operator) -> Act:
        found = await operator.resolve(member)
        return await operator.orders.clear(campaign_id, found, reason)

    act = ask_store(config, ask, by=by, dry_run=dry_run)
    sentence = f"{act.subject} was taken out of {campaign_id} before."
    if act.changed:
        sentence = f"{act.subject} is no member of {campaign_id} any more, and never will be again."
    tell(act, sentence, dry_run=dry_run)


def _need(reason: str) -> None:
    if not reason.strip():
        raise typer.BadParameter("give a --reason: who looks at the campaign later wants to know why")
