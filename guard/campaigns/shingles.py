"""The wording of a turn as a few numbers, by which it is known again when it was cut, edited or wrapped.

A shingle is five words in a row, or eight letters in scripts without spaces between words, each known by a
keyed hash. Of what was answered the `KEPT` smallest hashes are kept (A. Broder, 1997). Whatever is cut off,
the smallest of what is left are still among them; of a turn that comes back, as many are looked up as it
takes to find these where the turn has grown to three or four times its length.

    answered   350 words, 346 shingles: the eight smallest are kept
    back       its first half: about four of the eight are in it, and are the four smallest there
    back       the whole in a text three times as long: all eight, among the 32 smallest, more or less

Case, signs and white space do not count, since clients render what they show.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

from guard.text.chunks import SPACED, UNSPACED, WordHasher, characters, words_in

if TYPE_CHECKING:
    from numpy.typing import NDArray

KEPT = 8
"""Number of shingles that are kept of an answer."""

LOOKED_UP = 32
"""Maximum number of shingles of a turn that are looked for."""

WORDS, LETTERS = 5, 8
"""Length of a shingle, in words or in letters of a script without spaces."""

LEAST = 4
"""A turn with fewer shingles says too little to be known by it."""

MOST_CHARACTERS = 32_768
"""No more than this is read of a turn."""

_ENOUGH = 3
_LETTER = np.uint8(SPACED | UNSPACED)
_ASCII_LETTERS = np.array(
    [code if chr(code).isalnum() or code == ord("_") else 0 for code in range(128)], np.uint8
)
_STEPS = np.array([pow(0x9E3779B97F4A7C15, 2 * place + 1, 1 << 64) for place in range(LETTERS)], np.uint64)
_FACTOR, _HALF = np.array((0xBF58476D1CE4E5B9, 32), np.uint64)


class Shingler:
    """Finds the smallest shingles of turns, under one secret."""

    def __init__(self, secret: bytes) -> None:
        self._hasher = WordHasher(blake2b(secret, person=b"shingles").digest())

    def smallest(self, text: str, most: int) -> list[int]:
        """The smallest hashes of a turn, which have 64 bits, the smallest first; none of a short one."""
        text = text[:MOST_CHARACTERS].lower()
        if not text:
            return []
        codes, kinds = characters(text)
        bounds, inside = words_in(kinds)
        letters = _ASCII_LETTERS.take(codes) if codes.itemsize == 1 else np.where(kinds & _LETTER, codes, 0)
        hashes = self._hasher.hashes(letters, bounds)[inside & _LETTER != 0]
        unspaced = codes.itemsize > 1 and 2 * np.count_nonzero(inside & UNSPACED) > len(inside)
        shingles = _mixed(hashes, LETTERS if unspaced else WORDS)
        if len(shingles) > _ENOUGH * most:
            # To sort them all would take longer.
            shingles = np.partition(shingles, _ENOUGH * most)[: _ENOUGH * most]
        found = sorted(set(shingles.tolist()))[:most]
        return found if len(found) >= LEAST else []


def _mixed(hashes: NDArray[np.uint64], length: int) -> NDArray[np.uint64]:
    """The hashes of all runs of so many words, spread evenly as splitmix64 does it (Steele et al., 2014)."""
    count = len(hashes) - length + 1
    if count <= 0:
        return hashes[:0]
    runs: NDArray[np.uint64] = np.ndarray((count, length), hashes.dtype, hashes, strides=hashes.strides * 2)
    mixed: NDArray[np.uint64] = runs @ _STEPS[:length]
    mixed ^= mixed >> _HALF
    mixed *= _FACTOR
    mixed ^= mixed >> _HALF
    return mixed
