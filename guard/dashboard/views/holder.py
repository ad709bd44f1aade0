"""One page for a customer: an identity, a user, an organisation, or whatever else a limit is kept for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from markupsafe import Markup

from guard.admin import pictures
from guard.admin.helps import sheet_helps
from guard.admin.json.rollups import course_json, refusals_json
from guard.admin.json.sheets import sheet_json
from guard.dashboard.pages import Answer

if TYPE_CHECKING:
    from guard.admin import Operator
    from guard.dashboard.queries import Query

MOST_MEMBERS = 50
"""Maximum number of identities of a holder that are listed, those with most tokens."""


async def holder(operator: Operator, query: Query) -> Answer:
    """All that is known of a holder; raises `UnknownHolderError`."""
    found = await operator.resolve(query.text("name"))
    sheet, refusals, course = await asyncio.gather(
        operator.show(found), operator.refusals(found), operator.risk_over_time(found)
    )
    now, data = operator.now(), sheet_json(sheet)
    drawn = {}
    if sheet.suspicion is not None and sheet.suspicion.findings:
        drawn["signals"] = Markup(pictures.signals(sheet.suspicion, now))  # noqa: S704 - its texts are escaped
    return Answer(
        sheet.label,
        {
            **data,
            "members": data["members"][:MOST_MEMBERS],
            "members_known": len(data["members"]),
            "refusals": refusals_json(refusals),
            "course": course_json(course),
            "helps": [list(each) for each in sheet_helps(sheet, now)],
        },
        drawn,
    )
