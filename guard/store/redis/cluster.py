"""Where on a cluster the keys of a request live, and what is done about those that one script cannot touch.

On one server all keys are in one slot, and nothing of this costs a round trip.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, cast

from guard.core.modes import Mode
from guard.errors import StoreError
from guard.store.port import RECORD_SECONDS, UNVERIFIED_SECONDS
from guard.store.redis.client import Client
from guard.store.redis.keys import IDENTITIES, TERMS, Keys
from guard.store.redis.layout import Layout, Layouts
from guard.store.redis.scripts import NOTE
from guard.store.redis.wire import FIRST_SEEN_BYTES, first_seen_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from guard.core.identity import Holder, Identity
    from guard.core.limits import Charge
    from guard.store.embedded.server import EmbeddedServer
    from guard.store.transport.nodes import Nodes

TERMS_SECONDS = 0.5
"""On a cluster, where they live on another node, the operator's terms for an identity are kept so long."""

TERMS_KEPT = 10_000

TOTALS = ("admitted", "refused", "shadowed", "input_tokens", "output_tokens", "cost")
"""What a record adds up, in the order of its script."""

INDEX_SECONDS = 60.0
"""On a cluster, an identity's place in the index is brought up to date at most this often by one process."""


class Slotted(Client):
    """A client that knows in which slot what is kept, and notes in others what a script could not."""

    def __init__(
        self,
        keys: Keys,
        new_nodes: Callable[[], Nodes],
        *,
        server: EmbeddedServer | None = None,
        deadline_seconds: float = 0.05,
        unverified_seconds: float = UNVERIFIED_SECONDS,
    ) -> None:
        super().__init__(keys, new_nodes, server=server, deadline_seconds=deadline_seconds)
        self._unverified_ms = int(unverified_seconds * 1000)
        self._layouts = Layouts(keys)
        self._terms: dict[tuple[str, ...], tuple[float, list[str]]] = {}
        self._indexed: dict[str, float] = {}

    @property
    def stale_seconds(self) -> float:
        """How late an order of the operator's for one holder may reach `admit`."""
        return TERMS_SECONDS if self.keys.together else 0.0

    async def first_seen(self, identity: Identity) -> int | None:
        """When an identity was first seen, in Unix microseconds; `None` where there is no record of it."""
        record = self.keys.record(identity)
        with self._translated():
            reply = await self._nodes().call(record, "GETRANGE", record, 0, FIRST_SEEN_BYTES - 1)
        return first_seen_of(cast("bytes", reply))

    def _layout(self, identity: Identity, charges: Sequence[Charge]) -> Layout:
        """Where what these charges need is kept."""
        return self._layouts.of(identity, charges, self._nodes().group)

    def _review_fields(self, suspect: Holder | None, reviewed: Mode) -> tuple[str, ...]:
        """The field of the terms with the review of a request's suspect, where anybody asks for it."""
        return () if suspect is None or reviewed is Mode.OFF else (self.keys.review_field(suspect),)

    async def _terms_elsewhere(self, layout: Layout, more: tuple[str, ...]) -> dict[str, str]:
        """The operator's terms for a request, and `more` of them, which a script in another slot cannot
        read.
        """
        fields = tuple(dict.fromkeys([*(field for part in layout.parts for field in part.terms), *more]))
        now = time.monotonic()
        until, texts = self._terms.get(fields, (0.0, []))
        if until < now:
            with self._translated():
                reply = await self._nodes().call(TERMS, "HMGET", TERMS, *fields)
            texts = [text.decode() if text else "" for text in cast("list[bytes | None]", reply)]
            if len(self._terms) >= TERMS_KEPT:
                self._terms.clear()
            self._terms[fields] = (now + TERMS_SECONDS, texts)
        return dict(zip(fields, texts, strict=True))

    async def _count(self, identity: Identity, totals: Mapping[str, int], create: bool, now_us: int) -> None:
        """Add to a record, if there is anything to add; what cannot be noted is not worth an error."""
        if any(totals.values()):
            with suppress(StoreError):
                await self._note(identity, totals, create, now_us)

    async def _note(self, identity: Identity, totals: Mapping[str, int], create: bool, now_us: int) -> None:
        record = self.keys.record(identity)
        (there,) = await self._run(
            NOTE,
            [self.keys.debt(record, "none"), record],
            [now_us, *self._about(identity, create=create), *(totals.get(name, 0) for name in TOTALS)],
        )
        if there and self.keys.together:
            await self._index(identity)

    async def _index(self, identity: Identity) -> None:
        """Keep an identity's place in the index, which lives on another node."""
        label = self.keys.label(identity.principal)
        now = time.monotonic()
        if self._indexed.get(label, 0.0) > now:
            return
        if len(self._indexed) >= TERMS_KEPT:
            self._indexed.clear()
        self._indexed[label] = now + INDEX_SECONDS
        with self._translated():
            await self._nodes().call(IDENTITIES, "ZADD", IDENTITIES, time.time_ns() // 1000, label)
            await self._nodes().call(IDENTITIES, "EXPIRE", IDENTITIES, RECORD_SECONDS)

    def _about(self, identity: Identity, *, create: bool) -> list[str | int]:
        label = self.keys.label(identity.principal)
        return [label, self.keys.attributes(identity), self._life_ms(identity), int(create)]

    def _life_ms(self, identity: Identity) -> int:
        """How long what is kept of an identity outlives its last request."""
        return RECORD_SECONDS * 1000 if identity.verified else self._unverified_ms
