"""Everything on one machine: a store, a model, guard in front of it, and a burst of traffic."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import threading
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import aiohttp
import uvicorn

from guard.admin import Operator
from guard.core.identity import Attribute, Holder
from guard.demo.model import FakeModel
from guard.server.app import guarded
from guard.server.http11 import protocol
from guard.settings.load import load
from guard.settings.server import ServerSettings
from guard.store.embedded.server import EmbeddedServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from starlette.types import ASGIApp

    from guard.core.limits import Reading
    from guard.settings.root import Settings

START_SECONDS = 15.0
REFRESH_SECONDS = 0.5

CONFIG = """
on_store_error = "deny"
data_dir = "data"

[store]
deadline_ms = 2000

[identity]
keys_file = "keys.toml"

[backend]
url = "{backend}"

[[tiers.default.limits]]
name = "requests"
unit = "requests"
rate = "5/second;120/minute"

[[tiers.default.limits]]
name = "tokens"
unit = "tokens"
rate = "4000/minute"
algorithm = "gcra"
"""


@dataclass(frozen=True, slots=True)
class Client:
    """One caller of the demo: its key (`None`: none), its requests a second, and of which kind."""

    name: str
    key: str | None
    per_second: float
    path: str
    words: int
    stream: bool

    @property
    def holder(self) -> Holder:
        """Whom guard holds to account for it."""
        if self.key is None:
            return Holder(Attribute.NETWORK, "127.0.0.1/32")
        return Holder(Attribute.KEY, self.name)

    @property
    def headers(self) -> dict[str, str]:
        """What it sends to say who it is."""
        if self.key is None:
            return {}
        return {"x-api-key": self.key} if self.path == MESSAGES else {"authorization": f"Bearer {self.key}"}


CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"

CLIENTS = (
    Client("alice", "sk-demo-alice", 1.5, CHAT, 40, stream=True),
    Client("bob", "sk-demo-bob", 1.0, MESSAGES, 60, stream=True),
    Client("greedy", "sk-demo-greedy", 20.0, CHAT, 12, stream=False),
    Client("wordy", "sk-demo-wordy", 2.0, MESSAGES, 900, stream=True),
    Client("mallory", "sk-demo-mallory", 3.0, CHAT, 20, stream=False),
    Client("no key", None, 4.0, CHAT, 10, stream=False),
)
"""`greedy` runs into the limit on requests, `wordy` into that on tokens; `mallory` is blocked half-way."""

BLOCKED = next(client for client in CLIENTS if client.name == "mallory")


@dataclass(frozen=True, slots=True)
class Row:
    """How one client stands: answers by status, and the limit that has least left."""

    client: Client
    answers: Counter[int]
    tightest: Reading | None


@dataclass(slots=True)
class Demo:
    """A demo that is running: where guard listens, and what its clients have got so far."""

    url: str
    settings: Settings
    answers: dict[str, Counter[int]] = field(
        default_factory=lambda: {client.name: Counter() for client in CLIENTS}
    )

    async def play(self, seconds: float | None) -> AsyncIterator[list[Row]]:
        """Send traffic for so long (`None`: until cancelled), and tell how it stands twice a second."""
        started = time.monotonic()
        async with Operator(self.settings) as operator, aiohttp.ClientSession(self.url) as session:
            traffic = [asyncio.create_task(self._drive(session, client)) for client in CLIENTS]
            try:
                blocked = False
                while seconds is None or time.monotonic() - started < seconds:
                    if not blocked and time.monotonic() - started > (seconds or 20) / 2:
                        await operator.orders.block(BLOCKED.holder, 3600, "the demo says so")
                        blocked = True
                    yield [await self._row(operator, client) for client in CLIENTS]
                    await asyncio.sleep(REFRESH_SECONDS)
            finally:
                for task in traffic:
                    task.cancel()
                await asyncio.gather(*traffic, return_exceptions=True)
            yield [await self._row(operator, client) for client in CLIENTS]

    async def _row(self, operator: Operator, client: Client) -> Row:
        readings = await operator.readings(client.holder)
        tightest = min(readings, key=lambda reading: reading.remaining / reading.window.burst, default=None)
        return Row(client, self.answers[client.name], tightest)

    async def _drive(self, session: aiohttp.ClientSession, client: Client) -> None:
        """Send a client's requests at its rate, each on its own."""
        async with asyncio.TaskGroup() as requests:
            while True:
                requests.create_task(self._ask(session, client))
                await asyncio.sleep(1 / client.per_second)

    async def _ask(self, session: aiohttp.ClientSession, client: Client) -> None:
        body = {
            "model": "demo",
            "max_tokens": client.words,
            "stream": client.stream,
            "messages": [{"role": "user", "content": f"Please say something, words={client.words}"}],
        }
        async with session.post(client.path, json=body, headers=client.headers) as answer:
            await answer.read()
            self.answers[client.name][answer.status] += 1


@contextmanager
def running() -> Iterator[Demo]:
    """Start the model and guard in front of it, in a folder of their own that goes when the demo ends."""
    with ExitStack() as stack:
        folder = Path(
            stack.enter_context(TemporaryDirectory(prefix="guard-demo-", ignore_cleanup_errors=True))
        )
        backend = stack.enter_context(serving(FakeModel(delay_seconds=0.002)))
        (folder / "guard.toml").write_text(CONFIG.format(backend=backend), "utf-8")
        keys = (
            f'[{client.name}]\nsha256 = "{hashlib.sha256(client.key.encode()).hexdigest()}"\n'
            for client in CLIENTS
            if client.key is not None
        )
        (folder / "keys.toml").write_text("\n".join(keys), "utf-8")
        settings = load(folder / "guard.toml", environment=False)
        stack.enter_context(EmbeddedServer(settings.data_dir))  # or say why not, before guard starts
        url = stack.enter_context(serving(guarded(settings, log=False)))
        yield Demo(url, settings)


@contextmanager
def serving(app: ASGIApp) -> Iterator[str]:
    """Serve an app on a free port of this machine, in a thread, as `guard serve` does; gives its URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app,
        http=protocol(ServerSettings()),
        ws="none",
        log_level="error",
        lifespan="on",
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        give_up = time.monotonic() + START_SECONDS
        while not server.started:
            if not thread.is_alive() or time.monotonic() > give_up:
                raise RuntimeError("the server does not start")
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
