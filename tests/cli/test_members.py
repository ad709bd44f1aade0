"""Orders for what identities have in common, and what they do not reach."""

from __future__ import annotations

import asyncio
import json
import secrets
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
from commands import guard
from fakes import call
from redis import Redis

from guard import GuardMiddleware
from guard.demo.model import FakeModel
from guard.store.redis.keys import FINGERPRINT, IDENTITIES

if TYPE_CHECKING:
    from pathlib import Path

    from guard.store.embedded.server import EmbeddedServer

CONFIG = """
[store]
redis_url = "unix://{socket}"
deadline_ms = 60000
[identity]
pepper = "{pepper}"
keys_file = "keys.toml"
[[tiers.default.limits]]
name = "requests"
unit = "requests"
rate = "100/hour"
[[tiers.default.limits]]
name = "network-requests"
unit = "requests"
rate = "100/hour"
per = "network"
[[tiers.default.limits]]
name = "org-bursts"
unit = "requests"
rate = "10/second"
algorithm = "gcra"
per = "org"
[[tiers.default.limits]]
name = "at-once"
unit = "concurrency"
count = 4
"""
CALLERS = {"mon": ("monitoring", "acme"), "mon-2": ("monitoring", "acme"), "al": ("alice", None)}
CHAT = {"model": "m", "messages": [{"role": "user", "content": "one two three"}]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, redis_server: EmbeddedServer) -> Path:
    """Three keys of two users; `mon-2` has never come. None of them names a tier."""
    folder = tmp_path_factory.mktemp("members")
    (folder / "keys.toml").write_text(
        "".join(
            f'[{name}]\nsha256 = "{sha256(f"sk-{name}".encode()).hexdigest()}"\nuser = "{user}"\n'
            + (f'org = "{org}"\n' if org else "")
            for name, (user, org) in CALLERS.items()
        )
    )
    with Redis(unix_socket_path=str(redis_server.socket)) as client:
        client.delete(FINGERPRINT, IDENTITIES)  # those of the file before
    settings = CONFIG.format(socket=redis_server.socket, pepper=secrets.token_hex(16))
    (folder / "guard.toml").write_text(settings)
    asyncio.run(ask(folder))
    return folder


async def ask(folder: Path) -> None:
    app = GuardMiddleware(FakeModel(), folder / "guard.toml", log=False)
    for key in ("mon", "al"):
        answer = await call(app, body=CHAT, headers={"x-api-key": f"sk-{key}"}, client="203.0.113.7")
        assert answer.status == 200
    await app.aclose()


@pytest.mark.parametrize(
    ("order", "kept", "meant"),
    [
        (("exempt", "user:monitoring"), "key, network, org", "key:mon, "),
        (("exempt", "user:monitoring", "requests"), "key", "key:mon, key:mon-2"),
        (("exempt", "user:monitoring", "org-bursts"), "org", "org:acme"),
        (("exempt", "org:acme", "requests"), "key", "key:mon, key:mon-2"),
        (("exempt", "key:mon", "org-bursts"), "org", "org:acme"),
        (("exempt", "tier:default", "at-once"), "key", "key:mon"),
        (("set", "user:alice", "requests", "--rate", "5/hour"), "key", "key:al"),
        (("set", "org:acme", "at-once", "--count", "9"), "key", "key:mon, key:mon-2"),
    ],
)
def test_h1_numbers_that_would_change_nothing_are_refused_and_the_holders_named(
    folder: Path, order: tuple[str, ...], kept: str, meant: str
) -> None:
    told = guard("limits", *order, folder=folder)
    assert (told.returncode, told.stdout) == (1, "")
    assert f"kept per {kept}, not per {order[1].partition(':')[0]}" in told.stderr
    assert meant in told.stderr
    assert json.loads(guard("limits", "show", order[1], "--json", folder=folder).stdout)["overrides"] == []


@pytest.mark.parametrize(
    "order",
    [
        ("exempt", "key:mon"),
        ("exempt", "org:acme"),
        ("exempt", "org:acme", "org-bursts"),
        ("exempt", "network:203.0.113.7", "network-requests"),
        ("exempt", "key:al", "org-bursts"),
        ("set", "key:mon-2", "requests", "--rate", "5/hour"),
    ],
)
def test_h1_numbers_that_count_are_given_without_a_remark(folder: Path, order: tuple[str, ...]) -> None:
    """Also where the holder stands in: `al` has no organisation, and is held by its key in its place."""
    told = guard("limits", *order, folder=folder)
    guard("limits", "clear", order[1], folder=folder)
    assert (told.returncode, told.stderr) == (0, "")


def test_h1_a_name_that_may_still_come_is_warned_of_in_plain_words(folder: Path) -> None:
    told = guard("limits", "exempt", "user:later", "requests", folder=folder)
    guard("limits", "clear", "user:later", folder=folder)
    assert told.returncode == 0
    assert "limit 'requests' is kept per key, not per user: this changes nothing unless" in told.stderr


@pytest.mark.parametrize("verb", ["reset", "forgive"])
@pytest.mark.parametrize(
    ("holder", "members"), [("user:alice", "key:al"), ("org:acme", "key:mon"), ("tier:default", "key:mon")]
)
def test_m12_reset_and_forgive_name_the_members_that_they_do_not_reach(
    folder: Path, verb: str, holder: str, members: str
) -> None:
    told = guard(verb, holder, folder=folder)
    assert told.returncode == 0
    assert "its members" in told.stderr
    assert members in told.stderr
    assert "members" not in guard(verb, "key:nobody", folder=folder).stderr


def test_m4_the_default_tier_has_the_identities_that_name_none(folder: Path) -> None:
    (group,) = json.loads(guard("top", "--by", "tier", "--json", folder=folder).stdout)
    told = guard("show", group["holder"], folder=folder)
    assert told.returncode == 0
    assert "key:mon" in told.stdout
    assert "key:al" in told.stdout
