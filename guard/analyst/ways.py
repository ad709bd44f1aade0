"""The ways to the analyst: where it runs, and how a worker gets a connection to it."""

from __future__ import annotations

import asyncio
import socket
import sys
from hashlib import scrypt
from importlib.metadata import version
from threading import Thread
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from guard.analyst.client import connected
from guard.analyst.link import Link
from guard.analyst.server import AnalystServer, serve_one
from guard.children.place import Place
from guard.children.shared import SharedChild
from guard.errors import StoreError
from guard.settings.risk import Where

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from guard.analyst.link import Connection
    from guard.analyst.server import Analysis
    from guard.settings.root import Settings

NAME = "analyst"


def link_of(settings: Settings) -> Link:
    """The link to the analyst of these settings, which begins to be reached on the running event loop."""
    if settings.detection.analyst is Where.THREAD or sys.platform == "win32":
        # With numpy, so that only who needs it has it; and here, since a process must not end while one of
        # its threads imports.
        from guard.analyst.opened import OpenAnalyst

        return Link(InThread(OpenAnalyst), settings)
    return Link(InProcess(_child(settings)), settings)


class InProcess:
    """The analyst in a process of its own, which all workers of one machine share that have one store."""

    def __init__(self, child: SharedChild) -> None:
        self._child = child

    async def connect(self, protocol: Callable[[], Connection]) -> Connection:
        """A connection to the process, which is started where it does not run."""
        await asyncio.to_thread(self._child.start)
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_unix_connection(protocol, str(self._child.socket))
        return connection

    async def aclose(self) -> None:
        """The process ends where nobody else needs it."""
        await asyncio.to_thread(self._child.close)


class InThread:
    """The analyst in a thread of this process, for this worker alone; `opening` makes it."""

    def __init__(self, opening: Callable[[Settings], Analysis]) -> None:
        self._opening = opening
        self._thread: Thread | None = None

    async def connect(self, protocol: Callable[[], Connection]) -> Connection:
        """A connection to a new thread."""
        ours, theirs = socket.socketpair()
        self._thread = Thread(
            target=lambda: asyncio.run(serve_one(theirs, AnalystServer(self._opening))),
            name="guard-analyst",
            daemon=True,
        )
        self._thread.start()
        return await connected(protocol, ours)

    async def aclose(self) -> None:
        """Wait for the thread, which ends with its connection."""
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)


def _child(settings: Settings) -> SharedChild:
    place = Place.of_this_user(_digest(settings), NAME)
    return SharedChild(
        place,
        command=lambda: [sys.executable, "-m", "guard.analyst", str(place.socket)],
        answers=_answers,
        failure=lambda what: StoreError(f"the analyst {what}", kind=NAME),
    )


def _digest(settings: Settings) -> str:
    """What tells the analyst of one store and pepper from another. Everybody may see it, so the pepper goes
    through a hash that is slow to try, and nothing else in it is secret.
    """
    url, pepper = settings.store.redis_url, settings.identity.pepper
    store = ""
    if url is not None:
        parts = urlsplit(url.get_secret_value())
        database = parse_qs(parts.query).get("db", [""])[0]
        store = " ".join((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, database))
    if url is None or pepper is None:
        store += f" {settings.data_dir.absolute()}"
    told = f"{version('asgi-guard')} {sys.executable} {store}".encode("utf-8", "surrogateescape")
    secret = b"" if pepper is None else pepper.get_secret_value().encode()
    return scrypt(secret, salt=told, n=1 << 14, r=8, p=1, dklen=16).hex()


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1.0)
        try:
            connection.connect(str(path))
        except OSError:
            return False
    return True
