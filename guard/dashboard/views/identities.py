"""The identities, page by page: nobody loads all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guard.admin.json.records import entry_json
from guard.dashboard.pages import Answer
from guard.dashboard.queries import PAGE_SIZE

if TYPE_CHECKING:
    from guard.admin import Operator
    from guard.dashboard.queries import Query

ORDERS = ("latest",)


async def identities(operator: Operator, query: Query) -> Answer:
    """A page of the identities that are remembered, in one of `ORDERS`."""
    by, page = query.choice("by", ORDERS), query.page()
    entries, known = await operator.latest((page - 1) * PAGE_SIZE, PAGE_SIZE)
    return Answer(
        "Identities",
        {
            "by": by,
            "page": page,
            "page_size": PAGE_SIZE,
            "known": known,
            "identities": [entry_json(operator.label(each.record), each) for each in entries],
        },
    )
