"""The keys that guard issues: what `guard key` asks and orders."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field
from typing_extensions import TypedDict

from guard.admin.json.keys import KeyJson
from guard.admin.keys import GRACE_SECONDS, KeyFieldError
from guard.api.operations import Operation, Taken, order, question
from guard.api.orders import Done, Ending, OrderBody, done, orders_of
from guard.api.taken import Text, WrongInputError
from guard.core.durations import parse_duration

if TYPE_CHECKING:
    from guard.admin import KeyOrders
    from guard.admin.keys import Issued
    from guard.api.operations import Asked

AT_ONCE = "0s"

Name = Annotated[Text, Field(description="The key's name.", examples=["alice"])]
Networks = Annotated[
    list[Annotated[str, Field(max_length=100)]],
    Field(max_length=1_000, description="Where it may be used from; empty for anywhere."),
]


class KeysQuery(Taken):
    """Which keys."""

    org: Annotated[Text | None, Field(description="Those of this organisation only.")] = None


class Keys(TypedDict):
    """Keys, by name."""

    items: list[KeyJson]


async def keys(asked: Asked, query: KeysQuery) -> Keys:
    """List the keys that are issued, and how they stand; those that ended, for 90 days."""
    known = asked.operator.keys
    return {"items": [known.data(each) for each in await known.all(query.org)]}


class KeyQuery(Taken):
    """Which key."""

    name: Name


async def key(asked: Asked, query: KeyQuery) -> KeyJson:
    """Tell how a key stands."""
    return asked.operator.keys.data(await asked.operator.keys.of(query.name))


class IssuedDone(Done):
    """What was done, and the secret: it is told here, and nowhere again. A dry run has none."""

    secret: str | None


class Said(OrderBody):
    """What a key says of who uses it."""

    user: str | None = None
    org: str | None = None
    tier: Annotated[str | None, Field(description="A tier of the settings.")] = None


class NewKeyBody(Said, Ending):
    """A key, for good where nothing is said."""

    name: Name
    networks: Networks = Field(default_factory=list)


async def new_key(asked: Asked, body: NewKeyBody) -> IssuedDone:
    """Issue a key. Its secret is told once; given again, the order is a 409: rotate the key then."""
    seconds = body.seconds(asked.now_us / 1e6, "ever")
    said = {"user": body.user, "org": body.org, "tier": body.tier}
    try:
        issued = await _keys(asked, body).new(
            body.name, **said, networks=body.networks, seconds=seconds, reason=body.reason
        )
    except KeyFieldError as error:
        raise _wrong(error, body) from None
    return await _issued(asked, body, issued)


def _grace(text: str) -> str:
    if text != AT_ONCE:
        parse_duration(text)
    return text


class RotateBody(OrderBody):
    """Which key, and how long the secrets hold that it has."""

    name: Name
    grace: Annotated[
        str,
        AfterValidator(_grace),
        Field(
            description="How long they hold, such as `12h`; `0s` ends them now.",
            json_schema_extra={"pattern": "^[0-9]{1,6}[smhdw]$"},
        ),
    ] = f"{GRACE_SECONDS // 86_400}d"


async def rotate(asked: Asked, body: RotateBody) -> IssuedDone:
    """Give a key a new secret; those that it has hold for a grace.

    Given again, it gives another one, but not with the same `Idempotency-Key`.
    """
    seconds = 0.0 if body.grace == AT_ONCE else parse_duration(body.grace)
    try:
        issued = await _keys(asked, body).rotate(body.name, seconds, body.reason)
    except KeyFieldError as error:
        raise _wrong(error, body) from None
    return await _issued(asked, body, issued)


class OfKey(OrderBody):
    """Which key."""

    name: Name


async def disable(asked: Asked, body: OfKey) -> Done:
    """Refuse a key until it is enabled."""
    return await done(asked.operator, body, await _keys(asked, body).disable(body.name, body.reason))


async def enable(asked: Asked, body: OfKey) -> Done:
    """Serve a key again that is disabled."""
    return await done(asked.operator, body, await _keys(asked, body).enable(body.name, body.reason))


async def revoke(asked: Asked, body: OfKey) -> Done:
    """Refuse a key for good; nothing takes that back."""
    return await done(asked.operator, body, await _keys(asked, body).revoke(body.name, body.reason))


class ChangeBody(Said, Ending):
    """What else a key says; what is not named stays, and an empty text takes it away."""

    name: Name
    networks: Networks | None = None


async def change(asked: Asked, body: ChangeBody) -> Done:
    """Say something else of a key: its user, organisation, tier, networks or end. Its secrets stay."""
    seconds = body.seconds(asked.now_us / 1e6, "ever")
    said = {"user": body.user, "org": body.org, "tier": body.tier}
    try:
        act = await _keys(asked, body).change(
            body.name,
            **said,
            networks=body.networks,
            seconds=seconds,
            for_good=body.duration == "ever",
            reason=body.reason,
        )
    except KeyFieldError as error:
        raise _wrong(error, body) from None
    return await done(asked.operator, body, act)


def _keys(asked: Asked, body: OrderBody) -> KeyOrders:
    return orders_of(asked, body).keys


async def _issued(asked: Asked, body: OrderBody, issued: Issued) -> IssuedDone:
    told = await done(asked.operator, body, issued.act)
    return {**told, "secret": None if body.dry_run else issued.secret}


def _wrong(error: KeyFieldError, body: OrderBody) -> WrongInputError:
    """That a field is wrong; an end is said in one of two."""
    ends_in = isinstance(body, Ending) and body.duration is not None
    return WrongInputError({"for" if error.field == "until" and ends_in else error.field: str(error)})


KEYS: tuple[Operation, ...] = (
    question("keys", KeysQuery, Keys, keys),
    question("key", KeyQuery, KeyJson, key, 404),
    order("key/new", NewKeyBody, IssuedDone, new_key, 409, once=True),
    order("key/rotate", RotateBody, IssuedDone, rotate, 404, 409, once=True),
    order("key/disable", OfKey, Done, disable, 404, 409),
    order("key/enable", OfKey, Done, enable, 404, 409),
    order("key/revoke", OfKey, Done, revoke, 404, 409),
    order("key/change", ChangeBody, Done, change, 404, 409),
)
