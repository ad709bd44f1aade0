from __future__ import annotations

from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.admin.intervals import bounds, rank_above


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


@given(st.integers(1, 400), st.floats(0.5, 0.999))
def test_the_number_of_that_rank_is_above_the_quantile_in_nineteen_cases_of_twenty(
    total: int, share: float
) -> None:
    def below(rank: int) -> float:
        """How sure it is that fewer than `rank` of the numbers lie below the quantile."""
        return sum(comb(total, k) * share**k * (1 - share) ** (total - k) for k in range(rank))

    rank = rank_above(share, total)
    if rank is None:
        assert below(total) < 0.95 + 1e-9
    else:
        assert below(rank) > 0.95 - 1e-9
        assert below(rank - 1) < 0.95 + 1e-9


def test_it_takes_299_numbers_to_bound_what_99_of_100_stay_below() -> None:
    assert (rank_above(0.99, 298), rank_above(0.99, 299), rank_above(0.99, 400)) == (None, 299, 400)
