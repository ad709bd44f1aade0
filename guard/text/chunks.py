"""Texts cut into chunks of about a dozen words, each with a keyed hash.

Whether a chunk ends behind a word depends on that word and the two before it alone: on a keyed hash of them,
which says so for one in eight. So whatever is put in front of a text, taken out of it or moved about, the
chunks elsewhere stay what they were. A line that ends also ends a chunk.

A word is a run of letters and digits with what follows it up to the next, and each letter is one in scripts
without spaces between words. Those with a digit are numbers, dates and ids. They are all alike where they are
not most of a chunk, so that a template is known again whatever its date says.

The hash of a word is the sum of its characters, each times a number that stands for its place in the word,
modulo 2⁶⁴. The numbers come from a secret, so the upper bits of two words agree by chance alone (Carter and
Wegman, 1979; Lemire and Kaser, "Strongly universal string hashing is fast", 2014). A few operations on arrays
of characters find and hash all words of a text, in less time than it takes to look them up.
"""

from __future__ import annotations

import re
from hashlib import blake2b, shake_256
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from guard.text.fold import UNSPACED as UNSPACED_LETTERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

LEAST_WORDS, MOST_WORDS = 4, 24
"""How many words a chunk has, but for that of a shorter text and the last."""

LONGEST_ID = 48
"""A longer word is no id, whatever digits it has."""

PLACES = 4_096
"""Number of places in a word that are told apart; in a longer one they begin again."""

SPACED, UNSPACED, DIGIT, JOINT, LINE_END = 1, 2, 4, 8, 16
"""What a character is, in bits: part of a word that spaces part from others, and there a digit; a letter of a
script that spaces no words, or anything beyond the Basic Multilingual Plane; what joins the parts of a date
or an id; a line end."""

_WINDOW = 3
_WORDS_AT_ONCE = 16_384
_BEYOND = 0xFFFF  # no character has this code
_ALIKE, _SECOND, _THIRD, _CUT, _UPPER = np.array((0, 3, 5, 1, 61), np.uint64)


class Chunks(NamedTuple):
    """The chunks of a text: where each begins, and where the last ends; and the hash of each."""

    bounds: list[int]
    keys: list[int]


class WordHasher:
    """Hashes words under one key."""

    def __init__(self, key: bytes) -> None:
        self._factors = np.frombuffer(shake_256(key).digest(8 * PLACES), np.dtype("<u8"))

    def hashes(self, codes: NDArray[np.unsignedinteger], bounds: NDArray[np.intp]) -> NDArray[np.uint64]:
        """The hash of each word; of a long text some at a time, since they take eight times its memory."""
        some = range(0, len(bounds) - 1, _WORDS_AT_ONCE)
        return np.concatenate([self._hash(codes, bounds[i : i + _WORDS_AT_ONCE + 1]) for i in some])

    def _hash(self, codes: NDArray[np.unsignedinteger], bounds: NDArray[np.intp]) -> NDArray[np.uint64]:
        starts = bounds[:-1] - bounds[0]
        codes = codes[bounds[0] : bounds[-1]]
        places = np.arange(len(codes)) - np.repeat(starts, bounds[1:] - bounds[:-1])
        return np.add.reduceat(codes * self._factors.take(places, mode="wrap"), starts)


class Chunker:
    """Cuts texts into chunks, and hashes them, under one secret."""

    def __init__(self, secret: bytes) -> None:
        self._hasher = WordHasher(blake2b(secret, person=b"chunks").digest())

    def cut(self, text: str) -> Chunks:
        """The chunks of a text, which are all of it; of an empty text none."""
        if not text:
            return Chunks([0], [])
        codes, kinds = characters(text)
        bounds, found = words_in(kinds)
        hashes = self._hasher.hashes(codes, bounds)
        ids = (found & DIGIT != 0) & (bounds[1:] - bounds[:-1] <= LONGEST_ID)
        alike = np.where(ids, _ALIKE, hashes)
        marks = hashes if 2 * np.count_nonzero(ids) > len(ids) else alike
        # Of the three words up to each place, but for the first two.
        windows = marks[:-2] ^ marks[1:-1] * _SECOND ^ marks[2:] * _THIRD
        ends = found & LINE_END != 0
        # Not where it is 0: three ids in a row end nothing.
        ends[_WINDOW - 1 :] |= windows >> _UPPER == _CUT
        places = [0, *_spaced((ends.nonzero()[0] + 1).tolist(), windows, len(hashes))]
        return Chunks(bounds[places].tolist(), _keys(places, ids, hashes, alike))


def characters(text: str) -> tuple[NDArray[np.unsignedinteger], NDArray[np.uint8]]:
    """The code of each character, and what it is."""
    if text.isascii():
        codes = np.frombuffer(text.encode(), np.uint8)
        return codes, _KINDS.take(codes)
    wide = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.dtype("<u4"))
    return wide, _KINDS.take(np.minimum(wide, _BEYOND))


def words_in(kinds: NDArray[np.uint8]) -> tuple[NDArray[np.intp], NDArray[np.uint8]]:
    """Where each word begins, and where the last ends; and what there is in each. Of characters by what they
    are, of which there is one at least."""
    inside = kinds & (SPACED | UNSPACED)
    begins = np.ones(len(kinds) + 1, np.bool_)
    np.greater(inside[1:], inside[:-1] & SPACED, out=begins[1:-1])
    bounds = begins.nonzero()[0]
    found = np.bitwise_or.reduceat(kinds, bounds[:-1])
    both = found[1:] & found[:-1] & DIGIT
    if both.any():
        # A date or an id is one word, whatever joins its parts.
        seconds = bounds[1:-1][both != 0]
        joined = (kinds[seconds - 1] & JOINT != 0) & (kinds[seconds - 2] & SPACED != 0)
        begins[seconds[joined]] = False
        bounds = begins.nonzero()[0]
        found = np.bitwise_or.reduceat(kinds, bounds[:-1])
    return bounds, found


def _spaced(ends: list[int], windows: NDArray[np.uint64], last: int) -> Iterator[int]:
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


def _keys(
    places: list[int], ids: NDArray[np.bool_], hashes: NDArray[np.uint64], alike: NDArray[np.uint64]
) -> list[int]:
    """The hash of each chunk, of those of its words, where ids are `alike` unless they are most of it."""
    is_id, words, words_alike = ids.tobytes(), hashes.tobytes(), alike.tobytes()
    return [
        hash((words if 2 * is_id.count(1, start, end) > end - start else words_alike)[8 * start : 8 * end])
        for start, end in pairwise(places)
    ]


def _kinds() -> NDArray[np.uint8]:
    """What each character of the Basic Multilingual Plane is."""
    every = "".join(map(chr, range(_BEYOND)))
    kinds = np.zeros(_BEYOND + 1, np.uint8)
    for pattern, kind in ((r"\w", SPACED), (r"\d", SPACED | DIGIT), (f"[{UNSPACED_LETTERS}]", UNSPACED)):
        kinds[[match.start() for match in re.finditer(pattern, every)]] = kind
    kinds[_BEYOND] = UNSPACED
    kinds[ord("\n")] = LINE_END
    kinds[list(b"-:./+,")] = JOINT
    return kinds


_KINDS = _kinds()
