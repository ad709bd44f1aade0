"""A store in which something has happened, and the API in front of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from api_client import ADMIN, client_of
from fakes import call

from guard.core.campaigns import Campaign, Finding, Member, Tie, TieKind, Verdict
from guard.core.evidence import Band
from guard.core.holds import Held
from guard.core.identity import Attribute, Holder, Identity
from guard.core.modes import Mode
from guard.core.signals import Group, Signal
from guard.demo.model import FakeModel
from guard.installation import Installation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from api_client import Client
    from fakes import Guarded

    from guard.settings.root import Settings

CHAT = {"model": "m", "messages": [{"role": "user", "content": "one two three"}]}
GATEWAY = "192.0.2.9"
CALLERS = {"alice": ("acme/eu", 3), "bob": ("acme/eu", 2), "carol": ("globex", 1)}
NOW_US = time.time_ns() // 1000
MEMBERS = {f"user:{name}": Member(NOW_US, 0.9) for name in ("alice", "bob")}
CAMPAIGN = Campaign(
    *("c1", NOW_US, NOW_US, Verdict.LIKELY, 20.0, 1.0, MEMBERS),
    ties=(Tie(TieKind.PAYMENT, "d1", 2, 12.0),),
    speaks_for=(Finding("they pay by the same means", 12.0),),
)


@pytest.fixture
async def settings(
    make_settings: Callable[..., Settings], guarded: Callable[..., Guarded]
) -> AsyncIterator[Settings]:
    """Three users of two customers have asked; one of them is held, and two are a campaign."""
    limits = (
        {"name": "requests", "unit": "requests", "rate": "10/hour"},
        {"name": "org-requests", "unit": "requests", "rate": "20/hour", "per": "org"},
    )
    identity = {"trusted_proxies": [GATEWAY], "headers": {"user": "x-user", "org": "x-org"}}
    app = guarded(FakeModel(), *limits, identity=identity, admin=ADMIN)
    for name, (org, times) in CALLERS.items():
        for _ in range(times):
            headers = {"x-user": name, "x-org": org}
            assert (await call(app, body=CHAT, headers=headers, client=GATEWAY)).status == 200
    await app.settled()
    store = Installation.of(app.settings, deadline_seconds=60).store
    carol = Holder(Attribute.USER, "carol")
    held = Held("req_1", Band.HIGH, (Group.CONTENT,), NOW_US, NOW_US + 3_600_000_000)
    await store.set_review(carol, held, instead_of=None)
    await store.accuse(carol, Identity(carol), {Signal.ENUMERATION: 30.0}, NOW_US, 1 << 40)
    await store.keep_campaigns([CAMPAIGN], [], NOW_US)
    yield app.settings
    await store.set_mode(Mode.ENFORCE)
    await store.aclose()


@pytest.fixture
async def api(settings: Settings) -> AsyncIterator[Client]:
    """The API, with the tokens of Ann and Bob."""
    client = client_of(settings)
    yield client
    await client.aclose()
