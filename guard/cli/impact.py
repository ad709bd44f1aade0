"""What a change would have done to the last hours, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guard import words
from guard.cli import output

if TYPE_CHECKING:
    from guard.admin import Impact, Loss


def print_impact(impact: Impact) -> None:
    """Print what a change would have done, with whom it would have hit most."""
    from guard.admin.impact_words import impact_lines

    console = output.console()
    for line in impact_lines(impact):
        console.print(words.printable(line), markup=False, soft_wrap=True)
    limits = [(name, *_cells(loss)) for name, loss in impact.by_limit.items()]
    if len(limits) > 1:
        console.print(output.table("", ("limit", *COLUMNS), limits, right=len(COLUMNS), optional=("cost",)))
    hits = [
        (output.short(hit.label), hit.limit or "", str(hit.use.requests), *_cells(hit.loss))
        for hit in impact.hits
    ]
    if hits:
        columns = ("whose", "limit", "forwarded", *COLUMNS)
        console.print(output.table("", columns, hits, right=1 + len(COLUMNS), optional=("limit", "cost")))
    for note in impact.notes:
        output.complain(note)


COLUMNS = ("would refuse", "tokens", "cost")


def _cells(loss: Loss) -> tuple[str, ...]:
    """What would have been refused, under `COLUMNS`."""
    from guard.admin.impact_words import money, ranged

    return (ranged(loss.requests), ranged(loss.tokens), ranged(loss.cost, money) if loss.cost.most else "")
