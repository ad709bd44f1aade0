from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from fakes import Clock, FlakyStore, Heard, TimedStore

from guard.analyst.transcript import UNSEEN, Copies
from guard.analyst.transcript import Outcome as Read
from guard.clock import SystemClock
from guard.core.decision import Action, Reason
from guard.core.globs import GlobTable
from guard.core.identity import Attribute, Holder, Identity, VouchedBy
from guard.core.limits import Algorithm, Charge, Limit, Unit, Window
from guard.core.modes import Mode, Rollout
from guard.core.novelty import Payout, Piece
from guard.core.policy import Caller, OnStoreError, Policy, RouteAction, Tier
from guard.core.prices import PriceTable
from guard.core.query import Query, Usage
from guard.engine.engine import Engine
from guard.engine.outage.breaker import OPEN, Breaker
from guard.errors import StoreError
from guard.store.memory.store import MemoryStore
from guard.store.port import Reservation

if TYPE_CHECKING:
    from collections.abc import Callable

    from guard.analyst.transcript import Transcript
    from guard.store.port import Store, Verdict
    from guard.store.redis.orders import OperatorStore
    from guard.telemetry.events import Event

ALICE = Identity(Holder(Attribute.KEY, "alice"), {Attribute.KEY: "alice"}, vouched_by=VouchedBy.KEYS_FILE)
QUERY = Query("m", (), stream=False, max_output_tokens=100, n=1, input_bytes=40, other_tokens=0)
LIMITS = tuple(
    Limit(name, unit, (Attribute.KEY,), Algorithm.SLIDING_WINDOW, (Window(count, 3600, count),))
    for name, unit, count in (("requests", Unit.REQUESTS, 3), ("tokens", Unit.TOKENS, 1000))
)


def policy(on_store_error: OnStoreError = OnStoreError.DENY, mode: Mode = Mode.ENFORCE) -> Policy:
    return Policy(
        rollout=Rollout(mode),
        tiers={"default": Tier("default", LIMITS, on_store_error)},
        default_tier="default",
        routes=(),
        unknown_paths=RouteAction.DENY,
        max_output_tokens=GlobTable.of({}),
        default_max_output_tokens=4096,
        prices=PriceTable.of({}),
    )


def owed(identity: Identity, query: Query) -> tuple[Charge, ...]:
    return policy().reserve(identity, policy().demand(identity, query), Caller())


async def left(store: OperatorStore) -> list[int]:
    verdict = await store.look(ALICE, [Charge(limit, ALICE.principal, 0) for limit in LIMITS])
    return [reading.remaining for reading in verdict.readings]


async def test_an_estimate_is_reserved_and_settled_to_the_usage(store: OperatorStore) -> None:
    engine = Engine(policy(), store, store.keys, hooks=())
    admission = await engine.admit("r", ALICE, QUERY, "/")
    assert not admission.refused
    assert await left(store) == [2, 1000 - 110]
    await engine.settle(admission, Usage(12, 34), 200)
    assert await left(store) == [2, 1000 - 46]


async def test_a_hook_is_told_no_payout_where_the_store_has_not_said_what_it_charged(
    store: OperatorStore,
) -> None:
    events: list[Event] = []
    flaky = FlakyStore(store, "timeout")
    unknown = Engine(policy(OnStoreError.ALLOW), flaky, store.keys, hooks=[events.append])
    await unknown.settle(await unknown.admit("c", ALICE, QUERY, "/"), Usage(12, 34), 200)
    assert events[-1].novelty is None
    flaky.broken = False
    await unknown.drain()


class SlowReader:
    """Takes transcripts, and says what comes of them when it is told to."""

    def __init__(self) -> None:
        self.taken: list[tuple[Transcript, Callable[[Read], None]]] = []

    def hand_over(self, transcript: Transcript, done: Callable[[Read], None]) -> None:
        self.taken.append((transcript, done))

    def finish(self, *outcomes: Read) -> None:
        taken, self.taken = self.taken, []
        for (_, done), outcome in zip(taken, outcomes, strict=True):
            done(outcome)


class PayingReader:
    """Has every answer pay for the same place of a coverage."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.paying: set[asyncio.Task[None]] = set()

    def hand_over(self, transcript: Transcript, done: Callable[[Read], None]) -> None:
        self.paying.add(asyncio.create_task(self.pay(transcript, done)))

    async def pay(self, transcript: Transcript, done: Callable[[Read], None]) -> None:
        payout = Payout((Piece(transcript.reservation.charges[0].amount, 0, 1),), 0, 1)
        done(Read(seen=True, paid=await self.store.pay(transcript.reservation, transcript.receipts, payout)))

    async def quiet(self) -> None:
        if self.paying:
            await asyncio.wait(self.paying)


BUDGET = Limit(
    "diversity", Unit.NOVELTY, (Attribute.KEY,), Algorithm.SLIDING_WINDOW, (Window(9_000, 3600, 9_000),)
)
COPIES = Copies("openai.chat", "/v1/chat/completions", None, b"{}", b'{"choices":[]}', "application/json", ())


def fail_once(monkeypatch: pytest.MonkeyPatch, store: OperatorStore, method: str) -> None:
    """Have the first call of a method of the store fail."""
    call, failures = getattr(store, method), [StoreError("gone", kind="connection")]

    async def failing(*arguments: Any, **named: Any) -> Any:
        if failures:
            raise failures.pop()
        return await call(*arguments, **named)

    monkeypatch.setattr(store, method, failing)


class TestTranscripts:
    """What an answer costs a diversity budget is known later than it is settled, and by somebody else."""

    @pytest.fixture
    def reader(self) -> SlowReader:
        return SlowReader()

    @pytest.fixture
    def heard(self) -> Heard:
        return Heard()

    @pytest.fixture
    def engine(self, store: OperatorStore, reader: SlowReader, heard: Heard) -> Engine:
        tiers = {"default": Tier("default", (*LIMITS, BUDGET), OnStoreError.DENY)}
        return Engine(replace(policy(), tiers=tiers), store, store.keys, hooks=[heard], reader=reader)

    async def ask(
        self, engine: Engine, name: str, copies: Copies | None = COPIES, status: int | None = 200
    ) -> None:
        await engine.settle(await engine.admit(name, ALICE, QUERY, "/"), Usage(12, 512), status, copies)

    async def used(self, store: OperatorStore) -> int:
        verdict = await store.look(ALICE, [Charge(BUDGET, ALICE.principal, 0)])
        return 9_000 - verdict.readings[0].remaining

    async def test_an_answer_is_settled_at_once_and_what_it_has_paid_out_is_told_later(
        self, engine: Engine, store: OperatorStore, reader: SlowReader, heard: Heard
    ) -> None:
        for name in ("a", "b"):
            await self.ask(engine, name)
        assert await self.used(store) == 2_000
        assert [event.novelty for event in heard] == [1.0, 1.0]
        reader.finish(Read(seen=True, paid=1_500), Read(seen=True, paid=0))
        assert [(read.request_id, read.novelty, read.seen) for read in heard.reads] == [
            ("a", 1.5, True),
            ("b", 0.0, True),
        ]

    async def test_what_is_handed_over_is_enough_to_pay(
        self, engine: Engine, store: OperatorStore, reader: SlowReader
    ) -> None:
        await self.ask(engine, "a")
        transcript, _ = reader.taken[0]
        (drawn,) = transcript.reservation.charges
        assert (drawn.limit, drawn.holder, drawn.amount) == (BUDGET, ALICE.principal, 1_000)
        assert (transcript.body, transcript.answer, transcript.path) == (
            COPIES.body,
            COPIES.answer,
            COPIES.path,
        )
        payout = Payout((Piece(1_000, 0, 1),), 0, 1)
        assert await store.pay(transcript.reservation, transcript.receipts, payout) == 1_000
        again = transcript.reservation._replace(id="again")
        assert await store.pay(again, transcript.receipts, payout) == 0
        assert await self.used(store) == 0

    async def test_what_the_settle_charged_stands_where_a_query_is_not_read_and_that_is_counted(
        self, engine: Engine, store: OperatorStore, reader: SlowReader, heard: Heard
    ) -> None:
        await self.ask(engine, "lost")
        reader.finish(UNSEEN)
        await self.ask(engine, "not kept", copies=None)
        assert [event.novelty for event in heard] == [1.0, 1.0]
        assert [(read.novelty, read.seen) for read in heard.reads] == [(None, False)] * 2
        assert await self.used(store) == 2_000

    async def test_of_an_answer_that_nobody_knows_the_query_is_read_and_nothing_is_paid(
        self, engine: Engine, reader: SlowReader
    ) -> None:
        await self.ask(engine, "a", COPIES._replace(answer=None))
        assert reader.taken[0][0].reservation.charges == ()

    @pytest.mark.parametrize("status", [400, 500, None])
    async def test_what_the_backend_refused_is_not_read(
        self, engine: Engine, reader: SlowReader, heard: Heard, status: int | None
    ) -> None:
        await self.ask(engine, "a", status=status)
        assert reader.taken == []
        assert heard.reads == []

    async def test_a_worker_that_stops_first_has_charged_all(
        self, engine: Engine, store: OperatorStore, reader: SlowReader
    ) -> None:
        await self.ask(engine, "a")
        await engine.drain(seconds=0)
        assert await self.used(store) == 1_000

    async def test_where_a_settle_is_heard_late_its_charge_stands_and_the_query_is_read(
        self,
        engine: Engine,
        store: OperatorStore,
        reader: SlowReader,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        fail_once(monkeypatch, store, "settle")
        await self.ask(engine, "a")
        assert [transcript.reservation.charges for transcript, _ in reader.taken] == [()]
        reader.finish(Read(seen=True))
        await engine.quiet()
        assert await self.used(store) == 1_000


async def test_what_was_waved_through_is_charged_when_the_store_is_back(store: OperatorStore) -> None:
    flaky = FlakyStore(store)
    engine = Engine(policy(OnStoreError.ALLOW), flaky, store.keys, hooks=())
    admission = await engine.admit("r", ALICE, QUERY, "/")
    assert (admission.decision.action, admission.decision.reason) == (Action.ALLOW, Reason.STORE)
    await engine.settle(admission, Usage(12, 34), 200)
    flaky.broken = False
    await engine.drain()
    assert await left(store) == [2, 1000 - 46]


@pytest.mark.parametrize("begun", [False, True])
async def test_a_repayment_that_is_cut_short_is_still_owed_and_charged_once(
    store: OperatorStore, begun: bool
) -> None:
    flaky = FlakyStore(store, OPEN)
    engine = Engine(policy(OnStoreError.ALLOW), flaky, store.keys, hooks=())
    await engine.settle(await engine.admit("r", ALICE, QUERY, "/"), Usage(12, 34), 200)
    flaky.broken = False
    answered = asyncio.Event()

    async def late(*arguments: Any, **named: Any) -> bool:
        await store.repay(*arguments, **named)
        answered.set()
        return await asyncio.Future()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flaky, "repay", late)
        repaying = asyncio.create_task(engine._alone.repay(flaky))
        await (answered.wait() if begun else asyncio.sleep(0))
        repaying.cancel()
        await asyncio.wait({repaying})
    assert engine.debts == 2
    await engine.drain()
    assert engine.debts == 0
    assert await left(store) == [2, 1000 - 46]


async def test_answers_without_the_store_are_charged_to_a_diversity_budget_what_is_usual(
    store: OperatorStore,
) -> None:
    flaky = FlakyStore(store, OPEN)
    tiers = {"default": Tier("default", (BUDGET,), OnStoreError.ALLOW)}
    reader = PayingReader(store)
    engine = Engine(replace(policy(), tiers=tiers), flaky, store.keys, hooks=(), reader=reader)

    async def used_after(*names: str) -> int:
        for name in names:
            await engine.settle(await engine.admit(name, ALICE, QUERY, "/"), Usage(12, 512), 200, COPIES)
            await reader.quiet()
        flaky.broken = False
        await engine.drain()
        return 9_000 - (await store.look(ALICE, [Charge(BUDGET, ALICE.principal, 0)])).readings[0].remaining

    flaky.broken = False
    assert await used_after(*(f"a{number}" for number in range(100))) == 1_000
    flaky.broken = True
    assert await used_after("b1", "b2") - 1_000 == pytest.approx(2_000 * (16 / 17) ** 99, abs=2)


async def test_what_timed_out_but_was_charged_is_given_back_when_it_is_denied(store: OperatorStore) -> None:
    flaky = FlakyStore(store, "timeout")
    engine = Engine(policy(), flaky, store.keys, hooks=())
    await store.admit(Reservation("r", ALICE, owed(ALICE, QUERY)))  # the script ran, only its answer was late
    admission = await engine.admit("r", ALICE, QUERY, "/")
    assert admission.refused
    assert admission.decision.retry_after_us is not None
    assert 1_000_000 <= admission.decision.retry_after_us <= 5_000_000
    flaky.broken = False
    await engine.drain()
    assert await left(store) == [3, 1000]


async def test_what_timed_out_but_was_charged_is_not_charged_twice_when_it_is_allowed(
    store: OperatorStore,
) -> None:
    flaky = FlakyStore(store, "timeout")
    engine = Engine(policy(OnStoreError.ALLOW), flaky, store.keys, hooks=())
    await store.admit(Reservation("r", ALICE, owed(ALICE, QUERY)))
    admission = await engine.admit("r", ALICE, QUERY, "/")
    flaky.broken = False
    await engine.settle(admission, Usage(12, 34), 200)
    await engine.drain()
    assert await left(store) == [2, 1000 - 46]


@pytest.mark.parametrize(("mode", "refused"), [(Mode.ENFORCE, True), (Mode.SHADOW, False)])
async def test_shadow_decides_alike_and_charges_alike(
    store: OperatorStore, mode: Mode, *, refused: bool
) -> None:
    events: list[Event] = []
    engine = Engine(policy(mode=mode), store, store.keys, hooks=[events.append])
    for number in range(4):
        admission = await engine.admit(f"r{number}", ALICE, QUERY, "/")
        if admission.refused:
            engine.refuse(admission, 429)
        else:
            await engine.settle(admission, Usage(1, 1), 200)
    assert admission.decision.action is Action.LIMITED
    assert admission.refused is refused
    assert admission.decision.mode is mode
    assert await left(store) == [0, 1000 - 6]
    assert [event.action for event in events] == [Action.ALLOW] * 3 + [Action.LIMITED]
    assert events[3].limits == ("requests",)


SLOT = Limit("slot", Unit.CONCURRENCY, (Attribute.KEY,), Algorithm.LEASES, (Window(1, 0, 1),))
PER_END_USER = Limit(
    "end-users",
    Unit.REQUESTS,
    (Attribute.END_USER,),
    Algorithm.SLIDING_WINDOW,
    (Window(1, 3600, 1),),
)


def holding(*limits: Limit, on_store_error: OnStoreError = OnStoreError.DENY) -> Policy:
    """A policy of these limits alone."""
    return replace(policy(), tiers={"default": Tier("default", limits, on_store_error)})


def alone(policy: Policy, store: OperatorStore, share: float = 1.0) -> Engine:
    """An engine whose store is away."""
    local = MemoryStore(SystemClock().date_us)
    return Engine(policy, FlakyStore(store), store.keys, hooks=(), local=local, local_share=share)


class TestRenewal:
    async def test_a_slot_is_kept_as_long_as_its_request_runs(
        self, store: OperatorStore, clock: Clock
    ) -> None:
        engine = Engine(holding(SLOT), TimedStore(store, clock), store.keys, hooks=())
        long = await engine.admit("long", ALICE, QUERY, "/")
        for _ in range(10):
            clock.ahead_seconds += 25
            await engine.watch()
        assert (await engine.admit("next", ALICE, QUERY, "/")).refused
        await engine.settle(long, Usage(1, 1), 200)
        assert not (await engine.admit("after", ALICE, QUERY, "/")).refused

    async def test_the_slot_of_a_process_that_died_is_free_after_a_minute(
        self, store: OperatorStore, clock: Clock
    ) -> None:
        dead, living = (Engine(holding(SLOT), TimedStore(store, clock), store.keys, hooks=()) for _ in "ab")
        await dead.admit("long", ALICE, QUERY, "/")
        clock.ahead_seconds = 59
        await living.watch()
        assert (await living.admit("early", ALICE, QUERY, "/")).refused
        clock.ahead_seconds = 61
        assert not (await living.admit("late", ALICE, QUERY, "/")).refused

    async def test_a_request_that_runs_for_long_is_counted_once(
        self, store: OperatorStore, clock: Clock
    ) -> None:
        many = replace(LIMITS[0], windows=(Window(100, 3600, 100),))
        engine = Engine(holding(many), TimedStore(store, clock), store.keys, hooks=())
        long = await engine.admit("long", ALICE, QUERY, "/")
        for place in range(10):
            clock.ahead_seconds += 25
            await engine.watch()
            await engine.settle(await engine.admit(f"other{place}", ALICE, QUERY, "/"), Usage(1, 1), 200)
        await engine.settle(long, Usage(1, 1), 200)
        last = await engine.admit("last", ALICE, QUERY, "/")
        assert last.decision.readings[0].remaining == 100 - (1 + 10 + 1)

    async def test_tokens_stay_reserved_as_long_as_the_request_runs(
        self, store: OperatorStore, clock: Clock
    ) -> None:
        engine = Engine(holding(*LIMITS), TimedStore(store, clock), store.keys, hooks=())
        big = QUERY._replace(max_output_tokens=900)
        long = await engine.admit("long", ALICE, big, "/")
        for _ in range(4):
            clock.ahead_seconds += 25
            await engine.watch()
        assert (await engine.admit("next", ALICE, big, "/")).refused
        await engine.settle(long, Usage(10, 20), 200)
        assert not (await engine.admit("after", ALICE, big._replace(max_output_tokens=800), "/")).refused


class TestCancelling:
    async def test_a_caller_who_is_gone_before_the_store_has_answered_holds_nothing(
        self, store: OperatorStore
    ) -> None:
        class Slow(FlakyStore):
            async def admit(self, *arguments: Any, **named: Any) -> Verdict:
                verdict = await super().admit(*arguments, **named)
                charged.set()
                await asyncio.Future()
                return verdict

        charged = asyncio.Event()
        slow = Slow(store)
        slow.broken = False
        engine = Engine(holding(SLOT, *LIMITS), slow, store.keys, hooks=())
        asking = asyncio.create_task(engine.admit("gone", ALICE, QUERY, "/"))
        await charged.wait()
        assert await left(store) == [2, 1000 - 110]
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await engine.drain()
        assert await left(store) == [3, 1000]
        assert (await store.admit(Reservation("next", ALICE, [Charge(SLOT, ALICE.principal, 1)]))).admitted

    async def test_a_caller_who_is_cancelled_while_its_answer_is_settled_is_charged(
        self, store: OperatorStore
    ) -> None:
        engine = Engine(policy(), store, store.keys, hooks=())
        admission = await engine.admit("r", ALICE, QUERY, "/")
        settling = asyncio.create_task(engine.settle(admission, Usage(12, 34), 200))
        await asyncio.sleep(0)
        settling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await settling
        await engine.drain()
        assert await left(store) == [2, 1000 - 46]


class TestForeseeing:
    async def test_who_was_refused_is_refused_without_the_store(
        self, store: OperatorStore, clock: Clock
    ) -> None:
        flaky = FlakyStore(store)
        flaky.broken = False
        engine = Engine(policy(), flaky, store.keys, hooks=())
        for number in range(4):
            last = await engine.admit(f"r{number}", ALICE, QUERY, "/")
        flaky.broken = True
        clock.ahead_seconds = 0.5
        again = engine.foresee("again", ALICE, "/", "POST", read=True)
        assert again is not None
        assert again.refused
        assert not again.body_read
        assert again.store_error is None
        assert again.decision.reason is Reason.QUOTA
        assert again.decision.retry_after_us is not None
        assert last.decision.retry_after_us is not None
        since = last.decision.retry_after_us - again.decision.retry_after_us
        assert 500_000 <= since < 1_000_000
        clock.ahead_seconds = 1.0
        assert engine.foresee("later", ALICE, "/", "POST", read=True) is None

    async def test_others_are_not_refused_with_it(self, store: OperatorStore) -> None:
        bob = Identity(Holder(Attribute.KEY, "bob"), {Attribute.KEY: "bob"}, vouched_by=VouchedBy.KEYS_FILE)
        engine = Engine(policy(), store, store.keys, hooks=())
        for number in range(4):
            await engine.admit(f"r{number}", ALICE, QUERY, "/")
        assert engine.foresee("a", ALICE, "/", "POST", read=True) is not None
        assert engine.foresee("b", bob, "/", "POST", read=True) is None

    async def test_the_store_hears_later_of_what_was_refused_without_it(
        self, store: OperatorStore, clock: Clock
    ) -> None:
        engine = Engine(policy(), store, store.keys, hooks=())
        for number in range(4):
            await engine.admit(f"r{number}", ALICE, QUERY, "/")
        for number in range(5):
            foreseen = engine.foresee(f"again{number}", ALICE, "/", "POST", read=True)
            assert foreseen is not None
            engine.refuse(foreseen, 429)
        clock.ahead_seconds = 1.0
        assert (await engine.admit("last", ALICE, QUERY, "/")).refused
        record = await store.record(ALICE.principal)
        assert record is not None
        assert record.refused == 1 + 5 + 1

    @pytest.mark.parametrize("fact", [Attribute.END_USER, Attribute.MODEL])
    async def test_a_query_without_a_fact_does_not_have_queries_with_it_refused(
        self, store: OperatorStore, fact: Attribute
    ) -> None:
        """Whom such a limit holds, only the query says: without the fact, it is the caller."""
        engine = Engine(holding(replace(PER_END_USER, per=(fact,))), store, store.keys, hooks=())
        nameless = QUERY._replace(model="")
        assert not (await engine.admit("a", ALICE, nameless, "/")).refused
        assert (await engine.admit("b", ALICE, nameless, "/")).refused
        assert engine.foresee("c", ALICE, "/", "POST", read=True) is None
        named = QUERY._replace(end_user="ann")
        assert not (await engine.admit("c", ALICE, named, "/")).refused
        # Where nothing will be read, nothing more is to be learnt.
        assert engine.foresee("d", ALICE, "/", "POST", read=False) is not None

    async def test_another_policy_makes_it_forget(self, store: OperatorStore) -> None:
        engine = Engine(policy(), store, store.keys, hooks=())
        for number in range(4):
            await engine.admit(f"r{number}", ALICE, QUERY, "/")
        engine.adopt(holding(replace(LIMITS[0], windows=(Window(9, 3600, 9),))))
        assert engine.foresee("again", ALICE, "/", "POST", read=True) is None
        assert not (await engine.admit("again", ALICE, QUERY, "/")).refused


class TestKillSwitch:
    @pytest.mark.parametrize("mode", [Mode.SHADOW, Mode.OFF])
    async def test_nothing_bites_further_than_it_says(self, store: OperatorStore, mode: Mode) -> None:
        engine = Engine(policy(), store, store.keys, hooks=())
        for number in range(4):
            last = await engine.admit(f"r{number}", ALICE, QUERY, "/")
        assert last.refused
        await store.set_mode(mode)
        try:
            control = await engine.watch()
            assert control is not None
            assert control.mode is engine.mode is mode
            assert engine.foresee("a", ALICE, "/", "POST", read=True) is None
            spared = await engine.admit("a", ALICE, QUERY, "/")
            assert not spared.refused
            assert spared.decision.mode is mode
        finally:
            await store.set_mode(Mode.ENFORCE)
        await engine.watch()
        assert (await engine.admit("b", ALICE, QUERY, "/")).refused

    async def test_it_makes_nothing_stricter(self, store: OperatorStore) -> None:
        engine = Engine(policy(mode=Mode.SHADOW), store, store.keys, hooks=())
        await engine.watch()
        assert engine.mode is Mode.SHADOW

    async def test_what_was_heard_last_holds_while_the_store_is_silent(self, store: OperatorStore) -> None:
        flaky = FlakyStore(store)
        flaky.broken = False
        engine = Engine(policy(OnStoreError.DENY), flaky, store.keys, hooks=())
        await store.set_mode(Mode.SHADOW)
        try:
            await engine.watch()
        finally:
            await store.set_mode(Mode.ENFORCE)
        flaky.broken = True
        assert await engine.watch() is None
        assert not (await engine.admit("a", ALICE, QUERY, "/")).refused


class TestWithoutTheStore:
    async def test_what_was_used_while_it_was_not_even_asked_is_owed(
        self, store: OperatorStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("guard.engine.outage.alone.Breaker", partial(Breaker, clock=clock.monotonic))
        flaky = FlakyStore(store)
        engine = Engine(policy(OnStoreError.ALLOW), flaky, store.keys, hooks=())
        for number in range(6):
            admission = await engine.admit(f"r{number}", ALICE, QUERY, "/")
        assert admission.store_error == "open"
        await engine.settle(admission, Usage(12, 34), 200)
        assert await left(store) == [3, 1000]
        flaky.broken = False
        clock.ahead_seconds = 5
        assert await engine.watch() is not None
        assert await left(store) == [2, 1000 - 46]
        await engine.watch()
        assert await left(store) == [2, 1000 - 46]

    async def test_a_process_that_stops_charges_what_it_owes(
        self, store: OperatorStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("guard.engine.outage.alone.Breaker", partial(Breaker, clock=clock.monotonic))
        flaky = FlakyStore(store)
        engine = Engine(policy(OnStoreError.ALLOW), flaky, store.keys, hooks=())
        for number in range(6):
            admission = await engine.admit(f"r{number}", ALICE, QUERY, "/")
        await engine.settle(admission, Usage(12, 34), 200)
        flaky.broken = False
        clock.ahead_seconds = 5
        await engine.drain()
        assert await left(store) == [2, 1000 - 46]

    async def test_a_process_admits_its_share_and_no_more(self, store: OperatorStore) -> None:
        engine = alone(policy(OnStoreError.LOCAL), store, share=2 / 3)
        admissions = [await engine.admit(f"r{number}", ALICE, QUERY, "/") for number in range(4)]
        assert [each.refused for each in admissions] == [False, False, True, True]
        assert all(each.decision.readings == () for each in admissions)

    async def test_a_request_holds_its_place_as_long_as_it_runs(
        self, store: OperatorStore, clock: Clock
    ) -> None:
        engine = alone(holding(SLOT, on_store_error=OnStoreError.LOCAL), store)
        long = await engine.admit("long", ALICE, QUERY, "/")
        for _ in range(5):
            clock.ahead_seconds += 25
            assert await engine.watch() is None
        assert (await engine.admit("next", ALICE, QUERY, "/")).refused
        await engine.settle(long, Usage(1, 1), 200)
        assert not (await engine.admit("after", ALICE, QUERY, "/")).refused

    async def test_the_place_of_a_request_that_nobody_renews_is_free_after_a_minute(
        self, store: OperatorStore, clock: Clock
    ) -> None:
        engine = alone(holding(SLOT, on_store_error=OnStoreError.LOCAL), store)
        await engine.admit("long", ALICE, QUERY, "/")
        clock.ahead_seconds = 59
        assert (await engine.admit("early", ALICE, QUERY, "/")).refused
        clock.ahead_seconds = 61
        assert not (await engine.admit("late", ALICE, QUERY, "/")).refused

    async def test_what_was_not_used_is_given_back(self, store: OperatorStore) -> None:
        engine = alone(holding(LIMITS[1], on_store_error=OnStoreError.LOCAL), store)
        big = QUERY._replace(max_output_tokens=900)
        first = await engine.admit("first", ALICE, big, "/")
        assert (await engine.admit("second", ALICE, big, "/")).refused
        await engine.settle(first, Usage(10, 20), 200)
        assert not (await engine.admit("third", ALICE, big, "/")).refused

    async def test_without_a_store_of_its_own_a_process_denies(self, store: OperatorStore) -> None:
        engine = Engine(policy(OnStoreError.LOCAL), FlakyStore(store), store.keys, hooks=())
        admission = await engine.admit("r", ALICE, QUERY, "/")
        assert (admission.decision.action, admission.decision.reason) == (Action.DENY, Reason.STORE)
