"""The seam: a split, a seed and a number of queries in, actors out."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import TYPE_CHECKING

from benchmarks.detection.accounts import open_account
from benchmarks.detection.attacks import ATTACKS
from benchmarks.detection.frames import Frames
from benchmarks.detection.stage import Stage, Variety
from benchmarks.detection.traffic import Actor, Line
from benchmarks.detection.twins import RECORDED, TWINS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from benchmarks.detection.sources import Split

VARIETIES: tuple[Variety, ...] = (*TWINS, *ATTACKS)
"""All that can be simulated, the benign first."""


def actors(
    split: Split, seed: int, queries: int, *, instances: int = 1, varieties: Collection[str] | None = None
) -> Iterator[Actor]:
    """So many instances of every variety that the split has sources for (or of those named), each with up to
    so many queries.

    The same split, seed, number and variety give the same actor, whatever else is asked for. Instances differ
    in all that is drawn: records, frames, account, times, parameters. No line is made before it is read.
    """
    frames = Frames(split.side)
    for variety in VARIETIES:
        if variety.name in varieties if varieties is not None else plays(variety, split):
            for instance in range(instances):
                lines = _Lines(
                    variety, split, frames, f"{split.side}/{seed}/{variety.name}/{instance}", queries
                )
                name = f"{variety.name}-{seed}-{instance}"
                yield Actor(
                    name, variety.kind, variety.name, variety.declared, lines, lines.stage().account.key
                )


def plays(variety: Variety, split: Split) -> bool:
    """Whether the split has what a variety repeats, if it repeats anything."""
    part = RECORDED.get(variety.name)
    return part is None or part in split.pools


def actor(split: Split, seed: int, queries: int, variety: str, instance: int) -> Actor:
    """One of them: an instance of a variety, counted from 0."""
    cast = actors(split, seed, queries, instances=instance + 1, varieties=[variety])
    return next(islice(cast, instance, None))


@dataclass(frozen=True, slots=True)
class _Lines:
    """An actor's lines, made anew from its seed each time that they are gone through."""

    variety: Variety
    split: Split
    frames: Frames
    seed: str
    queries: int

    def stage(self) -> Stage:
        rng = Random(self.seed)
        account = open_account(rng, self.variety.caller, only_openai=self.variety.only_openai)
        return Stage(rng, rng, self.split, self.frames, account, self.queries)

    def __iter__(self) -> Iterator[Line]:
        return islice(self.variety.act(self.stage()), self.queries)
