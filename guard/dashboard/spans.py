"""The times that pages look back over, and traffic as a chart of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from guard.dashboard import charts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from markupsafe import Markup

    from guard.admin.json.rollups import StepJson

HOUR = 3_600


@dataclass(frozen=True, slots=True)
class Span:
    """A time that a page looks back over: what it is called, how long it is, and its steps, in seconds."""

    label: str
    seconds: int
    step: int


SPANS = {
    "1h": Span("1 hour", HOUR, 60),
    "6h": Span("6 hours", 6 * HOUR, 300),
    "24h": Span("24 hours", 24 * HOUR, 900),
    "7d": Span("7 days", 7 * 24 * HOUR, 3 * HOUR),
    "30d": Span("30 days", 30 * 24 * HOUR, 6 * HOUR),
}

PRESET = "24h"
"""The span where nobody asks for one."""

COURSE_HOURS = 168

HIGHEST_DECIBANS = 30.0
"""The top of a small chart of a risk, so that two of them can be compared."""

A_DAY = 24 / COURSE_HOURS
"""A day, as a part of such a chart."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart: what it is called, its class in the style, and the field that it shows."""

    label: str
    kind: str
    name: str


OUTCOMES = (
    Line("Admitted", "admitted", "admitted"),
    Line("Would be refused", "shadowed", "would_refuse"),
    Line("Refused", "refused", "refused"),
)


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart that the server has drawn, and its data for a script that draws it again."""

    svg: Markup
    data: Mapping[str, Any]
    lines: Sequence[Line]


def requests_chart(steps: Sequence[StepJson], step_seconds: int, lines: Sequence[Line] = OUTCOMES) -> Chart:
    """Requests a minute by what became of them, over each other."""
    times = [datetime.fromisoformat(step["at"]).timestamp() for step in steps]
    values = [
        [round(step[line.name] * 60 / step_seconds, 2) for step in steps]  # type: ignore[literal-required]
        for line in lines
    ]
    layers = [(line.kind, row) for line, row in zip(lines, values, strict=True)]
    what = f"requests a minute: {', '.join(line.label.lower() for line in lines)}"
    series = [
        {"label": line.label, "kind": line.kind, "values": row, "unit": "/min"}
        for line, row in zip(lines, values, strict=True)
    ]
    return Chart(
        charts.areas(times, layers, what), {"times": times, "stacked": True, "series": series}, lines
    )


def quantile(own_seconds: Mapping[str, int], share: float) -> float | None:
    """The bound, in seconds, under which guard's own time was for this share of the requests; `None` where
    there were none, or it is beyond the last bound.
    """
    total, seen = sum(own_seconds.values()), 0
    for bound, number in own_seconds.items():
        seen += number
        if total and seen >= share * total:
            return float(bound) if float(bound) < float("inf") else None
    return None


def course_points(course: Sequence[Mapping[str, Any]], now: float) -> list[tuple[float, float]]:
    """How a risk went in the last week: each hour in which it was known as a point, the oldest first, from 0
    to 1 in both directions.
    """
    moments = (datetime.fromisoformat(point["at"]).timestamp() for point in course)
    places = (1 - (now - at) / (COURSE_HOURS * HOUR) for at in moments)
    return [
        (max(0.0, place), point["decibans"] / HIGHEST_DECIBANS)
        for place, point in zip(places, course, strict=True)
        if place <= 1
    ]
