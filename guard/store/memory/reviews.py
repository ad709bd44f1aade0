"""How the reviews of holders stand, in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from guard.core.holds import Review
    from guard.core.identity import Holder


class Reviews:
    """Remembers reviews until they are over; `date_us` tells the Unix microseconds."""

    def __init__(self, date_us: Callable[[], int]) -> None:
        self._date_us = date_us
        self._reviews: dict[Holder, Review] = {}

    def of(self, holder: Holder) -> Review | None:
        """How a holder's review stands."""
        review = self._reviews.get(holder)
        over = review is not None and review.until_us is not None and review.until_us <= self._date_us()
        return None if over else review

    def put(self, holder: Holder, review: Review | None, instead_of: Review | None) -> bool:
        """Replace a review, or end it (`None`), where it stands as it was read; whether it did."""
        if self.of(holder) not in (instead_of, review):
            return False
        if review is None:
            self._reviews.pop(holder, None)
        else:
            self._reviews[holder] = review
        return True
