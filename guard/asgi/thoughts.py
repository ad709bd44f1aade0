"""The sealed thoughts of one request, and of its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NamedTuple

from guard.core.sealed import OnMismatch
from guard.dialects.sealing import PLACES
from guard.errors import QueryError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from guard.core.identity import Identity
    from guard.core.query import Query
    from guard.core.sealed import Mismatch
    from guard.dialects.base import Dialect
    from guard.dialects.strict import Json
    from guard.sealing.thoughts import Bound, Seal, Sealing


class Unsealed(NamedTuple):
    """A payload without blobs, with the thoughts that were in them.

    `mismatches` are those that did not belong there, and `prefix` is what the answer's are bound to.
    """

    payload: Json
    mismatches: tuple[Mismatch, ...] = ()
    prefix: bytes | None = None


class SealedError(QueryError):
    """A sealed thought does not belong where it stands, and the settings have that refused."""

    reasons: ClassVar[Mapping[int, str]] = {400: "sealed_reasoning"}

    def __init__(self, mismatches: tuple[Mismatch, ...]) -> None:
        path, reason, *_ = mismatches[0]
        super().__init__(f"{path}: the sealed reasoning in it cannot be used here ({reason}).", param=path)
        self.mismatches = mismatches


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
        opened = self._places.opened(payload, opener)
        mismatches = tuple(opener.mismatches)
        if mismatches and self._sealing.on_mismatch is OnMismatch.ERROR:
            raise SealedError(mismatches)
        return Unsealed(opened, mismatches, prefixes.before_answer)

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
