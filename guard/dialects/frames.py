"""Parts of a stream that differ in their text only: one is parsed, the others are counted by their text.

    data: {"id":"c1","choices":[{"index":0,"delta":{"content":"The"}}]}       parsed: it tells one text
    data: {"id":"c1","choices":[{"index":0,"delta":{"content":" fox"}}]}      alike: one more text, of 4 bytes
    data: {"id":"c1","choices":[],"usage":{"prompt_tokens":9}}                parsed: it is not alike

A frame is a part that has been parsed, with a hole where its text was. A part is alike if it has the same
bytes all round the hole, and what fills the hole is the inside of a JSON string. A quotation mark would end
the string, so no name, number or bracket can differ: whatever the text says, the part tells one text. What a
frame does not fit is parsed, so counts are what they would be if each part were.

Some values differ from part to part and tell nothing: when a part was made, or what blurs its size. A frame
has holes for these as well. Others are running totals (`usageMetadata` of Gemini): of a run of such parts, in
which no total falls, only the last is parsed for its report.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from guard.core.query import text_bytes
from guard.dialects.pieces import CONTROL, may_be_opaque

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from guard.dialects.tally import Told

    Read: TypeAlias = Callable[[bytes], object]

MOST_FRAMES = 8
"""Maximum number of frames of one stream; the oldest is dropped first."""

LARGEST_FRAME = 1 << 12
"""A larger part is parsed each time."""

_FIRST_TRIES = 8
_HITS_PER_TRY = 8
"""To make a frame costs as much as to parse a part: where few fit, few are made."""

_TELLS_NOTHING = frozenset({b"created_at", b"obfuscation", b"sequence_number"})
_TOTALS = frozenset(
    {
        *(b"completion_tokens", b"output_tokens", b"reasoning_tokens", b"total_tokens"),
        *(b"candidatesTokenCount", b"thoughtsTokenCount", b"totalTokenCount"),
    }
)

_START = re.compile(rb"(?:(?:event: ?[\w.]+\r?\n)?data: ?)?(?={)")
_STRING = re.compile(rb'"((?:[^"\\]|\\.)*+)"', re.DOTALL)
_NUMBER = re.compile(rb"\s*:\s*([0-9]{1,18})(?=[,}\s])")
_TOTAL = re.compile(rb'"(?:%b)"\s*:\s*([0-9]{1,18})(?=[,}\s])' % b"|".join(sorted(_TOTALS)))
_IN_TIMES = b"-:.+"


@dataclass(frozen=True, slots=True)
class Frame:
    """What alike parts have in common.

    `before` stand between the holes before the text and behind each of them, `after` between the holes behind
    the text and in front of each, the last first. `told` is what the part has told that was parsed.
    """

    head: bytes
    before: tuple[bytes, ...]
    after: tuple[bytes, ...]
    tail: bytes
    told: Told

    @classmethod
    def of(cls, raw: bytes, told: Told) -> Frame | None:
        """The frame of a part that has told this, `None` where it cannot be said which text in it did."""
        start = _START.match(raw)
        if start is None or len(raw) > LARGEST_FRAME:
            return None
        texts, others = _holes(raw, start.end(), told.size, totals=told.running)
        if len(texts) != 1:
            return None
        (text,) = texts
        holes = sorted([text, *others])
        fixed = [raw[end:begin] for (_, end), (begin, _) in pairwise(holes)]
        place = holes.index(text)
        return cls(
            head=raw[: holes[0][0]],
            before=tuple(fixed[:place]),
            after=tuple(reversed(fixed[place:])),
            tail=raw[holes[-1][1] :],
            told=told
            if told.model is None or told.model.encode("utf-8", "replace") in raw
            else replace(told, model=None),
        )

    def texts(self, parts: Sequence[bytes], place: int) -> list[bytes]:
        """What stands in the place of the text in these parts, from one on as far as they are alike."""
        texts = []
        for part in islice(parts, place, None):
            text = self.text(part)
            if text is None:
                break
            texts.append(text)
        return texts

    def text(self, raw: bytes) -> bytes | None:
        """What stands in the place of the text, `None` for a part that is not alike."""
        if not (raw.startswith(self.head) and raw.endswith(self.tail)):
            return None
        start, end = len(self.head), len(raw) - len(self.tail)
        for fixed in self.before:
            place = raw.find(fixed, start, end)
            if place < 0 or not _plain(raw[start:place]):
                return None
            start = place + len(fixed)
        for fixed in self.after:
            place = raw.rfind(fixed, start, end)
            if place < 0 or not _plain(raw[place + len(fixed) : end]):
                return None
            end = place
        return raw[start:end] if start <= end else None


class Taker(Protocol):
    """Whoever takes in what the parts of a stream tell."""

    def mark(self) -> Any:
        """Where this is now."""

    def told_since(self, before: Any) -> Told | None:
        """What was taken in since, where that was one text."""

    def take_alike(self, told: Told, texts: Sequence[str]) -> None:
        """Take in parts that have told the same, each with another text, none of which is empty."""


class Frames:
    """The frames of one stream, and who takes in its parts."""

    def __init__(self, taker: Taker) -> None:
        self._taker = taker
        self._frames: list[Frame] = []
        self._tries = self._hits = 0

    def take(self, parts: Sequence[bytes], read: Read) -> None:
        """Count these parts, in their order; `read` parses one."""
        place = 0
        while place < len(parts):
            texts: list[bytes] = []
            for frame in self._frames:
                if texts := frame.texts(parts, place):
                    self._count(frame, parts[place : place + len(texts)], texts, read)
                    break
            else:
                self._parse(parts[place], read)
            place += len(texts) or 1

    def _parse(self, part: bytes, read: Read) -> None:
        """Parse a part, and make a frame of it where it tells one text and nothing else."""
        if self._tries >= _FIRST_TRIES + self._hits // _HITS_PER_TRY:
            read(part)
            return
        before = self._taker.mark()
        read(part)
        told = self._taker.told_since(before)
        if told is None:
            return
        self._tries += 1
        frame = Frame.of(part, told)
        if frame is not None:
            self._frames.insert(0, frame)
            del self._frames[MOST_FRAMES:]

    def _count(self, frame: Frame, alike: Sequence[bytes], texts: Sequence[bytes], read: Read) -> None:
        self._hits += len(alike)
        said = _strings(texts)
        if said is not None and frame.told.running and _rise(alike):
            self._taker.take_alike(frame.told, said[:-1])
            read(alike[-1])
        elif said is not None and not frame.told.running:
            self._taker.take_alike(frame.told, said)
        else:
            for part, text in zip(alike, texts, strict=True):
                self._count_one(frame, part, text, read)

    def _count_one(self, frame: Frame, part: bytes, text: bytes, read: Read) -> None:
        said = None if frame.told.running else _strings([text])
        if said is None:
            read(part)
        else:
            self._taker.take_alike(frame.told, said)


def _holes(
    raw: bytes, start: int, size: int, *, totals: bool
) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Where in a part may be its text, and where else are values that differ."""
    numbers = _TELLS_NOTHING | _TOTALS if totals else _TELLS_NOTHING
    texts, others = [], []
    name: re.Match[bytes] | None = None
    for string in _STRING.finditer(raw, start):
        if name is None or raw[name.end() : string.start()].strip() != b":":
            name = string
            if string[1] in numbers and (number := _NUMBER.match(raw, string.end())):
                others.append(number.span(1))
        elif name[1] in _TELLS_NOTHING:
            others.append(string.span(1))
            name = None
        else:
            if _may_be_text(name[1], string[1], size):
                texts.append(string.span(1))
            name = None
    return texts, others


def _may_be_text(name: bytes, value: bytes, size: int) -> bool:
    named = name.decode("latin-1")
    if len(value) < size or named in CONTROL or may_be_opaque(named):
        return False
    said = _strings([value])
    return said is not None and text_bytes(said[0]) == size


def _strings(insides: Sequence[bytes]) -> list[str] | None:
    """The strings with these insides, `None` where one is empty, or is none."""
    joined = b'","'.join(insides)
    if b'\\","' in joined:
        # It may escape the quotation mark, which makes one string of two.
        return None
    try:
        found = json.loads(b'["%b"]' % joined) if insides else []
    except (ValueError, RecursionError):
        return None
    return found if len(found) == len(insides) and "" not in found else None


def _plain(value: bytes) -> bool:
    """Whether this is a number, a time or a word."""
    return not value or value.isalnum() or value.translate(None, _IN_TIMES).isalnum()


def _rise(parts: Sequence[bytes]) -> bool:
    """Whether no total in these parts, which are alike, is smaller than in the part before."""
    totals = [list(map(int, _TOTAL.findall(part))) for part in parts]
    return all(
        len(one) == len(other) and all(a <= b for a, b in zip(one, other, strict=True))
        for one, other in pairwise(totals)
    )
