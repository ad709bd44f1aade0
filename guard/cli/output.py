"""How the CLI speaks: data on stdout, everything else on stderr, JSON where it is asked for."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from guard.core.limits import shown
from guard.words import dollars, printable, rate, span, wait

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console

    from guard.admin import Nearest, Record, Totals, Unseen
    from guard.cli.tables import Trimmed
    from guard.core.limits import Reading

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


def print_json_line(value: Any) -> None:
    """One JSON value to stdout, in one line, at once."""
    print(json.dumps(value, separators=(",", ":")), flush=True)


def note_unseen(unseen: Unseen | None) -> None:
    """A remark where an order is for a name that no identity has."""
    if unseen is not None:
        complain(f"no identity of that name has been seen{unseen.hint}")


def note_members(members: Sequence[Record]) -> None:
    """A remark after an order for one holder alone, where other identities belong to it."""
    if members:
        names = ", ".join(each.label for each in members[:MOST_MEMBERS])
        more = f" and {len(members) - MOST_MEMBERS} more" if len(members) > MOST_MEMBERS else ""
        complain(f"what its members have of their own stands, name them to change it: {names}{more}")


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


def nearest(found: Nearest | None) -> str:
    """How much of the tightest limit is used: `87% tokens`."""
    return "" if found is None else f"{found.used:.0%} {found.limit}"


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
        wait(reading.wait_us),
        span(reading.reset_us / 1e6),
    )
