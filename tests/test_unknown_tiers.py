"""U18: a tier that the settings do not define."""

from __future__ import annotations

import logging
import time
from hashlib import sha256
from typing import TYPE_CHECKING

import jwt
import pytest
from commands import guard
from fakes import Guarded, call
from prometheus_client import CollectorRegistry, generate_latest

from guard.admin.operator import Operator
from guard.core.identity import Holder
from guard.demo.model import FakeModel
from guard.telemetry.prometheus import PrometheusHook

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    MakeGuarded = Callable[..., Guarded]

CHAT = {"model": "m", "messages": [{"role": "user", "content": "one two three"}]}
SECRET = "a secret of more than thirty-two bytes"
LIMITS = [{"name": "requests", "unit": "requests", "rate": "9/hour"}]


def test_u18_in_a_keys_file_it_is_an_error_that_names_file_key_and_tiers(tmp_path: Path) -> None:
    (tmp_path / "guard.toml").write_text(
        '[identity]\nkeys_file = "keys.toml"\n[tiers.default]\n[tiers.pro]\n'
    )
    digest = sha256(b"sk-a").hexdigest()
    (tmp_path / "keys.toml").write_text(f'[alice]\nsha256 = "{digest}"\ntier = "premium"\n')
    told = guard("check", folder=tmp_path)
    assert told.returncode == 1
    assert told.stderr.endswith("keys.toml: alice: tier 'premium' is not defined; there are default, pro\n")


@pytest.mark.parametrize("way", ["token", "gateway"])
async def test_u18_from_a_token_or_a_gateway_it_is_warned_of_once_and_counted(
    guarded: MakeGuarded, caplog: pytest.LogCaptureFixture, way: str
) -> None:
    registry = CollectorRegistry()
    identity = {
        "trusted_proxies": ["192.0.2.1"],
        "headers": {"user": "x-user", "tier": "x-tier"},
        "jwt": {"secret": SECRET, "algorithms": ["HS256"], "tier_claim": "plan"},
    }
    tiers = {"default": {"limits": LIMITS}}
    app = guarded(FakeModel(), hooks=[PrometheusHook(registry)], identity=identity, tiers=tiers)
    claims = {"sub": "ann", "plan": "premium", "exp": int(time.time()) + 600}
    headers = {
        "token": {"authorization": f"Bearer {jwt.encode(claims, SECRET, 'HS256')}"},
        "gateway": {"x-user": "ann", "x-tier": "premium"},
    }[way]
    with caplog.at_level(logging.WARNING, "guard"):
        answers = [await call(app, body=CHAT, headers=headers) for _ in range(3)]
    assert [answer.status for answer in answers] == [200] * 3
    assert answers[0].headers["x-ratelimit-limit-requests"] == "9"
    (said,) = caplog.messages
    assert said == "tier 'premium', of user:ann, is not defined; tier 'default' holds for it"
    assert "guard_unknown_tiers_total 3.0" in generate_latest(registry).decode()


async def test_u18_one_that_is_defined_is_not_mentioned(
    guarded: MakeGuarded, caplog: pytest.LogCaptureFixture
) -> None:
    identity = {"trusted_proxies": ["192.0.2.1"], "headers": {"user": "x-user", "tier": "x-tier"}}
    tiers = {"default": {}, "premium": {"limits": LIMITS}}
    app = guarded(FakeModel(), identity=identity, tiers=tiers)
    with caplog.at_level(logging.WARNING, "guard"):
        await call(app, body=CHAT, headers={"x-user": "ann", "x-tier": "premium"})
        await call(app, body=CHAT, headers={"x-user": "bob"})
    assert not caplog.messages


async def test_an_order_for_the_default_tier_bites_those_who_name_no_tier(guarded: MakeGuarded) -> None:
    app = guarded(FakeModel(), *LIMITS)
    headers = {"authorization": "Bearer sk-a"}
    assert (await call(app, body=CHAT, headers=headers)).status == 200
    async with Operator(app.settings) as operator:
        await operator.orders.block(Holder.parse("tier:default"), None, "overload")
    assert (await call(app, body=CHAT, headers=headers)).status == 403
