"""Hands what was asked and answered to whoever reads it, beside the requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guard.analyst.backend_words import tells
from guard.analyst.transcript import UNSEEN, Transcript
from guard.core.decision import Reason
from guard.core.limits import Unit
from guard.core.query import NO_USAGE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from guard.analyst.transcript import Outcome as Read
    from guard.analyst.transcript import Reader
    from guard.clock import Clock
    from guard.core.identity import Holder
    from guard.core.limits import Charge
    from guard.engine.admission import Admission, Outcome
    from guard.store.port import Settled


MOST_REFUSED = 1_024
"""Maximum number of holders of which it is told in a minute that they were refused, each once: names cost
nothing to make up.
"""

MINUTE_US = 60_000_000

TELLING = frozenset({Reason.QUOTA, Reason.BLOCKED, Reason.RISK})
"""Why a caller is refused that may go on elsewhere: neither its one request nor the store is at fault."""


class Transcripts:
    """Hands transcripts to a reader, if there is one; `told` hears of each answer that was to be read."""

    def __init__(self, clock: Clock, reader: Reader | None, told: Callable[[Admission, Read], None]) -> None:
        self.reader = reader
        self._clock = clock
        self._told = told
        self._minute = 0
        self._refused: set[Holder] = set()

    def refuse(self, admission: Admission) -> None:
        """Tell the reader that a caller was refused, once in a minute for each holder."""
        suspect = admission.suspect
        if self.reader is None or suspect is None or admission.decision.reason not in TELLING:
            return
        now_us = self._clock.date_us()
        if now_us // MINUTE_US != self._minute:
            self._minute = now_us // MINUTE_US
            self._refused.clear()
        if suspect.holder in self._refused or len(self._refused) >= MOST_REFUSED:
            return
        self._refused.add(suspect.holder)
        self.reader.hand_over(
            Transcript(
                reservation=admission.reservation._replace(charges=()),
                receipts=(),
                suspect=suspect.holder,
                whose=admission.identity.accountable,
                dialect="",
                path="",
                model=None,
                usage=NO_USAGE,
                now_us=now_us,
                body=b"",
                answer=b"",
                content_type="",
                refused=True,
            ),
            _nobody_waits,
        )

    def hand_over(
        self,
        outcome: Outcome,
        owed: Sequence[Charge],
        settled: Settled | None,
        done: Callable[[], None] | None = None,
    ) -> None:
        """Have an answer read that owes so much, if it is to be; `done` is called when that is over.

        What the backend does not take is not worth the time, unless it tells of the query why. Callers whose
        credential guard has not checked share the time of their network, since one of them may be many.
        """
        admission, copies = outcome.admission, outcome.copies
        if self.reader is None or not admission.read or not (outcome.answered or _says_why(outcome)):
            if done is not None:
                done()
            return

        def over(read: Read) -> None:
            self._told(admission, read)
            if done is not None:
                done()

        if copies is None:
            over(UNSEEN)
            return
        identity = admission.identity
        drawn = [charge for charge in owed if charge.limit.unit == Unit.NOVELTY and charge.amount]
        receipts = settled.receipts if settled and outcome.answered and copies.answer is not None else ()
        self.reader.hand_over(
            Transcript(
                reservation=admission.reservation._replace(charges=tuple(drawn) if receipts else ()),
                receipts=receipts,
                suspect=None if admission.suspect is None else admission.suspect.holder,
                whose=identity.accountable,
                dialect=copies.dialect,
                path=copies.path,
                model=copies.model,
                usage=outcome.usage,
                now_us=self._clock.date_us(),
                body=copies.body,
                answer=copies.answer or b"",
                content_type=copies.content_type,
                codings=copies.codings,
                asked=copies.asked,
                client=copies.client,
            ),
            over,
        )


def _nobody_waits(_: Read) -> None:
    """Nothing comes of a request that was refused."""


def _says_why(outcome: Outcome) -> bool:
    """Whether a backend has said why it refuses a query, in an error."""
    copies = outcome.copies
    return copies is not None and tells(copies.answer or b"", copies.codings)
