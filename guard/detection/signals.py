"""The signals: what speaks against a holder, each one number that a profile gives.

Every function here is pure and takes a profile. It returns a *statistic*, which is larger the worse it looks,
and `None` where too little is known. What a statistic is worth in decibans is not decided here but by how
honest holders come out in it (guard/detection/reference.py).

A share that was seen a few times only is not taken at its word: it counts by the lower end of its 95 %
interval (Wilson, 1927), which is .11 for five of twenty and .96 for a hundred of a hundred; and nobody's
share is told from fewer than twenty.
"""

from __future__ import annotations

from math import log2, sqrt
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from guard.core.signals import Signal
from guard.detection.layout import Drawn, Sum

if TYPE_CHECKING:
    from collections.abc import Callable

    from guard.detection.profile import Profile

LEAST_QUERIES_OF_A_SHARE = 20

LEAST_QUERIES = 50
"""Minimum number of queries for a distribution."""

_Z = 1.96

Statistic: TypeAlias = "Callable[[Profile], float | None]"

STATISTICS: dict[Signal, Statistic] = {}
"""What each signal reads, but for those that hold a profile against others: enumeration and mixture
(guard/detection/traits.py) and distance (guard/detection/place.py).
"""


def _of(signal: Signal) -> Callable[[Statistic], Statistic]:
    """Puts a function into the table."""

    def put(statistic: Statistic) -> Statistic:
        STATISTICS[signal] = statistic
        return statistic

    return put


@_of(Signal.DISGUISE)
def disguise(profile: Profile) -> float | None:
    """The share of queries in which folding had to undo something: unseen characters, look-alikes, encodings.

    Honest queries hardly ever have anything to undo; who pastes something styled now and then has two of it
    in two hundred. Evasion: plain text, which all other signals see.
    """
    return _at_least(profile, Sum.DISGUISED)


@_of(Signal.REASONING)
def reasoning_coercion(profile: Profile) -> float | None:
    """The share of queries that make the model write out its hidden reasoning.

    Seen in more than 100,000 prompts of one campaign (Google, February 2026), and as one fixed prompt around
    every request in another (Anthropic, September 2026). Evasion: see guard/detection/intents.py.
    """
    return _at_least(profile, Sum.REASONING)


@_of(Signal.GRADING)
def grading(profile: Profile) -> float | None:
    """The share of queries that have answers graded, as for a reward model (Anthropic, February 2026)."""
    return _at_least(profile, Sum.GRADING)


@_of(Signal.HAZARD)
def hazard(profile: Profile) -> float | None:
    """The share of queries about hazardous fields."""
    return _at_least(profile, Sum.HAZARD)


@_of(Signal.EXTRACTION)
def extraction(profile: Profile) -> float | None:
    """The share of queries that inject instructions, or probe for a system prompt or secrets."""
    return _at_least(profile, Sum.EXTRACTION)


@_of(Signal.GENERATION)
def generation(profile: Profile) -> float | None:
    """The share of queries that have training data written."""
    return _at_least(profile, Sum.GENERATION)


@_of(Signal.REFUSED)
def refused(profile: Profile) -> float | None:
    """The share of queries that the backend refuses, as far as it says why (guard/analyst/backend_words.py).

    It has seen the whole query, and with a better eye. Evasion: wording that the backend lets pass.
    """
    return _at_least(profile, Sum.REFUSED)


@_of(Signal.BOUND)
def bound(profile: Profile) -> float | None:
    """The share of queries that send thoughts back which the model has sealed for another account.

    Accounts that are worked in turns hand conversations on to each other. Evasion: dropping the thoughts.
    """
    return _at_least(profile, Sum.BOUND)


@_of(Signal.PROBING)
def probing(profile: Profile) -> float | None:
    """How many different techniques of coercion were tried lately, and at most in how many queries: one that
    has several in it is one.

    A campaign begins with thousands of probes, each of another technique (Anthropic, September 2026).
    Evasion: probing under another identity.
    """
    techniques = int(np.count_nonzero(profile.sums[Sum.FAMILY :] >= 0.5))
    return float(min(techniques, round(profile.sums.item(Sum.TRIED))))


@_of(Signal.LOGITS)
def logits(profile: Profile) -> float | None:
    """The share of queries that ask for probabilities or bias tokens; half where only one of the two.

    Both together give away the last layer of a model (Carlini et al., 2024). Evasion: asking rarely.
    """
    return _at_least(profile, Sum.LOGITS)


@_of(Signal.RESAMPLING)
def resampling(profile: Profile) -> float | None:
    """Of what was drawn, the share of queries that repeat a recent one, or want five answers or more at once.

    Rejection sampling draws many answers to each prompt (DeepSeek-R1's 600,000 samples). Who repeats a
    question and gets the same answer, as a probe of a service does, draws nothing by it. Evasion: spreading
    the repeats out, or changing a word in each.
    """
    return _at_least_drawn(profile, Drawn.REPEATED, Drawn.MANY)


@_of(Signal.SWEEP)
def sweep(profile: Profile) -> float | None:
    """Of what was drawn, the share of queries that repeat a recent one under another temperature or seed."""
    return _at_least_drawn(profile, Drawn.VARIED)


@_of(Signal.YIELD)
def harvest_yield(profile: Profile) -> float | None:
    """Tokens of answer to a piece of what the user said last, as a logarithm to the base 2, where it drew.

    Weak: people's short questions have long answers too. Evasion: long prompts.
    """
    return profile.drawn(Drawn.YIELD) if profile.drawing >= LEAST_QUERIES else None


@_of(Signal.NO_RAMP)
def no_ramp(profile: Profile) -> float | None:
    """Queries on the first day, as a logarithm: new accounts that begin at full use (CISA AA26-251A).

    Weak: so does whoever moves an app here. Evasion: a slow start.
    """
    return log2(1 + profile.first_day)


@_of(Signal.ROUND_THE_CLOCK)
def round_the_clock(profile: Profile) -> float | None:
    """The hours of the week in which it has asked lately, of 168; where there are queries enough to tell.

    Weak: many honest programs never sleep. Evasion: sleep.
    """
    return float(profile.busy_hours) if profile.sums[Sum.QUERIES] >= LEAST_QUERIES else None


@_of(Signal.SHIFT)
def shift(profile: Profile) -> float | None:
    """How far the holder has left its own ways: unrelated queries beyond what was usual for it, added up.

    Change from the own baseline was the one kind of feature that held on other data in Parallax's
    evaluation. It also sees a stolen key. Evasion: being bad from the start.
    """
    return profile.drift


def _at_least(profile: Profile, what: Sum) -> float | None:
    """The lower end of the interval of a share of all queries."""
    return _lower_end(profile.sums.item(what), profile.sums.item(Sum.QUERIES))


def _at_least_drawn(profile: Profile, *what: Drawn) -> float | None:
    """Likewise of what was drawn."""
    return _lower_end(sum(map(profile.of_drawn.item, what)), profile.of_drawn.item(Drawn.WEIGHT))


def _lower_end(times: float, queries: float) -> float | None:
    if queries == 0:
        return None
    queries = max(LEAST_QUERIES_OF_A_SHARE, queries)
    share = min(1.0, times / queries)
    if share == 0:
        return 0.0
    spread = _Z * sqrt(share * (1 - share) / queries + _Z**2 / (4 * queries**2))
    # Not as a difference, which leaves of a share of none not nothing but what rounding leaves.
    return share**2 / (share + _Z**2 / (2 * queries) + spread)
