"""What the operator is shown of a holder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from guard.admin.totals import Nearest, Totals

if TYPE_CHECKING:
    from guard.admin.suspicion import Suspicion
    from guard.core.campaigns import Campaign
    from guard.core.evidence import Risk
    from guard.core.holds import Review
    from guard.core.identity import Holder
    from guard.core.limits import Limit, Reading
    from guard.core.novelty import Recent
    from guard.receipts import Refused
    from guard.store.port import Block
    from guard.store.redis.orders import Record, Term


@dataclass(frozen=True, slots=True)
class Terrain:
    """Why a diversity budget stands as it does: the share of the cells that the caller's answers have
    visited, which is `None` of a budget that several share; what one of the latest has paid out and drew; and
    what is `left` of the tightest window, in thousandths. `requests` of it were admitted; `None` where its
    identities are not remembered.
    """

    limit: Limit
    holder: Holder
    covered: float | None
    recent: Recent
    left: int
    requests: int | None

    @property
    def answers_left(self) -> int | None:
        """How many answers more what is left pays for, if they go on so; `None` where they pay nothing."""
        return int(self.left / self.recent.paid) if self.recent.paid >= 0.5 else None


@dataclass(frozen=True, slots=True)
class Sheet:
    """All that is known of a holder.

    `record` is there where the holder is the principal of an identity. `blocks` are those that bite, on it
    or on one of its attributes; `overrides` likewise, each with its limit, `None` for all. `readings` say
    what is left of each limit, and `terrains` why, of the diversity budgets. `suspicion` is `None` where
    nothing is known of how it behaves, and `review` where it is neither held nor cleared. `members` are the
    records of other identities that belong to the holder, as the keys of an organisation do, those with most
    tokens first. `campaigns` are those that it is a member of, or was until a person took it out.
    """

    holder: Holder
    label: str
    tier: str | None
    record: Record | None
    blocks: tuple[tuple[Holder, Block], ...]
    overrides: tuple[tuple[Holder, Term, Limit | None], ...]
    readings: tuple[Reading, ...]
    terrains: tuple[Terrain, ...] = ()
    suspicion: Suspicion | None = None
    members: tuple[Record, ...] = ()
    review: Review | None = None
    campaigns: tuple[Campaign, ...] = ()

    @property
    def totals(self) -> Totals | None:
        """What the members have used together."""
        return Totals.of(self.members) if self.members else None


@dataclass(frozen=True, slots=True)
class Appeal:
    """A refusal that somebody complains of, and what is known of whom it was; `refused` is `None` for the
    receipt of a hold, and `sheet` where nothing is known any more.
    """

    refused: Refused | None
    sheet: Sheet | None


@dataclass(frozen=True, slots=True)
class Entry:
    """An identity that was seen, its risk now, and its tightest limit.

    The risk of a router's end users is not in it.
    """

    record: Record
    risk: Risk
    nearest: Nearest | None = None

    def place(self, *, by_risk: bool) -> Place:
        """Where it stands in a list by risk, or by tokens."""
        return place_of(self.record, self.risk.decibans if by_risk else 0.0)


@dataclass(frozen=True, slots=True)
class Unseen:
    """No identity has a name; `close_to` is the most similar one that has been seen."""

    close_to: str | None

    @property
    def hint(self) -> str:
        """What the operator may have meant, if that can be said."""
        return f"; did you mean {self.close_to}?" if self.close_to else ""


Place = tuple[float, int, int, str]
"""Where a record stands in a list, the least first; no two have the same."""


def place_of(record: Record, decibans: float = 0.0) -> Place:
    """Most risk first where that is given, then most tokens, then most requests.

    Risk fades from one page to the next: in tenths of a decibel, few change their place meanwhile.
    """
    tokens, requests = used(record)
    return -round(decibans, 1), -tokens, -requests, record.label


def used(record: Record) -> tuple[int, int]:
    """By what records are ordered: their tokens, then their requests."""
    return record.input_tokens + record.output_tokens, record.admitted
