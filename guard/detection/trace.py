"""What one query and its answer leave behind: all that a profile takes in of them, as numbers.

A trace is made against the profile of the one who asked, since what that one always says weighs nothing in
it. It can then be taken into other profiles: that of a group, as if one holder had asked all of it. Nothing
of it can be read as text, and it goes into about 280 bytes.

    flags, numbers  32 bytes      what it wants, how it is drawn, whether it goes on with a conversation
    hashes          36            of all that it says, and of the wordings round it
    sketch, place   16 and 128    where it lies: as signs to be compared, and in numbers to be averaged
    words           2 for each    which words it is made of, as numbers of 12 bits, `MOST_WORDS` at most
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import TYPE_CHECKING, Self

import numpy as np

from guard.detection.intents import STRONG, Intent
from guard.detection.layout import FAMILIES, PLACES, SKETCH
from guard.detection.sight import WORD_BITS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from guard.core.query import Sampling
    from guard.detection.intents import Wants

INTENTS = (Intent.REASONING_COERCION, Intent.GRADING, Intent.HAZARD, Intent.EXTRACTION, Intent.GENERATION)
"""Those that are counted, in the order of their bits."""

MOST_WORDS = 128
"""Maximum number of words that are written down of one query: evenly drawn where there are more."""

_HEAD = Struct("<HBHfBfffffIQQQQ")
"""Flags, intents, families, temperature, the number of answers, five more numbers and five hashes."""

_MOST_WORDINGS = 3

_DISGUISED, _CONTINUED, _LOGPROBS, _LOGIT_BIAS, _SEEDED, _SKETCHED = (1 << bit for bit in range(6))

_MOST_ANSWERS = 255


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """One query with its answer, as a profile takes it in.

    `whole` stands for all that the request says, and `template` for the wording round the part that varies, 0
    where there is none; `wordings` are all that may stand there, three at most. `disguised` says that more of
    it is than of honest texts, and `continued` that it goes on with a conversation. `refused` and `bound` are
    what the backend says of it. `temperature` is not a number where none was asked for. `intents` and
    `families` are bits, by `INTENTS` and `FAMILIES`. `slot` and `answer` are logarithms to the base 2 of the
    pieces that are not common, and of the tokens of one answer, and `yields` is that of the tokens of an
    answer to a piece of what was sent. `sketch` and `place`, of shape (`PLACES`,), are where it lies; `None`
    and zeros where that is not known. `words` has a bit for the hash of each of its words.
    """

    whole: int
    template: int
    wordings: tuple[int, ...]
    disguised: bool
    refused: float
    bound: float
    continued: bool
    logprobs: bool
    logit_bias: bool
    seeded: bool
    temperature: float
    n: int
    intents: int
    families: int
    slot: float
    answer: float
    yields: float
    sketch: int | None
    place: NDArray[np.float32]
    words: int

    def write(self) -> bytes:
        """As bytes."""
        flags = (
            self.disguised * _DISGUISED
            | self.continued * _CONTINUED
            | self.logprobs * _LOGPROBS
            | self.logit_bias * _LOGIT_BIAS
            | self.seeded * _SEEDED
            | (self.sketch is not None) * _SKETCHED
        )
        head = _HEAD.pack(
            flags,
            self.intents,
            self.families,
            self.temperature,
            min(self.n, _MOST_ANSWERS),
            self.slot,
            self.answer,
            self.yields,
            self.refused,
            self.bound,
            self.whole,
            self.template,
            *(*self.wordings, 0, 0, 0)[:_MOST_WORDINGS],
        )
        sketch = (self.sketch or 0).to_bytes(SKETCH)
        return head + sketch + self.place.astype("<f2").tobytes() + _write_words(self.words)

    @classmethod
    def read(cls, data: bytes) -> Self:
        """From bytes; raises `ValueError` where they are none of a trace."""
        fixed = _HEAD.size + SKETCH + 2 * PLACES
        if len(data) < fixed or len(data) % 2 != fixed % 2 or len(data) > fixed + 2 * MOST_WORDS:
            raise ValueError("no trace")
        head = _HEAD.unpack_from(data)
        flags, intents, families, temperature, n, slot, answer, yields, refused, bound, whole = head[:11]
        template, *wordings = head[11:]
        place = np.frombuffer(data, "<f2", PLACES, _HEAD.size + SKETCH).astype(np.float32)
        words = np.frombuffer(data, "<u2", offset=fixed)
        if not np.isfinite(place).all() or not np.isfinite([slot, answer, yields, refused, bound]).all():
            raise ValueError("a trace with what is no number")
        if len(words) and int(words.max()) >= 1 << WORD_BITS:
            raise ValueError("a trace with words that are none")
        if intents >> len(INTENTS) or families >> len(FAMILIES):
            raise ValueError("a trace with intents or techniques that are none")
        return cls(
            whole=whole,
            template=template,
            wordings=tuple(each for each in wordings if each),
            disguised=bool(flags & _DISGUISED),
            refused=refused,
            bound=bound,
            continued=bool(flags & _CONTINUED),
            logprobs=bool(flags & _LOGPROBS),
            logit_bias=bool(flags & _LOGIT_BIAS),
            seeded=bool(flags & _SEEDED),
            temperature=temperature,
            n=n,
            intents=intents,
            families=families,
            slot=slot,
            answer=answer,
            yields=yields,
            sketch=int.from_bytes(data[_HEAD.size : _HEAD.size + SKETCH]) if flags & _SKETCHED else None,
            place=place,
            words=sum(1 << int(word) for word in words),
        )


def warmth(sampling: Sampling) -> float:
    """The temperature of a query as it is kept, NaN without one: else .7 would not be the same as .7."""
    asked = sampling.temperature
    return float("nan") if asked is None else float(np.float32(min(max(asked, -1e3), 1e3)))


def intent_bits(wants: Wants) -> int:
    """The intents that a query shows strongly."""
    return sum(1 << bit for bit, intent in enumerate(INTENTS) if wants.scores.get(intent, 0.0) >= STRONG)


def family_bits(wants: Wants) -> int:
    """The techniques that it tries."""
    return sum(1 << bit for bit, family in enumerate(FAMILIES) if family in wants.families)


def bits(number: int) -> Iterator[int]:
    """Which bits are set, the lowest first."""
    while number:
        lowest = number & -number
        yield lowest.bit_length() - 1
        number ^= lowest


def _write_words(words: int) -> bytes:
    packed = np.frombuffer(words.to_bytes((1 << WORD_BITS) // 8, "little"), np.uint8)
    (found,) = np.nonzero(np.unpackbits(packed, bitorder="little"))
    if len(found) > MOST_WORDS:
        found = found[np.linspace(0, len(found) - 1, MOST_WORDS).astype(np.intp)]
    return found.astype("<u2").tobytes()
