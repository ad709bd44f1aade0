"""Holders that ask about the same things, told apart from others that have the same thing in common.

A wording, a network or a mail domain may be shared by a distiller's accounts and by people who have nothing
to do with it. What they ask about differs, or how. So holders are divided in two again and again, by where
their queries lie on average and how they are asked (spherical 2-means), as long as that holds for queries
that the division has not seen: it is made by every other query of each holder, and the rest has to agree.
"""

from __future__ import annotations

from math import comb
from typing import TYPE_CHECKING

import numpy as np

from guard.campaigns.judgement import BESIDE
from guard.campaigns.window import units
from guard.detection.layout import PLACES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from guard.campaigns.window import Seen
    from guard.detection.trace import Trace

LEAST_OF_ONE = 4
"""Of whom fewer queries are known goes with the nearest, or with none that is near enough."""

NEAR = 0.75

LEAST_HOLDERS = 6
"""Fewer are not divided."""

AGREED = 0.8
"""A division holds if so large a share of the holders lie on the same side by their other queries,"""

CHANCE = 1e-4
"""and if so many would hardly do so by chance."""

ROUNDS = 12
DEEPEST = 12


def communities(holders: Sequence[Seen]) -> list[list[Seen]]:
    """The communities of these holders, the largest first; all of them where nothing divides them. Who has
    hardly asked yet is in one only where that lies as near to its middle as the first queries of `NEAR` of
    its members do: else whoever asks in a popular wording would be in the campaign that hides in it.
    """
    known = [each for each in holders if len(each.latest) >= LEAST_OF_ONE]
    others = [each for each in holders if len(each.latest) < LEAST_OF_ONE]
    if len(known) < LEAST_HOLDERS:
        return [list(holders)]
    halves = np.array([_halves(each) for each in known])
    parts, _ = _divided(np.arange(len(known)), halves, 0)
    found = [[known[place] for place in part] for part in parts]
    if others:
        middles = units(np.array([np.sum([each.mean for each in part], axis=0) for part in found]))
        nears = [
            np.quantile([each.latest[0].place @ middle for each in part], 1 - NEAR)
            for part, middle in zip(found, middles, strict=True)
        ]
        cosines = units(np.array([each.mean for each in others])) @ middles.T
        for each, row in zip(others, cosines, strict=True):
            nearest = int(row.argmax())
            if row[nearest] >= nears[nearest]:
                found[nearest].append(each)
    return sorted(found, key=len, reverse=True)


def _halves(holder: Seen) -> NDArray[np.float32]:
    """Where every other query of a holder lies on average, and how it asks there; and the same of the rest.
    Shape (2, `PLACES` + 3).
    """
    rows = np.array([[*each.place, *_manner(each.trace)] for each in holder.latest], np.float32)
    places = rows[:, :PLACES]
    # What is asked again, in the same words or nearly, is no query that the division has not seen.
    new = np.tril(places @ places.T, -1).max(axis=1) <= BESIDE
    if new.sum() >= LEAST_OF_ONE:
        rows = rows[new]
    return np.array([rows[::2].mean(axis=0), rows[1::2].mean(axis=0)], np.float32)


def _manner(trace: Trace) -> tuple[float, float, float]:
    """How a query is asked, in numbers that differ about as much as places do: whether it goes on with a
    conversation, how long it is, and how long its answer.
    """
    return float(trace.continued), trace.slot / 8, trace.answer / 8


def _divided(
    part: NDArray[np.intp], halves: NDArray[np.float32], depth: int
) -> tuple[list[NDArray[np.intp]], bool]:
    """The parts into which this one falls, and whether it does. It also does where the first division does
    not hold, but one of a part's does.
    """
    whole = [part], False
    if len(part) < LEAST_HOLDERS or depth >= DEEPEST:
        return whole
    ours = halves[part] - halves[part].mean(axis=(0, 1))
    side = _two(units(ours[:, 0]))
    if not 0 < side.sum() < len(side):
        return whole
    middles = np.array([ours[~side, 0].mean(axis=0), ours[side, 0].mean(axis=0)])
    agreed = int(((ours[:, 1] @ (middles[1] - middles[0]) > _between(middles)) == side).sum())
    parts, below = [], False
    for which in (~side, side):
        fallen, divided = _divided(part[which], halves, depth + 1)
        parts += fallen
        below |= divided
    return (parts, True) if below or _holds(agreed, len(part)) else whole


def _holds(agreed: int, of: int) -> bool:
    """Whether a division holds on whose sides so many agree."""
    if agreed < AGREED * of:
        return False
    # Of more holders so many hardly agree by chance (Hoeffding, 1963).
    return of > 64 or sum(comb(of, each) for each in range(agreed, of + 1)) < CHANCE * 2**of


def _between(middles: NDArray[np.float32]) -> float:
    """Half-way between two points, along the line from one to the other."""
    return float(((middles[1] ** 2).sum() - (middles[0] ** 2).sum()) / 2)


def _two(rows: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which of two sides each row of length 1 falls on. The same for the same rows."""
    # From the row that is farthest from the middle, and the one that is farthest from that.
    first = rows[int((rows @ rows.mean(axis=0)).argmin())]
    second = rows[int((rows @ first).argmin())]
    side = np.zeros(len(rows), np.bool_)
    for _ in range(ROUNDS):
        before, side = side, rows @ second > rows @ first
        if not 0 < side.sum() < len(side) or (before == side).all():
            break
        first, second = units(np.array([rows[~side].mean(axis=0), rows[side].mean(axis=0)]))
    return side
