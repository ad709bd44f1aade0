"""A replay in several processes, each of which replays the lines of one shard (guard/admin/shards.py).

Every process reads the whole log and takes its own lines out of it, which is a small part of the work, and
sends what comes of them through a pipe. Here they are put in the log's order again. A process that is ahead
of the others waits as soon as `MOST_AHEAD` results do.

A process ends when it is done, when the one that started it does, and when the end of its pipe is gone.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections import deque
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, NamedTuple, Self

from guard.admin.replay import Replay
from guard.admin.shards import NO_LINE
from guard.admin.summary import Summary
from guard.admin.traffic import read_log
from guard.errors import ConfigError, JobError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess
    from pathlib import Path
    from types import TracebackType

    from guard.admin.shards import Shards
    from guard.admin.traffic import Line
    from guard.core.identity import Holder
    from guard.core.uses import Declared
    from guard.settings.root import Settings

MOST_AHEAD = 20_000
"""Maximum number of results of one process that wait for those of others, about 300 bytes each."""

SENT_AT_ONCE = 64


class Work(NamedTuple):
    """What is replayed, and how. Lines are empty where it is not `told` what was decided on each."""

    log: Path
    settings: Settings
    declared: Mapping[Holder, Declared]
    told: bool


def replay_all(work: Work, write: Callable[[str], object]) -> Summary:
    """Replay a log in this process, and write a line of JSON for each of its lines; raises `ConfigError`."""
    return _run(_replayed(work, read_log(work.log), write, alone=True))


class Jobs:
    """Replays a log in a process for each shard, from `with` on."""

    def __init__(self, work: Work, shards: Shards) -> None:
        self._work = work
        self._shards = shards
        self._jobs: list[_Job] = []
        self._ending = ExitStack()

    def __enter__(self) -> Self:
        with self._ending, _without_interrupts():
            for shard in range(len(self._shards.sizes)):
                job = _Job.started(self._work, self._shards.of_line, shard)
                self._jobs.append(job)
                self._ending.callback(job.end)
            self._ending = self._ending.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.close()

    def run(self, write: Callable[[str], object]) -> Summary:
        """Write a line of JSON for each of the log's, in order; raises `ConfigError` and `JobError`."""
        for shard in self._shards.of_line:
            if shard != NO_LINE:
                write(self._next_of(self._jobs[shard]))
        if self._shards.error is not None:
            raise self._shards.error
        summary = Summary()
        for job in self._jobs:
            while job.summary is None:
                job.receive()
            summary.join(job.summary)
        return summary

    def _next_of(self, job: _Job) -> str:
        while not job.lines:
            if job.over:
                raise job.error or JobError("the log is not what it was when the replay began")
            free = {each.pipe: each for each in self._jobs if not each.over and len(each.lines) < MOST_AHEAD}
            for pipe in wait(list(free)):
                free[pipe].receive()  # type: ignore[index] # `wait` gives back what it got
        return job.lines.popleft()


@dataclass(slots=True)
class _Job:
    """A process that replays one shard, and what has come from it: lines, then a summary or an error."""

    process: SpawnProcess
    pipe: Connection
    lines: deque[str] = field(default_factory=deque)
    summary: Summary | None = None
    error: ConfigError | None = None

    @classmethod
    def started(cls, work: Work, of_line: bytes, shard: int) -> Self:
        """Start one. A new interpreter, since a copy of this one would have its threads' locks."""
        context = get_context("spawn")
        ours, theirs = context.Pipe(duplex=False)
        with theirs:
            process = context.Process(target=_work, args=(theirs, work, of_line, shard), daemon=True)
            process.start()
        return cls(process, ours)

    @property
    def over(self) -> bool:
        """Whether nothing more comes."""
        return self.summary is not None or self.error is not None

    def receive(self) -> None:
        """Wait for what comes next."""
        try:
            told = self.pipe.recv()
        except EOFError:
            self.process.join()
            raise JobError(f"a process of the replay has died (exit code {self.process.exitcode})") from None
        if isinstance(told, Summary):
            self.summary = told
        elif isinstance(told, ConfigError):
            self.error = told
        else:
            self.lines.extend(told)

    def end(self) -> None:
        """End it, whatever it does."""
        self.process.terminate()
        self.process.join()
        self.pipe.close()


def _work(pipe: Connection, work: Work, of_line: bytes, shard: int) -> None:
    """What a process does. Where nobody is left to hear of it, it ends."""

    def is_ours(number: int) -> bool:
        return number <= len(of_line) and of_line[number - 1] == shard

    lines: list[str] = []

    def write(line: str) -> None:
        lines.append(line)
        if len(lines) >= SENT_AT_ONCE:
            pipe.send(lines)
            lines.clear()

    told: Summary | ConfigError
    try:
        try:
            told = _run(_replayed(work, read_log(work.log, is_ours), write, alone=False))
        except ConfigError as error:
            told = error
        pipe.send(lines)
        pipe.send(told)
    except BrokenPipeError:
        return


async def _replayed(
    work: Work, lines: Iterable[Line], write: Callable[[str], object], *, alone: bool
) -> Summary:
    summary = Summary()
    async for result in Replay(work.settings, work.declared, alone=alone).results(lines):
        summary.add(result)
        write(result.text() if work.told else "")
    return summary


def _run(replayed: Coroutine[None, None, Summary]) -> Summary:
    """Run it to its end, on uvloop where that is installed."""
    runner: Callable[[Coroutine[None, None, Summary]], Summary] = asyncio.run
    try:
        import uvloop
    except ImportError:
        pass
    else:
        runner = uvloop.run
    return runner(replayed)


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Processes that are started meanwhile never hear an interrupt: they are ended from here."""
    if sys.platform == "win32":
        yield
        return
    resource_tracker.ensure_running()  # or the first process would have it started, and interrupts unblocked
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
