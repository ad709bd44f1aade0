"""Tells a web-hook of holds, and hears whether it releases anybody.

Each hold is one POST, a CloudEvent 1.0 in structured mode, sent by the process that placed the hold. What is
not delivered is in the store all the same (`guard holds`).

    {"specversion": "1.0", "id": "req_1f…", "source": "guard", "type": "guard.hold.placed",
     "time": "2026-03-02T09:00:00Z", "datacontenttype": "application/json",
     "data": {"holder": "key:a", "tier": "default", "band": "high", "groups": ["content"],
              "receipt": "req_1f…"}}

An answer of `{"action": "release", "for": "30d"}` releases the holder, as `guard release` does. Every other
answer with a status of 2xx leaves it to a person.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

from guard.core.durations import parse_duration
from guard.telemetry.cloudevents import CloudEvent, Content, Type
from guard.telemetry.events import Told
from guard.telemetry.lines import bounded, limited
from guard.webhooks.delivery import Delivery, Message, Target

if TYPE_CHECKING:
    from collections.abc import Callable

    from guard.settings.hold import HoldSettings
    from guard.telemetry.events import Hold

    Done = Callable[[Told, float | None], None]

LONGEST_RELEASE_SECONDS = 366 * 86_400
"""A program releases nobody for longer."""


class HoldWebhook:
    """Tells one web-hook, for one event loop; `settings` may be replaced."""

    def __init__(self, settings: HoldSettings) -> None:
        self._delivery = Delivery(_target(settings))

    def adopt(self, settings: HoldSettings) -> None:
        """Go on by these settings."""
        self._delivery.target = _target(settings)

    def tell(self, hold: Hold, done: Done) -> None:
        """Have the web-hook told, without waiting."""

        def over(told: Told, answer: bytes) -> None:
            seconds = released_for(answer) if told is Told.DELIVERED else None
            done(told if seconds is None else Told.RELEASED, seconds)

        headers, body = event_of(hold).sent(Content.STRUCTURED)
        not_told = f"the web-hook was not told that {hold.holder} is held ({hold.receipt})"
        self._delivery.send(Message(hold.receipt, headers, body, not_told, over))

    async def quiet(self) -> None:
        """Wait until all that waits has been told, or was given up."""
        await self._delivery.quiet()

    async def aclose(self, seconds: float = 1.0) -> None:
        """Tell what can be told within this time."""
        await self._delivery.aclose(seconds)


def _target(settings: HoldSettings) -> Target:
    return Target(str(settings.webhook), settings.webhook_headers, settings.webhook_timeout_seconds)


def event_of(hold: Hold, subject: str = "") -> CloudEvent:
    """A hold as an event."""
    data = {
        "holder": hold.holder,
        "tier": hold.tier,
        "band": hold.band,
        "groups": list(hold.groups),
        "receipt": hold.receipt,
    }
    return CloudEvent(hold.receipt, Type.HOLD_PLACED, hold.at, data, subject)


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
