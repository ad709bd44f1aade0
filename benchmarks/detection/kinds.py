"""What honest uses look like, and thefts: the kinds that guard tells an enumeration and a mixture by.

Everybody is watched as guard would, and put down from time to time as a row of traits. A variety of honest
use is up to five kinds, since it comes in several ways: with a template of its own or without, over pages or
over messages. The enumerations of one instruction set are one, however they are worded, and so are those that
hide in one cover.

What a model answers is the least real part of the simulation, and says most about a theft. So each life is
told several times more, with answers of other lengths: longer or shorter ones, all of one length, or of any.
Only where a use has its answers follow its questions (translators and the like) do they go on doing so. And
some are told as if no two queries had the same wording, as where a prompt begins with the date or a name.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.detection.actors import actor
from benchmarks.detection.attacks import in_chinese
from benchmarks.detection.side_by_side import counted, in_order
from benchmarks.detection.sources import Part, Side, load
from benchmarks.detection.twins import TWINS
from benchmarks.detection.watch import Eyes
from guard.core.query import Usage
from guard.core.signals import Signal
from guard.core.uses import Use
from guard.detection.likeness import ENOUGH_QUERIES, TRAITS, Kind, Likeness, traits
from guard.detection.profile import Profile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from benchmarks.detection.sources import Split
    from benchmarks.detection.watch import Look

    Answering = Callable[[int], int]
    Holders = Sequence[NDArray[np.float64]]

ENUMERATION = (
    *("continued", "nearer", "similar", "new_words", "slot", "slot_spread"),
    *("yield", "answer", "answer_spread", "follows", "worded"),
)
MIXTURE = ("continued", "worded", "off_template", "unrelated")

ENUMERATING = ("bulk", "templated", "paraphrased", "affixed")
HIDING = ("hidden-narrow-app-10", "hidden-person-10")
"""What hides in a router is not told from it: routers are as mixed themselves."""

HONEST_WAYS, THEFT_WAYS = 5, 1
"""Maximum number of kinds into which a variety, or the enumerations of one sort, are divided."""

HONEST_QUERIES, ENUMERATING_QUERIES, HIDING_QUERIES = 700, 200, 500
"""How long lives are: an enumeration is to be told soon."""

STRIDE = 20
"""A row is put down at every so many queries."""

TOLD_AGAIN = 3
UNWORDED = 0.4
"""The share of the other tellings in which no two queries have the same wording."""

FOLLOWING = frozenset({"interpreter", "batch-translator", "batch-summariser", "batch-extractor"})

HONEST_FLOOR, THEFT_FLOOR = 0.1, 0.05
"""What is added to the variance of a kind in each trait, as a share of that of everybody: other apps are not
quite like these, and neither are other data sets.
"""


@dataclass(frozen=True, slots=True)
class Life:
    """How one holder looked from time to time: rows of all `TRAITS`."""

    variety: str
    source: str | None
    rows: NDArray[np.float64]

    def of(self, names: Sequence[str]) -> NDArray[np.float64]:
        """Some of the traits, of shape (rows, names)."""
        order = list(TRAITS)
        return self.rows[:, [order.index(name) for name in names]]


@dataclass(frozen=True, slots=True)
class _Work:
    """One instance of a variety. `source` is the instruction set that it goes through, if that is settled."""

    side: Side
    variety: str
    instance: int
    queries: int
    source: str | None = None


def likenesses(
    folder: Path, sides: Sequence[Side], seed: int, instances: int, processes: int, most_queries: int
) -> Mapping[Signal, Likeness]:
    """What tells enumerations and mixtures from honest uses, learnt from this number of instances of each."""
    work = [each for side in sides for each in _work(load(folder, side), instances, most_queries)]
    told = in_order(_watch, work, _open, (folder, tuple(sides), seed), processes)
    lives = [life for found in counted(told, len(work)) for life in found]
    return {Signal.ENUMERATION: enumeration(lives), Signal.MIXTURE: mixture(lives)}


def enumeration(lives: Iterable[Life]) -> Likeness:
    """Enumerations against honest uses."""
    kinds = defaultdict(list)
    for life in lives:
        if life.variety not in HIDING:
            kinds[life.source or life.variety, life.source is not None].append(life.of(ENUMERATION))
    return likeness(ENUMERATION, kinds)


def mixture(lives: Iterable[Life]) -> Likeness:
    """Enumerations that hide in other traffic, against honest uses."""
    kinds = defaultdict(list)
    for life in lives:
        if life.source is None:
            kinds[life.variety, life.variety in HIDING].append(life.of(MIXTURE))
    return likeness(MIXTURE, kinds)


def likeness(
    names: tuple[str, ...], kinds: Mapping[tuple[str, bool], Sequence[NDArray[np.float64]]]
) -> Likeness:
    """The likeness to kinds, each given by its name, whether it is a theft, and the rows of its holders.

    Holders of a kind weigh alike, however many rows they have.
    """
    _, spread = _moments([rows for holders in kinds.values() for rows in holders])
    found = []
    for (name, theft), holders in kinds.items():
        for way in _ways(holders, np.sqrt(spread), THEFT_WAYS if theft else HONEST_WAYS):
            place, variance = _moments(way)
            width = np.sqrt(variance + (THEFT_FLOOR if theft else HONEST_FLOOR) * spread)
            weight = len(way) / len(holders)
            found.append(Kind(name, theft, weight, tuple(place.tolist()), tuple(width.tolist())))
    return Likeness(names, tuple(found))


def _ways(holders: Holders, scale: NDArray[np.float64], most: int) -> list[Holders]:
    """The holders of a kind, in up to so many groups of those that are alike on average (Lloyd's k-means,
    begun each time with the one that is furthest from those before).
    """
    means = np.array([rows.mean(axis=0) for rows in holders]) / scale
    centres = means[:1]
    while len(centres) < most:
        centres = np.append(centres, means[[_away(means, centres).min(axis=1).argmax()]], axis=0)
    for _ in range(100):
        nearest = _away(means, centres).argmin(axis=1)
        moved = np.array([means[nearest == each].mean(axis=0) for each in np.unique(nearest)])
        if moved.shape == centres.shape and np.allclose(moved, centres):
            break
        centres = moved
    return [
        [rows for rows, centre in zip(holders, nearest, strict=True) if centre == each]
        for each in np.unique(nearest)
    ]


def _away(means: NDArray[np.float64], centres: NDArray[np.float64]) -> NDArray[np.float64]:
    """The distance of each mean from each centre."""
    away: NDArray[np.float64] = np.linalg.norm(means[:, None, :] - centres, axis=2)
    return away


def _moments(holders: Holders) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The mean and the variance of each column."""
    rows = np.concatenate(holders)
    weights = np.concatenate([np.full(len(each), 1 / len(each)) for each in holders])
    mean = np.average(rows, axis=0, weights=weights)
    return mean, np.average((rows - mean) ** 2, axis=0, weights=weights)


def _work(split: Split, instances: int, most: int) -> Iterator[_Work]:
    for twin in TWINS:
        if twin.declared is None or Signal.ENUMERATION not in Use(twin.declared).excused:
            for instance in range(instances):
                yield _Work(split.side, twin.name, instance, min(most, HONEST_QUERIES))
    for variety in HIDING:
        for instance in range(instances):
            yield _Work(split.side, variety, instance, min(most, HIDING_QUERIES))
    for source, records in split.pool(Part.DISTILL).sources.items():
        for variety in ENUMERATING:
            if variety == "affixed" and in_chinese(records[0].prompt):
                continue
            for instance in range(max(1, instances // 2)):
                yield _Work(split.side, variety, instance, min(most, ENUMERATING_QUERIES), source)


@dataclass(frozen=True, slots=True)
class _Stand:
    """What holders are watched with, in one process."""

    splits: Mapping[Side, Split]
    eyes: Eyes
    seed: int

    def watch(self, work: _Work) -> list[Life]:
        """One holder's life, told several times."""
        split = self.splits[work.side]
        if work.source is not None:
            split = split.only(Part.DISTILL, work.source)
        watched = actor(split, self.seed, work.queries, work.variety, work.instance)
        looks = [self.eyes.look(line) for line in watched.lines]
        lives = [self._life(work, looks, lambda tokens: tokens)]
        for telling in range(TOLD_AGAIN):
            rng = Random(f"{work}/{self.seed}/{telling}")
            answering = _answering(rng, follows=work.variety in FOLLOWING)
            told = [_unworded(look, rng) for look in looks] if rng.random() < UNWORDED else looks
            lives.append(self._life(work, told, answering))
        return [life for life in lives if len(life.rows)]

    def _life(self, work: _Work, looks: Sequence[Look], answering: Answering) -> Life:
        profile, rows = Profile.new(), []
        for number, look in enumerate(looks, start=1):
            usage = Usage(look.usage.input_tokens, answering(look.usage.output_tokens))
            self.eyes.learn(profile, replace(look, usage=usage))
            if number >= ENOUGH_QUERIES and number % STRIDE == 0:
                rows.append(traits(profile, tuple(TRAITS)))
        return Life(work.variety, work.source, np.array(rows).reshape(len(rows), len(TRAITS)))


def _unworded(look: Look, rng: Random) -> Look:
    """The same query under a wording that no other has."""
    return replace(look, sight=replace(look.sight, template=rng.getrandbits(64)))


def _answering(rng: Random, *, follows: bool) -> Answering:
    """How long answers are, in tokens, given how long they were made up to be."""
    way = "scaled" if follows else rng.choice(("scaled", "scaled", "fixed", "any", "any"))
    if way == "fixed":
        always = round(2 ** rng.uniform(3, 9.5))
        return lambda _: always
    if way == "any":
        middle, spread = rng.uniform(4, 9.5), rng.uniform(0.2, 1.5)
        return lambda _: max(1, round(2 ** rng.gauss(middle, spread)))
    factor = 2 ** rng.gauss(0, 1)
    return lambda tokens: max(1, round(factor * tokens))


_stand: _Stand


def _open(folder: Path, sides: tuple[Side, ...], seed: int) -> None:
    global _stand
    _stand = _Stand({side: load(folder, side) for side in sides}, Eyes(), seed)


def _watch(work: _Work) -> list[Life]:
    return _stand.watch(work)
