"""Which holders are one campaign by now: finds groups that may be, has them judged, and keeps count of them.

A group is proposed by something rare that its members have in common; never by comparing all with all. Who
has the same thing in common and asks about something else is a group of its own (communities.py). A group is
judged when enough was asked, and again whenever that has grown by a quarter. What is judged to be one
campaign becomes one, or goes on one that has half of its members already: so a campaign keeps its name while
accounts come and go. A person's word outranks what is found here, and whom a person has taken out stays out.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from guard.campaigns.communities import communities
from guard.campaigns.judgement import (
    CONVICTED,
    LEAST_QUERIES,
    SUSPECTED,
    Judgement,
    conduct,
    judge,
)
from guard.campaigns.observation import Refusal
from guard.campaigns.ties import LEAST_PARTIES
from guard.campaigns.window import Common, Window
from guard.core.campaigns import MOST_EVENTS, Campaign, Event, Member, TieKind, Verdict

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from guard.campaigns.observation import Observation
    from guard.campaigns.window import Seen
    from guard.core.campaigns import Tie
    from guard.detection.reference import Reference

T = TypeVar("T")

PROPOSING = frozenset(
    {
        *(TieKind.TEMPLATE, TieKind.PAYMENT, TieKind.POOL, TieKind.DOMAIN, TieKind.LINEAGE),
        TieKind.INDICATED,
    }
)
"""What groups are proposed by. The rest is too common by itself: there are few programs and operators."""

GROWN = 1.25
"""A group is judged again when so many times as much was asked."""

LEAST_CARRIED = 0.2
"""A holder belongs to a group where this share of its latest queries has what the group has in common."""

SAME = 0.5
"""A group is a known campaign where they share this part of the smaller of both."""

STALE_US = 14 * 86_400_000_000
"""A campaign of which nothing was seen for so long is stale."""

AGAIN_US = 43_200_000_000
"""How often what a campaign says against a member is said again, while that goes on asking."""

MOST_JUDGED = 64
"""Maximum number of groups that are judged at a time."""

_MOST_AGAINST = 25.0
_LIKELY_MORE = 3.0
_NO_REASON = 3.0
"""A conviction that is so many decibans less than it was is no reason to change one's mind."""
_POSSIBLE_LESS = 5.0
_POSSIBLE_MOST = 9.0


class Accused(NamedTuple):
    """What a campaign says against one of its members, in decibans. `org` is the label of its organisation,
    empty where it has none, and `verified` whether anybody vouches for it.
    """

    label: str
    org: str
    verified: bool
    decibans: float


class Changes(NamedTuple):
    """What has changed: campaigns as they are now, the ids of those that are no more, and who is accused."""

    campaigns: tuple[Campaign, ...] = ()
    dropped: tuple[str, ...] = ()
    accused: tuple[Accused, ...] = ()


class Groups:
    """Finds campaigns among what is observed; pure but for what it remembers. `reference` says what an
    enumeration looks like.
    """

    def __init__(self, reference: Reference, window: Window | None = None) -> None:
        self.reference = reference
        self.window = Window() if window is None else window
        self._known: dict[str, Campaign] = {}
        self._asked: defaultdict[Common, int] = defaultdict(int)
        self._judged: dict[Common, int] = {}
        self._ready: set[Common] = set()
        self._found: defaultdict[str, dict[Common, Judgement]] = defaultdict(dict)
        self._accused: dict[str, tuple[int, float]] = {}

    @property
    def campaigns(self) -> Collection[Campaign]:
        """Those that are known."""
        return self._known.values()

    def take(self, seen: Observation | Refusal) -> None:
        """Take in one query, or a refusal."""
        if isinstance(seen, Refusal):
            self.window.rhythms.refuse(seen.label, seen.at_us)
            return
        for common in (*self.window.add(seen).common, self.window.lineage(seen.label)):
            if common is not None and common.kind in PROPOSING:
                self._asked[common] += 1
                if self._asked[common] >= max(LEAST_QUERIES, GROWN * self._judged.get(common, 0)):
                    self._ready.add(common)

    def forget(self, label: str) -> None:
        """Forget a holder, whatever it was found to be."""
        self.window.forget(label)
        self._accused.pop(label, None)
        for found in self._found.values():
            for common, each in found.items():
                found[common] = each._replace(members=_without(each.members, label))
        for name, campaign in self._known.items():
            self._known[name] = replace(
                campaign, members=_without(campaign.members, label), cleared=campaign.cleared - {label}
            )

    def adopt(self, kept: Iterable[Campaign]) -> None:
        """Go on by what the store has, with what persons have said."""
        self._known = {each.id: each for each in kept}
        for lost in self._found.keys() - self._known.keys():
            del self._found[lost]

    def judge(self, now_us: int, most: int = MOST_JUDGED) -> Changes:
        """Judge the groups for which it is time, so many at most; what has changed by that."""
        touched: set[str] = set()
        dropped: set[str] = set()
        for common in self.due()[:most]:
            self._judged[common] = self._asked[common]
            self._ready.discard(common)
            found = self._judgements(common)
            for judgement in found:
                if judgement.verdict.counts:
                    touched |= self._keep(common, judgement, now_us, dropped)
            touched |= self._contradicted(common, found, now_us)
        self._forget()
        return self._changes(touched, dropped, now_us)

    def look_after(self, now_us: int) -> Changes:
        """What has changed with time alone: what goes on, what is stale, and what is to be said again."""
        changed = self._going_on(now_us) | self._stale(now_us)
        return Changes(
            tuple(self._known[name] for name in sorted(changed)),
            accused=tuple(self._accusations(self._known, now_us)),
        )

    def _changes(self, touched: Collection[str], dropped: Collection[str], now_us: int) -> Changes:
        names = sorted(name for name in touched if name in self._known)
        changed = tuple(self._known[name] for name in names)
        return Changes(changed, tuple(sorted(dropped)), tuple(self._accusations(names, now_us)))

    def due(self) -> list[Common]:
        """The groups for which it is time, the busiest first."""
        self._ready = {each for each in self._ready if len(self.window.carriers(each)) >= LEAST_PARTIES}
        return sorted(self._ready, key=lambda common: (-self._asked[common], common))

    def _judgements(self, common: Common) -> list[Judgement]:
        """What holds of those that have this in common, of each community by itself."""
        behaved = [
            (members, conduct(members, common, self.reference))
            for members in communities(list(self._members(common)))
        ]
        suspects = {
            each.label
            for members, how in behaved
            if how is not None and how.decibans >= SUSPECTED
            for each in members
        }
        return [
            judge(members, common, how, self.window, suspects) for members, how in behaved if how is not None
        ]

    def _members(self, common: Common) -> Iterable[Seen]:
        for label, carried in self.window.carriers(common).items():
            seen = self.window.of(label)
            if seen is not None and carried >= LEAST_CARRIED * len(seen.latest):
                yield seen

    def _keep(self, common: Common, found: Judgement, now_us: int, dropped: set[str]) -> set[str]:
        """Make a campaign of a group, or one that is known go on; the names of those that have changed."""
        same = self._same(found.members)
        name = same[0].id if same else _name(common, min(found.members))
        for other in same[1:]:
            self._found[name].update(self._found.pop(other.id, {}))
            self._known.pop(other.id)
            dropped.add(other.id)
        self._found[name][common] = found
        before = self._merged(name, same)
        self._known[name] = self._brought_forward(name, before, now_us)
        return {name}

    def _same(self, members: Mapping[str, float]) -> list[Campaign]:
        """The campaigns that a group with these members is, the oldest first."""
        found = []
        for each in self._known.values():
            theirs = each.members.keys() | each.cleared
            if _overlap(members, theirs):
                found.append(each)
        return sorted(found, key=lambda each: (each.since_us, each.id))

    def _merged(self, name: str, same: Sequence[Campaign]) -> Campaign | None:
        """What was known before, of all that have turned out to be one."""
        if not same:
            return None
        first = same[0]
        if len(same) == 1:
            return first
        members: dict[str, Member] = {}
        for each in reversed(same):
            members.update(each.members)
        judged = next((each.judged for each in same if each.judged is not None), None)
        events = sorted((event for each in same for event in each.events), key=lambda event: event.at_us)
        return replace(
            first,
            members=members,
            cleared=frozenset[str]().union(*(each.cleared for each in same)),
            judged=judged,
            events=tuple(events[-MOST_EVENTS:]),
        )

    def _brought_forward(self, name: str, before: Campaign | None, now_us: int) -> Campaign:
        """A campaign by what was found of its groups by now."""
        found = list(self._found[name].values())
        strongest = max(found, key=lambda each: (_RANK.get(each.verdict, 0), each.decibans))
        verdict = strongest.verdict
        was_likely = before is not None and before.found is Verdict.LIKELY
        if was_likely and strongest.decibans >= CONVICTED - _NO_REASON:
            verdict = Verdict.LIKELY
        cleared = before.cleared if before is not None else frozenset()
        members = self._still(before) if before is not None else {}
        for judgement in found:
            for label, confidence in judgement.members.items():
                old = members.get(label)
                since_us = now_us if old is None else old.since_us
                more = confidence if old is None else max(old.confidence, confidence)
                members[label] = Member(since_us, more)
        members = {label: member for label, member in members.items() if label not in cleared}
        campaign = Campaign(
            id=name,
            since_us=now_us if before is None else before.since_us,
            seen_us=now_us,
            found=verdict,
            decibans=round(strongest.decibans, 2),
            strength=round(min(_STRENGTH[verdict], max(each.strength for each in found)), 3),
            members=members,
            ties=_ties(found),
            speaks_for=strongest.speaks_for,
            speaks_against=strongest.speaks_against,
            not_seen=strongest.not_seen,
            queries=max(each.queries for each in found),
            paid=round(max(each.paid for each in found), 3),
            cleared=cleared,
            judged=before.judged if before is not None else None,
        )
        return replace(campaign, events=_events(before, campaign, now_us))

    def _still(self, before: Campaign) -> dict[str, Member]:
        """The members that have not been seen to do anything else since."""
        parted = {
            label
            for label in before.members
            if label in self.window
            and not any(label in each.members for each in self._found[before.id].values())
        }
        return {label: member for label, member in before.members.items() if label not in parted}

    def _contradicted(self, common: Common, found: Sequence[Judgement], now_us: int) -> set[str]:
        """The campaigns that were found by what a group has in common, of which that holds no more: one is
        none then, if nothing else holds.
        """
        touched = set()
        for name, by in self._found.items():
            against = (
                [each for each in found if _overlap(each.members, by[common].members)] if common in by else []
            )
            if not against or any(each.verdict.counts for each in against):
                continue
            worst = max(against, key=lambda each: each.decibans)
            if worst.decibans > SUSPECTED - _NO_REASON:
                continue
            del by[common]
            touched.add(name)
            before = self._known[name]
            if by:
                self._known[name] = self._brought_forward(name, before, now_us)
                continue
            ended = replace(
                before,
                found=Verdict.UNRELATED,
                decibans=round(worst.decibans, 2),
                speaks_for=worst.speaks_for,
                speaks_against=worst.speaks_against,
            )
            self._known[name] = replace(ended, events=_events(before, ended, now_us))
        return touched

    def _going_on(self, now_us: int) -> set[str]:
        """The campaigns that have asked since they were judged, which may be months ago: one that has grown
        large takes long to grow by a quarter.
        """
        touched = set()
        for name, each in self._known.items():
            if not each.found.counts or now_us - each.seen_us < AGAIN_US:
                continue
            seen = (self.window.of(label) for label in each.members)
            members = [member for member in seen if member is not None]
            last_us = max(
                (member.last_with_us(common) for common in self._found.get(name, ()) for member in members),
                default=0,
            )
            if last_us > each.seen_us:
                self._known[name] = replace(each, seen_us=last_us)
                touched.add(name)
        return touched

    def _stale(self, now_us: int) -> set[str]:
        touched = set()
        for name, each in self._known.items():
            if each.found.counts and now_us - each.seen_us >= STALE_US:
                ended = replace(each, found=Verdict.STALE)
                self._known[name] = replace(ended, events=_events(each, ended, now_us))
                touched.add(name)
        return touched

    def _accusations(self, names: Iterable[str], now_us: int) -> Iterable[Accused]:
        """What these campaigns say against their members, as far as it is more than was said, or long ago."""
        for campaign in (self._known[name] for name in names):
            against = against_members(campaign, now_us)
            if not against:
                continue
            for label, member in campaign.members.items():
                decibans = round(against * member.confidence, 2)
                at_us, said = self._accused.get(label, (0, 0.0))
                seen = self.window.of(label)
                asks = seen is not None and seen.last_us > at_us
                if decibans > said + 1 or (asks and now_us - at_us >= AGAIN_US):
                    self._accused[label] = now_us, decibans
                    org = "" if seen is None or seen.party == label else seen.party
                    yield Accused(label, org, seen is not None and seen.verified, decibans)

    def _forget(self) -> None:
        """Forget what nobody carries any more."""
        if len(self._asked) > 2 * len(self.window) + 1_000:
            for common in [each for each in self._asked if not self.window.carriers(each)]:
                del self._asked[common]
                self._judged.pop(common, None)


def _without(members: Mapping[str, T], label: str) -> dict[str, T]:
    return {each: what for each, what in members.items() if each != label}


def against_members(campaign: Campaign, now_us: int) -> float:
    """What a campaign says against a member that surely is one, in decibans."""
    match campaign.verdict(now_us):
        case Verdict.CONFIRMED:
            return _MOST_AGAINST
        case Verdict.LIKELY:
            return min(_MOST_AGAINST, campaign.decibans + _LIKELY_MORE)
        case Verdict.POSSIBLE:
            return min(_POSSIBLE_MOST, max(0.0, campaign.decibans - _POSSIBLE_LESS))
    return 0.0


def _ties(found: Iterable[Judgement]) -> tuple[Tie, ...]:
    """The strongest of each kind and thing."""
    best: dict[tuple[TieKind, str], Tie] = {}
    for judgement in found:
        for tie in judgement.ties:
            key = tie.kind, tie.what
            if key not in best or tie.decibans > best[key].decibans:
                best[key] = tie
    return tuple(sorted(best.values(), key=lambda tie: -tie.decibans))


def _events(before: Campaign | None, now: Campaign, now_us: int) -> tuple[Event, ...]:
    """The events of a campaign, with what is new."""
    events = () if before is None else tuple(before.events)
    if before is None:
        events += (Event(now_us, f"found: {now.found}, {len(now.members)} members"),)
    elif before.found is not now.found:
        events += (Event(now_us, f"{before.found} became {now.found}"),)
    elif len(now.members) >= 1.25 * len(before.members) + 1:
        events += (Event(now_us, f"{len(before.members)} members became {len(now.members)}"),)
    return events[-MOST_EVENTS:]


def _name(common: Common, first: str) -> str:
    """The name of a campaign that this was found by, and this member: the same wherever it is found again."""
    return f"c{blake2b(f'{common.kind} {common.what} {first}'.encode(), digest_size=4).hexdigest()}"


def _overlap(ours: Collection[str], theirs: Collection[str]) -> bool:
    """Whether so much of the smaller of two groups is in the other that they are one."""
    both = len(set(ours) & set(theirs))
    return both > 0 and both >= SAME * min(len(ours), len(theirs))


_STRENGTH = {Verdict.LIKELY: 1.0, Verdict.POSSIBLE: 0.25}
"""The most that ties count for: what is possible only may be wrong, and then costs its members little."""

_RANK = {Verdict.LIKELY: 2, Verdict.POSSIBLE: 1}
