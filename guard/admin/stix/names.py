"""What things are called in bundles, so that the same thing has one id however often it is told."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID, uuid5

from guard.core.calendars import MICROSECONDS
from guard.core.indicators import Thing

if TYPE_CHECKING:
    from collections.abc import Iterable

GUARD = UUID("8a2f3e0c-6f0b-5c57-9d3c-1f5b2b7b6c11")
"""The namespace of all ids."""

_PATTERN = re.compile(
    r"\[x-guard:key = '(?P<key>[0-9a-f]{8})' AND x-guard:(?P<thing>[a-z]+) = '(?P<digest>[0-9a-f]{32})'\]"
)


class Pattern(NamedTuple):
    """What an indicator looks for: a thing by its hash, made with the secret of this check value."""

    key: str
    thing: Thing
    digest: str

    def __str__(self) -> str:
        return f"[x-guard:key = '{self.key}' AND x-guard:{self.thing} = '{self.digest}']"

    @classmethod
    def read(cls, text: str) -> Pattern | None:
        """From a pattern of STIX; `None` for one that is not guard's."""
        found = _PATTERN.fullmatch(text)
        if found is None or found["thing"] not in set(Thing):
            return None
        return cls(found["key"], Thing(found["thing"]), found["digest"])


def id_of(kind: str, *parts: object) -> str:
    """The id of an object of this kind, which follows from what it is of."""
    return f"{kind}--{uuid5(GUARD, _joined((kind, *parts)))}"


def group_of(producer: str, grouping: str) -> str:
    """What a campaign of this producer is called here: 32 hex digits."""
    return uuid5(GUARD, _joined((producer, grouping))).hex


def date(at_us: int) -> datetime:
    """A moment, to the millisecond as STIX has it."""
    return datetime.fromtimestamp(at_us // 1000 / 1000, UTC)


def date_us(moment: datetime) -> int:
    """Unix microseconds, of a moment before 1970 none."""
    return max(0, int(moment.timestamp() * MICROSECONDS))


def _joined(parts: Iterable[object]) -> str:
    return "\0".join(map(str, parts))
