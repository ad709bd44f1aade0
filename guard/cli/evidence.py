"""`guard evidence`: the case of a campaign or an identity, for whoever decides on it."""

from __future__ import annotations

import os
import time
from importlib.metadata import version
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from guard.cli import cases, output, show
from guard.cli.app import Config, Json, ask_store
from guard.cli.reports import Report, Section, Table, print_report
from guard.core.atlas import TECHNIQUES, techniques
from guard.core.campaigns import Verdict
from guard.core.holds import Held
from guard.core.identity import Holder
from guard.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from typing_extensions import TypeIs

    from guard.admin import Case, Operator, Sheet
    from guard.admin.suspicion import Suspicion

Help: TypeAlias = tuple[str, str]
"""An order, and what it does. Names in it are quoted, since whoever is called so may have chosen them for a
shell."""

SCHEMA = "guard/evidence/1"

Of = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="A campaign's id; or an identity, such as key:alice, or the receipt of a hold."
    ),
]


def evidence(
    name: Of,
    config: Config = None,
    *,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Write a page that needs nothing but a browser."),
    ] = None,
    members: Annotated[
        int, typer.Option("--members", min=0, help="How many members of a campaign to list.")
    ] = output.MOST_MEMBERS,
    json: Json = False,
) -> None:
    """Print the case of a campaign or an identity.

    What is known, since when, and which orders help. --html writes it as one page.
    """

    async def ask(operator: Operator) -> tuple[Case | Sheet, list[Suspicion]]:
        subject = await operator.subject(name)
        if not is_case(subject):
            return subject, [subject.suspicion] if subject.suspicion is not None else []
        holders = [Holder.parse(label) for label, _ in cases.surest(subject)[:members]]
        found = await operator.suspicions(holders)
        return subject, [suspicion for suspicion in found if suspicion is not None]

    subject, suspicions = ask_store(config, ask)
    now = time.time()
    if html is not None:
        _write(html, _page(subject, suspicions, members, now))
    if json:
        output.print_json(evidence_json(subject, suspicions, now))
    elif html is None:
        print_report(_report(subject, suspicions, members, now))


def is_case(subject: Case | Sheet) -> TypeIs[Case]:
    """Whether this is a campaign."""
    from guard.admin import Case  # which a verb's help does without

    return isinstance(subject, Case)


def _report(subject: Case | Sheet, suspicions: Sequence[Suspicion], members: int, now: float) -> Report:
    if not is_case(subject):
        return sheet_report(subject, now)
    report = cases.case_report(subject, members)
    sections = (*report.sections, _suspects(suspicions), _helps(_case_helps(subject)))
    return Report(report.title, report.lines, sections)


def sheet_report(sheet: Sheet, now: float) -> Report:
    """What is known of an identity, as far as it bears on whether it is a distiller."""
    lines = (*show.record_lines(sheet), *show.member_lines(sheet), *show.order_lines(sheet))
    suspicion = sheet.suspicion
    columns, right, optional = output.READING_COLUMNS, output.READING_NUMBERS, output.READING_OPTIONAL
    limits = Table(columns, list(map(output.reading_cells, sheet.readings)), right, optional)
    behaviour: tuple[Section, ...] = ()
    if suspicion is not None:
        behaviour = _signals(suspicion, now), Section("Habits", tuple(show.habit_lines(suspicion)))
    ground = tuple(map(show.terrain_line, sheet.terrains))
    sections = (*behaviour, Section("Limits", table=limits, below=ground), _helps(sheet_helps(sheet, now)))
    return Report(sheet.label, lines, sections)


def _signals(suspicion: Suspicion, now: float) -> Section:
    rows = [
        (
            finding.signal,
            f"{finding.signal.meaning}{' (excused)' if finding.excused else ''}",
            ", ".join(TECHNIQUES[finding.signal]),
            finding.group,
            output.moment(finding.since)[:10],
            output.span(max(0.0, now - finding.at)),
            f"{finding.decibans:.1f}",
            f"{finding.left:.1f}",
        )
        for finding in suspicion.findings
    ]
    columns = ("signal", "means", "ATLAS", "group", "since", "seen", "peak dB", "dB")
    found = techniques(finding.signal for finding in suspicion.findings)
    return Section(
        "Signals",
        tuple(show.risk_lines(suspicion)),
        Table(columns, rows, right=3, optional=("group", "seen", "peak dB")),
        tuple(f"{technique} {technique.called}" for technique in found),
    )


def _suspects(suspicions: Sequence[Suspicion]) -> Section:
    """What speaks against members by themselves."""
    rows = [
        (
            str(suspicion.holder),
            ", ".join(finding.signal for finding in suspicion.findings),
            suspicion.risk.band,
            f"{suspicion.risk.decibans:.1f}",
        )
        for suspicion in sorted(suspicions, key=lambda each: -each.risk.decibans)
    ]
    table = Table(("member", "signals", "risk", "dB"), rows, right=1, names=True)
    return Section("Members by themselves", table=table)


def _case_helps(case: Case) -> Iterator[Help]:
    """The orders that an operator may give next, and what each does."""
    name, holder = quote(case.campaign.id), quote(str(case.holder))
    if case.verdict is not Verdict.CONFIRMED:
        yield f"guard verdict {name} confirmed --reason …", "its members share one budget"
    if case.verdict.counts:
        yield f"guard verdict {name} unrelated --reason …", "nothing follows for its members any more"
        yield f"guard clear {name} LABEL --reason …", "takes one member out for good"
    if case.word is not None:
        yield f"guard verdict {name} --drop", "has what guard says hold again"
    if case.block is None:
        yield f"guard block {holder} --for 7d", "refuses all members"
    else:
        yield f"guard unblock {holder}", "serves its members again"


def sheet_helps(sheet: Sheet, now: float) -> Iterator[Help]:
    """The orders that serve an innocent again, and what each does."""
    name = quote(sheet.label)
    if isinstance(sheet.review, Held):
        yield f"guard release {name} --for 30d", "serves it again, and clears it"
    for blocked, _ in sheet.blocks:
        yield f"guard unblock {quote(str(blocked))}", "lifts the block"
    for campaign in sheet.campaigns:
        if sheet.label in campaign.members and campaign.verdict(int(now * 1e6)).counts:
            campaign_id = quote(campaign.id)
            yield f"guard clear {campaign_id} {name} --reason …", "takes it out of the campaign, for good"
            yield f"guard verdict {campaign_id} unrelated --reason …", "nothing follows from the campaign"
    if sheet.suspicion is not None and sheet.suspicion.findings:
        yield f"guard forgive {name}", "forgets what speaks against it"
        yield "[[uses]] in the settings", "excuses what a declared use shows, such as an evaluation"
    for limit in dict.fromkeys(reading.limit.name for reading in sheet.readings if not reading.remaining):
        yield f"guard limits set {name} {quote(limit)} --rate …", "gives it more of this limit"


def _helps(pairs: Iterable[Help]) -> Section:
    return Section("What helps", table=Table(("order", "what it does"), list(pairs)))


def _page(subject: Case | Sheet, suspicions: Sequence[Suspicion], members: int, now: float) -> str:
    from guard.admin import pictures
    from guard.cli.page import page

    if is_case(subject):
        title = f"{subject.campaign.id} is {subject.verdict}"
        drawn = [
            (
                "Left: what members have in common. Right: the members, by their pools; the fainter, the "
                "less sure. It is not kept which member has what.",
                pictures.ties_and_members(subject),
            ),
            ("Members, by since when they are ones. Triangles are events.", pictures.growth(subject)),
        ]
    else:
        title = subject.label
        drawn = [
            (
                "From when to when each signal was seen; the fainter, the less is left of it.",
                pictures.signals(each, now),
            )
            for each in suspicions
            if each.findings
        ]
    made = f"guard {version('asgi-guard')}, {output.moment(now)}: evidence on {title}. Confidential."
    return page(_report(subject, suspicions, members, now), drawn, made)


def evidence_json(subject: Case | Sheet, suspicions: Sequence[Suspicion], now: float) -> dict[str, Any]:
    """The case as data (docs/campaigns.md)."""
    head = {"schema": SCHEMA, "at": output.moment(now)}
    if is_case(subject):
        suspects = [show.suspicion_json(each) for each in suspicions]
        return {**head, "kind": "campaign", **cases.case_json(subject), "suspects": suspects}
    return {
        **head,
        "kind": "identity",
        **show.sheet_json(subject),
        "helps": [order for order, _ in sheet_helps(subject, now)],
    }


def _write(path: Path, text: str) -> None:
    """Nobody but who wrote it may read the file: it has names in it."""
    try:
        path.unlink(missing_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    output.complain(f"{path} is written; it names people, so mind who gets it")
