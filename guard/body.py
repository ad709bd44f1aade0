"""The body of a request as it arrives: within bounds of size, time and memory.

What is held is counted from the first byte until the app has been given the body: against
`max_buffered_bytes`, and against one caller's share of it. A caller that is not verified shares with its
whole network, since unchecked names cost nothing to make.

A body has `timeout_seconds`, and one second more for every 64 KiB that have arrived: a slow line that keeps
sending can send a photo, and a client that sends a byte now and then is cut off.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from guard.core.identity import Attribute
from guard.errors import GuardError, QueryError
from guard.line import Line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from starlette.types import Message, Receive

    from guard.config import BodySettings
    from guard.core.identity import Holder, Identity

    Headers = Iterable[tuple[bytes, bytes]]

P = ParamSpec("P")
T = TypeVar("T")

LEAST_BYTES_PER_SECOND = 64 << 10
"""A body that arrives at this rate or faster is never too slow."""

SHARES = 8
"""One caller may take this part of `max_buffered_bytes` at once, and always one body of `max_bytes`."""

SMALL_BYTES = 16 << 10
"""A body of this size is never refused for what its caller sends besides: keys that guard has not checked are
one caller by their network, and an attacker there is not to stop its neighbours' questions."""

LARGE_BYTES = 64 << 10
"""A body of more bytes is parsed in a thread, so that other requests go on meanwhile."""

DISCONNECT: Message = {"type": "http.disconnect"}


class ClientGoneError(GuardError):
    """The client left before its request was complete; there is nobody to answer."""


class Memory:
    """The memory of one process for bodies, shared out to callers."""

    def __init__(self, settings: BodySettings) -> None:
        self._most = settings.max_buffered_bytes
        self._most_of_one = max(settings.max_bytes, settings.max_buffered_bytes // SHARES)
        self._held: Counter[Holder] = Counter()

    def add(self, owner: Holder, size: int, *, small: bool = False) -> None:
        """Count what is held; raises `QueryError` (429, 503) where it is too much. A `small` body is refused
        only where all callers together send too much."""
        self._held[owner] += size
        if self._held[owner] > self._most_of_one and not small:
            raise QueryError("You are sending too much at once; try again.", status=429)
        if self._held.total() > self._most:
            raise QueryError("The server is reading too much at once; try again.", status=503)

    def give_back(self, owner: Holder, size: int) -> None:
        """What was counted is no longer held."""
        self._held[owner] -= size
        if not self._held[owner]:
            del self._held[owner]


class Body:
    """The body of one request. Call `give_back` when it is held no longer."""

    def __init__(
        self, settings: BodySettings, memory: Memory, owner: Holder, headers: Headers, receive: Receive
    ) -> None:
        self._settings = settings
        self._memory = memory
        self._owner = owner
        self._headers = headers
        self._receive = receive
        self._arrived = 0
        self._held = 0
        self._complete = False
        self._deadline: float | None = None
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
            self._held += len(chunk)
            self._memory.add(self._owner, len(chunk), small=self._held <= SMALL_BYTES)
            chunks.append(chunk)
        return chunks

    async def pass_on(self) -> Message:
        """A `receive` for an app that reads the body itself, which sees the client leave where a bound is
        overstepped; `error` is then what to answer."""
        if self.error is not None:
            return DISCONNECT
        try:
            if self._deadline is None:
                self._check_length()
            return await self._next()
        except QueryError as error:
            self.error = error
            return DISCONNECT

    def give_back(self) -> None:
        """The body is held no longer."""
        held, self._held = self._held, 0
        if held:
            self._memory.give_back(self._owner, held)

    async def _next(self) -> Message:
        if self._complete:
            return await self._receive()
        now = asyncio.get_running_loop().time()
        if self._deadline is None:
            self._deadline = now + self._settings.timeout_seconds
        try:
            async with asyncio.timeout_at(self._deadline + self._arrived / LEAST_BYTES_PER_SECOND):
                message = await self._receive()
        except TimeoutError:
            raise QueryError("The body did not arrive in time.", status=408) from None
        self._arrived += len(message.get("body", b""))
        if self._arrived > self._settings.max_bytes:
            raise self._too_large()
        self._complete = not message.get("more_body", False)
        return message

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
        self._memory = Memory(settings)
        self._line = Line()

    def of(self, identity: Identity, headers: Headers, receive: Receive) -> Body:
        """The body of this caller's request."""
        return Body(self._settings, self._memory, identity.holder(Attribute.POOL), headers, receive)

    async def parsed(
        self, size: int, identity: Identity, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Work on a body of this size: on a small one now, on a large one when it is its caller's turn."""
        if size <= LARGE_BYTES:
            return work(*args, **kwargs)
        return await self._line.run(identity.holder(Attribute.POOL), partial(work, *args, **kwargs))


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
