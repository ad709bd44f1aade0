"""What is remembered of how one holder behaves: a fixed number of bytes, in which nothing can be read.

A profile is one row of `LAYOUT`. It is brought forward by one query at a time (`see`), and by what its
answers have paid out when that is known (`pay`), and says how the last few hundred went
(guard/detection/signals.py reads that). Everything in it fades by use, not by the clock: each query takes the
weight `FADE` from all before it, so that about the last `HORIZON` count. Whoever comes back after a holiday
is who he was.

**What was drawn** is remembered apart (`Drawn`). There a query weighs by what its answers have paid out, in
full from a quarter of what the holder's answers pay on average, and fades what was before as far as it
weighs. So what costs next to nothing changes next to nothing: a "thanks!" after each item, or the same
question again and again, does not make somebody who copies a model look like a person or an app.

    asks             its answers pay   weighs   what is remembered of what was drawn
    an item          .08 units         1        that of it, and 199 in 200 parts of what was
    for one word     .006              .3       3 in 10 parts of it, and 1,997 in 2,000 of what was
    "thanks!"        .0004             .02      2 in 100 parts of it, and all but 1 in 10,000 of what was
    the item again   0                 0        what was

Five memories are behind the numbers:

- **common** counts, in hashed buckets, in how many of the last queries a piece of text occurred. What a
  holder always says tells nothing: a query is placed by its pieces with those that are common weighed down
  (the inverse document frequency of Spärck Jones, 1972, with the holder's own queries as the documents). So
  the template of an app falls away by itself, wherever it stands, and what is left is what varies.
- **words** is a bitmap of hashed words that the holder has used. How many of a query's are new says how fast
  its vocabulary grows (Heaps' law): an app's customers say the same few hundred words, a data set never
  stops. Where more than half of the bits are set, some are cleared, and the count is corrected.
- **recent** and **older** are sketches of the last `RING` queries, and of as many from longer ago. What a
  conversation asks next is nearer to what was asked just now than to what was asked some time; for whoever
  goes through a list it makes no difference. The nearest of several is taken, in any order, so that a few
  people who share a key do not hide each other.
- **asked** are hashes of all that each of these requests said: the same instruction on another document, or
  at another place of a conversation, is not the same query.
- **template** is the commonest wording round the queries, by Boyer and Moore's majority vote (1981).
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from math import log2
from typing import TYPE_CHECKING

import numpy as np

from guard.detection.layout import (
    BUCKETS,
    LAYOUT,
    PLACES,
    RING,
    SKETCH,
    SUMS,
    VERSION,
    Drawn,
    Sum,
)
from guard.detection.sight import WORD_BITS
from guard.detection.sketches import similarities
from guard.detection.trace import Trace, bits, family_bits, intent_bits, warmth

if TYPE_CHECKING:
    from typing import Self

    from numpy.typing import NDArray

    from guard.core.query import Usage
    from guard.detection.embedding import Bag, Embedder
    from guard.detection.sight import Sight
    from guard.detection.sketches import Sketches

HORIZON = 200

FADE = 1 - 1 / HORIZON

FULL_PAYOUT = 0.005
"""The least units from which on the answers to a query weigh in full in what was drawn."""

FULL_SHARE = 0.25
"""And the least share of what the holder's answers pay on average."""

SETTLED = 64
"""By then it is known what a holder always says; before, all that it says is new."""

HEARD_MOST = 128
"""Number of queries after which the counts of common pieces are halved."""

COMMON_FROM = 0.05
"""Share of the queries below which a piece keeps its weight."""

COMMON_HALF = 0.1
"""Share of the queries above that at which a piece has half of its weight."""

COMMON = 0.3
"""Share of the queries from which on a piece weighs nothing: what is said so often tells nothing."""

RELATED = 0.25
"""A query this similar to what the same conversation asked before goes on with it."""

SHORT = 3.0
"""So does one of fewer than seven pieces (as a logarithm): no exemplar is so short."""

USUAL_MORE = 0.35
"""How far the share of unrelated queries may be above what is usual for a holder and mean nothing: people
take up other subjects, and a batch goes on to other documents.
"""

MANY = 5
"""A query with so many answers or more asks for many."""

DAY_US, HOUR_US = 86_400_000_000, 3_600_000_000

HOURS = 168
"""Of a week."""

_INTENTS = (Sum.REASONING, Sum.GRADING, Sum.HAZARD, Sum.EXTRACTION, Sum.GENERATION)
"""Where each of `INTENTS` is counted."""


@dataclass(frozen=True, slots=True)
class Step:
    """How one query stands to the holder's others, worked out while it is taken in.

    `nearer` is by how much it is nearer to a recent one than to an older one, `None` where too little is
    known. One is `repeated` whose request says what one of the last `RING` said, word for word, and `varied`
    where that has other parameters.
    """

    trace: Trace
    repeated: bool
    varied: bool
    nearer: float | None
    similar: float | None
    new_words: float

    @property
    def continued(self) -> bool:
        """Whether it goes on with a conversation."""
        return self.trace.continued

    @property
    def unrelated(self) -> bool:
        """Whether the query stands by itself: long enough for an exemplar, near to nothing before, and no
        part of a conversation.
        """
        alone = self.trace.slot > 3.6 and self.similar is not None and self.similar < 0.15
        return alone and not self.trace.continued


class Profile:
    """What is remembered of one holder. Not for two threads at once.

    `queries` is how many were taken in, `first_day` how many of them on the first day, and `drawing` the
    weight of those that have drawn something. `drift` is how far the share of unrelated queries has gone up
    from what is usual here (a CUSUM).
    """

    def __init__(self, row: NDArray[np.void]) -> None:
        self.sums: NDArray[np.float32] = row["sums"].copy()
        self.of_drawn: NDArray[np.float32] = row["drawn"].copy()
        self.drawing = float(row["drawing"])
        self.queries, self.first_day = int(row["queries"]), int(row["first_day"])
        self.drift = float(row["drift"])
        self._usual = float(row["usual"])
        self._first_us, self._last_us = int(row["first_us"]), int(row["last_us"])
        self._hours = int.from_bytes(row["hours"].tobytes())
        self._template, self._votes = int(row["template"]), float(row["votes"])
        self._temperature = float(row["temperature"])
        self._mean: NDArray[np.float16] = row["mean"].copy()
        self._common: NDArray[np.uint8] = row["common"].copy()
        self._heard = float(row["heard"])
        # Sets of bits, and sketches, are compared faster as numbers than as arrays.
        self._words = int.from_bytes(row["words"].tobytes(), "little")
        self._asked: list[int] = row["asked"].tolist()
        self._recent = [int.from_bytes(each.tobytes()) for each in row["recent"]]
        self._older = [int.from_bytes(each.tobytes()) for each in row["older"][: row["held"]]]

    @classmethod
    def new(cls) -> Self:
        """That of a holder who has not been seen."""
        row = np.zeros((), LAYOUT)
        row["temperature"] = np.nan
        return cls(row)

    @classmethod
    def read(cls, data: bytes) -> Self:
        """From bytes; a new one where they are of another version, damaged, or none."""
        if data[:1] == _PACKED:
            data = _unpacked(data)
        if len(data) != LAYOUT.itemsize or data[0] != VERSION:
            return cls.new()
        row = np.frombuffer(data, LAYOUT)[0]
        whole = all(np.isfinite(row[name]).all() for name in _NUMBERS) and row["held"] <= RING
        return cls(row) if whole else cls.new()

    def write(self) -> bytes:
        """As bytes, `LAYOUT.itemsize` of them at most: while little is known, most of them are nought."""
        row = np.zeros((), LAYOUT)
        row["version"] = VERSION
        row["sums"], row["drawn"], row["drawing"] = self.sums, self.of_drawn, self.drawing
        row["queries"], row["first_day"] = self.queries, self.first_day
        row["drift"], row["usual"] = self.drift, self._usual
        row["first_us"], row["last_us"] = self._first_us, self._last_us
        row["hours"] = np.frombuffer(self._hours.to_bytes(HOURS // 8), np.uint8)
        row["template"], row["votes"] = self._template, self._votes
        row["temperature"] = self._temperature
        row["mean"], row["common"], row["heard"] = self._mean, self._common, self._heard
        row["words"] = np.frombuffer(self._words.to_bytes((1 << WORD_BITS) // 8, "little"), np.uint8)
        row["asked"] = self._asked
        row["recent"] = _rows(self._recent)
        row["held"] = len(self._older)
        row["older"][: len(self._older)] = _rows(self._older)
        data = row.tobytes()
        return min(data, zlib.compress(data, 1), key=len)

    @property
    def age_us(self) -> int:
        """The time from the first to the last query."""
        return self._last_us - self._first_us

    @property
    def busy_hours(self) -> int:
        """In how many of the 168 hours of a week it has asked, lately."""
        return self._hours.bit_count()

    @property
    def worded(self) -> float:
        """By how much of what was drawn the commonest wording outweighs all others: 1 where it is in every
        query, 0 where none is in half of them.
        """
        weight = self.of_drawn.item(Drawn.WEIGHT)
        return min(1.0, self._votes / weight) if weight and self._template else 0.0

    @property
    def templated(self) -> float:
        """About the share of what was drawn that came in the commonest wording; 0 where none is in most."""
        return (1 + self.worded) / 2 if self.worded > 0 else 0.0

    @property
    def mean(self) -> NDArray[np.float32]:
        """The mean of where its queries lie, in the first `PLACES` numbers of a fixed rotation."""
        return self._mean.astype(np.float32)

    def share(self, what: Sum) -> float:
        """The mean of one of the sums over the queries that count."""
        queries = self.sums.item(Sum.QUERIES)
        return self.sums.item(what) / queries if queries else 0.0

    def drawn(self, what: Drawn) -> float:
        """The mean of one of the sums over what was drawn."""
        weight = self.of_drawn.item(Drawn.WEIGHT)
        return self.of_drawn.item(what) / weight if weight else 0.0

    def placed(self, what: Drawn) -> float:
        """Likewise over those queries of which it is known how near they were."""
        placed = self.of_drawn.item(Drawn.PLACED)
        return self.of_drawn.item(what) / placed if placed else 0.0

    def see(self, sight: Sight, usage: Usage, now_us: int, embedder: Embedder, sketches: Sketches) -> Step:
        """Take in one query with its answer; returns how it stands to the others."""
        buckets = _buckets(sight.bag)
        step = self.take(self._trace(sight, usage, buckets, embedder, sketches), now_us)
        self._hear(buckets)
        return step

    def take(self, trace: Trace, now_us: int) -> Step:
        """Likewise from its trace, which may have been made against another profile; what this holder always
        says is not learnt from it.
        """
        step = self._step(trace)
        self.sums *= FADE
        self.sums += np.array(_counted(trace), np.float32)
        self._drift(step)
        self._keep_words(trace.words)
        self._asked[self.queries % RING] = trace.whole
        if trace.sketch is not None:
            self._keep_sketch(trace.sketch)
        self._mean = (self.mean * FADE + trace.place / HORIZON).astype(np.float16)
        self._date(now_us)
        self._temperature = trace.temperature
        self.queries += 1
        return step

    def pay(self, step: Step, drew: float, paid: float) -> None:
        """Take in what the answers to a query drew, and have paid out, in units."""
        self.sums[Sum.DREW] += drew
        self.sums[Sum.PAID] += paid
        weight = min(1.0, paid / max(FULL_PAYOUT, FULL_SHARE * self.drawn(Drawn.PAID)))
        if weight > 0:
            self.drawing += weight
            self.of_drawn *= 1 - weight / HORIZON
            self.of_drawn += np.array(self._drew(step, drew, paid), np.float32) * np.float32(weight)
            self._vote(step, weight)

    def _drew(self, step: Step, drew: float, paid: float) -> list[float]:
        """What a query adds to each of the sums of what was drawn, if it weighs in full."""
        added = [0.0] * len(Drawn)
        added[Drawn.WEIGHT] = 1
        trace = step.trace
        added[Drawn.CONTINUED] = trace.continued
        if step.nearer is not None:
            added[Drawn.PLACED] = 1
            added[Drawn.NEARER] = step.nearer
            added[Drawn.NEW_WORDS] = step.new_words
        added[Drawn.SLOT] = trace.slot
        added[Drawn.SLOT_SQUARED] = trace.slot**2
        added[Drawn.ANSWER] = trace.answer
        added[Drawn.ANSWER_SQUARED] = trace.answer**2
        added[Drawn.SLOT_ANSWER] = trace.slot * trace.answer
        added[Drawn.YIELD] = trace.yields
        added[Drawn.REPEATED] = step.repeated
        added[Drawn.VARIED] = step.varied
        added[Drawn.MANY] = trace.n >= MANY
        added[Drawn.UNRELATED] = step.unrelated
        added[Drawn.OFF_TEMPLATE] = step.unrelated and self._is_off_template(step)
        added[Drawn.DREW] = drew
        added[Drawn.PAID] = paid
        added[Drawn.PAID_UNRELATED] = paid * step.unrelated
        return added

    def _weights(self, buckets: NDArray[np.intp]) -> NDArray[np.float32]:
        """How much what falls into these buckets says, given what this holder always says."""
        if self._heard < 4:
            return np.ones(len(buckets), np.float32)
        share = self._common[buckets].astype(np.float32) / np.float32(self._heard)
        weights: NDArray[np.float32] = COMMON_HALF / (
            COMMON_HALF + np.maximum(share - np.float32(COMMON_FROM), 0)
        )
        # Of long queries each bucket is hit by other pieces too: that is in all of them alike.
        by_chance = float(np.add.reduce(self._common, dtype=np.intp)) / (BUCKETS * self._heard)
        weights[share > by_chance + COMMON * (1 - by_chance)] = 0
        return weights

    def _trace(
        self,
        sight: Sight,
        usage: Usage,
        buckets: NDArray[np.intp],
        embedder: Embedder,
        sketches: Sketches,
    ) -> Trace:
        """What a query leaves behind of what this holder does not always say."""
        weights = self._weights(buckets)
        vector = embedder.vector(sight.bag, weights)
        sketch = (
            int.from_bytes(sketches.sign_sketch(vector[None, :], SKETCH).tobytes()) if vector.any() else None
        )
        slot = log2(float(np.dot(sight.bag.counts, weights)) + 1)
        continued = bool(sight.earlier) and (
            slot < SHORT
            or any(
                float(np.dot(embedder.vector(bag, self._weights(_buckets(bag))), vector)) > RELATED
                for bag in reversed(sight.earlier)
            )
        )
        answer = log2(usage.output_tokens / max(1, sight.n) + 16)
        sampling = sight.sampling
        return Trace(
            whole=sight.whole,
            template=sight.template,
            wordings=sight.wordings,
            disguised=sight.disguised,
            refused=sight.refused,
            bound=sight.bound,
            continued=continued,
            logprobs=sampling.logprobs,
            logit_bias=sampling.logit_bias,
            seeded=sampling.seed is not None,
            temperature=warmth(sampling),
            n=sight.n,
            intents=intent_bits(sight.wants),
            families=family_bits(sight.wants),
            slot=slot,
            answer=answer,
            yields=answer - log2(sight.bag.size + 16),
            sketch=sketch,
            place=sketches.rotate(vector, PLACES),
            words=sight.words,
        )

    def _step(self, trace: Trace) -> Step:
        """How a query stands to those before."""
        nearer = similar = None
        if trace.sketch is not None and len(self._older) == RING:
            older = similarities(trace.sketch, self._older, SKETCH)
            similar = sum(older) / RING
            if self.queries >= SETTLED:
                nearer = max(similarities(trace.sketch, self._recent, SKETCH)) - max(older)
        repeated = trace.whole in self._asked
        return Step(
            trace=trace,
            repeated=repeated,
            varied=repeated and self._varies(trace),
            nearer=nearer,
            similar=similar,
            new_words=self._new_words(trace.words),
        )

    def _new_words(self, words: int) -> float:
        """About how many of these words are new here."""
        free = 1 - self._words.bit_count() / (1 << WORD_BITS)
        return (words & ~self._words).bit_count() / max(free, 0.25)

    def _varies(self, trace: Trace) -> bool:
        """Whether a query has a seed, or another temperature than the last query had."""
        before = self._temperature
        return trace.seeded or (before == before and trace.temperature != before)

    def _is_off_template(self, step: Step) -> bool:
        """Whether most of what was drawn has one wording, and this query another."""
        return self.templated > 0.5 and step.trace.template != self._template

    def _vote(self, step: Step, weight: float) -> None:
        """Let a query vote for its template."""
        self._votes *= 1 - weight / HORIZON
        template = step.trace.template
        if self._template == template:
            self._votes += weight
        elif self._votes < weight:
            self._template, self._votes = template, weight
        else:
            self._votes -= weight

    def _drift(self, step: Step) -> None:
        """A CUSUM (Page, 1954) of unrelated queries over what is usual for this holder."""
        unrelated = float(step.unrelated)
        if self.queries > HORIZON:
            self.drift = max(0.0, self.drift + unrelated - self._usual - USUAL_MORE)
            self._usual += (unrelated - self._usual) / 2_000
        else:
            self._usual += (unrelated - self._usual) / (self.queries + 1)

    def _hear(self, buckets: NDArray[np.intp]) -> None:
        """Count the buckets, each once."""
        self._common[buckets] += 1
        self._heard += 1
        if self._heard >= HEARD_MOST:
            self._common >>= 1
            self._heard /= 2

    def _keep_words(self, words: int) -> None:
        """Remember these, and forget some where there are too many."""
        self._words |= words
        while (known := self._words.bit_count()) > (1 << WORD_BITS) // 2:
            self._words &= _mask(self.queries + known)

    def _keep_sketch(self, sketch: int) -> None:
        """Keep a sketch in the place of the oldest recent one; of those that leave, the first few, and then
        one in eight in the place of any.
        """
        place, chance = self.queries % RING, _chance(self.queries)
        leaving, self._recent[place] = self._recent[place], sketch
        if self.queries < RING:
            return
        if len(self._older) < RING:
            self._older.append(leaving)
        elif chance % 8 == 0:
            self._older[chance // 8 % RING] = leaving

    def _date(self, now_us: int) -> None:
        if self.queries == 0:
            self._first_us = now_us
        now, last = now_us // HOUR_US, self._last_us // HOUR_US
        # The hours that passed in silence since the last query say so.
        for passed in range(last + 1, min(now, last + HOURS + 1)):
            self._hours &= ~_hour(passed)
        self._hours |= _hour(now)
        self.first_day += now_us - self._first_us < DAY_US
        self._last_us = max(self._last_us, now_us)


_NUMBERS = ("sums", "mean", "votes", "heard", "usual", "drift")
"""What a profile calculates with; anything but a number there would stay for ever."""

_PACKED = b"\x78"
"""The first byte of what zlib has packed."""


def _unpacked(data: bytes) -> bytes:
    """What was packed; nothing, where it cannot be."""
    try:
        return zlib.decompressobj().decompress(data, LAYOUT.itemsize + 1)
    except zlib.error:
        return b""


def _rows(sketches: list[int]) -> NDArray[np.uint8]:
    """Sketches as they are written."""
    return np.frombuffer(b"".join(each.to_bytes(SKETCH) for each in sketches), np.uint8).reshape(-1, SKETCH)


def _counted(trace: Trace) -> list[float]:
    """What a query adds to each of the sums of all queries."""
    added = [0.0] * SUMS
    added[Sum.QUERIES] = 1
    added[Sum.LOGITS] = 0.5 * trace.logprobs + 0.5 * trace.logit_bias
    added[Sum.DISGUISED] = trace.disguised
    added[Sum.REFUSED] = trace.refused
    added[Sum.BOUND] = trace.bound
    for bit in bits(trace.intents):
        added[_INTENTS[bit]] = 1
    for bit in bits(trace.families):
        added[Sum.FAMILY + bit] = added[Sum.TRIED] = 1
    return added


def _hour(number: int) -> int:
    """The bit of an hour of the week."""
    return 1 << HOURS - 1 - number % HOURS


def _buckets(bag: Bag) -> NDArray[np.intp]:
    return bag.kinds * 2_654_435_761 >> 7 & (BUCKETS - 1)


def _chance(number: int) -> int:
    """An even draw that is the same in every replay (a step of SplitMix64)."""
    mixed = (number + 1) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
    mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
    return mixed ^ mixed >> 31


def _mask(number: int) -> int:
    """All bits but about one in sixteen."""
    drawn = np.random.PCG64(number).random_raw((1 << WORD_BITS) // 16)
    four = drawn.view(np.uint8).reshape(4, -1)
    return ~int.from_bytes((four[0] & four[1] & four[2] & four[3]).tobytes(), "little")
