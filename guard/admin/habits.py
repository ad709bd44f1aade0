"""How a holder asks, as an operator reads it: what its profile says in plain facts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from guard.core.calendars import MICROSECONDS
from guard.detection.layout import Sum
from guard.detection.profile import Profile

if TYPE_CHECKING:
    from guard.detection.likeness import Likeness


@dataclass(frozen=True, slots=True)
class Habits:
    """How a holder has asked: `queries` in all, `on_first_day` of them, over `days`; the rest is of the last
    few hundred.

    Shares are from 0 to 1: of the queries that go on with the conversation, that stand by themselves, that
    come in the commonest wording, and that repeat a recent one. `busy_hours` are of the 168 of a week.
    `new_words` and `varying_pieces` are to a query, `answer_tokens` to an answer, the last two as a geometric
    mean. `like_use` and `like_theft` are the known honest use and the known theft that it is most like,
    `None` where too little is known.
    """

    queries: int
    on_first_day: int
    days: float
    busy_hours: int
    continued: float
    unrelated: float
    templated: float
    repeated: float
    new_words: float
    varying_pieces: float
    answer_tokens: float
    like_use: str | None
    like_theft: str | None

    @classmethod
    def of(cls, packed: bytes, likeness: Likeness | None = None) -> Self | None:
        """What a profile says, `None` where there is none that this version can read; `likeness` tells whom
        the holder is like.
        """
        profile = Profile.read(packed)
        if not profile.queries:
            return None
        return cls(
            queries=profile.queries,
            on_first_day=profile.first_day,
            days=profile.age_us / MICROSECONDS / 86_400,
            busy_hours=profile.busy_hours,
            continued=profile.share(Sum.CONTINUED),
            unrelated=profile.share(Sum.UNRELATED),
            templated=profile.templated,
            repeated=profile.share(Sum.REPEATED),
            new_words=profile.placed(Sum.NEW_WORDS),
            # The profile adds up logarithms, of one piece and of sixteen tokens more.
            varying_pieces=max(0.0, 2 ** profile.share(Sum.SLOT) - 1),
            answer_tokens=max(0.0, 2 ** profile.share(Sum.ANSWER) - 16),
            like_use=None if likeness is None else likeness.nearest(profile, theft=False),
            like_theft=None if likeness is None else likeness.nearest(profile, theft=True),
        )
