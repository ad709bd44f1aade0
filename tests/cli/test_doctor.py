"""`guard doctor`: each thing that can be wrong is named with what helps, and what is well is not blamed."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from commands import guard
from fakes import Guarded, call

from guard import load
from guard.core.campaigns import Lag
from guard.demo.model import FakeModel
from guard.store.redis.condition import Capacity, Node, Persistence

sys.path.insert(0, str(Path(__file__).parents[1] / "store"))

from servers import cluster, standalone

if TYPE_CHECKING:
    from collections.abc import Iterator

    from servers import Server

CONFIG = """
[store]
redis_url = "{url}"
deadline_ms = 60000
[identity]
pepper = "a pepper of more than sixteen bytes"
[[tiers.default.limits]]
name = "requests"
unit = "requests"
rate = "100/hour"
per = "network"
[[tiers.default.limits]]
name = "diversity"
unit = "novelty"
rate = "200/day"
"""


@pytest.fixture
def server() -> Iterator[Server]:
    """A Redis as the documentation wants it."""
    options = {"maxmemory": "200mb", "maxmemory-policy": "noeviction", "appendonly": "yes"}
    with standalone(**options) as server:
        yield server


def write(folder: Path, url: str, first: str = "", last: str = "") -> None:
    (folder / "guard.toml").write_text(first + CONFIG.format(url=url) + last, "utf-8")


def findings(folder: Path, *options: str, code: int = 0) -> dict[str, list[tuple[str, str, str]]]:
    """By part: state, what it says and the cure."""
    told = guard("doctor", "--json", *options, folder=folder)
    assert told.returncode == code, told.stdout + told.stderr
    found: dict[str, list[tuple[str, str, str]]] = {}
    for each in json.loads(told.stdout):
        found.setdefault(each["part"], []).append((each["state"], each["says"], each["cure"]))
    return found


async def serve_once(folder: Path) -> Guarded:
    app = Guarded(FakeModel(), load(folder / "guard.toml"))
    chat = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    assert (await call(app, body=chat, headers={"x-api-key": "sk-a"})).status == 200
    await app.settled()
    await app.hear()
    return app


def test_what_is_well_is_said_to_be(server: Server, tmp_path: Path) -> None:
    write(tmp_path, f"redis://{server.address}/0")
    with socket.create_server(("127.0.0.1", 0)) as backend:
        url = f"http://127.0.0.1:{backend.getsockname()[1]}"
        found = findings(tmp_path, "--backend", url)
    states = {part: {state for state, _, _ in each} for part, each in found.items()}
    assert states == {
        "settings": {"ok"},
        "store": {"ok"},
        "store memory": {"ok"},
        "store disk": {"ok"},
        "store latency": {"ok"},
        "clock": {"ok"},
        "rights": {"ok"},
        "processes": {"warning"},  # nothing serves
        "detection": {"ok"},
        "campaigns": {"ok"},
        "backend": {"ok"},
    }


async def test_a_process_that_serves_is_counted_and_somebody_has_to_look_for_campaigns(
    server: Server, tmp_path: Path
) -> None:
    write(tmp_path, f"redis://{server.address}/0")
    app = await serve_once(tmp_path)
    found = await asyncio.to_thread(findings, tmp_path, code=1)
    await app.middleware.aclose()
    assert found["processes"] == [("ok", "1 process serves", "")]
    ((state, says, cure),) = found["campaigns"]
    assert (state, says) == ("failure", "nobody looks for them now")
    assert "guard worker" in cure


def test_who_looks_for_campaigns_may_be_late(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lag(_: object) -> Lag:
        return Lag(9_000, 70.0)

    write(tmp_path, f"redis://{server.address}/0")
    monkeypatch.setattr("guard.store.redis.orders.OperatorStore.lag", lag)
    ((state, says, cure),) = findings(tmp_path)["campaigns"]
    assert (state, "guard worker" in cure) == ("warning", True)
    assert says == "9000 queries wait to be looked at, the oldest for 70 s"


@pytest.mark.parametrize(
    ("options", "part", "state", "words"),
    [
        ({"maxmemory": "100mb", "maxmemory-policy": "allkeys-lru"}, "store memory", "failure", "noeviction"),
        ({}, "store memory", "warning", "no maxmemory"),
        ({}, "store disk", "warning", "appendonly yes"),
    ],
)
def test_a_redis_that_loses_what_it_holds(
    tmp_path: Path, options: dict[str, str], part: str, state: str, words: str
) -> None:
    with standalone(**options) as server:
        write(tmp_path, f"redis://{server.address}/0")
        ((found, says, cure),) = findings(tmp_path, code=int(state == "failure"))[part]
    assert found == state
    assert words in says + cure


def test_strict_fails_for_a_warning(tmp_path: Path) -> None:
    with standalone(appendonly="yes") as server:
        write(tmp_path, f"redis://{server.address}/0")
        assert findings(tmp_path)["store memory"][0][0] == "warning"
        findings(tmp_path, "--strict", code=1)


@pytest.mark.parametrize(("used", "state"), [(70, "ok"), (90, "warning"), (99, "failure")])
def test_a_redis_that_is_almost_full(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, used: int, state: str
) -> None:
    room = Capacity(100 << 20, used << 20, "noeviction")
    monkeypatch.setattr(Capacity, "of", lambda _: room)
    write(tmp_path, f"redis://{server.address}/0")
    assert findings(tmp_path, code=int(state == "failure"))["store memory"][0][0] == state


def test_a_redis_that_is_down(tmp_path: Path) -> None:
    with standalone() as server:
        url = f"redis://{server.address}/0"
    write(tmp_path, url)
    found = findings(tmp_path, code=1)
    ((state, says, cure),) = found["store"]
    assert (state, "on_store_error: local" in says, "start Redis" in cure) == ("failure", True, True)
    assert found["settings"][0][0] == "ok"
    assert "backend" in found


def test_a_redis_that_takes_nothing_more(server: Server, tmp_path: Path) -> None:
    write(tmp_path, f"redis://{server.address}/0")
    server.ask("CONFIG SET", "maxmemory", 1)
    found = findings(tmp_path, code=1)
    cures = [cure for each in found.values() for state, _, cure in each if state == "failure"]
    assert any("maxmemory" in cure for cure in cures), found
    assert not any("start Redis" in cure for cure in cures)


def test_another_pepper(server: Server, tmp_path: Path) -> None:
    write(tmp_path, f"redis://{server.address}/0")
    findings(tmp_path)
    text = (tmp_path / "guard.toml").read_text("utf-8")
    (tmp_path / "guard.toml").write_text(text.replace("a pepper", "another pepper"), "utf-8")
    assert "identity.pepper is another one" in findings(tmp_path, code=1)["store"][0][1]


EXEMPT = '[[overrides]]\nholder = "org:acme"\nlimit = "*"\nexempt = true\n'
COARSE = '[[tiers.pro.limits]]\nname = "x"\nunit = "requests"\nrate = "1/day"\n'


@pytest.mark.parametrize(
    ("first", "last", "part", "state", "words"),
    [
        ('mode = "nonsense"\n', "", "settings", "failure", "mode"),
        ('detection.mode = "off"\n', "", "detection", "warning", "mode off"),
        ('campaigns.mode = "off"\n', "", "campaigns", "warning", "off"),
        (
            "",
            '[[overrides]]\nholder = "org:acme"\nlimit = "*"\nexempt = true\n',
            "settings",
            "warning",
            "org:acme",
        ),
        (
            "",
            '[[tiers.pro.limits]]\nname = "x"\nunit = "requests"\nrate = "1/day"\n',
            "settings",
            "warning",
            "`x`: a sliding",
        ),
    ],
)
def test_settings_that_are_traps(
    server: Server, tmp_path: Path, first: str, last: str, part: str, state: str, words: str
) -> None:
    write(tmp_path, f"redis://{server.address}/0", first, last)
    found = findings(tmp_path, code=int(state == "failure"))[part]
    assert any(each == state and words in says for each, says, _ in found), found


def test_the_kill_switch(server: Server, tmp_path: Path) -> None:
    write(tmp_path, f"redis://{server.address}/0")
    assert guard("mode", "shadow", folder=tmp_path).returncode == 0
    assert findings(tmp_path)["kill switch"][0][0] == "warning"


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://127.0.0.1:99999999", "nonsense"])
def test_a_backend_that_takes_no_connection(server: Server, tmp_path: Path, url: str) -> None:
    write(tmp_path, f"redis://{server.address}/0")
    assert findings(tmp_path, "--backend", url, code=1)["backend"][0][0] == "failure"


def test_a_clock_that_is_another(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    write(tmp_path, f"redis://{server.address}/0")
    now = time.time
    for off, state in ((5, "warning"), (-5, "warning"), (90, "failure")):
        monkeypatch.setattr("guard.store.redis.condition.time.time", lambda off=off: now() + off)
        assert findings(tmp_path, code=int(state == "failure"))["clock"][0][0] == state


def test_each_master_of_a_cluster_is_looked_at(tmp_path: Path) -> None:
    with cluster(masters=3) as servers:
        servers.masters[2].ask("CONFIG SET", "maxmemory-policy", "allkeys-lfu")
        write(tmp_path, "redis+cluster://" + ",".join(each.address for each in servers.masters))
        found = findings(tmp_path, code=1)
        told = guard("check", "--store", folder=tmp_path)
    states = {part: each[0][0] for part, each in found.items() if part.endswith("memory")}
    assert states == {
        f"store {server.address} memory": "failure" if number == 2 else "warning"
        for number, server in enumerate(servers.masters)
    }
    assert "allkeys-lfu" in told.stderr


@pytest.mark.parametrize(
    ("told", "software", "version", "new_enough", "persistence"),
    [
        ({"redis_version": "6.2.14"}, "Redis", (6, 2, 14), False, Persistence.NOTHING),
        ({"redis_version": "7.0.0", "aof_enabled": 1}, "Redis", (7, 0, 0), True, Persistence.LOG),
        ({"redis_version": "8.2.3", "rdb_saves": 4}, "Redis", (8, 2, 3), True, Persistence.SNAPSHOTS),
        (
            {"server_name": "valkey", "redis_version": "7.2.4", "valkey_version": "8.1.1"},
            "Valkey",
            (8, 1, 1),
            True,
            Persistence.NOTHING,
        ),
        ({}, "Redis", (), False, Persistence.NOTHING),
    ],
)
def test_what_servers_say_of_themselves(
    told: dict[str, Any], software: str, version: tuple[int, ...], new_enough: bool, persistence: Persistence
) -> None:
    node = Node.of("", told)
    assert (node.software, node.version, node.is_new_enough) == (software, version, new_enough)
    assert node.persistence is persistence


def test_a_disk_that_failed() -> None:
    assert Node.of("", {"aof_enabled": 1, "aof_last_write_status": "err"}).failed
    assert Node.of("", {"rdb_last_bgsave_status": "err"}).failed
    assert not Node.of("", {"aof_enabled": 1, "rdb_last_bgsave_status": "err"}).failed


def test_a_person_reads_it_at_80_columns(server: Server, tmp_path: Path) -> None:
    write(tmp_path, f"redis://{server.address}/0")
    told = guard("doctor", folder=tmp_path)
    assert told.returncode == 0
    *lines, last = told.stdout.splitlines()
    assert {line.split()[0] for line in lines} <= {"OK", "WARNING", "UNKNOWN"}
    assert "Cure: start `guard serve` or your app, with this store." in told.stdout
    assert last == "0 failures, 1 warning."


def test_a_new_folder_has_no_store_yet(tmp_path: Path) -> None:
    assert guard("init", folder=tmp_path).returncode == 0
    ((state, says, _),) = findings(tmp_path)["store"]
    assert (state, says.startswith("there is none yet")) == ("warning", True)
