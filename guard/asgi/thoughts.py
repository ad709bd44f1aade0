"""The sealed thoughts of one request, and of its answer.

A backend may quote in an error what it was sent, and so tell a client its thoughts. So where some were put
back, an error that has a piece of them is not passed on (`ErrorMeter`). A piece is so many letters and digits
in a row, whatever is between them: errors quote with all kinds of escapes.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from guard.core.query import NO_USAGE
from guard.core.sealed import OnMismatch
from guard.dialects.sealing import PLACES
from guard.errors import BackendError, QueryError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from guard.core.identity import Identity
    from guard.core.query import Query
    from guard.core.sealed import Mismatch
    from guard.dialects.base import Dialect
    from guard.dialects.strict import Json
    from guard.sealing.thoughts import Bound, Seal, Sealing, Thought


PIECE = 12
"""So many letters and digits in a row are a quotation; shorter texts are in every error."""

LARGEST_ERROR = 1 << 16
"""An error of more bytes than this is not looked through."""

MOST_THOUGHT = 1 << 20
"""Nor is one looked for thoughts of more characters than this, which would hold up other requests."""


class Unsealed(NamedTuple):
    """A payload without blobs, with the thoughts that were in them.

    `opened` are those thoughts, `mismatches` those that did not belong there, and `prefix` is what the
    answer's are bound to.
    """

    payload: Json
    opened: tuple[Thought, ...] = ()
    mismatches: tuple[Mismatch, ...] = ()
    prefix: bytes | None = None


class SealedError(QueryError):
    """A sealed thought does not belong where it stands, and the settings have that refused."""

    reasons: ClassVar[Mapping[int, str]] = {400: "sealed_reasoning"}

    def __init__(self, mismatches: tuple[Mismatch, ...]) -> None:
        path, reason, *_ = mismatches[0]
        super().__init__(f"{path}: the sealed reasoning in it cannot be used here ({reason}).", param=path)
        self.mismatches = mismatches


class ErrorMeter:
    """Holds an error of the backend until it is known that it quotes none of these thoughts.

    Raises `BackendError` of the same status for one that does, or of which it cannot be told.
    """

    changes = holds = ended = True
    usage = NO_USAGE

    def __init__(self, thoughts: Iterable[Thought], status: int, *, readable: bool) -> None:
        self._thoughts = {text for thought in thoughts for text in _strings(thought)}
        self._status = status
        self._readable = readable and sum(map(len, self._thoughts)) <= MOST_THOUGHT
        self._body = bytearray()

    def feed(self, chunk: bytes) -> bytes:
        """Take in a chunk; nothing goes on before the end."""
        self._body += chunk
        if len(self._body) > LARGEST_ERROR or not self._readable:
            raise self._withheld()
        return b""

    def finish(self) -> bytes:
        """The error, where it may go on."""
        said = self._body.decode("utf-8", "replace")
        with suppress(ValueError, RecursionError):
            said += "".join(_strings(json.loads(said)))
        said_pieces = set(_pieces(said))
        if any(not said_pieces.isdisjoint(_pieces(text)) for text in self._thoughts):
            raise self._withheld()
        return bytes(self._body)

    def lose(self, size: int) -> None:
        """What cannot be decoded cannot be looked through."""
        raise self._withheld()

    def _withheld(self) -> BackendError:
        return BackendError(
            "The model's error is not passed on, since it may quote sealed reasoning.", status=self._status
        )


def _pieces(text: str) -> Iterator[str]:
    """All that a text has in a row, but for what is neither a letter nor a digit."""
    plain = "".join(filter(str.isalnum, text.lower()))
    return (plain[place : place + PIECE] for place in range(len(plain) - PIECE + 1))


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _strings(each)


class Thoughts:
    """Opens what one caller sends back, and seals what it is answered."""

    def __init__(self, sealing: Sealing, identity: Identity, dialect: Dialect) -> None:
        self._sealing = sealing
        self._identity = identity
        self._dialect = dialect.name
        self._places = PLACES.get(dialect.name)

    def open(self, payload: Json, query: Query) -> Unsealed:
        """The payload with its thoughts put back; raises `SealedError`."""
        if self._places is None:
            return Unsealed(payload)
        prefixes = self._sealing.prefixes(self._places.conversation(payload))
        opener = self._sealing.opener(self._bound(query), self._dialect, prefixes)
        unsealed = self._places.opened(payload, opener)
        mismatches = tuple(opener.mismatches)
        if mismatches and self._sealing.on_mismatch is OnMismatch.ERROR:
            raise SealedError(mismatches)
        return Unsealed(unsealed, tuple(opener.opened), mismatches, prefixes.before_answer)

    def prefix(self, payload: Json) -> bytes | None:
        """What the answer's thoughts are bound to; `None` where there is no place for them."""
        if self._places is None:
            return None
        return self._sealing.prefixes(self._places.conversation(payload)).before_answer

    def seal(self, query: Query, prefix: bytes) -> Seal:
        """What seals the answer's thoughts."""
        return self._sealing.sealer(self._bound(query), self._dialect, prefix)

    def _bound(self, query: Query) -> Bound:
        return self._sealing.bound(self._identity, query.model, query.end_user)
