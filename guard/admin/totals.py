"""What several identities have used together: the view by customer.

Only identities have a record in the store. An organisation's or a user's use is the sum over the records of
its identities, and is as complete as these are: the 100,000 most recent, each for 30 days after its last use.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from guard.core.identity import Attribute, Holder

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from guard.core.limits import Reading
    from guard.core.policy import Policy
    from guard.store.redis.orders import Record


@dataclass(frozen=True, slots=True)
class Totals:
    """The sum of some records; times in Unix seconds, `cost` in micro-dollars."""

    identities: int
    first_seen: float
    last_seen: float
    admitted: int
    refused: int
    shadowed: int
    input_tokens: int
    output_tokens: int
    cost: int

    @classmethod
    def of(cls, records: Sequence[Record]) -> Self:
        """The sum of these; there is at least one."""
        return cls(
            identities=len(records),
            first_seen=min(record.first_seen for record in records),
            last_seen=max(record.last_seen for record in records),
            admitted=sum(record.admitted for record in records),
            refused=sum(record.refused for record in records),
            shadowed=sum(record.shadowed for record in records),
            input_tokens=sum(record.input_tokens for record in records),
            output_tokens=sum(record.output_tokens for record in records),
            cost=sum(record.cost for record in records),
        )


@dataclass(frozen=True, slots=True)
class Nearest:
    """The limit of which most is used: its name, and the used share, from 0 to 1."""

    limit: str
    used: float

    @classmethod
    def of(cls, readings: Iterable[Reading]) -> Self | None:
        """The tightest of these; `None` where there is none."""
        shares = (
            (1 - min(reading.remaining, reading.window.burst) / reading.window.burst, reading.limit.name)
            for reading in readings
            if reading.window.burst
        )
        used, name = max(shares, default=(0.0, ""))
        return cls(name, max(0.0, used)) if name else None


@dataclass(frozen=True, slots=True)
class Group:
    """The identities that have an attribute in common; `holder` is `None` for those that lack it."""

    holder: Holder | None
    records: tuple[Record, ...]
    totals: Totals
    nearest: Nearest | None = None


def grouped(records: Iterable[Record], attribute: Attribute, policy: Policy) -> list[Group]:
    """The records by this attribute, those with most tokens first."""
    members: dict[str | None, list[Record]] = {}
    for record in records:
        members.setdefault(_value(record, attribute, policy), []).append(record)
    groups = [
        Group(None if value is None else Holder(attribute, value), tuple(each), Totals.of(each))
        for value, each in members.items()
    ]
    return sorted(
        groups,
        key=lambda group: (group.totals.input_tokens + group.totals.output_tokens, group.totals.admitted),
        reverse=True,
    )


def _value(record: Record, attribute: Attribute, policy: Policy) -> str | None:
    if attribute is Attribute.TIER:
        return policy.tier(record.identity).name
    return record.identity.attributes.get(attribute)
