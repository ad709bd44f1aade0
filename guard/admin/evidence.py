"""The case of a campaign or an identity, for whoever decides on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guard.admin.cases import Case
from guard.core.identity import Holder

if TYPE_CHECKING:
    from guard.admin.operator import Operator
    from guard.admin.sheets import Sheet
    from guard.admin.suspicion import Suspicion


async def evidence_of(operator: Operator, name: str, members: int) -> tuple[Case | Sheet, list[Suspicion]]:
    """What is known of whom a text names, as `Operator.subject` reads it; and what speaks against it, or of a
    campaign, against so many of its members by themselves, the surest first.

    Raises `UnknownCampaignError` and `UnknownHolderError`.
    """
    subject = await operator.subject(name)
    if not isinstance(subject, Case):
        return subject, [subject.suspicion] if subject.suspicion is not None else []
    holders = [Holder.parse(label) for label, _ in subject.surest[:members]]
    found = await operator.suspicions(holders)
    return subject, [suspicion for suspicion in found if suspicion is not None]
