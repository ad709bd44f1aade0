"""`guard serve` beside a proxy that does nothing, and beside LiteLLM: whole answers, and streams."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from operator import eq
from typing import TYPE_CHECKING

from benchmarks import processes
from benchmarks.speed import litellm, load, prompts, settings
from benchmarks.speed.apps import ANSWER_BODY
from benchmarks.speed.model import STREAM_BODY
from benchmarks.speed.peers import Target
from benchmarks.speed.rounds import interleave, summary

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.processes import Process

PASS_THROUGH, LIMITS, EVERYTHING = "pass-through", "guard serve, limits", "guard serve, everything"

WARM_SECONDS = 1.0
STREAMS = 256
"""So many requests for streams are made before."""


def run(
    seconds: float,
    rounds: int,
    connections: tuple[int, ...],
    tell: Callable[[str], None],
    *,
    beside: bool = False,
) -> dict[str, object]:
    """Whole answers and streams at each number of connections; LiteLLM is one of the cases if `beside`."""
    told: dict[str, object] = {}
    with processes.folder_for("proxy") as folder, ExitStack() as stack:
        redis, proxies = _proxies(folder, stack, beside=beside)
        for kind in ("whole", "stream"):
            targets = {
                name: _target(kind, name, server, port, redis) for name, (server, port) in proxies.items()
            }
            for target in targets.values():
                target.saturate(16, WARM_SECONDS)
            for count in connections:
                cases = {name: partial(each.saturate, count, seconds) for name, each in targets.items()}
                batches = interleave(f"{kind}, {count} connections", cases, rounds, tell)
                told[f"{kind} {count}"] = summary(batches, (PASS_THROUGH, litellm.NAME))
    return told


def _proxies(
    folder: Path, stack: ExitStack, *, beside: bool
) -> tuple[Process, dict[str, tuple[Process, int]]]:
    redis, client = stack.enter_context(processes.redis_server(folder))
    model = stack.enter_context(processes.module("benchmarks.speed.model", folder))[1]
    plain = processes.module("benchmarks.speed.passthrough", folder, str(model))
    proxies = {PASS_THROUGH: stack.enter_context(plain)}
    for database, (name, limits) in enumerate(
        {LIMITS: settings.LIMITS + settings.OFF, EVERYTHING: settings.EVERYTHING}.items()
    ):
        config = settings.write(folder, f"serve-{database}", limits, processes.url_of(client, database))
        proxies[name] = stack.enter_context(processes.guard_serve(config, model))
    if beside:
        proxies[litellm.NAME] = stack.enter_context(litellm.serve(folder, model, processes.port_of(client)))
    return redis, proxies


def _target(kind: str, name: str, server: Process, port: int, redis: Process) -> Target:
    if kind == "whole":
        right = litellm.whole if name == litellm.NAME else partial(eq, ANSWER_BODY)
        return Target(load.Question(port, prompts.requests(), right), server, redis)
    right = litellm.streamed if name == litellm.NAME else partial(eq, STREAM_BODY)
    requests = prompts.requests(STREAMS, stream=True, stream_options={"include_usage": True})
    return Target(load.Question(port, requests, right), server, redis)
