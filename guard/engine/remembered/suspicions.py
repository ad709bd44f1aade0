"""What is known against whom, and what is to be done about it for one request.

The evidence against a holder comes with every admission, and how its review stands. What came last is
remembered, since its limits have to be cut before the next request is held against them, and since the store
may fail.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from guard.core.calendars import MICROSECONDS
from guard.core.climb import NO_MARKS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from guard.core.detection import Suspect
    from guard.core.evidence import Mark
    from guard.core.holds import Review
    from guard.core.identity import Holder
    from guard.core.signals import Signal

REMEMBERED = 10_000
"""Size of the cache, in holders; the oldest is dropped first."""

LONGEST_REVIEW_US = 3_600 * MICROSECONDS
"""A review that was heard is gone by without the store for as long as it says, but no longer than this."""


@dataclass(frozen=True, slots=True)
class Known:
    """What speaks against a holder, and how its review stood at `at_us`."""

    marks: Mapping[Signal, Mark]
    review: Review | None = None
    at_us: int = 0

    def stands(self, now_us: int) -> Review | None:
        """How the review stands, as far as is known."""
        review = self.review
        if review is None or now_us >= self.at_us + LONGEST_REVIEW_US:
            return None
        return review if review.until_us is None or now_us < review.until_us else None


NOTHING_KNOWN = Known(NO_MARKS)


class Suspicions:
    """Remembers the evidence against holders and their reviews, for one process."""

    def __init__(self) -> None:
        self._known: OrderedDict[Holder, Known] = OrderedDict()

    def against(self, suspect: Suspect | None) -> Known:
        """What was heard last."""
        return NOTHING_KNOWN if suspect is None else self._known.get(suspect.holder, NOTHING_KNOWN)

    def hear(
        self,
        suspect: Suspect | None,
        marks: Mapping[Signal, Mark],
        review: Review | None = None,
        now_us: int = 0,
    ) -> None:
        """Remember what speaks against a holder, and how its review stands."""
        if suspect is None:
            return
        if not marks and review is None:
            self._known.pop(suspect.holder, None)
            return
        self._known[suspect.holder] = Known(marks, review, now_us)
        self._known.move_to_end(suspect.holder)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
