"""A store in which something has happened, and the API in front of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from api_client import ADMIN, GATEWAY, client_of

from guard.core.campaigns import Campaign, Finding, Member, Tie, TieKind, Verdict
from guard.core.evidence import Band
from guard.core.holds import Held
from guard.core.identity import Attribute, Holder, Identity, VouchedBy
from guard.core.limits import Charge
from guard.core.modes import Mode
from guard.core.query import Usage
from guard.core.signals import Group, Signal
from guard.installation import Installation
from guard.store.port import Reservation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from api_client import Client

    from guard.settings.root import Settings

CALLERS = {"alice": ("acme/eu", 3), "bob": ("acme/eu", 2), "carol": ("globex", 1)}
NOW_US = time.time_ns() // 1000
MEMBERS = {f"user:{name}": Member(NOW_US, 0.9) for name in ("alice", "bob")}
CAMPAIGN = Campaign(
    *("c1", NOW_US, NOW_US, Verdict.LIKELY, 20.0, 1.0, MEMBERS),
    ties=(Tie(TieKind.PAYMENT, "d1", 2, 12.0),),
    speaks_for=(Finding("they pay by the same means", 12.0),),
)


@pytest.fixture
async def settings(make_settings: Callable[..., Settings]) -> AsyncIterator[Settings]:
    """Three users of two customers have asked; one of them is held, and two are a campaign."""
    limits = (
        {"name": "requests", "unit": "requests", "rate": "10/hour"},
        {"name": "org-requests", "unit": "requests", "rate": "20/hour", "per": "org"},
    )
    identity = {"trusted_proxies": [GATEWAY], "headers": {"user": "x-user", "org": "x-org"}}
    settings = make_settings(*limits, identity=identity, admin=ADMIN)
    store = Installation.of(settings, deadline_seconds=60).store
    await store.start()
    for name, (org, times) in CALLERS.items():
        attributes = {Attribute.USER: name, Attribute.ORG: org}
        caller = Identity(Holder(Attribute.USER, name), attributes, VouchedBy.GATEWAY)
        charges = [Charge(limit, caller.holder(*limit.per), 1) for limit in settings.policy().limits]
        for number in range(times):
            reservation = Reservation(f"{name}-{number}", caller, tuple(charges))
            await store.admit(reservation)
            await store.settle(reservation, Usage(10, 20))
    carol = Holder(Attribute.USER, "carol")
    held = Held("req_1", Band.HIGH, (Group.CONTENT,), NOW_US, NOW_US + 3_600_000_000)
    await store.set_review(carol, held, instead_of=None)
    await store.accuse(carol, Identity(carol), {Signal.ENUMERATION: 30.0}, NOW_US, 1 << 40)
    await store.keep_campaigns([CAMPAIGN], [], NOW_US)
    yield settings
    await store.set_mode(Mode.ENFORCE)
    await store.aclose()


@pytest.fixture
async def api(settings: Settings) -> AsyncIterator[Client]:
    """The API, with the tokens of Ann and Bob."""
    client = client_of(settings)
    yield client
    await client.aclose()
