"""Looks at queries that were answered, and learns how their holders behave.

A query is looked at off the event loop, when its answer is over. Then it is taken into its holder's profile,
what that says is turned into evidence, and both are kept in the store. No request waits for that: where the
analysis cannot keep up, queries go unseen.

What was learnt last is remembered here too, so that the store need not be asked for it. Where another process
has learnt of the same holder since, the store says so, and it is learnt again from what that process knows.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING, Protocol

from guard.core.evidence import NO_EVIDENCE, Evidence, merge
from guard.detection.learner import Learner
from guard.detection.profile import Profile

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable
    from typing import Any

    from guard.core.evidence import Learnt
    from guard.core.identity import Holder, Identity
    from guard.core.query import Query, Usage
    from guard.detection.reference import Reference
    from guard.detection.sight import Sight
    from guard.text.fingerprint import Fingerprinter, Sketch

REMEMBERED = 4_096
"""Size of the profile cache, in holders."""

TRIES = 3
"""Compare-and-set attempts when several processes learn of one holder at the same time."""

MOST_WAITING = 8
"""Maximum number of queries of one holder that wait to be learnt from; further ones are left out."""


class Aside(Protocol):
    """Does work beside the event loop."""

    def submit(self, item: Callable[[], Any], key: Hashable) -> asyncio.Future[Any] | None:
        """The result to come; `None` where there is no room for this key, which has its own share."""


class Inline:
    """Does work at once, on the event loop: for replays, where nobody waits and order is all."""

    def submit(self, item: Callable[[], Any], key: Hashable) -> asyncio.Future[Any]:
        """The result, which is there already."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        future.set_result(item())
        return future


class Memory(Protocol):
    """Where evidence is kept."""

    async def learn(self, holder: Holder, identity: Identity, evidence: Evidence) -> Learnt:
        """Keep it, unless there is newer; raises `StoreError`."""


class Analyst:
    """Looks and learns beside requests. `half_life_us` is that of evidence. Raises what `Learner` does."""

    def __init__(
        self,
        secret: bytes,
        fingerprinter: Fingerprinter,
        reference: Reference,
        memory: Memory,
        aside: Aside,
        *,
        half_life_us: int,
    ) -> None:
        self.reference = reference
        self.half_life_us = half_life_us
        self._learner = Learner(secret, fingerprinter)
        self._memory = memory
        self._aside = aside
        self._known: OrderedDict[Holder, Evidence] = OrderedDict()
        self._turns: dict[Holder, tuple[asyncio.Lock, int]] = {}

    def look(self, query: Query, sketch: Sketch, whose: Holder) -> asyncio.Future[Sight] | None:
        """Begin to look at a query; `None` where there is no time for it, and cancelled where none is left.

        The time is shared by those `whose` queries they are.
        """
        return self._aside.submit(partial(self._learner.look, query, sketch), whose)

    async def learn(
        self, holder: Holder, identity: Identity, sight: Sight, usage: Usage, now_us: int
    ) -> Evidence | None:
        """Take a query into its holder's profile; returns what is known then, `None` where nothing was
        learnt. `now_us` is when the query was over, in Unix microseconds. Raises `StoreError`.
        """
        lock, waiting = self._turns.get(holder, (asyncio.Lock(), 0))
        if waiting >= MOST_WAITING:
            return None
        self._turns[holder] = (lock, waiting + 1)
        try:
            async with lock:
                return await self._learn(
                    holder, identity, lambda known: self.study(known, sight, usage, now_us)
                )
        finally:
            lock, waiting = self._turns.pop(holder)
            if waiting > 1:
                self._turns[holder] = (lock, waiting - 1)

    async def _learn(
        self, holder: Holder, identity: Identity, study: Callable[[Evidence], Evidence]
    ) -> Evidence | None:
        known = self._known.get(holder, NO_EVIDENCE)
        for _ in range(TRIES):
            studying = self._aside.submit(partial(study, known), holder)
            if studying is None:
                return None
            await asyncio.wait({studying})
            if studying.cancelled():
                return None  # it has lost its place
            learnt = await self._memory.learn(holder, identity, studying.result())
            known = learnt.evidence
            self._remember(holder, known)
            if learnt.kept:
                return known
        return None

    def study(self, known: Evidence, sight: Sight, usage: Usage, now_us: int) -> Evidence:
        """What is known with one more query; pure but for time spent, so it may run off the loop."""
        profile = Profile.read(known.profile)
        self._learner.learn(profile, sight, usage, now_us)
        fresh = self.reference.evidence(profile)
        marks = merge(known.marks, fresh, now_us, self.half_life_us)
        return Evidence(known.version, profile.write(), marks)

    def _remember(self, holder: Holder, evidence: Evidence) -> None:
        self._known[holder] = evidence
        self._known.move_to_end(holder)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
