"""Work off the event loop, which sheds load before it delays anyone.

`submit` puts an item in a queue and returns at once. A thread takes what waits, many items in one call, and
hands each its result through an asyncio future. There is a queue for each `key`, and they take turns, so that
who sends much delays nobody else. Where all are full together, the longest queue loses its last item, whose
future is cancelled; or `submit` returns `None`, where its own is the longest or all are closed.

    most_waiting 256, most_at_once 32, a call of 32 takes 20 ms
    500 items at 12:00:00.000   256 wait, 244 are shed; the last that waits is done at 12:00:00.160
    1 item of another key       the first 500 lose one more; it is done in the next call
"""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from threading import Condition, Thread
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence
    from typing import Any, TypeAlias

T = TypeVar("T")
R = TypeVar("R")

if TYPE_CHECKING:
    _News: TypeAlias = Callable[[asyncio.Future[R]], None]

LOG_SECONDS = 1.0
"""Failures are logged no more often; those between are counted."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting(Generic[T, R]):
    item: T
    future: asyncio.Future[R]
    loop: asyncio.AbstractEventLoop


class BackgroundWorker(Generic[T, R]):
    """Calls `work` with what was submitted, in threads of its own.

    `work` takes 1 to `most_at_once` items and returns one result for each, in order; with more than one
    thread it is called at once from each. If it raises, the items of that call fail with its exception and no
    others. Event loops may come and go, and several may use it at once. Threads start at the first `submit`
    of a process (a fork leaves them behind) and do not keep it alive.
    """

    def __init__(
        self,
        work: Callable[[Sequence[T]], Sequence[R]],
        *,
        most_waiting: int = 256,
        most_at_once: int = 32,
        threads: int = 1,
    ) -> None:
        if min(most_waiting, most_at_once, threads) < 1:
            raise ValueError("most_waiting, most_at_once and threads are at least 1")
        self._work = work
        self._most_waiting = most_waiting
        self._most_at_once = most_at_once
        self._changed = Condition()
        self._waiting: dict[Hashable, deque[_Waiting[T, R]]] = {}
        self._count = 0
        self._at_work: set[_Waiting[T, R]] = set()
        self._threads: list[Thread] = []
        self._most_threads = threads
        self._closed = False
        self._shed = 0
        self._unlogged = 0
        self._logged_at = float("-inf")

    @property
    def shed(self) -> int:
        """How many items had no room, or lost it."""
        return self._shed

    def submit(self, item: T, key: Hashable = None) -> asyncio.Future[R] | None:
        """The result to come, on the running event loop; `None` where there is no room for this key.

        A future that is cancelled while its item waits costs no work.
        """
        loop = asyncio.get_running_loop()
        with self._changed:  # held for a few operations only, never while `work` runs
            if self._closed:
                return None
            lost = None
            if self._count >= self._most_waiting:
                self._shed += 1
                lost = self._make_room(key)
                if lost is None:
                    return None
            future: asyncio.Future[R] = loop.create_future()
            self._waiting.setdefault(key, deque()).append(_Waiting(item, future, loop))
            self._count += 1
            self._start_threads()
            self._changed.notify()
        if lost is not None:
            _tell([lost], [_cancel])
        return future

    def _make_room(self, key: Hashable) -> _Waiting[T, R] | None:
        """The last item of the longest queue, taken out of it; `None` where that is the key's own."""
        longest = max(self._waiting, key=lambda each: len(self._waiting[each]))
        if len(self._waiting[longest]) <= len(self._waiting.get(key, ())) + 1:
            return None
        self._count -= 1
        return self._waiting[longest].pop()

    def close(self, *, timeout_seconds: float = 5.0) -> None:
        """Cancel what waits, let the calls that run end, and join the threads; for good.

        A `work` that does not return within the time is left to its thread, and its items are cancelled.
        This blocks, so a running event loop calls it by `asyncio.to_thread`.
        """
        with self._changed:
            self._closed = True
            dropped = [each for queue in self._waiting.values() for each in queue]
            self._waiting.clear()
            self._count = 0
            threads = list(self._threads)
            self._changed.notify_all()
        _tell(dropped, [_cancel] * len(dropped))
        deadline = time.monotonic() + timeout_seconds
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        with self._changed:
            stuck = list(self._at_work)
        _tell(stuck, [_cancel] * len(stuck))

    def _start_threads(self) -> None:
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        while len(self._threads) < self._most_threads:
            thread = Thread(target=self._run, name="guard-background", daemon=True)
            thread.start()
            self._threads.append(thread)

    def _run(self) -> None:
        while batch := self._take():
            self._do(batch)
            with self._changed:
                self._at_work.difference_update(batch)
            del batch  # or a thread that waits would keep the last texts

    def _take(self) -> list[_Waiting[T, R]]:
        """What waits and is still wanted, as much as goes into one call; none once it is closed."""
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._closed or self._waiting)
                if self._closed:
                    return []
                most = min(self._most_at_once, self._count)
                taken = [self._next() for _ in range(most)]
                if wanted := [each for each in taken if not each.future.cancelled()]:
                    self._at_work.update(wanted)
                    return wanted

    def _next(self) -> _Waiting[T, R]:
        """The first item of the queue whose turn it is, which then waits for all others."""
        key = next(iter(self._waiting))
        queue = self._waiting.pop(key)
        item = queue.popleft()
        self._count -= 1
        if queue:
            self._waiting[key] = queue
        return item

    def _do(self, batch: Sequence[_Waiting[T, R]]) -> None:
        """One call of `work`; its results, or what went wrong, to those who asked."""
        try:
            results = self._work([each.item for each in batch])
            if len(results) != len(batch):
                raise ValueError(f"{len(results)} results for {len(batch)} items")
        # A panic in Rust is no `Exception`, and must not end the thread either.
        except BaseException as error:  # noqa: BLE001
            self._log_failure(error, len(batch))
            _tell(batch, [partial(_fail, error=_presentable(error))] * len(batch))
        else:
            _tell(batch, [partial(_succeed, result=result) for result in results])

    def _log_failure(self, error: BaseException, items: int) -> None:
        """What kind of error and where it arose. Its message is left out, for it may quote an item."""
        now = time.monotonic()
        with self._changed:
            if now - self._logged_at < LOG_SECONDS:
                self._unlogged += 1
                return
            self._logged_at = now
            unlogged, self._unlogged = self._unlogged, 0
        place = traceback.extract_tb(error.__traceback__)[-1]
        _log.error(
            "analysis failed for %d items: %s at %s:%s (%d more failures since the last such line)",
            items,
            type(error).__name__,
            place.filename,
            place.lineno,
            unlogged,
        )


def _tell(batch: Sequence[_Waiting[T, R]], news: Sequence[_News[R]]) -> None:
    """Bring each future its news, in its own loop; of a loop that is closed, nobody asks any more."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[R], _News[R]]]] = {}
    for each, what in zip(batch, news, strict=True):
        by_loop.setdefault(each.loop, []).append((each.future, what))
    for loop, told in by_loop.items():
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(_settle, told)


def in_background(most_waiting: int) -> BackgroundWorker[Callable[[], Any], Any]:
    """Does work in a thread; what one piece of work raises concerns no other."""
    return BackgroundWorker(
        lambda items: [item() for item in items], most_waiting=most_waiting, most_at_once=1
    )


def _settle(told: Sequence[tuple[asyncio.Future[R], _News[R]]]) -> None:
    for future, what in told:
        if not future.done():
            what(future)


def _succeed(future: asyncio.Future[R], *, result: R) -> None:
    future.set_result(result)


def _fail(future: asyncio.Future[R], *, error: Exception) -> None:
    future.set_exception(error)
    future.exception()  # it is logged already: asyncio need not report, with its message, that nobody looked


def _cancel(future: asyncio.Future[R]) -> None:
    future.cancel()


def _presentable(error: BaseException) -> Exception:
    """The error, or one in its place where a future or an `except Exception` could not take it."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    return RuntimeError(f"the work ended with {type(error).__name__}")
