"""Made-up answers: of plausible length for what was asked, and each like no other.

An answer matters here as text that comes back in the history of a conversation, and as tokens that are paid
for. It is cut from one long text of made-up sentences. Where a record tells how long the real reply was, the
answer is as long, and where it has the reply itself, that is the answer.
"""

from __future__ import annotations

from functools import cache
from itertools import accumulate
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.detection.sources import Record

_SENTENCES = 12_000
_LONGEST = 6_000
_HEADS = (
    "In short,",
    "As a rule,",
    "In practice,",
    "For most people",
    "Note that",
    "On the whole,",
    "Often",
    "First,",
    "Then",
    "Finally,",
)
_SUBJECTS = (
    *("the first option", "a careful plan", "the usual way", "this approach", "a small change", "the result"),
    *("the older method", "the whole thing", "a second look", "the main point", "a good example"),
    *("an early start", "the simple case", "the local rule"),
)
_VERBS = (
    "depends on",
    "is closer to",
    "follows from",
    "works with",
    "costs less than",
    "goes back to",
    "leads to",
    "comes before",
    "differs from",
    "needs",
)
_OBJECTS = (
    *("what you have at hand", "the time that is left", "the number of steps", "the weather and the season"),
    *("how it is stored", "a clear description", "the size of the group", "the people involved"),
    *("the order of the parts", "a little patience", "what was agreed before", "the price at the door"),
    *("the tools in the kit", "the data that you keep"),
)


def tokens(text: str) -> int:
    """About how many tokens a text has: a quarter of its bytes."""
    return max(1, len(text.encode("utf-8", "surrogatepass")) // 4)


def prose(rng: Random, characters: int) -> str:
    """About so many characters of made-up sentences."""
    text, starts = _corpus()
    start = starts[int(rng.random() * len(starts))]
    return text[start : start + min(max(characters, 1), _LONGEST)]


def fixed(place: int, characters: int) -> str:
    """So many characters of made-up sentences, for the same place always the same ones."""
    text, starts = _corpus()
    start = starts[place * 7919 % len(starts)]
    return text[start : start + characters]


def to(rng: Random, record: Record, turn: int = 0, *, typical: int = 700) -> str:
    """An answer to a turn of a record."""
    if turn == 0 and record.answer:
        return record.answer
    known = record.reply[turn] if turn < len(record.reply) else 0
    return prose(rng, known or chat_length(rng, typical))


def chat_length(rng: Random, typical: int) -> int:
    """Characters of an answer in a conversation: many short ones, some long."""
    return int(typical * rng.lognormvariate(0.0, 0.7))


@cache
def _corpus() -> tuple[str, Sequence[int]]:
    """The long text, and where its sentences start (not too close to its end)."""
    rng = Random("made-up answers")
    sentences = [
        f"{rng.choice(_HEADS)} {rng.choice(_SUBJECTS)} {rng.choice(_VERBS)} {rng.choice(_OBJECTS)}"
        f"{rng.choice(('.', '.', ', and', '; still,'))} "
        for _ in range(_SENTENCES)
    ]
    text = "".join(sentences)
    starts = [0, *accumulate(map(len, sentences))]
    return text, [start for start in starts if start < len(text) - _LONGEST]
