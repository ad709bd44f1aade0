"""The questions: what `guard top`, `show`, `find` and the other verbs that change nothing ask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Field, model_validator
from typing_extensions import TypedDict

from guard.admin.evidence import evidence_of
from guard.admin.json.campaigns import CampaignJson, CaseJson, campaign_json, case_json
from guard.admin.json.control import ControlJson, HealthJson, control_json
from guard.admin.json.evidence import (
    AppealJson,
    CampaignEvidenceJson,
    IdentityEvidenceJson,
    appeal_json,
    evidence_json,
)
from guard.admin.json.limits import LimitsJson, limits_json
from guard.admin.json.policy import PolicyJson, policy_json, reference_of
from guard.admin.json.records import (
    EntryJson,
    FoundJson,
    GroupJson,
    HoldJson,
    entry_json,
    found_json,
    group_json,
    hold_json,
)
from guard.admin.json.sheets import SheetJson, sheet_json
from guard.api.cursors import Order, after_of, cursor_of
from guard.api.operations import Nothing, Operation, Taken, question, secret_question
from guard.api.taken import (
    Count,
    Flag,
    HolderQuery,
    Members,
    Since,
    Text,
    WrongInputError,
    holder_of,
    seconds_of,
)
from guard.core.identity import Attribute, GroupedBy
from guard.core.modes import Mode
from guard.errors import CredentialError, UnknownHolderError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from guard.admin.sheets import Place
    from guard.api.operations import Asked


class IdentitiesQuery(Taken):
    """Which identities, in which order, and where the page begins."""

    count: Count = 50
    since: Since = "1d"
    order: Annotated[Order, Field(description="What the list goes by, most first.")] = Order.LATEST
    after: Annotated[str, Field(max_length=8_192, description="`next` of the page before.")] = ""


class IdentitiesPage(TypedDict):
    """Identities; `next` goes on, `null` behind the last. One whose place has changed meanwhile may come
    twice.
    """

    items: list[EntryJson]
    next: str | None


async def identities(asked: Asked, query: IdentitiesQuery) -> IdentitiesPage:
    """List identities: those used last, or those of them that used most tokens or are most suspect."""
    operator, order, seconds = asked.operator, query.order, seconds_of(query.since)
    after = after_of(query.after, order)
    if order is Order.LATEST:
        offset = after if isinstance(after, int) else 0
        found, known = await operator.latest(offset, query.count)
        page = [
            each for each in found if seconds is None or each.record.last_seen >= operator.now() - seconds
        ]
        goes_on = offset + query.count < known and len(page) == len(found)
        following: Place | int = offset + query.count
    else:
        place = None if isinstance(after, int) else after
        by_risk = order is Order.RISK
        found = await operator.top(query.count + 1, seconds=seconds, by_risk=by_risk, after=place)
        page, goes_on = found[: query.count], len(found) > query.count
        following = page[-1].place(by_risk=by_risk) if page else 0
    return {
        "items": [entry_json(operator.label(entry.record), entry) for entry in page],
        "next": cursor_of(order, following) if goes_on else None,
    }


class GroupsQuery(Taken):
    """By which attribute identities are added up."""

    by: GroupedBy
    count: Count = 50
    since: Since = "1d"


class Groups(TypedDict):
    """Groups, those with most tokens first."""

    items: list[GroupJson]


async def groups(asked: Asked, query: GroupsQuery) -> Groups:
    """Add identities up by what they have in common, such as the customer."""
    by = Attribute(query.by)
    found = await asked.operator.groups(by, query.count, seconds=seconds_of(query.since))
    return {"items": [group_json(group, by) for group in found]}


class IdentityQuery(HolderQuery):
    """Whom, and how much of it."""

    members: Members = 100


async def identity(asked: Asked, query: IdentityQuery) -> SheetJson:
    """Tell all that is known of a holder."""
    sheet = await asked.operator.show(await holder_of(asked.operator, query.holder))
    return sheet_json(sheet, most_members=query.members)


async def limits(asked: Asked, query: HolderQuery) -> LimitsJson:
    """Tell the limits of a holder, what is left, and its overrides."""
    return limits_json(await asked.operator.limits(await holder_of(asked.operator, query.holder)))


class FindBody(Taken):
    """A key or a token, or else an address."""

    credential: Annotated[Text | None, Field(description="A key or a token; it is not stored.")] = None
    address: Annotated[str | None, Field(max_length=100, description="An IP address.")] = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.credential is None) == (self.address is None):
            raise ValueError("give `credential` or `address`, and not both")
        return self


async def find(asked: Asked, body: FindBody) -> FoundJson:
    """Tell which identity a key or an address is."""
    try:
        if body.credential is not None:
            found = await asked.operator.find_credential(body.credential)
        else:
            found = await asked.operator.find_address(body.address or "")
    except CredentialError as error:
        detail = error.detail or error.message
        raise UnknownHolderError(f"requests with it are refused ({error.reason}): {detail}") from None
    except ValueError:
        raise WrongInputError({"address": "is not an IP address"}) from None
    return found_json(found, [asked.operator.name(holder) for holder in found.holders])


class CampaignsQuery(Taken):
    """Which campaigns."""

    every: Annotated[
        Flag, Field(alias="all", description="Also those of which nothing follows, such as stale ones.")
    ] = False


class Campaigns(TypedDict):
    """Campaigns, those from which something follows first. `looked_for` says whether anybody looks for them
    now, and `left_out` how many were not asked for.
    """

    items: list[CampaignJson]
    looked_for: bool
    left_out: int


async def campaigns(asked: Asked, query: CampaignsQuery) -> Campaigns:
    """List the campaigns: several identities that are held to be one."""
    known, now_us = await asked.operator.campaigns.all(), asked.now_us
    found = [each for each in known if query.every or each.verdict(now_us).counts]
    return {
        "items": [campaign_json(each, now_us) for each in found],
        "looked_for": await asked.operator.campaigns.are_looked_for(),
        "left_out": len(known) - len(found),
    }


class CampaignQuery(Taken):
    """Which campaign."""

    id: Annotated[Text, Field(description="The campaign, as the list names it.", examples=["c1"])]


async def campaign(asked: Asked, query: CampaignQuery) -> CaseJson:
    """Tell all that is known of a campaign, with the evidence for and against."""
    return case_json(await asked.operator.campaigns.of(query.id))


class EvidenceQuery(Taken):
    """Whose case, and of how many members of a campaign."""

    name: Annotated[Text, Field(description="A campaign's id, or a holder.", examples=["key:alice"])]
    members: Members = 20


async def evidence(asked: Asked, query: EvidenceQuery) -> CampaignEvidenceJson | IdentityEvidenceJson:
    """Tell the case of a campaign or an identity, for whoever decides on it."""
    try:
        subject, suspicions = await evidence_of(asked.operator, query.name, query.members)
    except ValueError as error:
        raise WrongInputError({"name": str(error)}) from None
    return evidence_json(subject, suspicions, asked.now_us / 1e6)


class AppealBody(Taken):
    """A receipt, as a client got it with a refusal."""

    receipt: Text


async def appeal(asked: Asked, body: AppealBody) -> AppealJson:
    """Tell what a receipt says: who was refused, when and why, and what is known of it now."""
    return appeal_json(await asked.operator.appeal(body.receipt), asked.now_us / 1e6)


class Holds(TypedDict):
    """Who is held, the longest first."""

    items: list[HoldJson]


async def holds(asked: Asked, _: Nothing) -> Holds:
    """List who is held for review."""
    return {"items": [hold_json(holder, held) for holder, held in await asked.operator.reviews.held()]}


async def control(asked: Asked, _: Nothing) -> ControlJson:
    """Tell the mode that holds, and how many processes serve."""
    return control_json(await asked.operator.control(), asked.operator.mode_of_settings)


async def policy(asked: Asked, _: Nothing) -> PolicyJson:
    """Tell the policy that the settings make, as `guard check` does."""
    made = asked.settings.policy()
    return policy_json(asked.settings, made, reference_of(asked.settings, made))


async def health(asked: Asked, _: Nothing) -> HealthJson:
    """Tell whether all is well; a store that does not answer is a 503."""
    known = control_json(await asked.operator.control(), asked.operator.mode_of_settings)
    warnings = [each async for each in _warnings(asked, known)]
    return {"well": not warnings, "warnings": warnings, "control": known}


async def _warnings(asked: Asked, known: ControlJson) -> AsyncIterator[str]:
    operator, settings = asked.operator, asked.settings
    if asked.fault:
        yield f"the settings cannot work, and the last good ones hold: {asked.fault}"
    if known["mode"] is not known["settings"]:
        yield f"the kill switch is at {known['switch']}, in place of {known['settings']} of the settings"
    if not known["processes"]:
        yield "no process serves"
    room = await operator.capacity()
    if room.forgets:
        yield str(room)
    looks = Mode.OFF not in (settings.detection.mode, settings.campaigns.mode)
    if looks and not await operator.campaigns.are_looked_for():
        yield "nobody looks for campaigns: neither guard's analyst nor a `guard worker` runs"
    lag = await operator.campaigns.lag()
    if lag.late:
        yield f"who looks for campaigns is behind: {lag.queries} queries wait, for {lag.seconds:.0f} s"


QUESTIONS: tuple[Operation, ...] = (
    question("identities", IdentitiesQuery, IdentitiesPage, identities),
    question("identity", IdentityQuery, SheetJson, identity, 404),
    question("limits", HolderQuery, LimitsJson, limits, 404),
    question("groups", GroupsQuery, Groups, groups),
    secret_question("find", FindBody, FoundJson, find, 404),
    question("campaigns", CampaignsQuery, Campaigns, campaigns),
    question("campaign", CampaignQuery, CaseJson, campaign, 404),
    question("evidence", EvidenceQuery, CampaignEvidenceJson | IdentityEvidenceJson, evidence, 404),
    secret_question("appeal", AppealBody, AppealJson, appeal, 404),
    question("holds", Nothing, Holds, holds),
    question("control", Nothing, ControlJson, control),
    question("policy", Nothing, PolicyJson, policy),
    question("health", Nothing, HealthJson, health),
)
