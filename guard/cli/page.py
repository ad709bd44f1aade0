"""A report as one page of HTML that needs nothing else: no script, no other host.

Names, reasons and wordings come from whom the report is about, so all text is escaped, in one place (`safe`),
and the page itself forbids scripts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from guard.words import safe

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from guard.cli.reports import Report, Section, Table

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"

STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --dim: #5b6675; --paper: #fff; --rule: #d9dee5;
  --box: #f3f5f8; --accent: #2457b3; --strong: #b3402a; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ee; --dim: #9aa5b4; --paper: #14181e;
  --rule: #323a45; --box: #1d232b; --accent: #7aa7f7; --strong: #f08a70; } }
body { margin: 0 auto; max-width: 48rem; padding: 1.5rem 1rem 3rem; background: var(--paper);
  color: var(--ink); font: 15px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; margin: 0 0 .5rem; }
h2 { font-size: 1.05rem; margin: 1.8rem 0 .4rem; border-bottom: 1px solid var(--rule); }
p { margin: .15rem 0; white-space: pre-wrap; }
figure { margin: 1.4rem 0; }
figcaption, footer, caption { color: var(--dim); font-size: .85rem; text-align: left; }
footer { margin-top: 2.5rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .88rem; }
th, td { text-align: left; vertical-align: top; padding: .25rem .8rem .25rem 0; }
th { color: var(--dim); font-weight: 600; border-bottom: 1px solid var(--rule); }
td { overflow-wrap: break-word; }
.long { overflow-wrap: anywhere; min-width: 12rem; }
.word { white-space: nowrap; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; padding-right: 0;
  padding-left: .8rem; }
svg { width: 100%; min-width: 32rem; height: auto; display: block; }
svg text { font: 12px system-ui, sans-serif; fill: var(--dim); }
svg text.name, svg text.end.name { fill: var(--ink); }
svg text.end { text-anchor: end; }
svg text.middle { text-anchor: middle; fill: var(--paper); font-weight: 600; }
svg .box { fill: var(--box); stroke: var(--rule); }
svg .link { fill: none; stroke: var(--accent); stroke-opacity: .4; }
svg .hub { fill: var(--accent); }
svg .dot, svg .bar { fill: var(--strong); }
svg .area { fill: var(--accent); fill-opacity: .25; stroke: var(--accent); }
svg .axis, svg .rule { stroke: var(--rule); fill: none; }
svg .rule { stroke-dasharray: 2 3; }
svg .event { fill: var(--strong); }
@media print { body { max-width: none; } .wide { overflow: visible; } }
"""


LONGEST_WORD = 20


def page(report: Report, pictures: Iterable[tuple[str, str]], made: str) -> str:
    """The page of a report, with pictures (a caption and SVG for each) before its sections, and by whom and
    when it was made at its end.
    """
    lines = "".join(map(_paragraph, report.lines))
    figures = "".join(
        f'<figure>\n<div class="wide">{svg}</div>\n<figcaption>{safe(caption)}</figcaption>\n</figure>\n'
        for caption, svg in pictures
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="robots" content="noindex">\n'
        f"<title>{safe(report.title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{safe(report.title)}</h1>\n{lines}{figures}"
        f"{''.join(map(_section, report.filled))}<footer>{safe(made)}</footer>\n</body>\n</html>\n"
    )


def _section(section: Section) -> str:
    title = f"<h2>{safe(section.title)}</h2>\n" if section.title else ""
    table = "".join(_table(section.table)) if section.table is not None and section.table.rows else ""
    above, below = ("".join(map(_paragraph, lines)) for lines in (section.lines, section.below))
    return f"<section>\n{title}{above}{table}{below}</section>\n"


def _table(table: Table) -> Iterator[str]:
    """Without the columns that say nothing."""
    kept = [
        place
        for place, name in enumerate(table.columns)
        if name not in table.optional or any(row[place] != "" for row in table.rows)
    ]
    first_number = len(table.columns) - table.right
    yield '<div class="wide"><table>\n'
    if table.title:
        yield f"<caption>{safe(table.title)}</caption>\n"
    yield _row("th", table.columns, kept, first_number)
    for row in table.rows:
        yield _row("td", row, kept, first_number)
    yield "</table></div>\n"


def _row(tag: str, cells: Sequence[object], kept: Iterable[int], first_number: int) -> str:
    told = (_cell(tag, safe(cells[place]), number=place >= first_number) for place in kept)
    return f"<tr>{''.join(told)}</tr>\n"


def _cell(tag: str, text: str, *, number: bool) -> str:
    """A name of a signal or a date stays on one line, and a name that somebody has chosen for its length does
    not widen the page.
    """
    kind = "number" if number else "word" if len(text) <= LONGEST_WORD and " " not in text else ""
    if max(map(len, text.split()), default=0) > LONGEST_WORD:
        kind = "long"
    return f'<{tag} class="{kind}">{text}</{tag}>' if kind else f"<{tag}>{text}</{tag}>"


def _paragraph(line: str) -> str:
    return f"<p>{safe(line)}</p>\n"
