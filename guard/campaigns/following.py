"""Whether others of a group take over where one is refused, whether its members take turns, and whether they
come together.

**What happens.** Whoever has many accounts behind one dispatcher goes on with another one when an account is
refused. So soon after a refusal another member enters that was silent, again and again. Honest callers know
nothing of each other's refusals.

**Events and entries.** An event is a refusal of a member, or its leaving. Of a group's events those count
that lie `SPACING_US` apart, the first one first: what strikes all at once, such as an outage, is one event.
An event is *followed* if another party enters soon after it: in one minute, or in five (`WITHIN_US`; where a
hundred accounts come and go, somebody enters in any five). What is told more surely counts.

**Two controls**, of which the weaker one counts. Offices open at nine, jobs run at the full hour, a class
begins for all, an outage ends for all: then entries are many, and some of them follow events by chance.

- *Before and after.* Whatever brings many in at about the same time brings them in before an event as well as
  after it. So events with an entry in the minutes after them and none in as many before are counted
  against those with one before and none after: by chance each is as probable (McNemar, 1947).
- *By the clock.* What recurs recurs by the hour, the day or the week. So the same is looked for at the same
  events, shifted by `SHIFTS_US`: the largest share of these that is followed is the chance that an event is.

Worked example: ten accounts, of which one asks at a time until its hourly limit is used up.

    09:00 to 09:12  a asks          09:12:10  a is refused        09:12:40  b enters    followed
    09:40 to 09:51  d asks          09:51:30  d is refused        09:52:00  e enters    followed
    …                                                             of 14 events 14 are followed

    before and after   14 with an entry after them alone, none before alone   p = 1/2^14       42 dB
    by the clock       an hour later 3 of 14 are followed, more than at any   p = (4/16)^14    84 dB
                       other shift

The weaker says 42 decibans, of which `LOOKED` are taken off for how often groups are looked at: 12 are left.

**Coming together** is what the first control takes away, so there is another one for it: the same events
shifted by `NEARBY_US`, some tens of minutes, in which the hour of the day is much the same.

**What is no hand-over**: fewer than `LEAST_PARTIES` that were refused, or that entered. Two accounts of one
person are no campaign, and one that is always online follows whatever happens.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from math import exp, lgamma, log, log1p
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from guard.campaigns.rhythm import Rhythm

WITHIN_US = 60_000_000, 5 * 60_000_000
"""Whoever enters so soon after an event follows it: two things to look for."""

SPACING_US = 2 * max(WITHIN_US)
"""Of events that lie closer, the first counts: an entry is then near one event only."""

_HOUR_US = 3_600_000_000
SHIFTS_US = tuple(hours * _HOUR_US for hours in (-168, -48, -24, -3, -2, -1, 1, 2, 3, 24, 48, 168))
"""By so much events are shifted for a control."""

NEARBY_US = tuple(minutes * 60_000_000 for minutes in (-45, -30, -20, 20, 30, 45))

LEAST_SHIFTED = 3
"""A shift is a control where so many shifted events lie in the time in which the group was active."""

LEAST_PARTIES = 3

MOST, LOOKED = 20.0, 30.0
"""The most that it says, in decibans, and what is taken off for how often groups are looked at."""

MOSTLY = 0.5
"""Who comes for reasons of its own comes as often at any other time."""

OVERLAPPING = 0.2
"""Members take turns where no larger a share of their sessions begins while another member's goes on."""


class Follow(NamedTuple):
    """How often another party enters `within_us` after an event: of so many `events` so many were `followed`,
    where `expected` would be by chance. `parties` are those with a part in it, and `decibans` what it says.
    `mostly` are those of them who do hardly anything else: at least `MOSTLY` of the times that they have
    entered were soon after an event, and that was twice, or they were followed themselves.
    """

    within_us: int = 0
    events: int = 0
    followed: int = 0
    expected: float = 0.0
    parties: frozenset[str] = frozenset()
    decibans: float = 0.0
    mostly: frozenset[str] = frozenset()


NO_FOLLOW = Follow()


def after_refusals(rhythms: Mapping[str, Sequence[Rhythm]]) -> Follow:
    """How often others of a group take over from who is refused. `rhythms` are of each party."""
    refused = [(at_us, who) for who, some in rhythms.items() for one in some for at_us in one.refused]
    return _most_surely(rhythms, refused)


def after_leaving(rhythms: Mapping[str, Sequence[Rhythm]]) -> Follow:
    """How often others of a group enter soon after one leaves, where hardly any overlap."""
    sessions = sorted(
        (*each, who)
        for who, some in rhythms.items()
        for one in some
        for each in zip(one.entered, one.left, strict=True)
    )
    if not sessions or _overlapping(sessions) > OVERLAPPING:
        return NO_FOLLOW
    return _most_surely(rhythms, [(left_us, who) for _, left_us, who in sessions])


def after_entering(rhythms: Mapping[str, Sequence[Rhythm]]) -> Follow:
    """How often others of a group enter when one does."""
    entered = [(at_us, who) for who, some in rhythms.items() for one in some for at_us in one.entered]
    return _most_surely(rhythms, entered, NEARBY_US)


def _most_surely(
    rhythms: Mapping[str, Sequence[Rhythm]],
    happened: Sequence[tuple[int, str]],
    shifts_us: Sequence[int] = SHIFTS_US,
) -> Follow:
    entered = _Entries(
        sorted((at_us, who) for who, some in rhythms.items() for one in some for at_us in one.entered)
    )
    events = _spaced(happened)
    if not events:
        return NO_FOLLOW
    active = entered.first_us, max(one.left[-1] for some in rhythms.values() for one in some if one.left)
    found = (_follow(events, happened, entered, active, within_us, shifts_us) for within_us in WITHIN_US)
    return max(found, key=lambda each: each.decibans)


def _follow(
    events: Sequence[tuple[int, str]],
    happened: Sequence[tuple[int, str]],
    entered: _Entries,
    active: tuple[int, int],
    within_us: int,
    shifts_us: Sequence[int],
) -> Follow:
    after = [entered.others(who, at_us, at_us + within_us) for at_us, who in events]
    before = [entered.others(who, at_us - within_us, at_us) for at_us, who in events]
    followed = sum(map(bool, after))
    chance = _shifted(events, entered, active, within_us, shifts_us)
    gained = sum(bool(more) and not less for more, less in zip(after, before, strict=True))
    lost = sum(bool(less) and not more for more, less in zip(after, before, strict=True))
    whoever = {who for (_, who), others in zip(events, after, strict=True) if others}
    follower = {other for others in after for other in others}
    said = _at_least(followed, len(events), chance) - LOOKED
    if shifts_us is SHIFTS_US:
        said = min(said, _at_least(gained, gained + lost, 0.5) - LOOKED)
    if min(len(whoever), len(follower)) < LEAST_PARTIES:
        said = 0.0
    # Events that are too close to count for themselves tell as well who has a part in it.
    soon: defaultdict[str, set[int]] = defaultdict(set)
    ahead = set()
    for at_us, who in happened:
        for entered_us, other in entered.between(who, at_us, at_us + within_us):
            whoever |= {who, other}
            ahead.add(who)
            soon[other].add(entered_us)
    mostly = {
        other
        for other, times in soon.items()
        if len(times) >= MOSTLY * entered.often(other) and (len(times) > 1 or other in ahead)
    }
    return Follow(
        within_us,
        len(events),
        followed,
        round(chance * len(events), 1),
        frozenset(whoever | follower),
        min(MOST, max(0.0, said)),
        frozenset(mostly),
    )


class _Entries:
    """Who enters when, in the order of time."""

    def __init__(self, entries: Sequence[tuple[int, str]]) -> None:
        self._times = [at_us for at_us, _ in entries]
        self._whose = [who for _, who in entries]
        self._often = Counter(self._whose)

    @property
    def first_us(self) -> int:
        """When the first one enters."""
        return self._times[0]

    def often(self, who: str) -> int:
        """How often somebody has entered."""
        return self._often[who]

    def others(self, who: str, from_us: int, to_us: int) -> set[str]:
        """Who enters between, the first moment included, besides this one."""
        return {each for _, each in self.between(who, from_us, to_us)}

    def between(self, who: str, from_us: int, to_us: int) -> list[tuple[int, str]]:
        """Likewise, and when."""
        start, end = bisect_left(self._times, from_us), bisect_left(self._times, to_us)
        found = zip(self._times[start:end], self._whose[start:end], strict=True)
        return [(at_us, each) for at_us, each in found if each != who]


def _spaced(events: Iterable[tuple[int, str]]) -> list[tuple[int, str]]:
    spaced: list[tuple[int, str]] = []
    for event in sorted(events):
        if not spaced or event[0] - spaced[-1][0] >= SPACING_US:
            spaced.append(event)
    return spaced


def _shifted(
    events: Sequence[tuple[int, str]],
    entered: _Entries,
    active: tuple[int, int],
    within_us: int,
    shifts_us: Sequence[int],
) -> float:
    """The largest share of events that is followed where they are shifted, and never none."""
    most = 1 / (len(events) + 2)
    compared = False
    for shift_us in shifts_us:
        shifted = [(at_us + shift_us, who) for at_us, who in events]
        inside = [each for each in shifted if active[0] <= each[0] <= active[1] - within_us]
        if len(inside) >= LEAST_SHIFTED:
            compared = True
            hits = sum(bool(entered.others(who, at_us, at_us + within_us)) for at_us, who in inside)
            most = max(most, (hits + 1) / (len(inside) + 2))
    return most if compared else 0.5


def _overlapping(sessions: Sequence[tuple[int, int, str]]) -> float:
    """The share of sessions that begin while one of another party is not over."""
    overlapping, latest = 0, dict[str, int]()
    for entered_us, left_us, who in sessions:
        overlapping += any(until > entered_us for other, until in latest.items() if other != who)
        latest = {other: until for other, until in latest.items() if until > entered_us}
        latest[who] = max(left_us, latest.get(who, 0))
    return overlapping / len(sessions)


def _at_least(hits: int, of: int, chance: float) -> float:
    """How improbable so many hits are of so many tries, in decibans."""
    if not hits:
        return 0.0
    logs = [
        lgamma(of + 1) - lgamma(k + 1) - lgamma(of - k + 1) + k * log(chance) + (of - k) * log1p(-chance)
        for k in range(hits, of + 1)
    ]
    most = max(logs)
    return max(0.0, -10 * (most + log(sum(exp(each - most) for each in logs))) / log(10))
