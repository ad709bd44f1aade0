"""What a worker process of `guard serve` sets for the whole of its interpreter, which is its own."""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

SWITCH_SECONDS = 0.0005
"""After how long a thread that parses gives way to the event loop. Python's own 5 ms would be waited for
after each read and write of a socket, several times in a request."""


def responsive(app: ASGIApp) -> ASGIApp:
    """The app, in an interpreter whose threads and collections of garbage do not hold up its event loop.

    What is there when the app has started up stays until the end, so the collector need not look through it:
    that takes 50 ms, and a body with many values has it done.
    """
    sys.setswitchinterval(SWITCH_SECONDS)

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        async def starting(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                gc.collect()
                gc.freeze()
            await send(message)

        await app(scope, receive, starting if scope["type"] == "lifespan" else send)

    return serve
