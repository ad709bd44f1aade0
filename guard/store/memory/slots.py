"""Whom something was issued to, as guard/store/slots.py says, in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guard.store.slots import day_of, taken

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guard.store.slots import Found, Step, Table


class Slots:
    """Tables of slots, of which only the buckets that were touched take room."""

    def __init__(self) -> None:
        self._buckets: dict[tuple[Table, int], bytes] = {}

    def trace(self, steps: Sequence[Step], now_us: int) -> list[Found | None]:
        """Take these steps; what is known of each token that is asked about."""
        day, known = day_of(now_us), []
        for step in steps:
            place = step.table, step.table.bucket(step.token)
            bucket, found = taken(self._buckets.get(place, b""), step, day)
            if any(bucket):
                self._buckets[place] = bucket
            if not step.issues:
                known.append(found)
        return known
