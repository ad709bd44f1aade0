"""Which lines of a log are decided together, so that the others can be replayed in another process.

What is decided about a line goes by what its caller has asked before, and by what others have drawn on a
limit that it shares with them: one per organisation, per network, or for everybody. So callers who share the
holder of any limit stand in one set (disjoint sets; Galler and Fischer, CACM 1964), and each set goes to one
shard.

    limits per key and per org       key:a and key:b are of org:acme: one set; key:c is of org:zeta: another
    and one per network              key:b and key:c call from one network: all three are one set
    and one per everything, or       there is one set only
    per model alone

A holder that has its caller in it, such as one per end user, is shared with nobody. What a query names, its
model, is not read here: a limit per organisation and model counts as one per organisation.
"""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from guard.admin.reading import MOST_IDENTITIES, LineReader, pepper_of
from guard.core.identity import EVERYTHING, OF_A_REQUEST, Attribute
from guard.core.modes import Mode
from guard.core.pseudonyms import Pseudonyms
from guard.errors import ConfigError, RequestError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from guard.admin.traffic import Line
    from guard.core.identity import Holder, Identity
    from guard.core.policy import Policy
    from guard.settings.root import Settings

NO_LINE = 255
"""Where a log has a blank line."""

NOBODY = 0
"""The set of the lines whose caller cannot be told."""


@dataclass(frozen=True, slots=True)
class Shards:
    """The shard of each line, in a byte, up to the line that cannot be read, if there is an `error`.

    `sizes` are the numbers of lines of the shards, and `sharing` names the limits that tie callers together.
    """

    of_line: bytes
    sizes: tuple[int, ...]
    sharing: tuple[str, ...]
    error: ConfigError | None

    @property
    def largest_share(self) -> float:
        """The share of the lines that the largest shard has."""
        return max(self.sizes) / max(1, sum(self.sizes))


def shards_of(lines: Iterable[Line], settings: Settings, most: int) -> Shards:
    """Divide the lines of a log among `most` shards at most, all as large as can be; raises `ConfigError` for
    settings that cannot work.

    Four bytes are held of each line, and about 300 of each caller.
    """
    reader = LineReader(settings, Pseudonyms(pepper_of(settings)), {})
    ties, error = _Ties(reader.policy), None
    set_of_line = array("I")
    blank = array("I", [0])
    try:
        for line in lines:
            set_of_line.extend(blank * (line.number - 1 - len(set_of_line)))
            set_of_line.append(1 + ties.set_of(_caller(line, reader)))
    except ConfigError as broken:
        error = broken
    return _divided(set_of_line, ties, most, error)


def _caller(line: Line, reader: LineReader) -> Identity | None:
    try:
        route, _ = reader.route(line)
        return reader.identity(line, route)
    except RequestError:
        return None


def _divided(set_of_line: array[int], ties: _Ties, most: int, error: ConfigError | None) -> Shards:
    """The largest set first, each to the shard that has the fewest lines so far."""
    counts: Counter[int] = Counter()
    for number, count in Counter(set_of_line).items():
        if number:
            counts[ties.sets.find(number - 1)] += count
    sizes = [0] * max(1, min(most, len(counts)))
    shard_of_set = {}
    for found, count in sorted(counts.items(), key=lambda each: (-each[1], each[0])):
        shard = shard_of_set[found] = sizes.index(min(sizes))
        sizes[shard] += count
    of_line = bytes(shard_of_set[ties.sets.find(number - 1)] if number else NO_LINE for number in set_of_line)
    return Shards(of_line, tuple(sizes), tuple(sorted(ties.sharing)), error)


class _Ties:
    """Puts callers who share a holder into one set; `sharing` are the names of the limits that it is of."""

    def __init__(self, policy: Policy) -> None:
        self.sets = _Sets()
        self.sharing: set[str] = set()
        self._policy = policy
        # A reader gives the same identity for the same facts.
        self._known: dict[int, tuple[Identity, int]] = {}

    def set_of(self, caller: Identity | None) -> int:
        """A number of the set that a caller is in, which `sets.find` makes one with those of the others."""
        if caller is None:
            return NOBODY
        known = self._known.get(id(caller))
        if known is not None:
            return known[1]
        number = self.sets.number(caller.principal)
        for name, holder in self._holders(caller):
            shared = holder in self.sets
            if self.sets.join(number, self.sets.number(holder)) and shared:
                self.sharing.add(name)
        if len(self._known) >= MOST_IDENTITIES:
            self._known.clear()
        self._known[id(caller)] = caller, number
        return number

    def _holders(self, caller: Identity) -> Iterator[tuple[str, Holder]]:
        """The limits that a caller may have in common with others, and who is held to them."""
        if Attribute.TIER not in caller.attributes:
            caller = caller.asking(tier=self._policy.default_tier)
        for limit in self._policy.tier(caller).limits:
            if limit.rollout.mode is Mode.OFF or Attribute.END_USER in limit.per:
                continue
            per = tuple(each for each in limit.per if each not in OF_A_REQUEST)
            yield limit.name, caller.holder(*per) if per else EVERYTHING


@dataclass(slots=True)
class _Sets:
    """Disjoint sets of holders, each of which has a number, and each set the least of its numbers."""

    _numbers: dict[Holder, int] = field(default_factory=dict)
    _parents: list[int] = field(default_factory=lambda: [NOBODY])

    def __contains__(self, holder: Holder) -> bool:
        return holder in self._numbers

    def number(self, holder: Holder) -> int:
        """The number of a holder, which is a set of its own at first."""
        number = self._numbers.setdefault(holder, len(self._parents))
        if number == len(self._parents):
            self._parents.append(number)
        return number

    def find(self, number: int) -> int:
        """The set that it is in."""
        parents = self._parents
        while parents[number] != number:
            parents[number] = parents[parents[number]]
            number = parents[number]
        return number

    def join(self, one: int, other: int) -> bool:
        """Make one set of two; returns whether they were two."""
        first, last = sorted((self.find(one), self.find(other)))
        self._parents[last] = first
        return first != last
