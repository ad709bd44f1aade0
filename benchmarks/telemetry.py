"""What telemetry takes of the time of requests: `python -m benchmarks.telemetry [--rounds N]`, one minute.

The same requests go through guard with and without each part, in turns, so that a busy machine makes all of
them slower and none of them the slowest. What is measured is the processor's time of the event loop's thread,
with all that follows a request on it: so a part that only moves its work elsewhere shows too. And the hooks
alone: the fastest of many batches, which a busy machine changes little.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import time
import timeit
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from benchmarks.speed.rounds import ratio

if TYPE_CHECKING:
    from collections.abc import Callable

    from guard import GuardMiddleware

REQUESTS = 20
"""Requests of one batch."""

NOTHING: dict[str, Any] = {"rollups": {"enabled": False}, "audit": {"enabled": False}}
WEBHOOKS = [{"url": "http://127.0.0.1:9/"}]
CASES: dict[str, dict[str, Any]] = {
    "nothing": NOTHING,
    "prometheus": NOTHING,
    "web-hooks": {**NOTHING, "webhooks": WEBHOOKS},
    "rollups": {"audit": {"enabled": False}},
    "audit": {"rollups": {"enabled": False}},
    "all of these": {"webhooks": WEBHOOKS, "telemetry": {"log": "json"}},
    "opentelemetry": {**NOTHING, "telemetry": {"otel": True}},
}
COUNTED = ("prometheus", "all of these")
"""The cases in which Prometheus counts."""

BODY = json.dumps({"model": "m", "messages": [{"role": "user", "content": "one two three"}]}).encode()


def app_of(case: str, folder: Path) -> GuardMiddleware:
    """An app behind guard; all have one store."""
    from prometheus_client import CollectorRegistry

    from guard import GuardMiddleware, Settings
    from guard.demo.model import FakeModel
    from guard.telemetry.prometheus import PrometheusHook

    limits = [{"name": "requests", "unit": "requests", "rate": "1000000/second;100000000/day"}]
    settings = Settings.model_validate(
        {
            "data_dir": folder / "data",
            "detection": {"mode": "off"},
            "store": {"deadline_ms": 60_000},
            "tiers": {"default": {"limits": limits}},
            **CASES[case],
        }
    )
    hooks = [PrometheusHook(CollectorRegistry())] if case in COUNTED else []
    return GuardMiddleware(FakeModel(), settings, hooks=hooks)


async def batch(app: GuardMiddleware) -> dict[str, float]:
    """The microseconds that a request takes."""
    began = time.thread_time()
    for _ in range(REQUESTS):
        await ask(app)
    await asyncio.sleep(0.01)
    return {"us": (time.thread_time() - began) / REQUESTS * 1e6}


async def ask(app: GuardMiddleware) -> None:
    """One request."""
    from benchmarks.speed.load import WrongAnswerError

    status = 0
    parts = [{"type": "http.request", "body": BODY, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if not parts:
            await asyncio.Event().wait()  # the client stays
        return parts.pop()

    async def send(message: Any) -> None:
        nonlocal status
        status = message.get("status", status)

    scope = {
        "type": "http",
        "method": "POST",
        "scheme": "http",
        "http_version": "1.1",
        "path": "/v1/chat/completions",
        "raw_path": b"/v1/chat/completions",
        "query_string": b"",
        "headers": [(b"authorization", b"Bearer sk-bench"), (b"content-type", b"application/json")],
        "client": ("192.0.2.1", 50_000),
    }
    await app(scope, receive, send)
    if status != 200:
        raise WrongAnswerError(f"status {status}")


async def measure(rounds: int, folder: Path) -> None:
    """Measure all cases, and print them. Spans are dropped when they end: exporting is on other threads."""
    from opentelemetry import metrics, trace
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.trace import TracerProvider

    trace.set_tracer_provider(TracerProvider(shutdown_on_exit=False))
    metrics.set_meter_provider(MeterProvider(shutdown_on_exit=False))
    apps = {case: app_of(case, folder) for case in CASES}
    try:
        for app in apps.values():
            await batch(app)
        batches: dict[str, list[dict[str, float]]] = {case: [] for case in CASES}
        for _ in range(rounds):
            for case in random.sample(list(CASES), len(CASES)):
                batches[case].append(await batch(apps[case]))
    finally:
        for app in apps.values():
            await app.aclose()
    base = batches["nothing"]
    print(f"\n{'':14}  us a request  fastest batch  ratio of medians (95 %)")
    for case, found in batches.items():
        fastest = min(each["us"] for each in found)
        of = ratio(found, base, "us")
        us = statistics.median(each["us"] for each in found)
        print(f"{case:14}  {us:12.1f}  {fastest:13.1f}  {of.value:.3f} ({of.low:.3f} to {of.high:.3f})")


def hooks_alone() -> None:
    """Print what each hook takes of a request that was admitted."""
    from prometheus_client import CollectorRegistry

    from guard.core.decision import Action
    from guard.core.modes import Mode
    from guard.telemetry.events import Event, Times
    from guard.telemetry.log import EventLog
    from guard.telemetry.prometheus import PrometheusHook

    event = Event(
        request_id="req_1",
        identity="key:a",
        tier="default",
        route="/v1/chat/completions",
        mode=Mode.ENFORCE,
        action=Action.ALLOW,
        reason=None,
        limits=(),
        status=200,
        input_tokens=100,
        output_tokens=10,
        store_error=None,
        dialect="openai.chat",
        model="m",
        times=Times(0.3, 0.001, 0.0003),
    )
    prometheus = PrometheusHook(CollectorRegistry())
    hooks: dict[str, Callable[[], object]] = {
        "Prometheus, a request": lambda: prometheus(event),
        "Prometheus, a flush": prometheus.flush,
        "the log, at INFO": partial(EventLog(), event),
    }
    for name, hook in hooks.items():
        fastest = min(timeit.repeat(hook, number=200, repeat=200)) / 200
        print(f"{name:22} {fastest * 1e6:6.2f} us")


def main() -> None:
    """Take the arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    rounds = parser.parse_args().rounds
    with TemporaryDirectory(prefix="guard-telemetry-") as folder:
        # Where several workers count together, counting goes by way of files.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        hooks_alone()
        asyncio.run(measure(rounds, Path(folder)))


if __name__ == "__main__":
    main()
