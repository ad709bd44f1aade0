"""A campaign in words, and as data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guard import words
from guard.cli import output
from guard.cli.reports import Report, Section, Table
from guard.core.atlas import TECHNIQUES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from guard.admin import Case
    from guard.core.campaigns import Campaign, Event, Finding

MOST_POOLS = 5
"""Maximum number of pools whose limits are shown; `--json` has all."""

MOST_MOMENTS = 12
"""Maximum number of events that are shown, the latest; `--json` has all."""


def said_by(campaign: Campaign, now_us: int) -> str:
    """Whose the verdict is that holds."""
    judged = campaign.judged
    return judged.by if judged is not None and judged.holds(now_us) else "guard"


def spread(case: Case) -> str:
    """Among how many pools the members are, in words."""
    if not case.pools:
        return "Nothing follows for its members" if case.campaign.members else "It has no members"
    members = sum(pool.members for pool in case.pools)
    elsewhere = len(case.held_by) - members
    rest = {0: "", 1: "; 1 is held as a member of another"}.get(
        elsewhere, f"; {elsewhere} are held as members of another"
    )
    pools = f"one pool, {case.pools[0].holder}" if len(case.pools) == 1 else f"{len(case.pools)} pools"
    return f"{words.counted(members, 'member shares', 'members share')} {pools}{rest}"


def case_report(case: Case, most_members: int) -> Report:
    """A campaign in words, with so many of its members."""
    campaign = case.campaign
    not_seen = f"Looked for and not seen: {'; '.join(campaign.not_seen)}." if campaign.not_seen else ""
    return Report(
        f"{campaign.id}: {case.verdict}",
        tuple(_head(case)),
        (
            _findings("For", campaign.speaks_for),
            _findings("Against", campaign.speaks_against, (not_seen,) if not_seen else ()),
            Section("Ties", table=_ties(case), below=_techniques(case)),
            _limits(case),
            _members(case, most_members),
            Section("Timeline", tuple(map(moment_line, campaign.events[-MOST_MOMENTS:]))),
        ),
    )


def moment_line(event: Event) -> str:
    """One event of a timeline."""
    return f"{words.moment(event.at_us / 1e6)}  {event.text}"


def _head(case: Case) -> Iterator[str]:
    campaign, word = case.campaign, case.word
    yield f"{case.verdict.meaning}."
    if word is not None:
        yield (
            f"So says {word.by} since {words.moment(word.at_us / 1e6)}, "
            f"{words.until_us(word.until_us)}: {word.reason} (guard says {campaign.found})"
        )
    yield (
        f"{words.counted(len(campaign.members), 'member')}, "
        f"{words.counted(campaign.queries, 'query', 'queries')}, {campaign.paid:.1f} units drawn; "
        f"{words.moment(campaign.since_us / 1e6)} to {words.moment(campaign.seen_us / 1e6)}"
    )
    yield (
        f"As one holder it looks {campaign.decibans:.1f} dB like one that goes through a data set; "
        f"its ties have a strength of {campaign.strength:.2f} of 1."
    )
    if case.block is not None:
        yield (
            f"BLOCKED {words.until(case.block)} as {case.holder}: {case.block.reason or 'no reason given'}"
        )


def _findings(title: str, findings: Sequence[Finding], below: Sequence[str] = ()) -> Section:
    """Evidence in one direction, the heaviest first."""
    heaviest = sorted(findings, key=lambda finding: -abs(finding.decibans))
    rows = [(each.text, f"{each.decibans:.1f}" if each.decibans else "") for each in heaviest]
    return Section(title, () if rows else ("nothing",), Table(("what is known", "dB"), rows, right=1), below)


def _ties(case: Case) -> Table:
    rows = [
        (
            tie.kind,
            tie.kind.meaning,
            ", ".join(TECHNIQUES[tie.kind]),
            tie.members,
            f"{tie.decibans:.1f}",
        )
        for tie in sorted(case.campaign.ties, key=lambda tie: -tie.decibans)
    ]
    return Table(("tie", "", "ATLAS", "members", "dB"), rows, right=2)


def _techniques(case: Case) -> tuple[str, ...]:
    return tuple(f"{technique} {technique.called}" for technique in case.techniques)


def _limits(case: Case) -> Section:
    below = []
    shown = case.pools[:MOST_POOLS]
    rows = [output.reading_cells(reading) for pool in shown for reading in pool.readings]
    if case.pools and not rows:
        below.append("No limit of the settings is kept per campaign.")
    if rows and len(case.pools) > len(shown):
        below.append(f"These are the {len(shown)} pools with least left; --json has all.")
    columns, right, optional = output.READING_COLUMNS, output.READING_NUMBERS, output.READING_OPTIONAL
    table = Table(columns, rows, right, optional)
    return Section("Limits", (f"{spread(case)}.",), table, tuple(below))


def _members(case: Case, most: int) -> Section:
    known = case.surest
    rows = [
        (
            label,
            case.held_by.get(label, ""),
            words.moment(member.since_us / 1e6)[:10],
            f"{member.confidence:.2f}",
        )
        for label, member in known[:most]
    ]
    title = f"The {len(rows)} surest of {len(known)}" if len(rows) < len(known) else ""
    columns = ("member", "pool", "since", "confidence")
    table = Table(columns, rows, right=1, optional=("pool",), title=title, names=True)
    cleared = ", ".join(map(output.short, sorted(case.campaign.cleared)))
    return Section("Members", (), table, (f"Taken out for good: {cleared}",) if cleared else ())
