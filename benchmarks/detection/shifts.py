"""Groups that are told by their times: distillers whose accounts take over from each other, and honest people
and programs that come, go and run out of their limits together.

Honest ones ask what is hardest to tell from a data set: single questions about anything, no two of them the
same, under the one prompt of an app. So only their times and their limits speak for them.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from random import Random
from typing import TYPE_CHECKING

from benchmarks.detection import attacks, timing
from benchmarks.detection.accounts import Caller, Ties
from benchmarks.detection.fleet import Fleet
from benchmarks.detection.sources import Part
from benchmarks.detection.traffic import Exchange, Line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.detection.accounts import Account
    from benchmarks.detection.attacks import Asking
    from benchmarks.detection.stage import Stage

    Together = Callable[[Stage, Sequence[Account]], Sequence[Sequence[Line]]]
    Coming = Callable[[Random, int, int], Iterator[tuple[float, int]]]
    """When which of so many accounts asks, where each has so many queries."""

REFUSED = 429
"""The status of a request that guard has refused."""

HOURLY = 6
"""So many questions of a user are answered in an hour."""

_PAUSE = 90.0
_ACCOUNTS_A_LANE = 25


def dispatching(asking: Asking, *, banned: bool = False, refused: bool = True) -> Together:
    """A dispatcher that sends the items of a set through one account after another, on one lane for each
    25 of them: an account asks until it is refused, for an hour or, where it is `banned`, for good. Without
    `refused` it is changed before that.
    """

    def share_out(stage: Stage, accounts: Sequence[Account]) -> Sequence[Sequence[Line]]:
        rng, each = stage.rng, stage.queries // len(accounts)
        lanes = max(1, len(accounts) // _ACCOUNTS_A_LANE)
        items = islice(asking(stage), len(stage.pool(Part.DISTILL).records))
        own = [replace(stage, account=account, rng=Random(rng.random())) for account in accounts]
        shares: list[list[Line]] = [[] for _ in accounts]
        answered, rested = [0] * len(accounts), [0.0] * len(accounts)
        free = [timing.START + rng.random() * 600 for _ in range(lanes)]
        item = next(items)
        while True:
            lane = min(range(lanes), key=free.__getitem__)
            waiting = [place for place in range(len(accounts)) if answered[place] < each]
            if not waiting:
                return shares
            place = min(waiting, key=rested.__getitem__)
            ts = max(free[lane], rested[place])
            at_once = each if banned else rng.randint(5, 12)
            for _ in range(min(at_once, each - answered[place])):
                shares[place].append(own[place].line(ts, item))
                answered[place] += 1
                ts += 5 + rng.expovariate(1 / _PAUSE)
                following = next(items, None)
                if following is None:
                    return shares
                item = following
            if refused:
                shares[place].append(_refused(own[place].line(ts, item)))
            rested[place] = ts + timing.HOUR
            free[lane] = ts + rng.uniform(1, 120)

    return share_out


def questions(coming: Coming, *, hourly: int = HOURLY) -> Together:
    """The users of a chat app that keeps no conversations, each of whom has so many answers an hour."""

    def share_out(stage: Stage, accounts: Sequence[Account]) -> Sequence[Sequence[Line]]:
        rng, each = stage.rng, stage.queries // len(accounts)
        records = list(stage.pool(Part.PEOPLE).records)
        rng.shuffle(records)
        own = [replace(stage, account=account, rng=Random(rng.random())) for account in accounts]
        system, asked = stage.prompt("assistant"), iter(records)
        record = next(asked)
        shares: list[list[Line]] = [[] for _ in accounts]
        recent: list[list[float]] = [[] for _ in accounts]
        left = [each] * len(accounts)
        for ts, place in coming(rng, len(accounts), each):
            if not left[place]:
                continue
            recent[place] = [at for at in recent[place] if at > ts - timing.HOUR]
            answer = own[place].answer(record)
            line = own[place].line(ts, Exchange([("user", record.prompt)], answer, system, stream=True))
            if len(recent[place]) >= hourly:
                shares[place].append(_refused(line))
                continue
            shares[place].append(line)
            recent[place].append(ts)
            left[place] -= 1
            following = next(asked, None)
            if following is None or not any(left):
                break
            record = following
        return shares

    return share_out


def in_one_zone(rng: Random, accounts: int, each: int) -> Iterator[tuple[float, int]]:
    """People of one country, each at hours of their own."""
    zone = rng.randrange(-8, 10)
    return _merged(
        timing.bursts(rng, timing.human(rng, rng.uniform(1, 4), zone), rng.randint(3, 10), 60)
        for _ in range(accounts)
    )


def at_an_office(rng: Random, accounts: int, each: int) -> Iterator[tuple[float, int]]:
    """All begin at nine and at one, give or take some minutes."""
    return _merged(
        _days(rng, lambda: [hour * timing.HOUR + rng.gauss(0, 240) for hour in (9, 13)])
        for _ in range(accounts)
    )


def in_a_class(rng: Random, accounts: int, each: int) -> Iterator[tuple[float, int]]:
    """A lesson a day, at one of four hours, for which all come within some minutes."""
    hours = [rng.choice((8, 10, 13, 15)) for _ in range(60)]

    def lessons() -> Iterator[float]:
        for day, hour in enumerate(hours):
            if rng.random() < 0.9:
                start = timing.START + day * timing.DAY + hour * timing.HOUR + rng.expovariate(1 / 300)
                yield from timing.bursts(rng, iter([start]), rng.randint(3, 14), 120)

    return _merged(lessons() for _ in range(accounts))


def after_outages(rng: Random, accounts: int, each: int) -> Iterator[tuple[float, int]]:
    """The app is down for most of an hour, several times a day, and all who waited come back at once."""
    over = sorted(timing.START + rng.random() * 20 * timing.DAY for _ in range(80))

    def comes() -> Iterator[float]:
        for end in over:
            if rng.random() < 0.4:
                yield from timing.bursts(rng, iter([end + rng.expovariate(1 / 180)]), rng.randint(3, 12), 60)

    return _merged(comes() for _ in range(accounts))


def in_shifts(rng: Random, accounts: int, each: int) -> Iterator[tuple[float, int]]:
    """Workers of one company, some on each of three shifts, which change with the clock."""
    team = max(1, accounts // 9)

    def works(place: int) -> Iterator[float]:
        for number in range(90):
            if (number + place // team) % 9:
                continue
            ts = timing.START + (number * 8 + 6) * timing.HOUR + rng.gauss(0, 120)
            end = timing.START + (number * 8 + 14) * timing.HOUR + rng.gauss(0, 120)
            while ts < end:
                yield ts
                ts += 30 + rng.expovariate(1 / 400)

    return _merged(works(place) for place in range(accounts))


def at_one_desk(rng: Random, accounts: int, each: int) -> Iterator[tuple[float, int]]:
    """One computer, or one queue of tickets, that one person has at a time: at no hour in particular."""
    ts, place = timing.START, 0
    while True:
        place = (place + rng.randint(1, accounts - 1)) % accounts
        end = ts + rng.uniform(0.2, 2) * timing.HOUR
        while ts < end:
            yield ts, place
            ts += 20 + rng.expovariate(1 / 300)
        ts += rng.uniform(20, 200)


def in_ci(rng: Random, accounts: int, each: int) -> Iterator[tuple[float, int]]:
    """Jobs that run at full hours, or some minutes later, and try again when they are refused."""

    def runs(offset: float) -> Iterator[float]:
        for hour in range(24 * 30):
            if rng.random() < 0.5:
                start = timing.START + hour * timing.HOUR + offset + rng.random() * 60
                yield from timing.bursts(rng, iter([start]), rng.randint(3, 12), 15)

    return _merged(runs(rng.choice((0, 0, 0, 300, 900, 1800))) for _ in range(accounts))


def _days(rng: Random, hours: Callable[[], Sequence[float]]) -> Iterator[float]:
    for day in range(60):
        for hour in hours():
            if rng.random() < 0.8:
                start = timing.START + day * timing.DAY + hour
                yield from timing.bursts(rng, iter([start]), rng.randint(2, 12), 90)


def _merged(streams: Iterator[Iterator[float]]) -> Iterator[tuple[float, int]]:
    """The times of all accounts in order, at most the first thousand of each."""
    told = [(ts, place) for place, stream in enumerate(streams) for ts in islice(stream, 1_000)]
    return iter(sorted(told))


def _refused(line: Line) -> Line:
    return replace(line, response={"status": REFUSED})


DISPATCHED: tuple[Fleet, ...] = tuple(
    Fleet(
        f"hydra-{name}", "attack", Caller.PROGRAM, Ties(), together=act, only_openai=True, part=Part.DISTILL
    )
    for name, act in (
        ("failing-over", dispatching(attacks.templated)),
        ("banned", dispatching(attacks.templated, banned=True)),
        ("taking-turns", dispatching(attacks.templated, refused=False)),
    )
)
"""One distiller each, which sends a set through one account after another, under one wording."""

IN_TIME: tuple[Fleet, ...] = tuple(
    Fleet(
        f"users-{name}",
        "benign",
        Caller.PERSON,
        Ties(client=True),
        together=questions(coming),
        only_openai=True,
    )
    for name, coming in (
        ("of-one-zone", in_one_zone),
        ("of-an-office", at_an_office),
        ("of-a-class", in_a_class),
        ("after-outages", after_outages),
        ("in-shifts", in_shifts),
        ("at-one-desk", at_one_desk),
        ("of-ci", in_ci),
    )
)
"""The users of one app, who come and go together and run out of their limits."""
