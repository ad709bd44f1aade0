"""Whom a holder is like: one of the known honest uses, or one of the known thefts.

No single trait tells a distiller from every honest use. A person asks about unrelated things too, but goes on
with them; an app is as forgetful, but stays in its field; a batch job covers as much ground, but its answers
are as long as its documents. So a profile is held against *kinds*: known honest uses and known thefts, each a
place and a width in every trait. How like a kind a profile is, is the product over the traits of Student's t
density with four degrees of freedom, whose tails are heavy: one strange trait does not decide. The statistic
is how much more like the thefts it is than like the honest uses, each side by the weighted mean over its
kinds, in decibans (a weight of evidence, Good, 1950).

Two signals are told so. `enumeration` sees whoever goes through a data set; that persistence (the trait
`nearer`) separates distillers from people, and misses apps that remember nothing, was measured on real
prompts. Evasion: follow-ups to each item, which cost as much again, other traffic mixed in, or items as short
as what an app's customers say. `mixture` sees one who hides an enumeration in other traffic, as resellers mix
a campaign's with their customers' (Anthropic, February 2026). Evasion: the same template for both, or cover
without any.

It is a statistic and no probability: traits hang together, and nobody knows how many thieves there are. What
it is worth comes from how honest holders come out in it (guard/detection/reference.py), as with every signal.

The kinds that guard ships are of simulated traffic (benchmarks/detection/kinds.py), and are part of a
reference, since its tables hold for them alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import log2, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from guard.detection.layout import Sum

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Self

    from numpy.typing import NDArray

    from guard.detection.profile import Profile

ENOUGH_QUERIES = 120
"""Minimum number of queries, of which half are compared, to say whom a holder is like."""

_FREEDOM = 4
_DECIBANS = 10 / np.log(10)


def _spread(profile: Profile, what: Sum, squared: Sum) -> float:
    return sqrt(max(0.0, profile.share(squared) - profile.share(what) ** 2))


def correlation(profile: Profile) -> float:
    """Between the lengths of queries and of answers, as logarithms; 0 where either hardly varies."""
    slot, answer = profile.share(Sum.SLOT), profile.share(Sum.ANSWER)
    of_slot = profile.share(Sum.SLOT_SQUARED) - slot**2
    of_answer = profile.share(Sum.ANSWER_SQUARED) - answer**2
    if of_slot < 1e-3 or of_answer < 1e-3:
        return 0.0
    return (profile.share(Sum.SLOT_ANSWER) - slot * answer) / sqrt(of_slot * of_answer)


TRAITS: Mapping[str, Callable[[Profile], float]] = {
    # Queries that go on with the conversation (a root, since few already tell), and by how much more a query
    # is like the latest ones than like older ones: memory.
    "continued": lambda profile: sqrt(profile.share(Sum.CONTINUED)),
    "nearer": lambda profile: max(0.0, profile.placed(Sum.NEARER)),
    # How like its queries are to each other, and how many new words each brings: breadth.
    "similar": lambda profile: profile.placed(Sum.SIMILAR),
    "new_words": lambda profile: log2(profile.placed(Sum.NEW_WORDS) + 0.5),
    # What varies in a query: how long it is (a logarithm), and how much that differs.
    "slot": lambda profile: profile.share(Sum.SLOT),
    "slot_spread": lambda profile: _spread(profile, Sum.SLOT, Sum.SLOT_SQUARED),
    # Answers: how long for their prompts, and at all, how different, and whether by the length of the query.
    "yield": lambda profile: profile.share(Sum.YIELD),
    "answer": lambda profile: profile.share(Sum.ANSWER),
    "answer_spread": lambda profile: _spread(profile, Sum.ANSWER, Sum.ANSWER_SQUARED),
    "follows": correlation,
    # Whether one wording goes round the queries; and which of them have another, and stand by themselves.
    "worded": lambda profile: profile.worded,
    "off_template": lambda profile: profile.share(Sum.OFF_TEMPLATE),
    "unrelated": lambda profile: profile.share(Sum.UNRELATED),
}
"""What a profile is held against kinds by."""


def traits(profile: Profile, names: Sequence[str]) -> NDArray[np.float64]:
    """These traits of a profile."""
    return np.array([TRAITS[name](profile) for name in names])


@dataclass(frozen=True, slots=True)
class Kind:
    """A known honest use or theft, or one of the ways in which it comes: where it lies in each trait, how
    wide, and what it weighs among those of its side.
    """

    name: str
    theft: bool
    weight: float
    place: tuple[float, ...]
    width: tuple[float, ...]


@dataclass(frozen=True)
class Likeness:
    """What tells one sort of theft from all honest uses. At least one kind is a theft, and one is not."""

    traits: tuple[str, ...]
    kinds: tuple[Kind, ...]

    def statistic(self, profile: Profile) -> float | None:
        """How much more like thefts than like honest uses, in decibans; `None` from too few queries."""
        if profile.queries < ENOUGH_QUERIES:
            return None
        like, theft = self._like(profile), self._thefts
        return float(_DECIBANS * (_log_sum(like[theft]) - _log_sum(like[~theft])))

    def nearest(self, profile: Profile, *, theft: bool) -> str | None:
        """The kind, among the thefts or the honest uses, that a profile is most like; `None` likewise."""
        if profile.queries < ENOUGH_QUERIES:
            return None
        among = self._thefts == theft
        return self.kinds[int(np.argmax(np.where(among, self._like(profile), -np.inf)))].name

    def dump(self) -> dict[str, Any]:
        """As data."""
        return {
            "traits": list(self.traits),
            "kinds": [
                {
                    "name": kind.name,
                    "theft": kind.theft,
                    "weight": round(kind.weight, 4),
                    "place": [round(number, 4) for number in kind.place],
                    "width": [round(number, 4) for number in kind.width],
                }
                for kind in self.kinds
            ],
        }

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Self:
        """From data; raises `ValueError`, `KeyError` or `TypeError`."""
        names = tuple(str(name) for name in data["traits"])
        unknown = [name for name in names if name not in TRAITS]
        if unknown or not names:
            raise ValueError(f"no trait is called {', '.join(unknown)}" if unknown else "no traits")
        kinds = tuple(
            Kind(
                str(each["name"]),
                bool(each["theft"]),
                _numbers([each["weight"]])[0],
                _numbers(each["place"]),
                _numbers(each["width"]),
            )
            for each in data["kinds"]
        )
        if {len(numbers) for kind in kinds for numbers in (kind.place, kind.width)} != {len(names)}:
            raise ValueError(f"a kind has {len(names)} numbers in each part, one a trait")
        if min(min(kind.weight, *kind.width) for kind in kinds) <= 0:
            raise ValueError("weights and widths must be above 0")
        if {kind.theft for kind in kinds} != {True, False}:
            raise ValueError("a likeness has honest kinds and thefts")
        return cls(names, kinds)

    def _like(self, profile: Profile) -> NDArray[np.float64]:
        """How like each kind a profile is, times its weight, as a logarithm, but for what all have alike."""
        place, width, share = self._measures
        away = (traits(profile, self.traits) - place) / width
        like: NDArray[np.float64] = share - (_FREEDOM + 1) / 2 * np.log1p(away**2 / _FREEDOM).sum(axis=1)
        return like

    @cached_property
    def _measures(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        place = np.array([kind.place for kind in self.kinds])
        width = np.array([kind.width for kind in self.kinds])
        weight, theft = np.array([kind.weight for kind in self.kinds]), self._thefts
        share = weight / np.where(theft, weight[theft].sum(), weight[~theft].sum())
        return place, width, np.log(share) - np.log(width).sum(axis=1)

    @cached_property
    def _thefts(self) -> NDArray[np.bool_]:
        return np.array([kind.theft for kind in self.kinds])


def _log_sum(logarithms: NDArray[np.float64]) -> float:
    """The logarithm of the sum of what these are the logarithms of."""
    most = logarithms.max()
    return float(most + np.log(np.exp(logarithms - most).sum()))


def _numbers(values: Sequence[Any]) -> tuple[float, ...]:
    numbers = tuple(float(value) for value in values)
    if not np.isfinite(numbers).all():
        raise ValueError(f"numbers expected, not {numbers!r}")
    return numbers
