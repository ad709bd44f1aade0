"""The attackers: what each asks for (a stream of exchanges), and when.

Items come from the side's instruction sets. An attacker takes one set that is large enough for its queries,
or all of them, in an order of its own, and begins again from the start when it is through.
"""

from __future__ import annotations

from dataclasses import replace
from math import gcd
from typing import TYPE_CHECKING

from benchmarks.detection import disguises, timing
from benchmarks.detection.accounts import Caller
from benchmarks.detection.frames import COERCION_LANGUAGES
from benchmarks.detection.sources import Part
from benchmarks.detection.stage import Variety
from benchmarks.detection.traffic import Exchange
from benchmarks.detection.twins import TWINS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from benchmarks.detection.sources import Record
    from benchmarks.detection.stage import Stage, Style
    from benchmarks.detection.traffic import Line

    Asking = Callable[[Stage], Iterator[Exchange]]
    When = Callable[[Stage], Iterator[float]]

SHARES = (5, 10, 25, 50)
"""Per cent of attack in a stream that hides one."""

_PARAPHRASES = 40
_IN_ORDER = 0.3
_ONE_FIELD = frozenset({"gsm8k-train", "huatuo-zh"})


def plain(stage: Stage) -> Iterator[Exchange]:
    """Each item as it stands."""
    style = stage.style(0.3)
    for record in items(stage):
        yield _ask(stage, record, record.prompt, style)


def templated(stage: Stage) -> Iterator[Exchange]:
    """One fixed prompt wrapped round each item."""
    style, frame = stage.style(0.3), _wrapping(stage)
    for record in items(stage):
        yield _ask(stage, record, frame.replace("{question}", record.prompt), style)


def paraphrased(stage: Stage) -> Iterator[Exchange]:
    """Each item in one of 40 wrappings."""
    style, wrappings = stage.style(0.3), [_wrapping(stage) for _ in range(_PARAPHRASES)]
    for record in items(stage):
        text = stage.rng.choice(wrappings).replace("{question}", record.prompt)
        yield _ask(stage, record, text, style)


def coercing(stage: Stage) -> Iterator[Exchange]:
    """Demands the reasoning itself, in one language or in eight by turns."""
    plan, style = stage.plan, stage.style(0.3)
    languages = COERCION_LANGUAGES if plan.random() < 0.5 else (plan.choice(COERCION_LANGUAGES),)
    demands = [demand for language in languages for demand in stage.frames.all(f"coerce_{language}")]
    if len(languages) == 1:
        demands = [plan.choice(demands)]
    for record in items(stage):
        text = stage.rng.choice(demands).replace("{question}", record.prompt)
        yield _ask(stage, record, text, style, longer=3)


def grading(stage: Stage) -> Iterator[Exchange]:
    """The model as reward model, verifier or cleaner of traces, for another model's answers."""
    style, frame = stage.style(0.3), stage.frame("grade")
    for record in items(stage):
        candidate = stage.answer(record, typical=800)
        text = frame.replace("{question}", record.prompt).replace("{answer}", candidate)
        yield _ask(stage, record, text.replace("{other}", stage.prose(len(candidate))), style)


def resampling(stage: Stage) -> Iterator[Exchange]:
    """Each item several times: repeated, with n = 8, or over a sweep of temperatures."""
    style, frame = stage.style(0.3), _perhaps_wrapping(stage)
    way, times = stage.plan.choice(("repeat", "n", "sweep")), stage.plan.randint(4, 8)
    for record in items(stage):
        text = frame.replace("{question}", record.prompt)
        if way == "n":
            yield replace(_ask(stage, record, text, style), n=8, temperature=1.0)
            continue
        for turn in range(times):
            warmth = 1.0 if way == "repeat" else round(0.2 + 1.2 * turn / times, 2)
            asked = _ask(stage, record, text, style)
            # Another answer each time, as a warm model gives.
            answer = stage.prose(len(asked.answer)) if turn else asked.answer
            yield replace(asked, answer=answer, temperature=warmth, seed=turn)


def logits(stage: Stage) -> Iterator[Exchange]:
    """Wants probabilities: the top ones of one token, or biases that lift one token after another."""
    rng, plan = stage.rng, stage.plan
    way, top, fixed_prompt = plan.choice(("top", "bias", "both")), plan.choice((5, 20)), plan.random() < 0.4
    token = rng.randrange(50_000)
    for number, record in enumerate(items(stage)):
        if number == 0 or not fixed_prompt:
            text = record.prompt
        token += rng.randint(1, 40)
        yield Exchange(
            [("user", text)],
            "the",
            temperature=0.0,
            max_tokens=1,
            top_logprobs=None if way == "bias" else top,
            logit_bias=None if way == "top" else {str(token + step): 100 for step in range(4)},
            label="attack",
        )


def translated(stage: Stage) -> Iterator[Exchange]:
    """Items in one language, answers wanted in another.

    Nothing here translates: where the side has items in Chinese, those are taken; else they are in English.
    """
    style, frame = stage.style(0.3), stage.frame("answer_in").replace("{language}", stage.frame("languages"))
    foreign = [
        records for records in stage.pool(Part.DISTILL).sources.values() if in_chinese(records[0].prompt)
    ]
    for record in _over(stage, stage.plan.choice(foreign)) if foreign else items(stage):
        yield _ask(stage, record, frame.replace("{question}", record.prompt), style)


def narrow(stage: Stage) -> Iterator[Exchange]:
    """One field only: school mathematics or medicine, or the smallest set of a side that has neither."""
    style, frame = stage.style(0.3), _perhaps_wrapping(stage)
    sources = stage.pool(Part.DISTILL).sources
    named = [records for name, records in sources.items() if name in _ONE_FIELD]
    for record in _over(stage, stage.plan.choice(named or [min(sources.values(), key=len)])):
        yield _ask(stage, record, frame.replace("{question}", record.prompt), style)


def faking_history(stage: Stage) -> Iterator[Exchange]:
    """Each item at the end of a conversation that never was: earlier items, with answers given or made up."""
    style, foreign = stage.style(0.3), stage.plan.random() < 0.5
    length = stage.plan.randint(1, 5)
    history: list[tuple[str, str]] = []
    for record in items(stage):
        asked = _ask(stage, record, record.prompt, style)
        yield replace(asked, turns=[*history, *asked.turns])
        answer = stage.prose(len(asked.answer)) if foreign else asked.answer
        history = [*history, *asked.turns, ("assistant", answer)][-2 * length :]


def thanked(stage: Stage) -> Iterator[Exchange]:
    """Thanks for every second answer, in its conversation."""
    for number, asked in enumerate(plain(stage)):
        yield asked
        if number % 2:
            yield _filler(asked, [*_said(asked), ("user", "thanks!")], "You are welcome!")


def labelling_between(stage: Stage) -> Iterator[Exchange]:
    """After each item, a text to be labelled with one word: an item's first sentence, or so."""
    texts = stage.pool(Part.DISTILL).records
    for asked in plain(stage):
        yield asked
        text = f"Is this positive or negative? One word.\n\n{stage.rng.choice(texts).prompt[:120]}"
        yield _filler(asked, [("user", text)], stage.rng.choice(("positive", "negative")))


def repeating_between(stage: Stage) -> Iterator[Exchange]:
    """After each item, always the same long question, with the same long answer."""
    text, answer = f"Summarise this.\n\n{stage.fixed(1, 900)}", stage.fixed(2, 1200)
    for asked in plain(stage):
        yield asked
        yield _filler(asked, [("user", text)], answer)


def following_up(stage: Stage) -> Iterator[Exchange]:
    """After each answer, the wish to have it shorter, in its conversation."""
    for asked in plain(stage):
        yield asked
        turns = [*_said(asked), ("user", "Say that again, shorter please.")]
        yield _filler(asked, turns, asked.answer[: max(40, len(asked.answer) // 2)])


def probing(stage: Stage) -> Iterator[Exchange]:
    """Tries injections and jailbreaks, one after another."""
    return _bare(stage, Part.JAILBREAK)


def hazardous(stage: Stage) -> Iterator[Exchange]:
    """Asks for what should not be answered."""
    return _bare(stage, Part.HAZARD)


def affixed(stage: Stage) -> Iterator[Exchange]:
    """A fixed wrapping, and a fresh affix on each request."""
    words = tuple(stage.frames.all("affixes"))
    return _disguised(stage, disguises.affixed(stage.rng, words))


def homoglyphs(stage: Stage) -> Iterator[Exchange]:
    """Letters of other scripts that look the same."""
    return _disguised(stage, disguises.look_alikes(stage.plan))


def zero_width(stage: Stage) -> Iterator[Exchange]:
    """Characters that nobody sees, between those that one does."""
    return _disguised(stage, disguises.invisible(stage.rng))


def encoded(encoding: str) -> Asking:
    """Items in an encoding, with the instruction to decode it."""

    def asking(stage: Stage) -> Iterator[Exchange]:
        style, frame = stage.style(0.3), stage.frame("decode").replace("{encoding}", encoding)
        for record in items(stage, latin=encoding == "rot13"):
            text = frame.replace("{question}", disguises.ENCODINGS[encoding](record.prompt))
            yield _ask(stage, record, text, style)

    return asking


def items(stage: Stage, *, latin: bool = False) -> Iterator[Record]:
    """The attacker's records, over and over. `latin` leaves out what is in Chinese, if there is else."""
    sources = list(stage.pool(Part.DISTILL).sources.values())
    sets = [records for records in sources if not (latin and in_chinese(records[0].prompt))] or sources
    large = [records for records in sets if len(records) >= stage.queries]
    if large and stage.plan.random() < 0.8:
        return _over(stage, stage.plan.choice(large))
    return _over(stage, [record for records in sets for record in records])


def fast(stage: Stage) -> Iterator[float]:
    """Hundreds to thousands a day: round the clock, or at the hours at which people work."""
    rng = stage.rng
    per_day = 300 * (20_000 / 300) ** rng.random()
    if stage.plan.random() < 0.6:
        return timing.poisson(rng, per_day)
    return timing.human(rng, per_day, stage.account.zone_hours)


def slow(stage: Stage) -> Iterator[float]:
    """6 to 30 a day, as the accounts of the published campaigns do."""
    rng = stage.rng
    per_day = rng.uniform(6, 30)
    if stage.plan.random() < 0.5:
        return timing.steady(rng, per_day)
    return timing.human(rng, per_day, stage.account.zone_hours)


def _ask(stage: Stage, record: Record, text: str, style: Style, longer: int = 1) -> Exchange:
    answer = stage.answer(record, typical=1000)
    return Exchange(
        [("user", text)],
        answer if longer == 1 else f"{stage.prose((longer - 1) * len(answer))} {answer}",
        system=style.system,
        temperature=style.temperature,
        max_tokens=style.max_tokens,
        label="attack",
    )


def _said(asked: Exchange) -> list[tuple[str, str]]:
    return [*asked.turns, ("assistant", asked.answer)]


def _filler(asked: Exchange, turns: list[tuple[str, str]], answer: str) -> Exchange:
    """What is asked between items so as to look like somebody else; it draws nothing that is wanted."""
    return replace(asked, turns=turns, answer=answer, label="benign")


def _wrapping(stage: Stage) -> str:
    who, what = stage.frame("wrap_who"), stage.frame("wrap_what")
    return stage.frame("wrap_form").replace("{who}", who).replace("{what}", what).strip()


def _perhaps_wrapping(stage: Stage) -> str:
    return _wrapping(stage) if stage.plan.random() < 0.5 else "{question}"


def _over(stage: Stage, records: Sequence[Record]) -> Iterator[Record]:
    """These records, each once a round: as they are filed, or (more often) with a stride that mixes them."""
    rng, number = stage.rng, len(records)
    place = rng.randrange(number)
    while True:
        stride = 1 if rng.random() < _IN_ORDER else rng.randrange(1, number + 1)
        while gcd(stride, number) > 1:
            stride += 1
        for _ in range(number):
            place = (place + stride) % number
            yield records[place]


def _bare(stage: Stage, part: Part) -> Iterator[Exchange]:
    style = stage.style(0.3)
    return (_ask(stage, record, record.prompt, style) for record in _over(stage, stage.pool(part).records))


def _disguised(stage: Stage, disguise: disguises.Disguise) -> Iterator[Exchange]:
    style, frame = stage.style(0.3), _perhaps_wrapping(stage)
    for record in items(stage, latin=True):
        yield _ask(stage, record, disguise(frame.replace("{question}", record.prompt)), style)


def in_chinese(text: str) -> bool:
    """Whether most of a text is: what only works on Latin letters leaves it out."""
    return sum(character >= "\u3400" for character in text) > len(text) / 2


def _attack(name: str, asking: Asking, when: When = fast, *, only_openai: bool = False) -> Variety:
    def act(stage: Stage) -> Iterator[Line]:
        return map(stage.line, when(stage), asking(stage))

    return Variety(name, "attack", act, Caller.PROGRAM, only_openai=only_openai)


def _hidden(cover: Variety, share: int) -> Variety:
    """An attack of which so many in a hundred requests consist, the others being the cover's own.

    Between two requests of the cover come attacks, shortly after the first, and stream as the first does.
    """

    def act(stage: Stage) -> Iterator[Line]:
        rng = stage.rng
        asking = stage.plan.choice((plain, templated, coercing))(stage)
        last = timing.START
        for line in cover.act(stage):
            while rng.random() * 100 < share:
                last += min(max(0.0, line.ts - last), rng.expovariate(1 / 40))
                yield stage.line(last, replace(next(asking), stream=line.body.get("stream", False)))
            last = line.ts
            yield line

    return Variety(f"hidden-{cover.name}-{share:02}", "attack", act, cover.caller)


DILUTED: Mapping[str, Asking] = {
    "thanked": thanked,
    "labelling-between": labelling_between,
    "repeating-between": repeating_between,
    "following-up": following_up,
}
"""What costs next to nothing between items."""

_COVERS = tuple(twin for twin in TWINS if twin.name in ("person", "router", "narrow-app"))

ATTACKS: tuple[Variety, ...] = (
    _attack("bulk", plain),
    _attack("low-and-slow", plain, slow),
    _attack("templated", templated),
    _attack("templated-slow", templated, slow),
    _attack("paraphrased", paraphrased),
    _attack("affixed", affixed),
    _attack("homoglyph", homoglyphs),
    _attack("zero-width", zero_width),
    *(_attack(encoding, encoded(encoding)) for encoding in disguises.ENCODINGS),
    _attack("translated", translated),
    _attack("coercion", coercing),
    _attack("coercion-slow", coercing, slow),
    _attack("grading", grading),
    _attack("resampling", resampling, only_openai=True),
    _attack("logits", logits, only_openai=True),
    _attack("narrow-domain", narrow),
    _attack("fake-history", faking_history),
    *(_attack(name, asking) for name, asking in DILUTED.items()),
    _attack("probe", probing),
    _attack("hazard", hazardous),
    *(_hidden(cover, share) for cover in _COVERS for share in SHARES),
)
