"""What can be asked and ordered: one row each, from which routes and docs/openapi.json are made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from guard.settings.admin import Role

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from guard.admin import Operator
    from guard.settings.root import Settings

VERSION = "v1"
"""What paths begin with. Within it, fields and operations are added, and none goes or changes its meaning."""


class Taken(BaseModel):
    """What an operation is given, in the query string or in a body; what it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, serialize_by_alias=True)


class Nothing(Taken):
    """Nothing."""


class Asked(NamedTuple):
    """What an operation is asked of: the store, the settings, why newer ones cannot work if they cannot, who
    asks, and when, in Unix microseconds.
    """

    operator: Operator
    settings: Settings
    fault: str
    by: str
    now_us: int


@dataclass(frozen=True, slots=True)
class Operation:
    """One question or order. `answer` gets what was taken, and returns what `gives` describes; the first line
    of its docstring is the summary.
    """

    path: str
    method: Literal["GET", "POST"]
    role: Role
    takes: type[Taken]
    gives: Any
    answer: Callable[[Asked, Any], Awaitable[Any]]
    refuses: tuple[int, ...] = ()
    """The statuses, beside those that every operation may have, that it answers with."""
    once: bool = False
    """Whether it is carried out once for each `Idempotency-Key` that it is given with."""

    @property
    def is_order(self) -> bool:
        """Whether it may change something."""
        return self.role is Role.OPERATE

    @property
    def where(self) -> str:
        """The whole path."""
        return f"/{VERSION}/{self.path}"


def question(
    path: str, takes: type[Taken], gives: Any, answer: Callable[[Asked, Any], Awaitable[Any]], *refuses: int
) -> Operation:
    """A question, whose parameters stand in the query string."""
    return Operation(path, "GET", Role.READ, takes, gives, answer, refuses)


def secret_question(
    path: str, takes: type[Taken], gives: Any, answer: Callable[[Asked, Any], Awaitable[Any]], *refuses: int
) -> Operation:
    """A question about a secret, which stands in the body: URLs are logged."""
    return Operation(path, "POST", Role.READ, takes, gives, answer, refuses)


def order(
    path: str,
    takes: type[Taken],
    gives: Any,
    answer: Callable[[Asked, Any], Awaitable[Any]],
    *refuses: int,
    once: bool = False,
) -> Operation:
    """An order, in the body. It can be given twice, and what holds after is the same; or else it may be given
    with an `Idempotency-Key`, and is carried out `once` for each.
    """
    return Operation(f"orders/{path}", "POST", Role.OPERATE, takes, gives, answer, refuses, once)
