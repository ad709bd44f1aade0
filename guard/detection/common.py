"""What the answers of one holder have in common: runs of characters that many of them say word for word.

Who copies a model may ask for the same filler between any two sentences of each answer, as an app may have
all of its answers in one template. Most pieces of such answers (guard/detection/payout.py) would be common
text, and fall into cells that were visited before, whatever is new in them. So common text is told from what
is new, and only half a piece of it stays with each piece.

N-grams of `GRAM` characters are counted, of which a keyed hash picks one in eight. An answer counts twice for
each n-gram that it has, and once against another one that has the same place in the table. So what most
answers say is counted up to 15, and what one says is soon forgotten. An n-gram is common that was counted
`COMMON` times, or that the same answer has had before; and so is what stands between two of them, with none
between that is picked and not common.

    answer 1    The tides follow the moon. | Let me go on with what I was asked. | They lag behind it.      1
    answer 2    Brass is an alloy.         | Let me go on with what I was asked. | It is made of zinc.      3
    answer 3    Yeast likes it warm.       | Let me go on with what I was asked. | In the cold it rests.    5
    answer 4    Clocks kept the time.      | Let me go on with what I was asked. | At sea they failed.      7
    answer 5    here "Let me go on with what I was asked." is found to be common

One run of common text is no shorter than `LEAST_RUN`: phrases of a language are shorter, mostly, and so is
what the table remembers here and there of an answer that was given before. The table has 4 KB, whatever was
said, and no text can be told from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

GRAM = 16
"""Length of the n-grams that are counted; a power of two."""

LEAST_RUN = 32
"""Length of a run of common text, at least."""

PLACES = 2_048
"""Number of n-grams that are counted for one holder, in two bytes each."""

COMMON = 6
"""An n-gram is common that was counted so often."""

_MOST = 15
_PICKED_BITS, _PLACE_BITS, _TAG_BITS, _COUNT_BITS = 3, PLACES.bit_length() - 1, 12, 4


class CommonText:
    """Counts what answers have in common, of one holder, and with the same `factor` each time."""

    __slots__ = ("_places",)

    def __init__(self) -> None:
        # In each place a part of the hash of one n-gram, and its count.
        self._places = np.zeros(PLACES, np.uint16)

    def find(self, text: str, factor: np.uint32) -> list[tuple[int, int]]:
        """Where runs of common text begin and end in an answer, which counts from now on."""
        if len(text) < GRAM:
            return []
        hashes, length = codes(text, factor), 1
        while length < GRAM:
            hashes = doubled(hashes, length, factor)
            length *= 2
        hashes = mixed(hashes, factor)
        picked = (hashes >> np.uint32(32 - _PICKED_BITS) == 0).nonzero()[0]
        found = self._count(hashes[picked] << np.uint32(_PICKED_BITS)).nonzero()[0]
        if not len(found):
            return []
        at = picked[found]
        breaks = (found[1:] - found[:-1] > 1) & (at[1:] - at[:-1] > GRAM)
        starts = at[np.concatenate(([True], breaks))]
        ends = at[np.concatenate((breaks, [True]))] + GRAM
        return [
            (start, end)
            for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
            if end - start >= LEAST_RUN
        ]

    def _count(self, hashes: NDArray[np.uint32]) -> NDArray[np.bool_]:
        """Which of the n-grams of an answer are common, which count from now on, or repeat another of it."""
        places = hashes >> np.uint32(32 - _PLACE_BITS)
        tags = hashes << np.uint32(_PLACE_BITS) >> np.uint32(32 - _TAG_BITS)
        tags = tags.astype(np.uint16) << np.uint16(_COUNT_BITS)
        before = self._places[places]
        counts = before & np.uint16(_MOST)
        same = before - counts == tags
        more = tags + np.minimum(counts + np.uint16(2), np.uint16(_MOST))
        others = np.where(counts > 0, before - np.uint16(1), tags + np.uint16(1))
        self._places[places] = np.where(same, more, others)
        again = np.ones(len(hashes), np.bool_)
        again[np.unique(hashes, return_index=True)[1]] = False
        common: NDArray[np.bool_] = again | same & (counts >= COMMON)
        return common


def codes(text: str, factor: np.uint32) -> NDArray[np.uint32]:
    """A hash of each character."""
    found = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    return (found + np.uint32(1)) * factor


def doubled(hashes: NDArray[np.uint32], length: int, factor: np.uint32) -> NDArray[np.uint32]:
    """From the hashes of all n-grams of this length, those of twice the length: of their two halves."""
    return mixed(hashes[:-length], factor) + hashes[length:]


def mixed(hashes: NDArray[np.uint32], factor: np.uint32) -> NDArray[np.uint32]:
    """Hashes whose upper bits depend on all bits."""
    return (hashes ^ hashes >> np.uint32(15)) * factor


def without_common(text: str, runs: list[tuple[int, int]], size: int) -> tuple[str, str]:
    """A text without these runs of common text, but for half a piece of them for each piece of `size`
    characters of what is new; and what was left out.

    A text with less than half a piece of what is new stays as it is: it is a template, filled in.
    """
    if not runs or 2 * (len(text) - sum(end - start for start, end in runs)) < size:
        return text, ""
    kept, left_out = [], []
    done = new = 0
    room = size // 2
    for start, end in [*runs, (len(text), len(text))]:
        new += start - done
        if new >= size:
            new, room = new % size, size // 2
        stays = min(room, end - start)
        room -= stays
        kept.append(text[done : start + stays])
        left_out.append(text[start + stays : end])
        done = end
    return "".join(kept), "".join(left_out)
