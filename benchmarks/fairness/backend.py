"""A model that costs nothing to ask: what is slow here is guard."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

BIG_BYTES = 15_000_000

ANSWER = json.dumps(
    {
        "model": "m",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6},
    }
).encode()


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """The model `big` gives an answer of 15 MB, `slow` a stream that goes on for long, all others a word."""
    if scope["type"] != "http":
        return
    body = bytearray()
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    slow, big = b'"slow"' in body, b'"big"' in body
    kind = b"text/event-stream" if slow else b"application/json"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
    if slow:
        for _ in range(240):
            chunk = b'data: {"choices": [{"index": 0, "delta": {"content": "word "}}]}\n\n'
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await asyncio.sleep(0.5)
    padding = b" " * BIG_BYTES if big else b""
    await send({"type": "http.response.body", "body": ANSWER + padding})


def make() -> ASGIApp:
    return app
