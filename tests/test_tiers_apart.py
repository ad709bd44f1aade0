"""One name of a limit, other windows in each tier: overrides go by the holder's tier (U13)."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any, cast

import pytest
from commands import guard, open_store
from fakes import Guarded, call
from pydantic import ValidationError

from guard.admin import Operator
from guard.core.identity import Holder
from guard.demo.model import FakeModel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from guard.settings.root import Settings

    MakeGuarded = Callable[..., Guarded]
    MakeSettings = Callable[..., Settings]

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
FREE = {"name": "requests", "unit": "requests", "rate": "20/second;600/minute"}
PRO = {"name": "requests", "unit": "requests", "rate": "50/second", "algorithm": "gcra", "burst": 200}
TIERS = {"default": {"limits": [FREE]}, "pro": {"limits": [PRO]}}
BOB, ANN = Holder.parse("key:bob"), Holder.parse("key:ann")


@pytest.fixture
def sections(tmp_path: Path) -> dict[str, Any]:
    """bob is of the default tier, ann of pro."""
    lines = (
        f'[{name}]\nsha256 = "{sha256(f"sk-{name}".encode()).hexdigest()}"\ntier = "{tier}"\n'
        for name, tier in (("bob", "default"), ("ann", "pro"))
    )
    (tmp_path / "keys.toml").write_text("\n".join(lines))
    return {"tiers": TIERS, "identity": {"keys_file": tmp_path / "keys.toml"}}


async def shown(settings: Settings, holder: Holder) -> list[tuple[int, int, int]]:
    async with Operator(settings) as operator:
        return [
            (reading.window.period_seconds, reading.window.count, reading.window.burst)
            for reading in (await operator.limits(holder)).readings
        ]


async def tiers_given(operator: Operator, holder: Holder, rate: str) -> list[str]:
    """The tiers in which these numbers hold now."""
    act = await operator.orders.override(holder, "requests", rate=rate)
    return cast("list[str]", act.after["limits"]["requests"]["tiers"])


async def test_u13_an_override_goes_by_the_holders_tier(
    make_settings: MakeSettings, sections: dict[str, Any]
) -> None:
    settings = make_settings(**sections)
    async with Operator(settings) as operator:
        assert await tiers_given(operator, BOB, "1200/minute") == ["default"]
        with pytest.raises(ValueError, match="no window of 60 s"):
            await operator.orders.override(ANN, "requests", rate="1200/minute")
        assert await tiers_given(operator, ANN, "2/second") == ["pro"]
    assert await shown(settings, BOB) == [(1, 20, 20), (60, 1_200, 1_200)]
    assert await shown(settings, ANN) == [(1, 2, 8)]


async def test_u13_what_is_shown_is_what_is_enforced(guarded: MakeGuarded, sections: dict[str, Any]) -> None:
    tiers = {"default": {"limits": [{**FREE, "rate": "20/hour;600/day"}]}, "pro": {"limits": [PRO]}}
    app = guarded(FakeModel(), **{**sections, "tiers": tiers})
    async with Operator(app.settings) as operator:
        await operator.orders.override(BOB, "requests", rate="3/hour")
    assert await shown(app.settings, BOB) == [(3_600, 3, 3), (86_400, 600, 600)]
    answers = [await call(app, body=CHAT, headers={"x-api-key": "sk-bob"}) for _ in range(5)]
    assert [answer.status for answer in answers] == [200] * 3 + [429] * 2
    assert await shown(app.settings, BOB) == [(3_600, 3, 3), (86_400, 600, 600)]


async def test_u13_a_holder_of_no_known_tier_gets_the_numbers_in_every_tier_that_has_such_windows(
    guarded: MakeGuarded, sections: dict[str, Any]
) -> None:
    app = guarded(FakeModel(), **sections)
    stranger = Holder.parse("key:0123456789abcdef0123456789abcdef")
    async with Operator(app.settings) as operator:
        assert await tiers_given(operator, stranger, "2/second") == ["default", "pro"]
        assert await tiers_given(operator, BOB, "7/second") == ["default"]
        with pytest.raises(ValueError, match="no limit is named 'tokens' in tier default, pro"):
            await operator.orders.override(stranger, "tokens", rate="2/second")
    assert await shown(app.settings, stranger) == [(1, 2, 2), (60, 600, 600), (1, 2, 8)]
    assert (1, 7, 7) in await shown(app.settings, BOB)


@pytest.mark.parametrize(
    ("rate", "bob", "ann"),
    [
        ("2/second", [(1, 2, 2), (60, 600, 600)], [(1, 2, 8)]),
        ("1200/minute", [(1, 20, 20), (60, 1_200, 1_200)], [(1, 50, 200)]),
    ],
)
async def test_u13_the_settings_overrides_likewise(
    make_settings: MakeSettings,
    sections: dict[str, Any],
    rate: str,
    bob: list[tuple[int, int, int]],
    ann: list[tuple[int, int, int]],
) -> None:
    overrides = [{"holder": str(holder), "limit": "requests", "rate": rate} for holder in (BOB, ANN)]
    settings = make_settings(**sections, overrides=overrides)
    assert await shown(settings, BOB) == bob
    assert await shown(settings, ANN) == ann


def test_u13_windows_that_no_tier_has_are_an_error(
    make_settings: MakeSettings, sections: dict[str, Any]
) -> None:
    overrides = [{"holder": "key:bob", "limit": "requests", "rate": "5/day"}]
    with pytest.raises(ValidationError, match="no window of 86400 s"):
        make_settings(**sections, overrides=overrides)


def test_u13_the_command_line_says_in_which_tiers(tmp_path: Path) -> None:
    assert guard("init", folder=tmp_path).returncode == 0
    open_store(tmp_path)
    done = guard("limits", "set", "key:bob", "requests", "--rate", "1200/minute", folder=tmp_path)
    assert (done.returncode, done.stdout.splitlines()[0]) == (
        0,
        "key:bob has 1200/minute in requests of tier default until it is cleared.",
    )
    done = guard("limits", "set", "key:bob", "requests", "--rate", "2/second", folder=tmp_path)
    assert "of tiers default, pro until" in done.stdout
    assert "no limit" not in guard("limits", "show", "key:bob", folder=tmp_path).stdout
