"""Limits: so many units per window, for a holder. What the store's scripts count, and why it is exact.

A limit may have several windows (`20/second;600/minute`); all of them must have room. A request is admitted
against all limits at once or charged to none. Two algorithms, both O(1) in memory, however large the limit:

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

**Reserve and settle.** What a request will cost in tokens is known when it is over. Before, an estimate is
charged like any other cost, with a *mark* of where it was put: the start of the present window (sliding
window), or the moment at which the backlog including it will have drained (GCRA). Afterwards the difference
is settled: an overrun is charged to the present; what was not used is given back as far as it still weighs,
so that no capacity is given back that has drained already. A reservation whose owner dies is given back
whole at its expiry, by the next request that touches the same holder.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from guard.core.identity import Attribute, Holder
    from guard.core.query import Query, Usage

MICROSECONDS = 1_000_000


class Unit(StrEnum):
    """What a limit counts."""

    REQUESTS = "requests"
    INPUT_TOKENS = "input_tokens"
    OUTPUT_TOKENS = "output_tokens"
    TOKENS = "tokens"

    @property
    def reserved(self) -> bool:
        """Whether the cost is an estimate until the answer is over."""
        return self is not Unit.REQUESTS


class Algorithm(StrEnum):
    """How a window forgets; the theory is at the top of this file."""

    SLIDING_WINDOW = "sliding_window"
    GCRA = "gcra"


@dataclass(frozen=True, slots=True)
class Window:
    """`count` units in `period_seconds`; `burst` is the most at one moment (GCRA)."""

    count: int
    period_seconds: int
    burst: int

    @property
    def period_us(self) -> int:
        """The period in microseconds, as the scripts want it."""
        return self.period_seconds * MICROSECONDS


@dataclass(frozen=True, slots=True)
class Limit:
    """So many units per window for each holder of one attribute. The name is its key in the store."""

    name: str
    unit: Unit
    per: Attribute
    algorithm: Algorithm
    windows: tuple[Window, ...]

    @property
    def largest_cost(self) -> int:
        """The most that one request may cost, if it is ever to fit."""
        return min(window.burst for window in self.windows)


@dataclass(frozen=True, slots=True)
class Charge:
    """What one request owes to one limit of one holder."""

    limit: Limit
    holder: Holder
    amount: int


@dataclass(frozen=True, slots=True)
class Reading:
    """How one window of a limit stands after (or, when refused, without) the charge.

    Times in microseconds: `reset_us` until the window is as good as new, `wait_us` until this charge would
    fit: 0 if it does now, `None` if it never can.
    """

    limit: Limit
    window: Window
    holder: Holder
    remaining: int
    reset_us: int
    wait_us: int | None

    @property
    def fits(self) -> bool:
        """Whether this window has room for the charge."""
        return self.wait_us == 0


def reserve_amount(limit: Limit, query: Query | None, default_output_tokens: int) -> int:
    """What to charge a limit before the answer is known; 1 request and 0 tokens where no query is visible.

    The output is taken as the caller's cap (or the model's) for each of the `n` answers. A cap larger than
    the whole limit reserves the whole limit, so that generous caps wait for an empty window but are not
    shut out for ever; input alone larger than the limit stays so, and can never be admitted.
    """
    if limit.unit is Unit.REQUESTS:
        return 1
    if query is None:
        return 0
    output_tokens = query.n * (query.max_output_tokens or default_output_tokens)
    known = 0 if limit.unit is Unit.OUTPUT_TOKENS else query.input_tokens
    estimate = known + (0 if limit.unit is Unit.INPUT_TOKENS else output_tokens)
    return max(known, min(estimate, limit.largest_cost))


def settle_amount(unit: Unit, usage: Usage) -> int:
    """What a finished request owes to a limit of this unit."""
    match unit:
        case Unit.REQUESTS:
            return 1
        case Unit.INPUT_TOKENS:
            return usage.input_tokens
        case Unit.OUTPUT_TOKENS:
            return usage.output_tokens
        case Unit.TOKENS:
            return usage.input_tokens + usage.output_tokens
