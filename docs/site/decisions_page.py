"""Writes docs/decisions/index.md: the list of decisions, by their titles."""

from __future__ import annotations

from pathlib import Path

PAGE = Path(__file__).parents[1] / "decisions" / "index.md"

HEAD = """# Decisions

Choices that the next reader will question: what was asked, what was chosen, what it costs, and what would
change our mind.

| number | decision |
|---|---|
"""


def page() -> str:
    """The whole page, in Markdown."""
    rows = (
        f"| {file.name[:4]} | [{_title(file)}]({file.name}) |\n" for file in sorted(PAGE.parent.glob("0*.md"))
    )
    return HEAD + "".join(rows)


def _title(file: Path) -> str:
    return file.read_text("utf-8").partition("\n")[0].removeprefix("# ")


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
