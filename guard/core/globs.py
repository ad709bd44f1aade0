"""A table in which names may be shell globs: what is told of a model by its name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import translate
from functools import lru_cache
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T")


def is_glob(name: str) -> bool:
    """Whether a name stands for several."""
    return not _SIGNS.isdisjoint(name)


def same_name(name: str) -> str:
    """One spelling of a model's name for all that servers take for the same model: without regard to case, to
    spaces round it, to what Ollama adds where nothing is said (`https://registry.ollama.ai/library/`,
    `:latest`), and to the `models/` of Gemini's API. The spelling of a spelling is itself.
    """
    return _kept_same_name(name) if len(name) <= _LONGEST_KEPT else _same_name(name)


def _same_name(name: str) -> str:
    while (short := _IMPLIED.sub("", name.strip().casefold()).removesuffix(":latest")) not in ("", name):
        name = short
    return name


_IMPLIED = re.compile(r"^(?:[a-z][a-z0-9+.-]*:/|registry\.ollama\.ai(?::[0-9]+)?/|library/|models/|/)+")
"""What may stand before a name and says nothing: Ollama passes over any scheme, and over parts that are
empty."""

_LONGEST_KEPT = 128
_kept_same_name = lru_cache(maxsize=4_096)(_same_name)


@dataclass(frozen=True, slots=True)
class GlobTable(Generic[T]):
    """A name's own entry first, then that of the first glob that matches; of names that are spelt exactly so,
    then of those that are the same model's (`same_name`).

    Globs are compiled when the table is made and a name's own entry is found by hash, since a list of
    prices has thousands of entries and is asked for every request.
    """

    exact: Mapping[str, T]
    globs: tuple[tuple[re.Pattern[str], T], ...]

    @classmethod
    def of(cls, entries: Mapping[str, T]) -> GlobTable[T]:
        """The table with these entries; those with `*`, `?` or `[` in their name are globs, in their
        order.
        """
        globs = {name: entry for name, entry in entries.items() if is_glob(name)}
        exact = {name: entry for name, entry in entries.items() if name not in globs}
        for name, entry in tuple(exact.items()):
            exact.setdefault(same_name(name), entry)
        return cls(
            exact, tuple((re.compile(translate(same_name(glob))), entry) for glob, entry in globs.items())
        )

    def find(self, name: str) -> T | None:
        """The entry for a name, `None` where there is none."""
        if not self.exact and not self.globs:
            return None
        found = self.exact.get(name)
        if found is not None:
            return found
        name = same_name(name)
        found = self.exact.get(name)
        if found is not None:
            return found
        return next((entry for glob, entry in self.globs if glob.match(name)), None)


NO_NAMES: GlobTable[str] = GlobTable({}, ())

_SIGNS = frozenset("*?[")
