"""A model that costs next to nothing: `python -m benchmarks.speed.model PORT`.

A query gets one JSON object, or 200 events where it asks for a stream. They are not paced: each is written as
soon as the one before is, in a chunk and a turn of the loop of its own.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import cast

import uvloop

from benchmarks.speed.apps import ANSWER_BODY

CHUNKS = 200
STREAMED = b'"stream": true'


def _event(delta: dict[str, str], finish: str | None = None, usage: dict[str, int] | None = None) -> bytes:
    choices = [] if usage else [{"index": 0, "delta": delta, "finish_reason": finish}]
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return b"data: %b\n\n" % json.dumps({**chunk, "choices": choices, "usage": usage}).encode()


EVENTS = (
    _event({"role": "assistant", "content": ""}),
    *(_event({"content": f"word{place % 7} "}) for place in range(CHUNKS - 3)),
    _event({}, "stop"),
    _event({}, usage={"prompt_tokens": 240, "completion_tokens": CHUNKS, "total_tokens": 240 + CHUNKS}),
    b"data: [DONE]\n\n",
)
STREAM_BODY = b"".join(EVENTS)

_JSON = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
    len(ANSWER_BODY),
    ANSWER_BODY,
)
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
)
_PARTS = (
    _STREAM_HEAD,
    *(b"%x\r\n%b\r\n" % (len(event), event) for event in EVENTS),
    b"0\r\n\r\n",
)


class Model(asyncio.Protocol):
    """One connection, with one request at a time."""

    def __init__(self) -> None:
        self._received = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none of asyncio's classes

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = bytes(self._received).partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r")[0] or 0)
        if not found or len(body) < length:
            return
        self._received.clear()
        if STREAMED in body or b'"stream":true' in body:
            self._send(0)
        else:
            self._transport.write(_JSON)

    def _send(self, place: int) -> None:
        self._transport.write(_PARTS[place])
        if place + 1 < len(_PARTS) and not self._transport.is_closing():
            asyncio.get_running_loop().call_soon(self._send, place + 1)


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Model, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as _runner:
        _runner.run(serve(int(sys.argv[1])))
