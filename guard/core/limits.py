"""Limits: so many units per window, for a holder. What the store's scripts count, and why it is exact.

A limit may have several windows (`20/second;600/minute`); all of them must have room. A request is admitted
against all limits at once or charged to none. Four algorithms, each O(1) in memory, however large the limit
(leases: one entry for each request under way):

**Sliding-window counter.** Two counts, of the present window and of the one before, weighted by how much of
the window before still overlaps the last `period`. Windows start at a holder's first request, not on the
full minute, so that not all holders are reset at once.

    100/minute, first request at 12:00:10; 80 more until 12:01:10, and 30 from then to 12:01:40
    at 12:01:40:  used = 80 × 30/60 + 30 = 70, so 30 requests have room
    a cost of 40 waits until 80 × (1 - x/60) + 30 + 40 ≤ 100, x = 37.5: 7.5 seconds

**GCRA** (generic cell rate algorithm, ITU-T I.371; a leaky bucket used as a meter). Each unit adds
`T = period / count` of time to a backlog that drains as the clock runs; a request fits if the backlog
stays within `burst × T`. We store the backlog at a moment, which is the theoretical arrival time minus that
moment, since a backlog keeps more digits than a date in microseconds.

    60/minute with burst 10: T = 1 s, room for 10 s of backlog
    12:00:00  10 requests at once: the backlog is 10 s, an eleventh waits 1 s
    12:00:03  the backlog has drained to 7 s: 3 more fit

**Calendar window.** One count, and the start of the period that it belongs to; a count of another period
counts as none, but for its debt, so nothing has to be reset. The periods are those of
guard/core/calendars.py.

    1000000/month in UTC: 999,990 used by 30 November; a cost of 20 waits until 1 December, 00:00

**Leases**, for concurrency. One entry for each request under way, with the moment at which it lapses unless
it is renewed; a request fits while fewer than `count` hold. When one will be given back, nobody knows: who
is refused is told to come again in a second.

**Reserve and settle.** What a request will cost in tokens is known when it is over. Before, an estimate is
charged like any other cost, with a *mark* of where it was put: the start of the present window (sliding and
calendar windows), or the moment at which the backlog including it will have drained (GCRA). Afterwards the
difference is settled: an overrun is charged to the present; what was not used is given back as far as it
still weighs, so that no capacity is given back that has drained already. A reservation is renewed while its
request runs. One whose owner dies is given back whole at its expiry, by the next request that touches the
same holder.

**Debt.** An overrun may be larger than the limit: the backend ignored a cap, or thought in secret. What is
beyond the count when a window ends is carried into the next one, where it counts in full, and so on until it
is paid. Over time nobody gets more than `count` a period and the last overrun. GCRA's backlog does the same.

    1000/minute, first request at 12:00:00, which turns out to have used 3,500
    12:01:00  1,000 are of the window before and slide out; 2,500 are owed: nothing fits
    12:02:00  1,500 are owed
    12:03:00  500 are owed, and the window before weighs 1,000
    12:03:30  500 + 1000 × 30/60 = 1,000 are used; from now on there is room
    in a calendar window  2,500, 1,500 and 500 at 12:01, 12:02 and 12:03: room for 500 from 12:03:00
    GCRA, burst 1000      the backlog is 210 s, and below 60 s from 12:02:30 on

A reservation that is given back is taken off the debt that it made, as long as its window is the present one
or the one before.

**A limit whose numbers change** keeps what was used: state is kept by name, algorithm and period, not by
count. It is read as what the new limit could have admitted at most, so that nobody waits longer than under
the new limit: 900 used of 1,000 count as 100 when the limit falls to 100, and as 900 when it rises. Debt is
no such use: 1,300 used of 1,000 are 300 of debt and 100 when the limit falls to 100. It is paid by the
numbers that hold now. GCRA converts its backlog, which is time, by way of units.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from fnmatch import fnmatchcase
from math import floor
from typing import TYPE_CHECKING, NamedTuple, Self

from guard.core.calendars import MICROSECONDS
from guard.core.globs import same_name
from guard.core.identity import CUT_BY_THE_LADDER, SHOWN_TO_THE_CLIENT, Attribute
from guard.core.modes import ENFORCED
from guard.core.novelty import UNIT

if TYPE_CHECKING:
    from collections.abc import Mapping
    from zoneinfo import ZoneInfo

    from guard.core.calendars import Span
    from guard.core.identity import Holder
    from guard.core.modes import Rollout


class Unit(StrEnum):
    """What a limit counts, where it is not a unit of the operator's own: one row for each.

    Of an `estimated` one a request knows only an estimate until it is over. `scale` is how many of what the
    store counts are one of what an operator writes and reads. `said` is how one of them is called to clients,
    empty where they are not told of it. `COST` is in micro-dollars, and `NOVELTY` in thousandths (see
    guard/core/novelty.py).
    """

    estimated: bool
    scale: int
    said: str

    # With defaults, so that a type checker takes `Unit(name)` for the look-up that it is.
    def __new__(cls, name: str, estimated: bool = False, scale: int = 1, said: str = "") -> Self:
        """One row."""
        row = str.__new__(cls, name)
        row._value_ = name
        row.estimated, row.scale, row.said = estimated, scale, said
        return row

    REQUESTS = "requests", False, 1, "request"
    INPUT_TOKENS = "input_tokens", True, 1, "input token"
    OUTPUT_TOKENS = "output_tokens", True, 1, "output token"
    TOKENS = "tokens", True, 1, "token"
    COST = "cost", True
    CONCURRENCY = "concurrency", False, 1, "request"
    NOVELTY = "novelty", True, UNIT


ESTIMATED = frozenset(unit for unit in Unit if unit.estimated)

_SCALES: dict[str, int] = {unit: unit.scale for unit in Unit if unit.scale != 1}


def scale_of(unit: str) -> int:
    """How many of what the store counts are one of what an operator writes and reads."""
    return _SCALES.get(unit, 1)


def shown(unit: str, amount: int) -> int | float:
    """An amount that the store counts, as an operator reads it: 1,250 thousandths of novelty are 1.25."""
    scale = _SCALES.get(unit)
    if scale is None:
        return amount
    return amount / scale if amount % scale else amount // scale


class Algorithm(StrEnum):
    """How a window forgets; the theory is at the top of this file."""

    SLIDING_WINDOW = "sliding_window"
    GCRA = "gcra"
    CALENDAR = "calendar"
    LEASES = "leases"


def cut(number: int, left: int) -> int:
    """So many thousandths of a number, but one at least."""
    return min(number, max(1, floor(number * left / 1000)))


@dataclass(frozen=True, slots=True)
class Window:
    """`count` units in `period_seconds`; `burst` is the most at one moment (GCRA).

    A calendar window has its `span`, and a period that is only about right. Leases have no period.
    """

    count: int
    period_seconds: int
    burst: int
    span: Span | None = None

    @property
    def period_us(self) -> int:
        """The period in microseconds, as the scripts want it."""
        return self.period_seconds * MICROSECONDS

    def cut(self, left: int) -> Window:
        """So many thousandths of it."""
        return replace(self, count=cut(self.count, left), burst=cut(self.burst, left))


@dataclass(frozen=True, slots=True)
class Ramp:
    """How a limit grows for a caller that nobody vouches for: from a share of it, when the caller is first
    seen, to the whole, `span_us` later.

        200/day, 14 days from 0.5    100 when it is first seen, 150 after a week, 200 after two
    """

    span_us: int
    start: float

    def share(self, age_us: int | None) -> float:
        """The share for a caller that was first seen so long ago; of whom that is not known is new."""
        age = 0.0 if age_us is None else min(1.0, max(0, age_us) / self.span_us)
        return self.start + (1.0 - self.start) * age


@dataclass(frozen=True, slots=True)
class Match:
    """Which requests a limit is for: shell globs, of which one must match; none at all match everything.

    Models are compared without regard to case, and to what Ollama adds to a name (`same_name`). A request
    without a model is not held to a limit for certain models. `free` says that it is for requests
    on free routes alone.
    """

    models: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    free: bool = False

    def takes(self, model: str, route: str, method: str) -> bool:
        """Whether a request belongs here."""
        return (
            _any(tuple(map(same_name, self.models)), same_name(model))
            and _any(self.routes, route)
            and (not self.methods or method in self.methods)
        )


EVERY_REQUEST = Match()


class Holders(StrEnum):
    """Whom a limit is for: all callers, those that somebody vouches for, the others, or of these the ones
    that were first seen a short time ago.
    """

    ALL = "all"
    VERIFIED = "verified"
    UNVERIFIED = "unverified"
    NEW = "new"


class Role(StrEnum):
    """What a limit is: one of the settings (`WHOLE`), or beside one that several share, what each caller has
    of that for itself (`FLOOR`), and what all of them may take so together (`FLOORS`).
    """

    WHOLE = "whole"
    FLOOR = "floor"
    FLOORS = "floors"


@dataclass(frozen=True, slots=True)
class Limit:
    """So many units per window for each holder. The `key` is the name that the store counts it under.

    `unit` is a `Unit` or the name of a unit of the operator's own. `zone` is where calendar windows begin
    at midnight; `None` for the other algorithms. `holders` says whom it is for, and `ramp` how it
    grows for who is new. `floor` is how many units of each window a caller has for itself where several share
    the limit, and `role` says whether this is what one of them has so, or all together may.

    What every request asks of a limit is worked out once: whether the cost is `estimated` until the answer is
    over, whether what was charged is kept apart as `pending` until then, whether it is `for_one`, and so
    counts what a caller or its own people do, whether it is the caller's `own`, which its risk may cut, and
    whether it stands `beside` one that several share.
    """

    name: str
    unit: str
    per: tuple[Attribute, ...]
    algorithm: Algorithm
    windows: tuple[Window, ...]
    match: Match = EVERY_REQUEST
    rollout: Rollout = ENFORCED
    zone: ZoneInfo | None = None
    holders: Holders = Holders.ALL
    ramp: Ramp | None = None
    floor: int = 0
    role: Role = Role.WHOLE
    estimated: bool = field(init=False, compare=False, repr=False)
    pending: bool = field(init=False, compare=False, repr=False)
    for_one: bool = field(init=False, compare=False, repr=False)
    own: bool = field(init=False, compare=False, repr=False)
    beside: bool = field(init=False, compare=False, repr=False)
    key: str = field(init=False, compare=False, repr=False)
    _hash: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        estimated = self.unit in ESTIMATED
        kept = (self.name, self.unit, self.per, self.algorithm, self.windows, self.match, self.rollout)
        object.__setattr__(self, "estimated", estimated)
        object.__setattr__(self, "pending", estimated or self.unit == Unit.CONCURRENCY)
        object.__setattr__(self, "for_one", not SHOWN_TO_THE_CLIENT.isdisjoint(self.per))
        object.__setattr__(self, "own", not CUT_BY_THE_LADDER.isdisjoint(self.per))
        object.__setattr__(self, "beside", self.role is not Role.WHOLE)
        # No name of a limit has a slash.
        key = f"{self.name}/floors" if self.role is Role.FLOORS else self.name
        object.__setattr__(self, "key", key)
        object.__setattr__(self, "_hash", hash(kept))

    def __hash__(self) -> int:
        return self._hash

    @property
    def by_age(self) -> bool:
        """Whether it depends on when an unverified caller was first seen."""
        return self.holders is Holders.NEW or self.ramp is not None

    def for_each(self) -> Limit:
        """What each caller has of this limit for itself."""
        windows = tuple(
            replace(window, count=min(window.count, self.floor), burst=min(window.burst, self.floor))
            for window in self.windows
        )
        return replace(self, windows=windows, ramp=None, floor=0, role=Role.FLOOR)

    def for_floors(self) -> Limit:
        """What all callers may take together by their floors: as much again as they share."""
        return replace(self, ramp=None, floor=0, role=Role.FLOORS)

    def with_counts(self, counts: Mapping[int, tuple[int, int]]) -> Limit:
        """The same limit with other numbers: (count, burst) by period in seconds."""
        windows = tuple(
            replace(window, count=counts[window.period_seconds][0], burst=counts[window.period_seconds][1])
            if window.period_seconds in counts
            else window
            for window in self.windows
        )
        return replace(self, windows=windows)


class Charge(NamedTuple):
    """What one request owes to one limit of one holder.

    `spare` is the part of the amount that only the caller's own cap asks for. It is not insisted on: where
    the whole limit is smaller than the amount, the request takes what is left of it, but half of the whole
    at least, and its cap is lowered (guard/core/caps.py). `enforced` says that the request is refused where
    there is no room. `left` is the share of the limit that is left to this caller, and `told` the one that it
    is told of: what its ramp leaves, whatever its risk does.
    """

    limit: Limit
    holder: Holder
    amount: int
    spare: int = 0
    enforced: bool = True
    left: float = 1.0
    told: float = 1.0

    def shown(self, window: Window) -> Window:
        """A window as the caller is told of it."""
        return window if self.told == 1 else window.cut(round(1000 * self.told))


class Reading(NamedTuple):
    """How one window of a limit stands after (or, when refused, without) the charge.

    `window` has the numbers that held for this holder, less what a ramp does not leave. Times in
    microseconds: `reset_us` until the window is as good as new, `wait_us` until this charge would fit: 0 if
    it does now, `None` if it never can. `amount` is what the charge asks of the limit, the part that is not
    insisted on as far as there is room for it. `left` is the charge's. What a caller has for itself of a
    limit that several share is in the reading of that one: what remains is what it may use of both.
    """

    limit: Limit
    window: Window
    holder: Holder
    remaining: int
    reset_us: int
    wait_us: int | None
    enforced: bool = True
    amount: int = 0
    left: float = 1.0

    @property
    def fits(self) -> bool:
        """Whether this window has room for the charge."""
        return self.wait_us == 0


def _any(globs: tuple[str, ...], text: str) -> bool:
    return not globs or any(fnmatchcase(text, glob) for glob in globs)
