"""How many bytes a token has, model by model: what turns the size of a query into an estimate of its tokens.

Where the operator names a model's own `tokenizer.json`, a sample of the query is tokenized. Else the ratio
is learned from what the backend reports. Each report moves the estimate a sixteenth of the way, on a
logarithmic scale, and counts as at most a factor of two, so that one odd answer moves it by 4.4 % at most:

    a model that nobody has asked: 4 bytes a token; its answers report 3.1
    after 10 answers  4 × (3.1/4)^(1 - (15/16)^10) = 3.55
    after 50 answers  3.13

Each caller has a ratio of its own. A new one begins with the median of those of the others, one voice each,
and no further from 4 than by a factor of 1.5: nobody moves what others are charged by much. An estimate is
settled by the report that follows it, so a client that teaches a wrong ratio gains nothing but a wrong
reservation; and what a learned ratio adds to a query never makes it too large for a limit.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections import OrderedDict
from dataclasses import replace
from itertools import accumulate
from statistics import median
from typing import TYPE_CHECKING

from guard.core.globs import GlobTable
from guard.core.query import BYTES_PER_TOKEN, text_bytes
from guard.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping, Sequence
    from pathlib import Path

    from tokenizers import Tokenizer

    from guard.core.query import Query, Turn, Usage

LEAST_RATIO = 0.5
LARGEST_RATIO = 16.0
"""No text worth asking about has fewer or more bytes a token."""

WEIGHT = 1 / 16
"""How far one report moves the estimate."""

LARGEST_STEP = math.log(2)

LEAST_BYTES = 256
"""Shorter queries teach nothing: what the model's template adds to them would count as theirs."""

LARGEST_SHARE_OF_OTHERS = 1 / 4
"""Nor do queries of which more than this is images and markers, whose tokens are a guess themselves."""

MOST_MODELS = 256
"""So many models are remembered, those used last; clients choose the names."""

MOST_HOLDERS = 64
"""So many callers have a ratio of their own for a model, those that asked last."""

MOST_BY_OTHERS = 1.5
"""A ratio that only others have taught is at most this factor from what is known without it."""

HIDDEN_SHARE = 3 / 4
"""A model hides its output where more than this share of it was not in the text, or half of the reasoning
that it reports."""

LEAST_HIDDEN = 64
"""Fewer tokens than this may be an estimate that is off."""

SAMPLE_CHARACTERS = 4096
SAMPLE_PLACES = 8
"""Longer queries are tokenized at so many places, altogether that much: that takes about a
millisecond."""


class Estimator:
    """Knows how many bytes a token has for each model. Belongs to one process."""

    def __init__(
        self, tokenizers: Mapping[str, Path] | None = None, *, rng: random.Random | None = None
    ) -> None:
        """`tokenizers` names files by model, which may be a glob. Raises `ConfigError`."""
        self._tokenizers = _load(tokenizers or {})
        self._learned: OrderedDict[str, OrderedDict[Hashable, float]] = OrderedDict()
        self._hidden: OrderedDict[tuple[str, bool], bool] = OrderedDict()
        self._rng = rng or random.SystemRandom()

    def hides_output(self, model: str, *, reasons: bool) -> bool:
        """Whether much of what an answer of this model costs may not be seen: as its reports have shown of
        queries that ask for reasoning, or of those that do not; before any report, where one asks."""
        return self._hidden.get((model, reasons), reasons)

    def prepare(self, query: Query, holder: Hashable = None) -> Query:
        """The query with the ratio that fits its model, and who asks."""
        tokenizer = self._tokenizers.find(query.model)
        ratio = self._measure(tokenizer, query.turns) if tokenizer is not None else None
        if ratio is not None:
            return replace(query, bytes_per_token=ratio)
        ratio = self._known(query.model, holder)
        return query if ratio is None else replace(query, bytes_per_token=ratio, learned=True)

    def learn(self, query: Query, usage: Usage, holder: Hashable = None, *, reasons: bool = False) -> None:
        """Take in what a query has used; what the backend did not report teaches nothing.

        `reasons` is whether the query asked for reasoning.
        """
        if usage.final:
            self._note_hidden(query.model, usage, reasons=reasons)
        if not usage.reported or query.input_bytes < LEAST_BYTES:
            return
        if query.other_tokens > usage.input_tokens * LARGEST_SHARE_OF_OTHERS:
            return
        seen = query.input_bytes / max(1, usage.input_tokens - query.other_tokens)
        known = self._known(query.model, holder) or BYTES_PER_TOKEN
        step = max(-LARGEST_STEP, min(LARGEST_STEP, math.log(seen / known)))
        ratios = self._learned.setdefault(query.model, OrderedDict())
        ratios[holder] = _clamp(known * math.exp(WEIGHT * step))
        ratios.move_to_end(holder)
        if len(ratios) > MOST_HOLDERS:
            ratios.popitem(last=False)
        self._learned.move_to_end(query.model)
        if len(self._learned) > MOST_MODELS:
            self._learned.popitem(last=False)

    def _known(self, model: str, holder: Hashable) -> float | None:
        """The ratio of this model as far as this caller has taught it, else as the others have."""
        ratios = self._learned.get(model)
        if ratios is None:
            return None
        if holder in ratios:
            return ratios[holder]
        least, most = BYTES_PER_TOKEN / MOST_BY_OTHERS, BYTES_PER_TOKEN * MOST_BY_OTHERS
        return max(least, min(most, median(ratios.values())))

    def _note_hidden(self, model: str, usage: Usage, *, reasons: bool) -> None:
        part = usage.reasoning_tokens / 2 or usage.output_tokens * HIDDEN_SHARE
        hidden = usage.hidden_tokens > max(part, LEAST_HIDDEN)
        self._hidden[model, reasons] = self._hidden.get((model, reasons), False) or hidden
        self._hidden.move_to_end((model, reasons))
        if len(self._hidden) > MOST_MODELS:
            self._hidden.popitem(last=False)

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
