"""How much one carries off who copies a model through so many accounts, a day, in standard new answers.

The attacker knows what guard documents. Each account asks as fast as `PER_DAY` queries a day, waits for as
long as a refusal says, and then asks again for the item that it did not get. All accounts share one list of
items. What an answer is worth is what is new of it to the attacker, by one memory over all accounts: the
tokens of its pieces that nothing alike was drawn before of, in units of 512. That memory is finer than
guard's coverage (two keyed cells of 13 bits for each piece, and it forgets nothing), so that nothing is taken
for old by chance. Of accounts with a cover only the attack's items count.

A campaign ends when it is through with its sets: what it had on the day of that is not counted, unless that
is the first.
"""

from __future__ import annotations

import asyncio
import heapq
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.detection import attacks, people, programs
from benchmarks.detection.accounts import Caller, open_account
from benchmarks.detection.answers import tokens
from benchmarks.detection.frames import Frames
from benchmarks.detection.gate import Gate, answered, at_address
from benchmarks.detection.sources import Part
from benchmarks.detection.stage import Stage
from benchmarks.detection.timing import START
from guard.core.calendars import MICROSECONDS
from guard.core.evidence import Band
from guard.core.novelty import UNIT
from guard.core.query import Usage
from guard.detection.payout import Payouts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from benchmarks.detection.attacks import Asking
    from benchmarks.detection.sources import Split
    from benchmarks.detection.traffic import Exchange, Line

PER_DAY = 20_000
"""Queries that an account offers a day."""

DAYS = 5
DAY_US = 86_400 * MICROSECONDS
START_US = int(START * MICROSECONDS)
MANY = 10**9
"""Queries of a campaign, which no set is large enough for by itself: so it goes through all of them."""


class Attack(NamedTuple):
    """How items are asked for, and its profile: what it takes, and by which interface (arXiv 2606.25059)."""

    asking: Asking
    profile: str


PLAIN = "plain"
ATTACKS: Mapping[str, Attack] = {
    PLAIN: Attack(attacks.plain, "one query and one text an item; chat completions, text only"),
    "templated": Attack(attacks.templated, "as plain, with one wording around each item"),
    "paraphrased": Attack(attacks.paraphrased, "as plain, with forty wordings that an attacker prepares"),
    "base64": Attack(
        attacks.encoded("base64"), "one query an item, a third longer, to a model that can decode it"
    ),
    "fake-history": Attack(
        attacks.faking_history, "one query an item, up to six times as long; messages with the role assistant"
    ),
    "thanked": Attack(attacks.thanked, "as plain, with one query of thanks to two items"),
    "following-up": Attack(
        attacks.following_up, "as plain, with a query to each item that repeats its answer"
    ),
}
COVERS: Mapping[str, Callable[[Stage], Iterator[Line]]] = {
    "app": programs.narrow_app,
    "person": people.person,
}


class Scene(NamedTuple):
    """A campaign: so many `accounts`, in one /24 or in one each, of whose queries `cover` in a hundred are
    those of an honest use `like` one of `COVERS`. `source` names the one set that it goes through.
    """

    attack: str = PLAIN
    accounts: int = 1
    one_network: bool = False
    cover: int = 0
    like: str = "app"
    source: str | None = None

    @property
    def one(self) -> bool:
        """Whether it is of one account."""
        return self.accounts == 1


@dataclass(slots=True)
class Day:
    """What a campaign had in a day: units that are new to it, answers to items, and all that it asked."""

    units: float = 0.0
    items: int = 0
    asked: int = 0


@dataclass(slots=True)
class Harvest:
    """What came of a scene, on as many days as its sets lasted. `unguarded` is what a model without guard
    would have paid out a day, if there were items enough, and `high` after how many answers the first account
    was `high`.
    """

    scene: Scene
    days: list[Day]
    unguarded: float
    high: int | None = None


class Union:
    """What an attacker has: the pieces of all answers that it drew."""

    def __init__(self) -> None:
        self._seen: set[tuple[int, int]] = set()

    def add(self, answer: str) -> float:
        """Units that are new in an answer."""
        new = 0
        for drawn, one, other in _pieces(answer):
            key = (one, other)
            if key not in self._seen:
                self._seen.add(key)
                new += drawn
        return new / UNIT


@dataclass(slots=True)
class _Account:
    """One key, and what it asks for next."""

    stage: Stage
    address: str
    cover: Iterator[Line]
    waiting: Exchange | None = None
    answers: int = 0


def harvest(
    split: Split,
    scene: Scene,
    seed: int,
    reference: Path | None,
    days: int = DAYS,
    per_day: int = PER_DAY,
    others: Sequence[Line] = (),
) -> Harvest:
    """Let a campaign go on for so many days, of so many queries an account at most, before a guard that has
    known these `others` since the day before.

    Raises `SourceError` and `ConfigError`.
    """
    return asyncio.run(_harvest(split, scene, seed, reference, days, per_day, others))


async def _harvest(
    split: Split,
    scene: Scene,
    seed: int,
    reference: Path | None,
    days: int,
    per_day: int,
    others: Sequence[Line],
) -> Harvest:
    if scene.source is not None:
        split = split.only(Part.DISTILL, scene.source)
    paid, gap_us = _unguarded(split, scene, seed), DAY_US // per_day
    unguarded = paid * per_day * scene.accounts * (100 - scene.cover) / 100
    found = Harvest(scene, [Day() for _ in range(days)], unguarded)
    gate, union, items = Gate(reference), Union(), _items(split, scene, seed)
    for place, line in enumerate(others):
        await gate.ask(line, START_US - DAY_US + place * DAY_US // len(others))
    rng = Random(f"{seed}/harvest/{scene}")
    accounts = [_account(split, scene, seed, number) for number in range(scene.accounts)]
    due = [(START_US + rng.randrange(gap_us), number) for number in range(scene.accounts)]
    heapq.heapify(due)
    while due:
        now_us, number = heapq.heappop(due)
        place, account = (now_us - START_US) // DAY_US, accounts[number]
        if place >= days:
            continue
        day, mine = found.days[place], account.waiting is not None or rng.random() * 100 >= scene.cover
        if mine and account.waiting is None:
            account.waiting = next(items, None)
            if account.waiting is None:
                del found.days[max(1, place) :]
                break
        exchange = account.waiting
        line = account.stage.line(0, exchange) if mine and exchange is not None else next(account.cover)
        result = await gate.ask(at_address(line, account.address), now_us)
        day.asked += 1
        if answered(result):
            account.answers += 1
            if mine and exchange is not None:
                day.units += union.add(exchange.answer)
                day.items += 1
                account.waiting = None
        if number == 0 and found.high is None and result.band in (Band.HIGH, Band.CRITICAL):
            found.high = account.answers
        heapq.heappush(due, (now_us + max(gap_us, result.retry_after_us or 0), number))
    return found


def _items(split: Split, scene: Scene, seed: int) -> Iterator[Exchange]:
    """What a campaign asks for, each item once, all accounts together."""
    stage = _stage(split, scene, seed, "items")
    return islice(ATTACKS[scene.attack].asking(stage), len(split.pool(Part.DISTILL).records))


def _account(split: Split, scene: Scene, seed: int, number: int) -> _Account:
    stage = _stage(split, scene, seed, number)
    if scene.one_network:
        address = f"93.184.7.{1 + number % 254}"
    else:
        address = f"93.{16 + number // 256}.{number % 256}.7"
    return _Account(stage, address, COVERS[scene.like](stage))


def _stage(split: Split, scene: Scene, seed: int, name: object) -> Stage:
    """All accounts have one plan, and chance of their own. Campaigns with the same attack ask for the same
    items in the same order, so that yields by accounts and by cover can be compared."""
    same = f"{seed}/{scene.attack}/{scene.source}"
    rng, plan = Random(f"{same}/{name}"), Random(f"{same}/plan")
    account = open_account(rng, Caller.PROGRAM, only_openai=True)
    return Stage(rng, plan, split, Frames(split.side), account, queries=MANY)


def _unguarded(split: Split, scene: Scene, seed: int) -> float:
    """Units that an item has on average, to who goes through all of them."""
    union = Union()
    units = [union.add(exchange.answer) for exchange in _items(split, scene, seed)]
    return sum(units) / len(units)


_FINE = (Payouts(b"one secret of the benchmark"), Payouts(b"another secret of the benchmark"))


@lru_cache(100_000)
def _pieces(answer: str) -> tuple[tuple[int, int, int], ...]:
    """What each piece of an answer draws, in thousandths, and the two cells that it falls into."""
    usage = Usage(1, tokens(answer))
    one, other = (payouts.of((answer,), 0, usage).pieces for payouts in _FINE)
    return tuple((a.draw, a.cell or 0, b.cell or 0) for a, b in zip(one, other, strict=True))
