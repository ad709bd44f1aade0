"""What tells somebody who copies a model from everybody who uses it: traits of a holder, and their sum.

Whoever goes through a data set asks for many things that have nothing to do with each other, all of one sort,
and gets new answers. Each honest use that looks like it differs in something that can be named: a person's
questions are of very different length, and answered at length; an app's customers say the same few things
again, and get the same few answers; the answers of a translator are as long as its documents, and those of a
summariser much shorter; a classifier's are labels, which pay out nothing.

So each trait is one such difference, as a bounded number that is larger the more a holder is like an
enumeration in it. A score is the sum of the traits, each by a weight that is never negative: no trait can
come to speak the other way because the data sets that it was learnt from happened to be so. It is 0 for who
is like honest holders on average. Weights are learnt by logistic regression from simulated holders
(benchmarks/detection/weights.py). They are part of a reference, since its tables hold for them alone.

What traits add in the reference that guard ships, after 192 queries (medians of simulated holders):

    who                          novelty  no person  alone  own length  vocabulary  others   score
    goes through gsm8k               1.7         .3     .3         -.2          .5     2.3     4.9
    an app that answers customers    1.0         .3     .3          .3         -.4     1.8     3.3
    a translator of documents        1.5         .3     .3        -2.6          .2     2.1     1.8
    a person                         1.4       -2.5    -.8          .3          .5      .5     -.6
    a classifier                    -2.0         .3     .3          .3         -.4     -.7    -2.2

A score is no probability. What it is worth comes from how honest holders come out in it
(guard/detection/tables.py), as with every signal.

Two signals are told so. `enumeration` sees whoever goes through a data set. Evasion: follow-ups to each item,
items of very different length, other traffic mixed in. `mixture` sees one who hides an enumeration in other
traffic, as resellers mix a campaign's with their customers' (Anthropic, February 2026), by the queries that
come in another wording and stand by themselves. Evasion: one wording for both.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log2, sqrt
from typing import TYPE_CHECKING, Any, NamedTuple

from guard.detection.layout import Drawn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Self

    from guard.detection.profile import Profile

ENOUGH_DRAWN = 64.0
"""Minimum weight of what was drawn for a score: so many queries whose answers say something new."""


class Trait(NamedTuple):
    """One difference: how to read it of a profile, and what a large value means, and a small one."""

    of: Callable[[Profile], float]
    large: str
    small: str


def _between(least: float, number: float, most: float) -> float:
    return max(least, min(most, number))


def _beyond(number: float, start: float) -> float:
    return max(0.0, number - start)


def _spread(profile: Profile, what: Drawn, squared: Drawn) -> float:
    return sqrt(max(0.0, profile.drawn(squared) - profile.drawn(what) ** 2))


def _slot_spread(profile: Profile) -> float:
    return _spread(profile, Drawn.SLOT, Drawn.SLOT_SQUARED)


def _short_answers(profile: Profile) -> float:
    """By how many powers of two answers are shorter than what was sent."""
    return -profile.drawn(Drawn.YIELD)


def follows(profile: Profile) -> float:
    """The correlation between the lengths of queries and of answers, as logarithms; 0 where either hardly
    varies.
    """
    slot, answer = profile.drawn(Drawn.SLOT), profile.drawn(Drawn.ANSWER)
    of_slot = profile.drawn(Drawn.SLOT_SQUARED) - slot**2
    of_answer = profile.drawn(Drawn.ANSWER_SQUARED) - answer**2
    if of_slot < 1e-3 or of_answer < 1e-3:
        return 0.0
    return (profile.drawn(Drawn.SLOT_ANSWER) - slot * answer) / sqrt(of_slot * of_answer)


def _novelty(profile: Profile) -> float:
    drew = profile.drawn(Drawn.DREW)
    return min(1.0, profile.drawn(Drawn.PAID) / drew) if drew else 0.0


def _alone(profile: Profile) -> float:
    """What an answer to a query that stands by itself pays."""
    return profile.drawn(Drawn.PAID_UNRELATED) / max(0.02, profile.drawn(Drawn.UNRELATED))


TRAITS: Mapping[str, Trait] = {
    "payout": Trait(
        lambda profile: _between(-7, log2(profile.drawn(Drawn.PAID) + 0.01), -3),
        "its answers pay out much",
        "its answers pay out little",
    ),
    "payout_alone": Trait(
        lambda profile: _between(-7, log2(profile.drawn(Drawn.PAID_UNRELATED) + 0.005), -3),
        "much of that for queries that stand by themselves",
        "little of that for queries that stand by themselves",
    ),
    "payout_each": Trait(
        lambda profile: _between(-6, log2(_alone(profile) + 0.01), -2.5),
        "each query that stands by itself pays out much",
        "queries that stand by themselves pay out little",
    ),
    "novelty": Trait(_novelty, "its answers say new things", "its answers repeat each other"),
    "alone": Trait(
        lambda profile: -sqrt(profile.drawn(Drawn.CONTINUED)),
        "no query goes on with a conversation",
        "it holds conversations",
    ),
    "one_sort": Trait(
        lambda profile: -_beyond(_slot_spread(profile), 0.8),
        "its queries are all of one length",
        "its queries are of very different length",
    ),
    "no_person": Trait(
        lambda profile: -min(_beyond(_slot_spread(profile), 0.9), _beyond(-_short_answers(profile), 0.5)),
        "it does not ask as people do",
        "it asks as people do: of any length, for long answers",
    ),
    "no_documents": Trait(
        lambda profile: -_beyond(_short_answers(profile), 0.4),
        "it sends no documents",
        "it sends much and gets little",
    ),
    "short": Trait(
        lambda profile: -_beyond(profile.drawn(Drawn.SLOT), 5),
        "its queries are short",
        "its queries are long",
    ),
    "own_length": Trait(
        lambda profile: -_beyond(follows(profile), 0.4),
        "answers have a length of their own",
        "answers are as long as what was sent",
    ),
    "own_length_mostly": Trait(
        lambda profile: -_beyond(follows(profile), 0.3),
        "answers have a length of their own",
        "answers are as long as what was sent",
    ),
    "various": Trait(
        lambda profile: -_beyond(0.3, _spread(profile, Drawn.ANSWER, Drawn.ANSWER_SQUARED)),
        "answers differ in length",
        "answers are all of one length",
    ),
    "vocabulary": Trait(
        lambda profile: _between(-1, log2(profile.placed(Drawn.NEW_WORDS) + 0.5), 2.5),
        "each query brings new words",
        "its queries say the same words",
    ),
    "once": Trait(
        lambda profile: -profile.drawn(Drawn.REPEATED),
        "it asks nothing twice",
        "it repeats queries",
    ),
    "seldom_twice": Trait(
        lambda profile: -_beyond(profile.drawn(Drawn.REPEATED), 0.2),
        "it seldom asks twice",
        "it repeats queries",
    ),
    "forgetful": Trait(
        lambda profile: -profile.placed(Drawn.NEARER),
        "no query is like the one before",
        "queries are like the ones before",
    ),
    "moderate": Trait(
        lambda profile: -_beyond(-_short_answers(profile), 2.2),
        "answers are no essays",
        "it has essays written",
    ),
    "off_template": Trait(
        lambda profile: _between(-7, log2(profile.drawn(Drawn.OFF_TEMPLATE) + 0.005), -3),
        "some queries come in another wording, and stand by themselves",
        "all queries come in one wording, or in any",
    ),
    "off_one_template": Trait(
        lambda profile: min(1.0, 4 * profile.drawn(Drawn.OFF_TEMPLATE)) * (profile.worded > 0.2),
        "beside one wording that most queries have",
        "",
    ),
}
"""What a profile is read for; each is larger for who copies a model."""


class Because(NamedTuple):
    """What one trait adds to a score, and in words."""

    adds: float
    says: str


@dataclass(frozen=True, slots=True)
class Score:
    """A sum of traits: `weights` of at least 0 by name, and the `typical` value of each among honest holders.

    Raises `ValueError` for a trait that does not exist, and for a weight below 0.
    """

    weights: Mapping[str, float]
    typical: Mapping[str, float]

    def __post_init__(self) -> None:
        unknown = [name for name in self.weights if name not in TRAITS]
        if unknown or not self.weights or self.weights.keys() != self.typical.keys():
            raise ValueError(f"no trait is called {', '.join(unknown)}" if unknown else "no traits")
        if not all(0 <= weight < float("inf") for weight in self.weights.values()):
            raise ValueError("weights must be 0 or more")

    def statistic(self, profile: Profile) -> float | None:
        """The sum, 0 for typical honest holders; `None` where too little was drawn."""
        if profile.drawing < ENOUGH_DRAWN:
            return None
        return sum(each.adds for each in self._added(profile))

    def because(self, profile: Profile, most: int = 3) -> tuple[list[Because], list[Because]]:
        """What speaks most for it, and what against it, the strongest first."""
        if profile.drawing < ENOUGH_DRAWN:
            return [], []
        added = sorted(self._added(profile), key=lambda each: -abs(each.adds))
        told = [each for each in added if abs(each.adds) >= 0.1 and each.says]
        return [each for each in told if each.adds > 0][:most], [each for each in told if each.adds < 0][
            :most
        ]

    def _added(self, profile: Profile) -> Iterable[Because]:
        for name, weight in self.weights.items():
            trait = TRAITS[name]
            away = trait.of(profile) - self.typical[name]
            yield Because(weight * away, trait.large if away > 0 else trait.small)

    def dump(self) -> dict[str, Any]:
        """As data."""
        return {
            name: {"weight": round(weight, 4), "typical": round(self.typical[name], 4)}
            for name, weight in self.weights.items()
        }

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Self:
        """From data; raises `ValueError`, `KeyError` or `TypeError`."""
        return cls(
            {name: float(each["weight"]) for name, each in data.items()},
            {name: float(each["typical"]) for name, each in data.items()},
        )
