"""Requests that keep coming while something happens to their store, and a record of what became of each.

They come in an open loop: at a rate of their own, however long the earlier ones take. What is measured is
the time inside the engine. A machine that is busy with other things makes that longer too; so the stalls of
the event loop are measured in the same run, and taken off.
"""

from __future__ import annotations

import asyncio
import random
import time
from bisect import bisect_left, bisect_right
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from guard.core.identity import Attribute, Holder, Identity, VouchedBy
from guard.core.policy import OnStoreError
from guard.core.query import Query, Usage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from guard.engine.admission import Admission
    from guard.engine.engine import Engine

WATCH_SECONDS = 1.0
"""How often the service lets its engine watch."""

SAMPLE_SECONDS = 0.002
STALL_SECONDS = 0.005
"""A sleep that ends so much too late says that the loop, or the machine, was busy."""

QUERY = Query("m", (), stream=False, max_output_tokens=100, n=1, input_bytes=0, other_tokens=10)
RESERVED_TOKENS = 110

CALLERS = {
    mode: Identity(
        Holder(Attribute.KEY, mode),
        {Attribute.KEY: mode.value, Attribute.TIER: mode.value},
        vouched_by=VouchedBy.KEYS_FILE,
    )
    for mode in OnStoreError
}


@dataclass(slots=True)
class Request:
    """What became of one request, and from when to when it was inside the engine, in monotonic seconds."""

    mode: OnStoreError
    began: float
    usage: Usage
    admission: Admission | None = None
    ended: float = 0.0
    inside: list[tuple[float, float]] = field(default_factory=list)

    @property
    def admitted(self) -> bool:
        return self.admission is not None and not self.admission.refused

    @property
    def without_store(self) -> bool:
        return self.admission is not None and self.admission.store_error is not None

    @property
    def waved_through(self) -> bool:
        return self.admitted and self.without_store

    @property
    def spent(self) -> float:
        return sum(end - begin for begin, end in self.inside)

    @property
    def tokens(self) -> int:
        return self.usage.input_tokens + self.usage.output_tokens

    @contextmanager
    def timed(self) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.inside.append((began, time.monotonic()))


@dataclass
class Storm:
    """`rate` requests a second, of callers of all modes in turn."""

    engine: Engine
    rate: float
    requests: list[Request] = field(default_factory=list)
    _stalls: list[tuple[float, float]] = field(default_factory=list)

    @asynccontextmanager
    async def raging(self) -> AsyncIterator[None]:
        """Requests come as long as this is open; then all that are under way end."""
        tasks = [asyncio.create_task(each) for each in (self._come(), self._sample(), self._watch())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    async def settled(self, seconds: float) -> None:
        """Wait until everything is settled and all debts are repaid, which a missed deadline only delays."""
        await self.engine.drain(seconds)
        give_up = time.monotonic() + seconds
        while await self.engine.watch() is None or self.engine.debts:
            assert time.monotonic() < give_up, f"{self.engine.debts} debts are not repaid"

    def late(self) -> list[float]:
        """The seconds that each request spent in the engine beyond stalls of the loop."""
        begins = [begin for begin, _ in self._stalls]
        ends = [end for _, end in self._stalls]

        def stalled(since: float, till: float) -> float:
            during = slice(bisect_left(ends, since), bisect_right(begins, till))
            return sum(min(end, till) - max(begin, since) for begin, end in self._stalls[during])

        return [each.spent - sum(stalled(*span) for span in each.inside) for each in self.requests]

    async def _come(self) -> None:
        callers, chance = list(CALLERS), random.Random(0)
        start = time.monotonic()
        async with asyncio.TaskGroup() as group:
            try:
                while True:
                    due = int((time.monotonic() - start) * self.rate)
                    for number in range(len(self.requests), due):
                        usage = Usage(10, chance.randint(0, 150))
                        request = Request(callers[number % len(callers)], time.monotonic(), usage)
                        self.requests.append(request)
                        group.create_task(self._serve(f"r{number}", request, chance.uniform(0, 0.02)))
                    await asyncio.sleep(1 / self.rate)
            except asyncio.CancelledError:
                # No more come; those that have come are served.
                pass

    async def _serve(self, name: str, request: Request, model_seconds: float) -> None:
        with request.timed():
            admission = await self.engine.admit(name, CALLERS[request.mode], QUERY, "/")
        request.admission = admission
        if admission.refused:
            self.engine.refuse(admission, 503)
        else:
            await asyncio.sleep(model_seconds)
            with request.timed():
                await self.engine.settle(admission, request.usage, 200)
        request.ended = time.monotonic()

    async def _sample(self) -> None:
        while True:
            due = time.monotonic() + SAMPLE_SECONDS
            await asyncio.sleep(SAMPLE_SECONDS)
            now = time.monotonic()
            if now - due > STALL_SECONDS:
                self._stalls.append((due, now))

    async def _watch(self) -> None:
        while True:
            await self.engine.watch()
            await asyncio.sleep(WATCH_SECONDS)
