"""Rollups: what happened, summed up by the minute and by the hour, so that nobody has to scan requests.

A bucket has about fifty numbers, however many requests it sums up: one for each measure of each name that a
dimension has. All names are the settings' or guard's own, so that no client can make buckets grow.

    10:07  key:a asks small, gets 240 tokens for 10     all admitted 1, tier default admitted 1, model small …
    10:07  key:b is refused by the limit `tokens`       all refused 1, limit tokens refused 1, reason quota …
    10:08  a process adds both to the buckets of 10:07 and of 10:00 (the hour), in one step

Beside the sums, each hour has what its busiest identities have used, with the most in any minute of it
(`Use`): enough to say whom another limit would have refused. What the others used is summed up as one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, Self

from guard.core.calendars import MICROSECONDS
from guard.core.evidence import Band
from guard.core.kept import LAST_US
from guard.core.modes import Mode

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MINUTE, HOUR, DAY = 60, 3_600, 86_400

OTHER = "other"
"""The model of requests for models that no setting names."""

NOVELTY_UNIT = 1_000
"""Novelty is summed up in thousandths of its unit, as it is counted."""

MOST_REFUSALS = 50
"""Maximum number of refusals that are remembered of one identity, the latest."""

STANDARD_TOKENS = 512
"""How many tokens one request counts for where identities are ranked by how busy they are."""


class Dimension(StrEnum):
    """By what requests are summed up; `ALL` has one name, the empty one."""

    code: str

    # With a default, so that a type checker takes `Dimension(name)` for the look-up that it is.
    def __new__(cls, name: str, code: str = "") -> Self:
        """One row: its name, and its letter in a field."""
        row = str.__new__(cls, name)
        row._value_ = name
        row.code = code
        return row

    ALL = "all", "."
    ACTION = "action", "a"
    REASON = "reason", "r"
    LIMIT = "limit", "l"
    TIER = "tier", "t"
    MODEL = "model", "m"
    BAND = "band", "b"
    ERROR = "error", "e"
    OWN_SECONDS = "own_seconds", "s"
    """Guard's own time for a request: the least of `telemetry`'s bounds that is not less, or `inf`."""
    OTHERS = "others", "o"
    """What those used of an hour whose own use is not kept; one name, the empty one."""


class Measure(StrEnum):
    """What is summed up. Each request is one of `ADMITTED`, `REFUSED` and `WOULD_REFUSE`: the last were
    forwarded in mode `shadow`; requests that ended in an error before a decision are `FAILED`. `COST` is in
    micro-dollars, and `NOVELTY` in `NOVELTY_UNIT`.
    """

    code: str

    # With a default, so that a type checker takes `Measure(name)` for the look-up that it is.
    def __new__(cls, name: str, code: str = "") -> Self:
        """One row: its name, and its letter in a field."""
        row = str.__new__(cls, name)
        row._value_ = name
        row.code = code
        return row

    ADMITTED = "admitted", "n"
    REFUSED = "refused", "r"
    WOULD_REFUSE = "would_refuse", "w"
    FAILED = "failed", "f"
    INPUT_TOKENS = "input_tokens", "i"
    OUTPUT_TOKENS = "output_tokens", "o"
    COST = "cost", "c"
    NOVELTY = "novelty", "v"
    REQUESTS = "requests", "q"
    """Only by `OWN_SECONDS`: requests whose time was measured."""


_DIMENSIONS = {each.code: each for each in Dimension}
_MEASURES = {each.code: each for each in Measure}


def field_of(dimension: Dimension, measure: Measure, name: str = "") -> str:
    """The field of a bucket that this is summed up in."""
    return f"{dimension.code}{measure.code}{name}"


@dataclass(slots=True)
class Sums:
    """What was summed up, by field (`field_of`)."""

    counts: dict[str, int] = field(default_factory=dict)

    def add(self, counts: Mapping[str, int]) -> None:
        """Add what another bucket has."""
        mine = self.counts
        for name, count in counts.items():
            mine[name] = mine.get(name, 0) + count

    def of(self, measure: Measure, dimension: Dimension = Dimension.ALL, name: str = "") -> int:
        """One of the numbers."""
        return self.counts.get(field_of(dimension, measure, name), 0)

    def by(self, dimension: Dimension) -> dict[str, dict[Measure, int]]:
        """The numbers of each name in a dimension; only those that are not 0, the names in order."""
        found: dict[str, dict[Measure, int]] = {}
        for text, count in sorted(self.counts.items()):
            measure = _MEASURES.get(text[1:2])
            if text[:1] == dimension.code and measure is not None and count:
                found.setdefault(text[2:], {})[measure] = count
        return found

    def own_seconds(self, share: float) -> float | None:
        """The bound that guard's own time stays within for this share of requests; `None` without any."""
        counts = sorted(
            (float(name), count[Measure.REQUESTS])
            for name, count in self.by(Dimension.OWN_SECONDS).items()
            if Measure.REQUESTS in count
        )
        left = share * sum(count for _, count in counts)
        for bound, count in counts:
            left -= count
            if left <= 0:
                return bound
        return None


class Use(NamedTuple):
    """What an identity has used in an hour, or in several.

    `requests` are those that were forwarded, `cost` is in micro-dollars and `novelty` in `NOVELTY_UNIT`. What
    begins with `peak` is the most in any one minute, by the clock. `missed` is 0 where all of it was counted;
    else the identity was not among the busiest for a while, and may have used as much more, in tokens, of
    which each request counts for `STANDARD_TOKENS`.
    """

    requests: int = 0
    refused: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: int = 0
    novelty: int = 0
    peak_requests: int = 0
    peak_tokens: int = 0
    peak_cost: int = 0
    peak_novelty: int = 0
    missed: int = 0

    @property
    def tokens(self) -> int:
        """Both kinds."""
        return self.input_tokens + self.output_tokens

    @classmethod
    def together(cls, uses: Iterable[Use]) -> Use:
        """The use of one identity in several hours."""
        columns = list(zip(*uses, strict=True))
        sums, peaks, missed = columns[:6], columns[6:10], columns[10:]
        return cls(*[*map(sum, sums), *map(max, peaks), *map(sum, missed)])


NO_USE = Use()


class Refusal(NamedTuple):
    """One request that was refused, or in mode `shadow` would have been; `at` in Unix seconds."""

    request_id: str
    at: int
    action: str
    reason: str
    limits: tuple[str, ...]
    mode: Mode = Mode.ENFORCE


class Suspected(NamedTuple):
    """What speaks against an identity at a moment: `decibans` of risk, the band, and where it `stands`."""

    decibans: float
    band: Band
    stands: float


def standing(decibans: float, at_us: int, half_life_us: int) -> float:
    """Where a risk stands among others, whenever they were seen: as evidence fades by half in each half-life,
    the order by this number is that by what is left, at any moment.
    """
    return math.log2(max(decibans, LEAST_DECIBANS)) + at_us / half_life_us


def faded(stands: float, now_us: int, half_life_us: int) -> float:
    """What is left now of a risk that stands there, in decibans."""
    return float(2.0 ** min(stands - now_us / half_life_us, 10.0))


LEAST_DECIBANS = 1.0
"""Who has less left is not listed any more."""

COURSE_HOURS = 7 * 24
"""How many hours the course of a risk goes back."""

BANDS = tuple(Band)
"""Bands by the digit that stands for them."""

LARGEST_DECIBANS = 255
"""A course holds no more."""


class Point(NamedTuple):
    """The most that spoke against an identity in the hour that began at `at` (Unix seconds)."""

    at: int
    band: Band
    decibans: int


def read_course(text: bytes) -> list[Point]:
    """The course of a risk as it is written: the hour it ends with (4 bytes), then a byte for the band and
    one for the decibans of each hour, at the hour's place in a period of `COURSE_HOURS`; two zeros where
    nothing was seen. Raises `ValueError`.
    """
    if len(text) != 4 + 2 * COURSE_HOURS:
        raise ValueError(f"{len(text)} bytes that are no course")
    last, points = int.from_bytes(text[:4], "big"), []
    if not COURSE_HOURS <= last <= LAST_US // (HOUR * MICROSECONDS):
        raise ValueError(f"{last} is no hour")
    for hour in range(last - COURSE_HOURS + 1, last + 1):
        place = 4 + 2 * (hour % COURSE_HOURS)
        band, decibans = text[place], text[place + 1]
        if band >= len(BANDS):
            raise ValueError(f"{band} is no band")
        if decibans:
            points.append(Point(hour * HOUR, BANDS[band], decibans))
    return points
