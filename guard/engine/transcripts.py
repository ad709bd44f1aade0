"""Hands what was asked and answered to whoever reads it, beside the requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guard.analyst.transcript import Transcript
from guard.core.identity import Attribute

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from guard.analyst.transcript import Outcome as Read
    from guard.analyst.transcript import Reader
    from guard.clock import Clock
    from guard.core.limits import Charge
    from guard.engine.admission import Outcome
    from guard.store.port import Settled


class Transcripts:
    """Hands transcripts to a reader, if there is one. `unseen` counts the queries that it has not read."""

    def __init__(self, clock: Clock, reader: Reader | None) -> None:
        self.reader = reader
        self.unseen = 0
        self._clock = clock

    def take_unseen(self) -> int:
        """How many queries went unseen since this was asked last."""
        unseen, self.unseen = self.unseen, 0
        return unseen

    def hand_over(
        self,
        outcome: Outcome,
        drawn: Sequence[Charge],
        settled: Settled | None,
        done: Callable[[int | None], None],
    ) -> None:
        """Have an answer read, if it is to be; `done` is told what it was charged in all for what it has paid
        out, where that is known then.

        What the backend refuses is not worth the time. Callers whose credential guard has not checked share
        the time of their network, since one of them may be many.
        """
        admission, copies = outcome.admission, outcome.copies
        novelty = None if settled is None else settled.novelty
        if self.reader is None or not admission.read or not outcome.answered:
            done(novelty)
            return
        if copies is None:
            self.unseen += 1
            done(novelty)
            return

        def read(outcome: Read) -> None:
            self.unseen += not outcome.seen
            done(novelty if outcome.paid is None else outcome.paid)

        identity = admission.identity
        receipts = () if settled is None or copies.answer is None else settled.receipts
        self.reader.hand_over(
            Transcript(
                reservation=admission.reservation._replace(charges=tuple(drawn) if receipts else ()),
                receipts=receipts,
                suspect=None if admission.suspect is None else admission.suspect.holder,
                whose=identity.principal if identity.verified else identity.holder(Attribute.NETWORK),
                dialect=copies.dialect,
                path=copies.path,
                model=copies.model,
                usage=outcome.usage,
                now_us=self._clock.date_us(),
                body=copies.body,
                answer=copies.answer or b"",
                content_type=copies.content_type,
                codings=copies.codings,
            ),
            read,
        )
