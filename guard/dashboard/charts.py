"""Charts as SVG, drawn by the server: a page can be read without a script.

Each has its numbers in its text too, or stands beside a table that has them. Colours are those of the page's
style, by the classes of the parts. What is drawn are numbers; the only texts are labels, which are escaped.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from markupsafe import Markup

from guard.words import safe

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTH, HEIGHT = 960, 220
LEFT, RIGHT, TOP, FLOOR = 48, 8, 10, 24
"""Room for the labels of the axes, in units of the drawing."""


def areas(times: Sequence[float], layers: Sequence[tuple[str, Sequence[float]]], what: str) -> Markup:
    """Layers over each other by time: each is a class and its values at these Unix seconds."""
    if len(times) < 2:
        return Markup("")
    totals = [sum(values) for values in zip(*(values for _, values in layers), strict=True)]
    highest = _round_up(max(totals, default=0))
    parts = [*_scale(highest), *_dates(times)]
    below = [0.0] * len(times)
    for kind, values in layers:
        top = [under + value for under, value in zip(below, values, strict=True)]
        there, back = _points(times, top, highest), _points(times, below, highest)
        parts.append(f'<polygon class="area {kind}" points="{" ".join([*there, *reversed(back)])}"/>')
        parts.append(f'<polyline class="line {kind}" points="{" ".join(there)}"/>')
        below = top
    return _svg(WIDTH, HEIGHT, "chart", what, parts)


def lines(times: Sequence[float], series: Sequence[tuple[str, Sequence[float | None]]], what: str) -> Markup:
    """Lines by time: each is a class and its values at these Unix seconds, `None` where there is none."""
    known = [value for _, values in series for value in values if value is not None]
    if len(times) < 2 or not known:
        return Markup("")
    highest = _round_up(max(known))
    parts = [*_scale(highest), *_dates(times)]
    for kind, values in series:
        path, pen = [], "M"
        for at, value in zip(times, values, strict=True):
            if value is None:
                pen = "M"
                continue
            path.append(f"{pen}{_x(times, at):.1f},{_y(value, highest):.1f}")
            pen = "L"
        parts.append(f'<path class="line {kind}" d="{"".join(path)}"/>')
    return _svg(WIDTH, HEIGHT, "chart", what, parts)


def sparkline(points: Sequence[tuple[float, float]], what: str, *, gap: float) -> Markup:
    """A small line through points, each from 0 to 1 in both directions; between two that are further apart
    than `gap`, there is none.
    """
    path, last = [], -math.inf
    for x, y in points:
        pen = "L" if x - last <= gap else "M"
        path.append(f"{pen}{2 + 96 * x:.1f},{22 - 20 * min(1.0, max(0.0, y)):.1f}")
        last = x
    parts = ['<path class="floor" d="M0,23.5H100"/>', f'<path class="line" d="{"".join(path)}"/>']
    return _svg(100, 24, "spark", what, parts)


def bar(share: float, what: str, kind: str = "") -> Markup:
    """How much of something is used, from 0 to 1."""
    width = max(1.5, 100 * min(1.0, share)) if share > 0 else 0.0
    parts = [
        '<rect class="rail" width="100" height="6" rx="3"/>',
        f'<rect class="fill {kind}" width="{width:.1f}" height="6" rx="3"/>',
    ]
    return _svg(100, 6, "bar", what, parts, stretched=True)


def _points(times: Sequence[float], values: Sequence[float], highest: float) -> list[str]:
    return [f"{_x(times, at):.1f},{_y(value, highest):.1f}" for at, value in zip(times, values, strict=True)]


def _scale(highest: float) -> list[str]:
    """Lines across with their numbers."""
    parts = []
    for share in (0.0, 0.5, 1.0):
        y = _y(highest * share, highest)
        parts.append(f'<path class="grid" d="M{LEFT},{y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text class="end" x="{LEFT - 8}" y="{y + 4:.1f}">{_short(highest * share)}</text>')
    return parts


def _dates(times: Sequence[float]) -> list[str]:
    """Five moments below the floor."""
    span = times[-1] - times[0]
    form = "%H:%M" if span <= 2 * 86_400 else "%d %b"
    parts = []
    for place in range(5):
        at = times[0] + span * place / 4
        kind = ("start", "middle", "middle", "middle", "end")[place]
        text = safe(datetime.fromtimestamp(at, UTC).strftime(form))
        parts.append(f'<text class="{kind}" x="{_x(times, at):.1f}" y="{HEIGHT - 6}">{text}</text>')
    return parts


def _x(times: Sequence[float], at: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * (at - times[0]) / max(1e-9, times[-1] - times[0])


def _y(value: float, highest: float) -> float:
    return HEIGHT - FLOOR - (HEIGHT - FLOOR - TOP) * min(1.0, value / max(1e-9, highest))


def _round_up(value: float) -> float:
    """The next of 1, 2, 5, 10, 20, …"""
    size = 1.0
    while size * 10 <= value:
        size *= 10
    while size > value and size > 1e-6:
        size /= 10
    return next((size * step for step in (1, 2, 5, 10) if value <= size * step), size)


def _short(value: float) -> str:
    """A number for an axis: `1.5k`, `20M`."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def _svg(
    width: float, height: float, kind: str, what: str, parts: Sequence[str], *, stretched: bool = False
) -> Markup:
    ratio = f' preserveAspectRatio="{"none" if stretched else "xMinYMid"}"'
    head = f'<svg class="{kind}" viewBox="0 0 {width:g} {height:g}"{ratio} role="img"'
    drawn = "".join((f'{head} aria-label="{safe(what)}">', *parts, "</svg>"))
    return Markup(drawn)  # noqa: S704 - numbers, and texts that are escaped
