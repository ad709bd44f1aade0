"""The signals: what speaks against a holder, each one number that a profile gives.

Every function here is pure and takes a profile. It returns a *statistic*, which is larger the worse it looks,
and `None` where too little is known. What a statistic is worth in decibans is not decided here but by how
honest holders come out in it (guard/analysis/reference.py).

A share that was seen a few times only is not taken at its word: it counts by the lower end of its 95 %
interval (Wilson, 1927), which is .11 for five of twenty and .96 for a hundred of a hundred; and nobody's
share is told from fewer than twenty.
"""

from __future__ import annotations

from math import log2, sqrt
from typing import TYPE_CHECKING

from guard.analysis.profile import FAMILIES, Sum
from guard.core.evidence import Signal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from guard.analysis.profile import Profile

LEAST_QUERIES_OF_A_SHARE = 20

LEAST_QUERIES = 50
"""Of fewer queries no distribution is told."""

LEAST_QUERIES_OF_A_WALK = 120
"""After so many, of which half are compared, the legs of an honest holder have come to rest."""

TEMPLATED = 0.55
"""From here on a holder has a usual template. Of several that take turns, none in most of the queries, one is
always a few votes ahead.
"""

_Z = 1.96


def walk(profile: Profile) -> float | None:
    """Whoever walks through a data set: each query long enough for an exemplar, new, and unrelated to all
    others, and each answer to it of another length.

    No single trait tells a distiller from every honest use. A person asks about unrelated things too, but
    goes on with them; an app is as forgetful, but stays in its narrow field; a batch job covers as much
    ground, but its answers are as long as its documents (a translator's), or much shorter. So there are four
    legs, of which each is at most 1 for a distiller and falls below 0 for some honest use, and what counts is
    their sum: about 4 for a walk, under 2.5 where any leg is missing. Half a leg more is for queries that
    come without any wording round them: what is honest and as forgetful as this is a program, and programs
    have one.

    Persistence is the trait that separated distillers from people best on real prompts; that it misses
    forgetful apps, and how they differ, was measured for this project (docs/detection.md).

    Evasion: follow-ups about each item (which cost as much again), a narrow field that looks like an app's,
    long prompts for short answers, or other traffic mixed in.
    """
    if profile.queries < LEAST_QUERIES_OF_A_WALK:
        return None
    legs = memory_leg(profile), breadth_leg(profile), answer_leg(profile), slot_leg(profile)
    return sum(legs) + max(0.0, 0.5 - profile.worded)


def memory_leg(profile: Profile) -> float:
    """1 where no query has to do with the one before, below 0 where one in four or more do."""
    nearer = max(0.0, profile.placed(Sum.NEARER))
    return _leg((0.25 - profile.share(Sum.CONTINUED) - 2 * nearer) / 0.15)


def breadth_leg(profile: Profile) -> float:
    """1 where queries are unrelated, or their vocabulary keeps growing; below 0 in a narrow field."""
    spread = (0.115 - profile.placed(Sum.SIMILAR)) / 0.035
    apart = (0.4 - profile.placed(Sum.NEAREST_OLDER)) / 0.06
    growth = (profile.placed(Sum.NEW_WORDS) - 3) / 1.5
    return _leg(max(min(spread, apart), growth))


def answer_leg(profile: Profile) -> float:
    """1 where answers are as long as the prompt or longer, and not by the measure of it; below 0 where they
    are labels or extracts, or follow the length of a document.
    """
    follows = (0.68 - correlation(profile)) / 0.2
    gives = (profile.share(Sum.YIELD) + 1.25) / 0.5
    return _leg(min(follows, gives))


def slot_leg(profile: Profile) -> float:
    """1 where what varies is a dozen words or more, and always about as long; below 0 for short messages, and
    for the mixture of short and long that people write.
    """
    mean = profile.share(Sum.SLOT)
    spread = sqrt(max(0.0, profile.share(Sum.SLOT_SQUARED) - mean**2))
    return _leg(min((mean - 3.2) / 0.35, (1.1 - spread) / 0.2))


def correlation(profile: Profile) -> float:
    """Between the lengths of queries and of answers, as logarithms; 0 where either hardly varies."""
    slot, answer = profile.share(Sum.SLOT), profile.share(Sum.ANSWER)
    of_slot = profile.share(Sum.SLOT_SQUARED) - slot**2
    of_answer = profile.share(Sum.ANSWER_SQUARED) - answer**2
    if of_slot < 1e-3 or of_answer < 1e-3:
        return 0.0
    return (profile.share(Sum.SLOT_ANSWER) - slot * answer) / sqrt(of_slot * of_answer)


def mixture(profile: Profile) -> float | None:
    """A walk that hides in other traffic: the share of queries that come without the usual template, stand by
    themselves and are near to nothing.

    Resellers mix customers' traffic into a campaign's (Anthropic, February 2026). Where most of a holder's
    queries come from one program, what does not is told from it.

    Evasion: the same template for both, or cover without any.
    """
    if profile.sums[Sum.QUERIES] < LEAST_QUERIES or profile.templated < TEMPLATED:
        return None
    return _at_least(profile, Sum.OFF_TEMPLATE)


def disguise(profile: Profile) -> float | None:
    """In how many queries folding had to undo something (unseen characters, look-alikes, encodings), as a
    logarithm: 1 for one, 3 for seven. Honest queries have nothing to undo, so their number says more than
    their share; one alone may be somebody's puzzle.

    Evasion: plain text, which all other signals see.
    """
    return log2(1 + float(profile.sums[Sum.DISGUISED]))


def reasoning_coercion(profile: Profile) -> float | None:
    """The share of queries that make the model write out its hidden reasoning.

    Seen in more than 100,000 prompts of one campaign (Google, February 2026), and as one fixed prompt around
    every request in another (Anthropic, September 2026). Evasion: see guard/analysis/intents.py.
    """
    return _at_least(profile, Sum.REASONING)


def grading(profile: Profile) -> float | None:
    """The share of queries that have answers graded, as for a reward model (Anthropic, February 2026)."""
    return _at_least(profile, Sum.GRADING)


def hazard(profile: Profile) -> float | None:
    """The share of queries about hazardous fields."""
    return _at_least(profile, Sum.HAZARD)


def extraction(profile: Profile) -> float | None:
    """The share of queries that inject instructions, or probe for a system prompt or secrets."""
    return _at_least(profile, Sum.EXTRACTION)


def generation(profile: Profile) -> float | None:
    """The share of queries that have training data written."""
    return _at_least(profile, Sum.GENERATION)


def probing(profile: Profile) -> float | None:
    """How many different techniques of coercion were tried lately.

    A campaign begins with thousands of probes, each of another technique (Anthropic, September 2026).
    Evasion: probing under another identity.
    """
    return float(sum(profile.sums[Sum.FAMILY + place] >= 0.5 for place in range(len(FAMILIES))))


def logits(profile: Profile) -> float | None:
    """The share of queries that ask for probabilities or bias tokens; half where only one of the two.

    Both together give away the last layer of a model (Carlini et al., 2024). Evasion: asking rarely.
    """
    return _at_least(profile, Sum.LOGITS)


def resampling(profile: Profile) -> float | None:
    """The share of queries that repeat a recent one, or want five answers or more at once.

    Rejection sampling draws many answers to each prompt (DeepSeek-R1's 600,000 samples). Evasion: spreading
    the repeats out, or wording each anew.
    """
    return _at_least(profile, Sum.REPEATED, Sum.MANY)


def sweep(profile: Profile) -> float | None:
    """The share of queries that repeat a recent one under another temperature or seed."""
    return _at_least(profile, Sum.VARIED)


def harvest_yield(profile: Profile) -> float | None:
    """Tokens of answer to a token of what the user said last, as a logarithm to the base 2.

    Weak: people's short questions have long answers too. Evasion: long prompts.
    """
    return profile.share(Sum.YIELD) if profile.sums[Sum.QUERIES] >= LEAST_QUERIES else None


def no_ramp(profile: Profile) -> float | None:
    """Queries on the first day, as a logarithm: new accounts that begin at full use (CISA AA26-251A).

    Weak: so does whoever moves an app here. Evasion: a slow start.
    """
    return log2(1 + profile.first_day)


def round_the_clock(profile: Profile) -> float | None:
    """The hours of the week in which it has asked lately, of 168; where there are queries enough to tell.

    Weak: many honest programs never sleep. Evasion: sleep.
    """
    return float(profile.busy_hours) if profile.sums[Sum.QUERIES] >= LEAST_QUERIES else None


def shift(profile: Profile) -> float | None:
    """How far the holder has left its own ways: unrelated queries beyond what was usual for it, added up.

    Change from the own baseline was the one kind of feature that held on other data in Parallax's
    evaluation. It also sees a stolen key. Evasion: being bad from the start.
    """
    return profile.drift


STATISTICS: Mapping[Signal, Callable[[Profile], float | None]] = {
    Signal.WALK: walk,
    Signal.MIXTURE: mixture,
    Signal.DISGUISE: disguise,
    Signal.REASONING: reasoning_coercion,
    Signal.GRADING: grading,
    Signal.HAZARD: hazard,
    Signal.EXTRACTION: extraction,
    Signal.GENERATION: generation,
    Signal.PROBING: probing,
    Signal.LOGITS: logits,
    Signal.RESAMPLING: resampling,
    Signal.SWEEP: sweep,
    Signal.YIELD: harvest_yield,
    Signal.NO_RAMP: no_ramp,
    Signal.ROUND_THE_CLOCK: round_the_clock,
    Signal.SHIFT: shift,
}
"""What each signal reads, but for the distance from a reference, which needs one."""


def _leg(value: float) -> float:
    """At most 1, and twice as steep below 0: one leg that is missing outweighs all others."""
    return min(1.0, value) if value > 0 else max(-3.0, 2 * value)


def _at_least(profile: Profile, *what: Sum) -> float | None:
    """The lower end of the interval of a share."""
    if profile.queries == 0:
        return None
    queries = max(LEAST_QUERIES_OF_A_SHARE, float(profile.sums[Sum.QUERIES]))
    share = min(1.0, sum(float(profile.sums[each]) for each in what) / queries)
    spread = _Z * sqrt(share * (1 - share) / queries + _Z**2 / (4 * queries**2))
    # Not as a difference, which leaves of a share of none not nothing but what rounding leaves.
    return share**2 / (share + _Z**2 / (2 * queries) + spread)
