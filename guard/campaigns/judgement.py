"""Whether some holders are one campaign: what ties them, and how they behave as if they were one holder.

**Likeness never convicts.** The users of one app, and a class with one exercise, are as like each other as
the accounts of a distiller. So a group is judged by what it does: what its members have asked, by turns, goes
into one profile, and the score that tells an enumeration of one holder (guard/detection/traits.py) reads it.
A second profile takes only what carries the thing in common, so that cover under other wordings hides
nothing.

What only a group has is added to that: honest people repeat each other, and parts of one list never do. By
references that know none of the judged sources, of 600 queries (docs/decisions/0030):

                                        as one holder    beside each other    conviction
    30 accounts, parts of gsm8k         15 to 21 dB      0 %                  19 to 25 dB
    parts of gpteacher, one template    16               5                    15
    40 users of one letters app         4, or 15         0                    8, or 19
    40 users of most other apps         0 to 9           0 to 67              0 to 7
    a class, the same exercises         0 to 2           60 to 80             0
    40 persons                          1 to 3           28 to 46             0

**A prompt convicts nobody.** The users of a chat app that keeps no conversations ask single questions about
anything, under one prompt and by one program: together they look like one that goes through a set (up to 31
dB). So `LIKELY` needs `CONVICTED` decibans, and two things in common of different families, of which the
program and its prompt are one, or one means of payment; and that no more queries lie beside each other than
those of honest groups: whoever runs one public benchmark asks what others ask.
"""

from __future__ import annotations

from collections import defaultdict
from math import log10
from typing import TYPE_CHECKING, NamedTuple

from guard.campaigns.ties import LEAST_PARTIES, TIED, places_of, strength_of, ties_of
from guard.campaigns.timing import timing
from guard.campaigns.window import OF_ONE, Common
from guard.core.campaigns import Finding, Tie, TieKind, Verdict
from guard.core.signals import Signal
from guard.detection.profile import Profile

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence, Set

    from guard.campaigns.window import Seen, Sighting, Window
    from guard.detection.reference import Reference

LEAST_QUERIES = 240
"""A group of which fewer queries are known is not judged: honest ones come out too high then."""

MOST_QUERIES = 600
"""Of a larger group so many are judged, the latest of each member by turns."""

CONVICTED = 15.0
"""Decibans from which on a group behaves as one that goes through a data set.

Chosen on the sources of one side (benchmarks/detection), with room: of 600 queries no honest group of 40
callers came to more than 8.5 there. On the other side, which nothing was chosen on, users of an app that
answers letters came to 19, and nobody else to more than 13.6.
"""

SUSPECTED = 10.0
"""Likewise as one that may."""

BESIDE = 0.9
"""Two queries with this cosine, the mean taken away, lie right beside each other."""

USUALLY_BESIDE = 0.04
"""The least share of `MOST_QUERIES` queries of an honest group that lie beside one of somebody else's."""

MOST_FOR, MOST_AGAINST = 4.0, -6.0
"""The most that the share beside each other adds to a conviction, and takes from it, in decibans."""

OVERLAP = -2.0
"""Decibans for lying apart below which a group is no more than possible: it does not share a set out."""


class Judgement(NamedTuple):
    """What was found of a group. `members` are labels, each with how surely it is one, from 0 to 1."""

    members: Mapping[str, float]
    verdict: Verdict
    decibans: float
    strength: float
    ties: tuple[Tie, ...]
    speaks_for: tuple[Finding, ...]
    speaks_against: tuple[Finding, ...]
    not_seen: tuple[str, ...]
    queries: int
    paid: float


class Conduct(NamedTuple):
    """How a group behaves as one holder, in decibans: by what it asks (`content`), and by how far its queries
    lie `apart`, of which the share `beside` lies right beside another's. `shared` are those that carry what
    it has in common.
    """

    shared: Sequence[tuple[str, Sighting]]
    content: float
    beside: float
    apart: float

    @property
    def decibans(self) -> float:
        """Both together."""
        return max(0.0, self.content + self.apart) if self.content else 0.0


def conduct(members: Sequence[Seen], common: Common, reference: Reference) -> Conduct | None:
    """How these holders behave, which have this in common; `None` where there is too little to tell.
    `reference` knows what enumerations look like.
    """
    if len({each.party for each in members}) < LEAST_PARTIES:
        return None
    every = _by_turns(members, None)
    shared = every if common.kind is TieKind.LINEAGE else _by_turns(members, common)
    if len(shared) < LEAST_QUERIES:
        return None
    content = _as_one(shared, reference)
    if len(every) > len(shared):
        content = max(content, _as_one(every, reference))
    beside = _beside(shared)
    return Conduct(shared, content, beside, _apart(beside, len(shared)))


def judge(
    members: Sequence[Seen], common: Common, behaved: Conduct, window: Window, suspects: Set[str]
) -> Judgement:
    """What holds of holders that have this in common and have behaved so. `window` knows all others, and
    `suspects` are those that are no reason to take for popular what they share: others that were found to
    behave so.
    """
    times = timing(members, window)
    ties = ties_of(members, common, behaved.shared, behaved.apart, window, suspects, times.ties)
    verdict = _verdict(behaved.decibans, ties, behaved.apart)
    without = [tie for tie in ties if tie.kind is not TieKind.HANDOVER]
    if verdict is not _verdict(behaved.decibans, without, behaved.apart):
        # What some do at each other's refusals convicts nobody else who asks under the same wording.
        dispatched = [each for each in members if each.party in times.dispatched]
        if len({each.party for each in dispatched}) >= LEAST_PARTIES:
            members = dispatched
        else:
            verdict, ties = _verdict(behaved.decibans, without, behaved.apart), tuple(without)
    speaks_for, speaks_against = _findings(behaved, members, _warnings(ties, window))
    return Judgement(
        {each.label: _confidence(each, common) for each in members},
        verdict,
        behaved.decibans,
        strength_of(ties),
        ties,
        speaks_for + times.speaks_for,
        speaks_against,
        _not_seen(ties, window),
        sum(each.queries for each in members),
        sum(each.paid for each in members),
    )


def _verdict(decibans: float, ties: Sequence[Tie], apart: float) -> Verdict:
    tied = {tie.kind for tie in ties if tie.decibans >= TIED and not tie.kind.asked}
    # Whoever pays for all of them is one customer.
    enough = TieKind.PAYMENT in tied or len({kind.family for kind in tied}) >= 2
    if enough and decibans >= CONVICTED and apart >= OVERLAP:
        return Verdict.LIKELY
    one_is_missing = decibans >= (SUSPECTED if enough else CONVICTED)
    return Verdict.POSSIBLE if tied and one_is_missing else Verdict.UNRELATED


def _by_turns(members: Iterable[Seen], common: Common | None) -> list[tuple[str, Sighting]]:
    """The latest queries of all in the order of time, of each party as many as fit: those first that pay."""
    carried: defaultdict[str, list[Sighting]] = defaultdict(list)
    for each in members:
        carried[each.party] += [s for s in each.latest if common is None or common in s.common]
    # Many keys of one organisation say no more than one key does.
    latest = {
        who: sorted(said, key=lambda each: (each.pays, each.at_us))[-OF_ONE:] for who, said in carried.items()
    }
    often = max(1, MOST_QUERIES // max(1, len(latest)))
    short = MOST_QUERIES - sum(min(often, len(each)) for each in latest.values())
    found = []
    for party, sightings in latest.items():
        take = min(len(sightings), often)
        more = min(len(sightings) - take, max(0, short))
        short -= more
        found += [(party, each) for each in sightings[len(sightings) - take - more :]]
    found.sort(key=lambda each: each[1].at_us)
    return found[-MOST_QUERIES:]


def _as_one(sightings: Iterable[tuple[str, Sighting]], reference: Reference) -> float:
    """How much these look like an enumeration of one holder, in decibans."""
    profile = Profile.new()
    for _, each in sightings:
        profile.pay(profile.take(each.trace, each.at_us), each.drew, each.paid)
    return reference.evidence(profile).get(Signal.ENUMERATION, 0.0)


def _beside(sightings: Sequence[tuple[str, Sighting]]) -> float:
    """The share of queries that lie right beside one of another party."""
    places, owners = places_of(sightings)
    if len(places) < 2:
        return 0.0
    cosines = places @ places.T
    cosines[owners[:, None] == owners[None, :]] = -1
    return float((cosines.max(axis=1) > BESIDE).mean())


def _apart(beside: float, queries: int) -> float:
    """What it says that so few lie beside each other, in decibans: less than nothing where many do."""
    usual = USUALLY_BESIDE * queries / MOST_QUERIES
    return min(MOST_FOR, max(MOST_AGAINST, 10 * log10(usual / max(beside, 1 / queries))))


def _confidence(member: Seen, common: Common) -> float:
    """How surely one of a group belongs to it: by how much of what it asks is the group's."""
    return min(1.0, 0.25 + member.carried(common) / max(1, len(member.latest)))


def _warnings(ties: Sequence[Tie], window: Window) -> Iterable[Finding]:
    """What other operators have said of what ties these."""
    for tie in ties:
        if tie.kind is TieKind.INDICATED:
            who = window.foreign.called(tie.what) if tie.what else "several operators"
            yield Finding(f"{tie.members} of them have what {who} has seen in a campaign")


def _findings(
    behaved: Conduct, members: Sequence[Seen], warnings: Iterable[Finding]
) -> tuple[tuple[Finding, ...], tuple[Finding, ...]]:
    """What speaks for and what against it, apart from the ties; `warnings` are those of others."""
    speaks_for, speaks_against = [], []
    shared, content, beside, apart = behaved
    queries = len(shared)
    if content >= SUSPECTED / 2:
        text = f"{queries} of their queries, taken for those of one holder, go through a set item by item"
        speaks_for.append(Finding(text, content))
    else:
        text = f"{queries} of their queries, taken for those of one holder, look like those of an honest one"
        speaks_against.append(Finding(text, 0.0))
    text = f"{beside:.1%} of their queries lie right beside one of another member's"
    speaks_for += warnings
    if apart > 0:
        speaks_for.append(Finding(f"only {text}", apart))
    elif apart < 0:
        speaks_against.append(Finding(text, apart))
    continued = sum(each.trace.continued for _, each in shared) / queries
    if continued >= 0.1:
        speaks_against.append(Finding(f"{continued:.0%} of their queries go on with a conversation"))
    verified = len({each.party for each in members if each.verified})
    if verified:
        speaks_against.append(Finding(f"somebody vouches for {verified} of them"))
    return tuple(speaks_for), tuple(speaks_against)


def _not_seen(ties: Sequence[Tie], window: Window) -> tuple[str, ...]:
    """What was looked for and not found."""
    found = {tie.kind for tie in ties if tie.decibans >= TIED}
    if not window.foreign:
        found.add(TieKind.INDICATED)
    return tuple(kind.meaning for kind in TieKind if kind not in found)
