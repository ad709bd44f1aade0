"""Values that several operations take, and how a wrong one is said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from guard.api.operations import Taken
from guard.core.durations import parse_duration
from guard.errors import GuardError
from guard.settings.spelling import in_words

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from guard.admin import Operator
    from guard.core.identity import Holder

EVER = "ever"

LONGEST_NAME = 2_048

Text = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_NAME)]


class WrongInputError(GuardError):
    """One field, or several, of what was asked with: what is wrong with each."""

    def __init__(self, wrong: dict[str, str]) -> None:
        super().__init__("; ".join(f"{field}: {what}" for field, what in wrong.items()))
        self.wrong = wrong

    @classmethod
    def of(cls, details: list[ErrorDetails]) -> WrongInputError:
        """What pydantic has found."""
        return cls({".".join(map(str, each["loc"])) or "body": _in_words(each) for each in details})


_WORDS = {
    "extra_forbidden": "there is no such field",
    "string_type": "must be a string",
    "model_type": "must be an object",
}
"""What settings say in words of their own."""


def _in_words(detail: ErrorDetails) -> str:
    return _WORDS.get(detail["type"]) or in_words(detail)


def _duration(text: str) -> str:
    if text != EVER:
        parse_duration(text)
    return text


Duration = Annotated[
    str,
    AfterValidator(_duration),
    Field(
        description="A length of time, such as `30m`, `12h` or `7d`; `ever` for good.",
        examples=["12h"],
        json_schema_extra={"pattern": "^(ever|[0-9]{1,6}[smhdw])$"},
    ),
]


def seconds_of(duration: str) -> float | None:
    """The seconds of a duration, `None` for good."""
    return None if duration == EVER else parse_duration(duration)


def _flag(value: object) -> object:
    """A flag of a query string: `true` or `false`, and nothing else that pydantic would take for one."""
    if isinstance(value, str) and value not in ("true", "false"):
        raise ValueError("must be true or false")
    return value


Flag = Annotated[bool, BeforeValidator(_flag)]

HolderName = Annotated[
    Text,
    Field(
        description="`ATTRIBUTE:VALUE`, such as `key:alice` or `org:acme`; the start of a name with `…` "
        "behind it; or the receipt of a hold.",
        examples=["org:acme"],
    ),
]


class HolderQuery(Taken):
    """Whom the question is about."""

    holder: HolderName


MOST_ON_A_PAGE = 1_000

Count = Annotated[int, Field(ge=1, le=MOST_ON_A_PAGE, description="How many at most.")]

Members = Annotated[int, Field(ge=0, le=MOST_ON_A_PAGE, description="How many members at most.")]

Since = Annotated[
    Duration, Field(description="What was seen in this time, such as `10m`, `2h` or `7d`; or `ever`.")
]


async def holder_of(operator: Operator, text: str, field: str = "holder") -> Holder:
    """The holder that a field names; raises `WrongInputError`, and `UnknownHolderError`."""
    try:
        return await operator.resolve(text)
    except ValueError as error:
        raise WrongInputError({field: str(error)}) from None
