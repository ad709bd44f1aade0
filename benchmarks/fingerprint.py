"""What fingerprinting costs before a request is admitted: CPU microseconds for prompts of about a kilobyte.

    python benchmarks/fingerprint.py

Paired and interleaved with what every request costs anyway, the reading of its body, so that a slow moment
slows both; the least of many is what the machine can do. Once more with cold caches, which is how a busy
process finds them: before each call, more memory is read than the processor keeps at hand.
"""

from __future__ import annotations

import json
import random
import statistics
import time
from functools import partial
from typing import TYPE_CHECKING

from guard.dialects import DIALECTS
from guard.dialects.strict import parse_object
from guard.text.fingerprint import Fingerprinter

if TYPE_CHECKING:
    from collections.abc import Callable

    from guard.core.query import Query

PROMPTS = 24
ROUNDS = 400
COLD_ROUNDS = 20
BEYOND_CACHES = bytes(32 << 20)
BYTES = 1_024
PROSE = (
    "please explain why the older method of sorting letters by hand was replaced and what was lost when the "
    "machines came in to the large halls near the river because nobody had thought of the winter or of the "
    "people who had worked there for thirty years and knew every street of the town by heart and by its smell"
)


def prompt(chance: random.Random) -> str:
    """About a kilobyte of prose, with a name, a number and a full stop now and then."""
    text, words = "", PROSE.split()
    while len(text) < BYTES:
        word = chance.choice(words)
        text += word.capitalize() if chance.random() < 0.1 else word
        text += f" {chance.randrange(2000)}. " if chance.random() < 0.05 else " "
    return text[:BYTES]


def cpu_us(work: Callable[[], object]) -> float:
    """The CPU time of one call."""
    start = time.thread_time_ns()
    work()
    return (time.thread_time_ns() - start) / 1_000


def main() -> None:
    """Print the figures."""
    chance, sketch = random.Random(1), Fingerprinter(bytes(32)).sketch
    bodies = [
        json.dumps({"model": "m", "messages": [{"role": "user", "content": prompt(chance)}]}).encode()
        for _ in range(PROMPTS)
    ]
    read = DIALECTS["openai.chat"].read

    def reading(body: bytes) -> Query:
        return read(parse_object(body), "/v1/chat/completions")

    queries = [reading(body) for body in bodies]
    best = [[float("inf"), float("inf")] for _ in bodies]
    cold: list[list[float]] = [[] for _ in bodies]
    for round_ in range(ROUNDS):
        for place, (body, query) in enumerate(zip(bodies, queries, strict=True)):
            best[place][0] = min(best[place][0], cpu_us(partial(reading, body)))
            best[place][1] = min(best[place][1], cpu_us(partial(sketch, query)))
            if round_ < COLD_ROUNDS:
                BEYOND_CACHES.count(1)
                cold[place].append(cpu_us(partial(sketch, query)))
    read_us, sketch_us = (statistics.median(each) for each in zip(*best, strict=True))
    print(f"read the body        {read_us:6.1f} us")
    print(f"sketch the query     {sketch_us:6.1f} us, {sketch_us / read_us:.2f} times as much")
    print(f"with cold caches     {statistics.median(map(min, cold)):6.1f} us")


if __name__ == "__main__":
    main()
