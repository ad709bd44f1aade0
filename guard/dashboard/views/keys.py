"""The keys that guard has issued, by name, page by page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guard.admin.json.keys import key_json
from guard.dashboard.pages import Answer
from guard.dashboard.queries import PAGE_SIZE
from guard.words import moment

if TYPE_CHECKING:
    from guard.admin import Operator
    from guard.dashboard.queries import Query


async def keys(operator: Operator, query: Query) -> Answer:
    """A page of the keys, or of those of an organisation: how each stands, and when it was used last."""
    page, org = query.page(), query.text("org", "")
    shown, known = await operator.keys.part((page - 1) * PAGE_SIZE, PAGE_SIZE, org or None)
    used, now_us = await operator.keys.last_used(shown), int(operator.now() * 1e6)
    return Answer(
        "Keys",
        {
            "org": org,
            "page": page,
            "page_size": PAGE_SIZE,
            "known": known,
            "keys": [
                {
                    **key_json(each, now_us),
                    "last_used": moment(used[each.name]) if each.name in used else None,
                }
                for each in shown
            ],
        },
    )
