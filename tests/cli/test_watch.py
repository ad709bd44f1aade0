"""`guard watch`: what happens now, on a screen, in a pipe and as data; and while Redis is gone."""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from commands import guard, guard_started
from fakes import Guarded, call

from guard import load
from guard.demo.model import FakeModel

sys.path.insert(0, str(Path(__file__).parents[1] / "store"))

from servers import standalone

if TYPE_CHECKING:
    from collections.abc import Iterator

    from servers import Server

CONFIG = """
mode = "enforce"
[store]
redis_url = "redis://{address}"
deadline_ms = 60000
[identity]
pepper = "{pepper}"
[[tiers.default.limits]]
name = "requests"
unit = "requests"
rate = "3/hour"
algorithm = "calendar"
"""
CHAT = {"model": "m", "messages": [{"role": "user", "content": "one two three"}]}


@pytest.fixture
def server() -> Iterator[Server]:
    with standalone() as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path, server: Server) -> Path:
    settings = CONFIG.format(address=server.address, pepper=secrets.token_hex(16))
    (tmp_path / "guard.toml").write_text(settings)
    return tmp_path


async def serve(folder: Path, times: int) -> None:
    app = Guarded(FakeModel(), load(folder / "guard.toml"))
    for _ in range(times):
        await call(app, body=CHAT, headers={"x-api-key": "sk-a"})
    await app.settled()
    await app.middleware.aclose()


def test_it_shows_what_was_admitted_and_refused_and_who_is_busy(folder: Path) -> None:
    asyncio.run(serve(folder, 5))
    told = guard("watch", "--times", "1", "--by", "refused", folder=folder)
    assert told.returncode == 0, told.stderr
    head, admitted, refused, failed, columns, row = told.stdout.splitlines()
    assert head.endswith("mode enforce, 0 processes, 0 held, 0 campaigns")
    assert sum(map(int, admitted.split()[3:])) == 3
    assert sum(map(int, refused.split()[3:])) == 2
    assert sum(map(int, failed.split()[3:])) == 0
    assert columns.split() == ["identity", "requests", "refused", "tokens", "risk"]
    assert row.split()[1:3] == ["3", "2"]
    assert max(map(len, (head, admitted, refused, failed))) <= 80


def test_as_data_each_look_is_a_line(folder: Path) -> None:
    asyncio.run(serve(folder, 5))
    told = guard("watch", "--times", "2", "--every", "1s", "--json", folder=folder)
    first, second = map(json.loads, told.stdout.splitlines())
    assert first.keys() == second.keys()
    assert (first["mode"], first["processes"], first["held"], first["campaigns"]) == ("enforce", 0, 0, 0)
    assert first["traffic"]["total"]["refused"] == 2
    assert first["busiest"]["identities"][0]["requests"] == 3


def test_the_kill_switch_is_the_mode_that_holds(folder: Path) -> None:
    assert guard("mode", "shadow", folder=folder).returncode == 0
    assert "mode shadow" in guard("watch", "-n", "1", folder=folder).stdout


@pytest.mark.parametrize("every", ["0s", "0.1s", "-1s", "often"])
def test_nobody_asks_too_often(folder: Path, every: str) -> None:
    assert guard("watch", "--every", every, folder=folder).returncode == 2


def test_while_redis_is_gone_it_says_so_and_goes_on(folder: Path, server: Server) -> None:
    with guard_started("watch", "--json", "--every", "1s", folder=folder) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["mode"] == "enforce"
        server.kill()
        assert "the store does not answer" in process.stderr.readline()
        server.start()
        assert json.loads(process.stdout.readline())["mode"] == "enforce"
        process.send_signal(signal.SIGINT)
        _, complaints = process.communicate()
    assert "Traceback" not in complaints


def test_one_look_at_a_redis_that_is_gone_is_an_error(folder: Path, server: Server) -> None:
    server.kill()
    assert guard("watch", "-n", "1", folder=folder).returncode == 69
