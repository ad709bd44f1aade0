"""Several accounts that belong together: the fleets of a distiller, and honest groups that look like one.

What ties the accounts of a fleet (payment, network, client, template, time) is what published reports name; a
group of honest people or programs shares one or two of the same, for reasons of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from random import Random
from typing import TYPE_CHECKING

from benchmarks.detection.accounts import Account, open_account, tied
from benchmarks.detection.fleets import FLEETS
from benchmarks.detection.frames import Frames
from benchmarks.detection.stage import Stage
from benchmarks.detection.traffic import Actor, Campaign

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from benchmarks.detection.fleet import Fleet
    from benchmarks.detection.sources import Split
    from benchmarks.detection.traffic import Line


def campaigns(
    split: Split,
    seed: int,
    accounts: int,
    queries: int,
    *,
    instances: int = 1,
    fleets: Collection[str] | None = None,
) -> Iterator[Campaign]:
    """So many instances of every fleet that the split has sources for (or of those named): so many accounts
    with up to so many queries each.

    Equal arguments give equal campaigns. A relay deals its queries: an account has about so many.
    """
    for fleet in FLEETS:
        if fleet.name in fleets if fleets is not None else fleet.plays(split):
            for instance in range(instances):
                name = f"{fleet.name}-{seed}-{instance}"
                crew = _Crew(fleet, split, f"{split.side}/{seed}/{fleet.name}/{instance}", accounts, queries)
                cast = tuple(
                    Actor(
                        f"{name}-{place}",
                        fleet.kind,
                        fleet.name,
                        None,
                        _Share(crew, place),
                        account.key,
                        name,
                    )
                    for place, account in enumerate(crew.accounts)
                )
                yield Campaign(name, fleet.kind, fleet.name, cast)


@dataclass(frozen=True)
class _Crew:
    """The accounts of one campaign, and what each sends."""

    fleet: Fleet
    split: Split
    seed: str
    size: int
    queries: int

    @cached_property
    def frames(self) -> Frames:
        return Frames(self.split.side)

    @cached_property
    def accounts(self) -> Sequence[Account]:
        rng = Random(f"{self.seed}/accounts")
        opened = [
            open_account(rng, self.fleet.caller, only_openai=self.fleet.only_openai) for _ in range(self.size)
        ]
        return tied(rng, opened, self.fleet.ties)

    @cached_property
    def dealt(self) -> Sequence[Sequence[Line]]:
        assert self.fleet.together is not None
        return self.fleet.together(self.stage(0, self.queries * self.size), self.accounts)

    def stage(self, place: int, queries: int) -> Stage:
        plan, rng = Random(f"{self.seed}/plan"), Random(f"{self.seed}/{place}")
        return Stage(rng, plan, self.split, self.frames, self.accounts[place], queries)

    def lines(self, place: int) -> Iterator[Line]:
        if self.fleet.act is None:
            return iter(self.dealt[place])
        return islice(self.fleet.act(self.stage(place, self.queries), place), self.queries)


@dataclass(frozen=True, slots=True)
class _Share:
    """The lines of one account, made when they are gone through."""

    crew: _Crew
    place: int

    def __iter__(self) -> Iterator[Line]:
        return self.crew.lines(self.place)
