"""Hand-over and turn-taking: told of accounts that one dispatcher uses, and of no honest callers, whatever
brings these in and whatever refuses them.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest

from guard.campaigns.following import MOST, Follow, after_entering, after_leaving, after_refusals
from guard.campaigns.rhythm import Rhythm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

HOUR, DAY = 3600.0, 86_400.0
"""Times are in seconds here."""


def group(streams: Iterable[Sequence[float]], hourly: int = 1_000) -> dict[str, list[Rhythm]]:
    """The rhythms of callers who ask at these times, of which so many an hour are answered."""
    found = {}
    for number, times in enumerate(streams):
        rhythm = Rhythm()
        answered: list[float] = []
        for at in sorted(times):
            answered = [each for each in answered if each > at - HOUR]
            if len(answered) < hourly:
                answered.append(at)
                rhythm.ask(int(at * 1e6))
            else:
                rhythm.refuse(int(at * 1e6))
        found[f"key:{number}"] = [rhythm]
    return found


def dispatched(
    accounts: int, turns: int, each: int, *, after: float = 30.0, refused: bool = True
) -> list[list[float]]:
    """One dispatcher: an account asks until it has had so many answers, and then another one does."""
    rng, at = Random(accounts), 0.0
    streams: list[list[float]] = [[] for _ in range(accounts)]
    for turn in range(turns):
        for _ in range(each + refused):
            streams[turn % accounts].append(at)
            at += rng.uniform(60, 120)
        at += after * rng.uniform(0.5, 1.5)
    return streams


def people(
    rng: Random, callers: int, days: int, starts: Callable[[int], Iterable[float]]
) -> list[list[float]]:
    """Callers whose sessions begin at these times of each day, each of up to 14 queries."""
    return [
        [
            day * DAY + start + sum(pauses[:place])
            for day in range(days)
            for start in starts(caller)
            for pauses in ([rng.expovariate(1 / 60) for _ in range(rng.randint(2, 14))],)
            for place in range(len(pauses))
        ]
        for caller in range(callers)
    ]


@pytest.mark.parametrize("accounts", [6, 10, 100])
def test_who_goes_on_with_another_account_when_one_is_refused_hands_over(accounts: int) -> None:
    found = after_refusals(group(dispatched(accounts, 120, 10), hourly=10))
    assert found.followed > 0.9 * found.events > 1.2 * found.expected
    assert len(found.parties) == accounts
    assert found.decibans == MOST


def test_an_account_that_is_banned_for_good_hands_over_once() -> None:
    found = after_refusals(group(dispatched(30, 30, 30), hourly=30))
    assert (found.events, found.followed, len(found.parties)) == (30, 29, 30)
    assert found.decibans == MOST


def test_a_few_refusals_say_nothing_yet() -> None:
    assert after_refusals(group(dispatched(8, 8, 30), hourly=30)).decibans == 0


def test_two_accounts_of_one_person_are_no_group() -> None:
    assert after_refusals(group(dispatched(2, 120, 30), hourly=30)).decibans == 0


def test_nobody_takes_over_who_comes_an_hour_later() -> None:
    streams = dispatched(10, 120, 10, after=HOUR)
    assert after_refusals(group(streams, hourly=10)).decibans == 0


def offices(rng: Random) -> list[list[float]]:
    return people(rng, 30, 15, lambda _: [at * HOUR + rng.gauss(0, 240) for at in (9, 13)])


def evenings(rng: Random) -> list[list[float]]:
    return people(rng, 40, 15, lambda _: [rng.gauss(20, 2) * HOUR for _ in range(rng.randint(0, 4))])


def jobs(rng: Random) -> list[list[float]]:
    return people(rng, 12, 10, lambda caller: [hour * HOUR + caller % 3 * 120 for hour in range(24)])


def outages(rng: Random) -> list[list[float]]:
    """An app is down for a while, ten times a day, and all of its users come back at once."""
    down = [rng.random() * DAY for _ in range(10)]
    return people(rng, 60, 10, lambda _: [at + rng.expovariate(1 / 180) for at in down if rng.random() < 0.3])


def classes(rng: Random) -> list[list[float]]:
    begins = [rng.choice((9, 11, 14, 16)) * HOUR for _ in range(4)]
    return people(rng, 30, 20, lambda _: [rng.choice(begins) + rng.expovariate(1 / 600)])


def shifts(rng: Random) -> list[list[float]]:
    """Workers whose shifts end as others' begin, with the clock."""
    streams: list[list[float]] = [[] for _ in range(9)]
    for number in range(60):
        at = number * 8 * HOUR + rng.gauss(0, 120)
        while at < (number + 1) * 8 * HOUR:
            streams[number % 9].append(at)
            at += rng.expovariate(1 / 400)
    return streams


HONEST = [offices, evenings, jobs, outages, classes, shifts]


@pytest.mark.parametrize("come", HONEST)
@pytest.mark.parametrize("seed", range(4))
def test_honest_callers_that_run_out_of_their_limits_hand_nothing_over(
    come: Callable[[Random], list[list[float]]], seed: int
) -> None:
    found = after_refusals(group(come(Random(seed)), hourly=6))
    assert found.events >= 20
    assert found.decibans == 0


def tickets(rng: Random) -> list[list[float]]:
    """One of nine answers tickets at a time, until another one takes over: at no hour in particular."""
    streams: list[list[float]] = [[] for _ in range(9)]
    at, who = 0.0, 0
    for _ in range(100):
        who, over = (who + rng.randint(1, 8)) % 9, at + rng.uniform(0.5, 4) * HOUR
        while at < over:
            streams[who].append(at)
            at += rng.expovariate(1 / 200)
    return streams


def test_taking_turns_is_told_of_whoever_does() -> None:
    found = after_leaving(group(dispatched(10, 120, 10, refused=False)))
    assert found.decibans == MOST
    assert len(found.parties) == 10
    # It is no hand-over, and honest people do it too.
    assert after_refusals(group(dispatched(10, 120, 10, refused=False))).decibans == 0
    assert after_leaving(group(tickets(Random(1)))).decibans == MOST
    assert after_refusals(group(tickets(Random(1)), hourly=12)).decibans == 0


@pytest.mark.parametrize("come", [offices, evenings, outages, classes, shifts])
def test_who_comes_and_goes_with_the_clock_or_beside_others_takes_no_turns(
    come: Callable[[Random], list[list[float]]],
) -> None:
    assert after_leaving(group(come(Random(7)))).decibans == 0


@pytest.mark.parametrize("come", [outages, classes])
def test_it_is_told_who_comes_together(come: Callable[[Random], list[list[float]]]) -> None:
    found = after_entering(group(come(Random(7))))
    assert found.decibans > 0
    assert found.followed > found.expected


def test_who_comes_in_the_evening_as_others_do_does_not_come_together() -> None:
    assert after_entering(group(evenings(Random(7)))).decibans == 0


def test_nothing_is_told_of_nothing() -> None:
    for tell in (after_refusals, after_leaving, after_entering):
        assert tell({}) == tell({"key:a": [Rhythm()]}) == Follow()
