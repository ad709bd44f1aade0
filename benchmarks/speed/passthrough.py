"""A reverse proxy that does nothing: `python -m benchmarks.speed.passthrough PORT BACKEND_PORT`.

aiohttp on both sides, on uvloop; bytes go on as they come.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import aiohttp
import uvloop
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

KEPT = ("authorization", "content-type")


def app(backend: str) -> web.Application:
    session = web.AppKey("session", aiohttp.ClientSession)

    async def forward(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        headers = {name: request.headers[name] for name in KEPT}
        async with request.app[session].post(
            f"{backend}{request.path_qs}", data=body, headers=headers
        ) as answer:
            response = web.StreamResponse(status=answer.status)
            response.content_type = answer.content_type
            response.content_length = answer.content_length
            await response.prepare(request)
            async for data in answer.content.iter_any():
                await response.write(data)
            await response.write_eof()
            return response

    async def opened(application: web.Application) -> AsyncIterator[None]:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as client:
            application[session] = client
            yield

    made = web.Application()
    made.cleanup_ctx.append(opened)
    made.router.add_post("/{path:.*}", forward)
    return made


if __name__ == "__main__":
    web.run_app(
        app(f"http://127.0.0.1:{sys.argv[2]}"),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        access_log=None,
        print=None,
        loop=uvloop.new_event_loop(),
    )
