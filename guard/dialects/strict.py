"""Reading a body in exactly one way.

Parsers disagree about duplicate keys, NaN, encodings and numbers in strings, and whoever judges a request
must read the same request that the backend reads. So what could be read in two ways is refused, never
guessed.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

from guard.core.by_name import ByName
from guard.errors import QueryError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

Json: TypeAlias = dict[str, Any]

_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
_STRING_ESCAPES = (b"\\\\", b'\\"')

MOST_VALUES = 400_000
"""Maximum number of values in a body. The longest honest lists are token ids: 300,000 in one request for
embeddings."""

MOST_NAMES = 30_000
"""Maximum number of names, objects and lists in a body, which cost a parser more than a number does. 3,000
messages that call tools and give their results have 24,000."""

MOST_BETWEEN = 4 << 20
"""Maximum size in bytes of all that is no string: numbers, signs, spaces. 300,000 token ids take 2.5 MB."""

LONGEST_NUMBER = 64
"""Maximum number of digits in a row. Integers of thousands of digits take a parser's time by their square."""

DEEPEST = 128
"""Maximum depth of objects and lists in one another, so that whoever goes down a body comes back."""

SHORT = 16_384
"""Maximum number of characters of a text for which a decoder is not worth making, as `json.loads` does."""

_LONG_NUMBER = re.compile(rb"[0-9]{%d}" % (LONGEST_NUMBER + 1))

_PIECE = 1 << 18

LARGEST_INTEGER = 2**53 - 1
"""Beyond this, parsers that hold numbers as doubles see another number."""

LONGEST_LABEL = 256
"""A name of more characters than this is refused."""


def parse_object(body: bytes) -> Json:
    """The JSON object that `body` is, in UTF-8 and without duplicate keys; raises `QueryError`."""
    if len(body) > MOST_NAMES:
        check_size(body)
    if not body or body.isspace():
        raise QueryError("The request has no body; a JSON object is needed.")
    value = read_object(body)
    if body.count(b"{") + body.count(b"[") > DEEPEST:
        _check_depth(value)
    if b"\\u" in body and has_surrogates(body):
        serialize(value)
    return value


def has_surrogates(body: bytes) -> bool:
    """Whether a body escapes surrogates: a whole pair, or a half, which no UTF-8 can carry."""
    return b"\\u" in body and _SURROGATE_ESCAPE.search(body) is not None


def check_size(body: bytes) -> None:
    """Refuse a body of more values than a parser should be given; raises `QueryError`.

    The parser holds the interpreter until it is done, so this is counted before, by JSON's signs outside of
    strings: each value but the first of its object or list stands behind a comma. It is done in pieces,
    between which other threads get their turn, and ends as soon as there is too much.
    """
    if len(body) <= MOST_NAMES:
        return
    between = names = commas = quotes = 0
    for piece in _pieces(body):
        if b"\\" in piece:
            for escape in _STRING_ESCAPES:
                piece = piece.replace(escape, b"")
        parts = piece.split(b'"')
        outside = b"".join(parts[quotes % 2 :: 2])
        quotes += len(parts) - 1
        between += len(outside)
        names += sum(map(outside.count, (b"{", b"[", b":")))
        commas += outside.count(b",")
        if names > MOST_NAMES or commas > MOST_VALUES or quotes > 2 * (MOST_NAMES + MOST_VALUES):
            raise QueryError(
                f"The body has more than {MOST_VALUES} values, or {MOST_NAMES} names, objects and lists."
            )
        if between > MOST_BETWEEN:
            raise QueryError(
                f"The body has more than {MOST_BETWEEN} bytes outside of strings: numbers, signs, spaces."
            )
        if _LONG_NUMBER.search(outside):
            raise QueryError(f"The body has a number of more than {LONGEST_NUMBER} digits.")


def read_object(body: bytes) -> Json:
    """Likewise, with texts that may hold half of a surrogate pair."""
    try:
        text = body.decode("utf-8")
        if len(text) > SHORT:
            value = json.loads(text, **_HOOKS)
        else:
            start = 0 if text.startswith("{") else len(text) - len(text.lstrip(_SPACES))
            value, end = _DECODER.raw_decode(text, start)
            if end != len(text) and text[end:].strip(_SPACES):
                raise json.JSONDecodeError("Extra data", text, end)
    except UnicodeDecodeError as error:
        raise QueryError("The body is not valid UTF-8.") from error
    except RecursionError as error:
        raise QueryError("The body is nested too deeply.") from error
    except ValueError as error:
        # Also for a byte order mark, and for an integer of thousands of digits.
        raise QueryError(f"The body is not valid JSON: {error}.") from error
    if not isinstance(value, dict):
        raise QueryError("The body must be a JSON object.")
    return value


def _check_depth(value: Json) -> None:
    level: list[Any] = [value]
    for _ in range(DEEPEST):
        inner = (each.values() if isinstance(each, dict) else each for each in level)
        level = [value for values in inner for value in values if isinstance(value, dict | list)]
        if not level:
            return
    raise QueryError("The body is nested too deeply.")


def serialize(payload: Json) -> bytes:
    """The payload as a body again; raises `QueryError` for text that UTF-8 cannot carry."""
    try:
        return json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    except UnicodeEncodeError as error:
        raise QueryError("The body holds half of a surrogate pair.") from error
    except RecursionError as error:
        raise QueryError("The body is nested too deeply.") from error


def amended(body: bytes, payload: Json, told: Json) -> bytes:
    """The body that says what is `told`, where `payload` is what it says now.

    What is only added is written behind the rest, which stays as it is, byte for byte.
    """
    added = {name: value for name, value in told.items() if name not in payload}
    kept = all(told.get(name) is value for name, value in payload.items() if name in told)
    if not kept or not payload or len(told) != len(payload) + len(added):
        return serialize(told)
    return b"%b,%b" % (body.rstrip()[:-1], serialize(added)[1:]) if added else body


def refuse_variants(payload: Json, names: Collection[str]) -> None:
    """Refuse `Model` beside or instead of `model`: some backends match names without regard to case."""
    others = [name for name in payload if name not in names and len(name) <= LONGEST_LABEL]
    folded = {name.casefold(): name for name in names} if others else {}
    for name in others:
        if (meant := folded.get(name.casefold())) is not None:
            raise QueryError(f"Write {meant!r}, not {name!r}.", param=name)


def integer(payload: Json, name: str, *, least: int = 0) -> int | None:
    """An integer field, `None` where it is absent or null; `128.0` is 128, but `"128"` is an error."""
    if name not in payload:
        return None
    value = payload[name]
    if type(value) is int and least <= value <= LARGEST_INTEGER:
        return value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        raise QueryError(f"{name!r} must be an integer.", param=name)
    if not least <= value <= LARGEST_INTEGER:
        raise QueryError(f"{name!r} must be at least {least} and at most {LARGEST_INTEGER}.", param=name)
    return value


def number(payload: Json, name: str) -> float | None:
    """A number for our own information: `None` for anything else, which is for the backend to refuse."""
    value = payload.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST_INTEGER:
        return None
    return float(value)


def whole_number(payload: Json, name: str) -> int | None:
    """Likewise, for an integer of any size."""
    value = payload.get(name)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def boolean(payload: Json, name: str, *, default: bool = False) -> bool:
    """A boolean field, `default` where it is absent or null."""
    if name not in payload:
        return default
    value = payload[name]
    if value is None:
        return default
    if not isinstance(value, bool):
        raise QueryError(f"{name!r} must be true or false.", param=name)
    return value


def string(payload: Json, name: str, *, where: str = "") -> str:
    """A name that must be there: a string of 1 to 256 characters, without spaces round it or controls, which
    some servers drop.
    """
    value = payload.get(name)
    if not isinstance(value, str) or not value:
        raise QueryError(f"{where + name!r} must be a string.", param=where + name)
    if _IS_PLAIN[value]:
        return value
    if not _is_plain(value):
        raise QueryError(f"{where + name!r} must be a name without spaces round it.", param=where + name)
    return bounded(value, where + name)


def _is_plain(name: str) -> bool:
    return name == name.strip() and name.isprintable()


_IS_PLAIN: ByName[str, bool] = ByName(lambda name: _is_plain(name) and len(name) <= LONGEST_LABEL)


def text(payload: Json, name: str) -> str:
    """A string field, empty where it is absent or null."""
    value = payload.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise QueryError(f"{name!r} must be a string.", param=name)
    return value


def label(payload: Json, name: str) -> str | None:
    """A name that the caller gives to something, `None` where it is absent, null or empty.

    One of more than 256 characters is refused.
    """
    if name not in payload:
        return None
    return bounded(text(payload, name), name) or None


def bounded(value: str, name: str) -> str:
    """A name that a client chose, and that guard keeps; raises `QueryError` beyond 256 characters, since two
    names that are cut short could be the same.
    """
    if len(value) > LONGEST_LABEL:
        raise QueryError(f"{name!r} must have at most {LONGEST_LABEL} characters.", param=name)
    return value


def mapping(payload: Json, name: str) -> Json:
    """An object field, empty where it is absent or null."""
    if name not in payload:
        return {}
    value = payload[name]
    if value is not None and not isinstance(value, dict):
        raise QueryError(f"{name!r} must be an object.", param=name)
    return value or {}


def objects(value: Any, name: str) -> list[Json]:
    """A list of objects."""
    if not isinstance(value, list) or not set(map(type, value)) <= {dict}:
        raise QueryError(f"{name!r} must be a list of objects.", param=name)
    return value


def are_tokens(value: Any) -> bool:
    """Whether this is a list of token ids; an empty list is one."""
    return isinstance(value, list) and set(map(type, value)) <= {int}


def written(value: Any) -> str:
    """A value as the model may read it: a string as it is, anything else as JSON."""
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False)
    except RecursionError as error:
        raise QueryError("The body is nested too deeply.") from error


def _pieces(body: bytes) -> Iterator[bytes]:
    """A body in pieces, none of which ends between a backslash and what it escapes."""
    start = 0
    while start < len(body):
        piece = body[start : start + _PIECE]
        if (len(piece) - len(piece.rstrip(b"\\"))) % 2 and len(piece) > 1:
            piece = piece[:-1]
        start += len(piece)
        yield piece


def _object(pairs: list[tuple[str, Any]]) -> Json:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise QueryError(f"The name {twice[:64]!r} stands twice in one object.", param=twice[:64])
    return value


_SPACES = " \t\n\r"
"""What may stand round a value in JSON."""


def _constant(text: str) -> NoReturn:
    raise QueryError(f"{text} is not JSON.")


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise QueryError(f"The number {text[:32]} is too large.")
    return value


_HOOKS: dict[str, Any] = {
    "object_pairs_hook": _object,
    "parse_constant": _constant,
    "parse_float": _finite,
}
_DECODER = json.JSONDecoder(**_HOOKS)
