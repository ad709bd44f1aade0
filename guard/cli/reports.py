"""A report: paragraphs and tables under headings, which a terminal shows, or a page (guard/cli/page.py)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from guard import words
from guard.cli import output

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under columns, of which the last `right` are numbers. A narrow terminal does without those that
    are `optional`, the first one first, and shortens the first one where that `names` somebody.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    right: int = 0
    optional: Sequence[str] = ()
    title: str = ""
    names: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """Lines, then a table, then lines below it; a heading where it has one."""

    title: str = ""
    lines: Sequence[str] = ()
    table: Table | None = None
    below: Sequence[str] = ()

    def __bool__(self) -> bool:
        return bool(self.lines or self.below or (self.table and self.table.rows))


@dataclass(frozen=True, slots=True)
class Report:
    """What is known of somebody: in a few lines, then section by section. One that is empty is left out."""

    title: str
    lines: Sequence[str]
    sections: Sequence[Section]

    @property
    def filled(self) -> list[Section]:
        """The sections that say something."""
        return [section for section in self.sections if section]


def print_report(report: Report) -> None:
    """Show a report on the terminal."""
    console = output.console()

    def say(line: str, style: str = "") -> None:
        console.print(words.printable(line), markup=False, soft_wrap=True, style=style)

    say(report.title, "bold")
    for line in report.lines:
        say(line)
    for section in report.filled:
        console.print()
        if section.title:
            say(section.title, "bold")
        for line in section.lines:
            say(line)
        table = section.table
        if table is not None and table.rows:
            rows = [_shortened(row) if table.names else row for row in table.rows]
            shown = output.table(table.title, table.columns, rows, right=table.right, optional=table.optional)
            console.print(shown)
        for line in section.below:
            say(line)


def _shortened(row: Sequence[object]) -> tuple[object, ...]:
    first, *others = row
    return output.short(str(first)), *others
