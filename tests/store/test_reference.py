"""The Lua scripts against a model in Python: random requests, clocks, crashes and repeats."""

from __future__ import annotations

import asyncio
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from guard.core.identity import Attribute, Holder, Identity
from guard.core.limits import MICROSECONDS, Algorithm, Charge, Limit, Unit, Window
from guard.core.query import Usage
from guard.store.keys import Keys
from guard.store.redis import RedisStore

sys.path.insert(0, str(Path(__file__).parent))

from reference import ModelStore

if TYPE_CHECKING:
    from guard.store.embedded import EmbeddedServer

ROUNDING_US = 2
"""The script's formula and the model's search may differ by so much."""

IDENTITIES = [
    Identity(Holder(Attribute.KEY, name), {Attribute.KEY: name, Attribute.ORG: "acme"}, verified=True)
    for name in ("alice", "bob")
]


@st.composite
def limits(draw: st.DrawFn) -> list[Limit]:
    made = []
    for number in range(draw(st.integers(1, 3))):
        algorithm = draw(st.sampled_from(Algorithm))
        windows = []
        for period in draw(st.lists(st.sampled_from([1, 7, 60, 3_600]), min_size=1, max_size=2, unique=True)):
            count = draw(st.integers(1, 40))
            burst = draw(st.integers(1, 60)) if algorithm is Algorithm.GCRA else count
            windows.append(Window(count, period, burst))
        unit = draw(st.sampled_from([Unit.REQUESTS, Unit.TOKENS]))
        per = draw(st.sampled_from([Attribute.KEY, Attribute.ORG, Attribute.EVERYTHING]))
        made.append(Limit(f"l{number}", unit, per, algorithm, tuple(windows)))
    return made


class StoreMachine(RuleBasedStateMachine):
    """One store and one model, told the same things."""

    server: EmbeddedServer

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.now = 1_800_000_000 * MICROSECONDS
        self.names = 0
        self.open: dict[str, Identity] = {}

    @initialize(made=limits(), life_seconds=st.sampled_from([40, 100_000]))
    def start(self, made: list[Limit], life_seconds: int) -> None:
        self.limits = made
        self.periods = [window.period_us for limit in made for window in limit.windows]
        self.store = RedisStore(
            Keys(secrets.token_bytes(16)),
            url=f"unix://{self.server.socket}",
            deadline_seconds=20,
            reservation_seconds=life_seconds,
        )
        self.model = ModelStore(life_seconds * MICROSECONDS)

    def charges(self, identity: Identity, amount: int) -> list[Charge]:
        return [
            Charge(limit, identity.holder(limit.per), amount if limit.unit.reserved else min(amount, 1))
            for limit in self.limits
        ]

    @rule(data=st.data(), share=st.floats(0, 1.3), odd=st.integers(0, 3))
    def time_passes(self, data: st.DataObject, share: float, odd: int) -> None:
        self.now += int(data.draw(st.sampled_from(self.periods)) * share) + odd

    @rule(identity=st.sampled_from(IDENTITIES), amount=st.integers(0, 45))
    def admit(self, identity: Identity, amount: int) -> None:
        self.names += 1
        self.ask(f"r{self.names}", identity, amount)

    @rule(data=st.data(), amount=st.integers(0, 45))
    def admit_again(self, data: st.DataObject, amount: int) -> None:
        if self.open:
            name = data.draw(st.sampled_from(sorted(self.open)))
            self.ask(name, self.open[name], amount)

    def ask(self, name: str, identity: Identity, amount: int) -> None:
        charges = self.charges(identity, amount)
        verdict = self.runner.run(self.store.admit(name, identity, charges, now_us=self.now))
        admitted, readings = self.model.admit(name, charges, self.now)
        assert verdict.admitted == admitted
        for reading, (remaining, wait_us) in zip(verdict.readings, readings, strict=True):
            assert reading.remaining == remaining
            if wait_us in (None, 0):
                assert reading.wait_us == wait_us
            else:
                assert reading.wait_us is not None
                assert abs(reading.wait_us - wait_us) <= ROUNDING_US
        if admitted:
            self.open[name] = identity

    @rule(data=st.data(), amount=st.integers(0, 90))
    def settle(self, data: st.DataObject, amount: int) -> None:
        """Also for the second time, after the expiry, and of what was never admitted."""
        name = data.draw(st.sampled_from([*sorted(self.open), "never"]))
        identity = self.open.get(name, IDENTITIES[0])
        charges = self.charges(identity, amount)
        counted = self.runner.run(self.store.settle(name, identity, charges, Usage(0, 0), now_us=self.now))
        assert counted == self.model.settle(name, charges, self.now)

    @rule(data=st.data())
    def crash(self, data: st.DataObject) -> None:
        """Whoever held this reservation is gone: nobody settles it."""
        if self.open:
            del self.open[data.draw(st.sampled_from(sorted(self.open)))]

    @invariant()
    def looking_changes_nothing_and_sees_the_same(self) -> None:
        if not hasattr(self, "store"):
            return
        for identity in IDENTITIES:
            verdict = self.runner.run(
                self.store.admit("", identity, self.charges(identity, 0), now_us=self.now)
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
        StoreMachine, settings=settings(max_examples=examples, stateful_step_count=50, deadline=None)
    )
