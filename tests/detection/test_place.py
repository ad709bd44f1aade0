"""How far a holder's queries lie from those of honest holders."""

from __future__ import annotations

import numpy as np
import pytest
from lessons import Pupil, enumeration_of

from guard.core.signals import Signal
from guard.detection.layout import PLACES
from guard.detection.place import Distribution, independent
from guard.detection.profile import FADE
from guard.detection.reference import see
from guard.detection.signals import LEAST_QUERIES


def place() -> Distribution:
    rng = np.random.default_rng(0)
    return Distribution(rng.normal(size=PLACES), rng.uniform(0.1, 1, PLACES), rng.uniform(0.1, 1, PLACES))


def drawn(lies: Distribution, rng: np.random.Generator, queries: int = 400, shift: float = 0.0) -> float:
    """The distance of a holder that is drawn as `lies` says, by a mean that fades like a profile's."""
    own = lies.mean + rng.normal(size=PLACES) * np.sqrt(lies.between) + shift
    asked = own + rng.normal(size=(queries, PLACES)) * np.sqrt(lies.within)
    mean, weight = np.zeros(PLACES), 0.0
    for each in asked:
        mean, weight = mean * FADE + each * (1 - FADE), weight * FADE + 1
    return lies.distance_of(mean.astype(np.float32), weight)


@pytest.mark.parametrize("queries", [60, 200, 1_000])
def test_who_lies_where_others_do_is_about_one_away(queries: int) -> None:
    lies, rng = place(), np.random.default_rng(1)
    distances = [drawn(lies, rng, queries) for _ in range(20)]
    assert np.mean(distances) == pytest.approx(1, abs=0.12)
    assert max(distances) < 1.5


@pytest.mark.parametrize("queries", [50, 100, 200, 1_000])
def test_however_few_queries_there_are_chance_takes_it_no_further(queries: int) -> None:
    lies = Distribution(np.zeros(PLACES), np.full(PLACES, 1e-9), np.ones(PLACES))
    distances = [drawn(lies, np.random.default_rng(seed), queries) for seed in range(20)]
    assert np.mean(distances) == pytest.approx(1, abs=0.07)


@pytest.mark.parametrize("queries", [1, 10, 200, 5_000])
def test_so_many_queries_count_as_independent_as_their_weights_say(queries: int) -> None:
    weights = FADE ** np.arange(queries)
    of = weights.sum() ** 2 / (weights**2).sum()
    assert independent(weights.sum()) == pytest.approx(of, rel=0.005)


def test_who_lies_elsewhere_is_further_away_the_further_it_lies() -> None:
    lies = place()
    distances = [drawn(lies, np.random.default_rng(2), shift=shift) for shift in (0.0, 1.0, 2.0, 8.0)]
    assert distances == sorted(distances)
    assert distances[2] > 2


def test_of_few_queries_no_distance_is_told() -> None:
    pupil = Pupil()
    pupil.ask_all(enumeration_of(LEAST_QUERIES - 1))
    assert place().distance(pupil.profile) is None
    assert Signal.DISTANCE not in see(pupil.profile, {}, place()).statistics
    pupil.ask_all(enumeration_of(20, seed=1))
    assert Signal.DISTANCE in see(pupil.profile, {}, place()).statistics
    assert Signal.DISTANCE not in see(pupil.profile, {}).statistics
