"""What the URL of a page asks for; what cannot be read is an error that names the parameter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PAGE_SIZE = 50

MOST_PAGES = 2_000
"""The last page that can be asked for: 100,000 identities."""

LONGEST_TEXT = 2_048


@dataclass(frozen=True, slots=True)
class Query:
    """The parameters of a URL, those of its path too."""

    values: Mapping[str, str]

    def text(self, name: str, default: str | None = None) -> str:
        """A text; raises `ValueError` where it is missing and has no default, or is too long."""
        value = self.values.get(name, "").strip()
        if len(value) > LONGEST_TEXT:
            raise ValueError(f"{name} must have {LONGEST_TEXT:,} characters at most, got {len(value):,}")
        if value:
            return value
        if default is None:
            raise ValueError(f"{name} is missing")
        return default

    def choice(self, name: str, choices: Sequence[str]) -> str:
        """One of some words, the first one where nothing is asked for; raises `ValueError`."""
        value = self.text(name, choices[0])
        if value not in choices:
            raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value[:40]!r}")
        return value

    def page(self) -> int:
        """Which page of a list, from 1 on; raises `ValueError`."""
        value = self.text("page", "1")
        if not (value.isascii() and value.isdigit() and len(value) < 9 and 1 <= int(value) <= MOST_PAGES):
            raise ValueError(f"page must be a number from 1 to {MOST_PAGES:,}, got {value[:40]!r}")
        return int(value)
