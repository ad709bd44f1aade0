"""Calls of one script that come in the same turn of the event loop share one call of it.

Settles and payouts do: nobody waits for them but the books, and under load many come at once.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Send = Callable[[list[str], list[str | int | bytes]], Awaitable[list[Any]]]

MOST_AT_ONCE = 16
"""No more than this share a call: while a script runs, Redis does nothing else."""


class Call(NamedTuple):
    """The keys and the arguments of one, and where its reply goes."""

    keys: list[str]
    arguments: list[str | int | bytes]
    reply: asyncio.Future[Any]


class Shared:
    """The calls of this turn of the loop; `send` calls the script for several, and gives a reply for each.

    Any of these may be an error: what one holder has left behind fails the calls of nobody else.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._waiting: list[Call] = []
        self._sending: set[asyncio.Task[None]] = set()

    def add(self, keys: list[str], arguments: list[str | int | bytes]) -> asyncio.Future[Any]:
        """The reply to one call."""
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._flush)
        call = Call(keys, arguments, loop.create_future())
        self._waiting.append(call)
        return call.reply

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for start in range(0, len(waiting), MOST_AT_ONCE):
            task = asyncio.create_task(self._send_all(waiting[start : start + MOST_AT_ONCE]))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def _send_all(self, calls: list[Call]) -> None:
        keys = [key for call in calls for key in call.keys]
        arguments = [argument for call in calls for argument in call.arguments]
        replies: list[Any]
        try:
            replies = await self._send(keys, arguments)
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody is left waiting
            replies = [error] * len(calls)
        for call, reply in zip(calls, replies, strict=True):
            if call.reply.done():
                continue
            if isinstance(reply, Exception):
                call.reply.set_exception(reply)
            else:
                call.reply.set_result(reply)
