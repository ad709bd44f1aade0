"""What it costs to look for campaigns: the worker's time and memory, and what it reads in Redis.

Observations are read from bytes, as the worker reads them, of callers of whom some have a wording that many
have, and most one of a few. Groups are judged after every so many, as by a worker that has fallen behind. It
is the CPU time of one process that is counted, in a window that is full.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from typing import TYPE_CHECKING

from benchmarks import processes
from benchmarks.speed.prompts import WORDS
from guard.campaigns.groups import Groups
from guard.campaigns.observation import Observation
from guard.campaigns.window import MOST
from guard.core.campaigns import TieKind
from guard.core.query import Query, Turn, Usage
from guard.detection.learner import Learner
from guard.detection.profile import Profile
from guard.detection.reference import Reference
from guard.installation import Installation
from guard.settings.root import Settings
from guard.store.redis.keys import TRACES
from guard.text.fingerprint import Fingerprinter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

HOLDERS, WORDINGS = 10_000, 1_000
TIMED = 50_000
IN_A_PASS = 1_000
"""Groups are judged after so many observations."""

STREAMED, AT_ONCE = 20_000, 256

SECRET = b"a benchmark keeps no secrets"


def run(tell: Callable[[str], None], holders: int = HOLDERS, wordings: int = WORDINGS) -> dict[str, object]:
    """The worker's rate, its memory, and the size of an observation."""
    told: dict[str, object] = {"holders": holders, "wordings": wordings, "window": MOST}
    seen = observed(random.Random(1), holders, wordings)
    told |= asyncio.run(_in_redis([next(seen) for _ in range(STREAMED)]))
    before = processes.resident_bytes([os.getpid()])
    groups = Groups(Reference.load())
    for _ in range(MOST):
        groups.take(Observation.read(next(seen)))
    told["window_bytes"] = processes.resident_bytes([os.getpid()]) - before
    _judge(groups)
    taking = judging = 0.0
    judged = 0
    for _ in range(TIMED // IN_A_PASS):
        records = [next(seen) for _ in range(IN_A_PASS)]
        began = time.process_time()
        for record in records:
            groups.take(Observation.read(record))
        taken = time.process_time()
        judged += _judge(groups)
        taking += taken - began
        judging += time.process_time() - taken
    told |= {
        "taking_us": round(1e6 * taking / TIMED),
        "judging_us": round(1e6 * judging / TIMED),
        "judged": judged,
        "judgement_ms": round(1e3 * judging / max(1, judged), 2),
        "observations_per_second": round(TIMED / (taking + judging)),
    }
    tell(f"campaigns: {told}")
    return told


def _judge(groups: Groups) -> int:
    """Judge whatever is due; how many groups that were."""
    judged = 0
    while groups.due():
        groups.judge(0, 1)
        judged += 1
    return judged


def observed(chance: random.Random, callers: int = HOLDERS, templates: int = WORDINGS) -> Iterator[bytes]:
    """Observations without end, of holders by lot: some wordings have many of them, and most have few."""
    learner = Learner(SECRET, Fingerprinter(SECRET))
    wordings = [int(templates * chance.random() ** 3) for _ in range(callers)]
    queries = [_query(chance, wording) for wording in range(templates) for _ in range(4)]
    sights = [learner.look(query) for query in queries]
    profiles = [Profile.new() for _ in range(templates)]
    number = 0
    while True:
        holder = chance.randrange(callers)
        wording, number = wordings[holder], number + 1
        sight = sights[4 * wording + chance.randrange(4)]
        trace = learner.learn(profiles[wording], sight, Usage(200, 300), number).trace
        place = {TieKind.POOL: f"{holder >> 8}.{holder & 255}.0", TieKind.ASN: f"AS{holder % 40}"}
        facts = {**place, TieKind.PAYMENT: f"card-{holder}", TieKind.CLIENT: f"program-{holder % 60}"}
        label = f"key:{holder:040x}"
        yield Observation(label, "", False, number, facts, holder, (), 0.5, 0.4, trace).write()


def _query(chance: random.Random, wording: int) -> Query:
    text = " ".join(chance.choices(WORDS, k=120))
    turns = Turn("system", f"You are helper {WORDS[wording % len(WORDS)]} {wording:x}."), Turn("user", text)
    return Query("m", turns, False, None, 1, len(text), 0)


async def _in_redis(records: Sequence[bytes]) -> dict[str, object]:
    """How large observations are, as they are written and as Redis keeps them."""
    with processes.folder_for("campaigns") as folder, processes.redis_server(folder) as (_, redis):
        told = {"identity": {"pepper": SECRET.decode()}, "store": {"redis_url": processes.url_of(redis)}}
        store = Installation.of(Settings.model_validate(told)).store
        await store.start()
        for start in range(0, len(records), AT_ONCE):
            await store.observe(records[start : start + AT_ONCE])
        await store.aclose()
        kept = redis.memory_usage(TRACES, samples=0)
    return {
        "bytes_written": round(sum(map(len, records)) / len(records)),
        "bytes_in_redis": round((kept or 0) / len(records)),
    }
