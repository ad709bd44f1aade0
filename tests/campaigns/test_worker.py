"""The worker: what was observed becomes campaigns in the store, one worker at a time, and nothing is lost."""

from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING

import pytest
from fleets import REFERENCE, START_US, Fleet, customers, mixed, sharing_out

from guard.background import Background
from guard.campaigns import worker as worker_module
from guard.campaigns.groups import Groups
from guard.campaigns.lineage import Exchange, Kind, Lineage, Whose
from guard.campaigns.observation import Forgotten, Observation, Refusal, read
from guard.campaigns.observer import LATELY_US, Observer
from guard.campaigns.worker import LEASE_SECONDS, Worker
from guard.core.campaigns import Judged, Lag, TieKind, Verdict, campaign_of
from guard.core.identity import Attribute, Holder, Identity, VouchedBy
from guard.core.pseudonyms import Pseudonyms
from guard.core.signals import Signal
from guard.core.uses import Declared, Use
from guard.errors import StoreError
from guard.settings.root import Settings
from guard.store.memory.store import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guard.campaigns.groups import Changes
    from guard.detection.trace import Trace

KEYS = Pseudonyms(b"a pepper of the tests")
HYDRA = Fleet("hydra", sharing_out(), lambda _: {TieKind.PAYMENT: "visa"})
APP = Fleet("app", customers(system="You take orders for a shop of lamps."))


class Clock:
    now_us = START_US

    def date_us(self) -> int:
        return self.now_us


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> MemoryStore:
    return MemoryStore(clock.date_us, keys=KEYS)


@pytest.fixture(autouse=True)
def _reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("guard.campaigns.worker.Reference.load", lambda _: REFERENCE)


def made(store: MemoryStore, clock: Clock) -> Worker:
    return Worker(store, Settings(), date_us=clock.date_us)


async def observed(store: MemoryStore, clock: Clock, seen: Sequence[Observation]) -> None:
    await store.observe([each.write() for each in seen])
    clock.now_us = seen[-1].at_us


async def test_what_was_observed_becomes_a_campaign(store: MemoryStore, clock: Clock) -> None:
    await observed(store, clock, mixed(HYDRA.observed(), APP.observed()))
    worker = made(store, clock)
    await worker.step()
    (found,) = await store.campaigns()
    assert found.found is Verdict.LIKELY
    assert found.members.keys() == HYDRA.labels
    assert await store.lag() == Lag()
    membership = await store.membership(0)
    assert membership is not None
    assert {campaign_of(pool) for pool in membership.pools.values()} == {found.id}
    assert len(membership.pools) == len(HYDRA.labels)


async def test_a_hand_over_makes_a_wording_likely(store: MemoryStore, clock: Clock) -> None:
    """Whoever sends the same work through all accounts goes on with another one where one is refused."""
    fleet = Fleet("relay", sharing_out(each=12))
    seen, records, at_us = fleet.observed(), list[bytes](), START_US
    pauses = Random(1)
    for turn in range(60):
        label = fleet.label(turn % 20)
        for each in [one for one in seen if one.label == label][turn // 20 * 4 :][:4]:
            at_us += pauses.randint(120, 360) * 1_000_000
            records.append(each._replace(at_us=at_us).write())
        records.append(Refusal(label, at_us + 60_000_000).write())
    await store.observe(records)
    clock.now_us = at_us
    await made(store, clock).step()
    (found,) = await store.campaigns()
    assert found.found is Verdict.LIKELY
    (tie,) = [each for each in found.ties if each.kind is TieKind.HANDOVER]
    assert tie.members == 20
    assert any("refusals of one of them" in each.text for each in found.speaks_for)


async def test_its_members_are_accused_and_nobody_else(store: MemoryStore, clock: Clock) -> None:
    await observed(store, clock, mixed(HYDRA.observed(), APP.observed()))
    await made(store, clock).step()
    for label, accused in (("key:hydra3", True), ("key:app3", False)):
        evidence = store._evidence.get(Holder.parse(label))
        assert (evidence is not None and Signal.CAMPAIGN in evidence.marks) is accused


async def test_one_worker_looks_at_a_time_and_another_goes_on(store: MemoryStore, clock: Clock) -> None:
    first, second = made(store, clock), made(store, clock)
    await first.step()
    await second.step()
    assert (first.leads, second.leads) == (True, False)
    await observed(store, clock, HYDRA.observed())
    clock.now_us += int(LEASE_SECONDS * 2e6)  # the first is dead
    await second.step()
    assert len(await store.campaigns()) == 1
    await first.step()
    assert (first.leads, second.leads) == (False, True)


async def test_who_ends_lets_another_go_on_at_once(store: MemoryStore, clock: Clock) -> None:
    first, second = made(store, clock), made(store, clock)
    await first.step()
    await first.aclose()
    await second.step()
    assert second.leads


async def test_a_worker_that_begins_anew_finds_the_same(store: MemoryStore, clock: Clock) -> None:
    await observed(store, clock, HYDRA.observed())
    first = made(store, clock)
    await first.step()
    before = await store.campaigns()
    await first.aclose()
    await made(store, clock).step()
    after = await store.campaigns()
    assert [(each.id, each.since_us, each.members.keys()) for each in after] == [
        (each.id, each.since_us, each.members.keys()) for each in before
    ]


async def test_a_person_s_word_is_heard(store: MemoryStore, clock: Clock) -> None:
    seen = HYDRA.observed()
    await observed(store, clock, seen[:300])
    worker = made(store, clock)
    await worker.step()
    (found,) = await store.campaigns()
    await store.judge(found.id, Judged(Verdict.UNRELATED, "ann", "a hackathon", clock.now_us))
    await store.clear(found.id, "key:hydra5")
    await observed(store, clock, seen[300:])
    await worker.step()
    (found,) = await store.campaigns()
    assert found.verdict(clock.now_us) is Verdict.UNRELATED
    assert "key:hydra5" not in found.members
    membership = await store.membership(0)
    assert membership is not None
    assert not membership.pools


async def test_what_is_no_observation_is_skipped(
    store: MemoryStore, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    named = [seen._replace(label="nobody").write() for seen in HYDRA.observed()]
    await store.observe([b"", b"nonsense", b"\x00" * 9_000, *named])
    await observed(store, clock, HYDRA.observed())
    await made(store, clock).step()
    assert len(await store.campaigns()) == 1
    assert "skipped" in caplog.text


async def test_what_is_too_much_for_a_pass_is_read_in_the_next(
    store: MemoryStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "AT_ONCE", 50)
    monkeypatch.setattr(worker_module, "IN_A_PASS", 100)
    await observed(store, clock, HYDRA.observed())
    worker = made(store, clock)
    lags = []
    for _ in range(4):
        await worker.step()
        lags.append((await store.lag()).queries)
    assert lags == [300, 200, 100, 0]
    assert len(await store.campaigns()) == 1


async def test_who_has_lost_the_lead_while_it_read_writes_nothing(store: MemoryStore, clock: Clock) -> None:
    await observed(store, clock, HYDRA.observed())
    slow, read = made(store, clock), store.traces

    async def traces(after: str, count: int) -> list[tuple[str, bytes]]:
        clock.now_us += int(LEASE_SECONDS * 2e6)
        assert await store.lead("another", LEASE_SECONDS)
        return await read(after, count)

    store.traces = traces  # type: ignore[method-assign]
    await slow.step()
    assert not slow.leads
    assert await store.campaigns() == []
    assert (await store.lag()).queries == len(HYDRA.observed())


async def test_a_mistake_does_not_end_it(
    store: MemoryStore, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await observed(store, clock, HYDRA.observed())
    judge, calls, over = Groups.judge, 0, asyncio.Event()

    def judged(groups: Groups, now_us: int, most: int) -> Changes:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise KeyError("a mistake")
        over.set()
        return judge(groups, now_us, most)

    monkeypatch.setattr(Groups, "judge", judged)
    monkeypatch.setattr(worker_module, "PASS_SECONDS", 0.0)
    running = asyncio.create_task(made(store, clock).run())
    await over.wait()
    running.cancel()
    assert "has failed" in caplog.text
    assert len(await store.campaigns()) == 1


class Full:
    async def observe(self, records: Sequence[bytes]) -> None:
        raise StoreError("full", kind="full")


class Collecting:
    def __init__(self) -> None:
        self.calls: list[list[Observation]] = []
        self.refused: list[Refusal] = []

    async def observe(self, records: Sequence[bytes]) -> None:
        told = [read(record) for record in records]
        self.calls.append([each for each in told if isinstance(each, Observation)])
        self.refused += [each for each in told if isinstance(each, Refusal)]


def a_trace() -> Trace:
    return HYDRA.observed()[0].trace


def observer(store: Collecting | Full, background: Background, **uses: Declared) -> Observer:
    holders = {Holder(Attribute.KEY, name): use for name, use in uses.items()}
    return Observer(KEYS, store, collect_seconds=0.0, background=background, uses=holders)


KEY = Holder(Attribute.KEY, "k")


async def test_what_was_read_in_one_moment_is_added_in_one_call() -> None:
    store, background = Collecting(), Background()
    observing = observer(store, background)
    identity = Identity(KEY, {Attribute.ORG: "acme", Attribute.PAYMENT: "f" * 32}, VouchedBy.TOKEN)
    for number in range(300):
        observing.take(KEY, identity, START_US + number, a_trace(), 200, 100)
    observing.flush()
    await background.quiet()
    assert [len(call) for call in store.calls] == [256, 44]
    seen = store.calls[0][0]
    assert (seen.label, seen.org, seen.verified, seen.at_us) == ("key:k", "org:acme", True, START_US)
    assert seen.facts == {TieKind.PAYMENT: "f" * 32}
    assert (seen.drew, seen.paid) == (0.2, 0.1)


async def test_whose_answers_came_back_goes_with_the_next_observation() -> None:
    store, background = Collecting(), Background()
    observing = observer(store, background)
    other = Identity(Holder(Attribute.KEY, "other"))
    exchange = Exchange(Identity(KEY), KEY, START_US, {}, (), (), ())
    name = KEYS.digest(other.principal)[:8]
    observing.hear(exchange, [Lineage(Kind.ID, name, Whose.ANOTHER, 2)])
    observing.hear(exchange, [Lineage(Kind.TEXT, "00000001", Whose.OWN, 1)])
    observing.take(KEY, Identity(KEY), START_US, a_trace(), 1, 1)
    observing.take(KEY, Identity(KEY), START_US, a_trace(), 1, 1)
    observing.take(other.principal, other, START_US, a_trace(), 1, 1)
    observing.flush()
    await background.quiet()
    first, second, third = store.calls[0]
    assert first.links == ((int(name, 16), 1.0),)
    assert second.links == ()
    assert third.me == int(name, 16)


async def test_who_is_declared_is_not_observed_but_a_router_s_end_users_are() -> None:
    store, background = Collecting(), Background()
    observing = observer(store, background, k=Declared(Use.BATCH), r=Declared(Use.ROUTER))
    observing.take(KEY, Identity(KEY), START_US, a_trace(), 1, 1)
    router = Identity(Holder(Attribute.KEY, "r"), {Attribute.END_USER: "ann"})
    observing.take(router.principal, router, START_US, a_trace(), 1, 1)
    observing.take(router.holder(Attribute.END_USER), router, START_US, a_trace(), 1, 1)
    observing.flush()
    await background.quiet()
    assert [seen.label for call in store.calls for seen in call] == ["key:r+end_user:ann"]


async def test_it_is_told_of_whoever_has_asked_lately_that_it_was_refused() -> None:
    store, background = Collecting(), Background()
    observing = observer(store, background, r=Declared(Use.ROUTER))
    router, stranger = Identity(Holder(Attribute.KEY, "r")), Holder(Attribute.KEY, "stranger")
    observing.take(KEY, Identity(KEY), START_US, a_trace(), 1, 1)
    observing.take(router.principal, router, START_US, a_trace(), 1, 1)
    for holder, identity, at_us in (
        (KEY, Identity(KEY), START_US + LATELY_US),
        (KEY, Identity(KEY), START_US + LATELY_US + 1),
        (router.principal, router, START_US),
        (stranger, Identity(stranger), START_US),
    ):
        observing.refuse(holder, identity, at_us)
    observing.flush()
    await background.quiet()
    observing.take(router.principal, router, START_US, a_trace(), 1, 1)
    assert store.refused == [Refusal("key:k", START_US + LATELY_US)]


async def test_a_refusal_that_is_read_before_the_answers_before_it_is_told_with_them() -> None:
    store, background = Collecting(), Background()
    observing = observer(store, background)
    observing.refuse(KEY, Identity(KEY), START_US + 5)
    observing.refuse(Holder(Attribute.KEY, "made up"), Identity(KEY), START_US)
    observing.take(KEY, Identity(KEY), START_US, a_trace(), 1, 1)
    observing.flush()
    await background.quiet()
    assert store.refused == [Refusal("key:k", START_US + 5)]


async def test_what_the_store_does_not_take_is_lost_and_said(caplog: pytest.LogCaptureFixture) -> None:
    background = Background()
    observing = observer(Full(), background)
    observing.take(KEY, Identity(KEY), START_US, a_trace(), 1, 1)
    observing.flush()
    await background.quiet()
    assert "unobserved" in caplog.text


async def test_no_address_is_observed() -> None:
    store, background = Collecting(), Background()
    observing = observer(store, background)
    network = Identity(Holder(Attribute.NETWORK, "198.51.100.7"), {Attribute.POOL: "198.51.100.0/24"})
    observing.take(network.principal, network, START_US, a_trace(), 1, 1)
    observing.flush()
    await background.quiet()
    (seen,) = store.calls[0]
    assert "198.51" not in str(seen)
    assert seen.label.startswith("network:")


async def test_who_is_to_be_forgotten_comes_into_no_campaign_any_more(
    store: MemoryStore, clock: Clock
) -> None:
    await observed(store, clock, HYDRA.observed())
    worker = made(store, clock)
    await worker.step()
    gone = HYDRA.label(0)
    await store.observe([Forgotten(gone).write()])
    await observed(store, clock, [each for each in HYDRA.observed(clock.now_us) if each.label != gone])
    await worker.step()
    (found,) = await store.campaigns()
    assert found.members.keys() == HYDRA.labels - {gone}
    groups = worker._groups
    assert groups is not None
    assert gone not in repr([vars(groups), vars(groups.window), *groups.window])
