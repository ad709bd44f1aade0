"""Tells the worker what was read: an observation of each query, added to the store's stream, and who was
refused.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from typing import TYPE_CHECKING, Protocol

from guard.campaigns.lineage import Kind
from guard.campaigns.observation import MOST_LINKS, Facts, Observation, Refusal
from guard.core.novelty import UNIT
from guard.core.uses import declared_of
from guard.errors import StoreError
from guard.telemetry.lines import limited

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from guard.background import Background
    from guard.campaigns.lineage import Exchange, Lineage
    from guard.campaigns.sharing import Sharing
    from guard.core.identity import Holder, Identity
    from guard.core.pseudonyms import Pseudonyms
    from guard.core.uses import Declared
    from guard.detection.trace import Trace

MOST_AT_ONCE = 256
"""Maximum number of observations in one call: while it runs, the store does nothing else."""

MOST_LINKED = 4_096
"""Maximum number of holders whose links wait for their next observation."""

MOST_ACTIVE = 16_384
"""Maximum number of holders of which it is known that they have asked lately."""

MOST_EARLY = 1_024
"""Maximum number of holders that were refused and of which no answer was read yet."""

LATELY_US = 3_600_000_000
"""It is told that a holder was refused if it was answered so long ago at most: else nobody goes on for it."""


class Observing(Protocol):
    """Where observations go."""

    async def observe(self, records: Sequence[bytes]) -> None:
        """Add them; raises `StoreError`."""


class Observer:
    """Collects observations for `collect_seconds` and adds them in the `background`; with `None`, at once.

    What cannot be added is lost: the worker judges by what it hears. Who is declared in `uses` is what its
    operator says, and nobody's account; of a router, its end users are observed. With `sharing`, hashes go
    with them that operators tell each other.
    """

    def __init__(
        self,
        keys: Pseudonyms,
        store: Observing,
        *,
        collect_seconds: float | None,
        background: Background,
        uses: Mapping[Holder, Declared],
        sharing: Sharing | None = None,
    ) -> None:
        self.uses = uses
        self._keys = keys
        self._facts = Facts(keys)
        self._sharing = sharing
        self._store = store
        self._collect_seconds = collect_seconds
        self._background = background
        self._waiting: list[bytes] = []
        self._links: OrderedDict[Holder, dict[int, float]] = OrderedDict()
        self._active: OrderedDict[Holder, int] = OrderedDict()
        self._early: OrderedDict[Holder, int] = OrderedDict()

    @property
    def wordings(self) -> bytes | None:
        """The secret by which operators share wordings; `None` where they do not."""
        return None if self._sharing is None else self._sharing.wordings

    def hear(self, exchange: Exchange, found: Sequence[Lineage]) -> None:
        """A holder has sent what was answered to others: that goes with its next observation."""
        if exchange.suspect is None:
            return
        crossed = {int(each.issuer, 16): _SURE[each.kind] for each in found if each.whose.crosses}
        if not crossed:
            return
        links = self._links.setdefault(exchange.suspect, {})
        self._links.move_to_end(exchange.suspect)
        for issuer, sure in crossed.items():
            if len(links) < MOST_LINKS:
                links[issuer] = max(links.get(issuer, 0.0), sure)
        if len(self._links) > MOST_LINKED:
            self._links.popitem(last=False)

    def take(
        self,
        holder: Holder,
        identity: Identity,
        now_us: int,
        trace: Trace,
        drew: int,
        paid: int,
        client: bytes = b"",
        twins: tuple[bytes, ...] = (),
    ) -> None:
        """A query of this holder was read, whose answers drew and paid out so much, in thousandths. `client`
        is what tells the program that sent it from others, and `twins` are those of its wordings.
        """
        links = self._links.pop(holder, {})
        if self._is_declared(holder, identity, now_us):
            return
        seen = Observation(
            label=self._keys.label(holder),
            org=str(identity.known_org or ""),
            verified=identity.verified,
            at_us=now_us,
            facts=self._facts.of(identity, client),
            me=self._name(identity),
            links=tuple(links.items()),
            drew=drew / UNIT,
            paid=paid / UNIT,
            trace=trace,
            model=self._facts.model(identity),
        )
        if self._sharing is not None:
            seen = seen._replace(shared=self._sharing.of(identity, client, twins))
        self._add(seen.write())
        self._active[holder] = now_us
        self._active.move_to_end(holder)
        if len(self._active) > MOST_ACTIVE:
            self._active.popitem(last=False)
        early_us = self._early.pop(holder, None)
        if early_us is not None:
            self.refuse(holder, identity, early_us)

    def refuse(self, holder: Holder, identity: Identity, now_us: int) -> None:
        """A request of this holder was refused. It may be read before the answers that came before it."""
        asked_us = self._active.get(holder)
        if asked_us is None:
            self._early[holder] = now_us
            if len(self._early) > MOST_EARLY:
                self._early.popitem(last=False)
        elif abs(now_us - asked_us) <= LATELY_US and not self._is_declared(holder, identity, now_us):
            self._add(Refusal(self._keys.label(holder), now_us).write())

    def _add(self, record: bytes) -> None:
        self._waiting.append(record)
        if self._collect_seconds is None:
            self.flush()
        elif len(self._waiting) == 1:
            asyncio.get_running_loop().call_later(self._collect_seconds, self.flush)

    def flush(self) -> None:
        """Begin to add what was collected."""
        waiting, self._waiting = self._waiting, []
        for start in range(0, len(waiting), MOST_AT_ONCE):
            self._background.begin(self._added(waiting[start : start + MOST_AT_ONCE]))

    async def _added(self, records: Sequence[bytes]) -> None:
        try:
            await self._store.observe(records)
        except StoreError as error:
            limited.log(
                logging.WARNING,
                "observe",
                "%d queries go unobserved (%s): %s",
                len(records),
                error.kind,
                error,
            )

    def _is_declared(self, holder: Holder, identity: Identity, now_us: int) -> bool:
        declared = declared_of(identity, self.uses, now_us)
        return any(not each.use.per_end_user or holder == identity.principal for each in declared)

    def _name(self, identity: Identity) -> int:
        """The short name under which answers are remembered (guard/campaigns/lineage.py)."""
        return int(self._keys.digest(identity.known_org or identity.principal)[:8], 16)


_SURE = {Kind.ID: 1.0, Kind.TEXT: 0.5}
"""How sure it is that what came back was answered to another: two texts that match are as sure as one id."""
