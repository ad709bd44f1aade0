"""The body of a request: read once, within bounds, and replayed to the app."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from guard.errors import GuardError, QueryError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from starlette.types import Message, Receive

    from guard.config import BodySettings


class ClientGoneError(GuardError):
    """The client left before its request was complete; there is nobody to answer."""


class BodyReader:
    """Reads bodies, each within its own bounds and all within the process's."""

    def __init__(self, settings: BodySettings) -> None:
        self._settings = settings
        self._buffered = 0

    @asynccontextmanager
    async def read(self, headers: Mapping[bytes, bytes], receive: Receive) -> AsyncIterator[bytes]:
        """The whole body, held until the block ends.

        Raises `QueryError` for one that is encoded (415), too large (413) or too slow (408), and when all
        bodies together are too large (503); `ClientGoneError` where the client leaves.
        """
        if headers.get(b"content-encoding", b"identity").strip().lower() != b"identity":
            raise QueryError("Send the body without a content encoding.", status=415)
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._settings.max_bytes:
            raise self._too_large()
        held = bytearray()
        try:
            await self._fill_in_time(held, receive)
            yield bytes(held)
        finally:
            self._buffered -= len(held)

    async def _fill_in_time(self, held: bytearray, receive: Receive) -> None:
        try:
            async with asyncio.timeout(self._settings.timeout_seconds):
                await self._fill(held, receive)
        except TimeoutError:
            raise QueryError("The body did not arrive in time.", status=408) from None

    async def _fill(self, held: bytearray, receive: Receive) -> None:
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            chunk = message.get("body", b"")
            held += chunk
            self._buffered += len(chunk)
            if len(held) > self._settings.max_bytes:
                raise self._too_large()
            if self._buffered > self._settings.max_buffered_bytes:
                raise QueryError("The server is reading too much at once; try again.", status=503)
            more = message.get("more_body", False)

    def _too_large(self) -> QueryError:
        return QueryError(f"The body is larger than {self._settings.max_bytes} bytes.", status=413)


def first(message: Message, receive: Receive) -> Receive:
    """A `receive` that gives this message, and then what else comes."""
    given = False

    async def receive_first() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return message

    return receive_first
