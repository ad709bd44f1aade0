"""What an answer costs: reconciled here, once; the dialects only say where numbers and texts stand.

The last plausible report of the backend counts; where there is none, the text that has passed is counted.
Each number stands for itself:

    a report says                                       so the query used
    prompt 100, completion 20                           100 in, 20 out
    prompt 100, total 120                               100 in, 20 out
    prompt 100, completion 20, total 420, reasoning 300 100 in, 320 out: reasoning stands beside the output
    prompt 0, completion 0, after 40 chunks of text     an estimate: a 0 for what was there is no report
    prompt 100, completion 7, then 9 chunks of text     100 in, 16 out, unless another report follows
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from guard.core.query import Query, Usage, text_bytes
from guard.dialects.pieces import pieces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

MOST_TOKENS = 10**9
"""No request has more tokens: a larger number is a mistake."""

LARGEST_BYTES_PER_TOKEN = 64
"""A report of fewer tokens than this makes of the text that was seen is no report of it."""

_DECIMAL = re.compile(r"[0-9]{1,10}(?:\.0{1,6})?")


class Report(NamedTuple):
    """What a backend says that an answer has used; `None` where it does not say.

    The input includes what was read from a cache and what was written to one; the output may or may not
    include the reasoning.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    cached_input_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    reasoning_tokens: int | None = None

    @property
    def empty(self) -> bool:
        """Whether it says nothing at all."""
        return self == NO_REPORT


@dataclass(slots=True)
class _Text:
    """Text that has passed: the chunks that the model said, each of which is a token at least, their bytes,
    and the bytes of other text and how many bytes are a token each."""

    chunks: int = 0
    size: int = 0
    other: int = 0
    opaque: int = 0

    def copy(self) -> _Text:
        """As much text, which stays as it is."""
        return _Text(self.chunks, self.size, self.other, self.opaque)

    def since(self, before: _Text) -> _Text:
        """What has passed since there was that much."""
        return _Text(
            self.chunks - before.chunks,
            self.size - before.size,
            self.other - before.other,
            self.opaque - before.opaque,
        )

    def seen(self, query: Query) -> int:
        """The tokens of what was shown as text."""
        said = max(self.chunks, query.text_tokens(self.size))
        return said + query.text_tokens(self.other) if self.other else said

    def tokens(self, query: Query) -> int:
        return self.seen(query) + self.opaque


@dataclass(frozen=True, slots=True)
class Told:
    """What a part of a stream has told that tells one text: its size, the model that was named last, whether
    there was a running report as well, and the place of the text, for who keeps texts apart."""

    size: int
    model: str | None = None
    running: bool = False
    place: tuple[Any, ...] = ()


class Mark(NamedTuple):
    """Where a tally was at some time: the texts, how many reports there were, and all else."""

    chunks: int
    size: int
    reports: int
    rest: tuple[object, ...]


NO_REPORT = Report()


class Tally:
    """Adds up what an answer costs. Where the API gives no text (embeddings), its output is 0."""

    def __init__(self, query: Query, *, gives_text: bool = True) -> None:
        self._query = query
        self._gives_text = gives_text
        self._text = _Text()
        self._covered = self._text  # by the last report
        self._output: int | None = None
        self._running = False
        self._least = 0
        self._input: int | None = None
        self._parts: dict[str, int] = {}
        self._model: str | None = None
        self._over: dict[int, bool] = {}
        self._reports = self._dependent = 0

    def mark(self) -> Mark:
        """Where this is now."""
        text = self._text
        rest = (text.other, text.opaque, self._model, self._least, self._dependent, dict(self._over))
        return Mark(text.chunks, text.size, self._reports, rest)

    def told_since(self, before: Mark) -> Told | None:
        """What was taken in since, where that was one text, and perhaps a running report of it."""
        now = self.mark()
        if now.chunks != before.chunks + 1 or now.rest != before.rest:
            return None
        running = now.reports == before.reports + 1 and self._running and self._text == self._covered
        if now.reports != before.reports and not running:
            return None
        return Told(now.size - before.size, self._model, running)

    def depend(self) -> None:
        """What is taken in now would be something else if something else had come before."""
        self._dependent += 1

    def end(self) -> None:
        """The model has said that it is done; its usage may still be to come."""
        self._over = dict.fromkeys(range(max(1, self._query.n)), True)

    def note_choice(self, index: object, *, over: bool) -> None:
        """Take in whether one of several answers is over; one that was over stays so."""
        place = index if isinstance(index, int) and 0 <= index < self._query.n else 0
        self._over[place] = over or self._over.get(place, False)

    @property
    def ended(self) -> bool:
        """Whether every answer that has begun is over: a server may give fewer than it was asked for."""
        return bool(self._over) and all(self._over.values())

    def note_model(self, model: object) -> None:
        """Take in which model the backend says has answered."""
        if isinstance(model, str) and model:
            self._model = model

    @property
    def silent(self) -> bool:
        """Whether no text has been added yet."""
        return self._text.seen(self._query) == 0

    @property
    def wants_one_answer(self) -> bool:
        """Whether a report of one answer is a report of all."""
        return self._query.n == 1

    def add(self, texts: Iterable[object]) -> None:
        """Count one chunk of output by its texts; what is not text counts nothing."""
        self._add_size(text_bytes("".join([text for text in texts if isinstance(text, str)])))

    def add_each(self, texts: Sequence[str]) -> None:
        """Count several chunks of output, none of which is empty."""
        self._text.chunks += len(texts)
        self._text.size += text_bytes("".join(texts))

    def take_alike(self, told: Told, texts: Sequence[str]) -> None:
        """Count several parts that have told the same but for their texts, none of which is empty."""
        self.note_model(told.model)
        self.add_each(texts)

    def add_said(self, value: object) -> None:
        """Count what a JSON value holds as one chunk of output."""
        found = pieces(value)
        self._add_size(text_bytes("".join(found.texts)))
        self._text.opaque += found.opaque

    def add_other(self, value: object) -> None:
        """Count what a JSON value holds, of which it is not known whether the model has said it just now."""
        found = pieces(value)
        self._text.other += text_bytes("".join(found.texts))
        self._text.opaque += found.opaque

    def add_opaque_in(self, value: object) -> None:
        """Count what is no text in a JSON value whose text is counted elsewhere."""
        self.add_opaque(pieces(value).opaque)

    def add_other_bytes(self, size: int) -> None:
        """Count bytes of text like `add_other`."""
        self._text.other += size

    def add_opaque(self, size: int) -> None:
        """Count so many tokens of what is no text; what cannot be decoded has one a byte, as many as text
        has that is compressed to that."""
        self._text.opaque += size

    def expect_all(self) -> None:
        """The rest of the answer will not pass here: all that the caller allowed is counted, until a report
        says otherwise."""
        self._least = max(self._least, self._query.n * (self._query.max_output_tokens or 0))

    def report(self, report: Report, *, running: bool = False) -> bool:
        """Take in what the backend says; whether it says anything of the output.

        A running report is one from the middle of an answer, which may be behind or of one choice only: at
        least that much was used. Text that has been added before is part of it, and later text is not.
        """
        self._reports += not report.empty
        if report.cached_input_tokens:
            self._parts["cached_input_tokens"] = report.cached_input_tokens
        if report.cache_write_tokens:
            self._parts["cache_write_tokens"] = report.cache_write_tokens
        if report.cache_write_1h_tokens:
            self._parts["cache_write_1h_tokens"] = report.cache_write_1h_tokens
        if report.reasoning_tokens:
            self._parts["reasoning_tokens"] = report.reasoning_tokens
        given = report.input_tokens or None
        made = report.output_tokens
        if made is not None and (report.reasoning_tokens or 0) > made:
            made += report.reasoning_tokens or 0
        if report.total_tokens is not None:
            if given is None:
                given = report.total_tokens - made if made else self._share(report.total_tokens)
            made = max(made or 0, report.total_tokens - given)
        if given is not None and given > 0:
            self._input = given
        if made is None or not self._plausible(made):
            return False
        self._output = max(made, self._output or 0) if running else made
        self._running = running
        self._covered = self._text.copy()
        return True

    @property
    def usage(self) -> Usage:
        """The present total."""
        output = self._output
        final = output is not None and not self._running and self._text == self._covered
        if output is None or not final:
            output = self._estimate(output)
        return Usage(
            self._query.input_tokens if self._input is None else self._input,
            output if self._gives_text else 0,
            reported=self._input is not None,
            final=final,
            hidden_tokens=max(0, output - self._text.seen(self._query)) if final else 0,
            model=self._model,
            answers=len(self._over),
            **self._parts,
        )

    def _add_size(self, size: int) -> None:
        """Count one chunk of output by its bytes."""
        if size:
            self._text.chunks += 1
            self._text.size += size

    def _estimate(self, output: int | None) -> int:
        """The output where the last report of it, if any, is not the last word."""
        least = max(self._text.tokens(self._query), self._least)
        if output is None:
            return least
        output += self._text.since(self._covered).tokens(self._query)
        return max(output, least) if self._running else output

    def _share(self, total: int) -> int:
        """How much of a total is input, where only the total is known."""
        return min(total, self._query.input_tokens) if self._gives_text else total

    def _plausible(self, output_tokens: int) -> bool:
        """Whether this may be the output: 0 is not, where there was text, or where all was owed."""
        if output_tokens == 0:
            return not self._text.tokens(self._query) and not self._least
        return output_tokens * LARGEST_BYTES_PER_TOKEN >= self._text.size


def count(usage: object, *names: str) -> int | None:
    """The token count of the first of these names that has one; `None` where none has.

    Some servers write whole numbers as `20.0` or `"20"`. What is negative, a boolean, or larger than any
    request could be is no count.
    """
    if isinstance(usage, dict):
        for name in names:
            if name in usage and (found := _count(usage[name])) is not None:
                return found
    return None


def total(*counts: int | None) -> int | None:
    """The sum of those that are known; `None` where none is."""
    known = [each for each in counts if each is not None]
    return sum(known) if known else None


def read_usage(usage: object, read: Callable[[object], Report]) -> Report:
    """What a usage says, or the sum of those that it lists where that is more: a backend may have asked
    models several times for one answer, and report the last time only (`iterations`)."""
    report = read(usage)
    if not isinstance(usage, dict):
        return report
    for items in usage.values():
        if type(items) is int or items is None:
            continue  # as most are
        inside = items.values() if isinstance(items, dict) else items if isinstance(items, list) else ()
        if each := [read(item) for item in inside if isinstance(item, dict)]:
            report = _joined(_largest, [report, _joined(total, each)])
    return report


def inner(value: object, name: str) -> object:
    """What an object has under a name; `None` for anything else."""
    return value.get(name) if isinstance(value, dict) else None


def _count(value: object) -> int | None:
    if type(value) is int:
        return value if 0 <= value <= MOST_TOKENS else None
    if isinstance(value, str) and _DECIMAL.fullmatch(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MOST_TOKENS:
        return None
    return int(value) if value == int(value) else None


def _largest(*counts: int | None) -> int | None:
    return max((each for each in counts if each is not None), default=None)


def _joined(join: Callable[..., int | None], reports: list[Report]) -> Report:
    """One report of several, number by number."""
    return Report(*(join(*counts) for counts in zip(*reports, strict=True)))
