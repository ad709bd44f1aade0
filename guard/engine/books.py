"""The books of one engine: what is reserved while a request runs, and what it used when it is over.

A settle that fails is tried again in the background, since it is idempotent, and an outage must not make
answers free. What cannot be settled in time is left to the reservation's expiry.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, TypeVar

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
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from guard.clock import Clock
    from guard.core.identity import Identity
    from guard.core.limits import Charge
    from guard.detection.sight import Sight
    from guard.engine.admission import Admission
    from guard.engine.learning import Learning
    from guard.engine.outage.alone import Alone
    from guard.engine.tally import Count
    from guard.store.port import Store

    Over = Callable[[Outcome, int | None], None]

T = TypeVar("T")

SETTLE_RETRY_SECONDS = (0.1, 0.5, 2.0, 10.0, *(30.0 for _ in range(60)))
"""When a settle that failed is tried again."""

LARGEST_BACKLOG = 10_000
"""Maximum number of settles queued for retry. Beyond it, reservations expire."""

REPORTED_AT_ONCE = 50
"""Maximum number of identities whose refusals are reported in one go."""


class Books:
    """Keeps the books on one store. `over` is told of each request that is over, and what it used.

    `tally` counts the refusals that the store has not counted.
    """

    def __init__(
        self,
        store: Store,
        alone: Alone,
        learning: Learning,
        clock: Clock,
        over: Over,
        *,
        reservation_seconds: float,
    ) -> None:
        self.tally = Tally()
        self._store = store
        self._alone = alone
        self._learning = learning
        self._clock = clock
        self._over = over
        self._renew_seconds = reservation_seconds / 3
        self._running: dict[str, Running] = {}
        self._background: set[asyncio.Task[None]] = set()

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
            self._alone.settle(admission, outcome.usage)
            self._over(outcome, None)
            if admission.store_error not in NEVER_ASKED:
                self._spawn(self._finish(outcome, lambda _: None))
            return
        tried = asyncio.get_running_loop().create_future()

        def over(novelty: int | None) -> None:
            self._over(outcome, novelty)
            if not tried.done():
                tried.set_result(None)

        self._spawn(self._finish(outcome, over))
        await tried

    async def release(self, admission: Admission, status: int | None) -> None:
        """No backend has got the request: give back all that was reserved for it."""
        self._running.pop(admission.request_id, None)
        self._over(Outcome.of(admission, NO_USAGE, status), None)
        if admission.decision.mode is Mode.OFF:
            return
        if admission.store_error is not None:
            self._alone.release(admission.request_id)
        if admission.store_error not in NEVER_ASKED:
            released = asyncio.Event()
            self.take_back(
                admission.request_id, admission.identity, admission.charges, lambda _: released.set()
            )
            if admission.store_error is None:
                await released.wait()

    async def conclude(self, outcome: Outcome) -> None:
        """As `settle`, and learn before it returns: for who does not wait for a store or a backend."""
        self._running.pop(outcome.admission.request_id, None)
        if outcome.admission.decision.mode is Mode.OFF:
            self._over(outcome, None)
            return
        reading = self._learning.begin(outcome)
        sight = None if reading is None else await self._learning.seen(reading)
        await self._true_up(outcome, sight, partial(self._over, outcome))
        if reading is not None:
            await self._learning.learn(outcome, reading)

    def take_back(
        self,
        request_id: str,
        identity: Identity,
        charges: Sequence[Charge],
        tried: Callable[[bool | None], None] | None = None,
    ) -> None:
        """Take back in the background what the store has charged, or may have."""
        work = partial(self._store.release, request_id, identity, charges)
        self._spawn(self._insist(work, tried))

    async def renew(self) -> None:
        """Renew the reservations of the requests that have been running for long."""
        now = self._clock.seconds()
        due = [each for each in self._running.values() if now - each.renewed_at > self._renew_seconds]
        for each in due:
            each.renewed_at = now
        await asyncio.gather(*(self._renew_one(each.admission) for each in due))

    async def report(self) -> None:
        """Report the refusals that the store has not counted, until all are or it fails."""
        while counts := self.tally.take(REPORTED_AT_ONCE):
            if not all(await asyncio.gather(*map(self._report_one, counts))):
                return

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

    async def _finish(self, outcome: Outcome, tried: Callable[[int | None], None]) -> None:
        """Settle an answer that is over, and learn from it beside that."""
        reading = sight = None
        if outcome.admission.sketch is not None:
            reading = self._learning.begin(outcome)
        if reading is not None:
            sight = await self._learning.seen(reading)
            self._spawn(self._learning.learn(outcome, reading))
        await self._true_up(outcome, sight, tried)

    def _true_up(
        self, outcome: Outcome, sight: Sight | None, tried: Callable[[int | None], None]
    ) -> Awaitable[None]:
        """Settle an answer that is over.

        `tried` is told, after the first try, what the diversity budgets were charged, if that is known.
        """
        admission, usage = outcome.admission, outcome.usage
        ground = admission.demand.ground if sight is None else sight.ground
        work = partial(
            self._store.settle,
            admission.request_id,
            admission.identity,
            actual_charges(admission.charges, admission.demand, usage, ground),
            usage,
            cost=outcome.cost,
            requests=int(admission.decision.action in FORWARDED),
            accepted=outcome.answered,
        )
        return self._insist(work, lambda settled: tried(None if settled is None else settled.novelty))

    async def _renew_one(self, admission: Admission) -> None:
        if admission.store_error is not None:
            self._alone.renew(admission.request_id)
            return
        if not any(charge.limit.pending for charge in admission.charges):
            return
        try:
            with self._alone.asking():
                await self._store.renew(admission.request_id, admission.identity, admission.charges)
        except StoreError as error:
            self._alone.outage.failed(error)

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

    async def _insist(
        self, work: Callable[[], Awaitable[T]], tried: Callable[[T | None], None] | None = None
    ) -> None:
        """Do what is idempotent until it is done, or there is no use; `tried` is called after the first
        try, with the outcome if there is one.
        """
        for delay in (*SETTLE_RETRY_SECONDS, None):
            outcome: T | None = None
            try:
                with self._alone.asking():
                    outcome = await work()
                return
            except StoreError as error:
                if delay is None or len(self._background) > LARGEST_BACKLOG:
                    limited.log(logging.ERROR, "settle", "not settled (%s): %s", error.kind, error)
                    return
            finally:
                if tried is not None:
                    tried(outcome)
                    tried = None
            await asyncio.sleep(delay)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
