"""The profiles of the holders that were heard of last, brought to the store now and then.

A profile is 2 KB, and one query changes little of it. So it is kept here, and written after the first query,
soon again, and then after every `KEPT_EVERY` queries or `KEPT_SECONDS`. What was learnt since goes with the
process that learnt it.

    query   1   2   3  4 … 8   10 … 64   80   96
    kept    ×   ×   ×  ×   ×   ×     ×    ×    ×

Other machines may learn of the same holder. Who keeps first wins; the other learns what it has learnt since
then once more, from what the first one knows.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from guard.background import Background
from guard.core.evidence import NO_EVIDENCE, Evidence, merge
from guard.core.novelty import UNIT
from guard.detection.profile import Profile
from guard.errors import StoreError
from guard.telemetry.lines import limited

if TYPE_CHECKING:
    from collections.abc import Callable

    from guard.core.evidence import Learnt
    from guard.core.identity import Holder, Identity
    from guard.detection.profile import Step
    from guard.detection.reference import Reference

KEPT_EVERY = 16
"""A profile is kept after so many queries, and of a new holder after every fourth part of those before."""

KEPT_SECONDS = 5.0

REMEMBERED = 4_096
"""Maximum number of profiles, of about 4 KB each; the least recently used goes first, if it is kept."""

TRIES = 3
"""Compare-and-set attempts when several machines learn of one holder at the same time."""

MOST_UNKEPT = 256
"""Queries that are learnt once more where another machine was first; of more, the latest."""

L = TypeVar("L")


class Memory(Protocol):
    """Where evidence is kept."""

    async def learn(self, holder: Holder, identity: Identity, evidence: Evidence) -> Learnt:
        """Keep it, unless there is newer; raises `StoreError`."""


@dataclass(slots=True, eq=False)
class Taken(Generic[L]):
    """A lesson that was taken in, and how its query stands to the holder's others. `paid` is what its answers
    drew, and what they have paid out, in thousandths, once that is known.
    """

    lesson: L
    step: Step
    paid: tuple[int, int] | None = None

    def pay(self, profile: Profile) -> None:
        """Take what is known of it into the profile."""
        if self.paid is not None:
            drew, paid = self.paid
            profile.pay(self.step, drew / UNIT, paid / UNIT)


@dataclass(slots=True, eq=False)
class Entry(Generic[L]):
    """What is known of one holder; `unkept` is what was learnt since the store was told, the oldest from
    `since_us` on, and `identity` whose life its state has.
    """

    identity: Identity
    profile: Profile
    evidence: Evidence = NO_EVIDENCE
    unkept: list[Taken[L]] = field(default_factory=list)
    since_us: int = 0
    keeping: bool = False

    def is_due(self, now_us: int) -> bool:
        """Whether it is time to keep it."""
        new = len(self.unkept)
        if not new or self.keeping:
            return False
        often = min(KEPT_EVERY, max(1, (self.profile.queries - new) // 4))
        return new >= often or now_us - self.since_us >= KEPT_SECONDS * 1e6


class Profiles(Generic[L]):
    """Profiles, each brought forward by lessons: `teach` takes one in.

    `reference` says what a profile is worth as evidence, and may be replaced; without one, profiles are kept
    and say nothing. `half_life_us` is that of evidence. They are kept in the `background`, and at most `most`
    are remembered.
    """

    def __init__(
        self,
        memory: Memory,
        teach: Callable[[Profile, L], Step],
        reference: Reference | None,
        *,
        half_life_us: int,
        background: Background | None = None,
        most: int = REMEMBERED,
    ) -> None:
        self.reference = reference
        self.half_life_us = half_life_us
        self._memory = memory
        self._most = most
        self._teach = teach
        self._known: OrderedDict[Holder, Entry[L]] = OrderedDict()
        self._background = background or Background()

    def learn(self, holder: Holder, identity: Identity, lesson: L, now_us: int, *, keep: bool) -> Taken[L]:
        """Take a lesson into the profile of a holder, as far as that is known here; and `keep` the profile if
        it is time. `now_us` is when the query was over.
        """
        known = self._of(holder, identity)
        taken = Taken(lesson, self._teach(known.profile, lesson))
        if keep:
            if not known.unkept:
                known.since_us = now_us
            known.unkept.append(taken)
            if len(known.unkept) > MOST_UNKEPT:
                del known.unkept[0]
            if known.is_due(now_us):
                self._keep(holder, known, now_us)
        return taken

    def pay(self, holder: Holder, taken: Taken[L], drew: int, paid: int) -> None:
        """It is known what the answers of a lesson drew, and have paid out, in thousandths."""
        known = self._known.get(holder)
        if known is not None:
            taken.paid = drew, paid
            taken.pay(known.profile)

    def _of(self, holder: Holder, identity: Identity) -> Entry[L]:
        """What is known of a holder here."""
        known = self._known.get(holder)
        if known is None:
            known = self._known[holder] = Entry(identity, Profile.new())
            self._forget()
        else:
            self._known.move_to_end(holder)
            known.identity = identity
        return known

    def keep_due(self, now_us: int) -> None:
        """Begin to keep those for which it is time."""
        for holder, known in self._known.items():
            if known.is_due(now_us):
                self._keep(holder, known, now_us)

    async def keep_all(self, now_us: int) -> None:
        """Keep all; return when that is done or has failed."""
        await self.quiet()
        for holder, known in list(self._known.items()):
            if known.unkept:
                self._keep(holder, known, now_us)
        await self.quiet()

    async def quiet(self) -> None:
        """Wait until nothing is being kept."""
        await self._background.quiet()

    def _keep(self, holder: Holder, known: Entry[L], now_us: int) -> None:
        known.keeping = True
        self._background.begin(self._kept(holder, known, now_us))

    async def _kept(self, holder: Holder, known: Entry[L], now_us: int) -> None:
        """Bring one holder's evidence to the store, from which it may have been brought further meanwhile."""
        try:
            for _ in range(TRIES):
                said = len(known.unkept)
                learnt = await self._memory.learn(holder, known.identity, self._evidence(known, now_us))
                known.evidence = learnt.evidence
                if learnt.kept:
                    del known.unkept[:said]
                    known.since_us = now_us
                    return
                known.profile = Profile.read(learnt.evidence.profile)
                for taken in known.unkept:
                    taken.step = self._teach(known.profile, taken.lesson)
                    taken.pay(known.profile)
        except StoreError as error:
            limited.log(logging.WARNING, "profile", "what was learnt is not kept (%s): %s", error.kind, error)
        finally:
            known.keeping = False

    def _evidence(self, known: Entry[L], now_us: int) -> Evidence:
        """What is known of a holder now."""
        marks = known.evidence.marks
        if self.reference is not None:
            fresh = self.reference.evidence(known.profile)
            marks = merge(marks, fresh, now_us, self.half_life_us)
        return Evidence(known.evidence.version, known.profile.write(), marks)

    def _forget(self) -> None:
        """Forget who was heard of least recently, and keep what was learnt of them."""
        if len(self._known) > self._most:
            holder, known = self._known.popitem(last=False)
            if known.unkept and not known.keeping:
                self._keep(holder, known, known.since_us)
