"""How pages ask: one operator that stays open, a deadline for each page, and settings that are followed.

    1. the settings are looked at once a second, and read again where their file has changed; where they
       cannot work, the last good ones stay, and pages say so
    2. the store is opened by the first page that needs it, and again by the next one after it has failed
    3. a page that has no answer within its deadline says so

So a page never hangs for a Redis that does.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from guard.admin import Operator
from guard.clock import SystemClock
from guard.errors import ConfigError, GuardError, StoreError
from guard.settings.load import find, load
from guard.settings.root import Settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from guard.clock import Clock

logger = logging.getLogger("guard")

T = TypeVar("T")

DEADLINE_SECONDS = 3.0
"""Within this a page has its answer, or says that the store does not answer."""

LOOK_SECONDS = 1.0
"""How often it is looked whether a settings file has changed, at most."""

MOST_RECORDS = 2_000
"""Maximum number of records that one question reads, the latest used first."""


class Asker:
    """Asks the store that the settings name; raises `ConfigError` where the settings cannot work.

    `config` is a path, settings, or nothing for what `guard.load` finds. Settings that are given as an object
    are not followed.
    """

    def __init__(
        self,
        config: str | Path | Settings | None,
        *,
        deadline_seconds: float = DEADLINE_SECONDS,
        clock: Clock | None = None,
    ) -> None:
        self.clock = clock or SystemClock()
        self._deadline_seconds = deadline_seconds
        self._path = None if isinstance(config, Settings) else find(config)
        self.settings = config if isinstance(config, Settings) else load(self._path)
        self._follows = not isinstance(config, Settings)
        self._seen = self._files()
        self._looked = self.clock.seconds()
        self.fault = ""
        """Why the settings that stand in the file cannot work; empty where they can."""
        self._operator = self._operator_of(self.settings)
        self._opening: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing: set[asyncio.Task[None]] = set()

    def secret(self, purpose: str) -> bytes:
        """A secret of 32 bytes that follows from the pepper."""
        return self._operator.secret(purpose)

    def follow(self) -> bool:
        """Read the settings again where their file has changed; whether other ones hold now."""
        now = self.clock.seconds()
        if not self._follows or now - self._looked < LOOK_SECONDS:
            return False
        self._looked = now
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
        self._retire(self._operator)
        self.settings, self._operator, self._opening, self.fault = settings, operator, None, ""
        return True

    async def ask(self, question: Callable[[Operator], Awaitable[T]]) -> T:
        """The answer to a question; raises `StoreError` where there is none within the deadline."""
        operator = self._operator
        try:
            async with asyncio.timeout(self._deadline_seconds):
                await self._opened(operator)
                return await question(operator)
        except TimeoutError:
            raise StoreError(f"no answer in {self._deadline_seconds:.2g} s", kind="timeout") from None

    async def aclose(self) -> None:
        """Close what is open."""
        for task in (*self._closing, *([self._opening] if self._opening is not None else ())):
            task.cancel()
            with suppress(asyncio.CancelledError, GuardError):
                await task
        self._opening = None
        await self._operator.__aexit__(None, None, None)

    async def _opened(self, operator: Operator) -> None:
        """Return when the store is open. Many pages may wait; where one leaves, the others go on."""
        loop = asyncio.get_running_loop()
        failed = self._opening is not None and self._opening.done() and _failed(self._opening)
        if self._opening is None or self._loop is not loop or failed:
            self._loop, self._opening = loop, loop.create_task(_open(operator))
        await asyncio.shield(self._opening)

    def _retire(self, operator: Operator) -> None:
        """Close an operator when the last page that asks it is over."""
        if self._loop is None or self._loop.is_closed():
            return

        async def close() -> None:
            await asyncio.sleep(self._deadline_seconds)
            await operator.__aexit__(None, None, None)

        task = self._loop.create_task(close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _operator_of(self, settings: Settings) -> Operator:
        return Operator(settings, self.clock, most_records=MOST_RECORDS)

    def _files(self) -> dict[Path, tuple[int, int, int] | None]:
        """The files that the settings come from, and a state of each that changes when it does."""
        if not self._follows:
            return {}
        file = find(self._path)
        return {each: _state(each) for each in (*([file] if file is not None else ()), *self.settings.files)}


async def _open(operator: Operator) -> None:
    try:
        await operator.__aenter__()
    except ConfigError as error:  # the store is kept with another pepper
        raise StoreError(str(error), kind="pepper") from error


def _failed(task: asyncio.Task[None]) -> bool:
    return task.cancelled() or task.exception() is not None


def _state(file: Path) -> tuple[int, int, int] | None:
    try:
        about = file.stat()
    except OSError:
        return None
    return about.st_mtime_ns, about.st_size, about.st_ino
