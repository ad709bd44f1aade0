"""Sending an answer past a meter, and limits for the headers about them."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from guard.core.identity import EVERYTHING, Attribute
from guard.core.limits import Algorithm, Limit, Reading, Window

if TYPE_CHECKING:
    from collections.abc import Iterable

    from guard.core.query import Usage
    from guard.dialects.base import Meter

EVENTS = "text/event-stream"
LINES = "application/x-ndjson"
JSON = "application/json"


def pass_through(meter: Meter, body: bytes, cuts: Iterable[int] = ()) -> tuple[bytes, Usage]:
    """What comes out, and the usage, where a body comes in pieces that are cut at these places."""
    places = sorted({min(cut, len(body)) for cut in cuts} | {0, len(body)})
    out = b"".join(meter.feed(body[start:end]) for start, end in pairwise(places))
    return out + meter.finish(), meter.usage


def reading(unit: str, remaining: int, count: int, reset_us: int) -> Reading:
    """How a limit of so many a minute stands."""
    window = Window(count, 60, count)
    limit = Limit("l", unit, (Attribute.KEY,), Algorithm.SLIDING_WINDOW, (window,))
    return Reading(limit, window, EVERYTHING, remaining, reset_us, 0)
