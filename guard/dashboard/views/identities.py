"""The identities, page by page: nobody loads all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from guard.admin.json.records import entry_json
from guard.admin.json.rollups import busiest_json
from guard.admin.rollups import MOST_LISTED, By
from guard.dashboard.pages import Answer
from guard.dashboard.queries import PAGE_SIZE

if TYPE_CHECKING:
    from guard.admin import Operator
    from guard.dashboard.queries import Query

LATEST = "latest"

ORDERS = (By.RISK, By.TOKENS, By.COST, By.REFUSED, LATEST)


async def identities(operator: Operator, query: Query) -> Answer:
    """A page of the busiest identities of the last day, of those with the highest risk, or of all that are
    remembered, the latest first.
    """
    by, page = query.choice("by", ORDERS), query.page()
    offset = (page - 1) * PAGE_SIZE
    data: dict[str, Any] = {"by": by, "page": page, "page_size": PAGE_SIZE}
    if by == LATEST:
        entries, known = await operator.latest(offset, PAGE_SIZE)
        listed = [entry_json(operator.label(each.record), each) for each in entries]
        data |= {"more": offset + PAGE_SIZE < known, "known": known, "identities": listed}
    else:
        found = busiest_json(await operator.busiest(By(by), offset, PAGE_SIZE))
        more = found["more"] and offset + 2 * PAGE_SIZE <= MOST_LISTED
        data |= {"more": more, "hours": found["hours"], "identities": found["identities"]}
    return Answer("Identities", data)
