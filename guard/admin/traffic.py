"""Traffic logs: what was asked and answered, one JSON object a line, in time order (docs/replay.md).

A log is read line by line and never held, so that it may be of any length. What is wrong with it is said with
the number of the line and the name of the field: a log that is half understood would be judged wrongly.
"""

from __future__ import annotations

import gzip
import math
import sys
import zlib
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NoReturn, Protocol, cast

from guard.core.calendars import MICROSECONDS
from guard.core.identity import CHOSEN, FOUND, ONE_HOLDER, Attribute
from guard.core.query import Usage
from guard.dialects.strict import LARGEST_INTEGER, has_surrogates, read_object
from guard.errors import ConfigError, QueryError
from guard.identity.caller import is_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from guard.dialects.strict import Json

LONGEST_LINE = 64 << 20
"""A line of more bytes is none."""

LATEST_SECONDS = 1e11
"""A moment after this (the year 5138) is one in milliseconds."""

STDIN = Path("-")


class Label(StrEnum):
    """What a line is known to be; no decision is told."""

    BENIGN = "benign"
    ATTACK = "attack"


@dataclass(frozen=True, slots=True)
class Response:
    """What was answered, as far as the log knows: `body` is the answer as JSON, `text` what it says."""

    status: int = 200
    usage: Usage | None = None
    text: str | None = None
    body: Any = None


@dataclass(frozen=True, slots=True)
class Line:
    """One request, and its answer if that is known.

    `number` is where it stands in the log, from 1, and `id` the log's own name for it. `ts` is as in the log,
    in Unix seconds, and `now_us` in microseconds. `attributes` are those that the operator vouches for.
    `escaped` says that a text in it may be half of a surrogate pair. `campaign` and `actor` are, like
    `label`, not for decisions.
    """

    number: int
    id: str
    ts: float
    now_us: int
    method: str
    path: str
    query: str = ""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    client: tuple[str, int] | None = None
    attributes: Mapping[Attribute, str] = field(default_factory=dict)
    body: Any = None
    response: Response | None = None
    label: Label | None = None
    campaign: str | None = None
    actor: str | None = None
    escaped: bool = False


class Digest(Protocol):
    """One of `hashlib`."""

    def update(self, data: bytes, /) -> None:
        """Take in more of the log."""


def read_log(
    path: Path, wanted: Callable[[int], bool] = lambda _: True, digest: Digest | None = None
) -> Iterator[Line]:
    """The lines of a log, of a gzipped one where its name ends in `.gz`, of standard input where it is `-`.

    Blank lines are skipped, and so are those whose number is not `wanted`; `digest` takes in all of them,
    unpacked. Raises `ConfigError` where the file cannot be read, where a line is not what it must be, and
    where a line is earlier than the one before.
    """
    name = "standard input" if path == STDIN else str(path)
    try:
        with _opened(path) as file:
            yield from _read(file, name, wanted, digest)
    except (OSError, EOFError, zlib.error) as error:
        raise ConfigError(f"{name}: {getattr(error, 'strerror', None) or error}") from error


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    if path == STDIN:
        yield sys.stdin.buffer
    elif path.suffix == ".gz":
        with gzip.open(path) as file:
            yield cast("IO[bytes]", file)
    else:
        with path.open("rb") as file:
            yield file


def _read(file: IO[bytes], name: str, wanted: Callable[[int], bool], digest: Digest | None) -> Iterator[Line]:
    number, last_us = 0, 0
    while data := file.readline(LONGEST_LINE + 1):
        number += 1
        if digest is not None:
            digest.update(data)
        if not data.strip() or not wanted(number):
            continue
        reader = _Reader(f"{name}: line {number}")
        if len(data) > LONGEST_LINE:
            reader.refuse(f"longer than {LONGEST_LINE} bytes")
        line = reader.line(data, number)
        if line.now_us < last_us:
            reader.refuse(
                f"ts = {line.ts!r} is earlier than the line before, {last_us / MICROSECONDS!r}; "
                "a log is in time order"
            )
        last_us = line.now_us
        yield line


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads one line; raises `ConfigError` with where it stands."""

    where: str

    def refuse(self, what: str) -> NoReturn:
        raise ConfigError(f"{self.where}: {what}")

    def line(self, data: bytes, number: int) -> Line:
        try:
            fields = read_object(data)
        except QueryError as error:
            raise ConfigError(f"{self.where}: {error.message.replace('The body', 'it', 1)}") from error
        ts = self._ts(fields)
        path = self._text(fields, "path")
        if path is None:
            self.refuse("path is missing: it says which API this was, such as `/v1/chat/completions`")
        if not path.startswith("/"):
            self.refuse(f"path = {_shown(path)}: a path starts with `/`")
        identifier = fields.get("id")
        if identifier is not None and not isinstance(identifier, str | int):
            self.refuse(f"id = {_shown(identifier)}: must be a text")
        label = self._text(fields, "label")
        if label is not None and label not in _LABELS:
            self.refuse(f"label = {_shown(label)}: must be {' or '.join(Label)}")
        return Line(
            number=number,
            id=str(number if identifier is None else identifier),
            ts=ts,
            now_us=round(ts * MICROSECONDS),
            method=(self._text(fields, "method") or "POST").upper(),
            path=path.partition("?")[0],
            query=path.partition("?")[2],
            headers=self._headers(fields),
            client=self._client(fields),
            attributes=self._attributes(fields),
            body=fields.get("body"),
            response=self._response(fields),
            label=None if label is None else _LABELS[label],
            campaign=self._text(fields, "campaign"),
            actor=self._text(fields, "actor"),
            escaped=has_surrogates(data),
        )

    def _ts(self, fields: Json) -> float:
        ts = fields.get("ts")
        if isinstance(ts, bool) or not isinstance(ts, int | float) or not math.isfinite(ts):
            self.refuse(f"ts = {_shown(ts)}: must be a number, in Unix seconds")
        if not 1 / MICROSECONDS <= ts <= LATEST_SECONDS:
            self.refuse(f"ts = {_shown(ts)}: must be in Unix seconds, such as 1767225600.25")
        return ts

    def _text(self, fields: Json, name: str) -> str | None:
        value = fields.get(name)
        if value is not None and not isinstance(value, str):
            self.refuse(f"{name} = {_shown(value)}: must be a text")
        return value

    def _object(self, fields: Json, name: str, inside: str = "") -> Json | None:
        value = fields.get(name)
        if value is not None and not isinstance(value, dict):
            self.refuse(f"{inside}{name} = {_shown(value)}: must be an object")
        return value

    def _headers(self, fields: Json) -> tuple[tuple[bytes, bytes], ...]:
        pairs = []
        for name, value in (self._object(fields, "headers") or {}).items():
            values = value if isinstance(value, list) else [value]
            if not all(isinstance(each, str) for each in values):
                # What stands there may be a credential.
                self.refuse(f"headers.{name}: must be a text, or a list of texts")
            pairs += [(_bytes(name.lower()), _bytes(each)) for each in values]
        return tuple(pairs)

    def _client(self, fields: Json) -> tuple[str, int] | None:
        client = fields.get("client")
        if client is None:
            return None
        if not isinstance(client, list) or list(map(type, client)) != [str, int]:
            self.refuse(f"client = {_shown(client)}: must be [ADDRESS, PORT]")
        return client[0], client[1]

    def _attributes(self, fields: Json) -> dict[Attribute, str]:
        """Those that guard knows; others are the operator's own."""
        found = {}
        for name, value in (self._object(fields, "attributes") or {}).items():
            attribute = _VOUCHED.get(name)
            if attribute is None or value is None:
                continue
            if type(value) is int:
                value = str(value)
            if not isinstance(value, str) or not is_name(value):
                self.refuse(f"attributes.{name} = {_shown(value)}: must be a name of printable characters")
            found[attribute] = value
        return found

    def _response(self, fields: Json) -> Response | None:
        response = self._object(fields, "response")
        if response is None:
            return None
        status = response.get("status", 200)
        if type(status) is not int or not 100 <= status <= 599:
            self.refuse(f"response.status = {_shown(status)}: must be an HTTP status, 100 to 599")
        text = response.get("text")
        if text is not None and not isinstance(text, str):
            self.refuse(f"response.text = {_shown(text)}: must be a text")
        usage = self._usage(self._object(response, "usage", "response."))
        return Response(status, usage, text, response.get("body"))

    def _usage(self, usage: Json | None) -> Usage | None:
        if usage is None:
            return None
        counted = {name: self._tokens(usage, name) for name in _COUNTED}
        if counted["input_tokens"] is None or counted["output_tokens"] is None:
            self.refuse("response.usage: must have `input_tokens` and `output_tokens`")
        known: dict[str, Any] = {name: number or 0 for name, number in counted.items()}
        return Usage(**known, reported=True)

    def _tokens(self, usage: Json, name: str) -> int | None:
        number = usage.get(name)
        if number is None:
            return None
        if type(number) is not int or not 0 <= number <= LARGEST_INTEGER:
            self.refuse(f"response.usage.{name} = {_shown(number)}: must be a whole number, not negative")
        return number


_COUNTED = (
    "input_tokens",
    "output_tokens",
    "cached_input_tokens",
    "reasoning_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
)

_VOUCHED = {each.value: each for each in Attribute if each not in CHOSEN | FOUND | ONE_HOLDER}
"""What somebody can vouch for: the rest follows from the request."""

_LABELS = {each.value: each for each in Label}


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _shown(value: object) -> str:
    """A value in a message, cut short."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
