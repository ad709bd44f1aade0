"""How much it says against somebody that conversations come from it which others were answered.

A crossing is a request with a turn or an id that was issued to somebody else and that it has not sent before.
Once is nothing: people share chats, and change their keys. What a relay does, and few others, is to cross
again and again, from one account to another, as it spreads the turns of its users over all of them.

    crossing between                                    says, in decibans, after 1, 2, 10, 100 of them
    two organisations that somebody vouches for         7   10   17   27
    an account and so many others (`MANY_OTHERS`)       likewise
    an account and one or two others                    3    6    9    9

Whoever has two keys that nobody vouches for, or one key at home and one at work, looks like a relay of two
accounts, and always will. So this stays below `SPEAKING`, whatever comes: it ties the two together, and the
rest is for who judges groups. Crossings fade with the half-life of evidence.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from guard.core.evidence import FAINTEST, GROUP_CAP, Mark

if TYPE_CHECKING:
    from collections.abc import Collection

    from guard.store.slots import Issuer

MANY_OTHERS = 3
"""From so many others on, an account is no second key of somebody's."""

MOST_ACCOUNTS, MOST_OTHERS = 4_096, 64
"""Maximum numbers of accounts that are remembered, and of others of each: the latest that crossed."""

NEWS = 1.0
"""It is said again when it says so many decibans more than what is left of the last time."""

_FIRST, _TENFOLD = 7.0, 10.0
_MILD, _MOST_MILD = 3.0, 9.0


@dataclass(slots=True)
class _Crossed:
    """How often, with what has faded, as of a moment; `organisations` are those of one to another."""

    count: float = 0.0
    organisations: float = 0.0
    at_us: int = 0

    def fade(self, now_us: int, half_life_us: int) -> None:
        """Bring it to this moment."""
        left = 0.5 ** (max(0, now_us - self.at_us) / half_life_us)
        self.count *= left
        self.organisations *= left
        self.at_us = max(now_us, self.at_us)


@dataclass(slots=True)
class _Account:
    """Whom it has crossed with, and what was said against it last."""

    others: OrderedDict[int, _Crossed] = field(default_factory=OrderedDict)
    said: Mark | None = None


class Crossings:
    """Counts the crossings of each account."""

    def __init__(self, half_life_us: int) -> None:
        self.half_life_us = half_life_us
        self._accounts: OrderedDict[int, _Account] = OrderedDict()

    def add(self, who: Issuer, issuers: Collection[Issuer], now_us: int) -> float:
        """Somebody has sent what was issued to these others. What all that it did says against it, in
        decibans; 0 where that has been said."""
        account = self._of(who)
        others = account.others
        for issuer in issuers:
            crossed = others.setdefault(issuer.digest, _Crossed(at_us=now_us))
            crossed.fade(now_us, self.half_life_us)
            # What several of them have a part in is one crossing all the same.
            crossed.count += 1 / len(issuers)
            if who.organisation and issuer.organisation:
                crossed.organisations += 1 / len(issuers)
            others.move_to_end(issuer.digest)
        while len(others) > MOST_OTHERS:
            others.popitem(last=False)
        for crossed in others.values():
            crossed.fade(now_us, self.half_life_us)
        said, before = _decibans(list(others.values())), account.said
        if before is not None and said < before.left(now_us, self.half_life_us) + NEWS:
            return 0.0
        account.said = Mark(said, now_us, now_us)
        return said

    def _of(self, who: Issuer) -> _Account:
        account = self._accounts.setdefault(who.digest, _Account())
        self._accounts.move_to_end(who.digest)
        if len(self._accounts) > MOST_ACCOUNTS:
            self._accounts.popitem(last=False)
        return account


def _decibans(others: list[_Crossed]) -> float:
    """What these crossings say together."""
    count = sum(each.count for each in others)
    many = sum(each.count >= _STILL for each in others) >= MANY_OTHERS
    strong = count if many else sum(each.organisations for each in others)
    said = min(_MOST_MILD, _MILD * (1 + math.log2(max(1.0, count))))
    if strong >= _STILL:
        said = max(said, min(GROUP_CAP, _FIRST + _TENFOLD * math.log10(strong)))
    return max(FAINTEST, said)


_STILL = 0.25
"""What has faded below this many crossings is over."""
