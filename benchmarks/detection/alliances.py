"""What is found of groups: how soon a distiller's accounts are one campaign, and whether honest ones are.

Each group (benchmarks/detection/fleets.py) comes to a gateway that has known some hundreds of honest callers
for a while. What it asks is read as the analyst reads it, and told to the worker's `Groups`; nobody is
refused anything. Exchanges are counted over the whole group. Honest groups are watched in the same way, and
at the end all groups of a side together.
"""

from __future__ import annotations

import asyncio
import zlib
from collections import defaultdict
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.detection.actors import actors, plays
from benchmarks.detection.campaigns import campaigns
from benchmarks.detection.figures import Table
from benchmarks.detection.fleets import FLEETS, HYDRAS, LOOK_ALIKES, RELAYS
from benchmarks.detection.gate import Gate
from benchmarks.detection.lives import MICROSECONDS, SECRET, Eyes, Known
from benchmarks.detection.shifts import DISPATCHED, IN_TIME, REFUSED
from benchmarks.detection.sources import Part
from benchmarks.detection.twins import TWINS
from guard.analyst.opened import followers_of
from guard.analyst.request_texts import ASSISTANT
from guard.background import Foreground
from guard.campaigns.groups import Groups
from guard.campaigns.lineage import Exchange
from guard.campaigns.observation import Forgotten, Refusal, read
from guard.core.campaigns import Verdict
from guard.core.identity import Attribute, Holder, Identity, VouchedBy
from guard.core.pseudonyms import Pseudonyms
from guard.http.client import program
from guard.settings.root import FileSettings
from guard.store.memory.store import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from benchmarks.detection.fleet import Fleet
    from benchmarks.detection.sources import Side, Split
    from benchmarks.detection.traffic import Campaign, Line
    from guard.campaigns.observation import Observation
    from guard.core.campaigns import Campaign as Found
    from guard.detection.reference import Reference

JUDGED_EVERY = 10
"""Groups are judged after so many queries of the group that is watched."""

ACCUSED = 10.0
"""Who is accused of so many decibans is throttled."""

NEIGHBOURS, NEIGHBOURS_QUERIES, OTHERS_QUERIES = 8, 25, 6
"""So many instances of each honest use are known to the gateway, by so many queries each."""

ALL_IN = 0.95

INSTANCES = 2
HONEST = 40, 25
RELAYING = 30, 30
WRAPPED = "hydra-wrapped"
SIZES: Mapping[str, Sequence[tuple[int, int]]] = {
    WRAPPED: ((10, 60), (30, 30), (100, 15)),
    "hydra-payment": ((30, 30), (100, 15)),
    "hydra-network": ((30, 30), (100, 15)),
    "hydra-bare": ((100, 15),),
    "hydra-rotating": ((30, 30),),
    "hydra-overlapping": ((30, 30),),
    **{fleet.name: ((10, 60), (30, 30), (100, 15)) for fleet in DISPATCHED},
}
COVERED, COVERED_SETS = ((100, 25),), 2
LARGEST = 1_000, 5
QUICK = 4, 10
"""Accounts of a group, and queries of each: of honest ones, of relays, of hydras by name, of covered ones, of
the largest, and of all for a look.
"""


class Group(NamedTuple):
    """A group: so many accounts of a fleet with so many queries each, which have to do with this source."""

    side: Side
    fleet: str
    accounts: int
    queries: int
    source: str | None = None
    instance: int = 0

    @property
    def name(self) -> str:
        """What it is called among all."""
        return f"{self.side}-{self.fleet}-{self.source}-{self.accounts}-{self.instance}"

    @property
    def stands_with_others(self) -> bool:
        """Whether it is one of those that are found at once."""
        return self.instance == 0 and self.accounts in (QUICK[0], HONEST[0], RELAYING[0])


@dataclass(frozen=True, slots=True)
class Watched:
    """What a group told the worker, in the order of time, and who is in it."""

    group: Group
    observations: Sequence[Observation | Refusal]
    labels: frozenset[str]


@dataclass(slots=True)
class Outcome:
    """What came of a group: after how many of the group's exchanges it was possible, likely, and had nearly
    all members (`ALL_IN`) in one campaign; what it was at the end; and whom it accused.
    """

    group: Group
    exchanges: int
    members: int
    possible: int | None = None
    likely: int | None = None
    all_in: int | None = None
    verdict: Verdict = Verdict.INCONCLUSIVE
    decibans: float = 0.0
    found: int = 0
    outsiders: int = 0
    accused: int = 0


class Watch:
    """What the worker is told of callers whom nobody refuses anything."""

    def __init__(self) -> None:
        self._eyes = Eyes()
        self._keys = Pseudonyms(SECRET)
        self._store = _Heard()
        lineages, observer = followers_of(
            FileSettings(),
            self._keys,
            self._store,
            collect_seconds=None,
            background=Foreground(),
            uses={},
        )
        assert observer is not None
        self._lineages, self._observer = lineages, observer
        self._known: defaultdict[str, Known] = defaultdict(Known)

    def see(self, line: Line, identity: Identity) -> list[Observation | Refusal]:
        """Take in one exchange, or a refusal; what the worker is told by that."""
        holder, now_us = identity.principal, int(line.ts * MICROSECONDS)
        if line.response["status"] == REFUSED:
            self._observer.refuse(holder, identity, now_us)
            return self._told()
        opened = self._eyes.open(line)
        history = [each.text for each in opened.sent if each.role == ASSISTANT]
        said = opened.said
        self._lineages.take(Exchange(identity, holder, now_us, opened.payload, history, said.turns, said.ids))
        taken = self._eyes.take(holder, self._known[holder.value], line, opened)
        client = program((name.encode(), value.encode()) for name, value in line.headers.items())
        self._observer.take(holder, identity, now_us, taken.trace, taken.drew, taken.paid, client)
        return self._told()

    def _told(self) -> list[Observation | Refusal]:
        heard, self._store.heard = self._store.heard, []
        # To forget somebody is an operator's word alone.
        return [each for each in map(read, heard) if not isinstance(each, Forgotten)]


class _Heard(MemoryStore):
    """A store that keeps what it is told of for whoever asks next."""

    def __init__(self) -> None:
        super().__init__(lambda: 0)
        self.heard: list[bytes] = []

    async def observe(self, records: Sequence[bytes]) -> None:
        self.heard += records


def identity_of(key: str, line: Line, *, vouched: bool) -> Identity:
    """Who sends this line: by its key, its network and what a gateway says of it."""
    attributes = {
        Attribute.PAYMENT: line.attributes["payment"],
        Attribute.ASN: line.attributes["asn"],
    }
    if vouched:
        attributes[Attribute.ORG] = line.attributes["org"]
    else:
        attributes[Attribute.POOL] = f"{line.client[0].rpartition('.')[0]}.0/24"
    return Identity(Holder(Attribute.KEY, key), attributes, VouchedBy.KEYS_FILE if vouched else None)


def groups_of(split: Split) -> Iterator[Group]:
    """All groups of a side, the honest ones first."""
    for fleet in (*LOOK_ALIKES, *IN_TIME):
        if fleet.plays(split):
            sources = [None] if fleet.part is None else sorted(split.pool(fleet.part).sources)
            for source in sources:
                for instance in range(INSTANCES if source is None else 1):
                    yield Group(split.side, fleet.name, *HONEST, source, instance)
    for fleet in RELAYS:
        yield Group(split.side, fleet.name, *RELAYING)
    sets = _by_size(split)
    for place, source in enumerate(sets):
        for fleet in (*HYDRAS, *DISPATCHED):
            for size in SIZES.get(fleet.name, COVERED if place < COVERED_SETS else ()):
                yield Group(split.side, fleet.name, *size, source)
    yield Group(split.side, WRAPPED, *LARGEST, sets[0])


def quick(split: Split) -> Iterator[Group]:
    """A small group of each fleet."""
    first = {group.fleet: group for group in reversed(list(groups_of(split)))}
    return (group._replace(accounts=QUICK[0], queries=QUICK[1]) for group in first.values())


def watched(split: Split, group: Group, seed: int) -> Watched:
    """What a group tells the worker."""
    lines = [
        (line, f"{group.name}/{actor.name}")
        for actor in _campaign(split, group, seed).actors
        for line in actor.lines
    ]
    return Watched(group, *_told(lines, vouched=_BY_NAME[group.fleet].vouched))


def _campaign(split: Split, group: Group, seed: int) -> Campaign:
    fleet = _BY_NAME[group.fleet]
    if group.source is not None and fleet.part is not None:
        split = split.only(fleet.part, group.source)
    chance = zlib.crc32(f"{seed}/{group.name}".encode())
    return next(campaigns(split, chance, group.accounts, group.queries, fleets=[group.fleet]))


def neighbours(split: Split, seed: int, instances: int = NEIGHBOURS) -> Sequence[Observation | Refusal]:
    """What the worker knows of others: honest callers of all uses that nobody has to declare."""
    lines = [(line, f"neighbour/{key}") for line, key in _neighbours(split, seed, instances)]
    return _told(lines, vouched=False)[0]


def others(split: Split, seed: int, instances: int = NEIGHBOURS) -> list[Line]:
    """The same callers' first queries, in the order of time."""
    lines = [line for line, _ in _neighbours(split, seed, instances, OTHERS_QUERIES)]
    return sorted(lines, key=lambda line: line.ts)


def _neighbours(
    split: Split, seed: int, instances: int, queries: int = NEIGHBOURS_QUERIES
) -> Iterator[tuple[Line, str]]:
    known = [twin.name for twin in TWINS if twin.declared is None and plays(twin, split)]
    cast = actors(split, seed, queries, instances=instances, varieties=known)
    return ((line, actor.name) for actor in cast for line in actor.lines)


def outcome(watched: Watched, neighbours: Sequence[Observation | Refusal], reference: Reference) -> Outcome:
    """What comes of a group among these."""
    groups = settled(neighbours, reference)
    found = Outcome(watched.group, len(watched.observations), len(watched.labels))
    accused = set[str]()
    for number, seen in enumerate(watched.observations, start=1):
        groups.take(seen)
        if number % JUDGED_EVERY and number != len(watched.observations):
            continue
        changes = groups.judge(seen.at_us)
        accused |= {each.label for each in changes.accused if each.decibans >= ACCUSED} & watched.labels
        ours = _ours(groups.campaigns, watched.labels)
        if ours is None:
            continue
        found.possible = found.possible or number
        if ours.found is Verdict.LIKELY:
            found.likely = found.likely or number
        if len(ours.members.keys() & watched.labels) >= ALL_IN * len(watched.labels):
            found.all_in = found.all_in or number
    found.accused = len(accused)
    last = _ours(groups.campaigns, watched.labels)
    if last is not None:
        found.verdict, found.decibans = last.found, last.decibans
        found.found = len(last.members.keys() & watched.labels)
        found.outsiders = len(last.members.keys() - watched.labels)
    return found


def settled(neighbours: Iterable[Observation | Refusal], reference: Reference) -> Groups:
    """The groups of a gateway that knows these, and has judged them."""
    groups, last_us = Groups(reference), 0
    for seen in neighbours:
        groups.take(seen)
        last_us = seen.at_us
    while groups.due():
        groups.judge(last_us)
    return groups


class Together(NamedTuple):
    """What is found of all groups of a side at a time: B-cubed precision and recall (Bagga and Baldwin, 1998)
    over all holders and over those of distillers, and what was found of honest ones.
    """

    holders: int
    precision: float
    recall: float
    stolen: int
    precision_of_stolen: float
    recall_of_stolen: float
    likely: int
    possible: int
    honest_in_likely: int
    honest_in_possible: int


def together(
    watched: Sequence[Watched], neighbours: Sequence[Observation | Refusal], reference: Reference
) -> Together:
    """What is found of all of these among each other."""
    parts = (neighbours, *(each.observations for each in watched))
    told = sorted((seen for part in parts for seen in part), key=lambda seen: seen.at_us)
    groups = Groups(reference)
    for number, seen in enumerate(told, start=1):
        groups.take(seen)
        if number % 100 == 0:
            groups.judge(seen.at_us)
    while groups.due():
        groups.judge(told[-1].at_us)
    truth = {label: each.labels for each in watched if is_theft(each.group) for label in each.labels}
    everybody = {seen.label for seen in told}
    counting = [each for each in groups.campaigns if each.found.counts]
    scored = {label: b_cubed(label, counting, truth.get(label, frozenset([label]))) for label in everybody}
    stolen = [scored[label] for label in truth]
    likely = {label for each in counting if each.found is Verdict.LIKELY for label in each.members}
    possible = {label for each in counting for label in each.members} - likely
    return Together(
        len(everybody),
        *_means(list(scored.values())),
        len(truth),
        *_means(stolen),
        sum(each.found is Verdict.LIKELY for each in counting),
        sum(each.found is Verdict.POSSIBLE for each in counting),
        len(likely - truth.keys()),
        len(possible - truth.keys()),
    )


class Replayed(NamedTuple):
    """What a replay of a hydra's requests among those of others tells: how many of its accounts, and of the
    others, ever had a campaign, and after how many of the hydra's requests the first one had.
    """

    side: Side
    source: str
    requests: int
    accounts: int
    named: int
    first: int | None
    others: int
    others_named: int


def replayed(split: Split, seed: int, instances: int, reference: Path) -> Replayed:
    """Replay the largest set, shared out in one wording, with guard's own engine, analyst and worker."""
    source = _by_size(split)[0]
    group = Group(split.side, WRAPPED, *SIZES[WRAPPED][1], source)
    ours = {actor.key: list(actor.lines) for actor in _campaign(split, group, seed).actors}
    theirs = others(split, seed, instances)
    return asyncio.run(_replayed(group, ours, theirs, reference))


async def _replayed(
    group: Group, ours: Mapping[str, Sequence[Line]], theirs: Sequence[Line], reference: Path
) -> Replayed:
    keys = {_bearer(line): key for key, lines in ours.items() for line in lines}
    told = sorted([*theirs, *(line for lines in ours.values() for line in lines)], key=lambda line: line.ts)
    gate, named, others_named = Gate(reference), set[str](), set[str]()
    requests, first = 0, None
    for line in told:
        result = await gate.ask(line, int(line.ts * MICROSECONDS))
        key = keys.get(_bearer(line))
        requests += key is not None
        if result.campaign is None:
            continue
        if key is None:
            others_named.add(_bearer(line))
        else:
            named.add(key)
            first = first or requests
    everybody = {_bearer(line) for line in theirs}
    counts = len(ours), len(named), first, len(everybody), len(others_named)
    return Replayed(group.side, group.source or "", requests, *counts)


def _bearer(line: Line) -> str:
    return line.headers["authorization"]


def _by_size(split: Split) -> list[str]:
    """The instruction sets of a side, the largest first."""
    sets = split.pool(Part.DISTILL).sources
    return sorted(sets, key=lambda source: -len(sets[source]))


def b_cubed(label: str, found: Iterable[Found], truth: Collection[str]) -> tuple[float, float]:
    """Precision and recall of one holder: of those that are found to belong to it, how many do; and of those
    that do, how many are found.
    """
    together = {label}.union(*(each.members for each in found if label in each.members))
    right = len(together & set(truth))
    return right / len(together), right / len(truth)


def is_theft(group: Group) -> bool:
    """Whether it is a distiller's."""
    return _BY_NAME[group.fleet].kind == "attack"


def thefts(found: Iterable[Outcome]) -> Table:
    """How soon the accounts of distillers are one campaign, by what ties them."""
    groups: dict[tuple[str, str, int], list[Outcome]] = defaultdict(list)
    for each in found:
        if is_theft(each.group):
            groups[each.group.fleet, each.group.side, each.group.accounts].append(each)
    rows = []
    for (fleet, side, accounts), some in sorted(groups.items(), key=lambda each: _order(each[0])):
        known = [each for each in some if each.possible is not None]
        rows.append(
            (
                *(fleet, side, accounts),
                *_some(some, "possible"),
                *_some(some, "likely"),
                *_some(some, "all_in"),
                _share(sum(each.found for each in known), sum(each.members for each in known)),
                _share(
                    sum(each.outsiders for each in known),
                    sum(each.found + each.outsiders for each in known),
                ),
                ", ".join(sorted(each.group.source or "" for each in some if each.possible is None)),
            )
        )
    columns = (
        *("fleet", "side", "accounts"),
        *("possible", "after", "likely", "after ", f"{ALL_IN:.0%} in it", "after  "),
        *("members in it", "outsiders in it", "sets not found"),
    )
    return Table("Distillers with many accounts", _THEFTS, columns, tuple(rows))


def honest(found: Iterable[Outcome]) -> Table:
    """What is found of honest groups."""
    groups: dict[tuple[str, str], list[Outcome]] = defaultdict(list)
    for each in found:
        if not is_theft(each.group):
            groups[each.group.fleet, each.group.side].append(each)
    rows = []
    for (fleet, side), some in sorted(groups.items(), key=lambda each: _order((*each[0], 0))):
        suspects = {each.group.source or "" for each in some if each.possible is not None}
        rows.append(
            (
                *(fleet, side, len(some)),
                sum(each.possible is not None for each in some),
                sum(each.likely is not None for each in some),
                sum(each.accused for each in some),
                ", ".join(sorted(suspects - {""})),
            )
        )
    columns = ("group", "side", "groups", "ever possible", "ever likely", "callers accused", "sources")
    return Table("Honest groups", _HONEST, columns, tuple(rows))


def at_once(found: Mapping[Side, Together]) -> Table:
    """What is found of all groups of a side together."""
    columns = (
        *("side", "holders", "precision", "recall", "of distillers", "precision ", "recall "),
        *("likely campaigns", "possible ones", "honest holders in likely ones", "in possible ones"),
    )
    return Table("All groups at once", _AT_ONCE, columns, tuple((side, *row) for side, row in found.items()))


def in_replay(found: Sequence[Replayed]) -> Table:
    """Who has a campaign in a replay."""
    columns = (
        *("side", "set", "its requests", "accounts", "with a campaign", "first after"),
        *("others", "with a campaign "),
    )
    return Table("In a replay", _IN_REPLAY, columns, tuple(found))


def _some(found: Sequence[Outcome], what: str) -> tuple[str, float | None]:
    """How many came so far, and after how many exchanges in the median."""
    after = [getattr(each, what) for each in found if getattr(each, what) is not None]
    return f"{len(after)} of {len(found)}", median(after) if after else None


def _share(some: int, of: int) -> str | None:
    return f"{some / of:.1%}" if of else None


def _order(name: tuple[str, str, int]) -> tuple[int, str, int]:
    return list(_BY_NAME).index(name[0]), name[1], name[2]


def _means(scored: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return (
        sum(precision for precision, _ in scored) / len(scored),
        sum(recall for _, recall in scored) / len(scored),
    )


def _told(
    lines: Sequence[tuple[Line, str]], *, vouched: bool
) -> tuple[tuple[Observation | Refusal, ...], frozenset[str]]:
    """What the worker is told of these lines of these keys, in the order of time; and the labels of all."""
    watch = Watch()
    seen = (
        watch.see(line, identity_of(key, line, vouched=vouched))
        for line, key in sorted(lines, key=lambda each: each[0].ts)
    )
    told = tuple(sorted((each for some in seen for each in some), key=lambda each: each.at_us))
    return told, frozenset(seen.label for seen in told)


def _ours(found: Iterable[Found], labels: Collection[str]) -> Found | None:
    """The campaign that counts and has most of these."""
    ours = [each for each in found if each.found.counts and each.members.keys() & set(labels)]
    return max(ours, key=lambda each: len(each.members.keys() & set(labels)), default=None)


_BY_NAME: Mapping[str, Fleet] = {fleet.name: fleet for fleet in FLEETS}

_THEFTS = f"""\
Hydras share one instruction set out, and each of their accounts asks 6 to 30 times a day; each set was tried
by itself. They are *wrapped* in one template, have one *payment* for eight accounts, are paraphrased out of
one *network* (a /24), or have nothing in common (*bare*), with an address each but for those of one network.
Of *app* and *person* so many queries in a hundred are a cover's; *rotating* accounts are banned after three
days, and others go on; *overlapping* ones send one item in ten twice. Those of a dispatcher, wrapped too, ask
one after another, on a lane for each 25 of them: *failing over* when they are refused for an hour, *banned*
for good, or *taking turns* before that. *Relays* pass on conversations of people. Of so many
sets it is told how many were found (and the median of the exchanges of all accounts together until then):
possible at least, likely, and with {ALL_IN:.0%} of the accounts in the campaign. The share of members, and of
outsiders among those that are in it, are of those found, at the end. Three in ten have one system prompt in
all accounts, by which *bare* ones are found too, and small sets run out."""

_HONEST = f"""\
Groups of {HONEST[0]} callers with {HONEST[1]} queries each: {INSTANCES} of each, or one of each source that
it was tried on. *Labs* all run one evaluation, *sampling* ones a part of a set by lot. Nobody has declared
anything. *Users* ask single questions about anything under one prompt, no two of them the same, are answered
six an hour, and come together as their names say. Nobody vouches for any but *team*, *company* and
*nightly-jobs*. Accused is who has {ACCUSED:.0f} decibans of a campaign against it."""

_AT_ONCE = """\
All groups of the two tables and the callers around them, at one gateway: B-cubed precision and recall (Bagga
and Baldwin, 1998) over all holders, each of whom belongs to its distiller or to itself alone, and over the
accounts of distillers."""

_IN_REPLAY = """\
A hydra in one wording among honest callers, replayed as `guard replay` does it, where budgets hold and the
worker looks now and then: how many accounts, and how many others, had the id of a campaign in a result, and
after how many requests of the hydra the first had."""
