"""What is seen of one query by itself: where it lies, of which words it is made, what it wants.

This is all that the analysis needs of a query's text. Nothing of it can be read as text, and none of it is
stored; what a holder's profile keeps of it is in guard/detection/profile.py.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from itertools import pairwise, repeat
from typing import TYPE_CHECKING

import numpy as np

from guard.text.fold import bound, fold

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from guard.core.query import Query, Sampling, Turn
    from guard.detection.embedding import Bag, Embedder
    from guard.detection.intents import Intents, Wants
    from guard.text.fingerprint import Fingerprinter
    from guard.text.fold import Folded

EARLIER_TURNS = 3
"""Number of the user's turns before a query that it is compared with."""

HONEST_SHARE = 0.02
"""Share of disguise below which a text counts as clean."""

BAGS_KEPT = 1_024

TEXTS_KEPT = 512

WORD_BITS = 12
"""Bits of the keyed hash that stands for a word."""

_SHIFT = np.uint32(32 - WORD_BITS)
_LETTERS_ALONE = bytes(code if chr(code).isalpha() else ord(" ") for code in range(128)) + bytes(128)
_RUN = re.compile(r"[^\W\d_]+")
_SPACED = re.compile(r"[\u0000-\u0dff\u10a0-\u177f\u1e00-\u2fff\uac00-\ud7af]+")


@dataclass(frozen=True, slots=True)
class Sight:
    """One query as the analysis sees it.

    `whole` stands for all that the request says, and `template` for the wording round the part that varies, 0
    where there is none; `disguised` says whether more of the text is than honest texts have. `bag` is what it
    is made of, `earlier` what the user's turns before it are made of, the latest last. `words` has a bit for
    the hash of each of its words, and `wants` is what it is after. `refused` and `bound` are what the backend
    says of it (guard/analyst/backend_words.py). `wordings` are all that stand round the part that varies, and
    `twins` the same for other operators, if anything is shared with them.
    """

    whole: int
    template: int
    disguised: bool
    sampling: Sampling
    n: int
    bag: Bag
    earlier: tuple[Bag, ...]
    words: int
    wants: Wants
    refused: float = 0.0
    bound: float = 0.0
    wordings: tuple[int, ...] = ()
    twins: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Seen:
    """What is seen of a text by itself; see `Sight`."""

    bag: Bag
    words: int
    wants: Wants


class Looker:
    """Looks at queries. Pure but for caches; it may be used from several threads."""

    def __init__(
        self, fingerprinter: Fingerprinter, embedder: Embedder, intents: Intents, secret: bytes
    ) -> None:
        self.embedder = embedder
        self._fingerprinter = fingerprinter
        # What was said earlier in a conversation has mostly been read already.
        self._read = lru_cache(BAGS_KEPT)(embedder.read)
        self._read_turn = lru_cache(BAGS_KEPT)(lambda text: self._read(fold(text).text))
        # And what is asked once is asked again: by tests, by a program that failed, for another answer.
        self._see = lru_cache(TEXTS_KEPT)(self._seen)
        # The same system prompt comes with every request.
        self._want = lru_cache(TEXTS_KEPT)(intents.read)
        self._intents = intents
        self._seed = zlib.crc32(b"words", zlib.crc32(secret))
        self._key = blake2b(secret, person=b"whole").digest()

    def look(self, query: Query, text: str = "", beside: Iterable[str] = (), whole: str = "") -> Sight:
        """What is seen of a query: of this text, which is what of it is new to its holder, or where all of it
        has been said before, of the query proper.

        What it wants is also read in the query proper, and in what else is sent `beside` it: who wants the
        same each time may say so in the same words. `whole` is all that the request says; without it, all
        that its turns do.
        """
        fingerprint = self._fingerprinter.fingerprint(query)
        folded = fold(text) if text else fingerprint.folded
        seen = self._see(folded)
        said = [self._want(fold(each).text) for each in beside]
        if folded != fingerprint.folded:
            said.append(self._want(fingerprint.folded.text))
        return Sight(
            self._stands_for(whole or "\n".join(turn.text for turn in query.turns)),
            fingerprint.template,
            folded.disguise.share > HONEST_SHARE,
            query.sampling,
            query.n,
            seen.bag,
            tuple(self._read_turn(bound(turn)) for turn in _earlier(query.turns)),
            seen.words,
            seen.wants.together(said) if said else seen.wants,
            wordings=fingerprint.wordings,
            twins=fingerprint.twins,
        )

    def _stands_for(self, text: str) -> int:
        """A keyed hash of four bytes, which is not 0."""
        said = text.encode("utf-8", "surrogatepass")
        return int.from_bytes(blake2b(said, digest_size=4, key=self._key).digest()) or 1

    def _seen(self, folded: Folded) -> Seen:
        bag = self._read(folded.text)
        wants = self._intents.read(folded.text, self.embedder.vector(bag))
        return Seen(bag, _words(folded.text, self._seed), wants)


def _words(text: str, seed: int) -> int:
    """The words of a text, with a bit for the hash of each: runs of letters, and pairs of letters where there
    are no spaces between words.
    """
    if text.isascii():
        runs = text.encode().translate(_LETTERS_ALONE).split()
    else:
        runs = [run.encode("utf-8", "surrogatepass") for run in _runs(text)]
    said = np.zeros(1 << WORD_BITS, np.bool_)
    said[np.fromiter(map(zlib.crc32, runs, repeat(seed)), np.uint32, len(runs)) >> _SHIFT] = True
    return int.from_bytes(np.packbits(said, bitorder="little").tobytes(), "little")


def _runs(text: str) -> set[str]:
    """What a text is made of: runs of letters, or pairs of them where there are no spaces between words."""
    runs: set[str] = set()
    for run in _RUN.findall(text):
        if run.isascii() or _SPACED.fullmatch(run):
            runs.add(run)
        else:
            runs.update(map("".join, pairwise(run)))
    return runs


def _earlier(turns: Sequence[Turn]) -> list[str]:
    """What the user said before the assistant's last turn: the last few turns of it."""
    place = len(turns)
    while place > 0 and turns[place - 1].role != "assistant":
        place -= 1
    return [turn.text for turn in turns[:place] if turn.role == "user"][-EARLIER_TURNS:]
