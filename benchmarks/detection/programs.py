"""Benign programs: one template, or a few, over varying content, by the clock or by demand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.detection import answers, timing
from benchmarks.detection.people import talk
from benchmarks.detection.sources import Part
from benchmarks.detection.traffic import Exchange

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.detection.sources import Pool
    from benchmarks.detection.stage import Stage
    from benchmarks.detection.traffic import Line

_LABELS = 8
_DOCUMENT_CHARACTERS = 6_000
_PASSAGES = 3
_ANSWER_CHARACTERS = 300


def narrow_app(stage: Stage) -> Iterator[Line]:
    """An app with a system prompt of its own; each message by itself."""
    rng, pool, system = stage.rng, stage.pool(Part.NARROW), _app_prompt(stage)
    temperature, cap = rng.choice((None, 0.2, 0.3, 0.7)), rng.choice((None, 200, 300, 512))
    for ts in timing.human(rng, rng.uniform(40, 1500), stage.account.zone_hours):
        record = rng.choice(pool.records)
        answer = answers.to(rng, record, typical=180)
        yield stage.line(
            ts,
            Exchange(
                [("user", record.prompt)], answer, system=system, temperature=temperature, max_tokens=cap
            ),
        )


def narrow_app_with_history(stage: Stage) -> Iterator[Line]:
    """The same app, which sends the dialogue so far with each message."""
    rng, pool, system = stage.rng, stage.pool(Part.NARROW), _app_prompt(stage)
    groups = list(pool.groups.values())
    free_at = timing.START
    for start in timing.human(rng, rng.uniform(20, 500), stage.account.zone_hours):
        record = rng.choice(pool.records)
        turns = list(record.turns)
        if len(turns) == 1 and rng.random() < 0.7:
            same = pool.groups[f"{record.source}/{record.group or ''}"] if len(groups) > 1 else pool.records
            turns += [rng.choice(same).prompt for _ in range(rng.randint(1, 2))]
        for line in talk(stage, max(start, free_at), turns, system=system, typical=150):
            free_at = line.ts
            yield line


def narrow_app_inlined(stage: Stage) -> Iterator[Line]:
    """The same app without a system prompt: its instructions stand before the customer's text."""
    rng, pool, system = stage.rng, stage.pool(Part.NARROW), _app_prompt(stage)
    mark = rng.choice(("Customer: ", "Message: ", "<message>", "---\n", "They write: "))
    for ts in timing.human(rng, rng.uniform(40, 1500), stage.account.zone_hours):
        record = rng.choice(pool.records)
        answer = answers.to(rng, record, typical=180)
        yield stage.line(
            ts, Exchange([("user", f"{system}\n\n{mark}{record.prompt}")], answer, temperature=0.3)
        )


def classifier(stage: Stage) -> Iterator[Line]:
    """One instruction, varying text, a label of a few tokens back, temperature 0."""
    rng, pool = stage.rng, stage.pool(Part.NARROW)
    labels = rng.sample(stage.frames.all("labels"), _LABELS)
    instruction = stage.frame("classify").format(labels=", ".join(labels))
    apart = rng.random() < 0.6
    for ts in timing.human(rng, rng.uniform(200, 5000), stage.account.zone_hours):
        text = rng.choice(pool.records).prompt
        turns = [("user", text if apart else f"{instruction}\n\nText: {text}")]
        system = instruction if apart else ""
        yield stage.line(
            ts, Exchange(turns, rng.choice(labels), system=system, temperature=0.0, max_tokens=16)
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
    frame, temperature = stage.frame("rag"), rng.choice((0.0, 0.1, 0.3))
    system = _app_prompt(stage) if rng.random() < 0.5 else ""
    for ts in timing.human(rng, rng.uniform(50, 1000), stage.account.zone_hours):
        place = rng.randrange(len(pool.records))
        found = [pool.topics.related(place, rng) for _ in range(_PASSAGES)]
        context = "\n\n".join(f"[{rank}] {_passage(pool, at)}" for rank, at in enumerate(found, 1))
        text = frame.format(context=context, question=pool.records[place].prompt)
        answer = answers.prose(rng, answers.chat_length(rng, 400))
        yield stage.line(ts, Exchange([("user", text)], answer, system=system, temperature=temperature))


def _batch(stage: Stage, template: str, *, share: float) -> Iterator[Line]:
    rng = stage.rng
    documents = stage.pool(rng.choice((Part.PEOPLE, Part.PEOPLE, Part.NARROW))).documents
    instruction = stage.frame(template).format(language=stage.frame("languages"))
    apart = rng.random() < 0.5
    hour, size = rng.uniform(0, 23), min(rng.randint(40, 400), len(documents))
    for ts in timing.runs(rng, size, rng.uniform(0.5, 6), hour=hour, every_days=rng.randint(1, 3)):
        text = rng.choice(documents)[:_DOCUMENT_CHARACTERS]
        turns = [("user", text if apart else f"{instruction}\n\n{text}")]
        answer = answers.prose(rng, int(len(text) * share * rng.uniform(0.8, 1.2)))
        yield stage.line(ts, Exchange(turns, answer, system=instruction if apart else "", temperature=0.2))


def _passage(pool: Pool, place: int) -> str:
    """What the knowledge base has about a record: the question and a made-up answer, the same every time."""
    return f"{pool.records[place].prompt[:800]}\n{answers.fixed(place, _ANSWER_CHARACTERS)}"


def _app_prompt(stage: Stage) -> str:
    return stage.frame("app").format(company=stage.frame("companies"))
