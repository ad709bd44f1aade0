"""Reads what was asked and answered: charges what the answers pay out, and learns how their holders behave.

A transcript is read at once, in the order in which transcripts come, and on the thread of its caller: a
millisecond or less. What follows from it goes to the store beside that, much of it in one call: payouts are
collected for a moment, and profiles are kept now and then (guard/analyst/profiles.py).

Text stays here. What is remembered of it are keyed hashes, and what a profile keeps.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from guard.analyst.lessons import Lessons
from guard.analyst.profiles import REMEMBERED, Memory, Profiles
from guard.analyst.request_texts import ASSISTANT
from guard.analyst.transcript import UNSEEN, Outcome
from guard.background import Background
from guard.campaigns.lineage import Exchange
from guard.errors import StoreError
from guard.telemetry.lines import limited

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from guard.analyst.lessons import Lesson
    from guard.analyst.profiles import Taken
    from guard.analyst.transcript import Transcript
    from guard.campaigns.lineage import Lineages
    from guard.campaigns.observer import Observer
    from guard.core.identity import Holder
    from guard.core.novelty import Payout
    from guard.core.pseudonyms import Pseudonyms
    from guard.detection.reference import Reference
    from guard.dialects.base import Dialect
    from guard.store.port import Reservation

PAY_AGAIN_SECONDS = (0.1, 1.0, 5.0)
"""When a payout that the store did not take is tried again."""


class AnalystStore(Memory, Protocol):
    """What the analyst needs of a store."""

    async def pay(self, reservation: Reservation, receipts: Sequence[Any], payout: Payout) -> int | None:
        """Charge what answers have paid out; raises `StoreError`."""


class Paying(NamedTuple):
    """A lesson whose payout is to be charged, and whom to tell."""

    transcript: Transcript
    taken: Taken[Lesson]
    done: Callable[[Outcome], None]

    @property
    def holder(self) -> Holder:
        """Whose profile it is in."""
        return self.transcript.suspect or self.transcript.reservation.identity.principal


class Analyst:
    """Reads transcripts, for one event loop; raises `ConfigError` where the word vectors cannot be read.

    `dialects` are those that transcripts name. Payouts are collected for `collect_seconds`, 0 for the present
    turn of the loop; with `None` each is charged at once. The store is asked in the `background`. Without
    `bounded`, no holder is forgotten for others, and what the analyst takes grows with their number.
    `lineages` is given each exchange of a suspect's, and `observer` what each leaves behind.
    """

    def __init__(
        self,
        keys: Pseudonyms,
        store: AnalystStore,
        dialects: Mapping[str, Dialect],
        reference: Reference | None,
        *,
        half_life_us: int,
        collect_seconds: float | None = 0.0,
        background: Background | None = None,
        bounded: bool = True,
        lineages: Lineages | None = None,
        observer: Observer | None = None,
    ) -> None:
        wordings = None if observer is None else observer.wordings
        self.lessons = Lessons(keys, dialects, bounded=bounded, wordings=wordings)
        self._background = background or Background()
        self.profiles: Profiles[Lesson] = Profiles(
            store,
            self.lessons.teach,
            reference,
            half_life_us=half_life_us,
            background=self._background,
            most=REMEMBERED if bounded else sys.maxsize,
        )
        self._store = store
        self._lineages = lineages
        self._observer = observer
        self._collect_seconds = collect_seconds
        self._payouts: list[Paying] = []

    def hand_over(self, transcript: Transcript, done: Callable[[Outcome], None]) -> None:
        """Read a transcript now; `done` is told when its payout is charged, or cannot be."""
        if transcript.refused:
            if self._observer is not None and transcript.suspect is not None:
                identity = transcript.reservation.identity
                self._observer.refuse(transcript.suspect, identity, transcript.now_us)
            done(UNSEEN)
            return
        try:
            paying = Paying(transcript, self._read(transcript), done)
        except Exception as error:  # noqa: BLE001 - whatever a client has sent; the message may hold text
            limited.log(logging.ERROR, "analyst", "a query could not be read: %s", type(error).__name__)
            done(UNSEEN)
            return
        if not transcript.reservation.charges:
            # Without a budget nobody knows what was new: all of it is taken for that.
            drawn = paying.taken.lesson.payout.drawn
            self._has_paid(paying, drawn)
            done(Outcome(seen=True))
            return
        if self._collect_seconds is None:
            self._background.begin(self._paid(paying))
            return
        if not self._payouts:
            asyncio.get_running_loop().call_later(self._collect_seconds, self._pay)
        self._payouts.append(paying)

    async def quiet(self) -> None:
        """Wait until nothing is under way."""
        self._pay()
        if self._lineages is not None:
            self._lineages.flush()
        if self._observer is not None:
            self._observer.flush()
        await self._background.quiet()

    async def aclose(self, now_us: int) -> None:
        """Bring to the store what is not there yet."""
        await self.quiet()
        await self.profiles.keep_all(now_us)

    def _read(self, transcript: Transcript) -> Taken[Lesson]:
        """Take a query and its answers in."""
        identity, now_us, suspect = transcript.reservation.identity, transcript.now_us, transcript.suspect
        holder = suspect or identity.principal
        opened = self.lessons.open(transcript)
        lesson = self.lessons.lesson(holder, opened, transcript.usage, now_us)
        taken = self.profiles.learn(holder, identity, lesson, now_us, keep=suspect is not None)
        if self._lineages is not None and suspect is not None:
            history = [each.text for each in opened.sent if each.role == ASSISTANT]
            said = opened.said
            self._lineages.take(
                Exchange(identity, suspect, now_us, opened.payload, history, said.turns, said.ids)
            )
        return taken

    def _has_paid(self, paying: Paying, paid: int) -> None:
        """It is known what the answers have paid out."""
        taken, transcript = paying.taken, paying.transcript
        drew = taken.lesson.payout.drawn
        self.profiles.pay(paying.holder, taken, drew, paid)
        if self._observer is not None and transcript.suspect is not None:
            self._observer.take(
                transcript.suspect,
                transcript.reservation.identity,
                transcript.now_us,
                taken.step.trace,
                drew,
                paid,
                transcript.client,
                taken.lesson.sight.twins,
            )

    def _pay(self) -> None:
        """Begin to charge what was collected."""
        for paying in self._payouts:
            self._background.begin(self._paid(paying))
        self._payouts.clear()

    async def _paid(self, paying: Paying) -> None:
        """Charge one payout, and say so."""
        transcript, payout, paid = paying.transcript, paying.taken.lesson.payout, None
        for pause in (*PAY_AGAIN_SECONDS, None):
            try:
                paid = await self._store.pay(transcript.reservation, transcript.receipts, payout)
                break
            except StoreError as error:
                if pause is None:
                    limited.log(logging.ERROR, "pay", "not paid out (%s): %s", error.kind, error)
                else:
                    await asyncio.sleep(pause)
        if paid is not None:
            self._has_paid(paying, paid)
        paying.done(Outcome(seen=True, paid=paid))
