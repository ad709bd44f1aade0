"""Made-up answers: of plausible length for what was asked, and each like no other.

An answer matters here as text that comes back in the history of a conversation, and as tokens that are paid
for. It is cut from one long text of made-up sentences, in each of which stands a name that is this answer's
own. Where a record tells how long the real reply was, the answer is as long, and where it has the reply,
that is the answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks.detection.sources import Record

_SENTENCES = 12_000
_LONGEST = 6_000
_HEADS = (
    *("In short,", "As a rule,", "In practice,", "For most people", "Note that", "On the whole,"),
    *("Often", "First,", "Then", "Finally,"),
)
_SUBJECTS = (
    *("the first option", "a careful plan", "the usual way", "this approach", "a small change", "the result"),
    *("the older method", "the whole thing", "a second look", "the main point", "a good example"),
    *("an early start", "the simple case", "the local rule"),
)
_VERBS = (
    *("depends on", "is closer to", "follows from", "works with", "costs less than"),
    *("goes back to", "leads to", "comes before", "differs from", "needs"),
)
_OBJECTS = (
    *("what you have at hand", "the time that is left", "the number of steps", "the weather and the season"),
    *("how it is stored", "a clear description", "the size of the group", "the people involved"),
    *("the order of the parts", "a little patience", "what was agreed before", "the price at the door"),
    *("the tools in the kit", "the data that you keep"),
)

_PRINTED = (
    "def {verb}_{noun}({noun}: {slot}, limit: int = {number}) -> None:\n",
    "    if {noun} is None:\n        return {verb}({number})\n",
    "    for {noun} in {slot}.{verb}():\n        total += {noun}.size\n",
    "src/{noun}/{verb}_{slot}.py:{number}: error: missing argument\n",
    "tests/test_{noun}.py::test_{verb}_{slot} PASSED\n",
    "-rw-r--r-- 1 dev dev {number}00 {noun}_{slot}.json\n",
    "INFO {slot}: {verb} {noun} in {number} ms\n",
    "WARN {slot}: {noun} was not {verb}ed, try {number}\n",
    "+    {noun} = {verb}({slot}, {number})\n-    {noun} = {verb}({slot})\n",
)
_NOUNS = (
    *("order", "invoice", "user", "session", "parser", "token", "queue", "report", "cache"),
    *("route", "page", "job"),
)
_DEEDS = (
    *("load", "pars", "send", "check", "build", "clean", "fetch", "render", "open", "clos"),
    *("count", "merg"),
)
_SYLLABLES = ("ta", "ve", "lo", "mi", "ru", "ka", "no", "se", "da", "fi", "zu", "pe", "go", "li", "ba", "ny")
_NAMES = 400_000
_SLOT = "§"
_FIRST_IDEOGRAPH = "\u3400"
_BYTES_AN_IDEOGRAPH = 3


def tokens(text: str) -> int:
    """About how many tokens a text has: a quarter of its bytes."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // 4)


def prose(rng: Random, characters: int) -> str:
    """About so many characters of made-up sentences, 6,000 at most."""
    return _cut(_prose(), rng.random(), rng.random(), characters)


def listing(rng: Random, characters: int) -> str:
    """About so many characters of what a tool prints: code, logs, lists of files."""
    return _cut(_printed(), rng.random(), rng.random(), characters)


def fixed(place: int, characters: int) -> str:
    """Prose that is always the same for the same place."""
    return _cut(_prose(), place * 0.618034 % 1, place * 0.754877 % 1, characters)


def to(rng: Random, record: Record, turn: int = 0, *, typical: int = 700) -> str:
    """An answer to a turn of a record."""
    if turn == 0 and record.answer:
        return record.answer
    known = record.reply[turn] if turn < len(record.reply) else 0
    if known and record.prompt[0] >= _FIRST_IDEOGRAPH:
        # The made-up answer is in English, and shall have as many tokens as the real one.
        known *= _BYTES_AN_IDEOGRAPH
    return prose(rng, known or chat_length(rng, typical))


def chat_length(rng: Random, typical: int) -> int:
    """Characters of an answer in a conversation: many short ones, some long."""
    return int(typical * rng.lognormvariate(0.0, 0.7))


def _cut(corpus: _Corpus, where: float, name: float, characters: int) -> str:
    start = corpus.starts[int(where * len(corpus.starts))]
    text = corpus.text[start : start + min(max(characters, 1), _LONGEST)]
    return text.replace(_SLOT, _name(int(name * _NAMES)))


def _name(number: int) -> str:
    syllables = (_SYLLABLES[number // divisor % 16] for divisor in (1, 16, 256))
    return f"{''.join(syllables).capitalize()}-{number // 4096}"


@dataclass(frozen=True, slots=True)
class _Corpus:
    """A long text, and where its sentences start (not too close to its end)."""

    text: str
    starts: Sequence[int]


@cache
def _prose() -> _Corpus:
    rng = Random("made-up answers")
    return _corpus(
        f"{rng.choice(_HEADS)} {rng.choice(_SUBJECTS)} of {_SLOT} "
        f"{rng.choice(_VERBS)} {rng.choice(_OBJECTS)}. "
        for _ in range(_SENTENCES)
    )


@cache
def _printed() -> _Corpus:
    rng = Random("made-up listings")
    return _corpus(
        rng.choice(_PRINTED).format(
            noun=rng.choice(_NOUNS), verb=rng.choice(_DEEDS), number=rng.randrange(1, 900), slot=_SLOT
        )
        for _ in range(_SENTENCES)
    )


def _corpus(pieces: Iterable[str]) -> _Corpus:
    listed = list(pieces)
    text = "".join(listed)
    return _Corpus(text, [start for start in accumulate(map(len, listed)) if start < len(text) - _LONGEST])
