"""The questions about what has happened: what `guard traffic`, `audit` and `explain` ask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field
from typing_extensions import TypedDict

from guard.admin.audit import Wanted
from guard.admin.impact import MOST_HOURS
from guard.admin.json.audit import kept_json
from guard.admin.json.impact import ImpactJson, impact_json
from guard.admin.json.rollups import (
    BusiestJson,
    RefusalJson,
    RiskPointJson,
    TrafficJson,
    busiest_json,
    course_json,
    refusals_json,
    traffic_json,
)
from guard.admin.rollups import BUSY_HOURS, MOST_LISTED, By
from guard.api.operations import Operation, Taken, question
from guard.api.taken import (
    MOST_ON_A_PAGE,
    Count,
    Duration,
    HolderQuery,
    Since,
    Text,
    WrongInputError,
    holder_of,
    seconds_of,
)
from guard.core.calendars import MICROSECONDS

if TYPE_CHECKING:
    from guard.api.operations import Asked


class TrafficQuery(Taken):
    """How far back, and in which steps."""

    since: Annotated[Duration, Field(description="How far back, such as `6h`; `35d` at most.")] = "6h"
    step: Annotated[
        Duration | None, Field(description="How long a step is, such as `1m`, `15m` or `1d`.")
    ] = None


async def traffic(asked: Asked, query: TrafficQuery) -> TrafficJson:
    """Tell what was admitted and refused, in all and in steps."""
    since = seconds_of(query.since)
    if since is None:
        raise WrongInputError({"since": "goes back `35d` at most"})
    step = seconds_of(query.step) if query.step is not None else None
    try:
        found = await asked.operator.traffic(
            asked.now_us / MICROSECONDS - since, step=None if step is None else int(step)
        )
    except ValueError as error:
        raise WrongInputError({"since" if query.step is None else "step": str(error)}) from None
    return traffic_json(found)


class BusiestQuery(Taken):
    """By what, of how many hours, and which part of the list."""

    by: Annotated[By, Field(description="What the list goes by, most first.")] = By.TOKENS
    hours: Annotated[int, Field(ge=1, le=BUSY_HOURS, description="How many hours, this one among them.")] = (
        BUSY_HOURS
    )
    offset: Annotated[int, Field(ge=0, lt=MOST_LISTED, description="How many to leave out.")] = 0
    count: Count = 50


async def busiest(asked: Asked, query: BusiestQuery) -> BusiestJson:
    """List the identities that used most in the last hours, or have the highest risk.

    Unlike the list of all identities, it costs the same however many there are.
    """
    count = min(query.count, MOST_LISTED - query.offset)
    return busiest_json(await asked.operator.busiest(query.by, query.offset, count, query.hours))


class Risk(TypedDict):
    """How the risk of an identity went, the oldest hour first."""

    holder: str
    course: list[RiskPointJson]


async def risk(asked: Asked, query: HolderQuery) -> Risk:
    """Tell how the risk of an identity went in the last week, in the hours in which it was elevated."""
    holder = await holder_of(asked.operator, query.holder)
    course = course_json(await asked.operator.risk_over_time(holder))
    return {"holder": asked.operator.name(holder), "course": course}


class Refusals(TypedDict):
    """Refusals, the latest first."""

    items: list[RefusalJson]


async def refusals(asked: Asked, query: HolderQuery) -> Refusals:
    """List the latest refusals of a holder, or of the identities that belong to it."""
    holder = await holder_of(asked.operator, query.holder)
    return {"items": refusals_json(await asked.operator.refusals(holder))}


class ImpactQuery(Taken):
    """Of how many hours."""

    hours: Annotated[
        int, Field(ge=1, le=MOST_HOURS, description="Of how many hours, this one among them.")
    ] = MOST_HOURS


async def impact(asked: Asked, query: ImpactQuery) -> ImpactJson:
    """Tell what the limits of these settings would have refused of what was forwarded.

    What an order would have refused, the order itself tells as `impact`, with `dry_run`.
    """
    return impact_json(await asked.operator.impact_of_settings(query.hours))


class RecordsQuery(Taken):
    """Which records."""

    since: Since = "ever"
    identity: Annotated[
        Text | None, Field(description="Of this one; or the start of its name with `…` behind it.")
    ] = None
    verb: Annotated[
        Text | None, Field(description="An order, such as `limits set`; or an action, a reason or a kind.")
    ] = None
    request: Annotated[Text | None, Field(description="Of this request.")] = None
    count: Annotated[int, Field(ge=1, le=MOST_ON_A_PAGE, description="How many, the latest.")] = 50


class Records(TypedDict):
    """Records, the oldest first (docs/audit.md)."""

    items: list[dict[str, Any]]


async def records(asked: Asked, query: RecordsQuery) -> Records:
    """List what was decided and ordered, the newest last."""
    seconds = seconds_of(query.since)
    since_us = 0 if seconds is None else asked.now_us - int(seconds * MICROSECONDS)
    wanted = Wanted(since_us, query.identity, query.verb, query.request)
    return {"items": [kept_json(each) for each in await asked.operator.audit.records(wanted, query.count)]}


class RequestQuery(Taken):
    """Which request."""

    request: Annotated[Text, Field(description="What the client got as `x-request-id`.")]


async def explain(asked: Asked, query: RequestQuery) -> dict[str, Any]:
    """Tell why a request was refused or narrowed, and when it would have been admitted."""
    return kept_json(await asked.operator.audit.request(query.request))


HISTORY: tuple[Operation, ...] = (
    question("traffic", TrafficQuery, TrafficJson, traffic),
    question("busiest", BusiestQuery, BusiestJson, busiest),
    question("risk", HolderQuery, Risk, risk, 404),
    question("refusals", HolderQuery, Refusals, refusals, 404),
    question("impact", ImpactQuery, ImpactJson, impact),
    question("audit", RecordsQuery, Records, records),
    question("explain", RequestQuery, dict[str, Any], explain, 404),
)
