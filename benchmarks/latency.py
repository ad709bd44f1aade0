"""The latency that guard adds, and the gap at which a stream's first byte arrives behind the backend's.

Starts a model, guard in front of it with the embedded store, and asks both in turn: each round is one
request straight to the model and one through guard, in random order, so that the machine's moods hit both
alike. Prints medians and their ratio for 1, 8 and 64 connections. `python benchmarks/latency.py --help`
tells what can be varied.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import socket
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import aiohttp

if TYPE_CHECKING:
    from collections.abc import Iterator

CONFIG = """
data_dir = "data"
[store]
deadline_ms = 2000
[[tiers.default.limits]]
name = "requests"
unit = "requests"
rate = "1000000/second;1000000000/day"
[[tiers.default.limits]]
name = "tokens"
unit = "tokens"
rate = "1000000000/minute;100000000000/day"
"""

BODY = {
    "model": "m",
    "max_tokens": 64,
    "messages": [
        {"role": "user", "content": "Tell me about the sea, the wind and the boats. " * 20 + "words=16"}
    ],
}
"""A query of about 1 KB."""


async def ask(session: aiohttp.ClientSession, url: str, *, stream: bool) -> float:
    """Seconds until the answer is complete, or until a stream's first byte."""
    started = time.perf_counter()
    async with session.post(f"{url}/v1/chat/completions", json={**BODY, "stream": stream}) as answer:
        assert answer.status == 200, await answer.text()
        if stream:
            await answer.content.readany()
            seconds = time.perf_counter() - started
            await answer.read()
            return seconds
        await answer.read()
        return time.perf_counter() - started


async def compare(
    direct: str, guarded: str, connections: int, rounds: int, *, stream: bool
) -> list[tuple[float, float]]:
    """Pairs of (direct, through guard), taken on so many connections at once."""
    pairs: list[tuple[float, float]] = []

    async def drive(session: aiohttp.ClientSession) -> None:
        for _ in range(rounds):
            urls = [direct, guarded]
            random.shuffle(urls)
            taken = {url: await ask(session, url, stream=stream) for url in urls}
            pairs.append((taken[direct], taken[guarded]))

    headers = {"authorization": "Bearer sk-bench"}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), headers=headers) as session:
        await asyncio.gather(*(ask(session, url, stream=stream) for url in (direct, guarded) * 10))
        await asyncio.gather(*(drive(session) for _ in range(connections)))
    return pairs


@contextmanager
def process(*arguments: str) -> Iterator[None]:
    """A process that serves, for as long as the block lasts."""
    with subprocess.Popen(
        arguments, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONWARNINGS": "ignore"}
    ) as running:
        try:
            yield
        finally:
            running.terminate()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def wait_for(port: int) -> None:
    for _ in range(400):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(port)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument(
        "--requests", type=int, default=960, help="pairs to take at each number of connections"
    )
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    model_port, port = free_port(), free_port()
    with ExitStack() as stack:
        folder = Path(
            stack.enter_context(TemporaryDirectory(prefix="guard-bench-", ignore_cleanup_errors=True))
        )
        (folder / "guard.toml").write_text(CONFIG)
        python = sys.executable
        model = (
            "-m",
            "uvicorn",
            "--factory",
            "guard.demo.model:instant",
            "--port",
            str(model_port),
            "--log-level",
            "error",
        )
        stack.enter_context(process(python, *model))
        guard = ("serve", "--backend", f"http://127.0.0.1:{model_port}", "--port", str(port))
        workers = ("--workers", str(options.workers), "--config", str(folder / "guard.toml"))
        stack.enter_context(process(str(Path(python).with_name("guard")), *guard, *workers))
        for each in (model_port, port):
            wait_for(each)
        straight, through = f"http://127.0.0.1:{model_port}", f"http://127.0.0.1:{port}"
        print("answer       connections  direct ms  guarded ms  added ms  ratio   p95 added ms")
        for stream, name in ((False, "whole"), (True, "first byte")):
            for connections in options.connections:
                rounds = max(1, options.requests // connections)
                pairs = asyncio.run(compare(straight, through, connections, rounds, stream=stream))
                direct, guarded = (statistics.median(side) * 1e3 for side in zip(*pairs, strict=True))
                added = sorted(slow - quick for quick, slow in pairs)
                late = added[int(len(added) * 0.95)] * 1e3
                print(
                    f"{name:<12} {connections:>11}  {direct:>9.2f}  {guarded:>10.2f}  "
                    f"{statistics.median(added) * 1e3:>8.2f}  {guarded / direct:>5.2f}  {late:>13.2f}"
                )


if __name__ == "__main__":
    main()
