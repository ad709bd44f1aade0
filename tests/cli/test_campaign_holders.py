"""What an operator sees and orders of a campaign as a holder of limits."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from commands import guard, write_settings_of_campaigns

from guard import load
from guard.core.identity import Attribute, Holder, Identity, VouchedBy
from guard.core.limits import Charge
from guard.core.modes import Mode
from guard.core.query import Usage
from guard.installation import Installation
from guard.store.port import Reservation

if TYPE_CHECKING:
    from pathlib import Path

POOL = Holder(Attribute.CAMPAIGN, "c1.3")
MEMBER, OTHER = (
    Identity(Holder(Attribute.KEY, name), {Attribute.KEY: name, **more}, VouchedBy.KEYS_FILE)
    for name, more in (("alice", {Attribute.CAMPAIGN: POOL.value}), ("bob", {}))
)


async def fill(folder: Path) -> None:
    """One request of each."""
    settings = load(folder / "guard.toml")
    limits = settings.policy().limits
    store = Installation.of(settings, deadline_seconds=60).store
    await store.start()
    for each in (MEMBER, OTHER):
        own = limits if Attribute.CAMPAIGN in each.attributes else limits[:1]
        charges = tuple(Charge(limit, each.holder(*limit.per), 1) for limit in own)
        reservation = Reservation(f"r{each.principal}", each, charges)
        assert (await store.admit(reservation, reviewed=Mode.OFF)).admitted
        await store.settle(reservation, Usage(10, 20))
    await store.aclose()


@pytest.fixture
def folder(tmp_path: Path, redis_url: str) -> Path:
    write_settings_of_campaigns(tmp_path, redis_url)
    asyncio.run(fill(tmp_path))
    return tmp_path


def said(folder: Path, *arguments: str) -> Any:
    told = guard(*arguments, "--json", folder=folder)
    assert told.returncode == 0, told.stderr
    return json.loads(told.stdout)


def left(sheet: Any) -> dict[str, int]:
    return {each["limit"]: each["remaining"] for each in sheet["limits"]}


def test_a_pool_is_shown_with_what_is_left_to_it_and_who_is_in_it(folder: Path) -> None:
    sheet = said(folder, "show", "campaign:c1.3")
    assert left(sheet) == {"of-a-campaign": 4}
    assert "alice" in json.dumps(sheet)
    assert "bob" not in json.dumps(sheet)


def test_a_campaign_is_shown_with_its_members(folder: Path) -> None:
    sheet = said(folder, "show", "campaign:c1")
    assert "key:alice" in json.dumps(sheet)


def test_a_member_is_shown_with_the_limit_of_its_pool_and_others_without(folder: Path) -> None:
    assert left(said(folder, "limits", "show", "key:alice")) == {
        "requests": 9,
        "of-a-campaign": 4,
    }
    assert left(said(folder, "limits", "show", "key:bob")) == {"requests": 9}


def test_a_campaign_is_blocked_as_a_whole_and_let_go(folder: Path) -> None:
    assert guard("block", "campaign:c1", "--reason", "they resell", folder=folder).returncode == 0
    (block,) = said(folder, "show", "key:alice")["blocks"]
    assert block["holder"] == "campaign:c1"
    assert said(folder, "show", "key:bob")["blocks"] == []
    assert guard("unblock", "campaign:c1", folder=folder).returncode == 0
    assert said(folder, "show", "key:alice")["blocks"] == []


def test_a_pool_is_given_other_numbers(folder: Path) -> None:
    told = guard("limits", "set", "campaign:c1.3", "of-a-campaign", "--rate", "50/hour", folder=folder)
    assert told.returncode == 0, told.stderr
    assert left(said(folder, "show", "campaign:c1.3")) == {"of-a-campaign": 49}
