"""An API that no dialect knows, read at the places that the operator names.

What is at those places is held to the same rules as everywhere: a wrong type is refused, not guessed. Texts
may be a string or a list of strings; a list of integers is token ids, and an object in a list that has no
text at any of the places is something opaque.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar

from guard.core.query import TOKENS_PER_TURN, Query, Turn
from guard.core.reshape import UNCHANGED, Reshape
from guard.dialects import edits, strict
from guard.dialects.base import OPAQUE_TOKENS, Meter
from guard.dialects.json_paths import EACH, JsonPath
from guard.dialects.metering import AnswerMeter
from guard.dialects.plain import Plain
from guard.dialects.tally import Report, Tally, count
from guard.dialects.weighing import Kind, Level, weigh
from guard.errors import QueryError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from guard.dialects.hiding import Sealer
    from guard.dialects.strict import Json


@dataclass(frozen=True, slots=True)
class GenericPaths:
    """Where an API has its fields, as `guard.dialects.json_paths` writes places; raises `ValueError`.

    `text` and one of `model` and `model_name` must be given. `model_name` is the name itself, for an API that
    does not ask for one. What is at no place that is named counts as text, by its size; `unsent` are places
    of what no model is sent. `input_tokens`, `output_tokens` and `answer_text` are places in the answer, and
    in each event or line of a stream.
    """

    # For pydantic, where this is a part of the settings: a misspelt place is no place.
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    text: tuple[str, ...]
    model: str | None = None
    model_name: str | None = None
    max_output_tokens: str | None = None
    n: str | None = None
    stream: str | None = None
    end_user: str | None = None
    input_tokens: str | None = None
    output_tokens: str | None = None
    answer_text: tuple[str, ...] = ()
    unsent: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.text:
            raise ValueError("'text' must name at least one place, as in 'messages[*].content'")
        if (self.model is None) == (self.model_name is None):
            raise ValueError("give 'model', the place of the model's name, or 'model_name', the name itself")
        if self.model_name == "":
            raise ValueError("'model_name' must not be empty")
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name == "model_name" or value is None:
                continue
            if isinstance(value, tuple):
                for text in value:
                    JsonPath.parse(text)
            elif not JsonPath.parse(value).single:
                raise ValueError(f"{each.name!r} is one value, so {value!r} cannot have {EACH}")


class Generic(Plain):
    """The dialect of an API that an operator describes; it refuses with problem details."""

    def __init__(self, name: str, paths: GenericPaths) -> None:
        self.name = name
        self._model_name = paths.model_name
        self._fields = _level(paths)
        self._texts = _Node.of(map(JsonPath.parse, paths.text))
        self._model = _place(paths.model)
        self._max_output_tokens = _place(paths.max_output_tokens)
        self._n = _place(paths.n)
        self._stream = _place(paths.stream)
        self._end_user = _place(paths.end_user)
        self._input_tokens = _place(paths.input_tokens)
        self._output_tokens = _place(paths.output_tokens)
        self._answer_texts = tuple(map(JsonPath.parse, paths.answer_text))

    def read(self, payload: Json, path: str) -> Query:
        """The query in a body; raises `QueryError`."""
        weight = weigh(payload, self._fields)
        sent = _Sent()
        self._texts.read(payload, "", sent)
        if not sent.turns and not sent.opaque and not sent.tokens:
            raise QueryError(f"There is no text; it should be at {self._texts.places()}.")
        return Query(
            model=self._model_name or strict.string(*_holder(payload, self._model)),
            turns=tuple(sent.turns),
            stream=strict.boolean(*_holder(payload, self._stream)),
            max_output_tokens=strict.integer(*_holder(payload, self._max_output_tokens), least=1),
            n=strict.integer(*_holder(payload, self._n), least=1) or 1,
            input_bytes=weight.text_bytes,
            other_tokens=len(sent.turns) * TOKENS_PER_TURN + sent.opaque * OPAQUE_TOKENS + weight.tokens,
            end_user=strict.label(*_holder(payload, self._end_user)),
        )

    def ask_usage(self, payload: Json) -> Json | None:
        """Nothing: who does not know an API does not change what it is sent."""
        return None

    def reshape(self, payload: Json, reshape: Reshape) -> Json:
        """The payload with its caps lowered, where their places are known. All else stays as it is: of
        logprobs, biases and reasoning nobody has said where they are."""
        if self._n is not None and reshape.max_n is not None and _at(payload, self._n) is not None:
            payload = _capped(payload, self._n.steps, reshape.max_n)
        if self._max_output_tokens is not None and reshape.max_output_tokens is not None:
            payload = _capped(payload, self._max_output_tokens.steps, reshape.max_output_tokens)
        return payload

    def meter(
        self,
        query: Query,
        content_type: str,
        *,
        hide_usage: bool,
        reshape: Reshape = UNCHANGED,
        sealer: Sealer | None = None,
    ) -> Meter:
        """What watches the answer to this query; nobody has said what in it could be hidden."""
        tally = Tally(query)
        return AnswerMeter(
            tally,
            content_type,
            lambda answer: self._watch(answer, tally, stream=query.stream),
        )

    def _watch(self, answer: Json, tally: Tally, *, stream: bool) -> None:
        """Take in an answer or a part of one; the report of a part that also has text is a running total.

        Where no place of the text is known, nor of its tokens, all strings are text.
        """
        said: list[Any] = [value for place in self._answer_texts for value in place.find(answer)]
        if not self._answer_texts and self._output_tokens is None:
            said = [answer]
        tally.add_said(said)
        report = Report(_number(self._input_tokens, answer), _number(self._output_tokens, answer))
        tally.report(report, running=stream and any(said))


@dataclass(slots=True)
class _Sent:
    """What the model is sent, as far as it has been read."""

    turns: list[Turn] = field(default_factory=list)
    opaque: int = 0
    tokens: int = 0


@dataclass(slots=True)
class _Node:
    """The places of texts that begin alike: a text may be here, below each item, or below names."""

    text: bool = False
    each: _Node | None = None
    names: dict[str, _Node] = field(default_factory=dict)

    @classmethod
    def of(cls, places: Iterable[JsonPath]) -> _Node:
        root = cls()
        for place in places:
            node = root
            for step in place.steps:
                if step == EACH:
                    node.each = node = node.each or cls()
                else:
                    node = node.names.setdefault(step, cls())
            node.text = True
        return root

    def read(self, value: Any, where: str, sent: _Sent) -> None:
        """Collect the texts of a value; raises `QueryError` for one that is of no known shape."""
        if value is None:
            return
        if isinstance(value, str) and self.text:
            sent.turns.append(Turn("user", value))
        elif isinstance(value, list) and self.text and all(isinstance(item, str) for item in value):
            sent.turns += (Turn("user", item) for item in value)
        elif self.text and strict.are_tokens(value):
            sent.tokens += len(value)
        elif isinstance(value, list) and self.each is not None:
            for place, item in enumerate(value):
                before = len(sent.turns), sent.opaque, sent.tokens
                self.each.read(item, f"{where}[{place}]", sent)
                if isinstance(item, dict) and before == (len(sent.turns), sent.opaque, sent.tokens):
                    sent.opaque += 1
        elif isinstance(value, dict) and self.names:
            for name, node in self.names.items():
                node.read(value.get(name), f"{where}.{name}" if where else name, sent)
        else:
            raise QueryError(f"{where!r} must be {self._shape()}.", param=where)

    def _shape(self) -> str:
        shapes = ["a string or a list of strings"] * self.text
        shapes += ["a list"] * (self.each is not None) + ["an object"] * bool(self.names)
        return " or ".join(shapes)

    def places(self, where: str = "") -> str:
        """The places, for a message."""
        found = [repr(where)] if self.text else []
        found += [self.each.places(where + EACH)] if self.each is not None else []
        found += [node.places(f"{where}.{name}" if where else name) for name, node in self.names.items()]
        return " or ".join(found)


def _level(paths: GenericPaths) -> Level:
    """The fields of this API, as far as its places say."""
    root = Level()
    settings = (paths.model, paths.max_output_tokens, paths.n, paths.stream, paths.end_user)
    named = [(text, Kind.SETTING) for text in settings if text is not None]
    named += [(text, Kind.TOKENS) for text in paths.text] + [(text, Kind.UNSENT) for text in paths.unsent]
    for text, kind in named:
        *steps, last = (step for step in JsonPath.parse(text).steps if step != EACH)
        level = root
        for step in steps:
            inner = level.names.get(step)
            if not isinstance(inner, Level):
                inner = level.names[step] = Level(text=inner or Kind.TEXT)
            level = inner
        inner = level.names.setdefault(last, kind)
        if isinstance(inner, Level):
            inner.text = kind
    return root


def _place(text: str | None) -> JsonPath | None:
    return None if text is None else JsonPath.parse(text)


def _holder(payload: Json, place: JsonPath | None) -> tuple[Json, str]:
    """The object that has this place, and the name of the place in it; raises `QueryError`."""
    if place is None:
        return {}, ""
    *steps, last = place.steps
    for step in steps:
        payload = strict.mapping(payload, step)
    return payload, last


def _at(payload: Json, place: JsonPath) -> Any:
    """What is at a place where there is at most one value."""
    return next(place.find(payload), None)


def _capped(payload: Json, steps: tuple[str, ...], most: int) -> Json:
    """The payload with the number at a place not above the most, and the most where there is none."""
    name, *rest = steps
    value = payload.get(name)
    if rest:
        inner = value or {}
        edited = _capped(inner, tuple(rest), most)
        return payload if edited is inner else {**payload, name: edited}
    return edits.capped(payload, (name,), most) if value is not None else {**payload, name: most}


def _number(place: JsonPath | None, answer: Json) -> int | None:
    """A sound token count at a place of an answer."""
    found = list(place.find(answer)) if place is not None else []
    return count({"": found[0]}, "") if found else None
