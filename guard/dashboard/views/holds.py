"""Who is held for review, the longest first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guard.admin.json.records import hold_json
from guard.dashboard.pages import Answer
from guard.dashboard.queries import PAGE_SIZE

if TYPE_CHECKING:
    from guard.admin import Operator
    from guard.dashboard.queries import Query


async def holds(operator: Operator, query: Query) -> Answer:
    """A page of those who are held."""
    page, held = query.page(), await operator.reviews.held()
    shown = held[(page - 1) * PAGE_SIZE : page * PAGE_SIZE]
    return Answer(
        "Holds",
        {
            "page": page,
            "page_size": PAGE_SIZE,
            "known": len(held),
            "held": [hold_json(*each) for each in shown],
        },
    )
