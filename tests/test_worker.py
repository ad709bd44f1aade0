"""What a worker of `guard serve` sets for its interpreter."""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING

from guard.server.worker import SWITCH_SECONDS, responsive

if TYPE_CHECKING:
    import pytest
    from starlette.types import Message, Receive, Scope, Send


async def test_w12_what_is_there_at_the_start_is_not_searched_for_garbage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done: list[object] = []
    monkeypatch.setattr(gc, "collect", lambda: done.append("collect"))
    monkeypatch.setattr(gc, "freeze", lambda: done.append("freeze"))
    monkeypatch.setattr(sys, "setswitchinterval", done.append)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        done.append("started")
        await send({"type": f"{scope['type']}.startup.complete"})

    async def receive() -> Message:
        return {"type": "lifespan.startup"}

    async def send(message: Message) -> None:
        done.append(message["type"])

    served = responsive(app)
    await served({"type": "lifespan"}, receive, send)
    assert done == [SWITCH_SECONDS, "started", "collect", "freeze", "lifespan.startup.complete"]
    done.clear()
    await served({"type": "http"}, receive, send)
    assert done == ["started", "http.startup.complete"]
