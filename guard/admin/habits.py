"""How a holder asks, as an operator reads it: what its profile says in plain facts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from guard.core.calendars import MICROSECONDS
from guard.detection.layout import Drawn, Sum
from guard.detection.profile import Profile
from guard.detection.tables import Stratum, stratum_of

if TYPE_CHECKING:
    from guard.core.signals import Signal
    from guard.detection.reference import Reference
    from guard.detection.traits import Score


@dataclass(frozen=True, slots=True)
class Told:
    """What a signal says that is told by traits: `for_it` and `against_it` in words, the strongest first, and
    that about one honest holder of its stratum in `one_in` ever shows as much.
    """

    for_it: tuple[str, ...]
    against_it: tuple[str, ...]
    one_in: float


@dataclass(frozen=True, slots=True)
class Habits:
    """How a holder has asked: `queries` in all, `on_first_day` of them, over `days`; the rest is of the last
    few hundred.

    Shares are from 0 to 1: of the queries that go on with the conversation, that stand by themselves, that
    come in the commonest wording, and that repeat a recent request. `new_words` and `varying_pieces` are to a
    query, `answer_tokens` to an answer, the last two as a geometric mean. In all of these a query weighs by
    what its answers have paid out. `busy_hours` are of the 168 of a week. `draws` is what an answer would
    have paid out on average, in units, had all of it been new, and `pays` what it has. It is held against
    honest holders of its `stratum`; `told` are the signals that are told by traits, where enough is known.
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
    draws: float
    pays: float
    stratum: Stratum
    told: dict[Signal, Told]

    @classmethod
    def of(cls, packed: bytes, reference: Reference) -> Self | None:
        """What a profile says, `None` where there is none that this version can read."""
        profile = Profile.read(packed)
        if not profile.queries:
            return None
        told = {
            signal: _told(profile, reference, signal, score) for signal, score in reference.scores.items()
        }
        return cls(
            queries=profile.queries,
            on_first_day=profile.first_day,
            days=profile.age_us / MICROSECONDS / 86_400,
            busy_hours=profile.busy_hours,
            continued=profile.drawn(Drawn.CONTINUED),
            unrelated=profile.drawn(Drawn.UNRELATED),
            templated=profile.templated,
            repeated=profile.drawn(Drawn.REPEATED),
            new_words=profile.placed(Drawn.NEW_WORDS),
            # The profile adds up logarithms, of one piece and of sixteen tokens more.
            varying_pieces=max(0.0, 2 ** profile.drawn(Drawn.SLOT) - 1),
            answer_tokens=max(0.0, 2 ** profile.drawn(Drawn.ANSWER) - 16),
            draws=profile.share(Sum.DREW),
            pays=profile.share(Sum.PAID),
            stratum=stratum_of(profile),
            told={signal: each for signal, each in told.items() if each is not None},
        )


def _told(profile: Profile, reference: Reference, signal: Signal, score: Score) -> Told | None:
    statistic = score.statistic(profile)
    if statistic is None or signal not in reference.tables:
        return None
    speaks_for, against = score.because(profile)
    return Told(
        tuple(each.says for each in speaks_for),
        tuple(each.says for each in against),
        1 / reference.share(signal, stratum_of(profile), statistic),
    )
