from __future__ import annotations

from math import comb

import pytest

from guard.admin.intervals import bounds


@pytest.mark.parametrize(
    ("count", "total", "least", "most"),
    [
        # Figures of the tables in Clopper and Pearson (1934) and of R's binom.test.
        (0, 10, 0.0, 0.3084971),
        (1, 10, 0.0025286, 0.4450161),
        (5, 10, 0.1870860, 0.8129140),
        (10, 10, 0.6915029, 1.0),
        (0, 300, 0.0, 0.0122210),
    ],
)
def test_known_bounds(count: int, total: int, least: float, most: float) -> None:
    assert bounds(count, total) == pytest.approx((least, most), abs=1e-6)


@pytest.mark.parametrize(("count", "total"), [(1, 3), (3, 40), (17, 40), (39, 40), (2, 500)])
def test_at_a_bound_as_much_is_seen_once_in_forty(count: int, total: int) -> None:
    least, most = bounds(count, total)

    def at_most(seen: int, share: float) -> float:
        return sum(comb(total, k) * share**k * (1 - share) ** (total - k) for k in range(seen + 1))

    assert at_most(count, most) == pytest.approx(0.025, rel=1e-6)
    assert 1 - at_most(count - 1, least) == pytest.approx(0.025, rel=1e-6)


def test_without_any_nothing_is_known() -> None:
    assert bounds(0, 0) == (0.0, 1.0)
