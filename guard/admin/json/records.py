"""Who was seen, what it has used, and what was decided of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NotRequired

from typing_extensions import TypedDict

from guard.admin.json.limits import NearestJson, nearest_json
from guard.core.evidence import Band
from guard.core.holds import Held
from guard.core.identity import Attribute, VouchedBy
from guard.core.signals import Group as SignalGroup
from guard.words import moment

if TYPE_CHECKING:
    from guard.admin.finding import Found
    from guard.admin.sheets import Entry
    from guard.admin.totals import Group, Totals
    from guard.core.holds import Review
    from guard.core.identity import Holder
    from guard.store.port import Block
    from guard.store.redis.orders import Record


class UsedJson(TypedDict):
    """What was used. Each request is one of `admitted`, `refused` and `would_refuse`: the last were forwarded
    although a limit in mode `shadow` had no room.
    """

    first_seen: str
    last_seen: str
    admitted: int
    refused: int
    would_refuse: int
    input_tokens: int
    output_tokens: int
    cost_microdollars: int


class RecordJson(UsedJson):
    """An identity, since it was first seen."""

    identity: str
    vouched_by: VouchedBy | None
    attributes: dict[Attribute, str]


class EntryJson(RecordJson, NearestJson):
    """An identity in a list, with its risk now and its tightest limit."""

    risk_decibans: float
    band: Band


class TotalsJson(UsedJson):
    """What several identities have used together."""

    identities: int


class GroupJson(TotalsJson, NearestJson):
    """The identities that have one value of an attribute; `holder` is `null` for those without it."""

    by: Attribute
    holder: str | None


class BlockJson(TypedDict):
    """A block, for so long or for good (`null`)."""

    holder: str
    remaining_seconds: float | None
    reason: str


class ReviewJson(TypedDict):
    """How a review stands: one that is held has a `receipt` and the `band` of its risk then, one that was
    cleared has the `reason`.
    """

    held: bool
    groups: list[SignalGroup]
    since: str
    until: str | None
    receipt: NotRequired[str]
    band: NotRequired[Band]
    reason: NotRequired[str]


class HoldJson(ReviewJson):
    """Who is held for review."""

    holder: str


class FoundJson(TypedDict):
    """What a credential or an address stands for: its names, the most special first, and how it is known."""

    names: list[str]
    how: str
    tier: str | None
    attributes: dict[Attribute, str]
    blocks: list[BlockJson]
    review: ReviewJson | None
    records: list[RecordJson]


def record_json(label: str, record: Record) -> RecordJson:
    """An identity's record."""
    return {
        "identity": label,
        "vouched_by": record.identity.vouched_by,
        "attributes": dict(record.identity.attributes),
        **_used_json(record),
    }


def entry_json(label: str, entry: Entry) -> EntryJson:
    """An identity's record and risk."""
    return {
        **record_json(label, entry.record),
        "risk_decibans": entry.risk.decibans,
        "band": entry.risk.band,
        **nearest_json(entry.nearest),
    }


def totals_json(totals: Totals) -> TotalsJson:
    """What several identities have used."""
    return {"identities": totals.identities, **_used_json(totals)}


def group_json(group: Group, by: Attribute) -> GroupJson:
    """The identities of one value of an attribute."""
    return {
        "by": by,
        "holder": None if group.holder is None else str(group.holder),
        **totals_json(group.totals),
        **nearest_json(group.nearest),
    }


def block_json(holder: Holder, block: Block) -> BlockJson:
    """A block."""
    return {
        "holder": str(holder),
        "remaining_seconds": None if block.remaining_us is None else block.remaining_us / 1e6,
        "reason": block.reason,
    }


def review_json(review: Review) -> ReviewJson:
    """How a holder's review stands."""
    found: ReviewJson = {
        "held": isinstance(review, Held),
        "groups": list(review.groups),
        "since": moment(review.since_us / 1e6),
        "until": None if review.until_us is None else moment(review.until_us / 1e6),
    }
    if isinstance(review, Held):
        return {**found, "receipt": review.receipt, "band": review.band}
    return {**found, "reason": review.reason}


def hold_json(holder: Holder, held: Held) -> HoldJson:
    """Who is held."""
    return {"holder": str(holder), **review_json(held)}


def found_json(found: Found, names: list[str]) -> FoundJson:
    """What a credential or an address stands for, by these names."""
    return {
        "names": names,
        "how": found.how,
        "tier": found.tier,
        "attributes": found.attributes,
        "blocks": [block_json(holder, block) for holder, block in found.blocks],
        "review": review_json(found.review) if found.review else None,
        "records": [record_json(record.label, record) for record in found.records],
    }


def _used_json(used: Record | Totals) -> UsedJson:
    return {
        "first_seen": moment(used.first_seen),
        "last_seen": moment(used.last_seen),
        "admitted": used.admitted,
        "refused": used.refused,
        "would_refuse": used.shadowed,
        "input_tokens": used.input_tokens,
        "output_tokens": used.output_tokens,
        "cost_microdollars": used.cost,
    }
