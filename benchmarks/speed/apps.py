"""The apps that are compared, each a factory for uvicorn: one small app, bare and behind each limiter.

Every limiter has the same three request windows per key, which no key uses up here, and Redis. What a limiter
cannot do is said at its factory. `BENCH_REDIS` names the Redis, `BENCH_CONFIG` guard's settings.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.requests import Request  # noqa: TC002 - FastAPI looks up the annotations
from starlette.responses import JSONResponse
from starlette.routing import Route

from benchmarks.speed.prompts import PATH

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.types import ASGIApp, Receive, Scope, Send

    from guard import Event

    Admit = Callable[[str], Awaitable[bool]]

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

ANSWER_BODY = bytes(JSONResponse(ANSWER).body)

WINDOWS = ((100_000, "second", 1), (5_000_000, "minute", 60), (1_000_000_000, "day", 86_400))
"""The request limits of each key: a count for each window."""


async def complete(request: Request) -> JSONResponse:
    """The model: it reads the query and gives the same answer to all."""
    await request.json()
    return JSONResponse(ANSWER)


def bare() -> Starlette:
    return Starlette(routes=[Route(PATH, complete, methods=["POST"])])


class Limited:
    """Middleware that asks before each request, and sends no headers of its own."""

    def __init__(self, app: ASGIApp, admit: Admit) -> None:
        self._app = app
        self._admit = admit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not await self._admit(_key(scope["headers"])):
            await JSONResponse({"error": "too many requests"}, 429)(scope, receive, send)
            return
        await self._app(scope, receive, send)


def script() -> ASGIApp:
    """One trivial script before each request, as redis-py is commonly used."""
    from redis.asyncio import Redis

    increment = Redis.from_url(_redis()).register_script("return redis.call('INCR', KEYS[1])")

    async def admit(key: str) -> bool:
        return bool(await increment(keys=[f"bench:{key}"]))

    return Limited(bare(), admit)


def limits_one() -> ASGIApp:
    return _limits(1)


def limits_three() -> ASGIApp:
    """Three windows one after the other: a request that the third refuses has been charged to two."""
    return _limits(3)


def _limits(windows: int) -> ASGIApp:
    from limits import parse
    from limits.aio.storage import RedisStorage
    from limits.aio.strategies import SlidingWindowCounterRateLimiter

    storage = RedisStorage(f"async+{_redis()}", implementation="redispy")
    limiter = SlidingWindowCounterRateLimiter(storage)
    items = [parse(f"{count}/{unit}") for count, unit, _ in WINDOWS[:windows]]

    async def admit(key: str) -> bool:
        for item in items:
            if not await limiter.hit(item, key):
                return False
        return True

    return Limited(bare(), admit)


def slowapi_three() -> ASGIApp:
    """`limits` again, synchronously, as slowapi is used: a decorator of the endpoint; no headers."""
    from slowapi import Limiter

    limiter: Any = Limiter(
        key_func=_key_of, storage_uri=_redis(), strategy="sliding-window-counter", headers_enabled=False
    )
    rate = ";".join(f"{count}/{unit}" for count, unit, _ in WINDOWS)
    app = Starlette(routes=[Route(PATH, limiter.limit(rate)(complete), methods=["POST"])])
    app.state.limiter = limiter
    return app


def throttled_one() -> ASGIApp:
    return _throttled(1)


def throttled_three() -> ASGIApp:
    """GCRA, one quota after the other: throttled-py has no several windows in one call."""
    return _throttled(3)


def _throttled(windows: int) -> ASGIApp:
    from datetime import timedelta

    from throttled.asyncio import RateLimiterType, Throttled, rate_limiter, store

    kept = store.RedisStore(server=_redis())
    throttles = [
        Throttled(
            using=RateLimiterType.GCRA.value,
            quota=rate_limiter.per_duration(timedelta(seconds=seconds), count, burst=count),
            store=kept,
            key_prefix=unit,
        )
        for count, unit, seconds in WINDOWS[:windows]
    ]

    async def admit(key: str) -> bool:
        for throttle in throttles:
            if (await throttle.limit(key)).limited:
                return False
        return True

    return Limited(bare(), admit)


def fastapi_limiter_three() -> ASGIApp:
    """PyrateLimiter's log of all requests, in one script a request; a dependency, so the app is FastAPI."""
    from fastapi import Depends, FastAPI
    from fastapi_limiter.depends import RateLimiter
    from pyrate_limiter import BucketFactory, Limiter, Rate, RateItem, RedisBucket
    from redis.asyncio import Redis

    class Buckets(BucketFactory):  # type: ignore[misc] # the types of peers are not looked at
        """A bucket for each key, as PyrateLimiter's documents do it."""

        def __init__(self) -> None:
            self._redis = Redis.from_url(_redis())
            self._rates = [Rate(count, seconds * 1_000) for count, _, seconds in WINDOWS]
            self._buckets: dict[str, Any] = {}

        def wrap_item(self, name: str, weight: int = 1) -> Any:
            import time

            return RateItem(name, time.time_ns() // 1_000_000, weight=weight)

        async def get(self, item: Any) -> Any:
            if item.name not in self._buckets:
                bucket = await RedisBucket.init(self._rates, self._redis, f"pyrate:{item.name}")
                self.schedule_leak(bucket)
                self._buckets[item.name] = bucket
            return self._buckets[item.name]

    async def identifier(request: Request) -> str:
        return _key(request.scope["headers"])

    limiter = RateLimiter(limiter=Limiter(Buckets()), identifier=identifier)
    app = FastAPI()

    @app.post(PATH, dependencies=[Depends(limiter)])
    async def endpoint(request: Request) -> JSONResponse:
        return await complete(request)

    return app


def guard() -> ASGIApp:
    """guard with the settings of `BENCH_CONFIG`."""
    from guard import GuardMiddleware

    return GuardMiddleware(bare(), os.environ["BENCH_CONFIG"], hooks=[with_the_store])


def with_the_store(event: Event) -> None:
    """End the process where guard went on without Redis: that is not what is compared."""
    if event.store_error is not None:
        print(f"the store failed: {event.store_error}", flush=True)
        os._exit(1)


def _redis() -> str:
    return os.environ["BENCH_REDIS"]


def _key_of(request: Request) -> str:
    return _key(request.scope["headers"])


def _key(headers: list[tuple[bytes, bytes]]) -> str:
    return next(value for name, value in headers if name == b"authorization").decode()
