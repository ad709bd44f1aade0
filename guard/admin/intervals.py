"""How sure a count makes us of a share: exact bounds after Clopper and Pearson (1934).

0 of 100 honest holders were refused    the share is at most 3.6 % (95 %, two-sided)
0 of 300                                at most 1.2 %; about 3/n, one-sided: the rule of three
"""

from __future__ import annotations

from math import exp, lgamma, log, log1p

CONFIDENCE = 0.95


def bounds(count: int, total: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Between which shares the truth lies when `count` of `total` were seen; (0, 1) without any."""
    if total == 0:
        return 0.0, 1.0
    tail = (1 - confidence) / 2
    least = _quantile(tail, count, total - count + 1) if count > 0 else 0.0
    most = _quantile(1 - tail, count + 1, total - count) if count < total else 1.0
    return least, most


def rank_above(share: float, total: int, confidence: float = CONFIDENCE) -> int | None:
    """Which of so many numbers in rising order, counted from 1, is the first that lies above the quantile of
    all that might have been seen; `None` where the largest may not.
    """
    for rank in range(max(1, int(share * total)), total + 1):
        if _incomplete_beta(total - rank + 1, rank, 1 - share) >= confidence:
            return rank
    return None


def _quantile(probability: float, a: float, b: float) -> float:
    """Where the beta distribution reaches a probability, by bisection."""
    low, high = 0.0, 1.0
    while high - low > 1e-12:
        middle = (low + high) / 2
        if _incomplete_beta(a, b, middle) < probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function (Abramowitz and Stegun 26.5.8), 0 < x < 1."""
    if x > (a + 1) / (a + b + 2):
        return 1 - _incomplete_beta(b, a, 1 - x)
    front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x)) / a
    return front / _fraction(a, b, x)


def _fraction(a: float, b: float, x: float) -> float:
    """The continued fraction 1 + d₁x/(1 + d₂x/(1 + …)), from its far end."""
    value = 1.0
    for place in range(200, 0, -1):
        m = place // 2
        if place % 2:
            term = -(a + m) * (a + b + m) / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            term = m * (b - m) / ((a + 2 * m - 1) * (a + 2 * m))
        value = 1 + term * x / value
    return value
