"""A kind of campaign."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.detection.accounts import Account, Caller, Ties
    from benchmarks.detection.sources import Part, Split
    from benchmarks.detection.stage import Stage
    from benchmarks.detection.traffic import Kind, Line


@dataclass(frozen=True, slots=True)
class Fleet:
    """A kind of campaign: what each of its accounts does, and what they share.

    `together` is for what only the whole can do: the lines of all accounts, by account. `vouched` is whether
    somebody vouches for the accounts, and `part` what it can be had of one source of.
    """

    name: str
    kind: Kind
    caller: Caller
    ties: Ties
    act: Callable[[Stage, int], Iterator[Line]] | None = None
    together: Callable[[Stage, Sequence[Account]], Sequence[Sequence[Line]]] | None = None
    only_openai: bool = False
    vouched: bool = False
    part: Part | None = None

    def plays(self, split: Split) -> bool:
        """Whether the split has what this takes."""
        return self.part is None or self.part in split.pools
