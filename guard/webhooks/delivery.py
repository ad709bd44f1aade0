"""Sends what is to be told to one web-hook, beside the requests, one message after another.

Up to `MOST_WAITING` wait; what cannot be delivered after a few tries is given up, counted and logged.

    12:00:00.0   sent; no answer within 5 s
    12:00:05.9   sent again: 503, with `Retry-After: 10`
    12:00:15.9   sent again: 204. The next message is sent
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import aiohttp

from guard.telemetry.events import Told
from guard.telemetry.lines import bounded, limited
from guard.telemetry.signing import signature_headers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pydantic import SecretStr

    Done = Callable[[Told, bytes], None]

MOST_WAITING = 256
"""Maximum number of messages that wait to be sent."""

RETRY_SECONDS = (1.0, 5.0, 25.0)
"""When a message is sent again that was not taken, less up to a half at random."""

LONGEST_RETRY_SECONDS = 60.0
"""A receiver that asks for more time with `Retry-After` gets so much."""

TO_TRY_AGAIN = frozenset({408, 425, 429})
"""Statuses below 500 that another try may change."""

MOST_ANSWERED = 16_384
"""An answer of more bytes is not read."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where to send, with which headers of the operator's, for how long, and signed with which secrets."""

    url: str
    headers: Mapping[str, SecretStr]
    timeout_seconds: float
    secrets: tuple[bytes, ...] = field(default=(), repr=False)


class Message(NamedTuple):
    """What is sent under an id, and who hears what came of that, with the answer where it was delivered.

    `not_told` is the line of the log where it was not.
    """

    id: str
    headers: dict[str, str]
    body: bytes
    not_told: str
    done: Done


class Delivery:
    """Sends to one target, which may be replaced, on one event loop."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._waiting: asyncio.Queue[Message] = asyncio.Queue(MOST_WAITING)
        self._session: aiohttp.ClientSession | None = None
        self._sending: asyncio.Task[None] | None = None

    def send(self, message: Message) -> None:
        """Have a message sent, without waiting."""
        try:
            self._waiting.put_nowait(message)
        except asyncio.QueueFull:
            _drop(message, f"{MOST_WAITING} wait to be told")
            return
        if self._sending is None:
            self._sending = asyncio.create_task(self._send_all())

    async def quiet(self) -> None:
        """Wait until all that waits has been sent, or was given up."""
        await self._waiting.join()

    async def aclose(self, seconds: float = 1.0) -> None:
        """Send what can be sent within this time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.quiet()
        if self._sending is not None:
            self._sending.cancel()
            with suppress(asyncio.CancelledError):
                await self._sending
        while not self._waiting.empty():
            _drop(self._waiting.get_nowait(), "the process stops")
        if self._session is not None:
            await self._session.close()

    async def _send_all(self) -> None:
        while True:
            message = await self._waiting.get()
            told, answer = Told.FAILED, b""
            try:
                try:
                    told, answer = await self._insist(message)
                finally:
                    message.done(told, answer)
            except Exception:  # noqa: BLE001 - what goes wrong with one message must not end all others
                limited.exception("webhook", "%s", message.not_told)
            finally:
                self._waiting.task_done()

    async def _insist(self, message: Message) -> tuple[Told, bytes]:
        """Send one message until it is taken, or there is no use."""
        for delay in (*RETRY_SECONDS, None):
            asked_for = 0.0
            try:
                status, answer, asked_for = await self._post(message)
            except (aiohttp.ClientError, ssl.SSLError, OSError, ValueError) as error:
                # A timeout is an `OSError` too, and a header that cannot be sent a `ValueError`.
                trouble = f"{type(error).__name__}: {error}"
            else:
                if 200 <= status < 300:
                    return Told.DELIVERED, answer
                trouble = f"status {status}"
                if status < 500 and status not in TO_TRY_AGAIN:
                    break
            if delay is not None:
                spread = delay * random.uniform(0.5, 1.0)  # noqa: S311 - spreads tries, guards nothing
                await asyncio.sleep(max(spread, asked_for))
        _give_up(message, trouble)
        return Told.FAILED, b""

    async def _post(self, message: Message) -> tuple[int, bytes, float]:
        """Send a message once; the status of the answer, its body unless that is too long, and in how many
        seconds to come again where it says so.
        """
        target = self.target
        if self._session is None:
            self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        own = {name: value.get_secret_value() for name, value in target.headers.items()}
        signed = signature_headers(message.id, int(time.time()), message.body, target.secrets)
        async with self._session.post(
            target.url,
            data=message.body,
            headers={**own, **message.headers, **signed},
            timeout=aiohttp.ClientTimeout(target.timeout_seconds),
            allow_redirects=False,
        ) as answer:
            wait = answer.headers.get("retry-after", "")
            asked_for = min(float(wait), LONGEST_RETRY_SECONDS) if wait.isascii() and wait.isdigit() else 0.0
            body = b""
            async for chunk in answer.content.iter_any():
                body += chunk
                if len(body) > MOST_ANSWERED:
                    return answer.status, b"", asked_for
            return answer.status, body, asked_for


def _drop(message: Message, trouble: str) -> None:
    _give_up(message, trouble)
    message.done(Told.DROPPED, b"")


def _give_up(message: Message, trouble: str) -> None:
    limited.log(logging.WARNING, "webhook", "%s: %s", message.not_told, bounded(trouble))
