"""What was decided and ordered last, from the records that nobody changes unseen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from guard.admin.audit import Wanted
from guard.audit.records import Kind
from guard.audit.words import said
from guard.dashboard.pages import Answer
from guard.dashboard.spans import HOUR
from guard.words import moment

if TYPE_CHECKING:
    from guard.admin import Operator
    from guard.admin.audit import Kept
    from guard.dashboard.queries import Query

MOST_RECORDS = 100
"""Maximum number of records that are listed, the latest."""

BACK = {"24h": 24 * HOUR, "7d": 7 * 24 * HOUR, "30d": 30 * 24 * HOUR}
"""How far back a filter looks, in seconds."""

KINDS = ("any", str(Kind.ACT), str(Kind.DECISION), str(Kind.FAILURE), str(Kind.HOLD))


async def audit(operator: Operator, query: Query) -> Answer:
    """The latest records of a kind, an identity and a request, the latest first."""
    kind, back = query.choice("kind", KINDS), query.choice("back", tuple(BACK))
    identity, request = query.text("identity", ""), query.text("request", "")
    wanted = Wanted(
        int((operator.now() - BACK[back]) * 1e6),
        identity or None,
        None if kind == KINDS[0] else kind,
        request or None,
    )
    found = await operator.audit.records(wanted, MOST_RECORDS)
    return Answer(
        "Audit",
        {
            "kind": kind,
            "back": back,
            "identity": identity,
            "request": request,
            "records": [_record_json(kept) for kept in reversed(found)],
        },
    )


def _record_json(kept: Kept) -> dict[str, Any]:
    """A record, with the same in words; `at` is a moment."""
    fields = {**kept.fields, "at": moment(kept.at_us / 1e6), "says": said(kept.fields)}
    return {"chain": kept.chain, "number": kept.number, **fields}
