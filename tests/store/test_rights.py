"""What guard does in Redis, it may do by examples/deploy/redis.acl, and that lets it do nothing else."""

from __future__ import annotations

import re
import sys
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from commands import guard
from fakes import Guarded, call
from patience import PATIENCE_SECONDS
from redis import Redis, exceptions

from guard import load
from guard.campaigns.opened import worker_of
from guard.demo.model import FakeModel
from guard.installation import Installation
from guard.store.redis.condition import NEEDED

sys.path.insert(0, str(Path(__file__).parent))

from servers import cluster, standalone

if TYPE_CHECKING:
    from collections.abc import Iterator

    from servers import Server

ACL = Path(__file__).parents[2] / "examples" / "deploy" / "redis.acl"
PASSWORD = "a password of guard's own"
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
"""
VERBS = """
doctor; show key:alice; top --risk; top --by org; find --address 192.0.2.1; limits show key:alice; holds;
evidence key:alice; campaigns --all; block key:alice --reason x; unblock key:alice;
limits set key:alice requests --rate 9/hour;
key new alice; key rotate alice; key disable alice; key enable alice; key revoke alice; key list;
limits clear key:alice; reset key:alice; forgive key:alice; mode shadow; mode enforce; reload
"""


def rules() -> list[str]:
    """The rules of the file's one user, with the hash of the test's password."""
    (line,) = [line for line in ACL.read_text("utf-8").splitlines() if line.startswith("user ")]
    digest = sha256(PASSWORD.encode()).hexdigest()
    _, name, *words = re.sub(r"#\w+", f"#{digest}", line).split()
    assert name == "guard"
    return words


def write(folder: Path, url: str) -> None:
    (folder / "guard.toml").write_text(CONFIG.format(url=url), "utf-8")


@pytest.fixture
def server() -> Iterator[Server]:
    with standalone(maxmemory="200mb", appendonly="yes") as server:
        server.ask("ACL", "SETUSER", "guard", *rules())
        yield server


async def use(folder: Path) -> None:
    """Serve a request that is read, look for campaigns, and give every order."""
    settings = load(folder / "guard.toml")
    app = Guarded(FakeModel(), settings)
    chat = {"model": "m", "messages": [{"role": "user", "content": "What is the capital of Peru?"}]}
    for _ in range(3):
        assert (await call(app, body=chat, headers={"x-api-key": "sk-a"})).status == 200
        await app.settled()
        await app.hear()
    store = Installation.of(settings, deadline_seconds=PATIENCE_SECONDS).store
    worker = worker_of(settings, store)
    assert worker is not None
    await worker.step()
    for verb in VERBS.split(";"):
        told = guard(*verb.split(), folder=folder)
        assert "may not do" not in told.stderr + told.stdout, told
        assert told.returncode in (0, 3), told
    await worker.aclose()
    await store.aclose()
    await app.middleware.aclose()


async def test_all_that_guard_does_is_allowed(server: Server, tmp_path: Path) -> None:
    write(tmp_path, f"redis://guard:{quote(PASSWORD)}@{server.address}/0")
    await use(tmp_path)
    assert server.ask("ACL LOG") == []


async def test_on_a_cluster_too(tmp_path: Path) -> None:
    with cluster(masters=3) as servers:
        for each in servers.masters:
            each.ask("ACL", "SETUSER", "guard", *rules())
        hosts = ",".join(each.address for each in servers.masters)
        write(tmp_path, f"redis+cluster://guard:{quote(PASSWORD)}@{hosts}")
        await use(tmp_path)
        assert [each.ask("ACL LOG") for each in servers.masters] == [[], [], []]


@pytest.mark.parametrize(
    "command",
    [
        ("FLUSHALL",),
        ("KEYS", "*"),
        ("CONFIG", "GET", "*"),
        ("GET", "other:key"),
        ("SET", "other:key", "1"),
        ("EVAL", "return redis.call('GET', 'other:key')", 0),
        ("SCRIPT", "FLUSH"),
        ("ACL", "SETUSER", "more"),
        ("SHUTDOWN", "NOSAVE"),
        ("PUBLISH", "channel", "x"),
        ("MONITOR",),
    ],
)
def test_nothing_else_is(server: Server, command: tuple[str | int, ...]) -> None:
    with Redis(port=server.port, username="guard", password=PASSWORD) as client:
        assert client.ping()
        with pytest.raises((exceptions.NoPermissionError, exceptions.ResponseError), match=r"(?i)permission"):
            client.execute_command(*command)


@pytest.mark.parametrize("command", sorted({command[0] for command in NEEDED}))
def test_the_doctor_names_what_is_missing(server: Server, tmp_path: Path, command: str) -> None:
    server.ask("ACL", "SETUSER", "guard", f"-{command.lower()}")
    write(tmp_path, f"redis://guard:{quote(PASSWORD)}@{server.address}/0")
    told = guard("doctor", folder=tmp_path)
    assert told.returncode == 1
    assert "redis.acl" in told.stdout
