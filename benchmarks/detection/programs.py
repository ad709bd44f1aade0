"""Benign programs: one template, or a few, over varying content, by the clock or by demand."""

from __future__ import annotations

import json
import zlib
from dataclasses import replace
from itertools import cycle
from typing import TYPE_CHECKING

from benchmarks.detection import answers, timing
from benchmarks.detection.people import in_turn, talk
from benchmarks.detection.sources import Part
from benchmarks.detection.stage import Style
from benchmarks.detection.traffic import Exchange

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from random import Random

    from benchmarks.detection.sources import Pool, Record
    from benchmarks.detection.stage import Stage
    from benchmarks.detection.traffic import Json, Line

_LABELS = 8
_DOCUMENT_CHARACTERS = 6_000
_PASSAGES = 3
_ANSWER_CHARACTERS = 300
_LONGEST_TASK = 16
_LABELLED = frozenset({"banking77", "clinc150", "moderation", "nlu-home"})
_SUBJECTS = 60
"""What an app is asked about, where nobody has sorted its messages."""
_WORDINGS = 3
_CUSTOMERS = (
    "Ann",
    "Bilal",
    "Chen",
    "Dora",
    "Emeka",
    "Freya",
    "Goran",
    "Hana",
    "Ivan",
    "Jun",
    "Kofi",
    "Lena",
)
_URGENCIES = ("low", "normal", "high", "unknown")
_TOOLS: tuple[Json, ...] = (
    {
        "type": "function",
        "function": {
            "name": "run",
            "description": "Run a command in the repository and return what it prints.",
            "parameters": {"type": "object", "properties": {"command": {"type": "string"}}},
        },
    },
)


def narrow_app(stage: Stage) -> Iterator[Line]:
    """An app with a system prompt of its own; each message by itself."""
    rng, pool, system = stage.rng, stage.pool(Part.NARROW), stage.prompt("app")
    temperature, cap = stage.plan.choice((None, 0.2, 0.3, 0.7)), stage.plan.choice((None, 200, 300, 512))
    reply = _replying(stage)
    for ts in timing.human(rng, rng.uniform(40, 1500), stage.account.zone_hours):
        record = rng.choice(pool.records)
        answer = reply(record)
        yield stage.line(
            ts,
            Exchange(
                [("user", record.prompt)], answer, system=system, temperature=temperature, max_tokens=cap
            ),
        )


def narrow_app_with_history(stage: Stage) -> Iterator[Line]:
    """The same app, which sends the dialogue so far with each message."""
    rng, pool, style = stage.rng, stage.pool(Part.NARROW), Style(stage.prompt("app"))
    reply = _replying(stage)

    def dialogue(ts: float) -> Iterator[Line]:
        record = rng.choice(pool.records)
        turns = list(record.turns)
        if len(turns) == 1 and rng.random() < 0.7:
            same = pool.groups[record.topic]
            turns += [
                rng.choice(same).prompt if len(same) > 1 else stage.phrase("followups")
                for _ in range(rng.randint(1, 2))
            ]
        replies = [reply(record, turn) for turn in range(len(turns))]
        return talk(stage, ts, turns, style, replies=replies)

    return in_turn(timing.human(rng, rng.uniform(20, 500), stage.account.zone_hours), dialogue)


def narrow_app_inlined(stage: Stage) -> Iterator[Line]:
    """The same app without a system prompt: its instructions stand before the customer's text."""
    rng, pool, system = stage.rng, stage.pool(Part.NARROW), stage.prompt("app")
    reply = _replying(stage)
    mark = rng.choice(("Customer: ", "Message: ", "<message>", "---\n", "They write: "))
    for ts in timing.human(rng, rng.uniform(40, 1500), stage.account.zone_hours):
        record = rng.choice(pool.records)
        answer = reply(record)
        yield stage.line(
            ts, Exchange([("user", f"{system}\n\n{mark}{record.prompt}")], answer, temperature=0.3)
        )


def dated_app(stage: Stage) -> Iterator[Line]:
    """The same app, whose prompt begins with the date and the customer, so that no two prompts are alike."""
    rng, pool, system = stage.rng, stage.pool(Part.NARROW), stage.prompt("app")
    reply = _replying(stage)
    for ts in timing.human(rng, rng.uniform(40, 1500), stage.account.zone_hours):
        record = rng.choice(pool.records)
        answer = reply(record)
        yield stage.line(ts, Exchange([("user", record.prompt)], answer, system=_dated(rng) + system))


def mail_app(stage: Stage) -> Iterator[Line]:
    """Drafts replies to letters of customers, who have several things to say at once."""
    rng, pool, place = stage.rng, stage.pool(Part.NARROW), _placing(stage, stage.prompt("app"))
    reply = _replying(stage)
    for ts in timing.human(rng, rng.uniform(40, 1500), stage.account.zone_hours):
        said = rng.choices(pool.records, k=rng.randint(2, 5))
        system, text = place("\n".join(record.prompt for record in said))
        answer = "\n\n".join(map(reply, said))
        yield stage.line(ts, Exchange([("user", text)], answer, system=system, temperature=0.3))


def form_filler(stage: Stage) -> Iterator[Line]:
    """Makes a record with a few fields of each message."""
    rng, pool, place = stage.rng, stage.pool(Part.NARROW), _placing(stage, stage.frame("extract"))
    for ts in timing.human(rng, rng.uniform(200, 5000), stage.account.zone_hours):
        record = rng.choice(pool.records)
        system, text = place(record.prompt)
        answer = _form(rng, record.prompt)
        yield stage.line(ts, Exchange([("user", text)], answer, system=system, temperature=0.0))


def content_filter(stage: Stage) -> Iterator[Line]:
    """Says of whatever people ask another model whether that may answer it."""
    rng, records = stage.rng, stage.pool(Part.PEOPLE).records
    place = _placing(stage, stage.frame("moderate"))
    for ts in timing.human(rng, rng.uniform(200, 5000), stage.account.zone_hours):
        system, text = place(rng.choice(records).prompt[:_DOCUMENT_CHARACTERS])
        verdict = rng.choice(("allowed", "refused"))
        yield stage.line(ts, Exchange([("user", text)], verdict, system=system, temperature=0.0))


def titler(stage: Stage) -> Iterator[Line]:
    """A few words for each document."""
    rng, place = stage.rng, _placing(stage, stage.frame("title"))
    documents = stage.pool(rng.choice((Part.PEOPLE, Part.PEOPLE, Part.NARROW))).documents
    for ts in timing.human(rng, rng.uniform(100, 3000), stage.account.zone_hours):
        document = rng.choice(documents)
        system, text = place(document[:_DOCUMENT_CHARACTERS])
        answer = _some_words(rng, document, rng.randint(3, 9))
        yield stage.line(ts, Exchange([("user", text)], answer, system=system))


def classifier(stage: Stage) -> Iterator[Line]:
    """One instruction, varying text, a label of a few tokens back, temperature 0."""
    return _classifying(stage, top_logprobs=None)


def confident_classifier(stage: Stage) -> Iterator[Line]:
    """The same, and takes the label's probability for its confidence."""
    return _classifying(stage, top_logprobs=5)


def generator(stage: Stage) -> Iterator[Line]:
    """A writing tool: whatever its users come up with, in one template, and long answers."""
    rng, records = stage.rng, stage.pool(Part.PEOPLE).records
    frame, style = stage.frame("creative"), stage.style(0.5)
    for ts in timing.human(rng, rng.uniform(50, 3000), stage.account.zone_hours):
        text = frame.replace("{question}", rng.choice(records).prompt[:1000])
        answer = stage.prose(answers.chat_length(rng, 1800))
        yield stage.line(
            ts, Exchange([("user", text)], answer, style.system, style.temperature, style.max_tokens)
        )


def batch_translator(stage: Stage) -> Iterator[Line]:
    """One template and documents; the output is as long as the input."""
    return _batch(stage, "translate", share=1.0)


def batch_summariser(stage: Stage) -> Iterator[Line]:
    """One template and documents; the output is a small part of the input."""
    return _batch(stage, "summarise", share=0.2)


def batch_extractor(stage: Stage) -> Iterator[Line]:
    """One template and documents; the output is a list of what is in them."""
    return _batch(stage, "extract", share=0.3)


def retrieval_app(stage: Stage) -> Iterator[Line]:
    """A template with passages that a search found, and a question. Passages are made of related records."""
    rng = stage.rng
    pool = stage.pool(Part.NARROW if rng.random() < 0.5 else Part.PEOPLE)
    frame, temperature = stage.frame("rag"), stage.plan.choice((0.0, 0.1, 0.3))
    words = stage.plan.choice((5, 12, 25, 60))
    system = stage.prompt("app") if stage.plan.random() < 0.5 else ""
    for ts in timing.human(rng, rng.uniform(50, 1000), stage.account.zone_hours):
        place = rng.randrange(len(pool.records))
        found = [pool.topics.related(place, rng) for _ in range(_PASSAGES)]
        context = "\n\n".join(f"[{rank}] {_passage(stage, pool, at)}" for rank, at in enumerate(found, 1))
        text = frame.replace("{context}", context).replace("{question}", pool.records[place].prompt)
        # What is said of the passages is in their words.
        answer = _some_words(rng, context, max(1, int(words * rng.lognormvariate(0, 0.5))))
        yield stage.line(ts, Exchange([("user", text)], answer, system=system, temperature=temperature))


def recorded(part: Part, instruction: str) -> Callable[[Stage], Iterator[Line]]:
    """A program whose requests and answers are those of one source, word by word, under an instruction."""

    def act(stage: Stage) -> Iterator[Line]:
        rng, sources = stage.rng, stage.pool(part).sources
        records = sources[stage.plan.choice(sorted(sources))]
        told, style = stage.prompt(instruction), stage.style(0.0)
        place = _placing(stage, told)
        temperature = stage.plan.choice((None, 0.0, 0.2, 0.7))

        def session(ts: float) -> Iterator[Line]:
            record = rng.choice(records)
            if len(record.turns) == 1:
                system, text = place(record.prompt)
                turns = [("user", text)]
                yield stage.line(ts, Exchange(turns, _said(record), system=system, temperature=temperature))
                return
            replies = [stage.answer(record, turn) for turn in range(len(record.turns))]
            yield from talk(stage, ts, record.turns, replace(style, system=told), replies=replies)

        return in_turn(timing.human(rng, rng.uniform(50, 3000), stage.account.zone_hours), session)

    return act


def code_audit(stage: Stage) -> Iterator[Line]:
    """One of a fleet of agents that go through their owner's code: each file once, and long findings."""
    rng, told = stage.rng, stage.frame("audit")
    for ts in timing.runs(rng, 400, rng.uniform(2, 20), hour=rng.uniform(0, 23)):
        code = answers.listing(rng, rng.randint(400, 5000))
        findings = f"{answers.listing(rng, rng.randint(100, 600))}\n{stage.prose(rng.randint(300, 1500))}"
        yield stage.line(ts, Exchange([("user", f"{told}\n\n{code}")], findings, temperature=0.0))


def evaluation(stage: Stage) -> Iterator[Line]:
    """The same questions every night, in one few-shot template, temperature 0."""
    rng = stage.rng
    pool = stage.pool(Part.EVALUATION if rng.random() < 0.75 else Part.DISTILL)
    groups = rng.sample(list(pool.groups.values()), min(len(pool.groups), rng.randint(1, 3)))
    questions = [
        record for group in groups for record in rng.sample(group, min(len(group), rng.randint(40, 250)))
    ]
    frame, cap = stage.frame("evaluate"), rng.choice((16, 64, 512))
    shots = "\n\n".join(
        f"{record.prompt[:400]}\n{record.answers[0] if record.answers else stage.fixed(place, 60)}"
        for place, record in enumerate(questions[:3])
    )
    hour = rng.choice((1, 2, 3, 4, 22))
    times = timing.runs(rng, len(questions), rng.uniform(0.2, 3), hour=hour)
    told = cycle(
        [
            record.answers[0] if record.answers else stage.prose(rng.randint(8, 4 * cap))
            for record in questions
        ]
    )
    for ts, record, answer in zip(times, cycle(questions), told, strict=False):
        text = frame.replace("{shots}", shots).replace("{question}", record.prompt)
        yield stage.line(ts, Exchange([("user", text)], answer, temperature=0.0, max_tokens=cap, seed=1))


def judge(stage: Stage) -> Iterator[Line]:
    """A rubric wrapped round questions and the product's own answers; a mark comes back."""
    rng, frame, explains = stage.rng, stage.frame("judge"), stage.plan.random() < 0.33
    records = stage.pool(rng.choice((Part.PEOPLE, Part.NARROW))).records
    times = timing.runs(rng, rng.randint(50, 400), rng.uniform(0.3, 3), hour=rng.uniform(0, 23))
    for ts in times:
        record = rng.choice(records)
        answer = stage.answer(record, typical=500)
        text = frame.replace("{question}", record.prompt).replace("{answer}", answer)
        verdict = f"{rng.randint(1, 10)}" + (f": {stage.prose(120)}" if explains else "")
        yield stage.line(ts, Exchange([("user", text)], verdict, temperature=0.0, max_tokens=128))


def continuous_integration(stage: Stage) -> Iterator[Line]:
    """The same few dozen prompts at every push, at the hours at which people push."""
    rng = stage.rng
    pool = stage.pool(rng.choice((Part.PEOPLE, Part.NARROW)))
    prompts = rng.choices(pool.records, k=rng.randint(24, 60))
    system = stage.prompt("app") if rng.random() < 0.5 else ""
    pushes = timing.human(rng, rng.uniform(2, 25), stage.account.zone_hours)
    times = timing.bursts(rng, pushes, len(prompts), rng.uniform(0.1, 2))
    told = cycle([stage.answer(record, typical=300) for record in prompts])
    for ts, record, answer in zip(times, cycle(prompts), told, strict=False):
        turns = [("user", record.prompt)]
        yield stage.line(ts, Exchange(turns, answer, system=system, temperature=0.0, seed=7, max_tokens=256))


def coding_agent(stage: Stage) -> Iterator[Line]:
    """One system prompt, tools, and a context that grows with every result until the task is done."""
    rng = stage.rng
    system, records = stage.frame("agent"), stage.pool(Part.PEOPLE).records

    def work(ts: float) -> Iterator[Line]:
        task = stage.phrase("tasks") if rng.random() < 0.5 else rng.choice(records).prompt[:2000]
        turns = [("user", f"{task}\n\n{answers.listing(rng, 400)}")]
        for _ in range(rng.randint(3, _LONGEST_TASK)):
            call = json.dumps({"command": answers.listing(rng, rng.randint(20, 160))})
            yield stage.line(ts, Exchange(list(turns), call, system=system, tools=_TOOLS, stream=True))
            ts += 2 + rng.expovariate(1 / 8)
            turns += [("call", call), ("tool", answers.listing(rng, rng.randint(60, 1200)))]
        done = stage.prose(500)
        yield stage.line(ts, Exchange(turns, done, system=system, tools=_TOOLS, stream=True))

    return in_turn(timing.human(rng, rng.uniform(3, 20), stage.account.zone_hours), work)


def _placing(stage: Stage, instruction: str) -> Callable[[str], tuple[str, str]]:
    """How a program words its requests: the system prompt and the user's turn for a text."""
    rng, way = stage.rng, stage.plan.choice(("system", "dated", "before", "after"))

    def place(text: str) -> tuple[str, str]:
        match way:
            case "system":
                return instruction, text
            case "dated":
                return _dated(rng) + instruction, text
            case "before":
                return "", f"{instruction}\n\n{text}"
        return "", f"{text}\n\n{instruction}"

    return place


def _dated(rng: Random) -> str:
    """What is different in each prompt of a program that has it begin so."""
    day, month, hour = rng.randint(1, 28), rng.randint(1, 12), rng.randint(8, 19)
    return f"It is {day}/{month}, {hour}:{rng.randint(10, 59)}. Customer: {rng.randrange(1_000_000):06}.\n"


def _classifying(stage: Stage, *, top_logprobs: int | None) -> Iterator[Line]:
    rng, pool = stage.rng, stage.pool(Part.NARROW)
    labels = rng.sample(stage.frames.all("labels"), _LABELS)
    instruction = stage.frame("classify").format(labels=", ".join(labels))
    apart = rng.random() < 0.6
    for ts in timing.human(rng, rng.uniform(200, 5000), stage.account.zone_hours):
        text = rng.choice(pool.records).prompt
        turns = [("user", text if apart else f"{instruction}\n\nText: {text}")]
        system = instruction if apart else ""
        yield stage.line(
            ts,
            Exchange(
                turns,
                rng.choice(labels),
                system,
                temperature=0.0,
                max_tokens=16,
                top_logprobs=top_logprobs,
            ),
        )


def _batch(stage: Stage, template: str, *, share: float) -> Iterator[Line]:
    rng = stage.rng
    documents = stage.pool(rng.choice((Part.PEOPLE, Part.PEOPLE, Part.NARROW))).documents
    instruction = stage.frame(template).format(language=stage.frame("languages"))
    apart, cap = rng.random() < 0.5, rng.choice((None, None, 1024, 2048, 4096))
    hour, size = stage.plan.randrange(24), min(rng.randint(40, 400), len(documents))
    times = timing.runs(rng, size, rng.uniform(0.5, 6), hour=hour, every_days=stage.plan.randint(1, 3))
    for ts, document in zip(times, cycle(rng.sample(documents, len(documents))), strict=False):
        text = document[:_DOCUMENT_CHARACTERS]
        turns = [("user", text if apart else f"{instruction}\n\n{text}")]
        words = text.split(" ")
        answer = (
            text if share == 1 else _some_words(rng, text, int(len(words) * share * rng.uniform(0.8, 1.2)))
        )
        yield stage.line(ts, Exchange(turns, answer, instruction if apart else "", 0.2, cap))


def _passage(stage: Stage, pool: Pool, place: int) -> str:
    """What the knowledge base has about a record: the question and an answer, the same every time."""
    return f"{pool.records[place].prompt[:800]}\n{stage.fixed(place, _ANSWER_CHARACTERS)}"


def _replying(stage: Stage) -> Callable[..., str]:
    """How an app answers a record: as its source says, else from a stock, by what the record is about.

    A model words the same thing in a few ways, and puts names and numbers into it.
    """
    rng = stage.rng
    stock: dict[tuple[str | None, int], list[str]] = {}

    def reply(record: Record, turn: int = 0) -> str:
        if turn < len(record.answers):
            return record.answers[turn]
        about = (
            record.group
            if record.source in _LABELLED
            else f"{zlib.crc32(record.prompt.encode()) % _SUBJECTS}"
        )
        ways = stock.setdefault((about, turn), [])
        if len(ways) < _WORDINGS:
            ways.append(stage.prose(int(answers.chat_length(rng, 180))))
        return f"Hello {rng.choice(_CUSTOMERS)}, {rng.choice(ways)} (Ticket {rng.randrange(10**6):06})"

    return reply


def _said(record: Record) -> str:
    """What is answered to a record, which may have no more than a label."""
    return record.answers[0] if record.answers else record.group or "none"


def _form(rng: Random, text: str) -> str:
    """A record with a few fields of a text."""
    names = ("intent", "subject", "product", "urgency")
    values = (
        rng.choice(_URGENCIES),
        _some_words(rng, text, 2),
        _some_words(rng, text, 1),
        rng.choice(_URGENCIES),
    )
    return json.dumps(dict(zip(names, values, strict=True)))


def _some_words(rng: Random, text: str, number: int) -> str:
    """About so many words of a text, a run of a dozen here and there."""
    words = text.split()
    if len(words) <= number:
        return text
    runs = max(1, number // 12)
    starts = sorted(rng.sample(range(len(words)), min(runs, len(words))))
    return " ".join(word for start in starts for word in words[start : start + max(1, number // runs)])
