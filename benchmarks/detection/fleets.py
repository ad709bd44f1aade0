"""What the accounts of a campaign do: fleets of a distiller, and honest groups that look like one.

A *hydra* is one distiller with many accounts that share a set out: an item goes to whichever account asks
next. Whoever sees one account sees a few questions a day. What ties the accounts is what `Ties` say, one
wording, or nothing. A *relay* passes on the conversations of its own users. Honest groups have as much in
common, for reasons of their own.
"""

from __future__ import annotations

import heapq
import zlib
from dataclasses import replace
from itertools import islice
from random import Random
from typing import TYPE_CHECKING

from benchmarks.detection import attacks, people, programs, timing
from benchmarks.detection.accounts import Caller, Ties
from benchmarks.detection.fleet import Fleet
from benchmarks.detection.shifts import DISPATCHED, IN_TIME
from benchmarks.detection.sources import Part, Pool
from benchmarks.detection.stage import Style
from benchmarks.detection.traffic import Exchange
from benchmarks.detection.twins import INSTRUCTIONS, RECORDED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from benchmarks.detection.accounts import Account
    from benchmarks.detection.attacks import Asking
    from benchmarks.detection.stage import Stage
    from benchmarks.detection.traffic import Kind, Line

    Acting = Callable[[Stage], Iterator[Line]]

COVERS = (30, 60, 90)
"""How many in a hundred of a covered hydra's queries are its cover's."""

_DAYS_BETWEEN_POOLS = 7
_MIGRATING = 0.15
"""The share of a relay's requests that go to another account than their conversation's last one."""

_LIFE = 3 * timing.DAY
_AT_ONCE = 1 / 5
"""An account of a rotating hydra is banned after so long, and this share of all accounts live at a time."""

_TWICE = 0.1
"""The share of items that a hydra which overlaps sends through a second account."""

_ELSEWHERE = 0.5
"""The share of its requests that a caller of several gateways sends to another one."""

_SAMPLED = 60


def _each(act: Acting) -> Callable[[Stage, int], Iterator[Line]]:
    """What every account does by itself."""
    return lambda stage, place: act(stage)


def _sharing_out(
    asking: Asking,
    *,
    cover: int = 0,
    like: Acting = people.person,
    rotating: bool = False,
    overlapping: bool = False,
) -> Callable[[Stage, Sequence[Account]], Sequence[Sequence[Line]]]:
    """The accounts of a hydra: each asks a few times a day, for the next item that no other has asked for.

    Of a hundred queries of an account, `cover` are its cover's: those of a program are one program's, those
    of persons each person's own.
    """

    def share_out(stage: Stage, accounts: Sequence[Account]) -> Sequence[Sequence[Line]]:
        rng, each = stage.rng, stage.queries // len(accounts)
        number = len(stage.pool(Part.DISTILL).records)
        items, sent = _once(islice(asking(stage), number)), list[tuple[int, Exchange]]()
        own = [replace(stage, account=account, rng=Random(rng.random())) for account in accounts]
        app = rng.random()
        covers = [
            like(replace(one, plan=Random(app if like in _PROGRAMS else one.rng.random()))) for one in own
        ]
        shares: list[list[Line]] = [[] for _ in accounts]
        for ts, place in _alive(own, rotating=rotating):
            if len(shares[place]) >= each:
                if all(len(share) >= each for share in shares):
                    break
                continue
            if rng.random() * 100 < cover:
                shares[place].append(replace(next(covers[place]), ts=round(ts, 3)))
                continue
            others = [item for who, item in sent[-100:] if who != place] if overlapping else []
            again = others and rng.random() < _TWICE
            item = rng.choice(others) if again else next(items, None)
            if item is None:
                break
            sent.append((place, item))
            shares[place].append(own[place].line(ts, item))
        return shares

    return share_out


def _once(exchanges: Iterable[Exchange]) -> Iterator[Exchange]:
    """These without those that were there before."""
    seen = set[str]()
    for exchange in exchanges:
        text = exchange.turns[-1][1]
        if text not in seen:
            seen.add(text)
            yield exchange


def _alive(stages: Sequence[Stage], *, rotating: bool) -> Iterator[tuple[float, int]]:
    """When which account asks; if they are rotating, one goes on where another was banned."""
    generation = max(1, round(len(stages) * _AT_ONCE)) if rotating else len(stages)

    def times(stage: Stage, place: int) -> Iterator[tuple[float, int]]:
        born = place // generation * _LIFE
        for ts in attacks.slow(stage):
            if rotating and ts - timing.START >= _LIFE:
                return
            yield ts + born, place

    return heapq.merge(*(times(stage, place) for place, stage in enumerate(stages)))


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


def _relaying(
    act: Acting, kind: Kind, *, ids: bool = False, elsewhere: float = 0.0
) -> Callable[[Stage, Sequence[Account]], Sequence[Sequence[Line]]]:
    """The requests of many people, dealt to accounts: a conversation stays with one most of the time, and
    this share of requests goes elsewhere. With `ids`, answers have some, which come back.
    """

    def deal(stage: Stage, accounts: Sequence[Account]) -> Sequence[Sequence[Line]]:
        shares: list[list[Line]] = [[] for _ in accounts]
        rng = stage.rng
        for line in act(stage):
            opening = next(turn["content"] for turn in line.body["messages"] if turn["role"] == "user")
            home = zlib.crc32(opening.encode("utf-8", "surrogatepass")) % len(accounts)
            place = rng.randrange(len(accounts)) if rng.random() < _MIGRATING else home
            if rng.random() < elsewhere:
                continue
            account = accounts[place]
            shares[place].append(
                replace(
                    with_ids(line) if ids else line,
                    headers=account.headers,
                    client=account.client,
                    attributes=account.attributes,
                    label=kind,
                )
            )
            if sum(map(len, shares)) >= stage.queries:
                break
        return shares

    return deal


def with_ids(line: Line) -> Line:
    """The same with a call of a tool in each answer, and the answer's id where it comes back."""
    messages = [
        {**turn, "tool_calls": [_call(turn["content"])]} if turn["role"] == "assistant" else turn
        for turn in line.body["messages"]
    ]
    calls = [_call(line.response["text"])]
    return replace(
        line, body={**line.body, "messages": messages}, response={**line.response, "tool_calls": calls}
    )


def _call(answer: str) -> dict[str, object]:
    number = Random(answer).getrandbits(96)
    return {
        "id": f"call_{number:024x}",
        "type": "function",
        "function": {"name": "note", "arguments": "{}"},
    }


def _neighbour(stage: Stage, place: int) -> Iterator[Line]:
    """One of all sorts of people."""
    return _ALL_SORTS[place % len(_ALL_SORTS)](stage)


def _user(stage: Stage, place: int) -> Iterator[Line]:
    """A user of a chat app, which has a system prompt."""
    system, style = stage.prompt("assistant"), stage.style(0)

    def chat() -> Iterator[Line]:
        for line in people.person(stage):
            turns = [(turn["role"], turn["content"]) for turn in line.body["messages"]]
            said = [turn for turn in turns if turn[0] != "system"]
            yield stage.line(
                line.ts, Exchange(said, line.response["text"], system, style.temperature, stream=True)
            )

    return chat()


def _classmate(stage: Stage, place: int) -> Iterator[Line]:
    """A student of a course, which is the same for all."""
    groups = list(stage.pool(Part.EVALUATION).groups.values())
    course = Pool([record for group in stage.plan.sample(groups, min(2, len(groups))) for record in group])
    return people.student(
        replace(stage, split=replace(stage.split, pools={**stage.split.pools, Part.EVALUATION: course}))
    )


def _lab(stage: Stage, place: int) -> Iterator[Line]:
    """Runs a public benchmark with the harness that all use, and all of it."""
    return programs.evaluation(replace(stage, rng=Random(stage.plan.random())))


def _sampling_lab(stage: Stage, place: int) -> Iterator[Line]:
    """Runs a part of a public data set, drawn by lot, with the harness that all use."""
    rng, frame = stage.rng, stage.frame("evaluate")
    records = stage.pool(Part.DISTILL).records
    shots = "\n\n".join(record.prompt[:400] for record in records[:3])
    style = Style(temperature=0.0)
    chosen = rng.sample(records, min(len(records), _SAMPLED))
    for ts, record in zip(timing.runs(rng, len(chosen), 2, hour=rng.randrange(24)), chosen, strict=False):
        text = frame.replace("{shots}", shots).replace("{question}", record.prompt)
        yield stage.line(ts, Exchange([("user", text)], stage.answer(record), temperature=style.temperature))


_PROGRAMS = (programs.narrow_app,)
_ALL_SORTS: tuple[Acting, ...] = (
    people.person,
    people.single_turn_person,
    people.student,
    people.researcher,
    people.creative_writer,
    people.interpreter,
)
_APPS: Mapping[str, Acting] = {
    "support": programs.narrow_app,
    "dialogue": programs.narrow_app_with_history,
    "letters": programs.mail_app,
    "retrieval": programs.retrieval_app,
    "agent": programs.coding_agent,
    "writer": programs.generator,
    "summaries": programs.batch_summariser,
    "translator": programs.batch_translator,
    "titles": programs.titler,
    "forms": programs.form_filler,
    "labels": programs.classifier,
    "filter": programs.content_filter,
}
"""Popular apps, each with a system prompt or a wording that all of its users have."""


def _honest(name: str, caller: Caller, ties: Ties, act: Callable[[Stage, int], Iterator[Line]]) -> Fleet:
    return Fleet(name, "benign", caller, ties, act, only_openai=True)


def _hydra(name: str, ties: Ties, asking: Asking, **how: object) -> Fleet:
    sharing = _sharing_out(asking, **how)  # type: ignore[arg-type]
    return Fleet(
        f"hydra-{name}", "attack", Caller.PROGRAM, ties, together=sharing, only_openai=True, part=Part.DISTILL
    )


LOOK_ALIKES: tuple[Fleet, ...] = (
    Fleet(
        "team",
        "benign",
        Caller.PERSON,
        Ties(org=True, payment=0, network=0, client=True),
        _each(people.person),
        vouched=True,
    ),
    Fleet(
        "company",
        "benign",
        Caller.PROGRAM,
        Ties(org=True, payment=0, network=0, client=True),
        _each(programs.mail_app),
        vouched=True,
    ),
    Fleet(
        "nightly-jobs",
        "benign",
        Caller.PROGRAM,
        Ties(org=True, payment=0, network=0),
        _each(programs.batch_summariser),
        vouched=True,
    ),
    _honest("campus", Caller.PERSON, Ties(network=0), _neighbour),
    _honest("class", Caller.PERSON, Ties(network=0), _classmate),
    Fleet("framework", "benign", Caller.PROGRAM, Ties(client=True), _each(programs.retrieval_app)),
    *(_honest(f"app-{name}", Caller.PERSON, Ties(), _each(act)) for name, act in _APPS.items()),
    _honest("app-chat", Caller.PERSON, Ties(), _user),
    *(
        replace(
            _honest(f"app-{name}", Caller.PERSON, Ties(), _each(programs.recorded(part, INSTRUCTIONS[part]))),
            part=part,
        )
        for name, part in RECORDED.items()
    ),
    _honest("auditors", Caller.PROGRAM, Ties(payment=0, client=True), _each(programs.code_audit)),
    _honest("labs", Caller.PROGRAM, Ties(), _lab),
    replace(_honest("sampling-labs", Caller.PROGRAM, Ties(), _sampling_lab), part=Part.DISTILL),
    Fleet(
        "several-gateways",
        "benign",
        Caller.PROGRAM,
        Ties(payment=0, client=True),
        together=_relaying(programs.narrow_app_with_history, "benign", ids=True, elsewhere=_ELSEWHERE),
        only_openai=True,
    ),
)
"""Honest groups."""

HYDRAS: tuple[Fleet, ...] = (
    _hydra("wrapped", Ties(), attacks.templated),
    _hydra("payment", Ties(payment=8), attacks.plain),
    _hydra("network", Ties(network=0), attacks.paraphrased),
    _hydra("bare", Ties(), attacks.plain),
    *(
        _hydra(f"wrapped-{name}-{cover}", Ties(), attacks.templated, cover=cover, like=like)
        for name, like in (("app", programs.narrow_app), ("person", people.person))
        for cover in COVERS
    ),
    _hydra("rotating", Ties(), attacks.templated, rotating=True),
    _hydra("overlapping", Ties(), attacks.templated, overlapping=True),
)
"""One distiller each, which shares a set out."""

RELAYS: tuple[Fleet, ...] = tuple(
    Fleet(
        name,
        "attack",
        Caller.PROGRAM,
        Ties(payment=16, client=True),
        together=_relaying(people.honest_router, "attack", ids=ids),
        only_openai=True,
    )
    for name, ids in (("fleet-relay", False), ("fleet-relay-ids", True))
)

FLEETS: tuple[Fleet, ...] = (
    *LOOK_ALIKES,
    Fleet("fleet-templated", "attack", Caller.PROGRAM, Ties(payment=8, client=True), _slow_templated),
    Fleet("fleet-plain", "attack", Caller.PROGRAM, Ties(client=True), _slow_plain),
    Fleet("fleet-in-step", "attack", Caller.PROGRAM, Ties(network=16), _in_step),
    Fleet("fleet-failover", "attack", Caller.PROGRAM, Ties(payment=4, network=8, client=True), _failing_over),
    *RELAYS,
    *HYDRAS,
    *DISPATCHED,
    *IN_TIME,
)
"""All kinds of campaign, the benign first."""
