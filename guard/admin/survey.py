"""What a log of honest traffic has to say: the life of each identity, and what its answers have paid out.

Lines are read as a replay reads them, and answers are paid out to coverages as the store keeps them, so that
profiles come out as they would have live. But nobody is refused anything: what honest callers would have
asked after a refusal, no log says.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from guard.admin.budgets import DAY_SECONDS, DAY_US, Takings
from guard.admin.reading import LineReader, LogClock, pepper_of, request_id
from guard.admin.trace import Trace
from guard.admin.traffic import Label
from guard.analyst.lessons import Lessons
from guard.core.identity import Attribute
from guard.core.limits import Algorithm, Charge, Limit, Unit, Window
from guard.core.modes import Mode
from guard.core.novelty import UNIT
from guard.core.policy import RouteAction
from guard.core.pseudonyms import Pseudonyms
from guard.detection.reference import see
from guard.detection.signals import LEAST_QUERIES
from guard.engine.plan import Plans
from guard.errors import RequestError
from guard.store.memory.store import MemoryStore
from guard.store.port import Reservation

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from guard.admin.traffic import Line
    from guard.core.identity import Holder
    from guard.core.novelty import Payout
    from guard.core.signals import Signal
    from guard.core.uses import Declared
    from guard.detection.traits import Score
    from guard.engine.plan import Plan
    from guard.settings.root import Settings

WITHOUT_BUDGET = Limit(
    "diversity", Unit.NOVELTY, (Attribute.KEY,), Algorithm.SLIDING_WINDOW, (Window(1, DAY_SECONDS, 1),)
)
"""What answers are paid out to where a tier has no diversity budget: never full, and never asked."""


@dataclass(slots=True)
class Survey:
    """What a log has to say: the life of each identity, and what holders have taken of each tier's diversity
    budgets; how many queries have no answer in it, and how many lines were left out for what reason.
    `since_us` and `until_us` are of the first and the last line that was not.
    """

    traces: dict[str, Trace] = field(default_factory=dict)
    takings: dict[tuple[str, Limit], dict[str, Takings]] = field(default_factory=dict)
    queries: int = 0
    unanswered: int = 0
    attacks: int = 0
    unread: Counter[str] = field(default_factory=Counter)
    since_us: int = 0
    until_us: int = 0

    @property
    def known(self) -> list[tuple[str, Trace]]:
        """The identities with queries enough to say how they behave, by name."""
        return sorted((name, trace) for name, trace in self.traces.items() if trace.queries >= LEAST_QUERIES)

    @property
    def budgets(self) -> list[tuple[tuple[str, Limit], dict[str, Takings]]]:
        """What was taken of budgets that a caller or its own people have, by tier and limit."""
        own = (item for item in self.takings.items() if item[0][1].for_one)
        return sorted(own, key=lambda item: (item[0][0], item[0][1].name))

    @property
    def days(self) -> float:
        """How long the log is."""
        return (self.until_us - self.since_us) / DAY_US


async def survey(
    settings: Settings,
    lines: Iterable[Line],
    declared: Mapping[Holder, Declared],
    scores: Mapping[Signal, Score],
) -> Survey:
    """Look at honest traffic, by these scores; raises `ConfigError`, and what the lines raise.

    Lines that are labelled attacks are left out, and what was answered with an error teaches nothing, as in
    live traffic.
    """
    surveyor = Surveyor(settings, declared, scores)
    for line in lines:
        if line.label is Label.ATTACK:
            surveyor.found.attacks += 1
            continue
        try:
            await surveyor.take(line)
        except RequestError as error:
            surveyor.found.unread[error.message.removesuffix(".")] += 1
        # Nothing here waits; without this, an interrupt would be heard at the end of the log.
        await asyncio.sleep(0)
    return surveyor.found


class Surveyor:
    """Takes a log in, line by line; raises `ConfigError`."""

    def __init__(
        self, settings: Settings, declared: Mapping[Holder, Declared], scores: Mapping[Signal, Score]
    ) -> None:
        self.found = Survey()
        self._keys = keys = Pseudonyms(pepper_of(settings))
        self._reader = LineReader(settings, keys, declared)
        self._lessons = Lessons(keys, self._reader.rules.dialects, bounded=False)
        # Everybody has long been here, so that budgets are whole: most callers are older than a log.
        self._plans = Plans(self._reader.policy, keys, lambda _: 0)
        self._clock = LogClock()
        self._store = MemoryStore(self._clock.date_us)
        self._scores = scores

    async def take(self, line: Line) -> None:
        """Take in a line; raises `RequestError` for one that says nothing."""
        reader, found = self._reader, self.found
        self._clock.now_us = line.now_us
        route, path = reader.route(line)
        if route.action is not RouteAction.GUARD:
            raise RequestError("no query that guard reads")
        identity = reader.identity(line, route)
        query = reader.query(line, route, path, identity)
        usage, status = reader.answer(line, query, route, identity)
        if query is None or status >= 400:
            raise RequestError("no answer but an error")
        plan = self._plans.find(
            reader.policy, Mode.ENFORCE, identity, query, route.path, line.method, line.now_us
        )
        suspect = reader.policy.suspect(plan.identity, line.now_us)
        copies = reader.copies(line, query, route, path)
        lesson = self._lessons.read(suspect.holder, copies, usage, line.now_us)
        trace = found.traces.setdefault(self._keys.label(suspect.holder), Trace())
        before = trace.profile.mean
        step = self._lessons.teach(trace.profile, lesson)
        paid = await self._paid(line, plan, lesson.payout)
        trace.profile.pay(step, lesson.payout.drawn / UNIT, paid / UNIT)
        trace.add(see(trace.profile, self._scores), before, line.now_us)
        trace.excused |= suspect.excused
        found.queries += 1
        found.unanswered += copies.answer is None
        found.since_us = found.since_us or line.now_us
        found.until_us = line.now_us

    async def _paid(self, line: Line, plan: Plan, payout: Payout) -> int:
        """What answers pay out to the caller's diversity budgets, in thousandths, and all that they draw
        where it has none, as an analyst takes it.
        """
        due = [each for each in plan.due if each.limit.unit == Unit.NOVELTY]
        if plan.counts_novelty:
            held = [(each.limit, each.holder, each.limit.windows) for each in due]
        else:
            held = [(WITHOUT_BUDGET, plan.identity.holder(*WITHOUT_BUDGET.per), ())]
        paid: dict[Holder, int] = {}
        for limit, holder, windows in held:
            whose = plan.identity.weighed(limit.per)
            if whose not in paid:
                one = Reservation(request_id(line), plan.identity, (Charge(limit, holder, payout.drawn),))
                paid[whose] = await self._store.pay(one, ([],), payout) or 0
            self._takings(plan, limit, holder, windows).add(line.now_us, paid[whose])
        return max(paid.values()) if due else payout.drawn

    def _takings(self, plan: Plan, limit: Limit, holder: Holder, windows: tuple[Window, ...]) -> Takings:
        """What a holder has taken of a budget of the settings, whatever its own numbers are."""
        named = (each for each in plan.tier.limits if each.name == limit.name)
        budget = plan.tier.name, next(named, limit)
        takings = self.found.takings.setdefault(budget, {}).setdefault(self._keys.label(holder), Takings())
        takings.windows = windows
        return takings
