"""What Redis needs for a large installation, and what an admit costs there.

    python -m benchmarks.sizing                         1,000,000 identities; ten minutes
    python -m benchmarks.sizing --identities 10000      a look

Identities ask through guard with the limits of `guard init` and with detection, until each has a record,
counts, a coverage and a profile; the rest are copies of these (copies.py). To these come what is kept of
lineage, the stream that campaigns are found in, and campaigns. An admit is timed by the clock of
redis-server, by turns in the full one and in one with a thousand identities.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from benchmarks import processes
from benchmarks.sizing.copies import (
    CopyKeys,
    charge_of,
    copy_all,
    digests_of_all,
    identity_of,
    keys_of_identities,
)
from benchmarks.speed import campaigns, inprocess, prompts
from benchmarks.speed.apps import bare
from benchmarks.speed.load import quantile
from benchmarks.speed.settings import PEPPER
from guard import GuardMiddleware
from guard.campaigns.shingles import KEPT
from guard.core.campaigns import Campaign, Member, Verdict
from guard.core.query import Usage
from guard.settings.campaigns import CampaignSettings
from guard.store.port import MOST_TRACES, Reservation
from guard.store.redis.orders import OperatorStore
from guard.store.redis.scripts import ADMIT
from guard.store.slots import Issuer, Step, Table
from guard.store.transport.nodes import nodes_at
from guard.store.transport.url import RedisURL

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from redis import Redis

SAMPLED = 250
QUERIES = 12
"""Identities that ask, half of them with a name from the gateway and half with a key; and how often."""

READ_SECONDS = 10.0
"""By then what they have asked is read."""

FEW = 1_000
"""The number of identities in the server that the full one is compared with."""

CAMPAIGNS, MEMBERS = 1_000, 100
STEPS = 64

ROUNDS, ADMITS, AT_ONCE = 20, 400, 8

GB = 1e9

LONGEST_SLOWLOG = 100_000

SETTINGS = f"""
data_dir = "{{folder}}"
[store]
redis_url = "{{url}}"
deadline_ms = 5000
[identity]
pepper = "{PEPPER}"
trusted_proxies = ["{inprocess.ADDRESS}/32"]
[identity.headers]
user = "x-user"
[detection]
analyst = "thread"
"""


class Admits:
    """What each identity asked of the store last."""

    def __init__(self) -> None:
        self.of: dict[str, tuple[Reservation, dict[str, Any]]] = {}

    def listen(self) -> Any:
        """Listen to the store for as long as the block lasts."""
        admit, of = OperatorStore.admit, self.of

        async def heard(store: OperatorStore, reservation: Reservation, **options: Any) -> Any:
            of[str(reservation.identity.principal)] = reservation, options
            return await admit(store, reservation, **options)

        return patch.object(OperatorStore, "admit", heard)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--identities", type=int, default=1_000_000)
    parser.add_argument("--lineage-ids", type=int, default=10_000_000)
    parser.add_argument("--templates", type=int, default=10_000)
    parser.add_argument("--without-worker", action="store_true", help="do not time the worker")
    options = parser.parse_args()
    told: dict[str, object] = {
        "identities": options.identities,
        "lineage_ids": options.lineage_ids,
        "templates": options.templates,
    }
    with (
        processes.folder_for("sizing") as folder,
        processes.redis_server(folder) as (process, full),
        processes.redis_server(folder) as (_, few),
    ):
        told |= asyncio.run(_measured(options, folder, full, few))
        told["resident_bytes"] = processes.resident_bytes([process.pid])
    print(json.dumps(told, indent=1), flush=True)
    if not options.without_worker:
        campaigns.run(print, holders=options.templates, wordings=options.templates)


async def _measured(options: argparse.Namespace, folder: Path, full: Redis, few: Redis) -> dict[str, object]:
    admits, parts = Admits(), {}
    with admits.listen():
        for redis in (full, few):
            before = _used(redis)
            await _asked(folder, redis)
    parts["identities that asked"] = _used(full) - before
    kinds = _kinds(full)
    shared = digests_of_all(CopyKeys(PEPPER.encode()))
    copies = max(1, options.identities // SAMPLED)
    began, before = time.monotonic(), _used(full)
    keys, of_these = copy_all(full, shared, 1, copies)
    copy_all(few, shared, 1, FEW // SAMPLED)
    parts["identities"] = _used(full) - before
    told: dict[str, object] = {
        "copying_seconds": round(time.monotonic() - began),
        "keys_per_identity": round(of_these / SAMPLED, 2),
        "bytes_per_identity": round(parts["identities"] / (copies * SAMPLED)),
        "keys": keys,
    }
    store = _store(full)
    for part, filling in {
        "lineage": _lineage(store, options.lineage_ids),
        "stream": _stream(store, options.templates),
        "campaigns": _campaigns(store),
    }.items():
        before = _used(full)
        await filling
        parts[part] = _used(full) - before
    info = full.info("memory")
    told |= {
        "parts_gb": {name: round(size / GB, 3) for name, size in parts.items()},
        "used_memory_gb": round(info["used_memory"] / GB, 3),
        "used_memory_rss_gb": round(info["used_memory_rss"] / GB, 3),
        "bytes_by_kind": kinds,
        "admit": await _compared(
            admits, {"full": (full, store, copies), "few": (few, _store(few), FEW // SAMPLED)}
        ),
    }
    await store.aclose()
    return told


async def _asked(folder: Path, redis: Redis) -> None:
    """Identities ask, and what they have asked is read."""
    redis.flushall()
    config = folder / "guard.toml"
    config.write_text(SETTINGS.format(folder=folder / "data", url=processes.url_of(redis)))
    app = GuardMiddleware(bare(), config, log=False)
    chance = random.Random(1)
    bodies = [prompts.body(chance) for _ in range(256)]
    for _ in range(QUERIES):
        await asyncio.gather(*(_ask(app, number, chance.choice(bodies)) for number in range(SAMPLED)))
    await asyncio.sleep(READ_SECONDS)
    await app.aclose()


async def _ask(app: GuardMiddleware, number: int, body: bytes) -> None:
    """One request: of a user whom the gateway names, or of a key in a network with nine others."""
    who = (
        (b"x-user", b"user-%d" % number) if number % 2 else (b"authorization", b"Bearer sk-bench-%d" % number)
    )
    address = b"203.0.%d.%d" % (number // 20, number % 20)
    await inprocess.send(app, [who, (b"x-forwarded-for", address)], body)


def _store(redis: Redis) -> OperatorStore:
    nodes = partial(nodes_at, RedisURL.parse(processes.url_of(redis)), 60.0)
    return OperatorStore(CopyKeys(PEPPER.encode()), nodes, deadline_seconds=60.0)


async def _lineage(store: OperatorStore, ids: int) -> None:
    """Both tables, each page of them: they have their size from the first slot on."""
    chance = random.Random(2)
    for table in (Table.holding("ids", ids), Table.holding("turns", CampaignSettings().lineage_turns * KEPT)):
        pages = -(-table.buckets // table.page_buckets)
        tokens: list[int] = []
        for page in range(pages):
            # The bucket of a token follows from its upper 40 bits.
            tokens += (place << 24 | chance.getrandbits(24) for place in [page * table.page_buckets])
        tokens += (chance.getrandbits(64) for _ in range(200_000))
        for start in range(0, len(tokens), STEPS):
            part = tokens[start : start + STEPS]
            await store.trace([Step(table, token, Issuer(token & 0xFFFF, False), True) for token in part], 1)


async def _stream(store: OperatorStore, templates: int) -> None:
    """As many observations as are kept, in so many wordings."""
    observed = campaigns.observed(random.Random(3), templates, templates)
    known = [next(observed) for _ in range(10 * templates // 4)]
    for start in range(0, MOST_TRACES, campaigns.AT_ONCE):
        records = [known[(start + place) % len(known)] for place in range(campaigns.AT_ONCE)]
        await store.observe(records)


async def _campaigns(store: OperatorStore) -> None:
    now_us = time.time_ns() // 1000
    found = []
    for number in range(CAMPAIGNS):
        labels = (f"key:{place:032x}" for place in range(number * MEMBERS, (number + 1) * MEMBERS))
        members = {label: Member(now_us, 0.9) for label in labels}
        found.append(Campaign(f"c{number}", now_us, now_us, Verdict.LIKELY, 20.0, 0.9, members))
    await store.keep_campaigns(found, (), now_us)


async def _compared(
    admits: Admits, servers: dict[str, tuple[Redis, OperatorStore, int]]
) -> dict[str, object]:
    """What an admit takes of each server, in microseconds, by turns; and the ratio of both."""
    chance, took, ratios = random.Random(4), {name: list[float]() for name in servers}, []
    for redis, _, _ in servers.values():
        redis.config_set("slowlog-max-len", LONGEST_SLOWLOG)
        redis.config_set("slowlog-log-slower-than", 0)
    known = [*admits.of.values()]
    for turn in range(ROUNDS):
        medians = {}
        for name, (redis, store, copies) in [*servers.items()][:: 1 if turn % 2 else -1]:
            redis.slowlog_reset()
            waiting = iter(range(ADMITS))
            ask = partial(_admitted, store, known, copies, chance, waiting, turn)
            await asyncio.gather(*(ask() for _ in range(AT_ONCE)))
            times = _times(redis)
            took[name] += times
            medians[name] = statistics.median(times)
        ratios.append(medians["full"] / medians["few"])
    return {
        **{
            name: {"median_us": statistics.median(times), "p99_us": quantile(times, 0.99)}
            for name, times in took.items()
        },
        "ratio": round(statistics.median(ratios), 2),
        "ratios": [round(min(ratios), 2), round(max(ratios), 2)],
        "admits": ROUNDS * ADMITS,
    }


async def _admitted(
    store: OperatorStore,
    known: list[tuple[Reservation, dict[str, Any]]],
    copies: int,
    chance: random.Random,
    waiting: Iterator[int],
    turn: int,
) -> None:
    """Copies of identities, by lot, have a request admitted and settled."""
    for place in waiting:
        original, options = chance.choice(known)
        number = chance.randint(1, copies)
        charges = tuple(charge_of(each, number) for each in original.charges)
        reservation = Reservation(f"r{turn}_{place}", identity_of(original.identity, number), charges)
        suspect = options.get("suspect")
        if suspect is not None:
            options = {**options, "suspect": identity_of(original.identity, number).principal}
        verdict = await store.admit(reservation, **options)
        if verdict.admitted:
            owed = tuple(each for each in verdict.charged)
            await store.settle(Reservation(reservation.id, reservation.identity, owed), Usage(200, 10))


def _times(redis: Redis) -> list[float]:
    """How long each admit took, by the server's clock."""
    found = []
    for entry in redis.slowlog_get(LONGEST_SLOWLOG):
        words = bytes(entry["command"]).split(b" ", 2)
        if words[0].upper() == b"EVALSHA" and words[1] == ADMIT.sha.encode():
            found.append(float(entry["duration"]))
    return found


def _kinds(redis: Redis) -> dict[str, int]:
    """What each kind of key takes of the memory of an identity that asked, in bytes."""
    sizes: Counter[str] = Counter()
    for name in keys_of_identities(redis, digests_of_all(CopyKeys(PEPPER.encode()))):
        sizes[name.decode().rpartition(":")[2]] += redis.memory_usage(name, samples=0) or 0
    return {noun: round(size / SAMPLED) for noun, size in sizes.most_common()}


def _used(redis: Redis) -> int:
    return int(redis.info("memory")["used_memory"])


if __name__ == "__main__":
    main()
