"""Keys that are issued while `guard serve` runs, by the command line, in all of its workers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aiohttp
from commands import guard
from patience import eventually
from serving import guard_serve

from guard.demo.model import FakeModel
from guard.demo.run import serving

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

CHAT = "/v1/chat/completions"
CONFIG = """
data_dir = "data"
reload_seconds = 0.1
[store]
deadline_ms = 5000
[identity]
unknown_keys = "refuse"
anonymous = "refuse"
[[tiers.default.limits]]
name = "requests"
unit = "requests"
rate = "1000000/day"
"""


async def test_each_worker_hears_of_a_key_that_is_issued_rotated_and_revoked(tmp_path: Path) -> None:
    """A rotation is under traffic, and no request with a secret that holds is refused."""
    config = tmp_path / "guard.toml"
    config.write_text(CONFIG)
    with serving(FakeModel(words=2)) as backend, guard_serve(config, backend, workers=2) as url:

        async def order(*arguments: str) -> str:
            told = await asyncio.to_thread(guard, "key", *arguments, folder=tmp_path)
            assert told.returncode == 0, told.stderr
            return told.stdout.strip()

        async def all_say(status: int, secret: str) -> None:
            # A new connection each time may reach either worker; so many say the same only if both do.
            async def said() -> bool:
                return set(await ask(url, [secret] * 12)) == {status}

            await eventually(said)

        old = await order("new", "alice")
        await all_say(200, old)
        asked: list[int] = []
        over = asyncio.Event()

        async def traffic() -> None:
            while not over.is_set():
                asked.extend(await ask(url, [old] * 4))

        asking = asyncio.create_task(traffic())
        new = await order("rotate", "alice", "--grace", "1h")
        await all_say(200, new)
        over.set()
        await asking
        assert asked
        assert set(asked) == {200}
        await order("rotate", "alice", "--grace", "0s")
        await all_say(401, old)
        await all_say(401, new)
        last = await order("rotate", "alice")
        await all_say(200, last)
        await order("disable", "alice")
        await all_say(403, last)
        await order("enable", "alice")
        await all_say(200, last)
        await order("revoke", "alice")
        await all_say(401, last)


async def ask(url: str, secrets: Iterable[str]) -> list[int]:
    """The statuses of requests with these secrets, each over a connection of its own."""
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}

    async def one(secret: str) -> int:
        headers = {"authorization": f"Bearer {secret}"}
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session,
            session.post(url + CHAT, json=body, headers=headers) as answer,
        ):
            return answer.status

    return list(await asyncio.gather(*map(one, secrets)))
