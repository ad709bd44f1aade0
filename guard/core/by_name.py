"""What follows from a name that clients choose, worked out once for each name, within bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Name = TypeVar("Name", str, bytes)
Fact = TypeVar("Fact")

LONGEST_KEPT = 64
"""What follows from a longer name is worked out each time: clients send such to fill a memory."""

MOST_KEPT = 4_096
"""Maximum number of names. At one more, all are forgotten."""


class ByName(dict[Name, Fact]):
    """`facts[name]` is what `work` says of the name."""

    def __init__(self, work: Callable[[Name], Fact]) -> None:
        super().__init__()
        self._work: Callable[[Name], Fact] = work

    def __missing__(self, name: Name) -> Fact:
        fact = self._work(name)
        if len(name) <= LONGEST_KEPT:
            if len(self) >= MOST_KEPT:
                self.clear()
            self[name] = fact
        return fact
