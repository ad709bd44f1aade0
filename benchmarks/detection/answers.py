"""Answers: the real one where a source has it, else real text of the same side, borrowed.

What an answer pays out goes by its wording, so answers are not made up: an answer whose record has none is a
passage of what people have written, as long as the real one was where that is known. What is borrowed has
nothing to do with the question, which nothing here looks at. Only what tools print is made up.
"""

from __future__ import annotations

import re
from functools import cache
from itertools import accumulate
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks.detection.sources import Record

_LINES = 12_000
_LONGEST = 6_000

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
_START = re.compile("(?<=[.!?\n\u3002\uff01\uff1f])\\s*(?=\\S)")


def tokens(text: str) -> int:
    """About how many tokens a text has: a quarter of its bytes."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // 4)


class Corpus:
    """Text to borrow from: passages that begin with a sentence."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._text = "\n".join(texts)
        starts = [0, *(found.end() for found in _START.finditer(self._text))]
        end = max(1, len(self._text) - _LONGEST)
        self._starts = [start for start in starts if start < end]

    def passage(self, rng: Random, characters: int) -> str:
        """About so many characters, 6,000 at most."""
        return self._cut(rng.random(), characters)

    def fixed(self, place: int, characters: int) -> str:
        """A passage that is always the same for the same place."""
        return self._cut(place * 0.618034 % 1, characters)

    def _cut(self, where: float, characters: int) -> str:
        start = self._starts[int(where * len(self._starts))]
        return self._text[start : start + min(max(characters, 1), _LONGEST)].strip() or "."


def listing(rng: Random, characters: int) -> str:
    """About so many characters of what a tool prints: code, logs, lists of files."""
    text, starts = _printed()
    start = starts[int(rng.random() * len(starts))]
    return text[start : start + min(max(characters, 1), _LONGEST)].replace(
        _SLOT, _name(rng.randrange(_NAMES))
    )


def to(rng: Random, corpus: Corpus, record: Record, turn: int = 0, *, typical: int = 700) -> str:
    """An answer to a turn of a record: its own, or one that is borrowed."""
    if turn < len(record.answers):
        return record.answers[turn]
    known = record.reply[turn] if turn < len(record.reply) else 0
    if known and record.prompt[0] >= _FIRST_IDEOGRAPH:
        # What is borrowed is in English, and shall have as many tokens as the real one.
        known *= _BYTES_AN_IDEOGRAPH
    return corpus.passage(rng, known or chat_length(rng, typical))


def chat_length(rng: Random, typical: int) -> int:
    """Characters of an answer in a conversation: many short ones, some long."""
    return int(typical * rng.lognormvariate(0.0, 0.7))


def _name(number: int) -> str:
    syllables = (_SYLLABLES[number // divisor % 16] for divisor in (1, 16, 256))
    return f"{''.join(syllables).capitalize()}-{number // 4096}"


@cache
def _printed() -> tuple[str, Sequence[int]]:
    """A long text of what tools print, and where its lines start (not too close to its end)."""
    rng = Random("made-up listings")
    lines = [
        rng.choice(_PRINTED).format(
            noun=rng.choice(_NOUNS), verb=rng.choice(_DEEDS), number=rng.randrange(1, 900), slot=_SLOT
        )
        for _ in range(_LINES)
    ]
    text = "".join(lines)
    return text, [start for start in accumulate(map(len, lines)) if start < len(text) - _LONGEST]
