"""The Lua scripts against a model in Python: random requests, clocks, crashes and repeats."""

from __future__ import annotations

import asyncio
import secrets
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import hypothesis.strategies as st
import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from guard.core.calendars import MICROSECONDS, Span
from guard.core.identity import Attribute, Holder, Identity, VouchedBy
from guard.core.limits import Algorithm, Charge, Limit, Role, Unit, Window
from guard.core.novelty import Payout, Piece
from guard.core.query import Usage
from guard.store.port import Reservation
from guard.store.redis.keys import Keys
from guard.store.redis.orders import OperatorStore
from guard.store.transport.nodes import nodes_at
from guard.store.transport.url import RedisURL

sys.path.insert(0, str(Path(__file__).parent))

from reference import ModelStore, Seen, forgotten_by

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guard.store.embedded.server import EmbeddedServer
    from guard.store.port import Verdict

ROUNDING_US = 2
"""The script's formula and the model's search may differ by so much."""

CALENDAR_US: dict[Span | None, int] = {
    Span.DAY: 3_600 * MICROSECONDS,
    Span.MONTH: 3 * 86_400 * MICROSECONDS,
    Span.YEAR: 3 * 86_400 * MICROSECONDS,
}
"""Likewise where a debt is paid after the next period: the script goes by the mean length of later ones."""

IDENTITIES = [
    Identity(
        Holder(Attribute.KEY, name),
        {Attribute.KEY: name, Attribute.ORG: "acme"},
        vouched_by=VouchedBy.KEYS_FILE,
    ).asking(model=model, end_user=end_user)
    for name, model, end_user in (("alice", "small", "ann"), ("bob", "small", "ann"), ("bob", "big", None))
]

SPAN_SECONDS = {
    Span.MINUTE: 60,
    Span.HOUR: 3_600,
    Span.DAY: 86_400,
    Span.MONTH: 30 * 86_400,
    Span.YEAR: 365 * 86_400,
}

ZONES = [ZoneInfo("UTC"), ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Kathmandu")]

KEPT_PER = [
    (Attribute.KEY,),
    (Attribute.ORG,),
    (Attribute.EVERYTHING,),
    (Attribute.ORG, Attribute.MODEL),
    (Attribute.END_USER,),
]


@st.composite
def windows(draw: st.DrawFn, algorithm: Algorithm) -> tuple[Window, ...]:
    if algorithm is Algorithm.LEASES:
        count = draw(st.integers(1, 5))
        return (Window(count, 0, count),)
    if algorithm is Algorithm.CALENDAR:
        spans = draw(st.lists(st.sampled_from(Span), min_size=1, max_size=2, unique=True))
        counts = [draw(st.integers(1, 40)) for _ in spans]
        return tuple(
            Window(count, SPAN_SECONDS[span], count, span) for count, span in zip(counts, spans, strict=True)
        )
    made = []
    for period in draw(st.lists(st.sampled_from([1, 7, 60, 3_600]), min_size=1, max_size=2, unique=True)):
        count = draw(st.integers(1, 40))
        burst = draw(st.integers(1, 60)) if algorithm is Algorithm.GCRA else count
        made.append(Window(count, period, burst))
    return tuple(made)


UNITS = ["pages", *(unit for unit in Unit if unit is not Unit.CONCURRENCY), *[Unit.NOVELTY] * 3]


@st.composite
def limits(draw: st.DrawFn) -> list[Limit]:
    made = []
    for number in range(draw(st.integers(1, 3))):
        algorithm = draw(st.sampled_from(Algorithm))
        unit = str(Unit.CONCURRENCY) if algorithm is Algorithm.LEASES else draw(st.sampled_from(UNITS))
        made.append(
            Limit(
                f"l{number}",
                unit,
                draw(st.sampled_from(KEPT_PER)),
                algorithm,
                draw(windows(algorithm)),
                zone=draw(st.sampled_from(ZONES)) if algorithm is Algorithm.CALENDAR else None,
            )
        )
        if not made[-1].own:
            made[-1] = replace(made[-1], floor=draw(st.sampled_from([0, 0, 1, 5, 12])))
    return made


def held_to(identity: Identity, made: list[Limit]) -> list[tuple[int, Limit, Holder]]:
    """The limits of a request by their places among those that were made, and whom they hold; behind each
    what the caller has of it for itself, and what all may take so.
    """
    held = []
    for place, limit in enumerate(made):
        holder = identity.holder(*limit.per)
        held.append((place, limit, holder))
        if limit.floor:
            held.append((place, limit.for_each(), Holder.together((holder, identity.principal))))
            held.append((place, limit.for_floors(), holder))
    return held


NEVER = ("never", "nor", "neither")
"""Requests that are settled and were never admitted."""

CELLS = st.none() | st.sampled_from([forgotten_by(f"{name}:1") for name in NEVER])
"""Where pieces fall: into few cells, which pieces of the same run forget."""

PAYOUTS = st.builds(
    Payout,
    st.lists(st.builds(Piece, st.integers(20, 90), st.sampled_from([0, 0, 20]), CELLS), max_size=3).map(
        tuple
    ),
    st.sampled_from([0, 0, 5]),
    st.integers(1, 9),
)


class StoreMachine(RuleBasedStateMachine):
    """One store and one model, told the same things."""

    server: EmbeddedServer

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.now = 1_800_000_000 * MICROSECONDS
        self.names = 0
        self.open: dict[str, tuple[Identity, list[Charge]]] = {}
        self.settled: dict[str, tuple[Identity, list[Charge], Sequence[bytes]]] = {}

    @initialize(made=limits(), life_seconds=st.sampled_from([40, 100_000]))
    def start(self, made: list[Limit], life_seconds: int) -> None:
        self.limits = made
        self.periods = [window.period_us or MICROSECONDS for limit in made for window in limit.windows]
        self.store = OperatorStore(
            Keys(secrets.token_bytes(16)),
            partial(nodes_at, RedisURL.of_socket(self.server.socket), 20),
            deadline_seconds=20,
            reservation_seconds=life_seconds,
        )
        self.model = ModelStore(life_seconds * MICROSECONDS)

    def charges(self, identity: Identity, amount: int, spare: int, tried: int) -> list[Charge]:
        """`tried` has a bit for each limit that is only tried out."""
        return [
            Charge(
                limit,
                holder,
                1 if limit.unit in (Unit.REQUESTS, Unit.CONCURRENCY) else amount,
                spare if limit.estimated else 0,
                enforced=not tried >> place & 1,
            )
            for place, limit, holder in held_to(identity, self.limits)
        ]

    @rule(data=st.data(), share=st.floats(0, 1.3), odd=st.integers(0, 3))
    def time_passes(self, data: st.DataObject, share: float, odd: int) -> None:
        self.now += int(data.draw(st.sampled_from(self.periods)) * share) + odd

    @rule(
        identity=st.sampled_from(IDENTITIES),
        amount=st.integers(0, 45),
        spare=st.integers(0, 45),
        tried=st.sampled_from([0, 0, 0, 1, 2, 5, 7]),
    )
    def admit(self, identity: Identity, amount: int, spare: int, tried: int) -> None:
        self.names += 1
        name = f"r{self.names}"
        charges = self.charges(identity, amount, min(spare, amount), tried)
        if self.ask([name], identity, charges)[0]:
            self.open[name] = (identity, charges)

    @rule(
        identity=st.sampled_from(IDENTITIES),
        amount=st.integers(0, 9),
        number=st.integers(2, 6),
    )
    def admit_at_once(self, identity: Identity, amount: int, number: int) -> None:
        """Several at the same moment, as on one connection: in the order in which they were called."""
        names = [f"r{self.names + each}" for each in range(1, number + 1)]
        self.names += number
        charges = self.charges(identity, amount, 0, 0)
        for name, admitted in zip(names, self.ask(names, identity, charges), strict=True):
            if admitted:
                self.open[name] = (identity, charges)

    @rule(data=st.data())
    def admit_again(self, data: st.DataObject) -> None:
        if self.open:
            name = data.draw(st.sampled_from(sorted(self.open)))
            self.ask([name], *self.open[name])

    def ask(self, names: list[str], identity: Identity, charges: list[Charge]) -> list[bool]:
        async def ask() -> list[Verdict]:
            admits = (
                self.store.admit(Reservation(name, identity, charges), now_us=self.now) for name in names
            )
            return list(await asyncio.gather(*admits))

        verdicts = self.runner.run(ask())
        holders = [str(holder) for holder in identity.holders]
        for name, verdict in zip(names, verdicts, strict=True):
            self.compare(verdict, self.model.admit(name, holders, charges, self.now), name)
        return [verdict.admitted for verdict in verdicts]

    def compare(self, verdict: Verdict, seen: Seen, name: str) -> None:
        assert verdict.admitted == seen.admitted
        if name not in self.open:
            assert [charge.limit.name for charge in verdict.charged] == seen.charged
        for reading, (remaining, wait_us) in zip(verdict.readings, seen.readings, strict=True):
            assert reading.remaining == remaining
            if wait_us in (None, 0):
                assert reading.wait_us == wait_us
            else:
                assert reading.wait_us is not None
                window = reading.window
                later = window.span is not None and wait_us > 2 * window.period_us
                rounding_us = CALENDAR_US.get(window.span, ROUNDING_US) if later else ROUNDING_US
                assert abs(reading.wait_us - wait_us) <= rounding_us

    @rule(data=st.data(), amount=st.integers(0, 90))
    def settle(self, data: st.DataObject, amount: int) -> None:
        """Also for the second time, after the expiry, and of what was never admitted."""
        name = data.draw(st.sampled_from([*sorted(self.open), *NEVER]))
        identity, charges = self.open.get(name, (IDENTITIES[0], self.charges(IDENTITIES[0], 0, 0, 0)))
        owed = [
            charge._replace(amount=amount if charge.limit.estimated else charge.amount, spare=0)
            for charge in charges
            if name in NEVER or charge.limit.name in self.charged(name)
        ]
        counted = self.runner.run(
            self.store.settle(Reservation(name, identity, owed), Usage(0, 0), now_us=self.now)
        )
        assert bool(counted) == self.model.settle(name, owed, self.now)
        budgets = [charge for charge in owed if charge.limit.unit == Unit.NOVELTY]
        if counted and budgets:
            self.settled[name] = (identity, budgets, counted.receipts)

    @rule(data=st.data(), amount=st.integers(0, 90), payout=PAYOUTS)
    def pay(self, data: st.DataObject, amount: int, payout: Payout) -> None:
        """Also for the second time, and after the request's charges are of windows that are over."""
        if not self.settled:
            return
        name = data.draw(st.sampled_from(sorted(self.settled)))
        identity, budgets, receipts = self.settled[name]
        drawn = [charge._replace(amount=amount) for charge in budgets]
        paid = self.runner.run(
            self.store.pay(Reservation(name, identity, drawn), receipts, payout, now_us=self.now)
        )
        assert paid == self.model.pay(name, identity, drawn, payout, self.now)
        for whose in (identity.principal, identity.holder(Attribute.END_USER)):
            assert self.runner.run(self.visited(whose, identity)) == self.model.visited[whose]

    async def visited(self, whose: Holder, identity: Identity) -> set[int]:
        """The bits of the bitmap that are set."""
        bitmap = await self.store.visited(whose, identity)
        return {8 * place + bit for place, byte in enumerate(bitmap) for bit in range(8) if byte << bit & 128}

    def charged(self, name: str) -> set[str]:
        return self.model.charged.get(name, set())

    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        """A request that runs long says so."""
        if self.open:
            name = data.draw(st.sampled_from(sorted(self.open)))
            identity, charges = self.open[name]
            self.runner.run(self.store.renew(Reservation(name, identity, charges), now_us=self.now))
            self.model.renew(name, charges, self.now)

    @rule(data=st.data())
    def crash(self, data: st.DataObject) -> None:
        """Whoever held this reservation is gone: nobody settles it."""
        if self.open:
            del self.open[data.draw(st.sampled_from(sorted(self.open)))]

    @rule(identity=st.sampled_from(IDENTITIES), blocked=st.booleans())
    def block(self, identity: Identity, *, blocked: bool) -> None:
        holder = identity.principal
        if blocked:
            self.runner.run(self.store.block(holder, None, "odd"))
            self.model.blocked.add(str(holder))
        else:
            assert self.runner.run(self.store.unblock(holder)) == (str(holder) in self.model.blocked)
            self.model.blocked.discard(str(holder))

    @rule(data=st.data(), identity=st.sampled_from(IDENTITIES), count=st.integers(1, 60))
    def override(self, data: st.DataObject, identity: Identity, count: int) -> None:
        """Other numbers for one holder, an exemption, or the settings' numbers again."""
        _, limit, holder = data.draw(st.sampled_from(held_to(identity, self.limits)))
        kinds = ["exempt", "none"] if limit.role is Role.FLOOR else ["numbers", "exempt", "none"]
        kind = data.draw(st.sampled_from(kinds))
        if kind == "none":
            self.runner.run(self.store.drop_override(holder, limit.name))
            self.model.overrides.pop((str(holder), limit.name), None)
            return
        period = limit.windows[0].period_seconds
        counts = {period: (count, count)} if kind == "numbers" else None
        self.runner.run(self.store.override(holder, limit.name, counts, None))
        self.model.overrides[str(holder), limit.name] = counts

    @invariant()
    def looking_changes_nothing_and_sees_the_same(self) -> None:
        if not hasattr(self, "store"):
            return
        for identity in IDENTITIES:
            verdict = self.runner.run(
                self.store.admit(Reservation("", identity, self.charges(identity, 0, 0, 0)), now_us=self.now)
            )
            assert all(0 <= reading.remaining <= reading.window.burst for reading in verdict.readings)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.runner.run(self.store.aclose())
        self.runner.close()


@pytest.mark.timeout(600)
def test_the_scripts_do_what_the_model_does(
    redis_server: EmbeddedServer, request: pytest.FixtureRequest
) -> None:
    StoreMachine.server = redis_server
    examples = int(request.config.getoption("--model-examples"))
    run_state_machine_as_test(
        StoreMachine,
        # Without shrinking, which takes many minutes on a real server: a run is printed as it failed.
        settings=settings(
            max_examples=examples, stateful_step_count=50, deadline=None, phases=(Phase.reuse, Phase.generate)
        ),
    )
