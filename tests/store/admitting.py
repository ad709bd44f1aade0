"""What one of several processes does at once with the others: admit requests, and settle them.

It is a module of its own so that a process which is started anew can import it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from guard.core.query import NO_USAGE
from guard.store.port import Reservation
from guard.store.redis.keys import Keys
from guard.store.redis.orders import OperatorStore
from guard.store.transport.nodes import nodes_at
from guard.store.transport.url import Kind, RedisURL

if TYPE_CHECKING:
    from multiprocessing.synchronize import Barrier

    from guard.core.identity import Identity
    from guard.core.limits import Charge

PATIENT_SECONDS = 30.0
"""A slow test machine is not a store that is down."""


@dataclass(frozen=True)
class Task:
    """One request; with `used`, it is settled to so many units of each limit as soon as it is admitted."""

    name: str
    identity: Identity
    charges: tuple[Charge, ...]
    used: int | None = None


def store_at(url: str, pepper: bytes) -> OperatorStore:
    parsed = RedisURL.parse(url)
    return OperatorStore(
        Keys(pepper, together=parsed.kind is Kind.CLUSTER),
        partial(nodes_at, parsed, PATIENT_SECONDS),
        deadline_seconds=PATIENT_SECONDS,
    )


def prepare(everyone: Barrier) -> None:
    """Let a process of the pool know those that it works with."""
    global _everyone
    _everyone = everyone


def work(url: str, pepper: bytes, tasks: list[Task]) -> list[str]:
    """Do all tasks at the same time, when every process is there; the names of those that were admitted."""
    _everyone.wait(PATIENT_SECONDS)
    return asyncio.run(_work(url, pepper, tasks))


_everyone: Barrier


async def _work(url: str, pepper: bytes, tasks: list[Task]) -> list[str]:
    store = store_at(url, pepper)
    try:
        admitted = await asyncio.gather(*(_do(store, task) for task in tasks))
    finally:
        await store.aclose()
    return [task.name for task, each in zip(tasks, admitted, strict=True) if each]


async def _do(store: OperatorStore, task: Task) -> bool:
    verdict = await store.admit(Reservation(task.name, task.identity, task.charges))
    if verdict.admitted and task.used is not None:
        owed = [charge._replace(amount=task.used, spare=0) for charge in verdict.charged]
        await store.settle(Reservation(task.name, task.identity, owed), NO_USAGE)
    return verdict.admitted
