"""The body of a request as it arrives: within bounds of size, time and memory.

What is held is counted from the first byte until the app has been given the body (guard/asgi/room.py), or,
where the app is guard's proxy, until that has sent it (`HELD`). A caller that is not verified shares its room
with its whole network, since unchecked names cost nothing to make.

A body is waited for `timeout_seconds`, and one second more for every 64 KiB that have arrived, but never
longer than `timeout_seconds` after its last byte: a slow line that keeps sending can send a photo, and a
client that sends a byte now and then, or stops before the end, is cut off.
"""

from __future__ import annotations

import asyncio
from functools import partial
from sys import getsizeof
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from guard.asgi.begun import Begun
from guard.asgi.line import Line
from guard.asgi.room import Room
from guard.errors import GuardError, QueryError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from starlette.types import Message, Receive

    from guard.core.identity import Holder
    from guard.settings.body import BodySettings

    Headers = Iterable[tuple[bytes, bytes]]

P = ParamSpec("P")
T = TypeVar("T")

LEAST_BYTES_PER_SECOND = 64 << 10
"""A body that arrives at this rate or faster is never too slow."""

LARGE_BYTES = 64 << 10
"""A body of more bytes is parsed in a thread, so that other requests go on meanwhile."""

HELD = "guard.held"
"""An extension of a scope: its `Body`, for an app that says itself when it holds it no longer."""

DISCONNECT: Message = {"type": "http.disconnect"}


class ClientGoneError(GuardError):
    """The client left before its request was complete; there is nobody to answer."""


class Body:
    """The body of one request, of which `size` bytes are held for its `owner`.

    Call `give_back` when it is held no longer.
    """

    def __init__(
        self, settings: BodySettings, room: Room, owner: Holder, headers: Headers, receive: Receive
    ) -> None:
        self.owner = owner
        self.size = 0
        self._settings = settings
        self._room = room
        self._headers = headers
        self._receive = receive
        self._arrived = 0
        self._complete = self._kept = False
        self._patience: float = settings.timeout_seconds
        self._waiting: asyncio.Timeout | None = None
        self._pushed_out: QueryError | None = None
        self.error: QueryError | None = None
        """Why `pass_on` has ended the body."""

    async def read(self) -> list[bytes]:
        """The whole body, in the pieces in which it came: to join megabytes is no work for the event loop.

        Raises `QueryError` for one that is encoded (415), too large (413) or too slow (408), and where bodies
        take too much memory (429, 503); `ClientGoneError` where the client leaves.
        """
        for name, value in self._headers:
            if name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
                raise QueryError("Send the body without a content encoding.", status=415)
        self._check_length()
        chunks: list[bytes] = []
        while not self._complete:
            message = await self._next()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            chunk = message.get("body", b"")
            self._room.add(self, getsizeof(chunk))
            chunks.append(chunk)
        self._room.arrived(self)
        return chunks

    async def pass_on(self) -> Message:
        """A `receive` for an app that reads the body itself, which sees the client leave where a bound is
        overstepped; `error` is then what to answer."""
        if self.error is not None:
            return DISCONNECT
        try:
            self._check_length()
            return await self._next()
        except QueryError as error:
            self.error = error
            return DISCONNECT

    def keep(self) -> None:
        """Whoever is given the body will call `give_back`."""
        self._kept = True

    def handed_on(self) -> None:
        """The app has been given the body."""
        if not self._kept:
            self.give_back()

    def give_back(self) -> None:
        """The body is held no longer."""
        if self.size:
            self._room.give_back(self)

    def make_room(self, error: QueryError) -> None:
        """End what is read of it, where it waits for more."""
        self._pushed_out = error
        if self._waiting is not None and not self._waiting.expired():
            self._waiting.reschedule(asyncio.get_running_loop().time())

    async def _next(self) -> Message:
        if self._complete:
            return await self._receive()
        begun = Begun(self._receive())
        waited = 0.0 if begun.done else await self._wait_for(begun)
        message = begun.result
        if self._pushed_out is not None:
            raise self._pushed_out
        size = len(message.get("body", b""))
        self._arrived += size
        patience = self._patience - waited + size / LEAST_BYTES_PER_SECOND
        self._patience = min(patience, self._settings.timeout_seconds)
        if self._arrived > self._settings.max_bytes:
            raise self._too_large()
        self._complete = not message.get("more_body", False)
        return message

    async def _wait_for(self, begun: Begun[Message]) -> float:
        """Wait for a message; returns for how many seconds."""
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            async with asyncio.timeout(self._patience) as self._waiting:
                await begun
        except TimeoutError:
            raise self._pushed_out or QueryError("The body did not arrive in time.", status=408) from None
        finally:
            self._waiting = None
        return clock() - began

    def _check_length(self) -> None:
        for name, value in self._headers:
            if name == b"content-length" and value.isdigit() and int(value[:20]) > self._settings.max_bytes:
                raise self._too_large()

    def _too_large(self) -> QueryError:
        return QueryError(f"The body is larger than {self._settings.max_bytes} bytes.", status=413)


class Bodies:
    """The bodies of all requests of one process."""

    def __init__(self, settings: BodySettings) -> None:
        self._settings = settings
        self._room = Room(settings)
        self._line = Line()

    def of(self, owner: Holder, headers: Headers, receive: Receive) -> Body:
        """The body of this caller's request."""
        return Body(self._settings, self._room, owner, headers, receive)

    async def parsed(
        self, size: int, owner: Holder, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Work on a body of this size: on a small one now, on a large one when it is its caller's turn."""
        if size <= LARGE_BYTES:
            return work(*args, **kwargs)
        return await self._line.run(owner, partial(work, *args, **kwargs))


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
