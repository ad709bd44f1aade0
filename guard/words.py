"""How moments, amounts and orders read to an operator, in a terminal as on a page."""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING

from guard.core.holds import Held
from guard.core.limits import Holders, Window, shown
from guard.core.modes import ENFORCED, Mode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from guard.core.holds import Review
    from guard.core.limits import Limit
    from guard.core.modes import Rollout
    from guard.store.port import Block
    from guard.store.redis.orders import Term


def printable(text: str, *, keep: str = "") -> str:
    """A foreign text without the characters by which it could take over a terminal."""
    return "".join(
        letter if letter.isprintable() or letter in keep else "\N{REPLACEMENT CHARACTER}" for letter in text
    )


def safe(text: object) -> str:
    """A foreign text as it may stand in a page, also in an attribute."""
    return escape(printable(str(text)))


def counted(number: int, noun: str, nouns: str | None = None) -> str:
    """A number with its noun: `1 limit`, `2 limits`."""
    return f"{number} {noun if number == 1 else nouns or f'{noun}s'}"


def dollars(microdollars: int) -> str:
    """An amount of money: `$0.0021`, `$14.20`."""
    amount = microdollars / 1e6
    return f"${amount:,.2f}" if amount >= 1 else f"${amount:.2g}" if amount >= 0.0001 else f"${amount:.6f}"


def moment(seconds: float) -> str:
    """Unix seconds as ISO 8601."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def until(block: Block) -> str:
    """How long a block holds: `for 2h`, `for good`."""
    return "for good" if block.remaining_us is None else f"for {span(block.remaining_us / 1e6)}"


def until_us(moment_us: int | None) -> str:
    """Until when, in Unix microseconds: `until 2030-06-30T00:00:00Z`, `for good`."""
    return "for good" if moment_us is None else f"until {moment(moment_us / 1e6)}"


def review(found: Review) -> str:
    """How a holder's review stands, in words."""
    groups, end = ", ".join(found.groups), until_us(found.until_us)
    if isinstance(found, Held):
        why = f"{found.band}: {groups}; receipt {found.receipt}"
        return f"HELD for review since {moment(found.since_us / 1e6)}, {end} at the longest ({why})"
    return f"cleared of {groups} {end}: {found.reason or 'no reason given'}"


def span(seconds: float | None) -> str:
    """About how long: `4.2s`, `3m`, `2h`, `5d`; a dash for no time, `for good` for ever."""
    if seconds is None:
        return "for good"
    for size, letter in _SIZES:
        if seconds >= size * 2:
            return f"{seconds / size:.0f}{letter}"
    return f"{seconds:.1f}s" if seconds else "-"


def period(seconds: int) -> str:
    """Exactly how long: `1s`, `1m`, `90s`, `1d`."""
    return next(
        (f"{seconds // size}{letter}" for size, letter in _SIZES if seconds % size == 0), f"{seconds}s"
    )


def length(window: Window) -> str:
    """How long a window is: a period, a calendar's, or none for leases."""
    return window.span or (period(window.period_seconds) if window.period_seconds else "at once")


_SIZES = ((86_400, "d"), (3_600, "h"), (60, "m"))


def rate(unit: str, window: Window) -> str:
    """`600/1m`, `50/1s burst 200`, `4 at once`."""
    if not window.period_seconds:
        return f"{shown(unit, window.count)} at once"
    beyond = "" if window.burst == window.count else f" burst {shown(unit, window.burst)}"
    return f"{shown(unit, window.count)}/{length(window)}{beyond}"


def wait(wait_us: int | None) -> str:
    """When one more fits, as a 429 says it."""
    return "never" if wait_us is None else span(wait_us / 1e6)


def numbers(limit: Limit, counts: Mapping[int, tuple[int, int]]) -> str:
    """The numbers of an override in a limit: `100/1m, 5000/1d burst 9000`."""
    spans = {window.period_seconds: window.span for window in limit.windows}
    windows = (Window(count, size, burst, spans.get(size)) for size, (count, burst) in counts.items())
    return ", ".join(rate(limit.unit, window) for window in windows)


def rollout(rollout: Rollout) -> str:
    """How far something bites: `shadow`, or `enforced for 5 %`."""
    if rollout.mode is Mode.ENFORCE:
        return f"enforced for {rollout.enforce_percent:g} %"
    return str(rollout.mode)


def conditions(limit: Limit) -> str:
    """Which requests a limit is for, where not for all, and how far it bites."""
    match = limit.match
    parts = [" ".join(globs) for globs in (match.models, match.routes, match.methods) if globs]
    if match.free:
        parts.append("free requests")
    if limit.holders is not Holders.ALL:
        parts.append(f"{limit.holders} callers")
    if limit.rollout != ENFORCED:
        parts.append(rollout(limit.rollout))
    if limit.zone is not None:
        parts.append(str(limit.zone))
    return ", ".join(parts)


def terms(term: Term, limit: Limit | None) -> str:
    """An override in words; of a `limit` or of all."""
    seconds = None if term.remaining_us is None else term.remaining_us / 1e6
    what = "no limit" if term.counts is None or limit is None else numbers(limit, term.counts)
    where = "" if term.limit == "*" else f" in {term.limit}"
    said = f"{what}{where}, for {span(seconds)}" if seconds is not None else f"{what}{where}, for good"
    return said if term.then is None else f"{said}; then {terms(term.then, limit)}"
