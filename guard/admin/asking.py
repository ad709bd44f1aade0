"""How doors that stay open ask: one operator while its settings hold, and a deadline for each question.

    1. the settings are looked at once a second, and read again where their files have changed; where they
       cannot work, the last good ones stay
    2. the store is opened by the first question, and again by the next one after it has failed
    3. a question that has no answer within its deadline ends with that

So no answer waits for a Redis that hangs.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from guard.admin.operator import Operator
from guard.clock import SystemClock
from guard.errors import ConfigError, GuardError, StoreError
from guard.settings.load import FileState, file_states, find, load
from guard.settings.root import Settings
from guard.store.redis.tolerant import damage_apart as damage_apart  # for who tells what an answer lacks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from guard.clock import Clock

logger = logging.getLogger("guard")

T = TypeVar("T")

DEADLINE_SECONDS = 10.0
"""How long a question may take, if nobody says otherwise."""

LOOK_SECONDS = 1.0
"""How often it is looked whether a settings file has changed, at most."""

MOST_AT_ONCE = 8
"""Maximum number of questions that are asked at the same time; others wait, within their deadline."""


class Asker:
    """Asks the store that the settings name; raises `ConfigError` where the settings cannot work.

    `config` is a path, settings, or nothing for what `guard.load` finds. Settings that are given as an object
    are not followed. A question that looks through the identities looks at `most_records` of them.
    """

    def __init__(
        self,
        config: str | Path | Settings | None,
        *,
        deadline_seconds: float = DEADLINE_SECONDS,
        clock: Clock | None = None,
        most_records: int | None = None,
    ) -> None:
        self.clock = clock or SystemClock()
        self._most_records = most_records
        self._deadline_seconds = deadline_seconds
        self._follows = not isinstance(config, Settings)
        self._path = None if isinstance(config, Settings) else find(config)
        self.settings = config if isinstance(config, Settings) else load(self._path)
        self.fault = ""
        """Why the settings that stand in the files cannot work; empty where they can."""
        self._seen = self._files()
        self._looked_seconds = self.clock.seconds()
        self._operator = self._operator_of(self.settings)
        self._opening: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._places = asyncio.Semaphore(MOST_AT_ONCE)
        self._over = asyncio.Event()

    def secret(self, purpose: str) -> bytes:
        """A secret of 32 bytes that follows from the pepper, another for each purpose."""
        return self._operator.secret(purpose)

    def follow(self) -> bool:
        """Read the settings again where their files have changed; whether other ones hold now."""
        now = self.clock.seconds()
        if not self._follows or now - self._looked_seconds < LOOK_SECONDS:
            return False
        self._looked_seconds = now
        files = self._files()
        if files == self._seen:
            return False
        self._seen = files
        try:
            settings = load(self._path)
            operator = self._operator_of(settings)
        except GuardError as error:
            logger.error("settings not reloaded, keeping the previous ones: %s", error)
            self.fault = str(error)
            return False
        self._retire()
        self.settings, self._operator, self.fault = settings, operator, ""
        self._seen = self._files()
        return True

    async def ask(self, question: Callable[[Operator], Awaitable[T]]) -> T:
        """The answer to a question; raises `StoreError` where there is none within the deadline."""
        try:
            async with asyncio.timeout(self._deadline_seconds), self._places:
                return await question(await self._opened())
        except TimeoutError:
            raise StoreError(f"no answer in {self._deadline_seconds:.2g} s", kind="timeout") from None

    async def order(self, order: Callable[[Operator], Awaitable[T]]) -> T:
        """Carry out an order, which is not cut off halfway: each of its calls to the store has a deadline."""
        return await order(await self._opened())

    async def aclose(self) -> None:
        """Close what is open."""
        self._over.set()
        self._retire()
        await asyncio.gather(*self._closing)

    async def _opened(self) -> Operator:
        """The operator, when its store is open. Many may wait; where one leaves, the others go on."""
        loop = asyncio.get_running_loop()
        opening = self._opening
        if opening is None or opening.get_loop() is not loop or _failed(opening):
            opening = self._opening = loop.create_task(_open(self._operator))
        operator = self._operator
        await asyncio.shield(opening)
        return operator

    def _retire(self) -> None:
        """Close the operator when the last question that it was asked is over."""
        operator, opening, self._opening = self._operator, self._opening, None
        if opening is None or opening.get_loop() is not asyncio.get_running_loop():
            return

        async def close() -> None:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._deadline_seconds):
                    await self._over.wait()
            opening.cancel()
            await asyncio.wait({opening})
            await operator.__aexit__(None, None, None)

        task = asyncio.create_task(close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _operator_of(self, settings: Settings) -> Operator:
        return Operator(settings, self.clock, most_records=self._most_records)

    def _files(self) -> dict[Path, FileState]:
        """The files that the settings come from, and a state of each that changes when it does."""
        return file_states(self._path, self.settings.files) if self._follows else {}


async def _open(operator: Operator) -> None:
    try:
        await operator.__aenter__()
    except ConfigError as error:  # the store is kept with another pepper
        raise StoreError(str(error), kind="pepper") from error


def _failed(task: asyncio.Task[None]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)
