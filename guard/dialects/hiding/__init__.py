"""What of an answer is not for the client, and how to take it out: one file per API family.

Reasoning is where an API has a place for it, and between tags in the text where a server or a prompt has put
it there (`guard.dialects.hiding.tags`). What is left is an answer as the API gives it, which its SDKs take
without complaint. Usage stays as it is: what is hidden is paid for.

Where reasoning is sealed, a blob stands in its place that the client sends back (`guard.dialects.sealing`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from guard.core.reshape import Reasoning
from guard.dialects import edits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guard.core.reshape import Reshape
    from guard.dialects.strict import Json
    from guard.sealing.thoughts import Seal


def place(fields: Json, name: str = "index") -> int:
    """Which of several this belongs to; 0 where it does not say so in a number."""
    value = fields.get(name)
    return value if isinstance(value, int) else 0


class Hiding(Protocol):
    """Takes out of one answer what is not for the client."""

    def whole(self, answer: Json) -> Json:
        """What is shown of an answer in one piece: the answer itself where all of it is."""

    def part(self, part: Json) -> Sequence[Json]:
        """What is shown of the next part of a stream: the part itself where all of it is."""


@dataclass(frozen=True, slots=True)
class Sealer:
    """What one answer tells of thoughts: `seal` makes a blob of one where they are sealed, and
    `transformations` says which of the request's were dropped."""

    seal: Seal | None = None
    transformations: tuple[Json, ...] = ()

    @classmethod
    def sealing(cls, sealer: Sealer | None, reshape: Reshape) -> Seal | None:
        """What seals the thoughts of an answer, where they are to be sealed."""
        return sealer.seal if sealer is not None and reshape.reasoning is Reasoning.SEALED else None


class Telling:
    """Tells in an answer which thoughts of the request were dropped, in the field that Anthropic's API has
    for it: in a stream in its first part, or in each that has the object of this name.
    """

    def __init__(self, hiding: Hiding | None, transformations: Sequence[Json], inside: str | None) -> None:
        self._hiding = hiding
        self._field = {"input_transformations": list(transformations)}
        self._inside = inside
        self._told = False

    @classmethod
    def of(cls, hiding: Hiding | None, sealer: Sealer, inside: str | None = None) -> Hiding | None:
        """What edits an answer that has this to tell."""
        if not sealer.transformations:
            return hiding
        return cls(hiding, sealer.transformations, inside)

    def whole(self, answer: Json) -> Json:
        """An answer in one piece."""
        return {**(answer if self._hiding is None else self._hiding.whole(answer)), **self._field}

    def part(self, part: Json) -> Sequence[Json]:
        """The next part of a stream."""
        shown = [part] if self._hiding is None else self._hiding.part(part)
        if self._inside is not None:
            return [edits.inside(each, self._inside, self._with_field) for each in shown]
        if self._told or not shown:
            return shown
        self._told = True
        return [self._with_field(shown[0]), *shown[1:]]

    def _with_field(self, fields: Json) -> Json:
        return {**fields, **self._field}
