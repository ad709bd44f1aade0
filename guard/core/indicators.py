"""Indicators: what operators tell each other of campaigns, so that one who has seen one warns the others.

What ties a campaign is kept as hashes that are keyed with a pepper, which no two installations share. So of
what may be shared a second hash is made, keyed with a secret that operators share: two of them come to the
same one, and nobody else learns what is behind it. What another operator says is a word and no proof: it ties
nobody surely, and what is common here is ignored.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Self

from guard.core.campaigns import TieKind

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_INDICATORS = 10_000
"""Maximum number of indicators of others that are kept."""

LONGEST_SECONDS = 366 * 86_400
"""For so long at most what another operator says is believed."""

COMMON_TO = 3
"""What so many organisations use here for which somebody vouches is common, and says nothing."""

_DIGEST = re.compile(r"[0-9a-f]{32}")


class Thing(StrEnum):
    """What can be shared, by its name in a pattern; `tie` is the kind of tie that it makes here.

    `guessable` is what has so few values that whoever has the secret finds it by trying all.
    """

    tie: TieKind
    guessable: bool

    def __new__(cls, name: str, tie: TieKind = TieKind.TEMPLATE, guessable: bool = False) -> Self:
        """One row."""
        row = str.__new__(cls, name)
        row._value_ = name
        row.tie, row.guessable = tie, guessable
        return row

    TEMPLATE = "template", TieKind.TEMPLATE
    PROGRAM = "program", TieKind.CLIENT
    DOMAIN = "domain", TieKind.DOMAIN, True
    NETWORK = "network", TieKind.POOL, True
    ASN = "asn", TieKind.ASN, True


THING_OF = {thing.tie: thing for thing in Thing}


def is_shared_digest(text: object) -> bool:
    """Whether this has the form of what operators share: 32 hex digits."""
    return isinstance(text, str) and _DIGEST.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Indicator:
    """What another operator says that it has seen in a campaign.

    `id` and `producer` are those of STIX, and `called` is what the producer calls itself. `digest` is keyed
    with the shared secret. Indicators of one `group` are of one campaign there. `confidence` is from 0 to
    100. It holds from `since_us` until `until_us`, as it was at `modified_us`; `by`, `reason` and `at_us` say
    who has taken it over, why, and when. Times are in Unix microseconds.
    """

    id: str
    thing: Thing
    digest: str
    group: str
    producer: str
    called: str
    confidence: int
    since_us: int
    until_us: int
    modified_us: int
    by: str = ""
    reason: str = ""
    at_us: int = 0

    def holds(self, now_us: int) -> bool:
        """Whether it is not over."""
        return now_us < self.until_us


@dataclass(frozen=True, slots=True)
class Sighted:
    """How often what an indicator names was seen here: the first and the last time (Unix microseconds), and
    in how many queries. `common` says that it is common here, and ignored.
    """

    first_us: int
    last_us: int
    queries: int
    common: bool = False


@dataclass(frozen=True, slots=True)
class Imported:
    """All that others have said, by the id of the indicator, as of a version; 0 where nobody has."""

    version: int = 0
    indicators: Mapping[str, Indicator] = field(default_factory=dict)


def room_for(indicators: Mapping[str, Indicator], now_us: int) -> dict[str, Indicator]:
    """Those that are not over; raises `ValueError` where these are too many."""
    left = {name: each for name, each in indicators.items() if each.holds(now_us)}
    if len(left) > MOST_INDICATORS:
        raise ValueError(f"at most {MOST_INDICATORS:,} indicators are kept, and these would be {len(left):,}")
    return left
