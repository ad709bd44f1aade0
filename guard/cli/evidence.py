"""`guard evidence`: the case of a campaign or an identity, for whoever decides on it."""

from __future__ import annotations

import os
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from guard import words
from guard.cli import cases, output, show
from guard.cli.app import Config, Json, ask_store
from guard.cli.reports import Report, Section, Table, print_report
from guard.core.atlas import TECHNIQUES, techniques
from guard.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from typing_extensions import TypeIs

    from guard.admin import Case, Operator, Sheet
    from guard.admin.helps import Help
    from guard.admin.suspicion import Suspicion

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
        return await evidence_of(operator, name, members)

    from guard.admin.evidence import evidence_of

    subject, suspicions = ask_store(config, ask)
    now = time.time()
    if html is not None:
        _write(html, _page(subject, suspicions, members, now))
    if json:
        from guard.admin.json.evidence import evidence_json

        output.print_json(evidence_json(subject, suspicions, now))
    elif html is None:
        print_report(_report(subject, suspicions, members, now))


def is_case(subject: Case | Sheet) -> TypeIs[Case]:
    """Whether this is a campaign."""
    from guard.admin import Case  # which a verb's help does without

    return isinstance(subject, Case)


def _report(subject: Case | Sheet, suspicions: Sequence[Suspicion], members: int, now: float) -> Report:
    from guard.admin.helps import case_helps

    if not is_case(subject):
        return sheet_report(subject, now)
    report = cases.case_report(subject, members)
    sections = (*report.sections, _suspects(suspicions), _helps(case_helps(subject)))
    return Report(report.title, report.lines, sections)


def sheet_report(sheet: Sheet, now: float) -> Report:
    """What is known of an identity, as far as it bears on whether it is a distiller."""
    from guard.admin.helps import sheet_helps

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
            words.moment(finding.since)[:10],
            words.span(max(0.0, now - finding.at)),
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
    made = f"guard {version('asgi-guard')}, {words.moment(now)}: evidence on {title}. Confidential."
    return page(_report(subject, suspicions, members, now), drawn, made)


def _write(path: Path, text: str) -> None:
    """Nobody but who wrote it may read the file: it has names in it."""
    try:
        path.unlink(missing_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    output.complain(f"{path} is written; it names people, so mind who gets it")
