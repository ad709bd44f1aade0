"""Groups of holders, as the worker sees them: a distiller's accounts, and honest people who are as alike."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING

from lessons import Pupil, asking, enumeration_of, exemplars_of

from guard.campaigns.observation import Observation
from guard.core.signals import Signal
from guard.detection.reference import Reference
from guard.detection.tables import Stratum, Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from guard.core.campaigns import TieKind
    from guard.core.query import Query

START_US = 1_700_000_000_000_000
MINUTE_US = 60_000_000
SYSTEM = "You are a careful assistant of the Ledger company. Answer briefly."


REFERENCE = replace(
    Reference.load(),
    tables={Signal.ENUMERATION: {Stratum.ANY: Table((0.0, 1.0, 3.0), (1.0, 0.3, 0.01), 1_000, 1.0)}},
)
"""Made-up items look less like a data set than real ones do: here 20 decibans, and honest groups 4."""


@dataclass(frozen=True)
class Fleet:
    """So many holders with what each asks; `facts` are what each has in common with others, by its number."""

    name: str
    queries: Sequence[Sequence[Query]]
    facts: Callable[[int], Mapping[TieKind, str]] = lambda _: {}
    org: str = ""
    verified: bool = False
    answer: int = 100
    new: float = 1.0

    def label(self, member: int) -> str:
        """What the store calls a member."""
        return f"key:{self.name}{member}"

    @property
    def labels(self) -> set[str]:
        """Those of all members."""
        return {self.label(member) for member in range(len(self.queries))}

    def observed(self, start_us: int = START_US) -> list[Observation]:
        """What the analyst tells of them, one query of each by turns, a minute apart."""
        pupils = [Pupil() for _ in self.queries]
        found: list[Observation] = []
        for turn in range(max(map(len, self.queries))):
            for member, (pupil, queries) in enumerate(zip(pupils, self.queries, strict=True)):
                if turn >= len(queries):
                    continue
                trace = pupil.ask(queries[turn], self.answer, self.new).trace
                drew = self.answer / 512
                found.append(
                    Observation(
                        self.label(member),
                        self.org,
                        self.verified,
                        start_us + len(found) * MINUTE_US,
                        self.facts(member),
                        hash(self.label(member)) & 0xFFFFFFFF,
                        (),
                        drew,
                        drew * self.new,
                        trace,
                    )
                )
        return found


def sharing_out(
    name: str = "hydra", members: int = 20, each: int = 20, system: str = SYSTEM, seed: int = 1
) -> list[list[Query]]:
    """A set that is shared out, in one wording: no two members have an item in common."""
    items = exemplars_of(members * each, seed)
    return [
        [asking(text, system=system) for text in items[start : start + each]]
        for start in range(0, members * each, each)
    ]


def customers(members: int = 20, each: int = 20, system: str = SYSTEM, seed: int = 2) -> list[list[Query]]:
    """The users of one app, who ask the few dozen things that one asks such an app."""
    rng = Random(seed)
    things = enumeration_of(30, words=4, seed=seed)
    return [
        [asking(f"My order: {rng.choice(things)}?", system=system) for _ in range(each)]
        for _ in range(members)
    ]


def people(members: int = 20, each: int = 20, system: str = SYSTEM, seed: int = 3) -> list[list[Query]]:
    """People with something of their own to talk about, and conversations about that."""
    found = []
    for member in range(members):
        about = enumeration_of(4, words=10, seed=seed * 1_000 + member)
        queries = []
        for turn in range(each):
            topic = about[turn // 5 % len(about)]
            history = [topic, "Yes.", f"tell me more of {topic.split()[0]}, number {turn}"]
            queries.append(asking(*history, system=system) if turn % 5 else asking(topic, system=system))
        found.append(queries)
    return found


def mixed(*parts: Iterable[Observation]) -> list[Observation]:
    """All of these in the order of time."""
    return sorted((each for part in parts for each in part), key=lambda seen: seen.at_us)
