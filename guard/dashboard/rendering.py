"""Templates, and how they write what they are given: every text is escaped, and can steer no terminal."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from guard import words
from guard.core.limits import Unit
from guard.dashboard import charts
from guard.dashboard.spans import A_DAY, SPANS, course_points

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


NOTHING = "\N{EN DASH}"
"""What stands for a number or a moment that there is none of."""


def environment() -> Environment:
    """Templates that escape all they are given, and fail on a name that nobody gives."""
    templates = Environment(
        loader=PackageLoader("guard.dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {
        "ago": _ago,
        "ahead": _ahead,
        "amount": _amount,
        "course": _course,
        "data": _data,
        "day": _day,
        "dollars": words.dollars,
        "milliseconds": _milliseconds,
        "moment": _moment,
        "number": _number,
        "percent": _percent,
        "period": words.period,
        "span": words.span,
    }
    templates.globals |= {
        "bar": charts.bar,
        "counted": words.counted,
        "link": link,
        "span_choices": [(name, span.label) for name, span in SPANS.items()],
    }
    return templates


def link(path: str, **parameters: object) -> str:
    """A path with parameters, those that are `None` left out."""
    found = {name: str(value) for name, value in parameters.items() if value is not None}
    return f"{path}?{urlencode(found, quote_via=quote)}" if found else path


def _shown(value: object) -> object:
    """A value as it stands in a page, before it is escaped."""
    if value is None:
        return ""
    return value if isinstance(value, Markup) else words.printable(str(value))


def _number(value: float | None) -> str:
    """A count with its thousands apart: `1,234,567`."""
    if value is None:
        return NOTHING
    return f"{value:,.0f}" if float(value).is_integer() or value >= 100 else f"{value:,.2f}"


def _percent(share: float | None) -> str:
    """A share: `87 %`, `3.4 %`, `<0.1 %`."""
    if share is None:
        return NOTHING
    if 0 < share < 0.001:
        return "<0.1 %"
    return f"{share * 100:.1f} %" if 0 < share < 0.1 else f"{share * 100:.0f} %"


def _amount(value: float, unit: str) -> str:
    """So many of what a limit counts; cost is in micro-dollars."""
    return words.dollars(int(value)) if unit == Unit.COST else _number(value)


def _milliseconds(seconds: float | None) -> str:
    return NOTHING if seconds is None else f"{seconds * 1000:g} ms"


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def _moment(moment: str | None) -> Markup | str:
    """A moment of the data, in full."""
    if moment is None:
        return NOTHING
    text = datetime.fromisoformat(moment).astimezone(UTC).strftime("%d %b %Y, %H:%M:%S UTC")
    return Markup('<time datetime="{}">{}</time>').format(moment, text)


def _day(moment: str | None) -> Markup | str:
    """The day of a moment."""
    if moment is None:
        return NOTHING
    text = datetime.fromisoformat(moment).astimezone(UTC).strftime("%d %b %Y")
    return Markup('<time datetime="{}">{}</time>').format(moment, text)


def _ago(moment: str | None) -> Markup | str:
    """How long ago something was; the moment itself is its title."""
    return _away(moment, "{} ago", sign=-1)


def _ahead(moment: str | None) -> Markup | str:
    """In how long something is."""
    return _away(moment, "in {}", sign=1)


def _away(moment: str | None, form: str, *, sign: int) -> Markup | str:
    if moment is None:
        return NOTHING
    seconds = sign * (_seconds(moment) - datetime.now(UTC).timestamp())
    text = "now" if seconds < 2 else form.format(words.span(round(seconds)).replace(".0s", "s"))
    return Markup('<time datetime="{}" title="{}">{}</time>').format(moment, moment, text)


def _course(course: Sequence[Mapping[str, Any]], of: str) -> Markup:
    """How a risk went in the last week."""
    if not course:
        return Markup("")
    points = course_points(course, datetime.now(UTC).timestamp())
    return charts.sparkline(points, f"risk of {of} in the last week", gap=A_DAY)


def _data(value: Mapping[str, Any] | list[Any]) -> str:
    """Data for a script, as it stands in an attribute."""
    return json.dumps(value, separators=(",", ":"))
