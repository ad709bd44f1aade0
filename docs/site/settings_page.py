"""Writes docs/reference/settings.md: the file that `guard init` writes, section by section."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

PAGE = Path(__file__).parents[1] / "reference" / "settings.md"

HEAD = """# Settings

All settings stand in one file, which `guard init` writes and [`guard check`](commands.md#guard-check)
validates. This page is that file, written by `make docs`.
"""

TABLE = re.compile(r"^\[+(\w+)", re.MULTILINE)
"""What begins a section: a table that is no comment, named by its first word."""


def page() -> str:
    """The whole page, in Markdown."""
    text = files("guard.cli").joinpath("starter.toml").read_text("utf-8")
    parts: dict[str, list[str]] = {"general": []}
    for paragraph in text.rstrip("\n").split("\n\n"):
        found = TABLE.search(paragraph)
        name = f"[{found[1]}]" if found else list(parts)[-1]
        parts.setdefault(name, []).append(paragraph)
    sections = (f"## {name}\n\n```toml\n{_joined(paragraphs)}\n```\n" for name, paragraphs in parts.items())
    return "\n".join([HEAD, *sections])


def _joined(paragraphs: list[str]) -> str:
    return "\n\n".join(paragraphs)


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
