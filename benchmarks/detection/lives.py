"""Simulated holders as guard would have seen them: read by its own analyst, and put down from time to time.

Each query goes through `guard.analyst.lessons`, as bytes, with its answer; what answers pay out is charged to
a coverage of the holder's own, as the store keeps it. Nobody is refused anything here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.detection.actors import actor
from benchmarks.detection.side_by_side import counted, in_order
from benchmarks.detection.sources import Part, Side, SourceError, load
from benchmarks.detection.twins import RECORDED, TWINS
from guard.analyst.lessons import Lessons
from guard.analyst.transcript import Copies
from guard.core.identity import Attribute, Holder, Identity
from guard.core.novelty import UNIT
from guard.core.pseudonyms import Pseudonyms
from guard.core.query import Usage
from guard.core.uses import Declared, Use
from guard.detection.profile import Profile
from guard.detection.reference import see
from guard.detection.tables import Stratum, stratum_of
from guard.detection.traits import TRAITS
from guard.dialects import DIALECTS
from guard.settings.root import FileSettings
from guard.store.memory.coverage import Coverage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from benchmarks.detection.sources import Split
    from benchmarks.detection.traffic import Actor, Json, Line
    from guard.analyst.lessons import Opened
    from guard.core.novelty import Payout
    from guard.core.policy import Policy
    from guard.core.signals import Signal
    from guard.detection.trace import Trace

SECRET = b"a benchmark keeps no secrets and is the same every time"

DEFAULTS: Policy = FileSettings().policy()
"""What decides where an operator has set nothing."""

STRIDE = 16
"""A holder is put down at every so many of its queries."""

ENUMERATING = ("bulk", "templated", "paraphrased", "affixed", "fake-history")
HIDING = tuple(
    f"hidden-{cover}-{share:02}" for cover in ("narrow-app", "person") for share in (5, 10, 25, 50)
)
"""What hides in a router is not told from it: routers are as mixed themselves."""

ENUMERATING_QUERIES, HIDING_QUERIES = 200, 500
"""How long these lives are: an enumeration is to be told soon."""

MICROSECONDS = 1_000_000


class Moment(NamedTuple):
    """How a holder looked after so many queries: all traits, and what each signal reads but for scores.
    `drawing` is the weight of those queries that drew something.
    """

    queries: int
    drawing: float
    stratum: Stratum
    drawn: float
    traits: tuple[float, ...]
    statistics: Mapping[Signal, float]


@dataclass(slots=True)
class Life:
    """One holder. `source` is the instruction set that it goes through, or whose requests it repeats."""

    variety: str
    source: str | None
    theft: bool
    excused: frozenset[Signal]
    moments: list[Moment] = field(default_factory=list)

    @property
    def sort(self) -> tuple[str, str | None]:
        """What it is one of several of."""
        return self.variety if not self.theft or self.source is None else "", self.source


class Work(NamedTuple):
    """One instance of a variety on a side; see `Life` for `source`."""

    side: Side
    variety: str
    instance: int
    queries: int
    source: str | None = None


class Taken(NamedTuple):
    """What a query leaves behind, and what its answers drew and have paid out, in thousandths."""

    trace: Trace
    drew: int
    paid: int


class Eyes:
    """What queries and answers are read with; it takes some 100 ms to make."""

    def __init__(self) -> None:
        self._lessons = Lessons(Pseudonyms(SECRET), DIALECTS)

    def open(self, line: Line) -> Opened:
        """Read a line of the log for what it says, as guard would have read the request and its answer."""
        dialect = DEFAULTS.route("POST", line.path).dialect
        if dialect is None:
            raise ValueError(f"no queries are read at {line.path}")
        copies = Copies(
            dialect,
            line.path,
            model_in(line.path),
            json.dumps(line.body).encode(),
            json.dumps(answered(dialect, line)).encode(),
            "application/json",
            (),
        )
        return self._lessons.open(copies)

    def take(self, holder: Holder, known: Known, line: Line, opened: Opened) -> Taken:
        """Take a line that was read into what is known of its holder."""
        usage = line.response["usage"]
        used = Usage(usage["input_tokens"], usage["output_tokens"])
        lesson = self._lessons.lesson(holder, opened, used, int(line.ts * MICROSECONDS))
        step = self._lessons.teach(known.profile, lesson)
        drew, paid = lesson.payout.drawn, known.pay(lesson.payout)
        known.profile.pay(step, drew / UNIT, paid / UNIT)
        return Taken(step.trace, drew, paid)


@dataclass(slots=True)
class Known:
    """A holder's profile and coverage."""

    profile: Profile = field(default_factory=Profile.new)
    coverage: Coverage = field(default_factory=Coverage)
    answers: int = 0

    def pay(self, payout: Payout) -> int:
        """What answers pay out, in thousandths; their cells are visited."""
        self.answers += 1
        return self.coverage.weigh(str(self.answers), payout)


def model_in(path: str) -> str | None:
    """The model that a path names."""
    return DEFAULTS.route("POST", path).model_in(path)


def answered(dialect: str, line: Line) -> Json:
    """A line's answer in the words of its API."""
    text, number = line.response["text"], line.body.get("n") or 1
    match dialect:
        case "openai.chat":
            calls = line.response.get("tool_calls")
            said = {"role": "assistant", "content": text} | ({"tool_calls": calls} if calls else {})
            return {"choices": [{"index": index, "message": said} for index in range(number)]}
        case "anthropic.messages":
            return {"content": [{"type": "text", "text": text}]}
        case "gemini.generate":
            return {"candidates": [{"content": {"parts": [{"text": text}]}}]}
    return {"message": {"role": "assistant", "content": text}, "done": True}


def lives(
    folder: Path, sides: Sequence[Side], seed: int, instances: int, queries: int, processes: int
) -> list[Life]:
    """Honest holders, and thefts, so many instances of each; raises `SourceError`."""
    work = [each for side in sides for each in _work(load(folder, side), instances, queries)]
    return watched(folder, seed, work, processes)


def watched(folder: Path, seed: int, work: Sequence[Work], processes: int) -> list[Life]:
    """The holders that this is about; raises `SourceError`."""
    sides = tuple(sorted({each.side for each in work}))
    found = in_order(_watch, work, _open, (folder, sides, seed), processes)
    return [life for several in counted(found, len(work)) for life in several]


def honest(split: Split, instances: int, queries: int) -> Iterator[Work]:
    """All honest uses that a side has sources for, the recorded ones by source and half as often."""
    for twin in TWINS:
        try:
            part = RECORDED.get(twin.name)
            sources = [None] if part is None else sorted(split.pool(part).sources)
        except SourceError:
            continue
        number = instances if part is None else max(2, instances // 2)
        for source in sources:
            for instance in range(number):
                yield Work(split.side, twin.name, instance, queries, source)


def _work(split: Split, instances: int, queries: int) -> Iterator[Work]:
    yield from honest(split, instances, queries)
    for source in sorted(split.pool(Part.DISTILL).sources):
        for variety in ENUMERATING:
            for instance in range(max(1, instances // 4)):
                yield Work(split.side, variety, instance, min(queries, ENUMERATING_QUERIES), source)
    for variety in HIDING:
        for instance in range(max(1, instances // 2)):
            yield Work(split.side, variety, instance, min(queries, HIDING_QUERIES))


class Stand:
    """What holders are watched with, in one process."""

    def __init__(self, splits: Mapping[Side, Split], seed: int) -> None:
        self._splits = splits
        self._seed = seed
        self._eyes = Eyes()

    def watch(self, work: Work) -> list[Life]:
        """One instance: the holders whom its requests are about, once it is declared as it should be."""
        split = self._splits[work.side]
        if work.source is not None:
            split = split.only(RECORDED.get(work.variety, Part.DISTILL), work.source)
        watched = actor(split, self._seed, work.queries, work.variety, work.instance)
        return self._lives(watched, work)

    def _lives(self, watched: Actor, work: Work) -> list[Life]:
        name = f"{work.side}/{work.source}/{watched.name}"
        identity = Identity(Holder(Attribute.KEY, name))
        uses = {identity.principal: Declared(Use(watched.declared))} if watched.declared else {}
        policy = declaring(uses)
        found: dict[Holder, tuple[Known, Life]] = {}
        for line in watched.lines:
            end_user = line.body.get("user")
            suspect = policy.suspect(identity.asking(end_user=end_user), int(line.ts * MICROSECONDS))
            if suspect.holder not in found:
                theft = watched.kind == "attack"
                found[suspect.holder] = Known(), Life(work.variety, work.source, theft, suspect.excused)
            known, life = found[suspect.holder]
            self._eyes.take(suspect.holder, known, line, self._eyes.open(line))
            if known.profile.queries % STRIDE == 0:
                life.moments.append(_moment(known.profile))
        return [life for _, life in found.values() if life.moments]


def declaring(uses: Mapping[Holder, Declared]) -> Policy:
    """The default policy, with what the operator was told of callers."""
    return replace(DEFAULTS, detection=replace(DEFAULTS.detection, uses=dict(uses)))


def _moment(profile: Profile) -> Moment:
    seen = see(profile, {})
    traits = tuple(trait.of(profile) for trait in TRAITS.values())
    return Moment(profile.queries, profile.drawing, stratum_of(profile), seen.drawn, traits, seen.statistics)


_stand: Stand


def _open(folder: Path, sides: tuple[Side, ...], seed: int) -> None:
    global _stand
    _stand = Stand({side: load(folder, side) for side in sides}, seed)


def _watch(work: Work) -> list[Life]:
    return _stand.watch(work)
