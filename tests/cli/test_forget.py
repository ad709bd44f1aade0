"""`guard forget`: nothing of an identity is left in Redis, and all of the others is."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest
from commands import guard
from fakes import Guarded, call
from redis import Redis

from guard import load
from guard.core.campaigns import Campaign, Event, Member, Verdict
from guard.core.evidence import Evidence, Mark
from guard.core.identity import Attribute, Holder, Identity, VouchedBy
from guard.core.signals import Signal
from guard.demo.model import FakeModel
from guard.installation import Installation

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = """
[store]
redis_url = "{url}"
deadline_ms = 60000
[identity]
pepper = "{pepper}"
keys_file = "keys.toml"
[models.prices."*"]
input = 1
output = 1
[models.prices.small]
input = 1
output = 1
[[tiers.default.limits]]
name = "requests"
unit = "requests"
rate = "4/hour"
[[tiers.default.limits]]
name = "by-model"
unit = "requests"
rate = "100/hour"
per = ["key", "model"]
[[tiers.default.limits]]
name = "by-route"
unit = "requests"
rate = "100/hour"
per = ["route", "key"]
[[tiers.default.limits]]
name = "diversity"
unit = "novelty"
rate = "50/day"
per = "user"
"""
NAMES = {"alice": "alice", "alice-2": "alice", "al": "bob", "carol": "carol"}


@pytest.fixture
def folder(tmp_path: Path, redis_url: str) -> Path:
    (tmp_path / "guard.toml").write_text(CONFIG.format(url=redis_url, pepper=secrets.token_hex(16)))
    keys = [
        f'[{name}]\nsha256 = "{sha256(f"sk-{name}".encode()).hexdigest()}"\nuser = "{user}"\norg = "acme"\n'
        for name, user in NAMES.items()
    ]
    (tmp_path / "keys.toml").write_text("".join(keys))
    asyncio.run(fill(tmp_path))
    return tmp_path


async def fill(folder: Path) -> None:
    """Have each of them ask, be refused, suspected, blocked, named by a person, and in a campaign."""
    settings = load(folder / "guard.toml")
    app = Guarded(FakeModel(), settings)
    text = "What is the capital of Peru, and how many people live in each of its districts?"
    for name in (*NAMES, *NAMES, *NAMES):
        for model in ("small", "large"):
            chat = {"model": model, "messages": [{"role": "user", "content": text}]}
            await call(app, body=chat, headers={"x-api-key": f"sk-{name}"}, client="203.0.113.7")
    await app.settled()
    await app.middleware.aclose()
    store = Installation.of(settings, deadline_seconds=60.0).store
    now_us = await store._now_us()
    marks = {Signal.ENUMERATION: Mark(40.0, now_us, now_us)}
    for name, user in NAMES.items():
        holder = Holder(Attribute.KEY, name)
        identity = Identity(holder, {Attribute.USER: user, Attribute.ORG: "acme"}, VouchedBy.KEYS_FILE)
        known = await store.evidence(holder, identity)
        await store.learn(holder, identity, Evidence(known.version, known.profile, marks))
        await store.override(holder, "requests", None, None)
    members = {f"key:{name}": Member(now_us, 1.0) for name in NAMES}
    events = (Event(now_us, "ann cleared key:alice: no part in it"), Event(now_us, "ann cleared key:alice-2"))
    campaign = Campaign("c1", now_us, now_us, Verdict.LIKELY, 20.0, 1.0, members, events=events)
    await store.keep_campaigns([campaign], (), now_us)
    await store.clear("c1", "key:alice", Event(now_us, "key:alice is out"))
    await store.aclose()
    for name in NAMES:
        assert guard("block", f"key:{name}", "--for", "1h", folder=folder).returncode == 0


def all_of(redis_url: str) -> dict[bytes, Any]:
    """All that is in Redis, by key, as it is."""
    found: dict[bytes, Any] = {}
    with Redis(unix_socket_path=redis_url.removeprefix("unix://")) as client:
        for key in client.scan_iter():
            match client.type(key):
                case b"hash":
                    found[key] = client.hgetall(key)
                case b"zset":
                    found[key] = client.zrange(key, 0, -1)
                case b"stream":
                    found[key] = client.xrange(key)
                case _:
                    found[key] = client.get(key)
    return found


def said_of(kept: dict[bytes, Any], name: str, folder: Path) -> list[bytes]:
    """The keys in which an identity stands; that of another, whose name begins so, is none."""
    keys = Installation.of(load(folder / "guard.toml")).keys
    digest = keys.digest(Holder(Attribute.KEY, name)).encode()
    named = re.compile(rf"key:{name}(?![\w-])".encode())
    return sorted(
        key
        for key, value in kept.items()
        if b"{audit}" not in key
        and (digest in key or digest in repr(value).encode() or named.search(repr(value).encode()))
    )


def forget(folder: Path, *options: str, code: int = 0) -> Any:
    told = guard("forget", *options, "--json", folder=folder)
    assert told.returncode == code, told.stdout + told.stderr
    return json.loads(told.stdout)


def test_nothing_of_it_is_left_and_all_of_the_others_is(folder: Path, redis_url: str) -> None:
    before = all_of(redis_url)
    others = {name: said_of(before, name, folder) for name in ("alice-2", "al", "carol")}
    assert len(said_of(before, "alice", folder)) > 8
    told = forget(folder, "key:alice", "--yes", "--reason", "a request for erasure")
    assert told["identities"] == ["key:alice"]
    assert told["left"] == 0
    assert told["keys"] >= 4
    assert told["entries"] >= 5
    after = all_of(redis_url)
    assert said_of(after, "alice", folder) == []
    for name, places in others.items():
        assert said_of(after, name, folder) == places
        own = [place for place in places if place.startswith(b"guard:5:{") and b"{campaigns}" not in place]
        for place in own:
            if isinstance(before[place], bytes):
                assert after[place] == before[place]
    shown = guard("show", "key:alice", folder=folder)
    assert shown.returncode == 3
    (campaign,) = json.loads(guard("campaigns", "--json", folder=folder).stdout)
    assert campaign["members"] == 3
    events = json.loads(guard("campaign", "c1", "--json", folder=folder).stdout)["events"]
    said = [each["text"] for each in events]
    assert "ann cleared key:alice-2" in said
    assert "ann cleared a forgotten identity: no part in it" in said


def test_what_others_are_called_and_what_is_said_of_them_stays(folder: Path) -> None:
    made = guard("key", "new", "zed", "--org", "key:alice", folder=folder)
    assert made.returncode == 0, made.stderr
    said = 'as "key:alice", and key:alice+model:small, has done'
    assert guard("block", "org:evil", "--for", "7d", "--reason", said, folder=folder).returncode == 0
    assert forget(folder, "key:alice", "--yes")["left"] == 0
    shown = guard("key", "show", "zed", "--json", folder=folder)
    assert json.loads(shown.stdout)["org"] == "key:alice"
    assert said in guard("unblock", "org:evil", folder=folder).stdout


def test_what_is_counted_with_models_and_routes_goes_too(folder: Path, redis_url: str) -> None:
    def counts() -> int:
        return sum(key.endswith(b":counts") for key in all_of(redis_url))

    before = counts()
    told = forget(folder, "key:carol", "--yes")
    # Its own, with the model that the settings name, with the one that they do not, and with the route.
    assert before - counts() >= 3
    assert told["left"] == 0


def test_of_a_user_all_identities_are_forgotten(folder: Path, redis_url: str) -> None:
    told = forget(folder, "user:alice", "--yes")
    assert set(told["identities"]) == {"user:alice", "key:alice", "key:alice-2"}
    after = all_of(redis_url)
    assert said_of(after, "alice", folder) == said_of(after, "alice-2", folder) == []
    assert said_of(after, "al", folder)


def test_a_dry_run_removes_nothing(folder: Path, redis_url: str) -> None:
    before = all_of(redis_url)
    told = forget(folder, "key:alice", "--dry-run")
    assert (told["left"], told["keys"] > 3) == (None, True)
    assert said_of(all_of(redis_url), "alice", folder) == said_of(before, "alice", folder)
    said = guard("forget", "key:alice", "--dry-run", folder=folder).stdout
    assert said.startswith("Of key:alice there are ")


def test_it_is_not_done_by_mistake(folder: Path, redis_url: str) -> None:
    before = all_of(redis_url).keys()
    told = guard("forget", "key:alice", folder=folder)
    assert told.returncode == 2
    assert "cannot be undone" in " ".join(told.stderr.split())
    assert all_of(redis_url).keys() == before


def test_it_may_be_asked_for_twice_and_of_nobody(folder: Path) -> None:
    forget(folder, "key:alice", "--yes")
    assert forget(folder, "key:alice", "--yes")["keys"] == 0
    assert forget(folder, "key:nobody", "--yes")["left"] == 0


def test_it_says_how_much_that_was(folder: Path) -> None:
    told = guard("forget", "key:alice", "--yes", folder=folder).stdout
    first, second = told.splitlines()
    assert first.startswith("Removed ")
    assert first.endswith(" of key:alice.")
    assert second.startswith("Searched ")
    assert second.endswith(" again: nothing of it is left.")
