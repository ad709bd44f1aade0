"""The orders: what `guard block`, `limits set`, `release` and the other verbs that change something do.

Each is carried out by the admin as the command line's are, in the name of the token that gave it. It can be
given twice: what holds after is the same, so a client that has heard no answer may ask again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import AfterValidator, Field, StringConstraints, WithJsonSchema, model_validator

from guard.admin.acts import LONGEST_REASON
from guard.admin.json.acts import ActJson, act_json
from guard.admin.json.impact import ImpactJson, impact_json
from guard.api.operations import Operation, Taken, order
from guard.api.taken import Duration, HolderName, Text, WrongInputError, holder_of, seconds_of
from guard.core.campaigns import SAID_BY_PEOPLE, Verdict
from guard.core.durations import seconds_until
from guard.core.modes import Mode
from guard.errors import GuardError
from guard.settings.fields import LARGEST_COUNT

if TYPE_CHECKING:
    from guard.admin import Operator
    from guard.admin.acts import Act
    from guard.admin.orders import Orders
    from guard.api.operations import Asked
    from guard.core.identity import Holder

MOST_REMARKED = 20
"""Maximum number of members that a remark names."""


def _not_blank(reason: str) -> str:
    if not reason.strip():
        raise ValueError("must not be blank")
    return reason


def _for_a_person(verdict: Verdict) -> Verdict:
    if verdict not in SAID_BY_PEOPLE:
        raise ValueError(f"must be one of {', '.join(SAID_BY_PEOPLE)}")
    return verdict


Reason = Annotated[
    str, StringConstraints(max_length=LONGEST_REASON), Field(description="Why; never told to a caller.")
]
NeededReason = Annotated[
    str,
    StringConstraints(min_length=1, max_length=LONGEST_REASON),
    AfterValidator(_not_blank),
    Field(description="Why: who looks at it later wants to know; never told to a caller."),
]
Rate = Annotated[
    str | None,
    Field(max_length=200, description="Only for windows that the limit has.", examples=["500/minute"]),
]
Number = Annotated[int | None, Field(ge=1, le=LARGEST_COUNT, description="For a limit on concurrency.")]
LimitName = Annotated[Text, Field(description="The limit's name in the settings.", examples=["requests"])]
CampaignId = Annotated[Text, Field(description="The campaign, as the list names it.", examples=["c1"])]


PersonsVerdict = Annotated[
    Verdict, WithJsonSchema({"type": "string", "enum": [*SAID_BY_PEOPLE]}), AfterValidator(_for_a_person)
]


class Done(ActJson):
    """What was done, and what it may have got wrong; of a block or of numbers that were only tried, also what
    they would have refused in the last day.
    """

    remarks: list[str]
    impact: ImpactJson | None


class OrderBody(Taken):
    """Why, and whether it is only tried."""

    reason: Reason = ""
    dry_run: Annotated[bool, Field(description="Say what would change, and change nothing.")] = False


class OfHolder(OrderBody):
    """For whom."""

    holder: HolderName


class Ending(OrderBody):
    """How long it holds."""

    duration: Annotated[Duration | None, Field(alias="for")] = None
    until: Annotated[
        str | None,
        Field(
            max_length=40,
            description="Until when, in place of `for`: 2030-06-30, or 2030-06-30T12:00+02:00; else in UTC.",
        ),
    ] = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.duration is not None and self.until is not None:
            raise ValueError("give `for` or `until`, not both")
        return self

    def seconds(self, now: float, otherwise: str) -> float | None:
        """For how long, `None` for good; raises `WrongInputError` for a moment that is over."""
        if self.until is None:
            return seconds_of(self.duration or otherwise)
        try:
            return seconds_until(self.until, now)
        except ValueError as error:
            raise WrongInputError({"until": str(error)}) from None


class BlockBody(OfHolder, Ending):
    """Whom to refuse, and how long: a day, where nothing is said."""


async def block(asked: Asked, body: BlockBody) -> Done:
    """Refuse every request of a holder; a hold on it is over with that."""
    holder = await holder_of(asked.operator, body.holder)
    act = await orders_of(asked, body).block(holder, body.seconds(asked.now_us / 1e6, "1d"), body.reason)
    told = await done(asked.operator, body, act, holder)
    if body.dry_run:
        told["impact"] = impact_json(await asked.operator.impact_of_block(holder))
    return told


async def unblock(asked: Asked, body: OfHolder) -> Done:
    """Lift the block on a holder."""
    holder = await holder_of(asked.operator, body.holder)
    return await done(asked.operator, body, await orders_of(asked, body).unblock(holder, body.reason), holder)


async def reset(asked: Asked, body: OfHolder) -> Done:
    """Clear what a holder has used of its limits; its record, its blocks and its evidence stay."""
    holder = await holder_of(asked.operator, body.holder)
    act = await orders_of(asked, body).reset(holder, body.reason)
    return await done(asked.operator, body, act, holder, alone=True)


async def forgive(asked: Asked, body: OfHolder) -> Done:
    """Clear the evidence against a holder, and its profile; what it has used stands, and so does a hold."""
    holder = await holder_of(asked.operator, body.holder)
    act = await orders_of(asked, body).forgive(holder, body.reason)
    return await done(asked.operator, body, act, holder, alone=True)


class ReleaseBody(OfHolder, Ending):
    """Whom to serve again, and how long it is cleared: 30 days, where nothing is said."""


async def release(asked: Asked, body: ReleaseBody) -> Done:
    """Serve a holder again that is held, and clear it for a time."""
    holder = await holder_of(asked.operator, body.holder)
    act = await orders_of(asked, body).release(holder, body.seconds(asked.now_us / 1e6, "30d"), body.reason)
    return await done(asked.operator, body, act, holder)


class LimitBody(OfHolder, Ending):
    """Other numbers in one limit, for good where nothing is said: a `rate`, or a `count` for concurrency."""

    limit: LimitName
    rate: Rate = None
    count: Number = None
    burst: Annotated[Number, Field(description="For GCRA; else in proportion to the rate.")] = None

    @model_validator(mode="after")
    def _numbers(self) -> Self:
        if (self.rate is None) == (self.count is None):
            raise ValueError("give `rate`, or `count` for a limit on concurrency")
        return self


async def set_limit(asked: Asked, body: LimitBody) -> Done:
    """Give a holder other numbers in one limit."""
    holder = await holder_of(asked.operator, body.holder)
    seconds = body.seconds(asked.now_us / 1e6, "ever")
    numbers: dict[str, Any] = {"rate": body.rate, "count": body.count, "burst": body.burst}
    told = await _overridden(asked, body, holder, body.limit, seconds, numbers)
    if body.dry_run:
        told["impact"] = impact_json(await asked.operator.impact_of_limit(holder, body.limit, **numbers))
    return told


class ExemptBody(OfHolder, Ending):
    """Which limit shall not hold, for good where nothing is said; `*` for all."""

    limit: LimitName = "*"


async def exempt(asked: Asked, body: ExemptBody) -> Done:
    """Hold a holder to no limit, or not to this one."""
    holder = await holder_of(asked.operator, body.holder)
    seconds = body.seconds(asked.now_us / 1e6, "ever")
    return await _overridden(asked, body, holder, body.limit, seconds, {})


async def _overridden(
    asked: Asked,
    body: OfHolder,
    holder: Holder,
    limit: str,
    seconds: float | None,
    numbers: dict[str, Any],
) -> Done:
    try:
        act = await orders_of(asked, body).override(
            holder, limit, seconds=seconds, reason=body.reason, **numbers
        )
    except ValueError as error:
        given = [name for name, number in numbers.items() if number is not None]
        wrong = "limit" if "no limit is named" in str(error) or not given else given[0]
        raise WrongInputError({wrong: str(error)}) from None
    told = await done(asked.operator, body, act, holder)
    idle = await asked.operator.idle(holder, limit)
    if idle is not None:
        told["remarks"].insert(0, str(idle))
    return told


class GrantBody(OfHolder, Ending):
    """More of one limit for a while, a day where nothing is said: so many `times` what it has for good, or a
    `rate`, or a `count` for concurrency.
    """

    limit: LimitName
    times: Annotated[float | None, Field(gt=0, allow_inf_nan=False, examples=[2])] = None
    rate: Rate = None
    count: Number = None

    @model_validator(mode="after")
    def _numbers(self) -> Self:
        if sum(each is not None for each in (self.times, self.rate, self.count)) != 1:
            raise ValueError("give one of `times`, `rate` and `count`")
        return self


async def grant(asked: Asked, body: GrantBody) -> Done:
    """Give a holder more of one limit for a while; what held before holds again then."""
    holder = await holder_of(asked.operator, body.holder)
    seconds = body.seconds(asked.now_us / 1e6, "1d")
    if seconds is None:
        raise WrongInputError({"for": "a grant ends; `limits/set` gives other numbers for good"})
    numbers = {"times": body.times, "rate": body.rate, "count": body.count}
    return await _overridden(asked, body, holder, body.limit, seconds, numbers)


class EndGrantBody(OfHolder):
    """In which limit it ends."""

    limit: LimitName


async def end_grant(asked: Asked, body: EndGrantBody) -> Done:
    """End a grant before its time."""
    holder = await holder_of(asked.operator, body.holder)
    act = await orders_of(asked, body).end_override(holder, body.limit, body.reason)
    return await done(asked.operator, body, act, holder)


class ClearLimitBody(OfHolder):
    """In which limit the settings shall hold again; without it, in every one."""

    limit: LimitName | None = None


async def clear_limits(asked: Asked, body: ClearLimitBody) -> Done:
    """Let the settings hold again for a holder, in one limit or in all."""
    holder = await holder_of(asked.operator, body.holder)
    orders = orders_of(asked, body)
    try:
        if body.limit is None:
            act = await orders.drop_overrides(holder, body.reason)
        else:
            act = await orders.drop_override(holder, body.limit, body.reason)
    except ValueError as error:
        raise WrongInputError({"limit": str(error)}) from None
    return await done(asked.operator, body, act, holder)


class ModeBody(OrderBody):
    """What the kill switch is set to."""

    mode: Mode


async def mode(asked: Asked, body: ModeBody) -> Done:
    """Set the kill switch: no process enforces more than this, within two seconds."""
    return await done(asked.operator, body, await orders_of(asked, body).set_mode(body.mode, body.reason))


async def reload(asked: Asked, body: OrderBody) -> Done:
    """Have every process read its settings again."""
    return await done(asked.operator, body, await orders_of(asked, body).reload(body.reason))


class VerdictBody(Ending):
    """What a campaign is, for good where nothing is said."""

    campaign: CampaignId
    verdict: PersonsVerdict
    reason: NeededReason


async def verdict(asked: Asked, body: VerdictBody) -> Done:
    """Say what a campaign is; that outranks what guard says."""
    seconds = body.seconds(asked.now_us / 1e6, "ever")
    act = await orders_of(asked, body).judge(body.campaign, body.verdict, body.reason, seconds)
    return await done(asked.operator, body, act)


class DropVerdictBody(OrderBody):
    """Of which campaign guard's own verdict shall hold again."""

    campaign: CampaignId


async def drop_verdict(asked: Asked, body: DropVerdictBody) -> Done:
    """Take back what a person has said of a campaign."""
    act = await orders_of(asked, body).drop_verdict(body.campaign, body.reason)
    return await done(asked.operator, body, act)


class ClearBody(OrderBody):
    """Whom to take out of which campaign."""

    campaign: CampaignId
    member: HolderName
    reason: NeededReason


async def clear(asked: Asked, body: ClearBody) -> Done:
    """Take an innocent member out of a campaign, for good; what speaks against it stays."""
    member = await holder_of(asked.operator, body.member, "member")
    act = await orders_of(asked, body).clear(body.campaign, member, body.reason)
    return await done(asked.operator, body, act)


def orders_of(asked: Asked, body: OrderBody) -> Orders:
    """The orders of whom the token is, carried out or only tried."""
    return asked.operator.orders.given(asked.by, dry_run=body.dry_run)


async def done(
    operator: Operator, body: OrderBody, act: Act, holder: Holder | None = None, *, alone: bool = False
) -> Done:
    """What was done, with a remark where no identity has the name, or where an order for one holder `alone`
    leaves what its members have of their own.
    """
    remarks: list[str] = []
    if holder is not None:
        try:
            unseen = await operator.unseen(holder)
            members = await operator.members(holder) if alone else []
        except GuardError:  # an order that was carried out does not fail for that
            unseen, members = None, []
        if unseen is not None:
            remarks.append(f"no identity of that name has been seen{unseen.hint}")
        if members:
            names = ", ".join(each.label for each in members[:MOST_REMARKED])
            more = f" and {len(members) - MOST_REMARKED} more" if len(members) > MOST_REMARKED else ""
            remarks.append(
                f"what its members have of their own stands, name them to change it: {names}{more}"
            )
    return {**act_json(act, dry_run=body.dry_run), "remarks": remarks, "impact": None}


ORDERS: tuple[Operation, ...] = (
    order("block", BlockBody, Done, block, 404),
    order("unblock", OfHolder, Done, unblock, 404),
    order("reset", OfHolder, Done, reset, 404),
    order("forgive", OfHolder, Done, forgive, 404),
    order("release", ReleaseBody, Done, release, 404),
    order("limits/set", LimitBody, Done, set_limit, 404, 409),
    order("limits/exempt", ExemptBody, Done, exempt, 404, 409),
    order("grant", GrantBody, Done, grant, 404, 409),
    order("grant/end", EndGrantBody, Done, end_grant, 404),
    order("limits/clear", ClearLimitBody, Done, clear_limits, 404),
    order("mode", ModeBody, Done, mode),
    order("reload", OrderBody, Done, reload),
    order("verdict", VerdictBody, Done, verdict, 404),
    order("verdict/drop", DropVerdictBody, Done, drop_verdict, 404),
    order("clear", ClearBody, Done, clear, 404),
)
