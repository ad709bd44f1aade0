"""What a page is: where it is, what it asks, and which template draws it."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from guard.admin import Operator
    from guard.dashboard.queries import Query

MOST_KEPT = 64
"""Maximum number of pages whose last answer is kept."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a page shows: `data` is all of it, as JSON, and `title` a text. `pictures` are drawn from the same
    values, by names that the template knows. `to` is where the answer is found instead.
    """

    title: str
    data: Mapping[str, Any]
    pictures: Mapping[str, Any] = field(default_factory=dict)
    to: str = ""


Ask: TypeAlias = "Callable[[Operator, Query], Awaitable[Answer]]"


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the dashboard. `name` is that of its template, `part` its section in the navigation."""

    path: str
    name: str
    ask: Ask
    part: str = ""

    @property
    def paths(self) -> tuple[str, str]:
        """Where it is as JSON, and where as a page."""
        return ("/overview.json" if self.path == "/" else f"{self.path}.json"), self.path

    @property
    def template(self) -> str:
        """The file that draws it."""
        return f"{self.name}.html"


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer, and when it was had, in Unix microseconds."""

    answer: Answer
    at_us: int


class LastKnown:
    """The last answer of each page, for when the store gives none; those seen last are kept."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Kept] = OrderedDict()

    def keep(self, url: str, answer: Answer, at_us: int) -> None:
        """Remember an answer."""
        self._kept.pop(url, None)
        self._kept[url] = Kept(answer, at_us)
        if len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)

    def of(self, url: str) -> Kept | None:
        """The last answer of a page."""
        return self._kept.get(url)
