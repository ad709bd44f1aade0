"""How limits stand, and what a holder has of its own in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import TypedDict

from guard.core.identity import Attribute
from guard.core.limits import Algorithm, shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from guard.admin.sheets import Sheet
    from guard.admin.totals import Nearest
    from guard.core.identity import Holder
    from guard.core.limits import Limit, Reading
    from guard.store.redis.orders import Term


class ReadingJson(TypedDict):
    """One window of a limit: its numbers for this holder, and what is left. `wait_seconds` is how long one
    more unit has to wait, `null` where it never fits.
    """

    limit: str
    unit: str
    per: list[Attribute]
    algorithm: Algorithm
    window_seconds: int
    count: float
    burst: float
    ramp_percent: float
    remaining: float
    reset_seconds: float
    wait_seconds: float | None


class NearestJson(TypedDict):
    """The limit of which most is used, and the used share, from 0 to 1."""

    tightest_limit: str | None
    used_share: float | None


class TermWindowJson(TypedDict):
    """One window of an override."""

    window_seconds: int
    count: float
    burst: float


class TermJson(TypedDict):
    """Other numbers in a limit, or in all (`*`) none at all, for so long or for good (`null`); and what holds
    again when that is over, `null` for the settings.
    """

    holder: str
    limit: str
    exempt: bool
    windows: list[TermWindowJson]
    remaining_seconds: float | None
    then: TermJson | None


class LimitsJson(TypedDict):
    """The limits that hold for a holder, and its overrides."""

    holder: str
    overrides: list[TermJson]
    limits: list[ReadingJson]


def limits_json(sheet: Sheet) -> LimitsJson:
    """What `guard limits show` knows."""
    return {
        "holder": sheet.label,
        "overrides": terms_json(sheet.overrides),
        "limits": [reading_json(reading) for reading in sheet.readings],
    }


def reading_json(reading: Reading) -> ReadingJson:
    """One window of a limit."""
    return {
        "limit": reading.limit.name,
        "unit": reading.limit.unit,
        "per": list(reading.limit.per),
        "algorithm": reading.limit.algorithm,
        "window_seconds": reading.window.period_seconds,
        "count": shown(reading.limit.unit, reading.window.count),
        "burst": shown(reading.limit.unit, reading.window.burst),
        "ramp_percent": round(reading.left * 100, 1),
        "remaining": shown(reading.limit.unit, reading.remaining),
        "reset_seconds": reading.reset_us / 1e6,
        "wait_seconds": None if reading.wait_us is None else reading.wait_us / 1e6,
    }


def nearest_json(found: Nearest | None) -> NearestJson:
    """The tightest limit."""
    return {
        "tightest_limit": None if found is None else found.limit,
        "used_share": None if found is None else found.used,
    }


def terms_json(overrides: Iterable[tuple[Holder, Term, Limit | None]]) -> list[TermJson]:
    """Overrides, each with whose it is and its limit, `None` for all."""
    return [_term_json(holder, term, limit) for holder, term, limit in overrides]


def _term_json(holder: Holder, term: Term, limit: Limit | None) -> TermJson:
    unit = "" if limit is None else limit.unit
    return {
        "holder": str(holder),
        "limit": term.limit,
        "exempt": term.counts is None,
        "windows": [
            {"window_seconds": size, "count": shown(unit, count), "burst": shown(unit, burst)}
            for size, (count, burst) in (term.counts or {}).items()
        ],
        "remaining_seconds": None if term.remaining_us is None else term.remaining_us / 1e6,
        "then": None if term.then is None else _term_json(holder, term.then, limit),
    }
