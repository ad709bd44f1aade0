"""What somebody may have meant who misspelt a name or a value."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic_core import ErrorDetails

_TYPES = {
    "missing": "must be given",
    "tuple_type": "must be a list",
    "frozen_set_type": "must be a list",
    "model_type": "must be a table",
    "dataclass_type": "must be a table",
    "dict_type": "must be a table",
    "extra_forbidden": "no such setting",
    "unexpected_keyword_argument": "no such setting",
}

_EXAMPLES = {"rate": "100/minute", "ramp": "14d", "new_for": "14d"}


def suggestion(name: str, known: Iterable[str]) -> str:
    """What to say of a name that is not known: the known one that is like it, or all of them."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean `{close[0]}`?" if close else f"; there are {', '.join(known)}"


def in_words(detail: ErrorDetails) -> str:
    """What pydantic says of a value, in the words of these settings."""
    if detail["type"] == "string_type":
        example = _EXAMPLES.get(str(detail["loc"][-1])) if detail["loc"] else None
        return f"must be a text in quotes{f', such as {example!r}' if example else ''}".replace("'", '"')
    known = _TYPES.get(detail["type"])
    if known is not None:
        return known
    message = detail["msg"].removeprefix("Value error, ")
    return message.replace("Input should", "must", 1).replace("String should", "must", 1)
