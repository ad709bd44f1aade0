"""`guard show`: all that is known of a holder."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from guard import words
from guard.cli import cases, output
from guard.cli.app import Config, HolderText, Json, ask_store
from guard.core.holds import Held
from guard.core.novelty import NOTHING_RECENT, RECENT_ANSWERS, UNIT
from guard.core.signals import Signal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from guard.admin import Operator, Sheet, Terrain
    from guard.admin.suspicion import Suspicion
    from guard.cli.tables import Trimmed
    from guard.core.identity import Identity


def show(holder: HolderText, config: Config = None, *, json: Json = False) -> None:
    """Show all that is known of a holder.

    Its use, its blocks, whether it is held, what is left of each limit, and what speaks against it.
    """

    async def ask(operator: Operator) -> Sheet:
        return await operator.show(await operator.resolve(holder))

    sheet = ask_store(config, ask)
    if json:
        from guard.admin.json.sheets import sheet_json

        output.print_json(sheet_json(sheet))
        return
    console = output.console()
    console.print(words.printable(sheet.label), markup=False, style="bold", soft_wrap=True)
    for line in (*record_lines(sheet), *member_lines(sheet)):
        console.print(words.printable(line), markup=False, soft_wrap=True)
    if sheet.members:
        console.print(_members_table(sheet))
    for line in order_lines(sheet):
        style = "red" if line.startswith("BLOCKED") else ""
        console.print(words.printable(line), markup=False, style=style, soft_wrap=True)
    if sheet.readings:
        console.print(output.readings_table(sheet.readings))
    else:
        line = (
            f"no limit of the settings is kept per {'+'.join(each.attribute for each in sheet.holder.parts)}"
        )
        console.print(line, markup=False, soft_wrap=True)
    for terrain in sheet.terrains:
        console.print(words.printable(terrain_line(terrain)), markup=False, soft_wrap=True)
    if sheet.suspicion is not None:
        _show_suspicion(sheet.suspicion, console)


def order_lines(sheet: Sheet) -> Iterator[str]:
    """What people and guard have decided of a holder."""
    for blocked, block in sheet.blocks:
        yield f"BLOCKED {words.until(block)} as {blocked}: {block.reason or 'no reason given'}"
    if sheet.review is not None:
        yield words.review(sheet.review)
    if isinstance(sheet.review, Held):
        yield f"`guard release {sheet.label}` serves it again, and clears it; `guard block` refuses it"
    now_us = int(time.time() * 1e6)
    for campaign in sheet.campaigns:
        is_one = "taken out of" if sheet.label in campaign.cleared else "member of"
        verdict = f"{campaign.verdict(now_us)}, says {cases.said_by(campaign, now_us)}"
        yield f"{is_one} campaign {campaign.id} ({verdict}): `guard campaign {campaign.id}`"
    for holder_of, term, of in sheet.overrides:
        yield f"{holder_of} has {words.terms(term, of)}"


def _show_suspicion(suspicion: Suspicion, console: Console) -> None:
    console.print()
    for line in risk_lines(suspicion):
        console.print(words.printable(line), markup=False, soft_wrap=True)
    if suspicion.findings:
        console.print(_findings_table(suspicion))
    for finding in suspicion.findings:
        line = f"{finding.signal}: {finding.signal.meaning}"
        console.print(words.printable(line), markup=False, soft_wrap=True)
    for line in habit_lines(suspicion):
        console.print(words.printable(line), markup=False, soft_wrap=True)


def record_lines(sheet: Sheet) -> Iterator[str]:
    """What is known of an identity's requests."""
    record = sheet.record
    if record is None:
        return
    attributes = (f"{name} {output.short(value)}" for name, value in record.identity.attributes.items())
    yield f"tier {sheet.tier}; {_vouched(record.identity)}; {', '.join(attributes)}"
    yield f"seen {words.moment(record.first_seen)} to {words.moment(record.last_seen)}"
    tried = f"{record.shadowed} would be refused (shadow), " if record.shadowed else ""
    cost = f", {words.dollars(record.cost)}" if record.cost else ""
    yield (
        f"{record.admitted} admitted, {record.refused} refused, {tried}"
        f"{record.input_tokens} input and {record.output_tokens} output tokens{cost}"
    )


def _vouched(identity: Identity) -> str:
    return "unverified" if identity.vouched_by is None else f"verified by {identity.vouched_by}"


def member_lines(sheet: Sheet) -> Iterator[str]:
    """What the identities of an organisation, a user or a network have used together."""
    totals = sheet.totals
    if totals is None:
        return
    tried = f"{totals.shadowed} would be refused (shadow), " if totals.shadowed else ""
    cost = f", {words.dollars(totals.cost)}" if totals.cost else ""
    yield f"seen {words.moment(totals.first_seen)} to {words.moment(totals.last_seen)}"
    yield (
        f"{words.counted(totals.identities, 'identity', 'identities')}: "
        f"{totals.admitted} admitted, {totals.refused} refused, {tried}"
        f"{totals.input_tokens} input and {totals.output_tokens} output tokens{cost}"
    )


def _members_table(sheet: Sheet) -> Trimmed:
    rows = [
        (
            output.short(record.label),
            *output.usage_cells(record),
            f"{words.span(max(0.0, time.time() - record.last_seen))} ago",
        )
        for record in sheet.members[: output.MOST_MEMBERS]
    ]
    title = f"The {len(rows)} with most tokens" if len(rows) < len(sheet.members) else ""
    columns = ("identity", *output.USAGE_COLUMNS, "last seen")
    return output.table(title, columns, rows, right=7, optional=("would refuse", "cost", "out"))


def terrain_line(terrain: Terrain) -> str:
    """Why a diversity budget stands as it does, in a sentence or two."""
    whose = f"{terrain.limit.name}: the answers of {terrain.holder}"
    if not terrain.covered and terrain.recent == NOTHING_RECENT:
        return f"{whose} have visited nothing yet; the next is taken for all new"
    if terrain.covered is None:
        ground = "are new or not to each caller by itself"
    else:
        ground = f"have visited {terrain.covered:.1%} of its coverage"
    if terrain.requests is not None and terrain.requests < RECENT_ANSWERS:
        return (
            f"{whose} {ground}; what one pays is not known yet, of "
            f"{words.counted(terrain.requests, 'request')}: that takes {RECENT_ANSWERS}."
        )
    count = terrain.answers_left
    lasts = "is not used up so" if count is None else f"lasts for {words.counted(count, 'answer')} like that"
    return (
        f"{whose} {ground}; one pays {terrain.recent.paid / UNIT:.2g} units lately, "
        f"of {terrain.recent.drew / UNIT:.2g} that it would if all were new. What is left {lasts}."
    )


def risk_lines(suspicion: Suspicion) -> Iterator[str]:
    """How suspect a holder is, and what it is declared to be for."""
    groups = ", ".join(f"{group} {said:.1f}" for group, said in suspicion.risk.groups.items())
    yield (
        f"risk of {suspicion.holder}: {suspicion.risk.decibans:.1f} dB, {suspicion.risk.band}"
        f"{f' ({groups})' if groups else ''}"
    )
    for declared in suspicion.uses:
        until = "" if declared.until_us is None else f" until {words.moment(declared.until_us / 1e6)}"
        each = "; each end user is held to account alone" if declared.use.per_end_user else ""
        yield f"declared: {declared.use}{until}{each}"


def _findings_table(suspicion: Suspicion) -> Trimmed:
    now = time.time()
    rows = [
        (
            finding.signal,
            finding.group,
            "excused" if finding.excused else "",
            words.span(max(0.0, now - finding.since)),
            words.span(max(0.0, now - finding.at)),
            f"{finding.decibans:.1f}",
            f"{finding.left:.1f}",
        )
        for finding in suspicion.findings
    ]
    columns = ("signal", "group", "", "active for", "last seen", "peak dB", "dB")
    return output.table("", columns, rows, right=4)


def habit_lines(suspicion: Suspicion) -> Iterator[str]:
    """How a holder asks."""
    habits = suspicion.habits
    if habits is None:
        return
    yield (
        f"{words.counted(habits.queries, 'query', 'queries')} in {habits.days:.1f} days, "
        f"{habits.on_first_day} on the first; "
        f"busy in {habits.busy_hours} of the 168 hours of a week"
    )
    yield (
        f"of the latest, {habits.continued:.0%} continue a conversation, {habits.unrelated:.0%} are "
        f"unrelated, {habits.templated:.0%} share a template, {habits.repeated:.0%} repeat an earlier one"
    )
    yield (
        f"mean per query: {habits.new_words:.1f} new words, {habits.varying_pieces:.0f} varying pieces of "
        f"text, {habits.answer_tokens:.0f} answer tokens"
    )
    yield (
        f"an answer draws {habits.draws:.2g} units and pays {habits.pays:.2g}; held against honest holders "
        f"of the stratum {habits.stratum}"
    )
    speaking = {finding.signal for finding in suspicion.findings}
    for signal, told in habits.told.items():
        if signal is Signal.ENUMERATION or signal in speaking:
            yield (
                f"for {signal}: {'; '.join(told.for_it) or 'nothing'}. "
                f"Against: {'; '.join(told.against_it) or 'nothing'}"
            )
        if signal in speaking:
            yield f"one honest holder in {told.one_in:.0f} ever shows as much {signal} as it does now"
