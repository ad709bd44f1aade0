"""A small app bare, behind other limiters, and behind guard: uvicorn with one worker, over HTTP."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from operator import eq
from typing import TYPE_CHECKING

from benchmarks import processes
from benchmarks.speed import load, prompts, settings
from benchmarks.speed.apps import ANSWER_BODY
from benchmarks.speed.rounds import interleave, summary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from benchmarks.processes import Process
    from benchmarks.speed.rounds import Batch

BARE, SCRIPT, LIMITS_3, SLOWAPI = "bare app", "one trivial EVALSHA", "limits, 3 windows", "slowapi, 3 windows"
GUARD_LIMITS, GUARD_EVERYTHING = "guard, limits", "guard, everything"

FACTORIES = {
    BARE: "bare",
    SCRIPT: "script",
    "limits, 1 window": "limits_one",
    LIMITS_3: "limits_three",
    SLOWAPI: "slowapi_three",
    "throttled-py, 1 quota": "throttled_one",
    "throttled-py, 3 quotas": "throttled_three",
    "fastapi-limiter, 3 windows": "fastapi_limiter_three",
    GUARD_LIMITS: "guard",
    GUARD_EVERYTHING: "guard",
}
PACED = (BARE, SCRIPT, LIMITS_3, GUARD_LIMITS, GUARD_EVERYTHING)
"""What is also asked at half of its full load."""
OVERLOADED = (GUARD_LIMITS, GUARD_EVERYTHING)
"""What is also asked more than it can do."""

BASES = (SCRIPT, LIMITS_3, SLOWAPI, GUARD_LIMITS)
WARM_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Target:
    """A server that is measured, the Redis it asks, and what is asked of it."""

    question: load.Question
    server: Process
    redis: Process

    def measure(self, ask: Callable[[], load.Sample]) -> Batch:
        """One batch: its rate, latencies, the CPU time of a request in each process, and how many cores the
        rest of the machine had, which is neither a server of ours nor the client."""
        ours, spent = processes.Process(os.getpid()).family, processes.cpu_seconds
        started, others = time.perf_counter(), processes.busy_seconds() - spent(ours)
        serving, reading, counting = self.server.family, processes.analysts(), self.redis.family
        server, analyst, redis = spent(serving), spent(reading), spent(counting)
        sample = ask()
        server, redis = spent(serving) - server, spent(counting) - redis
        analyst = spent(reading) - analyst
        others = processes.busy_seconds() - spent(ours) - others
        count = len(sample.latencies)
        end = {"end_us": load.quantile(sample.ends, 0.5) * 1e6} if sample.ends else {}
        return {
            **end,
            "per_second": sample.per_second,
            "p50_us": sample.latency(0.5) * 1e6,
            "p99_us": sample.latency(0.99) * 1e6,
            "tail": sample.latency(0.99) / sample.latency(0.5),
            "app_cpu_us": server / count * 1e6,
            "analyst_cpu_us": analyst / count * 1e6,
            "redis_cpu_us": redis / count * 1e6,
            "others": max(0.0, others) / (time.perf_counter() - started),
        }

    def saturate(self, connections: int, seconds: float) -> Batch:
        return self.measure(partial(load.saturate, self.question, connections, seconds))

    def paced(self, share: float, connections: int, seconds: float) -> Batch:
        """One batch at a share of the rate that the server reached just before."""
        full = load.saturate(self.question, connections, seconds).per_second
        return self.measure(partial(load.pace, self.question, connections, seconds, full * share))


def targets(folder: Path, stack: ExitStack) -> Iterator[tuple[str, Target]]:
    """All servers, which run until the stack is closed."""
    process, redis = stack.enter_context(processes.redis_server(folder))
    requests = prompts.requests()
    for database, (name, factory) in enumerate(FACTORIES.items()):
        url = processes.url_of(redis, database)
        environment = {"BENCH_REDIS": url}
        if name in (GUARD_LIMITS, GUARD_EVERYTHING):
            limits = settings.LIMITS + settings.OFF if name == GUARD_LIMITS else settings.EVERYTHING
            environment["BENCH_CONFIG"] = str(settings.write(folder, f"guard-{database}", limits, url))
        app = f"benchmarks.speed.apps:{factory}"
        server, port = stack.enter_context(processes.uvicorn(app, folder / f"{database}.log", environment))
        yield name, Target(load.Question(port, requests, partial(eq, ANSWER_BODY)), server, process)


def run(
    seconds: float, rounds: int, connections: tuple[int, ...], tell: Callable[[str], None]
) -> dict[str, object]:
    """The batches of all cases at each number of connections, then at half of their full load."""
    with processes.folder_for("speed") as folder, ExitStack() as stack:
        servers = dict(targets(folder, stack))
        for name, target in servers.items():
            tell(f"{name}: {target.saturate(64, WARM_SECONDS)['per_second']:.0f}/s")
        saturated = {}
        for count in connections:
            cases = {name: partial(each.saturate, count, seconds) for name, each in servers.items()}
            saturated[count] = interleave(f"{count} connections", cases, rounds, tell)
        halves = {name: partial(servers[name].paced, 0.5, max(connections), seconds) for name in PACED}
        paced = interleave("half of full load", halves, rounds, tell)
        over = {name: partial(servers[name].paced, 1.5, max(connections), seconds) for name in OVERLOADED}
        overloaded = interleave("half more than full load", over, rounds, tell)
    return {
        **{str(count): summary(batches, BASES) for count, batches in saturated.items()},
        "half": summary(paced, BASES),
        "over": summary(overloaded, BASES),
    }
