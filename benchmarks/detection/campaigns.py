"""Several accounts that belong together: the fleets of a distiller, and honest groups that look like one.

What ties the accounts of a fleet (payment, network, client, template, time) is what published reports name; a
group of honest people or programs shares one or two of the same, for reasons of its own.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from random import Random
from typing import TYPE_CHECKING

from benchmarks.detection import attacks, people, programs, timing
from benchmarks.detection.accounts import Account, Caller, Ties, open_account, tied
from benchmarks.detection.frames import Frames
from benchmarks.detection.stage import Stage
from benchmarks.detection.traffic import Actor, Campaign

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from benchmarks.detection.sources import Split
    from benchmarks.detection.traffic import Kind, Line

_DAYS_BETWEEN_POOLS = 7
_MIGRATING = 0.15
"""The share of a relay's requests that go to another account than their conversation's last one."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """A kind of campaign: what each of its accounts does, and what they share.

    `together` is for what only the whole can do: the lines of all accounts, by account.
    """

    name: str
    kind: Kind
    caller: Caller
    ties: Ties
    act: Callable[[Stage, int], Iterator[Line]] | None = None
    together: Callable[[Stage, Sequence[Account]], Sequence[Sequence[Line]]] | None = None
    only_openai: bool = False


def campaigns(
    split: Split,
    seed: int,
    accounts: int,
    queries: int,
    *,
    instances: int = 1,
    fleets: Collection[str] | None = None,
) -> Iterator[Campaign]:
    """So many instances of every fleet (or of those named): so many accounts with up to so many queries each.

    Equal arguments give equal campaigns. A relay deals its queries: an account has about so many.
    """
    for fleet in FLEETS:
        if fleets is None or fleet.name in fleets:
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


def _slow_templated(stage: Stage, place: int) -> Iterator[Line]:
    """One template, few requests an account; nobody's times depend on another's."""
    return map(stage.line, attacks.slow(stage), attacks.templated(stage))


def _slow_plain(stage: Stage, place: int) -> Iterator[Line]:
    """No template; the accounts have nothing in common but the set that they go through."""
    return map(stage.line, attacks.slow(stage), attacks.plain(stage))


def _in_step(stage: Stage, place: int) -> Iterator[Line]:
    """One scheduler serves all accounts: at every tick each sends one request, within seconds."""
    ticks = timing.steady(stage.plan, stage.plan.uniform(12, 200))
    asking = attacks.paraphrased(stage)
    return (stage.line(tick + stage.rng.random() * 5, next(asking)) for tick in ticks)


def _failing_over(stage: Stage, place: int) -> Iterator[Line]:
    """Two pools: the second account of each pair goes on, a week later, where the first one has stopped."""
    late = place % 2 * _DAYS_BETWEEN_POOLS * timing.DAY
    per_day = stage.queries / _DAYS_BETWEEN_POOLS
    times = (ts + late for ts in timing.steady(stage.rng, per_day))
    return map(stage.line, times, attacks.coercing(stage))


def _relay(stage: Stage, accounts: Sequence[Account]) -> Sequence[Sequence[Line]]:
    """The requests of real people, dealt to accounts: a conversation stays with one most of the time."""
    shares: list[list[Line]] = [[] for _ in accounts]
    rng = stage.rng
    for line in people.honest_router(stage):
        opening = next(turn["content"] for turn in line.body["messages"] if turn["role"] == "user")
        home = zlib.crc32(opening.encode("utf-8", "surrogatepass")) % len(accounts)
        place = rng.randrange(len(accounts)) if rng.random() < _MIGRATING else home
        account = accounts[place]
        shares[place].append(
            replace(
                line,
                headers=account.headers,
                client=account.client,
                attributes=account.attributes,
                label="attack",
            )
        )
        if sum(map(len, shares)) >= stage.queries:
            break
    return shares


def _member(stage: Stage, place: int) -> Iterator[Line]:
    """A person like any other."""
    return people.person(stage)


def _app(stage: Stage, place: int) -> Iterator[Line]:
    """A program with a template that many programs have."""
    return programs.retrieval_app(stage)


def _nightly(stage: Stage, place: int) -> Iterator[Line]:
    """A batch that begins when the others' do, on the hour."""
    return programs.batch_summariser(stage)


FLEETS: tuple[Fleet, ...] = (
    Fleet("team", "benign", Caller.PERSON, Ties(org=True, payment=0, network=0, client=True), _member),
    Fleet("campus", "benign", Caller.PERSON, Ties(network=0), _member),
    Fleet("framework", "benign", Caller.PROGRAM, Ties(client=True), _app),
    Fleet("nightly-jobs", "benign", Caller.PROGRAM, Ties(org=True, payment=0, network=0), _nightly),
    Fleet("fleet-templated", "attack", Caller.PROGRAM, Ties(payment=8, client=True), _slow_templated),
    Fleet("fleet-plain", "attack", Caller.PROGRAM, Ties(client=True), _slow_plain),
    Fleet("fleet-in-step", "attack", Caller.PROGRAM, Ties(network=16), _in_step),
    Fleet("fleet-failover", "attack", Caller.PROGRAM, Ties(payment=4, network=8, client=True), _failing_over),
    Fleet(
        "fleet-relay",
        "attack",
        Caller.PROGRAM,
        Ties(payment=16, client=True),
        together=_relay,
        only_openai=True,
    ),
)
"""All kinds of campaign, the benign first."""


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
