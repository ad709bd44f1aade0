"""What happened in the last hours and weeks, in numbers that were summed up as it happened."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from heapq import nlargest
from typing import TYPE_CHECKING

from guard.core.calendars import MICROSECONDS
from guard.core.identity import Holder
from guard.core.rollups import COURSE_HOURS, DAY, HOUR, MINUTE, MOST_REFUSALS, NO_USE, Sums, Use, faded
from guard.store.redis.rollups import HOURS_SECONDS, MINUTES_SECONDS, Board

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guard.clock import Clock
    from guard.core.rollups import Point, Refusal
    from guard.store.redis.orders import OperatorStore, Record

STEPS = (MINUTE, 5 * MINUTE, 15 * MINUTE, 30 * MINUTE, HOUR, 3 * HOUR, 6 * HOUR, DAY)
"""The steps that traffic is shown in where nobody names one."""

FEW_POINTS = 60
"""The smallest step is taken that makes no more points than this."""

MOST_POINTS = 1_500
"""Maximum number of points of one answer: a day in minutes, or five weeks in hours."""

MOST_LISTED = 1_000
"""Maximum number of identities that a list of the busiest goes down to."""

SPARE = 100
"""So many more of each hour are looked at than are listed: who is busy is not among the first in each."""

BUSY_HOURS = 24
"""How far back the lists of the busiest go, in hours."""


class By(StrEnum):
    """By what the busiest identities are listed."""

    TOKENS = "tokens"
    COST = "cost"
    REFUSED = "refused"
    RISK = "risk"


@dataclass(frozen=True, slots=True)
class Bucket:
    """What happened from `at` (Unix seconds) on for `seconds`."""

    at: int
    seconds: int
    sums: Sums


@dataclass(frozen=True, slots=True)
class Traffic:
    """What happened from `since` until `until` (Unix seconds), in steps: all of them, also those in which
    nothing happened, the oldest first.
    """

    since: int
    until: int
    step_seconds: int
    buckets: tuple[Bucket, ...]

    @property
    def total(self) -> Sums:
        """All of it."""
        sums = Sums()
        for bucket in self.buckets:
            sums.add(bucket.sums.counts)
        return sums


@dataclass(frozen=True, slots=True)
class Busy:
    """One of the busiest identities: what it has used in the hours of the list, and what is left now of the
    evidence that spoke against it when it was seen last (decibans; `course` says when, and its band).
    """

    label: str
    use: Use
    decibans: float
    course: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Busiest:
    """A part of a list of the busiest identities of the last `hours`, and whether it goes on."""

    by: By
    hours: int
    offset: int
    entries: tuple[Busy, ...]
    more: bool


@dataclass(frozen=True, slots=True)
class RefusedTo:
    """A request that was refused, and the identity that had sent it."""

    label: str
    refusal: Refusal


class Rollups:
    """What the store has summed up; every method raises `StoreError`."""

    def __init__(self, store: OperatorStore, clock: Clock, half_life_us: int) -> None:
        self._store = store
        self._clock = clock
        self._half_life_us = half_life_us

    async def traffic(self, since: float, until: float | None = None, step: int | None = None) -> Traffic:
        """What happened from `since` until `until` (Unix seconds; now), in steps of so many seconds.

        Steps begin at multiples of their length, so that the first and the last may reach beyond. Minutes are
        kept for a day, hours for 35. Raises `ValueError` for what cannot be answered, with what would be
        right.
        """
        now = self._now
        end = min(now, int(until if until is not None else now))
        begin = int(since)
        if begin >= end:
            raise ValueError("`since` is not before `until`")
        step = _step(end - begin, now - begin) if step is None else step
        if step < MINUTE or step % MINUTE or (step > HOUR and step % HOUR):
            raise ValueError(
                f"a step of {step} s is none: write 60, or a multiple of it; above 3600, of that"
            )
        if step > HOURS_SECONDS:
            raise ValueError(f"a step of {step} s is longer than all that is kept, {HOURS_SECONDS} s")
        if begin < now - (MINUTES_SECONDS if step % HOUR else HOURS_SECONDS):
            kept = (
                "a step of less than an hour goes back 24 hours" if step % HOUR else "hours go back 35 days"
            )
            raise ValueError(f"{kept}; say a later `since`{', or a longer step' if step % HOUR else ''}")
        first, last = begin // step * step, -(-end // step) * step
        if (last - first) // step > MOST_POINTS:
            raise ValueError(f"a step of {step} s makes more than {MOST_POINTS} points; say a longer one")
        read = self._store.minutes if step % HOUR else self._store.hours
        found = await read(first, last)
        buckets = {at: Sums() for at in range(first, last, step)}
        for at, sums in found.items():
            buckets[at // step * step].add(sums.counts)
        return Traffic(first, last, step, tuple(Bucket(at, step, sums) for at, sums in buckets.items()))

    async def busiest(
        self, by: By = By.TOKENS, offset: int = 0, limit: int = 50, hours: int = BUSY_HOURS
    ) -> Busiest:
        """The identities that used most in the last hours, this one among them, or have the highest risk.

        Who is far down in every hour may be missing; what an identity is said to have used is exact where its
        use has `missed` nothing. Raises `ValueError` for a page that no list has.
        """
        if offset < 0 or limit < 1 or offset + limit > MOST_LISTED:
            raise ValueError(f"a list has pages within its first {MOST_LISTED} entries, and no others")
        if not 1 <= hours <= BUSY_HOURS:
            raise ValueError(f"lists go back 1 to {BUSY_HOURS} hours, not {hours}")
        present = self._now // HOUR * HOUR
        span = range(present - (hours - 1) * HOUR, present + 1, HOUR)
        if by is By.RISK:
            found, number = await self._store.suspects(offset, limit)
            labels, more = [label for label, _ in found], number > offset + limit
        else:
            listed = await self._store.board(Board(by), span, offset + limit + SPARE)
            first = nlargest(offset + limit + 1, listed, key=lambda label: (listed[label], label))
            labels, more = first[offset : offset + limit], len(first) > offset + limit
        uses = await self._store.uses(labels, span)
        stands = await self._store.stands(labels)
        courses = await self._store.courses(labels)
        now_us = self._clock.date_us()
        entries = [
            Busy(
                label,
                Use.together(uses[label]) if uses[label] else NO_USE,
                0.0 if place is None else faded(place, now_us, self._half_life_us),
                tuple(course),
            )
            for label, place, course in zip(labels, stands, courses, strict=True)
        ]
        return Busiest(by, hours, offset, tuple(entries), more)

    async def risk_over_time(self, label: str) -> tuple[Point, ...]:
        """The most that spoke against an identity in each hour of the last week in which it was `elevated` or
        above, the oldest first.
        """
        (course,) = await self._store.courses([label])
        oldest = self._now - COURSE_HOURS * HOUR
        return tuple(point for point in course if point.at > oldest)

    async def refused_last(self) -> list[Record]:
        """The records of those whose refusals are remembered, at most 2,000."""
        holders = []
        for label in await self._store.refused_last():
            with suppress(ValueError):
                holders.append(Holder.parse(label))
        return await self._store.records(holders)

    async def refusals(self, labels: Sequence[str]) -> tuple[RefusedTo, ...]:
        """The latest refusals of some identities, the latest first, `MOST_REFUSALS` at most."""
        found = zip(labels, await self._store.refused(labels), strict=True)
        every = [RefusedTo(label, refusal) for label, refusals in found for refusal in refusals]
        return tuple(nlargest(MOST_REFUSALS, every, key=lambda each: each.refusal.at))

    @property
    def _now(self) -> int:
        return self._clock.date_us() // MICROSECONDS


def _step(length: int, age: int) -> int:
    """A step that makes few points, and that goes back so far."""
    kept = [step for step in STEPS if step >= HOUR or age <= MINUTES_SECONDS]
    return next((step for step in kept if length <= FEW_POINTS * step), STEPS[-1])
