"""What a holder has sent or been sent before, and what of a request is new.

A text is cut into chunks of about a dozen words, each of which is remembered by a keyed hash. Whether a chunk
ends behind a word depends on that word and the two before it alone: on a keyed hash of them, which says so
for one in `_WORDS_PER_CUT`. So whatever is put in front of a text, taken out of it or moved about, the chunks
elsewhere stay what they were, and are known again. A line that ends also ends a chunk.

    10:00  "… of our shop. | The customer asks how to return a pair of | red shoes without the box."
           all of it is new
    10:01  "… of our shop. | The customer asks how to return a pair of | blue socks after a month."
           new is "blue socks after a month."

Numbers, dates and ids are all alike where they are not most of a chunk, so that a template is known again
whatever its date says. A text that is known whole costs one hash. Answers are remembered whole and by their
lines, since they are mostly sent back as they were. Turns too short to tell by themselves count
with the short turns before them: or single letters, each known, could spell anything.

Memory: a hash takes 55 to 90 bytes, so `MOST_HASHES` and the hashes of words take 21 MB at most, whoever they
belong to. Each holder has `MOST_OF_ONE` at most, in two generations: when the younger has half of them, the
older is forgotten, but for what has been met since. Beyond `MOST_HASHES` or `MOST_HOLDERS`, all of the holder
that has been silent longest is forgotten.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

from guard.analyst.request_texts import ASSISTANT, Said
from guard.text.fold import UNSPACED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from guard.core.identity import Holder

MOST_HOLDERS = 4_096
MOST_HASHES = 160_000
MOST_OF_ONE = 19_200
"""Maximum numbers of holders, of hashes, and of hashes of one holder."""

LEAST_WORDS, MOST_WORDS = 4, 24
"""How many words a chunk has, but for that of a shorter text and the last."""

SHORT = 24
"""A turn of no more characters than this is known only behind the same short turns."""

_WINDOW, _WORDS_PER_CUT = 3, 8
_LONGEST_ID = 48
_MOST_REMEMBERED = 32_768
_LONGEST_REMEMBERED = 32


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
        self._chunker = _Chunker(secret)
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
                key = self._chunker.key(turn.text)
                before = hash((before, key))
                given = turn.role == ASSISTANT and memory.has(hash((_GIVEN, key)))
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
                memory.meet(hash((_GIVEN, self._chunker.key(text))))
                continue
            memory.meet(self._chunker.digest(text))
            for line in text.split("\n"):
                if len(line) > SHORT:
                    memory.meet(self._chunker.digest(line))
        self._bound(holder, memory)

    def _new_in(self, text: str, memory: _Memory) -> str:
        if memory.meet(self._chunker.digest(text)):
            return ""
        text = self._without_given_lines(text, memory)
        passages: list[list[str]] = [[]]
        all_new = True
        for chunk, key in self._chunker.chunks(text):
            if not memory.meet(key):
                passages[-1].append(chunk)
                continue
            all_new = False
            if passages[-1]:
                passages.append([])
        return text if all_new else "\n".join("".join(each).strip() for each in passages if each)

    def _without_given_lines(self, text: str, memory: _Memory) -> str:
        if "\n" not in text:
            return text
        lines = text.split("\n")
        new = [line for line in lines if len(line) <= SHORT or not memory.has(self._chunker.digest(line))]
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


class _Chunker:
    """Cuts texts into chunks, and hashes them, under one secret."""

    def __init__(self, secret: bytes) -> None:
        self._keyed = blake2b(key=blake2b(secret, person=b"known").digest(), digest_size=8)
        self._hashes = _Hashes(self.digest)

    def digest(self, text: str) -> int:
        """The hash of a whole text, whatever white space is round it."""
        copy = self._keyed.copy()
        copy.update(text.strip().encode("utf-8", "surrogatepass"))
        return int.from_bytes(copy.digest())

    def key(self, text: str) -> int:
        """The hash of a text as of one chunk."""
        return _key([self._hashes[piece] for piece in _pieces(text)])

    def chunks(self, text: str) -> Iterator[tuple[str, int]]:
        """The chunks of a text, which are all of it, each with its hash."""
        pieces = _pieces(text)
        hashes = list(map(self._hashes.__getitem__, pieces))
        alike = np.array(_alike(hashes), np.int64)
        # Of the three words up to each place, but for the first two.
        windows = alike[:-2] ^ alike[1:-1] * 3 ^ alike[2:] * 5
        # Not where it is 0: three ids in a row end nothing.
        ends = (np.flatnonzero(windows % _WORDS_PER_CUT == 1) + _WINDOW).tolist()
        if "\n" in text:
            ends = sorted({*ends, *(end for end, piece in enumerate(pieces, 1) if "\n" in piece)})
        start = 0
        for end in _spaced(ends, windows, len(pieces)):
            yield "".join(pieces[start:end]), _key(hashes[start:end])
            start = end


class _Hashes(dict[str, int]):
    """The hash of each word with what follows it, worked out when it is first asked for: negative for a
    number, a date or an id."""

    def __init__(self, digest: Callable[[str], int]) -> None:
        super().__init__()
        self._digest = digest

    def __missing__(self, piece: str) -> int:
        found = self._digest(piece) >> 4
        if len(piece) <= _LONGEST_ID and _ID.search(piece):
            found = -found
        if len(self) >= _MOST_REMEMBERED:
            self.clear()
        if len(piece) <= _LONGEST_REMEMBERED:
            self[piece] = found
        return found


def _spaced(ends: list[int], windows: NDArray[np.int64], last: int) -> Iterator[int]:
    """The ends that leave room for a chunk before and behind them, and those with the least hash where there
    is none for too long."""
    start = 0
    for end in [*ends, last]:
        while end - start > MOST_WORDS:
            among = windows[start + LEAST_WORDS - _WINDOW : start + MOST_WORDS - _WINDOW]
            start += LEAST_WORDS + int(among.argmin())
            yield start
        if end - start >= LEAST_WORDS and (end == last or last - end >= LEAST_WORDS):
            start = end
            yield end
    if start < last:
        yield last


def _key(hashes: list[int]) -> int:
    """The hash of a chunk with these words."""
    return hash(tuple(_alike(hashes)))


def _alike(hashes: list[int]) -> list[int]:
    """The hashes with those of ids alike, unless ids are most of them."""
    if min(hashes, default=0) < 0:
        alike = [each if each > 0 else 0 for each in hashes]  # noqa: FURB136 # `max` takes twice the time
        if 2 * alike.count(0) <= len(alike):
            return alike
    return hashes


def _pieces(text: str) -> list[str]:
    """The words of a text, each with what follows it up to the next."""
    return (_PIECE_IN_ASCII if text.isascii() else _PIECE).findall(text)


_WITH_DIGIT = rf"[^\W\d{UNSPACED}]*+\d[^\W{UNSPACED}]*+"
_ID = re.compile(r"\d")
_PIECE_IN_ASCII = re.compile(r"(?:[A-Za-z_]++(?!\d)|\w*\d\w*(?:[-:./+,]\w*\d\w*)*)\W*+|\W++", re.ASCII)
_PIECE = re.compile(
    rf"(?:[^\W\d{UNSPACED}]++(?!\d)|[{UNSPACED}]|{_WITH_DIGIT}(?:[-:./+,]{_WITH_DIGIT})*)\W*+|\W++"
)
_GIVEN = "given"
_NEVER = object()
