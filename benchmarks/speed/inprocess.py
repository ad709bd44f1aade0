"""Requests to an ASGI app of this process, without a server between."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from benchmarks.speed.apps import ANSWER_BODY
from benchmarks.speed.load import WrongAnswerError
from benchmarks.speed.prompts import PATH

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import ASGIApp, Message

GATEWAY = """
[identity.headers]
user = "x-user"
org = "x-org"
"""
"""Settings that trust a gateway at `ADDRESS` to name the user and the organisation."""

ADDRESS = "192.0.2.1"
TRUSTED = f'trusted_proxies = ["{ADDRESS}/32"]\n'


async def ask(app: ASGIApp, user: int, body: bytes) -> None:
    """One request of a user, whose organisation is that of ten, and whose network is one of 250."""
    caller = [
        (b"x-user", b"user-%d" % user),
        (b"x-org", b"org-%d" % (user // 10)),
        (b"x-forwarded-for", b"198.51.100.%d" % (user % 250)),
    ]
    await send(app, caller, body)


async def send(app: ASGIApp, caller: list[tuple[bytes, bytes]], body: bytes) -> None:
    """One request of whoever these headers name; raises `WrongAnswerError`."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": PATH,
        "raw_path": PATH.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [
            (b"host", b"localhost"),
            *caller,
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
        ],
        "client": (ADDRESS, 50_000),
        "server": ("127.0.0.1", 8000),
    }
    statuses: list[int] = []
    received: list[bytes] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def answered(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])
        else:
            received.append(message["body"])

    await app(scope, receive, answered)
    if statuses != [200] or b"".join(received) != ANSWER_BODY:
        raise WrongAnswerError(f"{statuses}: {b''.join(received)[:500]!r}")


async def ask_all(app: ASGIApp, users: Iterable[int], bodies: list[bytes], at_once: int) -> None:
    """Send one request for each user, this number of them at once."""
    waiting = iter(users)

    async def asking() -> None:
        for user in waiting:
            await ask(app, user, bodies[user % len(bodies)])

    await asyncio.gather(*(asking() for _ in range(at_once)))
