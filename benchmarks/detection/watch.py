"""What guard would have seen, known and thought, request by request: its engine and its analyst, without a
store, without waiting, and with a log's time for the clock.

All settings are guard's defaults. Of its limits only the diversity budget is kept: the others are about how
fast one asks, and times are made up here. Nobody is denied: a request whose risk would be answered so is
marked, and its reader decides whether to go on. Requests that a budget refuses are not learnt from.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.detection.budget import Budget, Price
from guard.core.evidence import merge, risk
from guard.core.identity import Attribute, Holder, Identity
from guard.core.limits import Unit
from guard.core.query import Usage
from guard.core.uses import Declared
from guard.detection.learner import Learner
from guard.detection.profile import Profile
from guard.dialects import DIALECTS
from guard.settings.root import FileSettings
from guard.text.fingerprint import Fingerprinter

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from benchmarks.detection.traffic import Actor, Line
    from guard.core.demand import Demand
    from guard.core.evidence import Mark, Risk
    from guard.core.ladder import Rung
    from guard.core.policy import Policy
    from guard.core.query import Query
    from guard.core.signals import Signal
    from guard.core.uses import Use
    from guard.detection.reference import Reference
    from guard.detection.sight import Sight

SECRET = b"a benchmark keeps no secrets and is the same every time"

DEFAULTS: Policy = FileSettings().policy()
"""What decides where an operator has set nothing."""

MICROSECONDS = 1_000_000


@dataclass(frozen=True, slots=True)
class Look:
    """One request as it is read and seen."""

    query: Query
    sight: Sight
    usage: Usage
    now_us: int


class Eyes:
    """What queries are looked at and learnt from with; it takes some 100 ms to make."""

    def __init__(self, secret: bytes = SECRET) -> None:
        self._learner = Learner(secret, Fingerprinter(secret))

    def look(self, line: Line) -> Look:
        """Read a line of the log, and look at its query."""
        dialect = DEFAULTS.route("POST", line.path).dialect
        if dialect is None:
            raise ValueError(f"no queries are read at {line.path}")
        query = DIALECTS[dialect].read(line.body, line.path)
        sight = self._learner.look(query)
        usage = line.response["usage"]
        return Look(
            query,
            sight,
            Usage(usage["input_tokens"], usage["output_tokens"]),
            int(line.ts * MICROSECONDS),
        )

    def learn(self, profile: Profile, look: Look) -> None:
        """Take a query into a profile."""
        self._learner.learn(profile, look.sight, look.usage, look.now_us)


@dataclass(frozen=True, slots=True)
class Watched:
    """One request, and what is known of its suspect once it is answered.

    `risk` is what the evidence amounts to, `biting` what of it the ladder goes by at the latest (guard lets
    each holder's rungs lag by a time of its own). `profile` goes on changing. `drawn` is what it cost of the
    diversity budget, in thousandths; `None` where that refused it, and then nothing was learnt.
    """

    look: Look
    profile: Profile
    marks: Mapping[Signal, Mark]
    risk: Risk
    biting: Risk
    drawn: int | None


@dataclass(slots=True)
class _Known:
    profile: Profile
    marks: Mapping[Signal, Mark]


def watch(
    actor: Actor, eyes: Eyes, reference: Reference, use: Use | None, budget: Budget
) -> Iterator[Watched]:
    """One actor's requests in order; `use` is what its operator was told of."""
    principal = Holder(Attribute.KEY, actor.name)
    identity, policy = Identity(principal), declaring(principal, use)
    weights, ladder = policy.detection.weights, policy.tier(identity).ladder
    known: dict[Holder, _Known] = {}
    for line in actor.lines:
        look = eyes.look(line)
        asking = identity.asking(end_user=look.query.end_user)
        suspect = policy.suspect(asking, look.now_us)
        about = known.setdefault(suspect.holder, _Known(Profile.new(), {}))
        weigh = partial(risk, now_us=look.now_us, weights=weights, excused=suspect.excused)
        before = weigh(about.marks, delay_us=ladder.delay_us)
        rung = ladder.rung(before.band, 0.0)
        drawn = _draw(budget, policy.demand(asking, look.query), look, rung)
        if drawn is not None:
            eyes.learn(about.profile, look)
            fresh = reference.evidence(about.profile)
            about.marks = merge(about.marks, fresh, look.now_us, weights.half_life_us)
        biting = weigh(about.marks, delay_us=ladder.delay_us)
        yield Watched(look, about.profile, about.marks, weigh(about.marks), biting, drawn)


def declaring(principal: Holder, use: Use | None) -> Policy:
    """The default policy, with what the operator was told of one caller."""
    uses = {} if use is None else {principal: Declared(use)}
    return replace(DEFAULTS, detection=replace(DEFAULTS.detection, uses=uses))


def default_budget() -> Budget:
    """A diversity budget with guard's default numbers."""
    limits = DEFAULTS.tiers[DEFAULTS.default_tier].limits
    (window,) = next(limit.windows for limit in limits if limit.unit == Unit.NOVELTY)
    return Budget(window.count, window.period_seconds * MICROSECONDS)


def _draw(budget: Budget, demand: Demand, look: Look, rung: Rung) -> int | None:
    most, spare = demand.reserve(Unit.NOVELTY)
    price = Price(look.query.n, most - spare, most, demand.settle(Unit.NOVELTY, look.usage))
    return budget.draw(price, look.now_us, rung.throttle)
