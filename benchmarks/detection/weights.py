"""What each trait weighs in a score: logistic regression of thefts against honest uses.

No weight is below 0 (guard/detection/traits.py says why), and all are kept small: with few data sets to learn
from, whatever else tells them apart is chance. Each sort of honest use weighs alike, however many holders it
has, and so does each data set; honest uses and thefts together weigh alike.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.detection.lives import ENUMERATING, HIDING
from guard.core.signals import Signal
from guard.detection.traits import ENOUGH_DRAWN, TRAITS, Score

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from benchmarks.detection.lives import Life

SCORED = {
    Signal.ENUMERATION: (
        *("payout", "payout_alone", "novelty", "alone", "one_sort", "no_person", "no_documents", "short"),
        *("own_length", "various", "vocabulary", "once"),
    ),
    Signal.MIXTURE: (
        *("off_template", "off_one_template", "payout_alone", "payout_each", "own_length_mostly"),
        *("seldom_twice", "no_documents", "moderate", "forgetful"),
    ),
}
"""The traits that each score is the sum of."""

THEFTS = {Signal.ENUMERATION: ENUMERATING, Signal.MIXTURE: HIDING}

PENALTY = 0.02
"""How dear large weights are, of traits in standard deviations; chosen by leaving sources out."""

STEPS, RATE = 800, 0.3


def scores(lives: Sequence[Life]) -> dict[Signal, Score]:
    """The scores that tell these thefts from honest holders; what is declared and excused is left out."""
    return {signal: _score(lives, signal) for signal in SCORED}


def statistics(life: Life, score: Score) -> list[float]:
    """The score of a holder at each of its moments, NaN where too little was drawn."""
    order = list(TRAITS)
    places = [order.index(name) for name in score.weights]
    weights, typical = np.array(list(score.weights.values())), np.array(list(score.typical.values()))
    return [
        float(weights @ (np.array(moment.traits)[places] - typical))
        if moment.drawing >= ENOUGH_DRAWN
        else float("nan")
        for moment in life.moments
    ]


def _score(lives: Sequence[Life], signal: Signal) -> Score:
    names, order = SCORED[signal], list(TRAITS)
    places = [order.index(name) for name in names]
    used = [
        (life, rows)
        for life in lives
        if (life.variety in THEFTS[signal] if life.theft else signal not in life.excused)
        if len(rows := _rows(life, places))
    ]
    number = Counter((life.theft, life.sort) for life, _ in used)
    traits = np.concatenate([rows for _, rows in used])
    theft = np.concatenate([np.full(len(rows), life.theft, float) for life, rows in used])
    weight = np.concatenate(
        [np.full(len(rows), 1 / len(rows) / number[life.theft, life.sort]) for life, rows in used]
    )
    weight /= 2 * np.where(theft, weight[theft == 1].sum(), weight[theft == 0].sum())
    mean, spread = traits.mean(axis=0), traits.std(axis=0) + 1e-6
    found = _fitted((traits - mean) / spread, theft, weight) / spread
    honest = theft == 0
    typical = np.average(traits[honest], axis=0, weights=weight[honest])
    return Score(
        dict(zip(names, found.tolist(), strict=True)), dict(zip(names, typical.tolist(), strict=True))
    )


def _rows(life: Life, places: Sequence[int]) -> NDArray[np.float64]:
    """The traits of a holder from when enough was drawn, of shape (moments, places)."""
    rows = [moment.traits for moment in life.moments if moment.drawing >= ENOUGH_DRAWN]
    return np.array(rows)[:, places] if rows else np.empty((0, len(places)))


def _fitted(
    traits: NDArray[np.float64], theft: NDArray[np.float64], weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Weights of at least 0, by gradient descent that is pushed back to 0."""
    weights, offset = np.zeros(traits.shape[1]), 0.0
    for _ in range(STEPS):
        away = weight * (1 / (1 + np.exp(-(traits @ weights + offset))) - theft)
        weights = np.maximum(0, weights - RATE * (traits.T @ away + PENALTY * weights))
        offset -= RATE * float(away.sum())
    return weights
