"""What a holder has sent or been sent before, and what of a request is new.

A text is cut into chunks of about a dozen words (guard/text/chunks.py), each of which is remembered by a
keyed hash. Whatever is put in front of a text, taken out of it or moved about, the chunks elsewhere stay what
they were, and are known again.

    10:00  "… of our shop. | The customer asks how to return a pair of | red shoes without the box."
           all of it is new
    10:01  "… of our shop. | The customer asks how to return a pair of | blue socks after a month."
           new is "blue socks after a month."

A text that is known whole costs one hash. Answers are remembered whole and by their lines, since they are
mostly sent back as they were. Turns too short to tell by themselves count with the short turns before them:
or single letters, each known, could spell anything. What is compared is Python's own hash, whose key is
another one in each process.

Memory: a hash takes 55 to 90 bytes, so `MOST_HASHES` take 15 MB at most, whoever they belong to. Each holder
has `MOST_OF_ONE` at most, in two generations: when the younger has half of them, the older is forgotten, but
for what has been met since. Beyond `MOST_HASHES` or `MOST_HOLDERS`, all of the holder that has been silent
longest is forgotten.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise
from typing import TYPE_CHECKING

from guard.analyst.request_texts import ASSISTANT, Said
from guard.text.chunks import Chunker

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from guard.core.identity import Holder

MOST_HOLDERS = 4_096
MOST_HASHES = 160_000
MOST_OF_ONE = 19_200
"""Maximum numbers of holders, of hashes, and of hashes of one holder."""

SHORT = 24
"""A turn of no more characters than this is known only behind the same short turns."""


class Known:
    """Remembers what holders have sent and been sent, under one secret."""

    def __init__(
        self,
        secret: bytes,
        *,
        most_holders: int = MOST_HOLDERS,
        most_hashes: int = MOST_HASHES,
        most_of_one: int = MOST_OF_ONE,
    ) -> None:
        self._chunker = Chunker(secret)
        self._most_holders = most_holders
        self._most_hashes = most_hashes
        self._most_of_one = most_of_one
        self._memories: OrderedDict[Holder, _Memory] = OrderedDict()
        self._count = 0

    def new(self, holder: Holder, said: Sequence[Said]) -> tuple[Said, ...]:
        """What of this the holder has not sent or been sent before; it is remembered from now on.

        Of a turn that is known in part, the new passages are given as they stand, with line ends between.
        """
        memory = self._memory(holder)
        found = []
        before = 0
        for turn in said:
            if len(turn.text) <= SHORT:
                before = hash((before, turn.text.strip()))
                given = turn.role == ASSISTANT and memory.has(_given(turn.text))
                if not memory.meet(before) and not given:
                    found.append(turn)
                continue
            before = 0
            if text := self._new_in(turn.text, memory):
                found.append(Said(turn.role, text))
        self._bound(holder, memory)
        return tuple(found)

    def add(self, holder: Holder, texts: Iterable[str]) -> None:
        """Remember what the holder was given, line by line: who sends it back says nothing new."""
        memory = self._memory(holder)
        for text in texts:
            if len(text) <= SHORT:
                memory.meet(_given(text))
                continue
            memory.meet(_whole(text))
            for line in text.split("\n"):
                if len(line) > SHORT:
                    memory.meet(_whole(line))
        self._bound(holder, memory)

    def _new_in(self, text: str, memory: _Memory) -> str:
        if memory.meet(_whole(text)):
            return ""
        text = self._without_given_lines(text, memory)
        bounds, keys = self._chunker.cut(text)
        known = [memory.meet(key) for key in keys]
        if not any(known):
            return text
        passages: list[list[int]] = []
        for is_known, (start, end) in zip(known, pairwise(bounds), strict=True):
            if is_known:
                continue
            if passages and passages[-1][1] == start:
                passages[-1][1] = end
            else:
                passages.append([start, end])
        return "\n".join(text[start:end].strip() for start, end in passages)

    def _without_given_lines(self, text: str, memory: _Memory) -> str:
        if "\n" not in text:
            return text
        lines = text.split("\n")
        new = [line for line in lines if len(line) <= SHORT or not memory.has(_whole(line))]
        return text if len(new) == len(lines) else "\n".join(new)

    def _memory(self, holder: Holder) -> _Memory:
        memory = self._memories.get(holder)
        if memory is None:
            memory = self._memories[holder] = _Memory(self._most_of_one // 2)
        else:
            self._memories.move_to_end(holder)
            self._count -= len(memory)
        return memory

    def _bound(self, holder: Holder, memory: _Memory) -> None:
        self._count += len(memory)
        while len(self._memories) > 1 and (
            self._count > self._most_hashes or len(self._memories) > self._most_holders
        ):
            _, forgotten = self._memories.popitem(last=False)
            self._count -= len(forgotten)


class _Memory:
    """The hashes that one holder has met, in two generations of at most `most` each."""

    __slots__ = ("_most", "_old", "_young")

    def __init__(self, most: int) -> None:
        self._most = most
        # Of so many integers, a dictionary takes two thirds of what a set does.
        self._young: dict[int, None] = {}
        self._old: dict[int, None] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def has(self, key: int) -> bool:
        """Whether this has been met."""
        return key in self._young or key in self._old

    def meet(self, key: int) -> bool:
        """Likewise; it has been from now on."""
        if key in self._young:
            return True
        if len(self._young) >= self._most:
            self._old, self._young = self._young, {}
        self._young[key] = None
        return self._old.pop(key, _NEVER) is None


def _whole(text: str) -> int:
    """The hash of a whole text or line, whatever white space is round it."""
    return hash(text.strip())


def _given(text: str) -> int:
    """That of a short answer."""
    return hash(("given", text.strip()))


_NEVER = object()
