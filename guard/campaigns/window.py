"""The latest of each holder: what the worker remembers, and which holders have something in common.

Of one holder the latest `OF_ONE` queries are kept, those first that pay, of all together `most` at most;
beyond that, who has been silent longest is forgotten. So a busy holder crowds nobody out, and an account that
asks six times a day is remembered as long as there is room: 100,000 queries are the latest forty of 2,500
busy holders, or the latest six of 16,000 slow ones.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from guard.campaigns.foreign import Foreign
from guard.campaigns.rhythm import Rhythms
from guard.core.campaigns import TieKind
from guard.detection.layout import PLACES
from guard.detection.profile import FULL_PAYOUT

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from numpy.typing import NDArray

    from guard.campaigns.observation import Observation
    from guard.detection.trace import Trace

OF_ONE = 40
MOST = 100_000

MOST_ISSUERS = 200_000
"""Maximum number of short names that are remembered, of whose answers come back."""


class Common(NamedTuple):
    """Something that holders may have in common."""

    kind: TieKind
    what: str


class Sighting(NamedTuple):
    """One query of a holder; see `Observation`. `place` is where it lies, as a row of length 1, or zeros."""

    at_us: int
    trace: Trace
    place: NDArray[np.float32]
    drew: float
    paid: float
    common: tuple[Common, ...]
    model: str = ""

    @property
    def pays(self) -> bool:
        """Whether its answers paid out anything to speak of: what is asked again pays nothing."""
        return self.paid >= FULL_PAYOUT


@dataclass(slots=True, eq=False)
class Seen:
    """One holder. `party` is who is one, whatever number of holders it has, and `queries` and `paid` are
    since it is remembered. `links` are the holders whose answers it has sent back, each with how surely.
    """

    label: str
    party: str
    verified: bool
    first_us: int
    last_us: int = 0
    queries: int = 0
    paid: float = 0.0
    latest: deque[Sighting] = field(default_factory=deque)
    links: dict[str, float] = field(default_factory=dict)
    _sum: NDArray[np.float32] = field(default_factory=lambda: np.zeros(PLACES, np.float32))

    @property
    def crosses(self) -> bool:
        """Whether it has sent back what was answered to others: who only was answered that, had no part in
        it.
        """
        return any(sure >= 1 for sure in self.links.values())

    def carried(self, common: Common) -> int:
        """In how many of its latest queries there was this. A lineage is of all that a holder asks."""
        if common.kind is TieKind.LINEAGE:
            return len(self.latest)
        return sum(common in each.common for each in self.latest)

    def last_with_us(self, common: Common) -> int:
        """When it asked last with this, as far as is remembered; 0 where it has not."""
        if common.kind is TieKind.LINEAGE:
            return self.last_us
        return max((each.at_us for each in self.latest if common in each.common), default=0)

    @property
    def mean(self) -> NDArray[np.float32]:
        """Where its latest queries lie on average; shape (`PLACES`,)."""
        return self._sum / np.float32(max(1, len(self.latest)))

    def keep(self, sighting: Sighting) -> None:
        """Take in a query."""
        self.latest.append(sighting)
        self._sum += sighting.place

    def drop(self) -> Sighting:
        """Forget the oldest query that pays nothing, or else the oldest: so nobody has forgotten what it has
        drawn by asking again.
        """
        place = next((place for place, each in enumerate(self.latest) if not each.pays), 0)
        oldest = self.latest[place]
        del self.latest[place]
        self._sum -= oldest.place
        return oldest


class Window:
    """The latest of each holder, `most` queries of all together at most; and when each came and went.
    `foreign` knows what other operators have seen.
    """

    def __init__(self, most: int = MOST, of_one: int = OF_ONE, foreign: Foreign | None = None) -> None:
        self.foreign = Foreign() if foreign is None else foreign
        self.rhythms = Rhythms()
        self._most = most
        self._of_one = of_one
        self._holders: OrderedDict[str, Seen] = OrderedDict()
        self._carriers: dict[Common, Counter[str]] = {}
        self._shared: dict[Common, str] = {}
        self._issuers: OrderedDict[int, str] = OrderedDict()
        self._lineages = _Sets()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __contains__(self, label: str) -> bool:
        return label in self._holders

    def __iter__(self) -> Iterator[Seen]:
        return iter(self._holders.values())

    @property
    def holders(self) -> int:
        """How many are remembered."""
        return len(self._holders)

    def of(self, label: str) -> Seen | None:
        """What is remembered of a holder."""
        return self._holders.get(label)

    def carriers(self, common: Common) -> Mapping[str, int]:
        """The holders whose latest queries had this, each with in how many."""
        if common.kind is TieKind.LINEAGE:
            members = (self._holders[label] for label in self._lineages.members(common.what))
            return {each.label: len(each.latest) for each in members if each.crosses}
        return self._carriers.get(common, {})

    def shared(self, common: Common) -> str:
        """The hash of it that operators tell each other; empty where there is none."""
        return self._shared.get(common, "")

    def lineage(self, label: str) -> Common | None:
        """What a holder has in common with those whose answers it has sent back, or they its."""
        name = self._lineages.of(label)
        return None if name is None else Common(TieKind.LINEAGE, name)

    def add(self, seen: Observation) -> Sighting:
        """Take in one query."""
        holder = self._holders.get(seen.label)
        if holder is None:
            holder = Seen(seen.label, seen.party, seen.verified, seen.at_us)
            self._holders[seen.label] = holder
        else:
            self._holders.move_to_end(seen.label)
        holder.party, holder.verified = seen.party, seen.verified
        holder.last_us = max(holder.last_us, seen.at_us)
        holder.queries += 1
        self.rhythms.ask(seen.label, seen.at_us)
        holder.paid += seen.paid
        self._issuers[seen.me] = seen.label
        self._issuers.move_to_end(seen.me)
        for issuer, sure in seen.links:
            from_whom = self._issuers.get(issuer)
            if from_whom is not None and from_whom != seen.label:
                holder.links[from_whom] = holder.links.get(from_whom, 0.0) + sure
                if holder.links[from_whom] >= 1 and from_whom in self._holders:
                    self._lineages.join(seen.label, from_whom)
        common = self._common_in(seen)
        place = units(seen.trace.place[None, :])[0]
        sighting = Sighting(seen.at_us, seen.trace, place, seen.drew, seen.paid, common, seen.model)
        holder.keep(sighting)
        for each in common:
            self._carriers.setdefault(each, Counter())[seen.label] += 1
        self._size += 1
        if len(holder.latest) > self._of_one:
            self._drop(holder)
        self._bound()
        return sighting

    def _common_in(self, seen: Observation) -> tuple[Common, ...]:
        """What a query may have in common with those of others."""
        common = [Common(kind, what) for kind, what in seen.facts.items()]
        common += [Common(TieKind.TEMPLATE, f"{each:016x}") for each in seen.trace.wordings]
        self._shared.update({Common(kind, what): digest for kind, what, digest in seen.twins()})
        common += [Common(TieKind.INDICATED, group) for group in self.foreign.seen_in(seen)]
        return tuple(common)

    def forget(self, label: str) -> None:
        """Forget a holder, and that others have sent back what it was answered."""
        holder = self._holders.pop(label, None)
        while holder is not None and holder.latest:
            self._drop(holder)
        self.rhythms.forget(label)
        self._lineages.forget(label)
        for issuer in [issuer for issuer, whose in self._issuers.items() if whose == label]:
            del self._issuers[issuer]
        for other in self._holders.values():
            other.links.pop(label, None)

    def _drop(self, holder: Seen) -> None:
        """Forget a query of a holder."""
        for each in holder.drop().common:
            carriers = self._carriers[each]
            carriers[holder.label] -= 1
            if not carriers[holder.label]:
                del carriers[holder.label]
            if not carriers:
                del self._carriers[each]
                self._shared.pop(each, None)
        self._size -= 1

    def _bound(self) -> None:
        while self._size > self._most and len(self._holders) > 1:
            _, silent = self._holders.popitem(last=False)
            while silent.latest:
                self._drop(silent)
            self._lineages.forget(silent.label)
        if len(self._issuers) > MOST_ISSUERS:
            self._issuers.popitem(last=False)


class _Sets:
    """Who has sent what was answered to whom, and they to others: sets of holders (union-find), each named
    by one of them.
    """

    def __init__(self) -> None:
        self._name: dict[str, str] = {}
        self._members: dict[str, set[str]] = {}

    def of(self, label: str) -> str | None:
        """The name of the set that a holder is in."""
        return self._name.get(label)

    def members(self, name: str) -> Collection[str]:
        """Who is in a set."""
        return self._members.get(name, ())

    def join(self, one: str, other: str) -> None:
        """Two holders are in one set from now on, with whoever is with either."""
        ours, theirs = (self._name.setdefault(each, each) for each in (one, other))
        for name in (ours, theirs):
            self._members.setdefault(name, {name})
        if ours != theirs:
            small, large = sorted((ours, theirs), key=lambda name: (len(self._members[name]), name))
            moved = self._members.pop(small)
            self._members[large] |= moved
            self._name.update(dict.fromkeys(moved, large))

    def forget(self, label: str) -> None:
        """A holder is in none any more."""
        name = self._name.pop(label, None)
        if name is not None:
            members = self._members[name]
            members.discard(label)
            if not members:
                del self._members[name]


def units(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of length 1; zeros stay."""
    lengths = np.sqrt((rows * rows).sum(axis=1, keepdims=True))
    return np.asarray(rows / np.where(lengths > 0, lengths, 1), np.float32)
