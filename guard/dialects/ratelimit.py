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

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from guard.core.calendars import MICROSECONDS
from guard.core.limits import Algorithm, Unit
from guard.dialects.words import split

if TYPE_CHECKING:
    from collections.abc import Iterable

    from guard.core.calendars import Span
    from guard.core.limits import Reading

DRAFT = "draft-ietf-httpapi-ratelimit-headers-10"
"""The revision that is spoken here; a later one may change the fields, which are no standard yet."""

LARGEST_INTEGER = 10**15 - 1
"""Structured fields have no larger one (RFC 9651), and a client ignores a field that cannot be read."""

_REGISTERED = frozenset({Unit.REQUESTS, Unit.CONCURRENCY})

_FOREVER = float("inf")

_Room: TypeAlias = tuple[bool, float, float]


class _Policy(NamedTuple):
    """What of a window's policy is the same in each answer: its name, how it is written, its numbers."""

    name: str
    written: str
    capacity: int
    quota: int
    period_seconds: int
    leases: bool


def ratelimit_fields(readings: Iterable[Reading]) -> list[tuple[str, str]]:
    """Both fields, the most binding policy first; none where there is nothing to tell."""
    told = _tightest_by_name(readings)
    if not told:
        return []
    return [
        ("ratelimit-policy", ", ".join([policy.written for policy, _ in told])),
        ("ratelimit", ", ".join([_service_limit(policy, reading) for policy, reading in told])),
    ]


def violated_policies(readings: Iterable[Reading]) -> tuple[str, ...]:
    """The names, as in `RateLimit-Policy`, of the policies that have no room; most binding first."""
    told = _tightest_by_name(readings)
    return tuple(policy.name for policy, reading in told if not reading.fits)


def _tightest_by_name(readings: Iterable[Reading]) -> list[tuple[_Policy, Reading]]:
    """The policies that are told, each with its tightest reading; the most binding first."""
    by_name: dict[str, tuple[_Room, int, _Policy, Reading]] = {}
    place = 0
    for reading in readings:
        limit, window = reading.limit, reading.window
        if limit.unit not in _REGISTERED:
            continue
        leases = limit.algorithm is Algorithm.LEASES
        policy = _policy(limit.unit, window.count, window.period_seconds, window.span, leases=leases)
        wait_us = reading.wait_us
        # What sorts the most binding first: no room and for how long, then the share that is left.
        room = (
            wait_us == 0,
            -_FOREVER if wait_us is None else -wait_us,
            reading.remaining / (window.burst or 1),
        )
        if policy.name not in by_name or room < by_name[policy.name][0]:
            by_name[policy.name] = room, place, policy, reading
        place += 1
    return [(policy, reading) for _, _, policy, reading in sorted(by_name.values())]


@lru_cache(maxsize=4_096)
def _policy(unit: str, count: int, period_seconds: int, span: Span | None, *, leases: bool) -> _Policy:
    """The policy of a window; its numbers are the operator's."""
    name = _name(unit, period_seconds, span)
    quota, period = _bounded(count), _bounded(period_seconds)
    parameter = 'qu="concurrent-requests"' if leases else f"w={period}"
    return _Policy(name, f'"{name}";q={quota};{parameter}', count, quota, period, leases)


def _name(unit: str, period_seconds: int, span: Span | None) -> str:
    if unit == Unit.CONCURRENCY:
        return "concurrent-requests"
    unit = unit.replace("_", "-")
    if span is not None:
        return f"{unit}-per-{span}"
    count, word = split(period_seconds)
    return f"{unit}-per-{word}" if count == 1 else f"{unit}-per-{count}-{word}s"


def _service_limit(policy: _Policy, reading: Reading) -> str:
    # A bucket may be deeper than its rate; what is told stays within the quota.
    left = reading.remaining
    if left > policy.quota:
        left = policy.quota
    elif left < 0:
        left = 0
    wait_us = reading.wait_us
    if policy.leases or wait_us is None:
        return f'"{policy.name}";r={left}'
    # Until there is more, so that nobody who divides by it goes faster than the policy's average.
    if wait_us:
        seconds = _bounded(-(-wait_us // MICROSECONDS))
    else:
        seconds = -(-left * policy.period_seconds // policy.capacity)
        reset = -(-reading.reset_us // MICROSECONDS)
        if seconds < reset:
            seconds = reset
        if seconds > policy.period_seconds:
            seconds = policy.period_seconds
    return f'"{policy.name}";r={left};t={seconds}'


def _bounded(number: int) -> int:
    return max(0, min(number, LARGEST_INTEGER))
