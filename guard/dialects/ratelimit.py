"""The standard fields about limits, `RateLimit-Policy` and `RateLimit`, as the IETF drafts them.

    ratelimit-policy: "requests-per-minute";q=100;w=60, "concurrent-requests";q=8;qu="concurrent-requests"
    ratelimit: "requests-per-minute";r=87;t=53, "concurrent-requests";r=7

What a client is told, and what not:

- A policy's name is made of its unit and its window. What the operator calls a limit, and for whom it is
  kept, is nobody else's business; of several limits of one name only the tightest is told.
- Requests and requests at once are told. Tokens are no registered unit, and without a unit they would
  read as requests. Units of the operator's own, and so budgets of diversity and the like, are never told:
  whoever sees them fall learns what they measure.
- A client may divide what remains by the time that is left, and send as fast. So the time never makes that
  faster than the policy's own average: 9 of 10 requests left and one second to the next one reads as
  `r=9;t=54` under a policy of ten a minute. It is never longer than the window either, since more is to be
  had before the window is as good as new. Only where the window is full is it just the wait for room, and
  a `Retry-After` that waits for all that is violated is never before it.
- Leases come back when their requests end, so they have neither window nor time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from guard.core.calendars import MICROSECONDS
from guard.core.limits import Algorithm, Unit
from guard.dialects.words import split

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from guard.core.limits import Reading

DRAFT = "draft-ietf-httpapi-ratelimit-headers-10"
"""The revision that is spoken here; a later one may change the fields, which are no standard yet."""

LARGEST_INTEGER = 10**15 - 1
"""Structured fields have no larger one (RFC 9651), and a client ignores a field that cannot be read."""

_REGISTERED = frozenset({Unit.REQUESTS, Unit.CONCURRENCY})


def ratelimit_fields(readings: Iterable[Reading]) -> list[tuple[str, str]]:
    """Both fields, the most binding policy first; none where there is nothing to tell."""
    told = _tightest_by_name(readings)
    if not told:
        return []
    return [
        ("ratelimit-policy", ", ".join(_policy(name, reading) for name, reading in told)),
        ("ratelimit", ", ".join(_service_limit(name, reading) for name, reading in told)),
    ]


def violated_policies(readings: Iterable[Reading]) -> tuple[str, ...]:
    """The names, as in `RateLimit-Policy`, of the policies that have no room; most binding first."""
    told = _tightest_by_name(readings)
    return tuple(name for name, reading in told if not reading.fits)


def _tightest_by_name(readings: Iterable[Reading]) -> Sequence[tuple[str, Reading]]:
    told = [reading for reading in readings if reading.limit.unit in _REGISTERED]
    by_name: dict[str, Reading] = {}
    for reading in sorted(told, key=_room):
        by_name.setdefault(_name(reading), reading)
    return list(by_name.items())


def _room(reading: Reading) -> tuple[bool, float, float]:
    """What sorts the most binding first: no room and for how long, then the share that is left."""
    wait_us = float("inf") if reading.wait_us is None else reading.wait_us
    return reading.fits, -wait_us, reading.remaining / max(1, reading.window.burst)


def _name(reading: Reading) -> str:
    if reading.limit.unit == Unit.CONCURRENCY:
        return "concurrent-requests"
    window = reading.window
    unit = reading.limit.unit.replace("_", "-")
    if window.span is not None:
        return f"{unit}-per-{window.span}"
    count, word = split(window.period_seconds)
    return f"{unit}-per-{word}" if count == 1 else f"{unit}-per-{count}-{word}s"


def _policy(name: str, reading: Reading) -> str:
    policy = f'"{name}";q={_bounded(reading.window.count)}'
    if reading.limit.algorithm is Algorithm.LEASES:
        return f'{policy};qu="concurrent-requests"'
    return f"{policy};w={_bounded(reading.window.period_seconds)}"


def _service_limit(name: str, reading: Reading) -> str:
    # A bucket may be deeper than its rate; what is told stays within the quota.
    left = _bounded(min(reading.remaining, reading.window.count))
    service_limit = f'"{name}";r={left}'
    if reading.limit.algorithm is Algorithm.LEASES or reading.wait_us is None:
        return service_limit
    return f"{service_limit};t={_bounded(_seconds(reading, left))}"


def _seconds(reading: Reading, left: int) -> int:
    """Until there is more, so that nobody who divides by it goes faster than the policy's average."""
    if not reading.fits:
        return -(-(reading.wait_us or 0) // MICROSECONDS)
    window = reading.window
    pace = -(-left * window.period_seconds // window.count)
    reset = -(-reading.reset_us // MICROSECONDS)
    return min(max(pace, reset), window.period_seconds)


def _bounded(number: int) -> int:
    return max(0, min(number, LARGEST_INTEGER))
