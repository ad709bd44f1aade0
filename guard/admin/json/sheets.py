"""All that is known of a holder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import TypedDict

from guard.admin.json.limits import ReadingJson, TermJson, reading_json, terms_json
from guard.admin.json.records import (
    BlockJson,
    RecordJson,
    ReviewJson,
    TotalsJson,
    block_json,
    record_json,
    review_json,
    totals_json,
)
from guard.admin.json.suspicion import SuspicionJson, suspicion_json
from guard.core.campaigns import Verdict
from guard.core.novelty import UNIT

if TYPE_CHECKING:
    from guard.admin.sheets import Sheet, Terrain


class MembershipJson(TypedDict):
    """A campaign that a holder is a member of, or was until a person took it out; `found` is what guard says
    of it.
    """

    campaign: str
    member: bool
    found: Verdict


class TerrainJson(TypedDict):
    """Why a diversity budget stands as it does: the share of its coverage that the caller's answers have
    visited (`null` of one that several share), what one of the latest draws and pays, in units, and how many
    like that are left.
    """

    limit: str
    holder: str
    covered: float | None
    requests: int | None
    answer_pays: float
    answer_draws: float
    answers_left: int | None


class SheetJson(TypedDict):
    """All that is known of a holder. `record` is there where it is an identity, and `totals` and `members`
    where identities belong to it.
    """

    holder: str
    tier: str | None
    record: RecordJson | None
    blocks: list[BlockJson]
    review: ReviewJson | None
    totals: TotalsJson | None
    members: list[RecordJson]
    campaigns: list[MembershipJson]
    overrides: list[TermJson]
    limits: list[ReadingJson]
    diversity: list[TerrainJson]
    evidence: SuspicionJson | None


def sheet_json(sheet: Sheet, *, most_members: int | None = None) -> SheetJson:
    """All that is known of a holder, with so many of its members, or all."""
    return {
        "holder": sheet.label,
        "tier": sheet.tier,
        "record": record_json(sheet.label, sheet.record) if sheet.record else None,
        "blocks": [block_json(holder, block) for holder, block in sheet.blocks],
        "review": review_json(sheet.review) if sheet.review else None,
        "totals": totals_json(sheet.totals) if sheet.totals else None,
        "members": [record_json(each.label, each) for each in sheet.members[:most_members]],
        "campaigns": [
            {"campaign": each.id, "member": sheet.label in each.members, "found": each.found}
            for each in sheet.campaigns
        ],
        "overrides": terms_json(sheet.overrides),
        "limits": [reading_json(reading) for reading in sheet.readings],
        "diversity": [_terrain_json(terrain) for terrain in sheet.terrains],
        "evidence": suspicion_json(sheet.suspicion) if sheet.suspicion else None,
    }


def _terrain_json(terrain: Terrain) -> TerrainJson:
    return {
        "limit": terrain.limit.name,
        "holder": str(terrain.holder),
        "covered": terrain.covered,
        "requests": terrain.requests,
        "answer_pays": round(terrain.recent.paid / UNIT, 6),
        "answer_draws": round(terrain.recent.drew / UNIT, 6),
        "answers_left": terrain.answers_left,
    }
