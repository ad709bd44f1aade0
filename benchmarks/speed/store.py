"""What guard asks of Redis: the time of each script, the calls inside of it, bytes, memory, and what is left.

Redis itself is asked: `SLOWLOG` for times by its own clock, `MONITOR` for the calls inside of a script,
`INFO` for bytes, `DBSIZE` for what is left. guard is an ASGI app of this process, and nothing here knows its
scripts by name: those that run before the app has the request admit it, those that run after settle it.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections import Counter, defaultdict
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

import uvloop

from benchmarks import processes
from benchmarks.speed import inprocess, prompts, settings
from benchmarks.speed.apps import bare, with_the_store
from benchmarks.speed.load import quantile
from guard import GuardMiddleware

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
    from pathlib import Path

    from redis import Redis
    from starlette.types import ASGIApp, Receive, Scope, Send

T = TypeVar("T")

SCRIPTS = frozenset({"EVAL", "EVALSHA", "EVALSHA_RO", "EVAL_RO", "FCALL", "FCALL_RO"})
BY_NAME = frozenset({"EVALSHA", "EVALSHA_RO", "FCALL", "FCALL_RO"})
"""How they are called once they are known there."""
IN_APP, ALL_DONE, STOP = "bench:in-app", "bench:all-done", "bench:stop"
"""What `ECHO` says between the scripts."""

BEFORE, AFTER = "before", "after"
"""When a script runs: before the app has the request, or after."""

QUIET_SECONDS = 0.02
"""So long after an answer what belongs to its request has been done."""

USERS = 64
WARM = 256
TIMED = 2_048
LONGEST_SLOWLOG = 1_000_000
"""It has the calls inside of scripts too."""
WATCHED = 24

ONE = """
[[tiers.default.limits]]
name = "requests"
unit = "requests"
rate = "5000000/minute"
"""

FURTHER = ("org", "network", "everything")

CASES = {
    "one limit, one window": ONE + settings.OFF,
    "limits": settings.LIMITS + settings.OFF,
    "everything": settings.EVERYTHING,
    **{
        f"everything, and {', '.join(FURTHER[:count])}": settings.EVERYTHING
        + "".join(ONE.replace('"requests"', f'"of-{per}"', 1) + f'per = "{per}"\n' for per in FURTHER[:count])
        for count in (1, 2, 3)
    },
}


class Marked:
    """The app, which says in Redis that it has a request."""

    def __init__(self, redis: Redis) -> None:
        self._app = bare()
        self._redis = redis

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._redis.echo(IN_APP)
        await self._app(scope, receive, send)


def run(tell: Callable[[str], None]) -> dict[str, object]:
    """The scripts of each case, and what goes to Redis for a request."""
    told: dict[str, object] = {}
    with processes.folder_for("store") as folder, processes.redis_server(folder) as (_, redis):
        for name, limits in CASES.items():
            told[name] = _run(_measure(folder, redis, limits))
            tell(f"{name}: {told[name]}")
    return told


async def _measure(folder: Path, redis: Redis, limits: str) -> dict[str, object]:
    redis.flushall()
    async with _guarded(Marked(redis), folder, redis, limits) as app:
        await inprocess.ask_all(app, _users(WARM), BODIES, 8)
        watched = await _watched(app, redis)
    async with _guarded(bare(), folder, redis, limits) as app:
        await inprocess.ask_all(app, _users(WARM), BODIES, 8)
        times = await _timed(app, redis, {script: keys for script, (_, _, keys) in watched.items()})
        sent = {f"at_once_{at_once}": await _sent(app, redis, at_once) for at_once in (1, 64)}
    scripts: dict[str, list[dict[str, float]]] = {BEFORE: [], AFTER: []}
    for script, (phase, calls, _) in watched.items():
        took = times[script]
        scripts[phase].append(
            {
                "p10_us": quantile(took, 0.1),
                "median_us": statistics.median(took),
                "calls": calls,
                "each_request": round(len(took) / TIMED, 2),
            }
        )
    return {**scripts, **sent}


async def _watched(app: ASGIApp, redis: Redis) -> dict[str, tuple[str, float, int]]:
    """Each script by its name: when it runs, how many calls it makes inside, on average, and how many keys it
    is given for one request.
    """
    commands: list[tuple[str, bool]] = []
    with redis.monitor() as monitor:  # type: ignore[no-untyped-call]
        for user in _users(WATCHED):
            await inprocess.ask(app, user, random.choice(BODIES))
            await asyncio.sleep(QUIET_SECONDS)
            redis.echo(ALL_DONE)
        redis.echo(STOP)
        for each in monitor.listen():
            if each["command"] == f"ECHO {STOP}":
                break
            commands.append((each["command"], each["client_type"] == "lua"))
    phases: dict[str, Counter[str]] = defaultdict(Counter)
    calls: Counter[str] = Counter()
    keys: dict[str, int] = {}
    phase, script = BEFORE, ""
    for command, inside in commands:
        name, _, rest = command.partition(" ")
        if inside:
            calls[script] += 1
        elif name.upper() == "ECHO":
            phase = AFTER if rest == IN_APP else BEFORE
        elif name.upper() in BY_NAME:
            script, count = rest.split(" ", 2)[:2]
            phases[script][phase] += 1
            keys[script] = min(int(count), keys.get(script, int(count)))
    # One that was late for once ran before the next request.
    return {
        script: (when.most_common(1)[0][0], round(calls[script] / when.total(), 1), keys[script])
        for script, when in phases.items()
    }


async def _timed(app: ASGIApp, redis: Redis, of_one: Mapping[str, int]) -> dict[str, list[float]]:
    """The microseconds that each script takes of a server that is kept busy, by its own clock. Where several
    requests share a call, it is the share of one, by the keys that it has for `of_one`.
    """
    redis.config_set("slowlog-max-len", LONGEST_SLOWLOG)
    redis.config_set("slowlog-log-slower-than", 0)
    redis.slowlog_reset()
    await inprocess.ask_all(app, _users(TIMED), BODIES, 8)
    await _quiet(redis)
    redis.config_set("slowlog-log-slower-than", -1)
    times: dict[str, list[float]] = defaultdict(list)
    for entry in redis.slowlog_get(LONGEST_SLOWLOG):
        name, _, rest = bytes(entry["command"]).decode(errors="replace").partition(" ")
        if name.upper() in BY_NAME:
            script, keys = rest.split(" ", 2)[:2]
            times[script].append(entry["duration"] * of_one.get(script, int(keys)) / int(keys))
    return times


async def _sent(app: ASGIApp, redis: Redis, at_once: int) -> dict[str, float]:
    """Bytes and scripts that a request sends to Redis, with so many requests at once."""
    await inprocess.ask_all(app, _users(WARM), BODIES, at_once)
    await _quiet(redis)
    size, scripts = _received(redis), _scripts(redis)
    await inprocess.ask_all(app, _users(TIMED), BODIES, at_once)
    await _quiet(redis)
    return {
        "bytes": round((_received(redis) - size) / TIMED),
        "scripts": round((_scripts(redis) - scripts) / TIMED, 2),
    }


async def _quiet(redis: Redis) -> None:
    """Wait until no more scripts come: what belongs to an answer may come after it."""
    seen, now = -1, _scripts(redis)
    while seen != now:
        await asyncio.sleep(0.5)
        seen, now = now, _scripts(redis)


def _received(redis: Redis) -> int:
    return int(redis.info("stats")["total_net_input_bytes"])


def _scripts(redis: Redis) -> int:
    stats = redis.info("commandstats")
    return sum(int(stats.get(f"cmdstat_{name.lower()}", {"calls": 0})["calls"]) for name in SCRIPTS)


KEPT_SECONDS = 65.0
READ_SECONDS = 8.0
"""By then what the first answers have paid out and shown is in Redis."""
IDENTITIES = 10
EACH = 200


def left(tell: Callable[[str], None]) -> dict[str, object]:
    """How many keys a settled request leaves for more than a minute."""
    told: dict[str, object] = {}
    with processes.folder_for("left") as folder, processes.redis_server(folder) as (_, redis):
        for name in ("limits", "everything"):
            redis.flushall()
            told[name] = _run(_left(folder, redis, CASES[name]))
            tell(f"{name}: {told[name]}")
    return told


async def _left(folder: Path, redis: Redis, limits: str) -> dict[str, float]:
    async with _guarded(bare(), folder, redis, limits) as app:
        await asyncio.sleep(READ_SECONDS)  # the analyst starts
        await inprocess.ask_all(app, range(IDENTITIES), BODIES, 1)
        await asyncio.sleep(READ_SECONDS)
        before = redis.dbsize()
        requests = IDENTITIES * (EACH - 1)
        await inprocess.ask_all(app, (n % IDENTITIES for n in range(requests)), BODIES, 8)
        await asyncio.sleep(1)
        used = redis.info("memory")["used_memory"]
        await asyncio.sleep(KEPT_SECONDS)
        return {
            "keys_per_identity": before / IDENTITIES,
            # Those of the first requests of all are gone by now as well.
            "keys_per_request": max(0.0, round((redis.dbsize() - before) / requests, 3)),
            "bytes_freed_per_request": round((used - redis.info("memory")["used_memory"]) / requests),
        }


def memory(identities: int, tell: Callable[[str], None]) -> dict[str, object]:
    """The memory of redis-server that an identity takes, of so many, each of which has asked once."""
    told: dict[str, object] = {"identities": identities}
    with processes.folder_for("memory") as folder:
        for name in ("limits", "everything"):
            with processes.redis_server(folder) as (_, redis):
                told[name] = _run(_memory(folder, redis, CASES[name], identities))
            tell(f"{name}: {told[name]}")
    return told


async def _memory(folder: Path, redis: Redis, limits: str, identities: int) -> dict[str, float]:
    async with _guarded(bare(), folder, redis, limits) as app:
        await inprocess.ask_all(app, range(10), BODIES, 1)
        before = int(redis.info("memory")["used_memory"])
        started = time.monotonic()
        await inprocess.ask_all(app, range(10, identities + 10), BODIES, 64)
        await asyncio.sleep(1)
        after = int(redis.info("memory")["used_memory"])
        await asyncio.sleep(KEPT_SECONDS)
        settled = int(redis.info("memory")["used_memory"])
        return {
            "bytes_per_identity": round((after - before) / identities),
            "bytes_per_identity_after_a_minute": round((settled - before) / identities),
            "seconds": round(time.monotonic() - started),
        }


BODIES = [prompts.body(random.Random(seed)) for seed in range(1_024)]


def _users(count: int) -> Iterator[int]:
    return (place % USERS for place in range(count))


@asynccontextmanager
async def _guarded(app: ASGIApp, folder: Path, redis: Redis, limits: str) -> AsyncIterator[ASGIApp]:
    url = processes.url_of(redis)
    config = settings.write(folder, "guard", limits + inprocess.GATEWAY, url, inprocess.TRUSTED)
    guarded = GuardMiddleware(app, config, hooks=[with_the_store])
    try:
        yield guarded
    finally:
        await guarded.aclose()


def _run(measuring: Coroutine[None, None, dict[str, T]]) -> dict[str, T]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(measuring)
