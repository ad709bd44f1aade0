"""Novelty: how much new ground a query breaks for its holder, and what that costs.

Every query falls into one cell of each of several tables (locality-sensitive hashing: what is alike tends to
fall into the same cell; Indyk and Motwani, STOC 1998). Two tables are over its wording and four over its
meaning. A holder's bitmap remembers which cells it has visited, and the novelty of a query is the share of
its cells that are new. The tables are keyed, so that nobody can aim at cells that were visited.

Long memory is the point. An app that does one thing has soon been everywhere it goes, and runs almost free;
whoever goes through a data set pays in full at every step. A bitmap that only fills up would at last let
everybody go free, so each visit also forgets one cell of its table, anywhere (a stable Bloom filter, Deng and
Rafiei, SIGMOD 2006): memory is of the last one or two thousand queries, not of all time.

What is charged is novelty times what the query may draw out of the model: `n` answers, each counted by its
length between a quarter (a label) and four (an essay), where 512 tokens are one. Amounts are in thousandths.

    a classifier's 300th query   novelty 2/6, one answer of 6 tokens (¼)     333 × ¼ =    84 thousandths
    a distiller's 300th query    novelty 5/6, one answer of 512 tokens (1)   833 × 1 =   833
    the same, n = 8              novelty 5/6, eight of 512 tokens (8)        833 × 8 = 6,667

That is its *payout*. It is known some time after the answer, when the query was looked at. Until then a
holder is charged what is usual of it, by two means over its latest answers: what one has paid out, and what
it would have, had all been new (its *draw*). Nobody waits for the analysis, and where it never comes, what
was charged stands. Of a holder of whom nothing is known all is taken for new, and each answer for a standard
one.

    a classifier, whose answers have paid out 84 of 250 lately, asks for one of up to 512 tokens
    reserved     one mean payout, but a quarter at least of what the cap allows, and all at most  250
    settled      it had 6 tokens, and drew 250; 84/250 of that                                     84
    paid out     one cell of six was new                                                           42

A diversity budget is a limit whose unit is novelty. It caps what a holder can carry off; it is no verdict on
the holder, since a curious person pays like a distiller.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

CELL_BITS = 11
"""Bits of a cell's number."""

LEXICAL_TABLES = 2
SEMANTIC_TABLES = 4

TABLES = LEXICAL_TABLES + SEMANTIC_TABLES
TABLE_BYTES = (1 << CELL_BITS) // 8

BITMAP_BYTES = TABLES * TABLE_BYTES
"""What a holder's memory of one diversity budget takes: 1,536 bytes."""

UNIT = 1_000
"""What one answer of `STANDARD_TOKENS` to a wholly novel query costs: amounts are in thousandths."""

STANDARD_TOKENS = 512
SMALLEST, LARGEST = 1 / 4, 4

RECENT_ANSWERS = 16
"""A mean over the latest answers forgets a seventeenth of itself with each."""

RESERVED = 4
"""One part of so many of what answers may draw is reserved, however little the latest ones have paid out: who
asks one thing until that is nothing, and then many others at once, takes so many times a budget at most."""


@dataclass(frozen=True, slots=True)
class Ground:
    """Where a query falls: its cells in the lexical and in the semantic tables, as far as they are known.

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


@dataclass(frozen=True, slots=True)
class Recent:
    """What one of a holder's latest answers has `paid` out on average, and what it would have, had all of it
    been new: what it `drew`. In thousandths.
    """

    paid: float = UNIT
    drew: float = UNIT

    def reserve(self, least: int, most: int) -> int:
        """What to charge before answers are known that draw so much: their mean payouts, within these, and a
        part of the most at least.
        """
        return min(most, max(least, ceil(most / RESERVED), ceil(least / least_draw(1) * self.paid)))

    def settle(self, drawn: int) -> int:
        """What to charge for answers that drew so much, until it is known what they pay out."""
        return min(drawn, ceil(drawn * self.paid / self.drew))

    def after(self, answers: int, paid: int, drawn: int) -> Recent:
        """The means with these answers."""
        weight = RECENT_ANSWERS + answers
        return Recent(
            (RECENT_ANSWERS * self.paid + paid) / weight, (RECENT_ANSWERS * self.drew + drawn) / weight
        )


NOTHING_RECENT = Recent()


def draw(n: int, output_tokens: int) -> int:
    """What `n` answers of `output_tokens` in all pay out, in thousandths, where the query is wholly novel."""
    if n < 1:
        return 0
    size = output_tokens / n / STANDARD_TOKENS
    return round(n * UNIT * min(LARGEST, max(SMALLEST, size)))


def least_draw(n: int) -> int:
    """What `n` answers draw at least."""
    return round(max(0, n) * UNIT * SMALLEST)


def covered(bitmap: bytes) -> tuple[float, ...]:
    """The share of the cells of each table that a holder has visited, lexical tables first.

    A query that has nothing to do with any before falls into a cell that was visited by that chance.
    """
    whole = bitmap.ljust(BITMAP_BYTES, b"\0")
    tables = (whole[start : start + TABLE_BYTES] for start in range(0, BITMAP_BYTES, TABLE_BYTES))
    return tuple(int.from_bytes(table).bit_count() / (TABLE_BYTES * 8) for table in tables)
