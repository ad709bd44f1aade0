"""How the CLI speaks: data on stdout, everything else on stderr, JSON where it is asked for."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from guard.core.holds import Held
from guard.core.limits import Holders, Window, shown
from guard.core.modes import ENFORCED, Mode

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rich.console import Console

    from guard.admin import Block, Nearest, Record, Term, Totals, Unseen
    from guard.cli.tables import Trimmed
    from guard.core.holds import Review
    from guard.core.limits import Limit, Reading
    from guard.core.modes import Rollout

PIPE_WIDTH = 100_000
"""Into a pipe or a file, no line is cut."""

LONGEST_LABEL = 24

MOST_MEMBERS = 20
"""Maximum number of identities of one holder that are listed; `--json` has all."""


def console() -> Console:
    """Where tables go."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)


def complain(message: str) -> None:
    """An error or a remark, to stderr."""
    print("guard:", printable(message, keep="\n"), file=sys.stderr)


def print_json(value: Any) -> None:
    """One JSON value to stdout."""
    print(json.dumps(value, indent=2))


def printable(text: str, *, keep: str = "") -> str:
    """A foreign text without the characters by which it could take over a terminal."""
    return "".join(
        letter if letter.isprintable() or letter in keep else "\N{REPLACEMENT CHARACTER}" for letter in text
    )


def note_unseen(unseen: Unseen | None) -> None:
    """A remark where an order is for a name that no identity has."""
    if unseen is not None:
        complain(f"no identity of that name has been seen{unseen.hint}")


def note_members(members: Sequence[Record]) -> None:
    """A remark after an order for one holder alone, where other identities belong to it."""
    if members:
        names = ", ".join(record_label(each) for each in members[:MOST_MEMBERS])
        more = f" and {len(members) - MOST_MEMBERS} more" if len(members) > MOST_MEMBERS else ""
        complain(f"what its members have of their own stands, name them to change it: {names}{more}")


def counted(number: int, noun: str, nouns: str | None = None) -> str:
    """A number with its noun: `1 limit`, `2 limits`."""
    return f"{number} {noun if number == 1 else nouns or f'{noun}s'}"


def short(label: str) -> str:
    """A name as tables show it; the start is enough to name it in a command. Into a pipe it is whole."""
    label = printable(label)
    if len(label) <= LONGEST_LABEL or not sys.stdout.isatty():
        return label
    return label[: LONGEST_LABEL - 1] + "…"


def table(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    right: int = 0,
    optional: Sequence[str] = (),
) -> Trimmed:
    """A table that fits the terminal, whose last `right` columns are numbers; cells are shown as they are,
    without markup. A narrow terminal does without the columns that are `optional`, the first one first.
    """
    from guard.cli.tables import fitted  # and with it rich: only where there is a table

    cells = [[printable(str(cell)) for cell in row] for row in rows]
    return fitted(title, columns, cells, right=right, optional=optional, width=console().width)


USAGE_COLUMNS = ("admitted", "refused", "would refuse", "tokens in", "out", "cost")


def usage_cells(used: Record | Totals) -> tuple[str, ...]:
    """What was used, under `USAGE_COLUMNS`."""
    numbers = (used.admitted, used.refused, used.shadowed, used.input_tokens, used.output_tokens)
    return (*map(str, numbers), dollars(used.cost) if used.cost else "")


def dollars(microdollars: int) -> str:
    """An amount of money: `$0.0021`, `$14.20`."""
    amount = microdollars / 1e6
    return f"${amount:,.2f}" if amount >= 1 else f"${amount:.2g}" if amount >= 0.0001 else f"${amount:.6f}"


def nearest(found: Nearest | None) -> str:
    """How much of the tightest limit is used: `87% tokens`."""
    return "" if found is None else f"{found.used:.0%} {found.limit}"


def record_label(record: Record) -> str:
    """The name of an identity whose record this is; addresses stand in it as their keyed hash."""
    return str(record.identity.principal)


def until(block: Block) -> str:
    """How long a block holds: `for 2h`, `for good`."""
    return "for good" if block.remaining_us is None else f"for {span(block.remaining_us / 1e6)}"


def until_us(moment_us: int | None) -> str:
    """Until when, in Unix microseconds: `until 2030-06-30T00:00:00Z`, `for good`."""
    return "for good" if moment_us is None else f"until {moment(moment_us / 1e6)}"


def review(found: Review) -> str:
    """How a holder's review stands, in words."""
    groups, end = ", ".join(found.groups), until_us(found.until_us)
    if isinstance(found, Held):
        why = f"{found.band}: {groups}; receipt {found.receipt}"
        return f"HELD for review since {moment(found.since_us / 1e6)}, {end} at the longest ({why})"
    return f"cleared of {groups} {end}: {found.reason or 'no reason given'}"


def moment(seconds: float) -> str:
    """Unix seconds as ISO 8601."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def span(seconds: float | None) -> str:
    """About how long: `4.2s`, `3m`, `2h`, `5d`; a dash for no time, `for good` for ever."""
    if seconds is None:
        return "for good"
    for size, letter in _SIZES:
        if seconds >= size * 2:
            return f"{seconds / size:.0f}{letter}"
    return f"{seconds:.1f}s" if seconds else "-"


def period(seconds: int) -> str:
    """Exactly how long: `1s`, `1m`, `90s`, `1d`."""
    return next(
        (f"{seconds // size}{letter}" for size, letter in _SIZES if seconds % size == 0), f"{seconds}s"
    )


def length(window: Window) -> str:
    """How long a window is: a period, a calendar's, or none for leases."""
    return window.span or (period(window.period_seconds) if window.period_seconds else "at once")


_SIZES = ((86_400, "d"), (3_600, "h"), (60, "m"))


READING_COLUMNS = ("limit", "unit", "holder", "rate", "ramp", "remaining", "wait", "resets in")
READING_NUMBERS = 5
READING_OPTIONAL = ("ramp", "unit")


def readings_table(readings: Iterable[Reading]) -> Trimmed:
    """How limits stand, a row for each window."""
    rows = map(reading_cells, readings)
    return table("", READING_COLUMNS, rows, right=READING_NUMBERS, optional=READING_OPTIONAL)


def reading_cells(reading: Reading) -> tuple[str, ...]:
    """How a window of a limit stands, under `READING_COLUMNS`."""
    return (
        reading.limit.name,
        reading.limit.unit,
        short(str(reading.holder)),
        rate(reading.limit.unit, reading.window),
        f"{reading.left:.0%}" if reading.left < 1 else "",
        str(shown(reading.limit.unit, reading.remaining)),
        _wait(reading.wait_us),
        span(reading.reset_us / 1e6),
    )


def _wait(wait_us: int | None) -> str:
    """When one more fits, as a 429 says it."""
    return "never" if wait_us is None else span(wait_us / 1e6)


def numbers(limit: Limit, counts: Mapping[int, tuple[int, int]]) -> str:
    """The numbers of an override in a limit: `100/1m, 5000/1d burst 9000`."""
    spans = {window.period_seconds: window.span for window in limit.windows}
    windows = (Window(count, size, burst, spans.get(size)) for size, (count, burst) in counts.items())
    return ", ".join(rate(limit.unit, window) for window in windows)


def rate(unit: str, window: Window) -> str:
    """`600/1m`, `50/1s burst 200`, `4 at once`."""
    if not window.period_seconds:
        return f"{shown(unit, window.count)} at once"
    beyond = "" if window.burst == window.count else f" burst {shown(unit, window.burst)}"
    return f"{shown(unit, window.count)}/{length(window)}{beyond}"


def rollout(rollout: Rollout) -> str:
    """How far something bites: `shadow`, or `enforced for 5 %`."""
    if rollout.mode is Mode.ENFORCE:
        return f"enforced for {rollout.enforce_percent:g} %"
    return str(rollout.mode)


def conditions(limit: Limit) -> str:
    """Which requests a limit is for, where not for all, and how far it bites."""
    match = limit.match
    parts = [" ".join(globs) for globs in (match.models, match.routes, match.methods) if globs]
    if match.free:
        parts.append("free requests")
    if limit.holders is not Holders.ALL:
        parts.append(f"{limit.holders} callers")
    if limit.rollout != ENFORCED:
        parts.append(rollout(limit.rollout))
    if limit.zone is not None:
        parts.append(str(limit.zone))
    return ", ".join(parts)


def terms(term: Term, limit: Limit | None) -> str:
    """An override in words; of a `limit` or of all."""
    seconds = None if term.remaining_us is None else term.remaining_us / 1e6
    what = "no limit" if term.counts is None or limit is None else numbers(limit, term.counts)
    where = "" if term.limit == "*" else f" in {term.limit}"
    return f"{what}{where}, for {span(seconds)}" if seconds is not None else f"{what}{where}, for good"
