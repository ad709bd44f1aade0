"""Campaigns, in a list and by themselves (docs/campaigns.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import TypedDict

from guard.admin.json.limits import ReadingJson, reading_json
from guard.admin.json.records import BlockJson, block_json
from guard.core.atlas import TECHNIQUES
from guard.core.campaigns import TieKind, Verdict
from guard.words import moment

if TYPE_CHECKING:
    from guard.admin.cases import Case
    from guard.core.campaigns import Campaign, Finding, Judged, Tie


class JudgedJson(TypedDict):
    """What a person said last, until when or for good (`null`), and whether it holds."""

    verdict: Verdict
    by: str
    reason: str
    at: str
    until: str | None
    holds: bool


class CampaignJson(TypedDict):
    """A campaign in a list: what holds of it and whether anything follows for its members, what guard itself
    says, how large it is, and how sure.
    """

    campaign: str
    verdict: Verdict
    counts: bool
    found: Verdict
    judged: JudgedJson | None
    members: int
    queries: int
    units: float
    since: str
    last_seen: str
    decibans: float
    strength: float
    strongest_tie: TieKind | None


class GroundJson(TypedDict):
    """One reason for or against; `decibans` is 0 where it was not measured."""

    text: str
    decibans: float


class TieJson(TypedDict):
    """What so many members have in common; `digest` is keyed with the pepper, or empty, and `shared` are the
    hashes of it that other operators are told.
    """

    kind: TieKind
    family: str
    means: str
    digest: str
    shared: list[str]
    members: int
    decibans: float
    atlas: list[str]


class PoolJson(TypedDict):
    """Members that share the limits per campaign, and what is left of these."""

    holder: str
    members: int
    limits: list[ReadingJson]


class MemberJson(TypedDict):
    """A member: since when, how surely (from 0 to 1), and which pool holds it, if any."""

    identity: str
    since: str
    confidence: float
    pool: str | None


class EventJson(TypedDict):
    """A moment of its life."""

    at: str
    text: str


_Grounds = TypedDict("_Grounds", {"for": list[GroundJson], "against": list[GroundJson]})


class CaseJson(CampaignJson, _Grounds):
    """All that is known of a campaign: also the verdict in words, the evidence, what was looked for and not
    seen, and what happened when, the oldest first.
    """

    means: str
    not_seen: list[str]
    ties: list[TieJson]
    atlas: dict[str, str]
    pools: list[PoolJson]
    block: BlockJson | None
    identities: list[MemberJson]
    cleared: list[str]
    events: list[EventJson]


def campaign_json(campaign: Campaign, now_us: int) -> CampaignJson:
    """A campaign as a line of a list."""
    judged = campaign.judged
    strongest = max(campaign.ties, key=lambda tie: tie.decibans, default=None)
    return {
        "campaign": campaign.id,
        "verdict": campaign.verdict(now_us),
        "counts": campaign.verdict(now_us).counts,
        "found": campaign.found,
        "judged": None if judged is None else _judged_json(judged, now_us),
        "members": len(campaign.members),
        "queries": campaign.queries,
        "units": campaign.paid,
        "since": moment(campaign.since_us / 1e6),
        "last_seen": moment(campaign.seen_us / 1e6),
        "decibans": campaign.decibans,
        "strength": campaign.strength,
        "strongest_tie": None if strongest is None else strongest.kind,
    }


def case_json(case: Case) -> CaseJson:
    """All that is known of a campaign."""
    campaign = case.campaign
    return {
        **campaign_json(campaign, case.now_us),
        "means": case.verdict.meaning,
        "for": [_ground_json(each) for each in campaign.speaks_for],
        "against": [_ground_json(each) for each in campaign.speaks_against],
        "not_seen": list(campaign.not_seen),
        "ties": [_tie_json(tie) for tie in campaign.ties],
        "atlas": {technique: technique.called for technique in case.techniques},
        "pools": [
            {
                "holder": str(pool.holder),
                "members": pool.members,
                "limits": [reading_json(reading) for reading in pool.readings],
            }
            for pool in case.pools
        ],
        "block": None if case.block is None else block_json(case.holder, case.block),
        "identities": [
            {
                "identity": label,
                "since": moment(member.since_us / 1e6),
                "confidence": member.confidence,
                "pool": case.held_by.get(label),
            }
            for label, member in sorted(campaign.members.items())
        ],
        "cleared": sorted(campaign.cleared),
        "events": [{"at": moment(event.at_us / 1e6), "text": event.text} for event in campaign.events],
    }


def _judged_json(judged: Judged, now_us: int) -> JudgedJson:
    return {
        "verdict": judged.verdict,
        "by": judged.by,
        "reason": judged.reason,
        "at": moment(judged.at_us / 1e6),
        "until": None if judged.until_us is None else moment(judged.until_us / 1e6),
        "holds": judged.holds(now_us),
    }


def _ground_json(finding: Finding) -> GroundJson:
    return {"text": finding.text, "decibans": finding.decibans}


def _tie_json(tie: Tie) -> TieJson:
    return {
        "kind": tie.kind,
        "family": tie.kind.family,
        "means": tie.kind.meaning,
        "digest": tie.what,
        "shared": list(tie.shared),
        "members": tie.members,
        "decibans": tie.decibans,
        "atlas": list(TECHNIQUES[tie.kind]),
    }
