from __future__ import annotations

import asyncio
import gc
import logging
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from guard.detection.background import BackgroundWorker

if TYPE_CHECKING:
    from collections.abc import Sequence

PATIENCE = 30.0


def double(items: Sequence[int]) -> list[int]:
    return [2 * item for item in items]


class Gate:
    """Work that stands still until the test opens it, and keeps what it was called with."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.entered = threading.Event()
        self.opened = threading.Event()

    def __call__(self, items: Sequence[int]) -> list[int]:
        self.calls.append(list(items))
        self.entered.set()
        assert self.opened.wait(PATIENCE)
        return double(items)

    async def reached(self) -> None:
        """Return when the first call is under way."""
        assert await asyncio.to_thread(self.entered.wait, PATIENCE)


def test_a_worker_that_was_never_used_closes_and_has_no_thread() -> None:
    before = threading.active_count()
    worker = BackgroundWorker(double)
    assert threading.active_count() == before
    worker.close()


async def test_each_item_gets_its_own_result() -> None:
    with closing(BackgroundWorker(double, most_waiting=1_000, threads=3)) as worker:
        futures = [worker.submit(item) for item in range(1_000)]
        assert await asyncio.gather(*(each for each in futures if each)) == list(range(0, 2_000, 2))
        assert worker.shed == 0


async def test_stuck_work_sheds_load_and_neither_blocks_submit_nor_the_loop() -> None:
    """All of this runs while the work stands still; it opens only after the last line."""
    gate = Gate()
    with closing(BackgroundWorker(gate, most_waiting=4)) as worker:
        first = worker.submit(0)
        await gate.reached()
        futures = [worker.submit(item) for item in range(1, 1_001)]
        assert [bool(each) for each in futures] == [True] * 4 + [False] * 996
        assert worker.shed == 996
        assert await asyncio.to_thread(lambda: "the loop runs") == "the loop runs"
        assert gate.calls == [[0]]
        gate.opened.set()
        taken = [each for each in (first, *futures) if each]
        assert await asyncio.gather(*taken) == [0, 2, 4, 6, 8]
        again = worker.submit(5)
        assert again is not None
        assert await again == 10


async def test_what_waits_is_taken_together_in_order() -> None:
    gate = Gate()
    with closing(BackgroundWorker(gate, most_at_once=3)) as worker:
        futures = [worker.submit(0)]
        await gate.reached()
        futures += [worker.submit(item) for item in range(1, 8)]
        gate.opened.set()
        await asyncio.gather(*(each for each in futures if each))
        assert gate.calls == [[0], [1, 2, 3], [4, 5, 6], [7]]


async def test_what_nobody_wants_any_more_is_not_worked_on(caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate()
    with closing(BackgroundWorker(gate)) as worker:
        first = worker.submit(0)
        await gate.reached()
        unwanted, wanted = worker.submit(1), worker.submit(2)
        assert first is not None
        assert unwanted is not None
        assert wanted is not None
        unwanted.cancel()
        first.cancel()  # is being worked on: its result goes nowhere
        gate.opened.set()
        assert await wanted == 4
        assert gate.calls == [[0], [2]]
    assert caplog.text == ""


async def test_work_that_fails_fails_its_own_items_only() -> None:
    def invert(items: Sequence[int]) -> list[float]:
        return [1 / item for item in items]

    with closing(BackgroundWorker(invert, most_at_once=1)) as worker:
        futures = [worker.submit(item) for item in (1, 0, 2, 0, 4)]
        results = await asyncio.gather(*(each for each in futures if each), return_exceptions=True)
    assert [result if isinstance(result, float) else type(result) for result in results] == [
        1.0,
        ZeroDivisionError,
        0.5,
        ZeroDivisionError,
        0.25,
    ]


class Panic(BaseException):
    """As Rust's come through."""


@pytest.mark.parametrize(
    ("error", "seen"),
    [
        (KeyError, KeyError),
        (StopIteration, RuntimeError),  # a future takes no StopIteration
        (Panic, RuntimeError),
    ],
)
async def test_failures_are_logged_once_a_second_without_a_text(
    caplog: pytest.LogCaptureFixture, error: type[BaseException], seen: type[Exception]
) -> None:
    async def fail() -> None:
        def work(items: Sequence[str]) -> list[str]:
            raise error(items)

        with closing(BackgroundWorker(work, most_at_once=1)) as worker:
            assert worker.submit("the text of a query")  # nobody will look at this one
            futures = [worker.submit("the text of a query") for _ in range(50)]
            results = await asyncio.gather(*(each for each in futures if each), return_exceptions=True)
            assert {type(result) for result in results} == {seen}

    caplog.set_level(logging.DEBUG)
    await fail()
    gc.collect()
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("guard.")]
    assert 1 <= len(lines) < 50
    assert f"analysis failed for 1 items: {error.__name__} at {__file__}:" in lines[0]
    assert "the text of a query" not in caplog.text


@pytest.mark.parametrize("length", [0, 2])
async def test_work_owes_as_many_results_as_it_got_items(length: int) -> None:
    def work(items: Sequence[int]) -> list[int]:
        return [0] * length

    with closing(BackgroundWorker(work)) as worker:
        future = worker.submit(1)
        assert future is not None
        with pytest.raises(ValueError, match=f"{length} results for 1 items"):
            await future


async def test_close_cancels_what_waits_and_lets_the_running_call_end() -> None:
    gate = Gate()
    worker = BackgroundWorker(gate)
    running = worker.submit(0)
    await gate.reached()
    waiting = worker.submit(1)
    assert running is not None
    assert waiting is not None
    closed = asyncio.create_task(asyncio.to_thread(worker.close))
    with pytest.raises(asyncio.CancelledError):
        await waiting
    gate.opened.set()
    await closed
    assert await running == 0
    assert gate.calls == [[0]]
    assert worker.submit(2) is None
    assert worker.shed == 0
    assert not [thread for thread in threading.enumerate() if thread.name == "guard-background"]
    worker.close()


async def test_close_does_not_wait_for_ever_for_work_that_is_stuck() -> None:
    gate = Gate()
    worker = BackgroundWorker(gate)
    stuck = worker.submit(0)
    await gate.reached()
    worker.close(timeout_seconds=0.01)
    assert stuck is not None
    with pytest.raises(asyncio.CancelledError):
        await stuck
    gate.opened.set()


def test_one_worker_serves_one_loop_after_the_other() -> None:
    async def ask(item: int) -> int | None:
        future = worker.submit(item)
        return await future if future else None

    with closing(BackgroundWorker(double)) as worker:
        assert [asyncio.run(ask(item)) for item in range(5)] == [0, 2, 4, 6, 8]


def test_one_worker_serves_several_loops_at_once() -> None:
    async def ask(start: int) -> list[int]:
        futures = [worker.submit(item) for item in range(start, start + 100)]
        return await asyncio.gather(*(each for each in futures if each))

    with closing(BackgroundWorker(double, most_waiting=1_000)) as worker, ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda start: asyncio.run(ask(start)), (0, 100, 200, 300)))
    assert [result for results in found for result in results] == list(range(0, 800, 2))


def test_a_loop_that_closed_meanwhile_harms_neither_the_thread_nor_others() -> None:
    """An exception in the thread would fail this test: pytest makes it a warning, and warnings are errors."""
    gate = Gate()

    async def leave() -> None:
        assert worker.submit(0)
        await gate.reached()
        assert worker.submit(1)

    async def ask() -> int | None:
        future = worker.submit(2)
        return await future if future else None

    with closing(BackgroundWorker(gate)) as worker:
        asyncio.run(leave())
        gate.opened.set()
        assert asyncio.run(ask()) == 4


def test_it_does_not_keep_the_process_alive() -> None:
    program = """
import asyncio, threading
from guard.detection.background import BackgroundWorker

async def main():
    entered = threading.Event()
    def stuck(items):
        entered.set()
        threading.Event().wait()
    assert BackgroundWorker(stuck).submit(1) is not None
    await asyncio.to_thread(entered.wait)

asyncio.run(main())
print("at the end")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert (done.stdout, done.stderr) == ("at the end\n", "")


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_a_forked_process_starts_threads_of_its_own() -> None:
    program = """
import asyncio, os, warnings
from guard.detection.background import BackgroundWorker

warnings.simplefilter("ignore")  # Python 3.12 on: a fork of a process with threads
worker = BackgroundWorker(lambda items: items)

async def ask(item):
    return await worker.submit(item)

assert asyncio.run(ask(1)) == 1
if os.fork() == 0:
    os._exit(asyncio.run(ask(7)))
print(os.waitstatus_to_exitcode(os.wait()[1]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "7\n"


@pytest.mark.parametrize("options", [{"most_waiting": 0}, {"most_at_once": 0}, {"threads": 0}])
def test_a_worker_of_nothing_is_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        BackgroundWorker(double, **options)
