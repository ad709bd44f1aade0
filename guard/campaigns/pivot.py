"""Whether a group moves to another model within a day, while others do not.

Who copies a model wants the newest, and moves all of its accounts at once. So do the users of an app whose
owner changes one line. So this is told of a group that other things speak against, and convicts nobody.

    a day of at least `LEAST` queries of a group, of which hardly any (`FEW`) asked a model,
    the day after it, in which half and more do (`MOVED`), from `LEAST_PARTIES` of its members,
    while of all others no more than half as large a share does.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from guard.campaigns.window import Seen

DAY_US = 86_400_000_000

LEAST = 30
FEW, MOVED = 0.05, 0.5
LEAST_PARTIES = 3


class Pivot(NamedTuple):
    """A move to another model that began at a time (Unix microseconds): the share of queries that asked it in
    the day after that, of the group and of others.
    """

    at_us: int
    share: float
    others: float


def pivot(members: Sequence[Seen], everybody: Iterable[Seen]) -> Pivot | None:
    """The first move of these; `None` where they have made none, or others have made it as well."""
    asked = sorted(((s.at_us, s.model, each.party) for each in members for s in each.latest), key=_time)
    times = [at_us for at_us, _, _ in asked]
    for model in sorted({model for _, model, _ in asked if model}):
        so_far = [0, *accumulate(one == model for _, one, _ in asked)]
        for place, (at_us, one, _) in enumerate(asked):
            if one != model:
                continue
            first = bisect_left(times, at_us - DAY_US)
            last = bisect_left(times, at_us + DAY_US)
            if place - first < LEAST or last - place < LEAST:
                continue
            before = (so_far[place] - so_far[first]) / (place - first)
            after = (so_far[last] - so_far[place]) / (last - place)
            if before > FEW or after < MOVED:
                continue
            parties = {party for _, name, party in asked[place:last] if name == model}
            others = _share(model, at_us, members, everybody)
            if len(parties) >= LEAST_PARTIES and others <= after / 2:
                return Pivot(at_us, after, others)
            break
    return None


def _share(model: str, at_us: int, members: Sequence[Seen], everybody: Iterable[Seen]) -> float:
    """The share of others' queries in the same day that asked this model."""
    ours = {each.label for each in members}
    asked = [
        each.model == model
        for other in everybody
        if other.label not in ours
        for each in other.latest
        if at_us <= each.at_us < at_us + DAY_US
    ]
    return sum(asked) / len(asked) if asked else 0.0


def _time(asked: tuple[int, str, str]) -> int:
    return asked[0]
