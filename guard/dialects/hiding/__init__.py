"""What of an answer is not for the client, and how to take it out: one file per API family.

Reasoning is where an API has a place for it, and between tags in the text where a server or a prompt has put
it there (`guard.dialects.hiding.tags`). What is left is an answer as the API gives it, which its SDKs take
without complaint. Usage stays as it is: what is hidden is paid for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guard.dialects.strict import Json


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
