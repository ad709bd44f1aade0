"""What guard costs a request beside its peers, as ratios: one process, ASGI only, one redis-server.

The same small app is asked for the same chat completion of about 1 KB: bare, behind one trivial script
called through redis-py, behind the `limits` library, and behind guard. The last two keep the same four
windows: requests per second and per minute, tokens per minute and per day.

    limits          each window is hit, and read for the headers: 8 round trips. A request that the fourth
                    window refuses has been charged to the first three
    limits, tested  each window is tested first, so that a refusal charges nothing unless two requests race:
                    12 round trips
    guard           all windows or none in one script, and the tokens trued up after the answer in another

A sample is a batch of one case at some concurrency; a round is one batch of each case, in random order, so
that the machine's moods hit all alike. A round's ratio is between two batches of that round. What is printed
is the median of those ratios, and in brackets where 95 % of the medians of resampled rounds lie. CPU is that
of this process; redis-server's stands in a column of its own. Times in milliseconds are there to read the
ratios by: they are this machine's own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from limits import RateLimitItemPerDay, RateLimitItemPerMinute, RateLimitItemPerSecond
from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from guard import GuardMiddleware
from guard.store.embedded.server import EmbeddedServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from guard import Event

CONFIG = """
data_dir = "data"
[store]
deadline_ms = 2000
[[tiers.default.limits]]
name = "requests"
unit = "requests"
rate = "20/second;600/minute"
[[tiers.default.limits]]
name = "tokens"
unit = "tokens"
rate = "100000/minute;10000000/day"
"""

CALLERS = 2_000
"""So many keys take turns: under limits that people really set, no single one could ask so fast."""

MAX_TOKENS = 64

BODY = json.dumps(
    {
        "model": "m",
        "max_tokens": MAX_TOKENS,
        "messages": [
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": "Tell me about the sea, the wind and the boats. " * 19},
        ],
    }
).encode()

ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "The sea is wide and the wind is strong."},
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 240, "completion_tokens": 10, "total_tokens": 250},
}

BARE, SCRIPT, LIMITS, TESTED, GUARD = "bare", "one script", "limits", "limits, tested", "guard"


async def complete(request: Request) -> JSONResponse:
    """The model: it reads the query and gives the same answer to all."""
    await request.json()
    return JSONResponse(ANSWER)


class OneScript:
    """Calls one trivial script before each request, as redis-py is commonly used."""

    def __init__(self, app: ASGIApp, redis: Redis) -> None:
        self._app = app
        self._script = redis.register_script("return redis.call('INCR', KEYS[1])")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._script(keys=[f"bench:{caller_of(scope)}"])
        await self._app(scope, receive, send)


class Limits:
    """Four windows of the `limits` library, and headers that tell how they stand."""

    def __init__(self, app: ASGIApp, storage: RedisStorage, namespace: str, *, tested: bool) -> None:
        self._app = app
        self._tested = tested
        self._limiter = SlidingWindowCounterRateLimiter(storage)
        self._requests = (
            RateLimitItemPerSecond(20, namespace=namespace),
            RateLimitItemPerMinute(600, namespace=namespace),
        )
        self._tokens = (
            RateLimitItemPerMinute(100_000, namespace=f"{namespace}-tokens"),
            RateLimitItemPerDay(10_000_000, namespace=f"{namespace}-tokens"),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        caller = caller_of(scope)
        tokens = int(dict(scope["headers"])[b"content-length"]) // 4 + MAX_TOKENS
        costs = [*((item, 1) for item in self._requests), *((item, tokens) for item in self._tokens)]
        if self._tested:
            for item, cost in costs:
                if not await self._limiter.test(item, caller, cost=cost):
                    raise RuntimeError("refused")
        for item, cost in costs:
            if not await self._limiter.hit(item, caller, cost=cost):
                raise RuntimeError("refused")
        headers = []
        for place, (item, _) in enumerate(costs):
            stats = await self._limiter.get_window_stats(item, caller)
            headers += [
                (b"x-ratelimit-limit-%d" % place, b"%d" % item.amount),
                (b"x-ratelimit-remaining-%d" % place, b"%d" % stats.remaining),
                (b"x-ratelimit-reset-%d" % place, b"%.3f" % (stats.reset_time - time.time())),
            ]

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *headers]}
            await send(message)

        await self._app(scope, receive, with_headers)


def caller_of(scope: Scope) -> str:
    authorization: bytes = dict(scope["headers"])[b"authorization"]
    return authorization.decode().removeprefix("Bearer ")


def with_the_store(event: Event) -> None:
    """Stop where guard went on without Redis: that is not what is compared."""
    if event.store_error is not None:
        raise SystemExit(f"the store failed: {event.store_error}")


async def ask(app: ASGIApp) -> float:
    """Seconds until the answer is complete."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/v1/chat/completions",
        "raw_path": b"/v1/chat/completions",
        "query_string": b"",
        "root_path": "",
        "headers": [
            (b"host", b"localhost"),
            (b"authorization", b"Bearer sk-%d" % random.randrange(CALLERS)),
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(BODY)),
        ],
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 8000),
    }
    statuses: list[int] = []

    async def receive() -> Message:
        # A server has the body some turns later, so that the bare app waits for its turn as well.
        await asyncio.sleep(0)
        return {"type": "http.request", "body": BODY, "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    started = time.perf_counter()
    await app(scope, receive, send)
    seconds = time.perf_counter() - started
    if statuses != [200]:
        raise RuntimeError(f"the answer was {statuses}, not 200")
    return seconds


@dataclass(frozen=True, slots=True)
class Batch:
    """Requests of one case: the latency of each, and the CPU time of one on average, here and in
    redis-server, in seconds."""

    latencies: tuple[float, ...]
    cpu: float
    redis_cpu: float

    @property
    def median(self) -> float:
        """The median of the latencies."""
        return statistics.median(self.latencies)

    @property
    def late(self) -> float:
        """The latency that 5 % exceed."""
        return p95(self.latencies)


def p95(latencies: Iterable[float]) -> float:
    ordered = sorted(latencies)
    return ordered[int(len(ordered) * 0.95)]


async def run_batch(app: ASGIApp, redis: Redis, concurrency: int, requests: int) -> Batch:
    """So many requests, so many at a time."""
    latencies: list[float] = []

    async def drive() -> None:
        for _ in range(requests // concurrency):
            seconds = await ask(app)
            latencies.append(seconds)

    redis_cpu = await redis_cpu_seconds(redis)
    cpu = time.process_time()
    await asyncio.gather(*(drive() for _ in range(concurrency)))
    cpu = time.process_time() - cpu
    redis_cpu = await redis_cpu_seconds(redis) - redis_cpu
    return Batch(tuple(latencies), cpu / len(latencies), redis_cpu / len(latencies))


async def redis_cpu_seconds(redis: Redis) -> float:
    used = await redis.info("cpu")
    return float(used["used_cpu_user"]) + float(used["used_cpu_sys"])


async def compare(
    apps: Mapping[str, ASGIApp], redis: Redis, concurrency: int, requests: int, rounds: int
) -> dict[str, list[Batch]]:
    """The batches of each case, round by round."""
    batches: dict[str, list[Batch]] = {name: [] for name in apps}
    for app in apps.values():
        await run_batch(app, redis, concurrency, requests)
    for _ in range(rounds):
        for name in random.sample(list(apps), len(apps)):
            batches[name].append(await run_batch(apps[name], redis, concurrency, requests))
    return batches


def ratio(
    measure: Callable[[Batch], float], batches: Sequence[Batch], to: Sequence[Batch], resamples: int = 1_000
) -> str:
    """The median of the rounds' ratios, and the interval of 95 % of the resampled medians."""
    ratios = [measure(one) / measure(other) for one, other in zip(batches, to, strict=True)]
    medians = sorted(
        statistics.median(random.choices(ratios, k=len(ratios)))  # a bootstrap
        for _ in range(resamples)
    )
    low, high = medians[int(0.025 * resamples)], medians[int(0.975 * resamples)]
    return f"{statistics.median(ratios):.2f} [{low:.2f} {high:.2f}]"


RATIOS: tuple[tuple[str, Callable[[Batch], float], str], ...] = (
    ("latency", lambda batch: batch.median, BARE),
    ("latency", lambda batch: batch.median, SCRIPT),
    ("p95", lambda batch: batch.late, SCRIPT),
    ("CPU", lambda batch: batch.cpu, BARE),
    ("CPU", lambda batch: batch.cpu, SCRIPT),
    ("Redis CPU", lambda batch: batch.redis_cpu, SCRIPT),
)


def report(concurrency: int, batches: Mapping[str, list[Batch]]) -> Iterable[str]:
    """A table: one line a case."""
    titles = " ".join(f"{f'{what} / {base}':>22}" for what, _, base in RATIOS)
    yield f"{f'{concurrency} at a time':<14} {'median ms':>9} {'p95 ms':>8} {'CPU ms':>8} {titles}"
    for name, of_case in batches.items():
        latencies = [latency for batch in of_case for latency in batch.latencies]
        cpu = statistics.median(batch.cpu for batch in of_case)
        ratios = " ".join(f"{ratio(measure, of_case, batches[base]):>22}" for _, measure, base in RATIOS)
        yield (
            f"{name:<14} {statistics.median(latencies) * 1e3:>9.3f} {p95(latencies) * 1e3:>8.3f}"
            f" {cpu * 1e3:>8.3f} {ratios}"
        )
    yield ""


async def run(options: argparse.Namespace, folder: Path, server: EmbeddedServer) -> None:
    """Open all cases on one server, and print a table for each concurrency."""
    config = folder / "guard.toml"
    config.write_text(CONFIG.replace('"data"', json.dumps(str(folder / "data"))))
    app = Starlette(routes=[Route("/v1/chat/completions", complete, methods=["POST"])])
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(Redis(unix_socket_path=str(server.socket)))
        storage = RedisStorage(f"async+redis+unix://{server.socket}", implementation="redispy")
        guarded = GuardMiddleware(app, config, hooks=[with_the_store])
        stack.push_async_callback(guarded.aclose)
        apps: dict[str, ASGIApp] = {
            BARE: app,
            SCRIPT: OneScript(app, redis),
            LIMITS: Limits(app, storage, "hit", tested=False),
            TESTED: Limits(app, storage, "tested", tested=True),
            GUARD: guarded,
        }
        for concurrency in options.concurrency:
            requests = concurrency * max(1, options.requests // concurrency)
            batches = await compare(apps, redis, concurrency, requests, options.rounds)
            print("\n".join(report(concurrency, batches)), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--requests", type=int, default=128, help="requests in a batch")
    parser.add_argument("--rounds", type=int, default=30, help="batches of each case")
    options = parser.parse_args()
    # A short path: that of a unix socket is limited.
    with TemporaryDirectory(prefix="guard-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with EmbeddedServer(folder / "data") as server:
            asyncio.run(run(options, folder, server))


if __name__ == "__main__":
    main()
