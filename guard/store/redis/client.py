"""The way to Redis: opened, claimed for one pepper and, where the server is guard's own, revived."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager, contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

from redis import exceptions

from guard.errors import ConfigError, GuardError, StoreError
from guard.store.redis.claim import FOREIGN, claim
from guard.store.redis.condition import Capacity, Condition, Node, capacity, info, lacking, measured
from guard.store.transport.trouble import explain, kind_of
from guard.store.transport.url import CONNECT_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from redis.asyncio import Redis, RedisCluster

    from guard.store.embedded.server import EmbeddedServer
    from guard.store.redis.keys import Keys
    from guard.store.redis.scripts import Script
    from guard.store.transport.nodes import Nodes

logger = logging.getLogger("guard")

OPERATOR_SECONDS = 5.0
"""The deadline for what the operator asks; no request waits for this."""


FAILURES = (
    TimeoutError,
    exceptions.TimeoutError,
    exceptions.RedisError,
    exceptions.RedisClusterException,
    OSError,
)
"""What a call to Redis can end in."""


class Client:
    """Speaks to one server, or to several behind `Nodes`. All calls raise `StoreError`.

    A call of a script ends within `deadline_seconds`, and what the operator asks within `OPERATOR_SECONDS`.
    """

    def __init__(
        self,
        keys: Keys,
        new_nodes: Callable[[], Nodes],
        *,
        server: EmbeddedServer | None = None,
        deadline_seconds: float = 0.05,
    ) -> None:
        self.keys = keys
        self._new_nodes = new_nodes
        self._server = server
        self._deadline_seconds = deadline_seconds
        self._open: tuple[asyncio.AbstractEventLoop, Nodes] | None = None
        self._reviving: asyncio.Task[None] | None = None
        self._foreign = False
        self.forgets = False

    async def start(self, *, required: bool = False) -> bool:
        """Start the embedded server, where there is one, and connect; whether it answers.

        A remote Redis that is down is an error only where it is `required`: else it may come back before the
        first request. Raises `ConfigError` where the store is kept with another pepper.
        """
        if self._server is not None:
            await asyncio.to_thread(self._server.start)
        begun = monotonic()
        try:
            await self._nodes().connect(OPERATOR_SECONDS if required else CONNECT_SECONDS)
        except (exceptions.RedisError, exceptions.RedisClusterException, OSError) as error:
            if self._server is not None:
                raise StoreError("the embedded Redis does not answer", kind="connection") from None
            timed_out = kind_of(error) == "timeout"
            # What it waits for may have a shorter deadline of its own.
            text = _no_answer(monotonic() - begun) if timed_out else explain(error)
            if required:
                raise StoreError(text, kind=kind_of(error)) from error
            logger.warning("Redis does not answer yet: %s", text)
            return False
        try:
            await self.claim()
        except StoreError as error:
            if self._foreign:
                raise ConfigError(str(error)) from None
            if required:
                raise
            logger.warning("Redis does not say yet which pepper it is kept with: %s", error)
            return False
        if not required:
            await self._log_capacity()
        return True

    async def claim(self) -> None:
        """See to it that the store is this pepper's; else each call raises `StoreError` from now on."""
        async with self.asking() as client:
            self._foreign = not await claim(client, self.keys)
        self._refuse_foreign()

    async def capacity(self) -> Capacity:
        """How much room the server has, and what becomes of counts when it is full."""
        async with self.asking() as client:
            return await capacity(client)

    async def condition(self) -> Condition:
        """How the servers do, and what guard's user may do there."""
        call = self._nodes().call
        with self._translated():
            latency, ahead = await measured(call)
        async with self.asking() as client:
            nodes = [Node.of(name, told) for name, told in sorted((await info(client)).items())]
        try:
            with self._translated():
                missing = await lacking(call)
        except StoreError:
            missing = None
        return Condition(tuple(nodes), latency, ahead, missing)

    async def _log_capacity(self) -> None:
        """Log how much room the server has; one that does not say may be used all the same."""
        try:
            found = await self.capacity()
        except StoreError as error:
            logger.info("Redis does not say what it does when it is full: %s", error)
            return
        self.forgets = found.forgets
        logger.log(logging.WARNING if found.forgets else logging.INFO, "%s", found)

    def _refuse_foreign(self) -> None:
        if self._foreign:
            raise StoreError(FOREIGN, kind="pepper")

    async def aclose(self) -> None:
        """Close the connections, and leave the embedded server."""
        if self._reviving is not None:
            self._reviving.cancel()
        if self._open is not None and self._open[0] is asyncio.get_running_loop():
            await self._open[1].aclose()
        self._open = None
        if self._server is not None:
            await asyncio.to_thread(self._server.close)

    async def _run(self, script: Script, keys: list[str], arguments: list[str | int | bytes]) -> list[Any]:
        if self._foreign:
            raise StoreError(FOREIGN, kind="pepper")
        call = self._nodes().call
        try:
            try:
                reply = await call(keys[0], "EVALSHA", script.sha, len(keys), *keys, *arguments)
            except exceptions.NoScriptError:
                reply = await call(keys[0], "EVAL", script.text, len(keys), *keys, *arguments)
        except FAILURES as error:
            raise self._trouble(error, self._deadline_seconds) from error
        return cast("list[Any]", reply)

    @asynccontextmanager
    async def asking(self, seconds: float = OPERATOR_SECONDS) -> AsyncIterator[Redis | RedisCluster]:
        """A plain client, for what no request waits for and is done within so many seconds."""
        with self._translated():
            async with asyncio.timeout(seconds):
                yield self._nodes().client()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn what can go wrong with Redis into `StoreError`."""
        begun = monotonic()
        try:
            yield
        except FAILURES as error:
            raise self._trouble(error, monotonic() - begun) from error

    def _trouble(self, error: Exception, seconds: float) -> StoreError:
        """What has gone wrong, as an error of ours; a lost server is started again."""
        self._revive()
        if isinstance(error, (TimeoutError, exceptions.TimeoutError)):
            return StoreError(_no_answer(seconds), kind="timeout")
        return StoreError(explain(error), kind=kind_of(error))

    def _nodes(self) -> Nodes:
        loop = asyncio.get_running_loop()
        if self._open is None or self._open[0] is not loop:
            self._open = (loop, self._new_nodes())
        return self._open[1]

    def _revive(self) -> None:
        """Have a lost embedded server started again, in the background and once at a time."""
        if self._server is not None and (self._reviving is None or self._reviving.done()):
            self._reviving = asyncio.create_task(self._restart(self._server))

    @staticmethod
    async def _restart(server: EmbeddedServer) -> None:
        try:
            await asyncio.to_thread(server.start)
        except GuardError as error:
            logger.warning("the embedded Redis does not start again: %s", error)
            await asyncio.sleep(1)


def _no_answer(seconds: float) -> str:
    return f"no answer in {seconds:.2g} s"
