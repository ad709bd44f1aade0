"""Novelty: how much new ground an answer breaks for its holder, and what that costs.

What leaves is what can be stolen, so a diversity budget is charged on answers. An answer is cut into pieces
of about 64 tokens, and each of these falls into one of 8,192 cells (guard/detection/payout.py): what is alike
tends to fall into the same one (locality-sensitive hashing; Indyk and Motwani, STOC 1998). A holder's
coverage, a bitmap, remembers which cells its answers have visited. A piece is new whose cell is new, and the
novelty of an answer is the share of it that is. What falls where is keyed, so that nobody can aim at cells
that were visited.

Long memory is the point. An app that does one thing has soon been everywhere it goes, and runs almost free;
whoever goes through a data set pays in full at every step. A bitmap that only fills up would at last let
everybody go free, so each visit also forgets one cell, anywhere (a stable Bloom filter, Deng and Rafiei,
SIGMOD 2006): memory is of the last several thousand pieces, not of all time, and half of the cells are
visited at most, in the long run, by whoever goes everywhere.

A piece draws its tokens, where 512 tokens are one unit. It pays what it draws where it is new, and `least`
where it is not: half of that in an answer that was drawn once more to the same question, since who draws one
many times over is training on all of them. The pieces of an answer visit the coverage one after the other, so
that one that repeats another is not new. Where a share f of the cells was visited before, so many pieces are
taken for old by chance: so what the new ones pay beyond the `least` is divided by 1 - f, up to what the whole
answer draws. What all of them pay together is the *payout* of the answers, or `floor`, where that is more:
what the question itself is worth, so that labels drawn for ever new items are not free. Amounts are in
thousandths of a unit.

    10:00:00  an answer of 192 tokens ends: it draws 375. Of this holder's answers one has paid out 500 of
              1,000 lately, so its settle charges                                                        188
    10:00:01  it was read. Its first piece, of 72 tokens, is what all answers begin with                   0
              the second and the third, of 64 and 56 tokens, are new                         125 + 110 = 235
              that is its payout, which takes the place of the 188                                       235

So an answer is charged twice: when it is over, by what is usual of its holder, and when it was read, by what
it says. What is usual are two means over the latest answers: what one has paid out, and what it has drawn.
Nobody waits for the reading, and where it never comes, what was charged stands. Of a holder of whom nothing
is known all is taken for new, and each answer for a standard one.

Before the answer is known, all that the caller's cap allows is reserved while fewer than 16 answers of the
holder were read; later the mean payout for each that is asked for, but a quarter at least of what the cap
allows. A cap is taken for no less than 1/4 unit an answer and no more than 16.

A diversity budget is a limit whose unit is novelty. It caps what a holder can carry off; it is no verdict on
the holder, since a curious person pays like a distiller.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

CELLS = 8_192

BITMAP_BYTES = CELLS // 8
"""What a holder's memory of one diversity budget takes: 1,024 bytes."""

UNIT = 1_000
"""What one piece of `STANDARD_TOKENS` costs that is all new: amounts are in thousandths."""

STANDARD_TOKENS = 512

RECENT_ANSWERS = 16
"""A mean over the latest answers forgets a seventeenth of itself with each."""

LEAST_RESERVED, MOST_RESERVED = UNIT // 4, 16 * UNIT
"""What a cap is taken for that allows one answer less, or more: honest callers name caps of 32,768 tokens
and more for answers of a few hundred, and several at once.
"""

RESERVED = 4
"""One part of so many of what a cap allows is reserved, however little the latest answers have paid out: who
asks one thing until that is nothing, and then many others at once, takes so many times a budget at most."""


class Piece(NamedTuple):
    """One piece of an answer: what it pays in thousandths where it is new, and what it pays where it is not;
    and the cell that it falls into. Without one it is always new.
    """

    draw: int
    least: int
    cell: int | None


class Payout(NamedTuple):
    """What so many `answers` to one query say, a few dozen pieces at most, and the least that they are
    charged together.
    """

    pieces: tuple[Piece, ...]
    floor: int
    answers: int

    @property
    def drawn(self) -> int:
        """What is charged where all is new."""
        return max(self.floor, sum(piece.draw for piece in self.pieces))

    def charge(self, new: Sequence[bool], covered: float) -> int:
        """What is charged where these of the pieces are new, and this share of the cells was visited."""
        certain = chance = 0
        for piece, each in zip(self.pieces, new, strict=True):
            if piece.cell is None:
                certain += piece.draw
            else:
                certain += piece.least
                chance += piece.draw - piece.least if each else 0
        # Where all cells were visited the coverage is damaged, or made so; nothing is divided by zero.
        paid = certain + int(chance / max(1 / CELLS, 1 - covered))
        return min(self.drawn, max(self.floor, paid))


@dataclass(frozen=True, slots=True)
class Recent:
    """What one of a holder's latest answers has `paid` out on average, and what it would have, had all of it
    been new: what it `drew`. In thousandths. So many `answers` were read, of which no more are counted than
    make a holder known.
    """

    paid: float = UNIT
    drew: float = UNIT
    answers: int = 0

    def reserve(self, least: int, most: int) -> int:
        """What to charge before answers are known that may draw so much: the most, where few were read; else
        their mean payouts, within these, and a part of the most at least.
        """
        if self.answers < RECENT_ANSWERS:
            return most
        answers = least / LEAST_RESERVED
        return min(most, max(least, ceil(most / RESERVED), ceil(answers * self.paid)))

    def settle(self, drawn: int) -> int:
        """What to charge for answers that drew so much, until it is known what they pay out."""
        return min(drawn, ceil(drawn * self.paid / self.drew))

    def after(self, answers: int, paid: int, drawn: int) -> Recent:
        """The means with these answers."""
        weight = RECENT_ANSWERS + answers
        return Recent(
            (RECENT_ANSWERS * self.paid + paid) / weight,
            max(1.0, (RECENT_ANSWERS * self.drew + drawn) / weight),
            min(RECENT_ANSWERS, self.answers + answers),
        )


NOTHING_RECENT = Recent()


def draw(output_tokens: int) -> int:
    """What answers of so many tokens in all pay, in thousandths, where all of them is new."""
    return round(UNIT * max(0, output_tokens) / STANDARD_TOKENS)


def reserved(n: int, output_tokens: int) -> tuple[int, int]:
    """What is reserved at least, and at most, for `n` answers that may have so many tokens in all."""
    if n < 1:
        return 0, 0
    return n * LEAST_RESERVED, min(n * MOST_RESERVED, max(n * LEAST_RESERVED, draw(output_tokens)))


def covered(bitmap: bytes | bytearray) -> float:
    """The share of the cells that a holder has visited: the chance by which what has nothing to do with any
    answer before is not new.
    """
    return int.from_bytes(bitmap).bit_count() / CELLS
