"""How much of a body the model may read: what is not known to be something else counts by its size.

A dialect describes its bodies as levels, each with the names that stand there and what they hold. All text
counts once, wherever it stands. A name that no dialect knows counts with what it holds, since some server may
write it into its prompt. Where a server reads a name, another spelling of it is refused: backends in Go match
names without regard to case and take the last.

    {"model": "m", "messages": [{"role": "user", "content": "Hello", "mood": {"calm": 1}}]}
    content 5, mood 4, {"calm": 1} 11: 20 bytes; `role` and `model` are settings
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, TypeAlias

from guard.core.query import text_bytes
from guard.dialects import strict
from guard.dialects.base import OPAQUE_TOKENS
from guard.dialects.blobs import LEAST_BLOB, is_binary, is_dense, says_text
from guard.errors import QueryError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from guard.dialects.strict import Json


class Kind(Enum):
    """What stands at a name."""

    TEXT = auto()
    """Text, or what is written out as JSON: counts by its size."""
    TOKENS = auto()
    """Text, or the ids of tokens."""
    SETTING = auto()
    """What steers the server and stands once in a body: free up to `FREE_SETTING_BYTES`."""
    MARK = auto()
    """Likewise, in what may be repeated: free up to `FREE_MARK_BYTES`."""
    MEDIA = auto()
    """An image, a sound or a file in base64, or its address. The dialect counts the part that holds it."""
    MASK = auto()
    """Likewise, in no part: it counts as one."""
    UNSENT = auto()
    """What the operator says that no model is sent."""
    SEALED = auto()
    """What only the server that made it can read, in base64."""


FREE_SETTING_BYTES = 4_096
FREE_MARK_BYTES = 64
"""Beyond these, what is called a setting counts as text."""

_LONGEST_CHARACTER = 4
"""Bytes."""

_WRITTEN_PAIR = len('"": , ')


class Level:
    """The names of an object, or of each object in a list, and what stands there.

    `text` is what a bare string in its place is. `written` says that the server writes the object itself into
    its prompt, with names and signs. Levels may hold themselves: `names` may be added to while a dialect is
    made.
    """

    def __init__(
        self, names: Mapping[str, Shape] | None = None, *, text: Kind = Kind.TEXT, written: bool = False
    ) -> None:
        self.names: dict[str, Shape] = dict(names or {})
        self.text = text
        self.written = written

    def check(self, fields: Json) -> None:
        """Refuse a known name in another spelling; raises `QueryError`."""
        if not fields.keys() <= self.names.keys():
            strict.refuse_variants(fields, self.names)


Shape: TypeAlias = Kind | Level


@dataclass(slots=True)
class Weight:
    """What has been counted: bytes of text, and tokens of what is none."""

    text_bytes: int = 0
    tokens: int = 0


def weigh(payload: Json, level: Level) -> Weight:
    """What a body may give the model to read; raises `QueryError` for a known name in another spelling."""
    weight = Weight()
    try:
        _add_object(payload, level, weight)
    except RecursionError as error:
        raise QueryError("The body is nested too deeply.") from error
    return weight


def _add(value: Any, shape: Shape, weight: Weight, holder: Json) -> None:
    if value is None or value is False or value is True:
        return
    if isinstance(shape, Level):
        if isinstance(value, dict):
            _add_object(value, shape, weight)
            return
        if isinstance(value, list):
            nested, value = _sorted_out(value)
            for item in nested:
                _add(item, shape, weight, holder)
            if not value:
                return
        shape = shape.text
    match shape:
        case Kind.TEXT:
            weight.text_bytes += _texts_size(value)
        case Kind.TOKENS:
            _add_tokens(value, weight)
        case Kind.SETTING:
            weight.text_bytes += beyond(value, FREE_SETTING_BYTES)
        case Kind.UNSENT:
            pass
        case Kind.MARK:
            weight.text_bytes += beyond(value, FREE_MARK_BYTES)
        case _:
            _add_blobs(value, shape, weight, holder)


def _add_object(fields: Json, level: Level, weight: Weight) -> None:
    names, checked = level.names, False
    for name, value in fields.items():
        if name not in names:
            if not checked:
                level.check(fields)
                checked = True
            _add_unknown(name, value, weight)
            continue
        shape = names[name]
        if level.written:
            weight.text_bytes += len(name) + _WRITTEN_PAIR
        # Most of what there is needs no more calls than these; `_add` says what all the rest weighs.
        kind = type(value)
        if kind is str:
            if isinstance(shape, Level):
                shape = shape.text
            if shape is Kind.TEXT:
                weight.text_bytes += text_bytes(value)
            elif shape is Kind.MARK or shape is Kind.SETTING:
                free = FREE_MARK_BYTES if shape is Kind.MARK else FREE_SETTING_BYTES
                if len(value) * _LONGEST_CHARACTER > free:
                    _add(value, shape, weight, fields)
            else:
                _add(value, shape, weight, fields)
        elif kind is list and isinstance(shape, Level):
            rest = []
            for item in value:
                if type(item) is dict:
                    _add_object(item, shape, weight)
                else:
                    rest.append(item)
            if rest:
                _add(rest, shape, weight, fields)
        elif kind is int and (shape is Kind.SETTING or shape is Kind.MARK):
            if not -strict.LARGEST_INTEGER <= value <= strict.LARGEST_INTEGER:
                _add(value, shape, weight, fields)
        elif kind is not bool and value is not None:
            _add(value, shape, weight, fields)


def _add_unknown(name: str, value: Any, weight: Weight) -> None:
    """Count a field that no dialect knows, but for the images in it."""
    if value is None and len(name) <= FREE_MARK_BYTES:
        return
    size = _written_size(value)
    if size >= LEAST_BLOB:
        blobs = [text for text in _long_strings(value) if is_dense(text)]
        size -= sum(map(len, blobs))
        weight.tokens += len(blobs) * OPAQUE_TOKENS
    weight.text_bytes += text_bytes(name) + size


def _add_blobs(value: Any, shape: Kind, weight: Weight, holder: Json) -> None:
    items = value if isinstance(value, list) else [value]
    others = [item for item in items if not isinstance(item, str)]
    if others:
        weight.text_bytes += _written_size(others)
    is_text = says_text(holder)
    for item in items:
        if not isinstance(item, str):
            continue
        if is_text or not is_binary(item, sealed=shape is Kind.SEALED):
            weight.text_bytes += text_bytes(item)
        elif shape is Kind.MASK:
            weight.tokens += OPAQUE_TOKENS


def _add_tokens(value: Any, weight: Weight) -> None:
    if value and strict.are_tokens(value):
        weight.tokens += len(value)
    elif isinstance(value, list):
        nested, others = _sorted_out(value)
        for item in nested:
            _add_tokens(item, weight)
        if others:
            weight.text_bytes += _texts_size(others)
    else:
        weight.text_bytes += _texts_size(value)


def _sorted_out(values: list[Any]) -> tuple[list[Any], list[Any]]:
    """The objects and lists among values, and all others that say anything, which are written out at once:
    one by one, 400,000 numbers would take a second."""
    nested, others = [], []
    for value in values:
        if isinstance(value, dict | list):
            nested.append(value)
        elif value is not None and value is not False and value is not True:
            others.append(value)
    return nested, others


def _texts_size(value: Any) -> int:
    """The size of a text or of several; of anything else, as JSON."""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return sum(map(text_bytes, value))
    return _written_size(value)


def _written_size(value: Any) -> int:
    return text_bytes(strict.written(value))


def beyond(value: Any, free: int) -> int:
    """The size of a setting that is larger than a setting is, and so counts as text; numbers are no text."""
    if isinstance(value, int | float) and abs(value) <= strict.LARGEST_INTEGER:
        return 0
    if isinstance(value, dict | list) and _are_numbers(value):
        return 0
    size = _written_size(value)
    return 0 if size <= free else size


def _are_numbers(value: Json | list[Any]) -> bool:
    """Whether these are ids of tokens, or numbers by them."""
    if isinstance(value, list):
        return strict.are_tokens(value)
    if not set(map(type, value.values())) <= {int, float}:
        return False
    return all(map(str.isdecimal, value)) and max(map(len, value), default=0) < 16


def _long_strings(value: Any) -> Iterator[str]:
    """The strings in a value that may be images."""
    left = [value]
    while left:
        item = left.pop()
        if isinstance(item, str):
            if len(item) >= LEAST_BLOB:
                yield item
        elif isinstance(item, dict):
            left += item.values()
        elif isinstance(item, list):
            left += item
