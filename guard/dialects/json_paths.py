"""Places in a JSON document, as an operator writes them: `messages[*].content`, `usage.output_tokens`.

Names divided by dots, and `[*]` for every item of a list. No more than that: what cannot be said in it
needs a dialect of its own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

EACH = "[*]"

_STEP = re.compile(r"\[\*\]|[^.\[\]\s]+")


@dataclass(frozen=True, slots=True)
class JsonPath:
    """A place: names, and `[*]` for each item of a list."""

    steps: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> JsonPath:
        """The place that a text says; raises `ValueError` with what would be right."""
        steps = tuple(_STEP.findall(text))
        if not steps or steps[0] == EACH or str(cls(steps)) != text:
            raise ValueError(
                f"{text!r} is no place in a JSON object; write names divided by dots, and {EACH} for every "
                f"item of a list, as in 'messages{EACH}.content'"
            )
        return cls(steps)

    @property
    def single(self) -> bool:
        """Whether there is at most one value at this place."""
        return EACH not in self.steps

    def find(self, value: Any) -> Iterator[Any]:
        """The values that are there, whatever else there is."""
        found = [value]
        for step in self.steps:
            if step == EACH:
                found = [item for each in found if isinstance(each, list) for item in each]
            else:
                found = [each[step] for each in found if isinstance(each, dict) and step in each]
        return iter(found)

    def __str__(self) -> str:
        return "".join(step if step == EACH else f".{step}" for step in self.steps).removeprefix(".")
