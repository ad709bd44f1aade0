"""Orders: what each is called, what it needs to know, and how it is given.

An order is given in three steps: a form, what it would change (the order is given dry), and the order itself.
Each step that is more than looking is a form of the session.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from guard.core.campaigns import SAID_BY_PEOPLE
from guard.core.durations import parse_duration
from guard.core.identity import EVERYTHING
from guard.core.modes import Mode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from guard.admin import Operator
    from guard.admin.acts import Act
    from guard.admin.orders import Orders
    from guard.core.identity import Holder

FOR_GOOD = "ever"

DURATIONS = {
    "1h": "for an hour",
    "12h": "for 12 hours",
    "1d": "for a day",
    "7d": "for 7 days",
    "30d": "for 30 days",
    FOR_GOOD: "for good",
}


VERDICTS = {str(verdict): verdict.meaning for verdict in SAID_BY_PEOPLE}


@dataclass(frozen=True, slots=True)
class Field:
    """One thing that an order needs to know: a text, or one of some words with what each means."""

    name: str
    label: str
    choices: Mapping[str, str] | None = None
    preset: str = ""
    required: bool = False

    def read(self, form: Mapping[str, str]) -> str:
        """What a form says; raises `ValueError`."""
        value = form.get(self.name, self.preset).strip()
        if self.choices is not None and value not in self.choices:
            raise ValueError(f"{self.label.lower()} must be one of {', '.join(self.choices)}")
        if self.required and not value:
            raise ValueError(f"{self.label.lower()} is missing: who looks at it later wants to know")
        return value


Given: TypeAlias = "Mapping[str, str]"
Give: TypeAlias = "Callable[[Orders, Operator, str, Given], Awaitable[Act]]"


@dataclass(frozen=True, slots=True)
class Order:
    """An order: `subject` says how its name is read (a holder, a key, a campaign, or all), `says` what it
    does. One that `refuses` requests is shown with how many it would have refused lately.
    """

    name: str
    title: str
    says: str
    give: Give
    fields: tuple[Field, ...]
    subject: str = "holder"
    grave: bool = False
    refuses: bool = False

    def read(self, form: Mapping[str, str]) -> dict[str, str]:
        """What a form says of each field; raises `ValueError`."""
        return {field.name: field.read(form) for field in self.fields}


def seconds_of(duration: str) -> float | None:
    """How long an order holds; `None` for good."""
    return None if duration == FOR_GOOD else parse_duration(duration)


async def _holder(operator: Operator, name: str) -> Holder:
    return await operator.resolve(name)


async def _block(orders: Orders, operator: Operator, name: str, given: Given) -> Act:
    return await orders.block(await _holder(operator, name), seconds_of(given["for"]), given["reason"])


async def _unblock(orders: Orders, operator: Operator, name: str, given: Given) -> Act:
    return await orders.unblock(await _holder(operator, name), given["reason"])


async def _release(orders: Orders, operator: Operator, name: str, given: Given) -> Act:
    return await orders.release(await _holder(operator, name), seconds_of(given["for"]), given["reason"])


async def _forgive(orders: Orders, operator: Operator, name: str, given: Given) -> Act:
    return await orders.forgive(await _holder(operator, name), given["reason"])


async def _reset(orders: Orders, operator: Operator, name: str, given: Given) -> Act:
    return await orders.reset(await _holder(operator, name), given["reason"])


async def _verdict(orders: Orders, operator: Operator, name: str, given: Given) -> Act:
    return await orders.judge(name, given["verdict"], given["reason"], seconds_of(given["for"]))


async def _drop_verdict(orders: Orders, operator: Operator, name: str, given: Given) -> Act:
    return await orders.drop_verdict(name, given["reason"])


async def _clear(orders: Orders, operator: Operator, name: str, given: Given) -> Act:
    return await orders.clear(name, await _holder(operator, given["member"]), given["reason"])


async def _mode(orders: Orders, operator: Operator, name: str, given: Given) -> Act:
    return await orders.set_mode(Mode(given["mode"]), given["reason"])


async def _disable_key(orders: Orders, operator: Operator, name: str, given: Given) -> Act:
    return await orders.keys.disable(name, given["reason"])


async def _enable_key(orders: Orders, operator: Operator, name: str, given: Given) -> Act:
    return await orders.keys.enable(name, given["reason"])


async def _revoke_key(orders: Orders, operator: Operator, name: str, given: Given) -> Act:
    return await orders.keys.revoke(name, given["reason"])


REASON = Field("reason", "Reason")
WHY = Field("reason", "Reason", required=True)


def _lasting(preset: str) -> Field:
    return Field("for", "How long", DURATIONS, preset)


ORDERS = {
    order.name: order
    for order in (
        Order(
            "block",
            "Block",
            "Refuses every request of it. A hold on it is over with that.",
            _block,
            (_lasting("1d"), REASON),
            grave=True,
            refuses=True,
        ),
        Order("unblock", "Unblock", "Serves it again.", _unblock, (REASON,)),
        Order(
            "release",
            "Release",
            "Serves it again, and clears it of what speaks against it now.",
            _release,
            (_lasting("30d"), REASON),
        ),
        Order(
            "forgive",
            "Forgive",
            "Forgets what speaks against it, and how it has behaved. What it has used of its limits stands.",
            _forgive,
            (REASON,),
        ),
        Order(
            "reset",
            "Reset limits",
            "Forgets what it has used of its limits. Its record, its blocks and its evidence stay.",
            _reset,
            (REASON,),
        ),
        Order(
            "verdict",
            "Verdict",
            "Says what the campaign is, which outranks what guard says. Members of one that is confirmed "
            "share one budget; with unlikely or unrelated, nothing follows for them.",
            _verdict,
            (
                Field(
                    "verdict", "Verdict", {str(each): each.meaning for each in SAID_BY_PEOPLE}, "confirmed"
                ),
                _lasting(FOR_GOOD),
                WHY,
            ),
            subject="campaign",
            grave=True,
        ),
        Order(
            "drop-verdict",
            "Drop the verdict",
            "Has what guard says of the campaign hold again.",
            _drop_verdict,
            (REASON,),
            subject="campaign",
        ),
        Order(
            "clear",
            "Take a member out",
            "Takes an innocent out of the campaign, for good. What speaks against it by itself stays.",
            _clear,
            (Field("member", "Member", required=True), WHY),
            subject="campaign",
        ),
        Order(
            "disable-key",
            "Disable the key",
            "Refuses all requests with the key until it is enabled.",
            _disable_key,
            (REASON,),
            subject="key",
        ),
        Order("enable-key", "Enable the key", "Serves the key again.", _enable_key, (REASON,), subject="key"),
        Order(
            "revoke-key",
            "Revoke the key",
            "Refuses all requests with the key for good: nothing takes that back. Its name is free again "
            "after 90 days.",
            _revoke_key,
            (REASON,),
            subject="key",
            grave=True,
        ),
        Order(
            "mode",
            "Mode",
            "Turns the kill switch for all processes, within two seconds. Nothing is enforced further than "
            "this; with enforce, the settings hold again.",
            _mode,
            (
                Field(
                    "mode",
                    "Mode",
                    {
                        "enforce": "the settings hold",
                        "shadow": "decides and counts, and refuses nothing",
                        "off": "forwards everything unseen",
                    },
                    "enforce",
                ),
                REASON,
            ),
            subject="all",
            grave=True,
        ),
    )
}

ALL = str(EVERYTHING)
"""Whom an order is for that is for everybody."""
