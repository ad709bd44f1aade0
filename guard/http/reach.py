"""Whether somebody listens there."""

from __future__ import annotations

import asyncio

CONNECT_SECONDS = 2.0


async def takes_a_connection(host: str | None, port: int | None) -> bool:
    """Whether a server takes a TCP connection within `CONNECT_SECONDS`."""
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(host, port)
    except OSError:  # a timeout is one too
        return False
    writer.close()
    return True
