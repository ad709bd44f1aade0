"""Benign people: conversations with a history, in sessions, about what interests them."""

from __future__ import annotations

import heapq
from itertools import cycle, islice
from typing import TYPE_CHECKING

from benchmarks.detection import answers, timing
from benchmarks.detection.sources import Part
from benchmarks.detection.traffic import Exchange

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.detection.sources import Pool
    from benchmarks.detection.stage import Stage, Style
    from benchmarks.detection.traffic import Line

_TRIES = 4
_TURNS_REMEMBERED = 24
"""A chat client sends at most so many turns of the history."""


def person(stage: Stage) -> Iterator[Line]:
    """A person with a few interests: some sessions a week, conversations of several turns."""
    return _chats(stage, interests=stage.rng.randint(2, 5), faithful=0.75, per_day=stage.rng.uniform(0.4, 4))


def power_user(stage: Stage) -> Iterator[Line]:
    """Hundreds of conversations on very many topics, all day."""
    return _chats(stage, interests=60, faithful=0.4, per_day=stage.rng.uniform(8, 25))


def provocative_person(stage: Stage) -> Iterator[Line]:
    """A person who tries what the model will put up with: rude, worrying, and no distiller."""
    return _chats(stage, interests=3, faithful=0.5, per_day=stage.rng.uniform(0.4, 3), part=Part.PROVOCATIVE)


def single_turn_person(stage: Stage) -> Iterator[Line]:
    """One question now and then, nothing to do with the last one, never a follow-up."""
    rng, pool = stage.rng, stage.pool(Part.PEOPLE)
    style = stage.style(0.5)
    for ts in timing.human(rng, rng.uniform(1, 8), stage.account.zone_hours):
        record = rng.choice(pool.records)
        yield from talk(stage, ts, [record.prompt], style, replies=[stage.answer(record)])


def interpreter(stage: Stage) -> Iterator[Line]:
    """A person who works between languages: asks in one about texts in another."""
    rng, pool = stage.rng, stage.pool(Part.PEOPLE)
    habits, style = rng.sample(stage.frames.all("interpret"), 3), stage.style(0.3)
    for ts in _sessions(stage, rng.uniform(1, 6), rng.randint(2, 6)):
        text = rng.choice(pool.records).prompt[:600]
        asked = rng.choice(habits).replace("{question}", text)
        yield from talk(stage, ts, [asked], style, replies=[stage.prose(len(text))])


def creative_writer(stage: Stage) -> Iterator[Line]:
    """Wants several versions of the same, warm and long, and comes back to it a few times."""
    rng, pool = stage.rng, stage.pool(Part.PEOPLE)
    habits = rng.sample(stage.frames.all("creative"), 3)
    n, temperature = rng.randint(2, 4), rng.choice((0.9, 1.0, 1.1, 1.2))
    piece, again = "", 0
    for ts in _sessions(stage, rng.uniform(0.5, 4), rng.randint(2, 8)):
        if again == 0:
            piece, again = rng.choice(pool.records).prompt[:300], rng.randint(2, 6)
        again -= 1
        text = rng.choice(habits).replace("{question}", piece)
        yield stage.line(
            ts,
            Exchange([("user", text)], stage.prose(1500), temperature=temperature, n=n, max_tokens=1200),
        )


def researcher(stage: Stage) -> Iterator[Line]:
    """Asks to have the reasoning explained, honestly, about a few topics, and asks back."""
    rng, pool = stage.rng, stage.pool(Part.PEOPLE)
    habits, style = rng.sample(stage.frames.all("explain"), 3), stage.style(0.4)
    opening = _interests(stage, pool, 3)

    def discuss(ts: float) -> Iterator[Line]:
        turns = [rng.choice(habits).replace("{question}", pool.records[opening()].prompt)]
        turns += [stage.phrase("followups") for _ in range(rng.randrange(4))]
        return talk(stage, ts, turns, style, typical=1600)

    return in_turn(timing.human(rng, rng.uniform(1, 6), stage.account.zone_hours), discuss)


def student(stage: Stage) -> Iterator[Line]:
    """Asks for help with the exercises of a course, one by one and then again, and asks back."""
    rng, groups = stage.rng, list(stage.pool(Part.EVALUATION).groups.values())
    course, style = (
        [record for group in rng.sample(groups, min(2, len(groups))) for record in group],
        stage.style(0.6),
    )
    exercises = cycle(rng.sample(course, len(course)))

    def study(ts: float) -> Iterator[Line]:
        for record in islice(exercises, rng.randint(2, 8)):
            turns = [record.prompt]
            while rng.random() < 0.5:
                turns.append(stage.phrase("followups"))
            for line in talk(stage, ts, turns, style, replies=[stage.answer(record)], typical=900):
                ts = line.ts
                yield line
            ts += 60 + rng.expovariate(1 / 300)

    return in_turn(timing.human(rng, rng.uniform(0.5, 3), stage.account.zone_hours), study)


def honest_router(stage: Stage) -> Iterator[Line]:
    """Many people's conversations under one key; nobody says whose is whose."""
    return _router(stage, named=False)


def router_with_users(stage: Stage) -> Iterator[Line]:
    """Many people's conversations under one key, each with the name of its end user."""
    return _router(stage, named=True)


def talk(
    stage: Stage,
    ts: float,
    turns: Sequence[str],
    style: Style,
    *,
    replies: Sequence[str] = (),
    end_user: str | None = None,
    typical: int = 700,
) -> Iterator[Line]:
    """One conversation from this time on. `replies` are the first answers, as far as they are known."""
    rng = stage.rng
    history: list[tuple[str, str]] = []
    for place, turn in enumerate(turns):
        history.append(("user", turn))
        answer = replies[place] if place < len(replies) else stage.prose(answers.chat_length(rng, typical))
        sent = history[-_TURNS_REMEMBERED + 1 :] if len(history) > _TURNS_REMEMBERED else list(history)
        yield stage.line(
            ts,
            Exchange(
                sent,
                answer,
                style.system,
                style.temperature,
                style.max_tokens,
                stream=True,
                end_user=end_user,
            ),
        )
        history.append(("assistant", answer))
        ts += timing.pause(rng, len(answer), len(turns[place + 1]) if place + 1 < len(turns) else 0)


def in_turn(starts: Iterator[float], hold: Callable[[float], Iterator[Line]]) -> Iterator[Line]:
    """Conversations that begin at these times, or when the one before is over."""
    free_at = timing.START
    for start in starts:
        for line in hold(max(start, free_at)):
            free_at = line.ts
            yield line


def conversation(stage: Stage, pool: Pool, place: int) -> tuple[Sequence[str], Sequence[str]]:
    """The turns of a conversation that opens with this record, and its own replies.

    A record with several turns is taken as it is. To one of a single turn come follow-ups: most of them of
    the frames, some the prompts of related records.
    """
    rng, record = stage.rng, pool.records[place]
    if len(record.turns) > 1:
        return record.turns, [stage.answer(record, turn) for turn in range(len(record.turns))]
    turns = [record.prompt]
    while len(turns) < 12 and rng.random() < 0.65:
        related = rng.random() < 0.35
        turns.append(
            pool.records[pool.topics.related(place, rng)].prompt if related else stage.phrase("followups")
        )
    return turns, [stage.answer(record)]


def _chats(
    stage: Stage,
    *,
    interests: int,
    faithful: float,
    per_day: float,
    part: Part = Part.PEOPLE,
    end_user: str | None = None,
) -> Iterator[Line]:
    """A person's conversations: this share of them about one of so many interests."""
    rng, pool = stage.rng, stage.pool(part)
    style = stage.style(0.6)
    opening = _interests(stage, pool, interests)

    def session(ts: float) -> Iterator[Line]:
        for _ in range(rng.randint(1, 3)):
            place = opening() if rng.random() < faithful else rng.randrange(len(pool.records))
            turns, replies = conversation(stage, pool, place)
            for line in talk(stage, ts, turns, style, replies=replies, end_user=end_user):
                ts = line.ts
                yield line
            ts += 30 + rng.expovariate(1 / 240)

    return in_turn(timing.human(rng, per_day, stage.account.zone_hours), session)


def _interests(stage: Stage, pool: Pool, number: int) -> Callable[[], int]:
    """Chooses records about one of so many interests.

    They are related to the one that the interest began with, none of them twice, until no new one is found:
    then the interest goes on from the last one.
    """
    rng, seen = stage.rng, set[int]()
    places = rng.choices(pool.topics.connected, k=number)

    def choose() -> int:
        interest = rng.randrange(number)
        for _ in range(_TRIES):
            place = pool.topics.related(places[interest], rng)
            if place not in seen:
                seen.add(place)
                return place
        places[interest] = place = pool.topics.related(place, rng)
        return place

    return choose


def _sessions(stage: Stage, per_day: float, size: int) -> Iterator[float]:
    """Times of single questions that come in sessions."""
    starts = timing.human(stage.rng, per_day, stage.account.zone_hours)
    return timing.bursts(stage.rng, starts, size, 90)


def _router(stage: Stage, *, named: bool) -> Iterator[Line]:
    rng = stage.rng
    people = min(400, max(5, stage.queries // rng.randint(4, 12)))
    return heapq.merge(
        *(
            _chats(
                stage,
                interests=rng.randint(2, 5),
                faithful=0.75,
                per_day=rng.uniform(0.5, 3),
                end_user=f"u{rng.getrandbits(32):08x}" if named else None,
            )
            for _ in range(people)
        ),
        key=lambda line: line.ts,
    )
