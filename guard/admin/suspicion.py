"""What speaks against a holder, as an operator reads it: its risk, the signals behind that, plain facts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from guard.core.calendars import MICROSECONDS
from guard.core.evidence import Evidence, Risk, risk
from guard.core.signals import Group, Signal
from guard.detection.layout import Sum
from guard.detection.profile import Profile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guard.core.evidence import Weights
    from guard.core.identity import Holder
    from guard.core.uses import Declared
    from guard.detection.likeness import Likeness


@dataclass(frozen=True, slots=True)
class Finding:
    """What one signal has said: `decibans` when it was seen, and what is `left` of that now.

    `at` and `since` are Unix seconds: when it was seen last as strongly, and since when it has been speaking
    at all. It counts for nothing where a declared use has it `excused`.
    """

    signal: Signal
    left: float
    decibans: float
    at: float
    since: float
    excused: bool

    @property
    def group(self) -> Group:
        """What it counts among."""
        return self.signal.group


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
    def of(cls, profile: Profile, likeness: Likeness | None) -> Self:
        """What a profile says."""
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


@dataclass(frozen=True, slots=True)
class Suspicion:
    """What is known of how a holder behaves.

    `uses` are what it is declared to be for, `risk` is that of now, and `findings` are what is behind it, the
    strongest first. `habits` are `None` where there is no profile that this version can read.
    """

    holder: Holder
    uses: tuple[Declared, ...]
    risk: Risk
    findings: tuple[Finding, ...]
    habits: Habits | None

    @classmethod
    def of(
        cls,
        holder: Holder,
        evidence: Evidence,
        uses: Sequence[Declared],
        now_us: int,
        weights: Weights,
        likeness: Likeness | None = None,
    ) -> Self:
        """What the evidence against a holder amounts to at this moment, given what it is for.

        `likeness` tells whom it is like.
        """
        excused = frozenset[Signal]().union(*(each.use.excused for each in uses))
        findings = [
            Finding(
                signal,
                mark.left(now_us, weights.half_life_us),
                mark.decibans,
                mark.at_us / MICROSECONDS,
                mark.since_us / MICROSECONDS,
                signal in excused,
            )
            for signal, mark in evidence.marks.items()
        ]
        profile = Profile.read(evidence.profile)
        return cls(
            holder,
            tuple(uses),
            risk(evidence.marks, now_us, weights, excused=excused),
            tuple(sorted(findings, key=lambda finding: -finding.left)),
            Habits.of(profile, likeness) if profile.queries else None,
        )
