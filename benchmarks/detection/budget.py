"""One holder's diversity budget, kept in this process as guard's store keeps it in Redis.

It mirrors guard/store/redis/lua/windows.lua for a budget with one window. Requests come one by one: each is
settled before the next is asked about. What simulated answers say nobody knows, so all of it counts as new;
what real answers pay is measured in payouts.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from guard.core.novelty import NOTHING_RECENT, Recent


@dataclass(frozen=True, slots=True)
class Price:
    """What `answers` to a query cost in thousandths: at `least` and at `most` before they are known, and what
    they `drew` once they are.
    """

    answers: int
    least: int
    most: int
    drew: int


@dataclass(slots=True)
class Budget:
    """`count` thousandths in a window of `period_us`."""

    count: int
    period_us: int
    peak: float = 0.0
    """The largest share of it that was ever in use."""
    _start: int | None = None
    _current: float = 0.0
    _previous: float = 0.0
    _recent: Recent = NOTHING_RECENT

    def draw(self, price: Price, now_us: int, share: float = 1.0) -> int | None:
        """Charge one request; what it cost, or `None` where there was no room for it.

        `share` is what is left of the budget.
        """
        self._roll(now_us)
        count = max(1, int(self.count * share))
        reserved = max(price.least, min(self._recent.reserve(price.least, price.most), count))
        if self._used(now_us) + reserved > count:
            return None
        self._recent = self._recent.after(price.answers, price.drew, price.drew)
        self._current += price.drew
        self.peak = max(self.peak, self._used(now_us) / self.count)
        return price.drew

    def _roll(self, now_us: int) -> None:
        start = now_us if self._start is None else self._start
        ages = (now_us - start) // self.period_us
        if ages >= 1:
            # What is beyond the count is debt: each window pays one count of it.
            owed = max(0.0, self._current - (ages - 1) * self.count)
            self._previous = min(owed, self.count)
            start, self._current = start + ages * self.period_us, owed - self._previous
        self._start = start if self._current or self._previous else now_us

    def _used(self, now_us: int) -> float:
        elapsed = now_us - (self._start or 0)
        return self._current + self._previous * (self.period_us - elapsed) / self.period_us
