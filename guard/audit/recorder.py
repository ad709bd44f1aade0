"""A hook that records every decision other than to allow, and errors that tell of an attack or a fault.

The path of a request only counts: what is the same for one identity within a second becomes one record, with
the id of the first and the last request, and is written beside the requests. Of all that is not the same,
`MOST_AT_ONCE` are told apart; the rest of that second is one number by what was decided.

    12:00:00.1  key:a is refused for quota             12:00:01  {"request": "req_1", "count": 9000,
    12:00:00.1  … and 8,999 times more                            "last_request": "req_9000", …}
    12:00:00.2  key:b is held                                    {"request": "req_77", …}
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from guard.audit.records import Kind, decision_record, failure_record, hold_record, record
from guard.clock import SystemClock
from guard.core.decision import Action
from guard.errors import StoreError

if TYPE_CHECKING:
    from guard.audit.chain import ChainWriter
    from guard.clock import Clock
    from guard.telemetry.events import Event, Failure, Hold

FLUSH_SECONDS = 1.0
"""How often records are written, and within which time equal ones are one."""

MOST_AT_ONCE = 20
"""Maximum number of records that one process makes of what happens within `FLUSH_SECONDS`."""

MOST_WAITING = 1_000
"""Maximum number of records that wait for the store."""

logger = logging.getLogger("guard")


@dataclass(slots=True)
class Several:
    """Equal decisions within a second: the first, when, how many, and the last one's request and moment."""

    fields: dict[str, Any]
    count: int = 1
    last_request: str = ""
    last_us: int = 0

    def record(self) -> dict[str, Any]:
        """One record of all of them."""
        if self.count == 1:
            return self.fields
        return {
            **self.fields,
            "count": self.count,
            "last_request": self.last_request,
            "last_at": self.last_us,
        }


class Recorder:
    """A hook that writes to one chain, for one event loop, from `start` to `aclose`."""

    def __init__(self, chain: ChainWriter, clock: Clock | None = None) -> None:
        self.chain = chain
        self._clock = clock or SystemClock()
        self._several: dict[tuple[object, ...], Several] = {}
        self._rest: Counter[str] = Counter()
        self._waiting: list[dict[str, Any]] = []
        self._task: asyncio.Task[None] | None = None
        self._failing = False

    def __call__(self, event: Event, /) -> None:
        """Note a decision."""
        if event.action is Action.ALLOW:
            return
        why = (event.action, event.reason, event.limits, event.mode)
        key = (event.identity, *why, event.route, event.status)
        several = self._several.get(key)
        if several is not None:
            self._again(several, event.request_id)
        elif self._room(f"{event.action} {event.reason}"):
            self._several[key] = Several(decision_record(event, self._clock.date_us()))

    def failed(self, failure: Failure, /) -> None:
        """Note an error: one of 401 or 403, or of the server's."""
        if failure.status not in (401, 403) and failure.status < 500:
            return
        key = (failure.identity, failure.reason, failure.status, failure.route, failure.method)
        several = self._several.get(key)
        if several is not None:
            self._again(several, failure.request_id)
        elif self._room(failure.reason):
            self._several[key] = Several(failure_record(failure, self._clock.date_us()))

    def held(self, hold: Hold, /) -> None:
        """Note a hold; there is one for each holder, so none is left out."""
        self._several["hold", hold.receipt] = Several(hold_record(hold, self._clock.date_us()))

    def start(self) -> None:
        """Write every `FLUSH_SECONDS` from now on."""
        self._task = asyncio.get_running_loop().create_task(self._write_on())

    async def aclose(self) -> None:
        """Write what is left."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        await self.flush()

    async def flush(self) -> None:
        """Write what has happened since the last time; it waits where the store does not take it."""
        now_us = self._clock.date_us()
        several, self._several = self._several, {}
        self._waiting += [each.record() for each in several.values()]
        dropped = len(self._waiting) - MOST_WAITING
        if dropped > 0:
            for fields in self._waiting[:dropped]:
                self._rest["store"] += fields.get("count", 1)
            del self._waiting[:dropped]
        if not self._waiting and not self._rest:
            return
        rest = Counter(self._rest)
        lost = [record(Kind.LOST, now_us, count=rest.total(), of=dict(rest))] if rest else []
        taken = len(self._waiting)
        try:
            await self.chain.append([*self._waiting, *lost], now_us)
        except StoreError as error:
            if not self._failing:
                logger.warning("the audit records wait, since the store does not take them: %s", error)
            self._failing = True
            return
        self._failing = False
        del self._waiting[:taken]
        self._rest -= rest

    async def _write_on(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            try:
                await self.flush()
            except Exception:  # what goes wrong once must not end the records for good
                logger.exception("writing audit records failed")

    def _again(self, several: Several, request_id: str) -> None:
        several.count += 1
        several.last_request, several.last_us = request_id, self._clock.date_us()

    def _room(self, what: str) -> bool:
        """Whether one more may be told apart; else it is counted."""
        if len(self._several) < MOST_AT_ONCE:
            return True
        self._rest[what] += 1
        return False
