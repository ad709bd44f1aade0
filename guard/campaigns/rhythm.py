"""When each holder came, went and was refused: the latest of it, by holder.

A holder *enters* with a query after `SILENCE_US` without any, and *leaves* with the last one before as long a
silence; what lies between is a session. A refusal counts where the holder was active until then and was not
refused shortly before: it is the first of those that come until somebody looks elsewhere.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from guard.campaigns.window import Seen

SILENCE_US = 20 * 60_000_000
"""After so long without a query a holder has left."""

STRUCK_US = 30 * 60_000_000
"""A refusal so soon after another one of the same holder is the same event."""

MOST_SESSIONS, MOST_REFUSALS = 48, 24
"""Maximum numbers of sessions and refusals that are remembered of one holder, the latest."""

MOST_HOLDERS = 20_000
"""Maximum number of holders: 1 KB each."""


@dataclass(slots=True, eq=False)
class Rhythm:
    """One holder's times, in Unix microseconds: the first and the last query of each session, in the order of
    time, and when it was refused.
    """

    entered: array[int] = field(default_factory=lambda: array("q"))
    left: array[int] = field(default_factory=lambda: array("q"))
    _struck: array[int] = field(default_factory=lambda: array("q"))
    _refused_us: int = -STRUCK_US

    @property
    def refused(self) -> list[int]:
        """The refusals that count. A query may be told of later than the refusal of the next one, so whether
        the holder was active is asked now.
        """
        return [at_us for at_us in self._struck if self._is_active(at_us)]

    def ask(self, at_us: int) -> None:
        """It was answered."""
        if self.left and at_us - self.left[-1] < SILENCE_US:
            self.left[-1] = max(self.left[-1], at_us)
            return
        self.entered.append(at_us)
        self.left.append(at_us)
        if len(self.entered) > MOST_SESSIONS:
            del self.entered[0], self.left[0]

    def refuse(self, at_us: int) -> None:
        """It was refused."""
        again = at_us - self._refused_us < STRUCK_US
        self._refused_us = max(self._refused_us, at_us)
        if not again:
            self._struck.append(at_us)
            if len(self._struck) > MOST_REFUSALS:
                del self._struck[0]

    def _is_active(self, at_us: int) -> bool:
        place = bisect_right(self.entered, at_us) - 1
        return place >= 0 and at_us - self.left[place] <= SILENCE_US


class Rhythms:
    """Those of all holders; beyond `most` of them, who has been silent longest is forgotten."""

    def __init__(self, most: int = MOST_HOLDERS) -> None:
        self._most = most
        self._of: OrderedDict[str, Rhythm] = OrderedDict()

    def of(self, members: Iterable[Seen]) -> dict[str, list[Rhythm]]:
        """What is remembered of these, by party."""
        found: dict[str, list[Rhythm]] = {}
        for each in members:
            if each.label in self._of:
                found.setdefault(each.party, []).append(self._of[each.label])
        return found

    def ask(self, label: str, at_us: int) -> None:
        """A holder was answered."""
        self._known(label).ask(at_us)

    def forget(self, label: str) -> None:
        """Nothing is remembered of a holder any more."""
        self._of.pop(label, None)

    def refuse(self, label: str, at_us: int) -> None:
        """A holder was refused."""
        self._known(label).refuse(at_us)

    def _known(self, label: str) -> Rhythm:
        rhythm = self._of.setdefault(label, Rhythm())
        self._of.move_to_end(label)
        if len(self._of) > self._most:
            self._of.popitem(last=False)
        return rhythm
