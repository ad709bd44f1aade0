"""Novelty: how much new ground an answer breaks for its holder, and what that costs.

What leaves is what can be stolen, so a diversity budget is charged on answers. An answer is cut into pieces
of about 64 tokens (guard/detection/payout.py). Each piece falls into one cell of each of several tables
(locality-sensitive hashing: what is alike tends to fall into the same cell; Indyk and Motwani, STOC 1998). A
holder's coverage, a bitmap, remembers which cells its answers have visited, and the novelty of a piece is the
share of its cells that are new. The tables are keyed, so that nobody can aim at cells that were visited.

Long memory is the point. An app that does one thing has soon been everywhere it goes, and runs almost free;
whoever goes through a data set pays in full at every step. A bitmap that only fills up would at last let
everybody go free, so each visit also forgets one cell of its table, anywhere (a stable Bloom filter, Deng and
Rafiei, SIGMOD 2006): memory is of the last one or two thousand pieces, not of all time.

A piece draws its tokens, where 512 tokens are one unit. It pays its draw times its novelty, or `least`, where
that is more: half of its draw in an answer that was drawn once more to the same question, since who draws one
many times over is training on all of them. The pieces of an answer visit the coverage one after the other, so
that one that repeats another is not new. What all of them pay together is the *payout* of the answers, or
`floor`, where that is more: what the question itself is worth, so that labels drawn for ever new items are
not free. Amounts are in thousandths of a unit.

    10:00:00  an answer of 192 tokens ends: it draws 375. Of this holder's answers one has paid out 500 of
              1,000 lately, so its settle charges                                                        188
    10:00:01  it was read. Its first piece, of 72 tokens, is what all answers begin with   140 × 0/6 =     0
              the second, of 64 tokens, finds 4 of 6 cells new                             125 × 4/6 =    84
              the third, of 56 tokens, 6 of 6                                              110 × 6/6 =   110
              that is its payout, which takes the place of the 188                                       194

So an answer is charged twice: when it is over, by what is usual of its holder, and when it was read, by what
it says. What is usual are two means over the latest answers: what one has paid out, and what it has drawn.
Nobody waits for the reading, and where it never comes, what was charged stands. Of a holder of whom nothing
is known all is taken for new, and each answer for a standard one.

Before the answer is known, the mean payout is reserved for each that is asked for, but a quarter at least of
what the caller's cap allows, which is taken for no less than 1/4 and no more than 4 units.

A diversity budget is a limit whose unit is novelty. It caps what a holder can carry off; it is no verdict on
the holder, since a curious person pays like a distiller.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

CELL_BITS = 11
"""Bits of a cell's number."""

LEXICAL_TABLES = 2
SEMANTIC_TABLES = 4

TABLES = LEXICAL_TABLES + SEMANTIC_TABLES
TABLE_BYTES = (1 << CELL_BITS) // 8

BITMAP_BYTES = TABLES * TABLE_BYTES
"""What a holder's memory of one diversity budget takes: 1,536 bytes."""

UNIT = 1_000
"""What one piece of `STANDARD_TOKENS` costs that is all new: amounts are in thousandths."""

STANDARD_TOKENS = 512

RECENT_ANSWERS = 16
"""A mean over the latest answers forgets a seventeenth of itself with each."""

LEAST_RESERVED, MOST_RESERVED = UNIT // 4, 4 * UNIT
"""What a cap is taken for that allows one answer less, or more: who names none reserves no more than that."""

RESERVED = 4
"""One part of so many of what a cap allows is reserved, however little the latest answers have paid out: who
asks one thing until that is nothing, and then many others at once, takes so many times a budget at most."""


@dataclass(frozen=True, slots=True)
class Ground:
    """Where a text falls: its cells in the lexical and in the semantic tables, as far as they are known.

    One without any cells, such as a query in pictures only, is all new.
    """

    lexical: tuple[int, ...] = ()
    semantic: tuple[int, ...] = ()

    @property
    def places(self) -> tuple[int, ...]:
        """The bits of a holder's bitmap that stand for these cells: table after table."""
        lexical = (table << CELL_BITS | cell for table, cell in enumerate(self.lexical))
        semantic = (table << CELL_BITS | cell for table, cell in enumerate(self.semantic, LEXICAL_TABLES))
        return (*lexical, *semantic)


NOWHERE = Ground()


class Piece(NamedTuple):
    """One piece of an answer: what it would pay, were it all new, and what it pays at least, in thousandths;
    and the bits of a coverage that it visits. Without any it is all new.
    """

    draw: int
    least: int
    places: tuple[int, ...]

    def charge(self, new: int) -> int:
        """What it pays where so many of its places are new."""
        # Multiplied first: a share such as 2/6 is no double, and would be rounded up to one too many.
        paid = ceil(self.draw * new / len(self.places)) if self.places else self.draw
        return max(self.least, paid)


class Payout(NamedTuple):
    """What so many `answers` to one query say, a few dozen pieces at most, and the least that they are
    charged together.
    """

    pieces: tuple[Piece, ...]
    floor: int
    answers: int

    def charge(self, new: Sequence[int]) -> int:
        """What is charged where so many places of each piece are new."""
        paid = [piece.charge(places) for piece, places in zip(self.pieces, new, strict=True)]
        return max(self.floor, sum(paid))


@dataclass(frozen=True, slots=True)
class Recent:
    """What one of a holder's latest answers has `paid` out on average, and what it would have, had all of it
    been new: what it `drew`. In thousandths.
    """

    paid: float = UNIT
    drew: float = UNIT

    def reserve(self, least: int, most: int) -> int:
        """What to charge before answers are known that may draw so much: their mean payouts, within these,
        and a part of the most at least.
        """
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
        )


NOTHING_RECENT = Recent()


def draw(output_tokens: int) -> int:
    """What answers of so many tokens in all pay, in thousandths, where all of them is new."""
    return round(UNIT * max(0, output_tokens) / STANDARD_TOKENS)


def reserved(n: int, output_tokens: int) -> tuple[int, int]:
    """What is reserved at least, and at most, for `n` answers that may have so many tokens in all."""
    if n < 1:
        return 0, 0
    most = min(n * MOST_RESERVED, max(n * LEAST_RESERVED, draw(output_tokens)))
    return n * LEAST_RESERVED, most


def covered(bitmap: bytes) -> tuple[float, ...]:
    """The share of the cells of each table that a holder has visited, lexical tables first.

    A piece that has nothing to do with any before falls into a cell that was visited by that chance.
    """
    whole = bitmap.ljust(BITMAP_BYTES, b"\0")
    tables = (whole[start : start + TABLE_BYTES] for start in range(0, BITMAP_BYTES, TABLE_BYTES))
    return tuple(int.from_bytes(table).bit_count() / (TABLE_BYTES * 8) for table in tables)
