"""Campaigns: the list, and one of them with its evidence, its members and what they have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from markupsafe import Markup

from guard.admin import pictures
from guard.admin.helps import case_helps
from guard.admin.json.campaigns import campaign_json, case_json
from guard.dashboard.pages import Answer
from guard.dashboard.queries import PAGE_SIZE

if TYPE_CHECKING:
    from guard.admin import Operator
    from guard.dashboard.queries import Query

MOST_MEMBERS = 200
"""Maximum number of members that are listed, the surest; the JSON of `guard campaign` has all."""


async def campaigns(operator: Operator, query: Query) -> Answer:
    """A page of the campaigns: those from which something follows, or all."""
    which, page = query.choice("which", ("counting", "all")), query.page()
    known, now_us = await operator.campaigns.all(), int(operator.now() * 1e6)
    found = [each for each in known if which == "all" or each.verdict(now_us).counts]
    shown = found[(page - 1) * PAGE_SIZE : page * PAGE_SIZE]
    return Answer(
        "Campaigns",
        {
            "which": which,
            "page": page,
            "page_size": PAGE_SIZE,
            "known": len(found),
            "others": len(known) - len(found),
            "looked_for": await operator.campaigns.are_looked_for(),
            "campaigns": [campaign_json(each, now_us) for each in shown],
        },
    )


async def campaign(operator: Operator, query: Query) -> Answer:
    """One campaign; raises `UnknownCampaignError`."""
    case = await operator.campaigns.of(query.text("campaign"))
    data = case_json(case)
    surest = sorted(data["identities"], key=lambda each: (-each["confidence"], each["identity"]))
    return Answer(
        case.campaign.id,
        {**data, "identities": surest[:MOST_MEMBERS], "helps": [list(each) for each in case_helps(case)]},
        {
            "members": Markup(pictures.ties_and_members(case)),  # noqa: S704 - its texts are escaped
            "growth": Markup(pictures.growth(case)),  # noqa: S704
        },
    )
