"""How many bytes a token has, model by model: what turns the size of a query into an estimate of its tokens.

Where the operator names a model's own `tokenizer.json`, a sample of the query is tokenized. Else the ratio
is learned from what the backend reports. Each report moves the estimate a sixteenth of the way, on a
logarithmic scale, and counts as at most a factor of two, so that one odd answer moves it by 4.4 % at most:

    a model that nobody has asked: 4 bytes a token; its answers report 3.1
    after 10 answers  4 × (3.1/4)^(1 - (15/16)^10) = 3.55
    after 50 answers  3.13

Each caller has a ratio of its own. A new one begins with the median of those of the others, one voice each,
and no further from 4 than by a factor of 1.5: nobody moves what others are charged by much. What a learned
ratio takes from a query makes its reservation smaller, never what is owed where no report follows
(`Query.without_discount`): else a client would teach a ratio with blanks, and leave before the usage of each
answer. What it adds never makes a query too large for a limit.

Whether a model hides output is learned likewise: by a caller's own reports, else by the majority of others.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from itertools import accumulate
from statistics import median
from typing import TYPE_CHECKING, TypeVar

from guard.core.globs import GlobTable, same_name
from guard.core.query import BYTES_PER_TOKEN, text_bytes
from guard.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from tokenizers import Tokenizer

    from guard.core.query import Query, Turn, Usage

K = TypeVar("K")
V = TypeVar("V")

LEAST_RATIO = 0.5
LARGEST_RATIO = 16.0
"""No text worth asking about has fewer or more bytes a token."""

WEIGHT = 1 / 16
"""How far one report moves the estimate."""

LARGEST_STEP = math.log(2)

LEAST_BYTES = 256
"""Shorter queries teach nothing: what the model's template adds to them would count as theirs."""

LARGEST_SHARE_OF_OTHERS = 1 / 4
"""Queries with a larger share of images and markers teach nothing: those tokens are a guess themselves."""

MOST_MODELS = 256
"""Maximum number of models, those used last; clients choose the names."""

MOST_HOLDERS = 64
"""Maximum number of callers with a ratio of their own for a model, those that asked last."""

MOST_BY_OTHERS = 1.5
"""A ratio that only others have taught is at most this factor from what is known without it."""

HIDDEN_SHARE = 3 / 4
"""A model hides its output where more than this share of it was not in the text, or half of the reasoning
that it reports."""

LEAST_HIDDEN = 64
"""Fewer tokens of an answer than this may be an estimate that is off, so shorter answers show nothing."""

LEAST_VOICES = 3
"""Fewer callers than this say nothing about a model to others."""

OLDEST_MEDIAN = 1 / 8
"""A median is worked out again when so many voices of it have spoken since: to sort them takes longer than
all else here."""

TOKENS_REMEMBERED = 100_000
"""How many tokens of a caller's latest answers say whether a model hides its output, about; older ones fade,
by tokens and not by answers, since short answers cost little."""

SAMPLE_CHARACTERS = 4096
SAMPLE_PLACES = 8
"""A longer query is tokenized in samples: how many characters, in how many places. It takes about a
millisecond."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the reports of one caller say of the output that it did not see: the hidden tokens, and how many
    are too many, of answers with so many tokens. `voice` is whose voice it is among others."""

    voice: Hashable
    hidden: float = 0.0
    most: float = 0.0
    output: float = 0.0

    @property
    def hides(self) -> bool:
        """Whether the model hides its output from this caller."""
        return self.hidden > self.most

    def after(self, usage: Usage) -> _Seen:
        """With one more report."""
        hidden = self.hidden + (usage.hidden_tokens if usage.hidden_tokens > LEAST_HIDDEN else 0)
        most = self.most + (usage.reasoning_tokens / 2 or usage.output_tokens * HIDDEN_SHARE)
        output = self.output + usage.output_tokens
        kept = min(1.0, TOKENS_REMEMBERED / max(1.0, output))
        return _Seen(self.voice, hidden * kept, most * kept, output * kept)


class _Ratios(OrderedDict[Hashable, float]):
    """The ratios of one model by caller, and the one in the middle of them."""

    def __init__(self) -> None:
        super().__init__()
        self.middle = BYTES_PER_TOKEN
        self._spoken = 0

    def spoke(self) -> None:
        """One of the callers has another ratio now."""
        self._spoken += 1
        if self._spoken >= OLDEST_MEDIAN * len(self):
            self.middle, self._spoken = median(self.values()), 0


_NOTHING: Mapping[Hashable, _Seen] = {}


class Estimator:
    """Knows how many bytes a token has for each model. Belongs to one process."""

    def __init__(
        self, tokenizers: Mapping[str, Path] | None = None, *, rng: random.Random | None = None
    ) -> None:
        """`tokenizers` names files by model, which may be a glob. Raises `ConfigError`."""
        self._tokenizers = _load(tokenizers or {})
        self._learned: OrderedDict[str, _Ratios] = OrderedDict()
        self._seen: OrderedDict[tuple[str, bool], OrderedDict[Hashable, _Seen]] = OrderedDict()
        self._rng = rng or random.SystemRandom()

    def hides_output(self, model: str, holder: Hashable = None, *, reasons: bool) -> bool:
        """Whether much of what an answer of this model costs may not be seen: as its reports to this caller
        have shown, of queries that ask for reasoning or of those that do not; else as those to most others
        have; before any reports, where one asks."""
        seen = self._seen.get((same_name(model), reasons), _NOTHING)
        if holder in seen:
            return seen[holder].hides
        voices = {each.voice: each.hides for each in seen.values()}
        if len(voices) < LEAST_VOICES:
            return reasons
        return sum(voices.values()) * 2 > len(voices)

    def prepare(self, query: Query, holder: Hashable = None) -> Query:
        """The query with the ratio that fits its model, and who asks."""
        tokenizer = self._tokenizers.find(query.model)
        ratio = self._measure(tokenizer, query.turns) if tokenizer is not None else None
        if ratio is not None:
            return query.with_ratio(ratio, learned=query.learned)
        ratio = self._known(query.model, holder)
        return query if ratio is None else query.with_ratio(ratio, learned=True)

    def learn(
        self,
        query: Query,
        usage: Usage,
        holder: Hashable = None,
        *,
        voice: Hashable = None,
        reasons: bool = False,
    ) -> None:
        """Take in what a query has used; what the backend did not report teaches nothing.

        `reasons` is whether the query asked for reasoning. Those with one `voice` count as one among others:
        names that nobody has checked cost nothing to make.
        """
        if usage.final and usage.output_tokens > LEAST_HIDDEN:
            model = (same_name(query.model), reasons)
            before = self._seen.get(model, _NOTHING).get(holder, _Seen(voice))
            held = _latest(self._seen, model, OrderedDict)
            _remember(held, holder, before.after(usage))
        if not usage.reported or query.input_bytes < LEAST_BYTES:
            return
        if query.other_tokens > usage.input_tokens * LARGEST_SHARE_OF_OTHERS:
            return
        seen = query.input_bytes / max(1, usage.input_tokens - query.other_tokens)
        known = self._known(query.model, holder) or BYTES_PER_TOKEN
        step = max(-LARGEST_STEP, min(LARGEST_STEP, math.log(seen / known)))
        ratio = _clamp(known * math.exp(WEIGHT * step))
        ratios = _latest(self._learned, same_name(query.model), _Ratios)
        _remember(ratios, holder, ratio)
        ratios.spoke()

    def _known(self, model: str, holder: Hashable) -> float | None:
        """The ratio of this model as far as this caller has taught it, else as the others have."""
        ratios = self._learned.get(same_name(model))
        if ratios is None:
            return None
        if holder in ratios:
            return ratios[holder]
        least, most = BYTES_PER_TOKEN / MOST_BY_OTHERS, BYTES_PER_TOKEN * MOST_BY_OTHERS
        return max(least, min(most, ratios.middle))

    def _measure(self, tokenizer: Tokenizer, turns: Sequence[Turn]) -> float | None:
        """The bytes a token of these turns has; `None` where they have no text."""
        size = tokens = 0
        for text in self._sample([turn.text for turn in turns]):
            # Half a surrogate pair is nothing that a tokenizer takes.
            sound = text.encode("utf-8", "replace").decode("utf-8")
            size += text_bytes(text)
            tokens += len(tokenizer.encode(sound, add_special_tokens=False))
        return _clamp(size / max(1, tokens)) if size else None

    def _sample(self, texts: Sequence[str]) -> Iterator[str]:
        """The texts if they are short; else a piece of each of several equal stretches, at a place that
        nobody can foresee: whoever could would pad a query with what tokenizes well just there.
        """
        ends = list(accumulate(map(len, texts)))
        total = ends[-1] if ends else 0
        if total <= SAMPLE_CHARACTERS:
            yield from texts
            return
        piece = SAMPLE_CHARACTERS // SAMPLE_PLACES
        for stretch in range(SAMPLE_PLACES):
            start = total * stretch // SAMPLE_PLACES
            spare = max(0, total * (stretch + 1) // SAMPLE_PLACES - start - piece)
            place = start + self._rng.randint(0, spare)
            turn = bisect_right(ends, place)
            within = place - (ends[turn - 1] if turn else 0)
            yield texts[turn][within : within + piece]


def _latest(table: OrderedDict[K, V], model: K, new: Callable[[], V]) -> V:
    """What is known of a model; the models that were asked last are remembered."""
    if model not in table:
        table[model] = new()
    table.move_to_end(model)
    if len(table) > MOST_MODELS:
        table.popitem(last=False)
    return table[model]


def _remember(known: OrderedDict[Hashable, V], holder: Hashable, value: V) -> None:
    """Note what is known of a caller; those that asked last are remembered."""
    known[holder] = value
    known.move_to_end(holder)
    if len(known) > MOST_HOLDERS:
        known.popitem(last=False)


def _clamp(ratio: float) -> float:
    return max(LEAST_RATIO, min(LARGEST_RATIO, ratio))


def _load(files: Mapping[str, Path]) -> GlobTable[Tokenizer]:
    if not files:
        return GlobTable.of({})
    from tokenizers import Tokenizer

    loaded = {}
    for model, file in files.items():
        try:
            tokenizer = Tokenizer.from_str(file.read_text("utf-8"))
        except OSError as error:
            raise ConfigError(f"models.tokenizers.{model} = {str(file)!r}: {error.strerror}") from error
        except Exception as error:  # the library raises `Exception` itself
            raise ConfigError(
                f"models.tokenizers.{model} = {str(file)!r}: not a tokenizer.json: {error}"
            ) from error
        # Such files may say to cut or fill what is tokenized, which would falsify its length.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        loaded[model] = tokenizer
    return GlobTable.of(loaded)
