"""Tells a web-hook of holds, beside the requests, and hears whether it releases anybody.

Each hold is one POST, a CloudEvent 1.0 in structured mode (https://github.com/cloudevents/spec), sent by the
process that placed the hold, one after another. Up to `MOST_WAITING` wait; what cannot be delivered after a
few tries is given up, counted and logged: who is held, the store knows (`guard holds`).

    {"specversion": "1.0", "id": "req_1f…", "source": "guard", "type": "guard.hold.placed",
     "time": "2026-03-02T09:00:00Z", "datacontenttype": "application/json",
     "data": {"holder": "key:a", "tier": "default", "band": "high", "groups": ["content"],
              "receipt": "req_1f…"}}

An answer of `{"action": "release", "for": "30d"}` releases the holder, as `guard release` does. Every other
answer with a status of 2xx leaves it to a person.
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

import aiohttp

from guard.core.durations import parse_duration
from guard.telemetry.events import Told
from guard.telemetry.lines import bounded, limited

if TYPE_CHECKING:
    from collections.abc import Callable

    from guard.settings.hold import HoldSettings
    from guard.telemetry.events import Hold

    Done = Callable[[Told, float | None], None]

MOST_WAITING = 256
"""Maximum number of holds that wait to be told."""

RETRY_SECONDS = (1.0, 5.0, 25.0)
"""When a web-hook is told again that failed."""

TO_TRY_AGAIN = frozenset({408, 425, 429})
"""Statuses below 500 that another try may change."""

LONGEST_RELEASE_SECONDS = 366 * 86_400
"""A program releases nobody for longer."""

MOST_ANSWERED = 16_384
"""An answer of more bytes is not read."""


class Waiting(NamedTuple):
    """A hold that is to be told, and who hears what came of that."""

    hold: Hold
    done: Done


class Webhook:
    """Tells one web-hook, for one event loop; `settings` may be replaced."""

    def __init__(self, settings: HoldSettings) -> None:
        self.settings = settings
        self._waiting: asyncio.Queue[Waiting] = asyncio.Queue(MOST_WAITING)
        self._session: aiohttp.ClientSession | None = None
        self._telling: asyncio.Task[None] | None = None

    def tell(self, hold: Hold, done: Done) -> None:
        """Have the web-hook told, without waiting."""
        try:
            self._waiting.put_nowait(Waiting(hold, done))
        except asyncio.QueueFull:
            self._drop(hold, done, f"{MOST_WAITING} wait to be told")
            return
        if self._telling is None:
            self._telling = asyncio.create_task(self._tell_all())

    async def quiet(self) -> None:
        """Wait until all that waits has been told, or was given up."""
        await self._waiting.join()

    async def aclose(self, seconds: float = 1.0) -> None:
        """Tell what can be told within this time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.quiet()
        if self._telling is not None:
            self._telling.cancel()
            with suppress(asyncio.CancelledError):
                await self._telling
        while not self._waiting.empty():
            self._drop(*self._waiting.get_nowait(), "the process stops")
        if self._session is not None:
            await self._session.close()

    @staticmethod
    def _drop(hold: Hold, done: Done, trouble: str) -> None:
        _give_up(hold, trouble)
        done(Told.DROPPED, None)

    async def _tell_all(self) -> None:
        while True:
            hold, done = await self._waiting.get()
            told, seconds = Told.FAILED, None
            try:
                told, seconds = await self._insist(hold)
            finally:
                done(told, seconds)
                self._waiting.task_done()

    async def _insist(self, hold: Hold) -> tuple[Told, float | None]:
        """Tell of one hold until that is done, or there is no use."""
        for delay in (*RETRY_SECONDS, None):
            try:
                status, answer = await self._post(hold)
            except (aiohttp.ClientError, ssl.SSLError, OSError, ValueError) as error:
                # A timeout is an `OSError` too, and a header that cannot be sent a `ValueError`.
                trouble = f"{type(error).__name__}: {error}"
            else:
                if 200 <= status < 300:
                    seconds = released_for(answer)
                    return (Told.DELIVERED if seconds is None else Told.RELEASED), seconds
                trouble = f"status {status}"
                if status < 500 and status not in TO_TRY_AGAIN:
                    break
            if delay is not None:
                await asyncio.sleep(delay)
        _give_up(hold, trouble)
        return Told.FAILED, None

    async def _post(self, hold: Hold) -> tuple[int, bytes]:
        """Send one event; the status of the answer, and its body unless that is too long."""
        settings = self.settings
        if self._session is None:
            self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        headers = {name: value.get_secret_value() for name, value in settings.webhook_headers.items()}
        async with self._session.post(
            str(settings.webhook),
            data=json.dumps(event_of(hold)).encode(),
            headers={**headers, "content-type": "application/cloudevents+json"},
            timeout=aiohttp.ClientTimeout(settings.webhook_timeout_seconds),
            allow_redirects=False,
        ) as answer:
            body = b""
            async for chunk in answer.content.iter_any():
                body += chunk
                if len(body) > MOST_ANSWERED:
                    return answer.status, b""
            return answer.status, body


def event_of(hold: Hold) -> dict[str, object]:
    """A hold as a CloudEvent."""
    return {
        "specversion": "1.0",
        "id": hold.receipt,
        "source": "guard",
        "type": "guard.hold.placed",
        "time": datetime.fromtimestamp(hold.at, UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z"),
        "datacontenttype": "application/json",
        "data": {
            "holder": hold.holder,
            "tier": hold.tier,
            "band": hold.band,
            "groups": list(hold.groups),
            "receipt": hold.receipt,
        },
    }


def released_for(answer: bytes) -> float | None:
    """For how many seconds an answer releases the holder; `None` where it says nothing of the kind."""
    try:
        said = json.loads(answer)
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict) or said.get("action") != "release":
        return None
    try:
        seconds = parse_duration(str(said.get("for")))
        if seconds > LONGEST_RELEASE_SECONDS:
            raise ValueError("longer than 366d")
    except ValueError as error:
        limited.log(
            logging.WARNING,
            "webhook answer",
            "the web-hook's answer releases nobody: `for`: %s",
            bounded(str(error)),
        )
        return None
    return seconds


def _give_up(hold: Hold, trouble: str) -> None:
    limited.log(
        logging.WARNING,
        "webhook",
        "the web-hook was not told that %s is held (%s): %s",
        hold.holder,
        hold.receipt,
        bounded(trouble),
    )
