"""Campaigns: identities that are tied together by evidence, and are held to account as one.

A campaign is data. Whoever judges groups writes it down (guard/campaigns), an operator reads and corrects it,
and the path of a request knows only in which *pool* its caller is.

**Pools.** A limit per campaign is shared by the members of one pool. How many pools a campaign has depends on
how strong the ties are: with n members tied with a strength s, from 0 to 1, it has n^(1 - s) of them, each
with the whole limit. So who is tied surely shares one budget with all others, and a wrong tie costs little.

    100 members    strength 0    100 pools: each as if alone
                   strength .5    10 pools of about ten members
                   strength 1      1 pool
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence


class Verdict(StrEnum):
    """How sure it is that some identities are one campaign: the scale of Wikipedia's sockpuppet
    investigations.

    Only a person says `CONFIRMED`, `UNLIKELY` or `UNRELATED`. What is `LIKELY` has two things in common at
    least, or one who pays, and behaves as one holder that goes through a data set; of what is `POSSIBLE` one
    of the two is missing. There is too little to judge of what is `INCONCLUSIVE`, and nothing is new of what
    is `STALE`.
    """

    counts: bool
    meaning: str

    def __new__(cls, name: str, meaning: str = "", counts: bool = False) -> Self:
        """One row; `counts` says whether anything follows for its members, and `meaning` what it says to an
        operator.
        """
        row = str.__new__(cls, name)
        row._value_ = name
        row.meaning, row.counts = meaning, counts
        return row

    # fmt: off
    CONFIRMED = "confirmed", "a person is sure that its members are one", True
    LIKELY = "likely", "two things in common or more, and together its members go through a data set", True
    POSSIBLE = (
        "possible",
        "one thing in common, or members that look only a little like one that goes through a set", True,
    )
    UNLIKELY = "unlikely", "a person holds that its members are probably not one"
    UNRELATED = "unrelated", "a person is sure that its members have nothing to do with each other"
    INCONCLUSIVE = "inconclusive", "too little is known to judge"
    STALE = "stale", "nothing new was seen for a long time"
    # fmt: on


SAID_BY_PEOPLE = tuple(each for each in Verdict if each not in (Verdict.INCONCLUSIVE, Verdict.STALE))
"""What a person may say of a campaign."""


class TieKind(StrEnum):
    """What ties identities together. Two of one `family` rest on the same facts, and count as one kind.

    `meaning` is what it says to an operator, in a few words. `asked` is one that only says what they ask:
    honest people may have that in common, so it ties nobody by itself.
    """

    family: str
    meaning: str
    asked: bool

    def __new__(cls, name: str, family: str = "", meaning: str = "", asked: bool = False) -> Self:
        """One row."""
        row = str.__new__(cls, name)
        row._value_ = name
        row.family, row.meaning, row.asked = family, meaning, asked
        return row

    # fmt: off
    LINEAGE = "lineage", "lineage", "one sends what was answered to another"
    TEMPLATE = "template", "program", "the same rare wording stands round their queries"
    PAYMENT = "payment", "payment", "they pay by the same means"
    POOL = "pool", "network", "they come from the same network"
    ASN = "asn", "network", "they come from the same network operator"
    CLIENT = "client", "program", "the same rare program sends their requests"
    TLS = "tls", "program", "their connections have the same rare TLS fingerprint"
    DOMAIN = "domain", "domain", "their names have the same rare mail domain"
    HANDOVER = "handover", "timing", "where one is refused, others of them take over within minutes"
    LIKENESS = "likeness", "content", "they ask about the same things in the same measure", True
    SLICES = "slices", "slices", "they ask for parts of one set that nowhere overlap", True
    INDICATED = "indicated", "program", "another operator has seen the same in a campaign"
    # fmt: on


@dataclass(frozen=True, slots=True)
class Tie:
    """One thing that so many members have in common. `what` is a keyed digest, or empty; `decibans` how
    improbable that is among identities that have nothing to do with each other. `shared` is the same as
    operators may tell each other (guard/core/indicators.py), of each such thing, the most common first."""

    kind: TieKind
    what: str
    members: int
    decibans: float
    shared: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """One reason for or against that a group is one campaign, in words for an operator; `decibans` is what it
    weighs, 0 where that was not measured."""

    text: str
    decibans: float = 0.0


@dataclass(frozen=True, slots=True)
class Member:
    """One identity of a campaign: since when it is one (Unix microseconds), and how surely, from 0 to 1."""

    since_us: int
    confidence: float


@dataclass(frozen=True, slots=True)
class Judged:
    """What a person has said of a campaign: who, why, and until when that holds (`None`: for good). It
    outranks what guard says.
    """

    verdict: Verdict
    by: str
    reason: str
    at_us: int
    until_us: int | None = None

    def holds(self, now_us: int) -> bool:
        """Whether it is not over."""
        return self.until_us is None or now_us < self.until_us


@dataclass(frozen=True, slots=True)
class Event:
    """One moment of a campaign's life, in words."""

    at_us: int
    text: str


MOST_EVENTS = 100
"""Maximum number of events that are kept of one campaign, the latest."""


@dataclass(frozen=True, slots=True)
class Campaign:
    """What is known of one campaign. Its id has no dot: what follows one is a pool's number.

    `found` is what guard itself says; `verdict` is what holds. `decibans` is how much the group as one holder
    looks like one that goes through a data set, and `strength`, from 0 to 1, how surely its members are tied.
    `members` are by their labels (`Pseudonyms.label`), and `cleared` are labels that a person has taken out:
    they never come back. `queries` and `paid` are what the members have asked and drawn together, in queries
    and in units of payout. Times are in Unix microseconds.
    """

    id: str
    since_us: int
    seen_us: int
    found: Verdict
    decibans: float
    strength: float
    members: Mapping[str, Member]
    ties: Sequence[Tie] = ()
    speaks_for: Sequence[Finding] = ()
    speaks_against: Sequence[Finding] = ()
    not_seen: Sequence[str] = ()
    queries: int = 0
    paid: float = 0.0
    cleared: frozenset[str] = frozenset()
    judged: Judged | None = None
    events: Sequence[Event] = field(default=())

    def __post_init__(self) -> None:
        if not self.id or "." in self.id:
            raise ValueError(f"{self.id!r} is not the id of a campaign, which has no dot")

    def verdict(self, now_us: int) -> Verdict:
        """What holds: a person's word while it does, else guard's own."""
        judged = self.judged
        return judged.verdict if judged is not None and judged.holds(now_us) else self.found

    def pools(self, now_us: int) -> int:
        """Among how many pools its members are spread; 0 where nothing follows from it."""
        verdict = self.verdict(now_us)
        if not verdict.counts or not self.members:
            return 0
        strength = 1.0 if verdict is Verdict.CONFIRMED else self.strength
        return pools_of(len(self.members), strength)


@dataclass(frozen=True, slots=True)
class Word:
    """What people have said of a campaign: nobody else writes it, and it holds whatever guard finds."""

    judged: Judged | None = None
    cleared: frozenset[str] = frozenset()
    events: Sequence[Event] = ()

    def with_(self, event: Event | None, **said: Any) -> Word:
        """The same with something else said, and the event of that, if it is one."""
        events = self.events if event is None else (*self.events, event)[-MOST_EVENTS:]
        return replace(self, events=events, **said)

    def over(self, campaign: Campaign) -> Campaign:
        """The campaign with this said of it: who was cleared, here or there, is no member. What people did
        stands among the events once, also where a campaign was written down with it.
        """
        cleared = campaign.cleared | self.cleared
        members = {label: each for label, each in campaign.members.items() if label not in cleared}
        events = sorted(dict.fromkeys((*campaign.events, *self.events)), key=lambda event: event.at_us)
        return replace(campaign, judged=self.judged, cleared=cleared, members=members, events=tuple(events))


def pools_of(members: int, strength: float) -> int:
    """The number of pools of so many members that are tied so strongly."""
    strength = min(1.0, max(0.0, strength))
    return max(1, math.ceil(round(math.pow(members, 1.0 - strength), 6)))


def pool(campaign: str, pools: int, digest: str) -> str:
    """The pool of a member, by its digest: the campaign's id, and a number where it has several pools."""
    return campaign if pools == 1 else f"{campaign}.{int(digest[:8], 16) % pools}"


def campaign_of(pool: str) -> str:
    """The id of the campaign that a pool is of."""
    return pool.partition(".")[0]


def pools_by_digest(
    campaigns: Iterable[Campaign], now_us: int, digest: Callable[[str], str]
) -> dict[str, str]:
    """The pool of each member, by its digest, which follows from its label; a member of several campaigns is
    in that with the fewest pools.
    """
    spread = sorted((-each.pools(now_us), each.id, each) for each in campaigns)
    found: dict[str, str] = {}
    for pools, campaign, each in spread:
        names = map(digest, each.members if pools else ())
        found.update((name, pool(campaign, -pools, name)) for name in names)
    return found


@dataclass(frozen=True, slots=True)
class Membership:
    """What the path of a request knows of campaigns, as of a version: the pool of each member, by the digest
    of the holder that the evidence is kept for.
    """

    version: int = 0
    pools: Mapping[str, str] = field(default_factory=dict)


NOBODY = Membership()


LATE_SECONDS = 60
"""Who looks for campaigns is late where a query has waited for so long."""


@dataclass(frozen=True, slots=True)
class Lag:
    """How far behind it is who looks for campaigns: the number of queries that it has yet to look at, and for
    how many seconds the oldest of them has waited.
    """

    queries: int = 0
    seconds: float = 0.0

    @property
    def late(self) -> bool:
        """Whether that is more than a moment's."""
        return self.seconds >= LATE_SECONDS
