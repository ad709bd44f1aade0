"""When each holder came, went and was refused: the latest of it, by holder.

A holder *enters* with a query after `SILENCE_US` without any, and *leaves* with the last one before as long a
silence; what lies between is a session. A refusal counts where the holder was active until then and was not
refused shortly before: it is the first of those that come until somebody looks elsewhere.
"""

from __future__ import annotations

from array import array
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
    time, and its refusals.
    """

    entered: array[int] = field(default_factory=lambda: array("q"))
    left: array[int] = field(default_factory=lambda: array("q"))
    refused: array[int] = field(default_factory=lambda: array("q"))
    _struck_us: int = 0

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
        again = at_us - self._struck_us < STRUCK_US
        self._struck_us = max(self._struck_us, at_us)
        if again or not self.left or at_us - self.left[-1] > SILENCE_US:
            return
        self.refused.append(at_us)
        if len(self.refused) > MOST_REFUSALS:
            del self.refused[0]


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
        self._of.setdefault(label, Rhythm()).ask(at_us)
        self._of.move_to_end(label)
        if len(self._of) > self._most:
            self._of.popitem(last=False)

    def forget(self, label: str) -> None:
        """Nothing is remembered of a holder any more."""
        self._of.pop(label, None)

    def refuse(self, label: str, at_us: int) -> None:
        """A holder was refused; of whom nothing is known nobody takes over anything."""
        if label in self._of:
            self._of[label].refuse(at_us)
