"""A limit is a limit however many processes ask at once: on one server, and on a cluster."""

from __future__ import annotations

import secrets
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, cast
from zoneinfo import ZoneInfo

import pytest

from guard.core.calendars import Span
from guard.core.identity import EVERYTHING, Attribute, Holder, Identity, VouchedBy
from guard.core.limits import Algorithm, Charge, Limit, Unit, Window
from guard.core.query import Usage
from guard.store.port import Reservation

sys.path.insert(0, str(Path(__file__).parent))

from admitting import Task, prepare, store_at, work
from servers import cluster, standalone

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from guard.store.redis.orders import OperatorStore

PROCESSES = 4
TASKS = 200
YEAR_SECONDS = 365 * 86_400
"""A window so long that nothing of it is forgotten during a test."""

ALICE = Identity(
    Holder(Attribute.KEY, "alice"),
    {Attribute.KEY: "alice", Attribute.ORG: "acme"},
    vouched_by=VouchedBy.KEYS_FILE,
)
CALLERS = [
    Identity(Holder(Attribute.KEY, f"{org}{number}"), {Attribute.KEY: f"{org}{number}", Attribute.ORG: org})
    for org in ("acme", "brook")
    for number in range(4)
]

WINDOWS = [Algorithm.SLIDING_WINDOW, Algorithm.GCRA, Algorithm.CALENDAR]
UNITS = [*(unit for unit in Unit if unit is not Unit.CONCURRENCY), "pages"]
EVERY_KIND = [*((unit, each) for unit in UNITS for each in WINDOWS), (Unit.CONCURRENCY, Algorithm.LEASES)]
NESTED = (
    [(Unit.REQUESTS, each) for each in WINDOWS] + [(Unit.TOKENS, each) for each in WINDOWS] + EVERY_KIND[-1:]
)


@dataclass(frozen=True)
class Deployment:
    """Servers, and processes that ask them at the same time."""

    url: str
    pool: ProcessPoolExecutor
    pepper: bytes

    @asynccontextmanager
    async def store(self) -> AsyncIterator[OperatorStore]:
        store = store_at(self.url, self.pepper)
        try:
            yield store
        finally:
            await store.aclose()

    def at_once(self, tasks: Sequence[Task]) -> list[str]:
        """The names of the tasks that were admitted, of all that were spread over the processes."""
        parts = [list(tasks[number::PROCESSES]) for number in range(PROCESSES)]
        done = [self.pool.submit(work, self.url, self.pepper, part) for part in parts]
        return [name for each in done for name in each.result()]


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    """Processes that each wait for all the others before they begin, so each does one part."""
    context = get_context("spawn")
    everyone = context.Barrier(PROCESSES)
    with ProcessPoolExecutor(PROCESSES, context, prepare, (everyone,)) as pool:
        yield pool


@pytest.fixture(scope="module", params=["one server", "cluster"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "cluster":
        with cluster(masters=3) as several:
            yield f"redis+cluster://{','.join(master.address for master in several.masters)}"
    else:
        with standalone() as one:
            yield f"redis://{one.address}"


@pytest.fixture
def deployment(url: str, pool: ProcessPoolExecutor) -> Deployment:
    return Deployment(url, pool, secrets.token_bytes(16))


def limit(unit: str, algorithm: Algorithm, count: int, per: Attribute = Attribute.KEY) -> Limit:
    calendar = algorithm is Algorithm.CALENDAR
    window = Window(
        count, 0 if algorithm is Algorithm.LEASES else YEAR_SECONDS, count, Span.YEAR if calendar else None
    )
    return Limit(
        f"{per}-{unit}", unit, (per,), algorithm, (window,), zone=ZoneInfo("UTC") if calendar else None
    )


def charges(identity: Identity, limits: Sequence[Limit], amount: int) -> tuple[Charge, ...]:
    return tuple(Charge(each, identity.holder(*each.per), amount) for each in limits)


async def used(store: OperatorStore, identity: Identity, limits: Sequence[Limit]) -> list[int]:
    verdict = await store.look(identity, charges(identity, limits, 0))
    return [reading.window.burst - reading.remaining for reading in verdict.readings]


def amount_of(unit: str) -> int:
    """What one request asks for: a whole slot or request, but of other units a number that leaves a rest."""
    return 1 if unit in (Unit.REQUESTS, Unit.CONCURRENCY) else 7


@pytest.mark.parametrize(("unit", "algorithm"), EVERY_KIND)
async def test_exactly_the_limit_is_admitted_and_nothing_else_is_charged(
    deployment: Deployment, unit: str, algorithm: Algorithm
) -> None:
    amount = amount_of(unit)
    limits = [limit(unit, algorithm, 50)]
    tasks = [Task(f"r{number}", ALICE, charges(ALICE, limits, amount)) for number in range(TASKS)]
    admitted = deployment.at_once(tasks)
    async with deployment.store() as store:
        assert len(set(admitted)) == len(admitted) == 50 // amount
        assert await used(store, ALICE, limits) == [50 // amount * amount]


@pytest.mark.parametrize(("unit", "algorithm"), EVERY_KIND)
async def test_what_is_settled_is_what_is_counted(
    deployment: Deployment, unit: str, algorithm: Algorithm
) -> None:
    """Some requests take more than was reserved, most take less, and others are admitted in between."""
    amount = amount_of(unit)
    limits = [limit(unit, algorithm, 500)]
    estimated = limits[0].estimated
    tasks = [
        Task(f"r{number}", ALICE, charges(ALICE, limits, amount), number % 11 if estimated else amount)
        for number in range(TASKS)
    ]
    admitted = set(deployment.at_once(tasks))
    async with deployment.store() as store:
        counted = (
            0
            if unit == Unit.CONCURRENCY
            else sum(cast("int", each.used) for each in tasks if each.name in admitted)
        )
        assert admitted
        assert await used(store, ALICE, limits) == [counted]


@pytest.mark.parametrize(("unit", "algorithm"), NESTED)
async def test_a_request_is_charged_to_all_limits_above_it_or_to_none(
    deployment: Deployment, url: str, unit: str, algorithm: Algorithm
) -> None:
    """25 requests for each of 8 keys, which may have 20, in 2 orgs, which may have 60, of all 100.

    On a cluster, a request that is refused in one slot is for a moment counted in others. So some may be
    refused for which there was room, but their room is still there.
    """
    amount = amount_of(unit)
    limits = [
        limit(unit, algorithm, count * amount, per)
        for per, count in ((Attribute.KEY, 20), (Attribute.ORG, 60), (Attribute.EVERYTHING, 100))
    ]
    tasks = [
        Task(f"r{number}", caller, charges(caller, limits, amount))
        for number, caller in enumerate(CALLERS * (TASKS // len(CALLERS)))
    ]
    admitted = set(deployment.at_once(tasks))
    async with deployment.store() as store:

        async def books_balance() -> None:
            callers = [each.identity for each in tasks if each.name in admitted]
            for caller in CALLERS:
                org = caller.attributes[Attribute.ORG]
                assert await used(store, caller, limits) == [
                    amount * callers.count(caller),
                    amount * sum(each.attributes[Attribute.ORG] == org for each in callers),
                    amount * len(callers),
                ]

        await books_balance()
        if "cluster" in url:
            for task in [each for each in tasks if each.name not in admitted]:
                again = Task(f"{task.name}-again", task.identity, task.charges)
                if (await store.admit(Reservation(again.name, again.identity, again.charges))).admitted:
                    tasks.append(again)
                    admitted.add(again.name)
            await books_balance()
        assert len(admitted) == 100


@pytest.mark.parametrize(("unit", "algorithm"), NESTED)
@pytest.mark.parametrize("refusing", [Attribute.KEY, Attribute.ORG, Attribute.EVERYTHING])
async def test_where_one_limit_refuses_the_others_are_taken_back(
    deployment: Deployment, refusing: Attribute, unit: str, algorithm: Algorithm
) -> None:
    """Whichever it is, and on a cluster in whichever slot."""
    amount = amount_of(unit)
    limits = [
        limit(unit, algorithm, (3 if per is refusing else 100) * amount, per)
        for per in (Attribute.KEY, Attribute.ORG, Attribute.EVERYTHING)
    ]
    async with deployment.store() as store:
        admitted = [
            (await store.admit(Reservation(f"r{number}", ALICE, charges(ALICE, limits, amount)))).admitted
            for number in range(5)
        ]
        assert admitted == [True] * 3 + [False] * 2
        assert await used(store, ALICE, limits) == [3 * amount] * 3


@pytest.mark.parametrize(("unit", "algorithm"), NESTED)
async def test_each_has_its_floor_of_what_all_share_however_many_ask_at_once(
    deployment: Deployment, unit: str, algorithm: Algorithm
) -> None:
    amount = amount_of(unit)
    shared = replace(limit(unit, algorithm, 30 * amount, Attribute.EVERYTHING), floor=5 * amount)
    tasks = [
        Task(
            f"r{number}",
            caller,
            (
                Charge(shared, EVERYTHING, amount),
                Charge(shared.for_each(), Holder.together((EVERYTHING, caller.principal)), amount),
                Charge(shared.for_floors(), EVERYTHING, amount),
            ),
        )
        for number, caller in enumerate(CALLERS * (TASKS // len(CALLERS)))
    ]
    admitted = set(deployment.at_once(tasks))
    counts = Counter(task.identity.principal for task in tasks if task.name in admitted)
    assert len(counts) == len(CALLERS)
    assert min(counts.values()) >= 5
    assert sum(counts.values()) <= 2 * 30
    # Who has more than its floor has all of that from what is shared.
    assert sum(count for count in counts.values() if count > 5) <= 30
    async with deployment.store() as store:
        assert await used(store, ALICE, [shared]) == [30 * amount]


async def test_who_has_used_what_is_on_record_wherever_the_limits_are_kept(deployment: Deployment) -> None:
    limits = [
        limit(Unit.TOKENS, Algorithm.GCRA, 100, per)
        for per in (Attribute.KEY, Attribute.ORG, Attribute.EVERYTHING)
    ]
    async with deployment.store() as store:
        for name in ("r1", "r1", "r2"):
            owed = charges(ALICE, limits, 9)
            await store.admit(Reservation(name, ALICE, owed))
            await store.settle(Reservation(name, ALICE, owed), Usage(4, 5), cost=6)
        record = await store.record(ALICE.principal)
        assert record is not None
        assert (record.admitted, record.input_tokens, record.output_tokens, record.cost) == (2, 8, 10, 12)
        assert str(ALICE.principal) in await store.labels()
