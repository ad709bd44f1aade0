"""The case of a campaign or an identity, and what a receipt says (docs/campaigns.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from typing_extensions import TypedDict

from guard.admin.cases import Case
from guard.admin.helps import sheet_helps
from guard.admin.json.campaigns import CaseJson, case_json
from guard.admin.json.sheets import SheetJson, sheet_json
from guard.admin.json.suspicion import SuspicionJson, suspicion_json
from guard.core.decision import Action, Reason
from guard.words import moment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guard.admin.sheets import Appeal, Sheet
    from guard.admin.suspicion import Suspicion
    from guard.receipts import Refused


class CampaignEvidenceJson(CaseJson):
    """The case of a campaign; `suspects` is what speaks against members by themselves."""

    schema: Literal["guard/evidence/1"]
    at: str
    kind: Literal["campaign"]
    suspects: list[SuspicionJson]


class IdentityEvidenceJson(SheetJson):
    """The case of an identity; `helps` are the orders that serve an innocent again."""

    schema: Literal["guard/evidence/1"]
    at: str
    kind: Literal["identity"]
    helps: list[str]


class RefusedJson(TypedDict):
    """Which request was refused, when and why; `limit` is `null` where none was the reason."""

    identity: str
    request_id: str
    at: str
    action: Action
    reason: Reason
    limit: str | None


class AppealJson(TypedDict):
    """What a receipt says (`null` for that of a hold), and the case of whom it names, as it is now."""

    schema: Literal["guard/appeal/1"]
    refused: RefusedJson | None
    evidence: IdentityEvidenceJson | None


def evidence_json(
    subject: Case | Sheet, suspicions: Sequence[Suspicion], now: float
) -> CampaignEvidenceJson | IdentityEvidenceJson:
    """The case of a campaign, with what speaks against its members, or of an identity."""
    if not isinstance(subject, Case):
        return _identity_evidence_json(subject, now)
    return {
        "schema": "guard/evidence/1",
        "at": moment(now),
        "kind": "campaign",
        **case_json(subject),
        "suspects": [suspicion_json(each) for each in suspicions],
    }


def appeal_json(found: Appeal, now: float) -> AppealJson:
    """What a receipt says."""
    return {
        "schema": "guard/appeal/1",
        "refused": None if found.refused is None else _refused_json(found.refused),
        "evidence": None if found.sheet is None else _identity_evidence_json(found.sheet, now),
    }


def _identity_evidence_json(sheet: Sheet, now: float) -> IdentityEvidenceJson:
    return {
        "schema": "guard/evidence/1",
        "at": moment(now),
        "kind": "identity",
        **sheet_json(sheet),
        "helps": [order for order, _ in sheet_helps(sheet, now)],
    }


def _refused_json(refused: Refused) -> RefusedJson:
    return {
        "identity": refused.label,
        "request_id": refused.request_id,
        "at": moment(refused.at_us / 1e6),
        "action": refused.action,
        "reason": refused.reason,
        "limit": refused.limit or None,
    }
