"""A query reduced so that near-repeats collide, and so that nobody can aim.

Two reductions, each for a question of its own:

    cells            which ground does it touch?   few bits, so that texts on one subject meet by and by
    head, system     is it that program again?     the wording round the part that varies

Cells come from MinHash: the smallest of many keyed hashes of a text's shingles, here pairs of neighbouring
words. Two texts have the same smallest hash as often as a shingle of either is one of both: that is their
Jaccard similarity J (Broder 1997). A cell is one such hash, so near-repeats share J of their cells.

    "Add 17 to 25 and explain."  and  "Add 3 to 4 and explain."    the same: a number is a number
    one word of thirty changed                                     J = 27/31, so both cells in 3 of 4 cases

Words are runs of letters and digits, in scripts that space them. Of Chinese, Japanese, Thai and the like each
character is one, so that a shingle is a pair of characters.

Everything is keyed by a secret: each word by BLAKE2b, before MinHash sees it, and MinHash's own permutations.
So who does not know the secret can neither tell what collides nor choose words that do. Nothing depends on
the process, nor on the version of Python but for what its Unicode takes for a letter.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from operator import add
from struct import Struct
from typing import TYPE_CHECKING

from rensa import RMinHash  # type: ignore[import-untyped] # it has no types

from guard.core.novelty import CELL_BITS, LEXICAL_TABLES
from guard.text.fold import Folded, bound, fold, words_of
from guard.text.memo import WordMemo

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guard.core.query import Query, Turn

HEAD_WORDS = 8
"""The first words of a query that are its head."""

MOST_WORDS = 3072
"""Maximum number of words compared; of a longer text, the first and the last half of it. Only scripts whose
characters are words reach it."""

LEAST_SECRET_BYTES = 16
"""A shorter secret could be found by trying."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What is kept of a query: nothing that can be read, except `folded`, which stays in the process.

    `folded` is the query proper: the last turns of the user, up to the assistant's turn before. `cells` are
    `LEXICAL_TABLES` numbers below 2**CELL_BITS, none for a query without words. A cell is compared only with
    that in the same place.

    The other hashes have 64 bits, and are 0 where there is nothing to hash. They are of words with numbers
    made equal: `system` of what the system and developer turns say; `head` of the first `HEAD_WORDS` words of
    the query proper, in which quotations, code, addresses and long literals are made equal too. A query with
    fewer than twice as many words has no head: a short question that is asked twice is no wrapper.
    """

    folded: Folded
    cells: tuple[int, ...]
    head: int
    system: int


@dataclass(frozen=True, slots=True)
class Sketch:
    """As much of a fingerprint as is worked out before a query is admitted."""

    folded: Folded
    cells: tuple[int, ...]


class Fingerprinter:
    """Makes fingerprints with one secret, of 16 bytes or more; raises `ValueError` for a shorter one.

    Fingerprints are comparable between all processes with the secret, and with no others.
    """

    def __init__(self, secret: bytes) -> None:
        if len(secret) < LEAST_SECRET_BYTES:
            raise ValueError(f"the secret has {len(secret)} bytes; it needs {LEAST_SECRET_BYTES} or more")

        def keyed(purpose: bytes) -> blake2b:
            return blake2b(key=key, digest_size=8, person=purpose)

        key = blake2b(secret, person=b"fingerprint").digest()
        self._of_cells = _hash(keyed(b"of cells"), b"")
        self._cell, self._head = keyed(b"cell"), keyed(b"head")
        by_word = keyed(b"word")
        self._words = WordMemo(lambda word: _digest(by_word, _NUMBER.sub("0", word).encode()))
        by_system = keyed(b"system")

        @lru_cache(maxsize=_MOST_KNOWN_SYSTEMS)
        def system_hash(text: str) -> int:
            words = fold(text).words
            return _hash(by_system, " ".join(map(_masked, words)).encode()) if words else 0

        self._system = system_hash

    def sketch(self, query: Query) -> Sketch:
        """What has to be known of a query before it is admitted. Pure."""
        folded = fold(_joined(_proper(query.turns)))
        return Sketch(folded, self._cells(folded.words))

    def fingerprint(self, query: Query, sketch: Sketch | None = None) -> Fingerprint:
        """The fingerprint of a query, of which the sketch may be there already. Pure."""
        sketch = sketch or self.sketch(query)
        head = " ".join(_head(sketch.folded.text, sketch.folded.words)).encode()
        return Fingerprint(
            sketch.folded,
            cells=sketch.cells,
            head=_hash(self._head, head) if head else 0,
            system=self._system(_joined([turn for turn in query.turns if turn.role in _SYSTEM_ROLES])),
        )

    def _cells(self, words: Sequence[str]) -> tuple[int, ...]:
        minima = _minima(self._shingles(words), LEXICAL_TABLES, self._of_cells)
        return tuple(_hash(self._cell, _CELL.pack(each)) >> (64 - CELL_BITS) for each in minima)

    def _shingles(self, words: Sequence[str]) -> list[bytes]:
        """The pairs of neighbours of keyed words; a single word is one by itself."""
        if len(words) > MOST_WORDS:
            words = [*words[: MOST_WORDS // 2], *words[-MOST_WORDS // 2 :]]
        keyed = list(map(self._words.__getitem__, words))
        return list(map(add, keyed, keyed[1:])) or keyed


def _minima(shingles: list[bytes], count: int, seed: int) -> list[int]:
    """MinHash values of the shingles, 32 bits each; none for no shingles."""
    if not shingles:
        return []
    sketch = RMinHash(num_perm=count, seed=seed)
    sketch.update(shingles)
    minima: list[int] = sketch.digest()
    return minima


def _hash(keyed: blake2b, data: bytes) -> int:
    return int.from_bytes(_digest(keyed, data))


def _digest(keyed: blake2b, data: bytes) -> bytes:
    """The hash of the data with what `keyed` has been given already; a copy costs less than the key does."""
    copy = keyed.copy()
    copy.update(data)
    return copy.digest()


_CELL = Struct("<I")
_MOST_KNOWN_SYSTEMS = 256
_SYSTEM_ROLES = frozenset({"system", "developer"})


def _joined(turns: Sequence[Turn]) -> str:
    """What the turns say, no longer than what is folded of it."""
    return bound("\n".join(bound(turn.text) for turn in turns))


def _proper(turns: Sequence[Turn]) -> list[Turn]:
    """The query proper: the user's last turns, without an assistant's between.

    What follows them is left out: the beginning of an answer that the model is to continue, or the calls of
    tools and their results, which belong to the same query. Without any turn of the user, all that is not the
    system's is the query.
    """
    proper: list[Turn] = []
    answered = False
    for turn in turns:
        if turn.role == "user":
            if answered:
                proper = []
            proper.append(turn)
            answered = False
        elif turn.role == "assistant":
            answered = True
    return proper or [turn for turn in turns if turn.role not in _SYSTEM_ROLES]


_NUMBER = re.compile(r"\d+")

_LITERAL = " literal "
_LONGEST_WORD = 32
_MARK = re.compile("[\"`'«「『《\u2018\u201c\u201e]")
# Each branch begins with a mark of quotation, so that a text is searched for those only, and ends before the
# next such mark, so that marks without an end cost no more than others.
_QUOTED = re.compile(
    r"```[^`]*```|`[^`]*`"
    r'|"[^"]*"|\u201c[^\u201c\u201d]*\u201d|\u201e[^\u201c-\u201e]*[\u201c\u201d]|\u2018[^\u2018\u2019]*\u2019'
    r"|«[^«»]*»|「[^「」]*」|『[^『』]*』|《[^《》]*》|'(?<!\w')[^']*'(?!\w)"
)


def _head(text: str, words: Sequence[str]) -> list[str]:
    """The first words of a folded text, with what a program would fill in made equal; none of a short one."""
    masked = _QUOTED.sub(_LITERAL, text) if _MARK.search(text) else text
    if "@" in masked or "://" in masked:
        masked = " ".join(_LITERAL if "@" in word or "://" in word else word for word in masked.split())
    if masked != text:
        words = words_of(masked)
    return list(map(_masked, words[:HEAD_WORDS])) if len(words) >= 2 * HEAD_WORDS else []


def _masked(word: str) -> str:
    return _NUMBER.sub("0", word) if len(word) <= _LONGEST_WORD else _LITERAL
