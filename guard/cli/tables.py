"""Tables that fit the terminal.

Where one is too wide, texts are wrapped between words. Where that is not enough, the columns that it can do
without are left out, and named below it. What is still too wide is folded, never cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.segment import Segment
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console, ConsoleOptions, RenderResult

GAP = 2
"""Blanks between two columns."""


@dataclass(frozen=True, slots=True)
class Trimmed:
    """A table without blanks at the ends of its lines."""

    table: Table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Its lines."""
        for line in console.render_lines(self.table, options, pad=False):
            while line and not line[-1].text.rstrip():
                line.pop()
            if line:
                last = line.pop()
                yield from line
                yield Segment(last.text.rstrip(), last.style)
            yield Segment.line()


def fitted(
    title: str,
    columns: Sequence[str],
    cells: Sequence[Sequence[str]],
    *,
    right: int,
    optional: Sequence[str],
    width: int,
) -> Trimmed:
    """A table at most so wide, whose last `right` columns are numbers.

    Columns that are `optional` are left out where they are empty, and, the first one first, where there is no
    room for them.
    """
    texts = [[name, *(row[place] for row in cells)] for place, name in enumerate(columns)]
    longest = [max(map(len, each)) for each in texts]
    words = [
        longest[place]
        if place >= len(columns) - right
        else max(len(word) for text in each for word in (text.split() or [""]))
        for place, each in enumerate(texts)
    ]
    filled = [
        place
        for place, name in enumerate(columns)
        if name not in optional or any(row[place] not in ("", "0") for row in cells)
    ]
    kept = filled
    for name in optional:
        if _total(words, kept) <= width:
            break
        kept = [place for place in kept if columns[place] != name]
    made = Table(title=Text(title), title_justify="left", box=None, pad_edge=False, header_style="bold")
    hidden = [columns[place] for place in filled if place not in kept]
    if hidden:
        made.caption = Text(f"hidden: {', '.join(hidden)} (widen the terminal, or --json)")
        made.caption_justify = "left"
    widths = _wrapped(longest, words, kept, width)
    for place in kept:
        number = place >= len(columns) - right
        made.add_column(
            columns[place],
            justify="right" if number else "left",
            overflow="fold",
            no_wrap=number,
            width=widths.get(place),
        )
    for row in cells:
        made.add_row(*(Text(row[place]) for place in kept))
    return Trimmed(made)


def _total(widths: Sequence[int], places: Sequence[int]) -> int:
    return sum(widths[place] + GAP for place in places) - GAP


def _wrapped(longest: Sequence[int], words: Sequence[int], kept: Sequence[int], width: int) -> dict[int, int]:
    """How wide columns are that are wrapped between words, the last one first."""
    if _total(words, kept) > width:
        return {}
    excess, widths = max(0, _total(longest, kept) - width), {}
    for place in reversed(kept):
        spared = min(excess, longest[place] - words[place])
        widths[place] = longest[place] - spared
        excess -= spared
    return widths
