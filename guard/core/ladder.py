"""The ladder: what is done about a risk, from nothing to a refusal, band by band.

    allow       nothing
    reshape     logprobs and logit bias taken out, `n` and the length capped, reasoning sealed or
                hidden
    slow        the answer waits a little before it is asked for
    throttle    every limit of the caller's own holds a share of what it held
    price       what a caller draws counts so many times for its own diversity budgets
    challenge   a refusal that names a way to be verified
    hold        a refusal that ends when somebody says so, also where the risk has faded (guard/core/holds.py)
    deny        a refusal that ends when the risk has faded

Rungs do not exclude each other: one band may reshape, slow and throttle. What a denied client sees is what
any client sees that has used up a quota, so that it cannot tell what was noticed, or whether. One that is
held is told so, since it has to ask somebody, but not why.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from guard.core.evidence import Band
from guard.core.limits import Unit
from guard.core.reshape import UNCHANGED, Reshape

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Rung:
    """What is done in one band.

    `slow_seconds` is the longest wait, of which each request gets a share between a half and all. `throttle`
    is the share of each of the caller's own limits that is left, above 0 and at most 1. `novelty_price`, 1 at
    least, is how many times what it draws counts for its own diversity budgets. `challenge` is what a client
    is told that has to be verified; empty where it has not.
    """

    reshape: Reshape = UNCHANGED
    slow_seconds: float = 0.0
    throttle: float = 1.0
    novelty_price: float = 1.0
    challenge: str = ""
    hold: bool = False
    deny: bool = False

    @property
    def bites(self) -> bool:
        """Whether it does anything."""
        return self != NO_ACTION

    def left(self, unit: str) -> float:
        """The share that is left of a limit of the caller's own on this unit. Who pays a price of 10 draws as
        much as from a tenth of the budget.
        """
        return self.throttle / self.novelty_price if unit == Unit.NOVELTY else self.throttle

    @property
    def refuses(self) -> bool:
        """Whether requests do not reach the backend."""
        return self.deny or self.hold or bool(self.challenge)


NO_ACTION = Rung()
"""Nothing is done."""

ON_HOLD = Rung(hold=True)
"""What is done to a holder that is held, whatever its risk."""


@dataclass(frozen=True, slots=True)
class Ladder:
    """A tier's rungs, and how they bite.

    `share` is the share of the requests that a rung is applied to, and `delay_us` the longest time by which
    it lags behind the evidence; each holder has a lag of its own. Both keep a client that tries things out
    from finding out what was noticed.
    """

    rungs: Mapping[Band, Rung] = field(default_factory=lambda: MappingProxyType({}))
    share: float = 1.0
    delay_us: int = 0

    def rung(self, band: Band, chance: float) -> Rung:
        """The rung of a band for one request; `chance` is drawn evenly from [0, 1)."""
        return self.rungs.get(band, NO_ACTION) if chance < self.share else NO_ACTION

    def short_of_refusal(self, band: Band) -> Rung:
        """What is done in a band but for refusals; where that is nothing, what is done in those below."""
        for each in reversed(list(Band)[: list(Band).index(band) + 1]):
            rung = replace(self.rungs.get(each, NO_ACTION), challenge="", hold=False, deny=False)
            if rung.bites:
                return rung
        return NO_ACTION

    @property
    def holds(self) -> bool:
        """Whether any rung holds."""
        return any(rung.hold for rung in self.rungs.values())


NO_LADDER = Ladder()
"""Risk is known, and nothing is done about it."""
