"""Figures for a page: shares with their bounds, and tables in Markdown and as values."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, lgamma, log
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True, slots=True)
class Share:
    """So many of so many, with the 95 % bounds of Clopper and Pearson (1934)."""

    some: int
    all: int

    @property
    def bounds(self) -> tuple[float, float]:
        """The smallest and the largest share that is not refuted."""
        low = _solve(lambda p: 1 - _at_most(self.some - 1, self.all, p) - 0.025) if self.some else 0.0
        high = _solve(lambda p: 0.025 - _at_most(self.some, self.all, p)) if self.some < self.all else 1.0
        return low, high

    def __str__(self) -> str:
        if not self.all:
            return "-"
        low, high = self.bounds
        return f"{_percent(self.some / self.all)} ({_percent(low)} to {_percent(high)})"


@dataclass(frozen=True, slots=True)
class Table:
    """One table: what it shows, its columns, and a row for each variety."""

    title: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]

    def markdown(self) -> str:
        """The table under its title."""
        lines = [self.columns, ("---",) * len(self.columns), *self.rows]
        body = "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)
        return f"## {self.title}\n\n{self.note}\n\n{body}\n"

    def values(self) -> dict[str, Any]:
        """The same for a program."""
        rows = [dict(zip(self.columns, map(_value, row), strict=True)) for row in self.rows]
        return {"title": self.title, "note": self.note, "columns": list(self.columns), "rows": rows}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """The table that these are the values of."""
        columns = tuple(values["columns"])
        rows = tuple(tuple(_read(row[column]) for column in columns) for row in values["rows"])
        return cls(values["title"], values["note"], columns, rows)


def _cell(value: object) -> str:
    match value:
        case None:
            return "-"
        case float():
            return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
        case int():
            return f"{value:,}"
    return str(value)


def _percent(share: float) -> str:
    """With a decimal where it is small."""
    return f"{share:.1%}" if 0 < share < 0.095 else f"{share:.0%}"


def _value(value: object) -> object:
    if isinstance(value, Share):
        low, high = value.bounds
        return {"some": value.some, "all": value.all, "low": round(low, 4), "high": round(high, 4)}
    return value


def _read(value: Any) -> object:
    return Share(value["some"], value["all"]) if isinstance(value, dict) else value


def _at_most(some: int, all_: int, p: float) -> float:
    """The chance of at most so many hits."""
    return sum(
        exp(
            lgamma(all_ + 1)
            - lgamma(hits + 1)
            - lgamma(all_ - hits + 1)
            + hits * log(p)
            + (all_ - hits) * log(1 - p)
        )
        for hits in range(some + 1)
    )


def _solve(rising: Callable[[float], float]) -> float:
    """Where a rising function of (0, 1) is 0."""
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < 0 else (low, middle)
    return (low + high) / 2
