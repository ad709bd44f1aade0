"""How kinds are made of lives."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.detection.kinds import (
    ENUMERATION,
    HIDING,
    HONEST_FLOOR,
    HONEST_WAYS,
    MIXTURE,
    THEFT_FLOOR,
    Life,
    enumeration,
    likeness,
    mixture,
)
from guard.detection.likeness import TRAITS

RNG = np.random.default_rng(0)


def rows(*at: float, count: int = 40) -> np.ndarray:
    """Rows about a place."""
    found: np.ndarray = np.array(at) + RNG.normal(0, 0.01, (count, len(at)))
    return found


def life(variety: str, source: str | None = None) -> Life:
    return Life(variety, source, RNG.normal(0, 1, (5, len(TRAITS))))


def test_a_use_that_comes_in_two_ways_is_two_kinds_which_weigh_as_its_holders_do() -> None:
    holders = [rows(0, 0), rows(0.01, 0), rows(0, 0.01), rows(5, 5)]
    made = likeness(("worded", "slot"), {("app", False): holders, ("theft", True): [rows(9, 9)]})
    ways = sorted((kind.weight, *np.round(kind.place)) for kind in made.kinds if not kind.theft)
    assert (0.25, 5, 5) in ways
    assert sum(weight for weight, *_ in ways) == pytest.approx(1)
    assert len(ways) <= HONEST_WAYS


def test_a_theft_is_one_kind() -> None:
    kinds = {("app", False): [rows(0, 0)], ("theft", True): [rows(0, 0), rows(5, 5)]}
    (theft,) = (kind for kind in likeness(("worded", "slot"), kinds).kinds if kind.theft)
    assert theft.weight == 1
    assert theft.place == pytest.approx((2.5, 2.5), abs=0.1)
    assert theft.width[0] > 2.5


def test_holders_of_a_kind_weigh_alike_however_long_they_were_watched() -> None:
    kinds = {("app", False): [rows(0, 0)], ("theft", True): [rows(0, 0, count=1000), rows(4, 4, count=10)]}
    (theft,) = (kind for kind in likeness(("worded", "slot"), kinds).kinds if kind.theft)
    assert theft.place == pytest.approx((2, 2), abs=0.1)


def test_no_kind_is_narrower_than_a_share_of_the_spread_of_all() -> None:
    kinds = {("app", False): [np.zeros((9, 1))], ("theft", True): [np.ones((9, 1))]}
    app, theft = likeness(("worded",), kinds).kinds
    assert app.width[0] == pytest.approx((HONEST_FLOOR * 0.25) ** 0.5)
    assert theft.width[0] == pytest.approx((THEFT_FLOOR * 0.25) ** 0.5)


def test_enumerations_are_thefts_by_the_set_that_they_go_through_and_hidden_ones_by_their_cover() -> None:
    lives = [life("person"), life("bulk", "a set"), life("templated", "a set"), *map(life, HIDING)]
    enumerations, mixtures = enumeration(lives), mixture(lives)
    assert (enumerations.traits, mixtures.traits) == (ENUMERATION, MIXTURE)
    assert {(kind.name, kind.theft) for kind in enumerations.kinds} == {("person", False), ("a set", True)}
    assert {(kind.name, kind.theft) for kind in mixtures.kinds} == {
        ("person", False),
        *((name, True) for name in HIDING),
    }


def test_columns_are_those_of_the_traits_that_are_named() -> None:
    one = life("person")
    names = list(TRAITS)
    np.testing.assert_array_equal(one.of(["worded", "slot"])[:, 0], one.rows[:, names.index("worded")])
    np.testing.assert_array_equal(one.of(["worded", "slot"])[:, 1], one.rows[:, names.index("slot")])
