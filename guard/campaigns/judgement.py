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

from collections import Counter, defaultdict
from math import log10
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from guard.campaigns.timing import timing
from guard.campaigns.window import OF_ONE, Common, units
from guard.core.campaigns import Finding, Tie, TieKind, Verdict
from guard.core.signals import Signal
from guard.detection.profile import Profile
from guard.detection.reference import ENOUGH_PAYOUT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence, Set

    from numpy.typing import NDArray

    from guard.campaigns.window import Seen, Sighting, Window
    from guard.detection.reference import Reference

LEAST_PARTIES = 3
"""A group has so many at least, of whom no two belong to one organisation."""

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

TIED = 5.0
"""A tie counts from so many decibans on."""

BESIDE = 0.9
"""Two queries with this cosine, the mean taken away, lie right beside each other."""

USUALLY_BESIDE = 0.04
"""The least share of `MOST_QUERIES` queries of an honest group that lie beside one of somebody else's."""

MOST_FOR, MOST_AGAINST = 4.0, -6.0
"""The most that the share beside each other adds to a conviction, and takes from it, in decibans."""

SHARED_BY = 0.6
"""What so large a share of the members has in common ties the group."""

_HARD = {
    TieKind.PAYMENT: 20.0,
    TieKind.DOMAIN: 10.0,
    TieKind.TEMPLATE: 10.0,
    TieKind.CLIENT: 6.0,
    TieKind.POOL: 6.0,
    TieKind.TLS: 4.0,
    TieKind.ASN: 3.0,
}
"""What each is worth, in decibans, where few others are known; where many are, up to twice that, the rarer it
is among them."""

OVERLAP = -2.0
"""Decibans for lying apart below which a group is no more than possible: it does not share a set out."""

_ENOUGH_OTHERS = 20
_MOST_OTHERS = 1_000
_LEAST_OF_ONE = 4
_LIKE_AS_OWN = 0.002


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
    ties = _ties(members, common, behaved, window, suspects, times.ties)
    speaks_for, speaks_against = _findings(behaved, members)
    return Judgement(
        {each.label: _confidence(each, common) for each in members},
        _verdict(behaved.decibans, ties, behaved.apart),
        behaved.decibans,
        _strength(ties),
        ties,
        speaks_for + times.speaks_for,
        speaks_against,
        _not_seen(ties),
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
    places, owners = _places(sightings)
    if len(places) < 2:
        return 0.0
    cosines = places @ places.T
    cosines[owners[:, None] == owners[None, :]] = -1
    return float((cosines.max(axis=1) > BESIDE).mean())


def _apart(beside: float, queries: int) -> float:
    """What it says that so few lie beside each other, in decibans: less than nothing where many do."""
    usual = USUALLY_BESIDE * queries / MOST_QUERIES
    return min(MOST_FOR, max(MOST_AGAINST, 10 * log10(usual / max(beside, 1 / queries))))


def _ties(
    members: Sequence[Seen],
    common: Common,
    behaved: Conduct,
    window: Window,
    suspects: Set[str],
    by_times: Iterable[Tie],
) -> tuple[Tie, ...]:
    """What ties these, the strongest first."""
    ties = [*_held_in_common(members, common, window, suspects), *by_times]
    linked = _linked(members)
    if linked:
        ties.append(Tie(TieKind.LINEAGE, "", linked, 5 + 25 * linked / len(members)))
    like = _likeness(members, window, behaved.shared)
    if like > 0:
        ties.append(Tie(TieKind.LIKENESS, "", len(members), like))
    if behaved.apart > 0:
        ties.append(Tie(TieKind.SLICES, "", len(members), 2 * behaved.apart))
    return tuple(sorted(ties, key=lambda tie: -tie.decibans))


def _held_in_common(members: Sequence[Seen], common: Common, window: Window, suspects: Set[str]) -> list[Tie]:
    """For each kind of thing, how many parties have one in common with another."""
    carriers: dict[Common, set[str]] = {}
    for member in members:
        for sighting in member.latest:
            for each in sighting.common:
                carriers.setdefault(each, set()).add(member.party)
    labels = {member.label for member in members}
    parties = len({member.party for member in members})
    ties = []
    for kind, hard in _HARD.items():
        several = {each: who for each, who in carriers.items() if each.kind is kind and len(who) > 1}
        if not several:
            continue
        together = set[str]().union(*several.values())
        most = max(several, key=lambda each: (len(several[each]), each == common))
        if len(together) < SHARED_BY * parties and common.kind is not kind:
            continue
        what = most.what if len(several[most]) >= SHARED_BY * parties else ""
        worth = hard * _rarity(several, labels | suspects, window) * len(together) / parties
        ties.append(Tie(kind, what, len(together), worth))
    return ties


def _rarity(shared: Iterable[Common], ours: Set[str], window: Window) -> float:
    """How rare it is among others than ours to have any of what they share, from 0 for one in three of the
    others to 2 for none of many; 1 where few others are known. Who draws next to nothing vouches for nothing:
    such an account is cheap.
    """
    having = {label for common in shared for label in window.carriers(common)} - ours
    drawing = sum(_draws(window.of(label)) for label in having)
    others = window.holders - len(ours)
    if others < _ENOUGH_OTHERS:
        return 1.0 if drawing <= others / 3 else 0.0
    return min(2.0, max(0.0, log10(others / (3 * drawing + 1)) * 2 / 3))


def _draws(seen: Seen | None) -> bool:
    return seen is not None and seen.paid >= ENOUGH_PAYOUT * seen.queries


def _linked(members: Sequence[Seen]) -> int:
    """How many have sent back what was answered to another member."""
    labels = {member.label for member in members}
    return sum(any(who in labels and sure >= 1 for who, sure in member.links.items()) for member in members)


def _likeness(members: Sequence[Seen], window: Window, shared: Sequence[tuple[str, Sighting]]) -> float:
    """How improbable it is that holders ask about the same things in the same measure, in decibans: by how
    few others lie as near to the middle of the group as half of its members do. Where few others are known,
    it is whether the members are as like each other as they are like themselves.
    """
    labels = {member.label for member in members}
    others = [each for each in window if each.label not in labels and len(each.latest) >= _LEAST_OF_ONE]
    others = others[-_MOST_OTHERS:]
    ours = [each.mean for each in members if len(each.latest) >= _LEAST_OF_ONE]
    if len(ours) < LEAST_PARTIES:
        return 0.0
    if len(others) < _ENOUGH_OTHERS:
        own, other = _cosines(shared)
        return 6.0 if other >= own - _LIKE_AS_OWN else 0.0
    middle = np.mean([each.mean for each in others], axis=0)
    means = np.array(ours) - middle
    total = means.sum(axis=0)
    inside = [_cosine(each, total - each) for each in means]
    median = float(np.median(inside))
    outside = sum(_cosine(each.mean - middle, total) >= median for each in others)
    if median <= 0:
        return 0.0
    return min(20.0, -10 * log10((outside + 1) / (len(others) + 1)))


def _strength(ties: Sequence[Tie]) -> float:
    """How surely the members are tied, from 0 to 1: 30 decibans of different families are sure."""
    best: dict[str, float] = {}
    for tie in ties:
        best[tie.kind.family] = max(best.get(tie.kind.family, 0.0), tie.decibans)
    return min(1.0, sum(best.values()) / 30)


def _confidence(member: Seen, common: Common) -> float:
    """How surely one of a group belongs to it: by how much of what it asks is the group's."""
    return min(1.0, 0.25 + member.carried(common) / max(1, len(member.latest)))


def _findings(behaved: Conduct, members: Sequence[Seen]) -> tuple[tuple[Finding, ...], tuple[Finding, ...]]:
    """What speaks for and what against it, apart from the ties."""
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


def _not_seen(ties: Sequence[Tie]) -> tuple[str, ...]:
    """What was looked for and not found."""
    found = {tie.kind for tie in ties if tie.decibans >= TIED}
    return tuple(kind.meaning for kind in TieKind if kind not in found)


def _places(sightings: Sequence[tuple[str, Sighting]]) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Where these lie, the mean taken away, as rows of length 1; and a number for each one's owner."""
    known = [(label, each.place) for label, each in sightings if each.trace.sketch is not None]
    numbers: Counter[str] = Counter()
    for label, _ in known:
        numbers.setdefault(label, len(numbers))
    if not known:
        return np.zeros((0, 1), np.float32), np.zeros(0, np.intp)
    rows = np.array([place for _, place in known], np.float32)
    return units(rows - rows.mean(axis=0)), np.array([numbers[label] for label, _ in known])


def _cosines(sightings: Sequence[tuple[str, Sighting]]) -> tuple[float, float]:
    """The mean cosine of two queries of one member, and of two of different ones."""
    places, owners = _places(sightings)
    if len(places) < 2:
        return 0.0, 0.0
    cosines, same = places @ places.T, owners[:, None] == owners[None, :]
    np.fill_diagonal(same, val=False)
    apart = owners[:, None] != owners[None, :]
    own = float(cosines[same].mean()) if same.any() else 0.0
    return own, float(cosines[apart].mean()) if apart.any() else 0.0


def _cosine(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    length = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / length if length else 0.0
