"""What the answers to a query pay out: their texts as pieces, each of which falls into a cell.

A piece is about 64 tokens of one answer, up to the end of a sentence. So what an answer always begins with,
however long, is in pieces of its own, which were visited before: it neither hides what follows nor is charged
again. The bits of a cell say on which side of a plane through the origin a piece lies (see cells.py), whose
coordinates are its n-grams of characters: 1 for each that it has. Two pieces are as near as their n-grams are
in common. The planes come from a secret, so that nobody can aim at visited cells.

    "Your order of two lamps has shipped."   next time, of four mats: 68 % in common, cos .68 (47°)
                                             each of 13 bits differs with probability 47/180
    two answers to unlike questions          3 to 8 % in common: as good as at right angles

That is wording, and not meaning, on purpose. Who wants answers that look alike to a measure of meaning need
only ask for them in a cipher: spelt backwards, in Morse, in leetspeak, with a word of filler behind each
word. Word vectors then see one language of noise. To a measure of wording any such text is new, unless it was
said before; and an app's answers, which have few meanings, have few wordings. For the same reason nothing is
decoded or left out here, be it case, spaces or signs: a text can be spelt in these alone.

What many answers of a holder have in common, word for word, could fill most of each piece, wherever it
stands. Of that, only half a piece stays with each; the rest is in pieces of its own (see common.py).

An n-gram has four characters, or eight and so on where fewer than most of a piece's would differ: what is
spelt in few signs, such as Morse, is told apart by longer runs of them.

What is drawn are the tokens that were shown, by the backend's own count, spread over the texts by their size
in UTF-8. Of tokens without a text that can be read, such as those of a picture, all is new.
"""

from __future__ import annotations

import re
from hashlib import blake2b, shake_256
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np

from guard.core.novelty import CELLS, Payout, Piece, draw
from guard.core.query import text_bytes
from guard.detection.common import codes, doubled, without_common

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from guard.core.query import Usage
    from guard.detection.common import CommonText

PIECE_BYTES = 256
"""Size of a piece at least, but for an answer's last. It ends with a sentence, or at twice that."""

MOST_PIECES = 32
"""Maximum number of pieces of a payout, and two more for each answer: of longer answers they are longer."""

MOST_ANSWERS = 32
"""Those beyond are taken for one."""

SHORTEST, LONGEST = 4, 64
"""Least and greatest length of an n-gram."""

DISTINCT = 0.7
"""The n-grams of a piece are so long that this share of them differ."""

BUCKETS = 8_192
"""Number of n-grams that are told apart."""

_CELL_BITS = CELLS.bit_length() - 1
_SHIFT = np.uint32(32 - BUCKETS.bit_length() + 1)
_END = re.compile("[.!?;:]\\s+|[\n\u3002\uff01\uff1f\uff1b]+")  # the last four are Chinese


class Payouts:
    """Makes payouts of answers; the same secret gives the same cells."""

    def __init__(self, secret: bytes) -> None:
        key = blake2b(secret, person=b"payout").digest()
        signs = np.frombuffer(shake_256(key).digest(BUCKETS * _CELL_BITS // 8), np.uint8)
        # For each plane a bit for each bucket, whether it lies on one side or on the other.
        sides = np.unpackbits(signs).reshape(BUCKETS, _CELL_BITS)
        self._planes = _packed(np.ascontiguousarray(sides.T))
        self._factor = np.uint32(int.from_bytes(key[:4]) | 1)

    def of(
        self,
        answers: Sequence[str],
        opaque_tokens: int,
        usage: Usage,
        floor: int = 0,
        common: CommonText | None = None,
    ) -> Payout:
        """What `answers` to one query pay out, of which each but the first was drawn once more.

        `usage` is that of all together, `opaque_tokens` of it were shown as something else than text, and
        `floor` is what they pay at least. `common` is what the holder's answers before had in common.
        """
        texts = [*answers[: MOST_ANSWERS - 1], "".join(answers[MOST_ANSWERS - 1 :])]
        sizes = [text_bytes(text) for text in texts]
        # What was shown as no text is hidden to who counts by the text.
        tokens = min(usage.output_tokens, usage.output_tokens - usage.hidden_tokens + opaque_tokens)
        shown, size = draw(tokens), sum(sizes)
        opaque = min(shown, draw(opaque_tokens)) if size else shown
        drawn: list[tuple[int, int]] = []
        pieces: list[str] = []
        done = 0
        for number, (text, length) in enumerate(zip(texts, sizes, strict=True)):
            for piece in self._cut(text, length, max(PIECE_BYTES, -(-size // MOST_PIECES)), common):
                before, done = done, done + text_bytes(piece)
                share = (shown - opaque) * done // size - (shown - opaque) * before // size
                drawn.append((share, share // 2 if number else 0))
                pieces.append(piece)
        charged = [Piece(*each, cell) for each, cell in zip(drawn, self._cells(pieces), strict=True)]
        if opaque:
            charged.insert(0, Piece(opaque, 0, None))
        return Payout(tuple(charged), floor, max(1, len(answers)))

    def _cut(self, text: str, length: int, size: int, common: CommonText | None) -> Iterator[str]:
        """The pieces of an answer of so many bytes, each of which has this size at least."""
        step = max(1, size * len(text) // max(1, length))
        runs = common.find(text, self._factor) if common else []
        for part in without_common(text, runs, step):
            yield from _cut(part, step)

    def _cells(self, pieces: Sequence[str]) -> list[int]:
        """The cells of a coverage that pieces fall into."""
        if not pieces:
            return []
        grams = _packed(self._grams(pieces))
        count = np.add.reduce(np.bitwise_count(grams), axis=1, dtype=np.intp)
        beside = np.add.reduce(np.bitwise_count(grams[:, None] & self._planes), axis=2, dtype=np.intp)
        sides = np.packbits(2 * beside > count[:, None], axis=1, bitorder="little")
        return [int.from_bytes(each.tobytes(), "little") for each in sides]

    def _grams(self, pieces: Sequence[str]) -> NDArray[np.bool_]:
        """Of each piece whether it has n-grams in each bucket."""
        padded = [piece.ljust(SHORTEST, "\0") for piece in pieces]
        ends = list(accumulate(map(len, padded)))
        hashes, length = codes("".join(padded), self._factor), 1
        grams = np.zeros((len(pieces), BUCKETS), np.bool_)
        left = list(range(len(pieces)))
        while left:
            hashes = doubled(hashes, length, self._factor)
            length *= 2
            if length < SHORTEST:
                continue
            buckets = hashes * self._factor >> _SHIFT
            alike = []
            for place in left:
                found, end, size = grams[place], ends[place], len(padded[place])
                found[buckets[end - size : end - length + 1]] = True
                count = size - length + 1
                if count > 2 * length and length < LONGEST and np.count_nonzero(found) < DISTINCT * count:
                    found[:] = False
                    alike.append(place)
            left = alike
        return grams


def _packed(flags: NDArray[np.bool_ | np.uint8]) -> NDArray[np.uint64]:
    """Rows of flags, as bits."""
    return np.packbits(flags, axis=1).view(np.uint64)


def _cut(text: str, step: int) -> Iterator[str]:
    """The pieces of a text, of so many characters at least."""
    start = 0
    while start < len(text):
        end = _END.search(text, start + step, start + 2 * step)
        start, before = end.end() if end else start + 2 * step, start
        yield text[before:start]
