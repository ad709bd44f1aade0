"""What honest holders' answers pay out in a day, and the diversity budget that follows.

A budget should bother next to no honest holder, and the days of honest holders in a log say where that is:
proposed is what 99 in a hundred of them stay below. That is a quantile of what was seen; of what will be seen
it is certain, at 95 %, for the upper bound by order statistics (David and Nagaraja, 2003, section 7.1).

    days in order, of 400 independent ones    the 396th is the 99 % quantile, and the 400th its upper bound
    of 298 or fewer                           there is no bound: the largest day is proposed

The days of one holder are alike, and a thousand days of ten holders say little of an eleventh. So the bound
takes as many days as independent as are of different holders (Kish's effective size, for days of one holder
that are all the same): 30 days each of 400 holders count for 400.

Who would have been bothered is counted with exact sliding windows, of what was paid out by those requests
that would not have been refused. That is about what the algorithms of guard/core/limits.py do.
"""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field
from math import ceil
from typing import TYPE_CHECKING

from guard.admin.intervals import rank_above
from guard.core.limits import Algorithm
from guard.core.novelty import UNIT
from guard.settings.cautions import LEAST_SLIDING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from guard.core.limits import Limit, Window

SHARE = 0.99
"""The share of honest holders' days that a proposed budget is enough for."""

DAY_SECONDS = 86_400
DAY_US = DAY_SECONDS * 1_000_000

LEAST_HOLDERS = 20
LEAST_DAYS = 7
"""From fewer, what is proposed says little, and so does the report."""


@dataclass(slots=True)
class Takings:
    """What the answers of one holder have paid out to a diversity budget: when, in Unix microseconds, and how
    many thousandths, request by request. `windows` are those of the settings for it; none where they have no
    budget.
    """

    windows: tuple[Window, ...] = ()
    times: array[int] = field(default_factory=lambda: array("q"))
    paid: array[int] = field(default_factory=lambda: array("q"))

    def add(self, now_us: int, paid: int) -> None:
        """An answer was read."""
        self.times.append(now_us)
        self.paid.append(paid)

    def days(self) -> list[int]:
        """What was paid out on each day (UTC) with a request."""
        sums: Counter[int] = Counter()
        for now_us, paid in zip(self.times, self.paid, strict=True):
            sums[now_us // DAY_US] += paid
        return list(sums.values())

    def refused(self, windows: Sequence[tuple[int, int]]) -> list[int]:
        """When requests would have been refused, had it been held to so many thousandths in each of these
        periods (microseconds).
        """
        refused, kept = [], array("q")
        used, first = [0] * len(windows), [0] * len(windows)
        for now_us, paid in zip(self.times, self.paid, strict=True):
            for place, (_, period_us) in enumerate(windows):
                while first[place] < len(kept) and self.times[first[place]] <= now_us - period_us:
                    used[place] -= kept[first[place]]
                    first[place] += 1
            fits = all(each < count for each, (count, _) in zip(used, windows, strict=True))
            kept.append(paid if fits else 0)
            used = [each + kept[-1] for each in used]
            if not fits:
                refused.append(now_us)
        return refused


@dataclass(frozen=True, slots=True)
class Bothered:
    """A holder that a budget would have refused something: so many of its requests, on so many days."""

    holder: str
    refused: int
    requests: int
    days: int


@dataclass(frozen=True, slots=True)
class Budget:
    """What is proposed for a diversity budget of a tier, in units a day, and why.

    `days` are those of all `holders` together, `quantile` what `SHARE` of them stay below, `bound` its upper
    bound (95 %), `None` where there is too little for one, and `largest` the holders with the largest days.
    `present` are the holders that the budget of the settings would have bothered, `None` without one, and
    `bothered` those that the proposed one would have, of so many `requests` in all. From fewer than
    `LEAST_HOLDERS`, and `LEAST_DAYS` of the log, nothing is proposed, and never fewer than `LEAST_SLIDING` of
    a sliding window, which would admit fewer than it says.
    """

    tier: str
    limit: Limit
    holders: int
    days: int
    requests: int
    quantile: float
    bound: float | None
    largest: tuple[tuple[str, float], ...]
    proposed: int | None
    present: tuple[Bothered, ...] | None
    bothered: tuple[Bothered, ...]

    @classmethod
    def of(cls, tier: str, limit: Limit, takings: dict[str, Takings], log_days: float) -> Budget:
        """From what holders have taken, by name, in a log of so many days."""
        days = {name: each.days() for name, each in sorted(takings.items())}
        amounts = sorted(amount for each in days.values() for amount in each)
        bound = _bound(amounts, [len(each) for each in days.values()])
        enough = len(takings) >= LEAST_HOLDERS and log_days >= LEAST_DAYS
        sliding = limit.algorithm is Algorithm.SLIDING_WINDOW
        least, amount = LEAST_SLIDING if sliding else 1, amounts[-1] if bound is None else bound
        proposed = max(least, ceil(amount / UNIT)) if enough else None
        largest = sorted(((max(each), name) for name, each in days.items()), reverse=True)[:3]
        held = any(each.windows for each in takings.values())
        return cls(
            tier,
            limit,
            holders=len(days),
            days=len(amounts),
            requests=sum(len(each.times) for each in takings.values()),
            quantile=amounts[ceil(SHARE * len(amounts)) - 1] / UNIT,
            bound=None if bound is None else bound / UNIT,
            largest=tuple((name, amount / UNIT) for amount, name in largest),
            proposed=proposed,
            present=tuple(_bothered(takings, None)) if held else None,
            bothered=tuple(_bothered(takings, [(proposed * UNIT, DAY_US)])) if proposed else (),
        )


def _bound(amounts: Sequence[int], days: Iterable[int]) -> int | None:
    """The upper bound of the quantile of rising amounts, of holders with so many days each."""
    counts = list(days)
    independent = round(sum(counts) ** 2 / sum(count**2 for count in counts))
    rank = rank_above(SHARE, independent)
    return None if rank is None else amounts[ceil(rank / independent * len(amounts)) - 1]


def _bothered(takings: dict[str, Takings], windows: Sequence[tuple[int, int]] | None) -> list[Bothered]:
    """The holders whom these windows would have refused something, or those of the settings; most first."""
    found = []
    for name, each in takings.items():
        own = [(window.count, window.period_us) for window in each.windows]
        refused = each.refused(own if windows is None else windows)
        if refused:
            days = len({now_us // DAY_US for now_us in refused})
            found.append(Bothered(name, len(refused), len(each.times), days))
    return sorted(found, key=lambda each: (-each.refused / each.requests, each.holder))
