"""What the operator is shown of limits of which a caller has a share, or something for itself."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from commands import guard

from guard.core.demand import Demand
from guard.core.identity import Attribute, Holder, Identity
from guard.core.policy import Caller
from guard.core.query import NO_USAGE
from guard.installation import Installation
from guard.settings.load import load
from guard.store.port import Reservation

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = """
data_dir = "data"
[store]
deadline_ms = 5000
[[tiers.default.limits]]
name = "own"
unit = "requests"
rate = "100/day"
ramp = "14d"
ramp_start_percent = 40
[[tiers.default.limits]]
name = "shared"
unit = "requests"
rate = "20/day"
per = "everything"
floor = 5
"""
NEW = Identity(Holder(Attribute.KEY, "new"), {Attribute.KEY: "new"})
GREEDY = Identity(Holder(Attribute.KEY, "greedy"), {Attribute.KEY: "greedy"})


async def happen(folder: Path) -> None:
    """The greedy one takes all that is shared, and a new one comes."""
    settings = load(folder / "guard.toml")
    installation = Installation.of(settings)
    await installation.store.start()
    for place, identity in enumerate((*[GREEDY] * 20, NEW)):
        charges = settings.policy().reserve(identity, Demand(), Caller())
        asked = Reservation(f"r{place}", identity, charges)
        assert (await installation.store.admit(asked)).admitted
        await installation.store.settle(asked, NO_USAGE)
    await installation.store.aclose()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shares")
    (folder / "guard.toml").write_text(CONFIG)
    asyncio.run(happen(folder))
    return folder


def limits_of(folder: Path, *verb: str) -> dict[str, Any]:
    told = json.loads(guard(*verb, "--json", folder=folder).stdout)
    return {
        each["limit"]: (each["count"], each["remaining"], each["ramp_percent"]) for each in told["limits"]
    }


@pytest.mark.parametrize("verb", [("show",), ("limits", "show")])
def test_a_caller_is_shown_with_its_share_and_its_floor(folder: Path, verb: tuple[str, ...]) -> None:
    assert limits_of(folder, *verb, "key:new") == {"own": (40, 39, 40.0), "shared": (20, 4, 100.0)}
    assert limits_of(folder, *verb, "key:greedy") == {"own": (40, 20, 40.0), "shared": (20, 0, 100.0)}
    assert limits_of(folder, *verb, "everything") == {"shared": (20, 0, 100.0)}


def test_the_share_is_in_the_table_where_there_is_one(folder: Path) -> None:
    header, own, shared = guard("show", "key:new", folder=folder).stdout.splitlines()[-3:]
    assert "ramp" in header
    assert "40%" in own
    assert "%" not in shared
    assert "ramp" not in guard("show", "everything", folder=folder).stdout


def test_check_says_how_a_limit_grows_and_what_each_has(folder: Path) -> None:
    lines = guard("check", folder=folder).stdout.splitlines()
    assert any("own" in line and line.rstrip().endswith("100/1d, from 40% in 14d") for line in lines)
    assert any("shared" in line and line.rstrip().endswith("20/1d, 5 for each") for line in lines)
    own, shared = json.loads(guard("check", "--json", folder=folder).stdout)["tiers"]["default"]["limits"]
    assert (own["ramp_seconds"], own["ramp_start_percent"], own["floor"]) == (14 * 86_400, 40, None)
    assert (shared["ramp_seconds"], shared["ramp_start_percent"], shared["floor"]) == (None, None, 5)
