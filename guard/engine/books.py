"""The books of one engine: what is reserved while a request runs, and what it used when it is over.

What an answer pays out to diversity budgets is known only when it has been read. So it is settled at once by
what is usual of its holders, and whoever reads it charges the rest.

A settle that fails is tried again in the background, since it is idempotent, and an outage must not make
answers free. What cannot be settled in time is left to the reservation's expiry.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from guard.core.decision import FORWARDED
from guard.core.modes import Mode
from guard.core.policy import actual_charges
from guard.core.query import NO_USAGE
from guard.engine.admission import Outcome, Running
from guard.engine.outage.alone import NEVER_ASKED
from guard.engine.tally import Tally
from guard.errors import StoreError
from guard.telemetry.lines import limited

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from guard.clock import Clock
    from guard.core.limits import Charge
    from guard.engine.admission import Admission
    from guard.engine.outage.alone import Alone
    from guard.engine.tally import Count
    from guard.engine.transcripts import Transcripts
    from guard.store.port import Reservation, Store

    Over = Callable[[Outcome, int | None], None]

T = TypeVar("T")

SETTLE_RETRY_SECONDS = (0.1, 0.5, 2.0, 10.0, *(30.0 for _ in range(60)))
"""When a settle that failed is tried again."""

LARGEST_BACKLOG = 10_000
"""Maximum number of settles queued for retry. Beyond it, reservations expire."""

REPORTED_AT_ONCE = 50
"""Maximum number of identities whose refusals are reported in one go."""


@dataclass(slots=True)
class Ending:
    """An answer that is over: what it owes, and whether the hooks have been told."""

    outcome: Outcome
    owed: tuple[Charge, ...]
    told: bool


class Books:
    """Keeps the books on one store. `over` is told of each request that is over, and what it used.

    `tally` counts the refusals that the store has not counted.
    """

    def __init__(
        self,
        store: Store,
        alone: Alone,
        transcripts: Transcripts,
        clock: Clock,
        over: Over,
        *,
        reservation_seconds: float,
    ) -> None:
        self.tally = Tally()
        self._store = store
        self._alone = alone
        self._transcripts = transcripts
        self._clock = clock
        self._over = over
        self._renew_seconds = reservation_seconds / 3
        self._running: dict[str, Running] = {}
        self._background: set[asyncio.Task[Any]] = set()

    @property
    def running(self) -> int:
        """How many admitted requests are under way."""
        return len(self._running)

    @property
    def unsettled(self) -> int:
        """How much work is under way in the background, or is tried again."""
        return len(self._background)

    def open(self, admission: Admission) -> None:
        """A request has been admitted: keep its reservation alive from now on."""
        self._running[admission.request_id] = Running(admission, self._clock.seconds())

    async def settle(self, outcome: Outcome) -> None:
        """The answer is over: charge what it used.

        Returns when the store has settled, or could not within its deadline; then it is tried again in the
        background. A cancelled caller does not cancel the settling.
        """
        admission = outcome.admission
        self._running.pop(admission.request_id, None)
        if admission.decision.mode is Mode.OFF:
            self._over(outcome, None)
            return
        if admission.decision.action not in FORWARDED and not admission.counted:
            self.tally.add(admission.identity, shadowed=1)
        if admission.store_error is not None:
            await self._alone.settle(admission, outcome.usage)
            self._over(outcome, None)
            if admission.store_error not in NEVER_ASKED:
                self._spawn(self._finish(self._ending(outcome, told=True)))
            return
        tried: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._spawn(self._finish(self._ending(outcome), tried))
        await tried

    async def release(self, admission: Admission, status: int | None) -> None:
        """No backend has got the request: give back all that was reserved for it."""
        self._running.pop(admission.request_id, None)
        self._over(Outcome.of(admission, NO_USAGE, status), None)
        if admission.decision.mode is Mode.OFF:
            return
        if admission.store_error is not None:
            await self._alone.release(admission.request_id)
        if admission.store_error not in NEVER_ASKED:
            taken = self.take_back(admission.reservation)
            if admission.store_error is None:
                await asyncio.shield(taken)

    async def conclude(self, outcome: Outcome) -> None:
        """As `settle`, and all that follows before it returns: for who waits for no store or backend."""
        self._running.pop(outcome.admission.request_id, None)
        if outcome.admission.decision.mode is Mode.OFF:
            self._over(outcome, None)
            return
        read: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        await self._true_up(self._ending(outcome), read)
        await read

    def take_back(self, reservation: Reservation) -> asyncio.Task[bool | None]:
        """Take back in the background what the store has charged, or may have."""
        return self._spawn(self._insist(partial(self._store.release, reservation)))

    async def renew(self) -> None:
        """Renew the reservations of the requests that have been running for long."""
        now = self._clock.seconds()
        due = [each for each in self._running.values() if now - each.renewed_at > self._renew_seconds]
        await asyncio.gather(*(self._renew_one(each, now) for each in due))

    async def report(self) -> None:
        """Report the refusals that the store has not counted, until all are or it fails. A cancelled caller
        does not cancel that: what is under way may have been counted.
        """
        await asyncio.shield(self._spawn(self._report_all()))

    async def quiet(self) -> None:
        """Wait until nothing is under way in the background."""
        while self._background:
            await asyncio.wait(self._background)

    async def close(self, seconds: float) -> None:
        """Wait so long for settles under way, and report. What is not settled by then is left to expiry."""
        if self._background:
            _, late = await asyncio.wait(self._background, timeout=seconds)
            for task in late:
                task.cancel()
        await self.report()

    def _ending(self, outcome: Outcome, *, told: bool = False) -> Ending:
        """What an answer that is over owes."""
        admission = outcome.admission
        return Ending(outcome, actual_charges(admission.charges, admission.demand, outcome.usage), told)

    async def _finish(self, ending: Ending, tried: asyncio.Future[None] | None = None) -> None:
        """Settle an answer; `tried` has a result when that was tried once."""
        try:
            await self._true_up(ending)
        finally:
            if tried is not None and not tried.done():
                tried.set_result(None)

    async def _true_up(self, ending: Ending, read: asyncio.Future[None] | None = None) -> None:
        """Settle an answer, tell the hooks, and have it read; `read` has a result when that is over.

        Where it cannot be settled at once, nobody keeps its text until it is: what the settle charges then
        stands, and is learnt from all the same.
        """
        outcome, admission = ending.outcome, ending.outcome.admission
        work = partial(
            self._store.settle,
            admission.reservation._replace(charges=ending.owed),
            outcome.usage,
            cost=outcome.cost,
            requests=int(admission.decision.action in FORWARDED),
            accepted=outcome.answered,
        )
        settled = None
        try:
            settled = await self._insist(work)
        finally:
            if not ending.told:
                self._over(outcome, None if settled is None else settled.novelty)
            self._transcripts.hand_over(
                outcome, ending.owed, settled, None if read is None else partial(read.set_result, None)
            )

    async def _renew_one(self, running: Running, now: float) -> None:
        admission = running.admission
        try:
            if admission.store_error is not None:
                await self._alone.renew(admission.request_id)
            else:
                with self._alone.asking():
                    await self._store.renew(admission.reservation)
        except StoreError as error:
            self._alone.outage.failed(error)
        else:
            running.renewed_at = now

    async def _report_all(self) -> None:
        while counts := self.tally.take(REPORTED_AT_ONCE):
            if not all(await asyncio.gather(*map(self._report_one, counts))):
                return

    async def _report_one(self, count: Count) -> bool:
        try:
            with self._alone.asking():
                await self._store.note(count.identity, refused=count.refused, shadowed=count.shadowed)
        except StoreError as error:
            self._alone.outage.failed(error)
            # A call that timed out may have counted; rather twice than never.
            self.tally.add(count.identity, refused=count.refused, shadowed=count.shadowed)
            return False
        return True

    async def _insist(self, work: Callable[[], Awaitable[T]]) -> T | None:
        """Do what is idempotent. Where the store fails it is `None`, and tried again in the background."""
        try:
            with self._alone.asking():
                return await work()
        except StoreError as error:
            self._spawn(self._try_again(work, error))
            return None

    async def _try_again(self, work: Callable[[], Awaitable[T]], error: StoreError) -> None:
        """Do it until it is done, or there is no use."""
        for delay in SETTLE_RETRY_SECONDS:
            if len(self._background) > LARGEST_BACKLOG:
                break
            await asyncio.sleep(delay)
            try:
                with self._alone.asking():
                    await work()
                return
            except StoreError as again:
                error = again
        limited.log(logging.ERROR, "settle", "not settled (%s): %s", error.kind, error)

    def _spawn(self, work: Coroutine[None, None, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task
