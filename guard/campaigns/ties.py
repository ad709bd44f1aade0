"""What ties a group: what its members have in common, and how rare that is among others."""

from __future__ import annotations

from collections import Counter
from math import log10
from typing import TYPE_CHECKING

import numpy as np

from guard.campaigns.window import Common, units
from guard.core.campaigns import Tie, TieKind
from guard.detection.reference import ENOUGH_PAYOUT

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence, Set

    from numpy.typing import NDArray

    from guard.campaigns.window import Seen, Sighting, Window

LEAST_PARTIES = 3
"""A group has so many at least, of whom no two belong to one organisation."""

TIED = 5.0
"""A tie counts from so many decibans on."""

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
    TieKind.INDICATED: 6.0,
}
"""What each is worth, in decibans, where few others are known; where many are, up to twice that, the rarer it
is among them."""

TOLD_BY = 0.2
"""What so large a share of the members has, and is rare by itself, is told to other operators."""

MOST_SHARED = 16
"""Of one kind of tie so many things at most are told to other operators."""

_ENOUGH_OTHERS = 20
_MOST_OTHERS = 1_000
_LEAST_OF_ONE = 4
_LIKE_AS_OWN = 0.002


def ties_of(
    members: Sequence[Seen],
    common: Common,
    shared: Sequence[tuple[str, Sighting]],
    apart: float,
    window: Window,
    suspects: Set[str],
    by_times: Iterable[Tie],
) -> tuple[Tie, ...]:
    """What ties these, the strongest first. `shared` and `apart` are as in `Conduct`, the rest as in `judge`;
    `by_times` are those by when they ask.
    """
    ties = [*_held_in_common(members, common, window, suspects), *by_times]
    linked = _linked(members)
    if linked:
        ties.append(Tie(TieKind.LINEAGE, "", linked, 5 + 25 * linked / len(members)))
    like = _likeness(members, window, shared)
    if like > 0:
        ties.append(Tie(TieKind.LIKENESS, "", len(members), like))
    if apart > 0:
        ties.append(Tie(TieKind.SLICES, "", len(members), 2 * apart))
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
    ours = labels | suspects
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
        worth = hard * _rarity(several, ours, window) * len(together) / parties
        told = [
            each
            for each, who in several.items()
            if len(who) >= TOLD_BY * parties
            and window.shared(each)
            and hard * _rarity([each], ours, window) >= TIED
        ]
        told.sort(key=lambda each: (-len(several[each]), each))
        shared = tuple(map(window.shared, told[:MOST_SHARED]))
        ties.append(Tie(kind, what, len(together), worth, shared))
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


def strength_of(ties: Sequence[Tie]) -> float:
    """How surely the members are tied, from 0 to 1: 30 decibans of different families are sure."""
    best: dict[str, float] = {}
    for tie in ties:
        best[tie.kind.family] = max(best.get(tie.kind.family, 0.0), tie.decibans)
    return min(1.0, sum(best.values()) / 30)


def places_of(sightings: Sequence[tuple[str, Sighting]]) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
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
    places, owners = places_of(sightings)
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
