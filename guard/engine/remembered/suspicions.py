"""What is known against whom, and what is to be done about it for one request.

The evidence against a holder comes with every admission. What came last is remembered, since its limits have
to be cut before the next request is held against them, and since the store may fail.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from guard.core.climb import NO_MARKS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from guard.core.detection import Suspect
    from guard.core.evidence import Mark
    from guard.core.identity import Holder
    from guard.core.signals import Signal

REMEMBERED = 10_000
"""Size of the cache, in holders; the oldest is dropped first."""


class Suspicions:
    """Remembers the evidence against holders, for one process."""

    def __init__(self) -> None:
        self._marks: OrderedDict[Holder, Mapping[Signal, Mark]] = OrderedDict()

    def against(self, suspect: Suspect | None) -> Mapping[Signal, Mark]:
        """What was heard last."""
        return NO_MARKS if suspect is None else self._marks.get(suspect.holder, NO_MARKS)

    def hear(self, suspect: Suspect | None, marks: Mapping[Signal, Mark]) -> None:
        """Remember what speaks against a holder."""
        if suspect is None:
            return
        if not marks:
            self._marks.pop(suspect.holder, None)
            return
        self._marks[suspect.holder] = marks
        self._marks.move_to_end(suspect.holder)
        if len(self._marks) > REMEMBERED:
            self._marks.popitem(last=False)
