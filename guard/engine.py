"""One request end to end: admit it, and settle it when it is over."""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol, Self

from guard.core.limits import MICROSECONDS
from guard.core.policy import Action, Decision, Mode, OnStoreError, Policy, Reason, decide, settle
from guard.core.query import NO_USAGE
from guard.errors import StoreError
from guard.store.embedded import EmbeddedServer
from guard.store.keys import Keys
from guard.store.pepper import local_pepper
from guard.store.redis import RedisStore
from guard.telemetry import Event, log_event, tell

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence

    from guard.config import Settings
    from guard.core.identity import Identity
    from guard.core.limits import Charge
    from guard.core.query import Query, Usage
    from guard.store.redis import Verdict
    from guard.telemetry import Hook

logger = logging.getLogger("guard")

SETTLE_RETRY_SECONDS = (0.1, 0.5, 2.0, 10.0, 30.0)
"""When a settle that failed is tried again: it is idempotent, and an outage must not make answers free."""

LARGEST_BACKLOG = 10_000
"""So many settles are kept for later at most; beyond that reservations stand as they are until they
expire."""

COMPLAIN_SECONDS = 1.0
"""A store that fails is logged once in this time."""

STORE_RETRY_SECONDS = (1.0, 5.0)
"""A caller refused because the store is down comes again after a time in this range, not with all others at
once."""


class Store(Protocol):
    """What the engine needs of a store."""

    async def admit(self, reservation_id: str, identity: Identity, charges: Sequence[Charge]) -> Verdict:
        """Charge every limit or none; idempotent by id. Raises `StoreError`."""

    async def settle(
        self,
        reservation_id: str,
        identity: Identity,
        charges: Sequence[Charge],
        usage: Usage,
        *,
        accepted: bool,
    ) -> bool:
        """True a reservation up to these charges; idempotent by id. Raises `StoreError`."""

    async def release(self, reservation_id: str, identity: Identity, charges: Sequence[Charge]) -> bool:
        """Take a reservation back; idempotent by id. Raises `StoreError`."""


@dataclass(frozen=True, slots=True)
class Admission:
    """A request that has been decided on.

    `charges` are what was reserved. `label` and `tier` are for the event at its end.
    """

    request_id: str
    identity: Identity
    label: str
    tier: str
    route: str
    mode: Mode
    decision: Decision
    charges: tuple[Charge, ...]
    store_error: str | None = None

    @property
    def refused(self) -> bool:
        """Whether the request must not be forwarded: what was decided, unless only shadowed."""
        return self.decision.refused and self.mode is Mode.ENFORCE


class Engine:
    """Decides on requests and keeps their books."""

    def __init__(
        self, policy: Policy, store: Store, keys: Keys, hooks: Iterable[Hook] = (log_event,)
    ) -> None:
        self.policy = policy
        self._store = store
        self._keys = keys
        self._hooks = tuple(hooks)
        self._background: set[asyncio.Task[None]] = set()
        self._complained_at = -math.inf

    async def admit(self, request_id: str, identity: Identity, query: Query | None, route: str) -> Admission:
        """Decide on a request, and reserve what it may use if it is admitted."""
        tier = self.policy.tier(identity)
        charges = self.policy.reserve(identity, query)
        store_error = None
        try:
            verdict = await self._store.admit(request_id, identity, charges)
        except StoreError as error:
            self._complain(error)
            store_error = error.kind
            decision = _undecided(tier.on_store_error)
            if decision.refused:
                # The store may have charged and only answered too late.
                self._spawn(self._insist(partial(self._store.release, request_id, identity, charges)))
        else:
            block = verdict.block
            decision = decide(
                verdict.readings, blocked=block is not None, block_us=block.remaining_us if block else None
            )
        return Admission(
            request_id,
            identity,
            self._keys.label(identity.principal),
            tier.name,
            route,
            self.policy.mode,
            decision,
            charges,
            store_error,
        )

    def refuse(self, admission: Admission, status: int) -> None:
        """A refusal has been sent: tell the hooks."""
        self._tell(admission, NO_USAGE, status)

    async def settle(self, admission: Admission, usage: Usage, status: int | None) -> None:
        """The answer is over: charge what it used.

        Returns when the store has settled, or could not within its deadline; then it is tried again in the
        background. A cancelled caller does not cancel the settling.
        """
        self._tell(admission, usage, status)
        if admission.decision.refused:
            return  # shadowed: nothing was reserved, and enforcing would charge nothing
        accepted = status is not None and status < 400
        charges = settle(admission.charges, usage)
        work = partial(
            self._store.settle, admission.request_id, admission.identity, charges, usage, accepted=accepted
        )
        tried = asyncio.Event()
        self._spawn(self._insist(work, tried))
        await tried.wait()

    async def drain(self, seconds: float = 1.0) -> None:
        """Wait for settles under way; what is not done by then is left to the reservations' expiry."""
        if self._background:
            _, late = await asyncio.wait(self._background, timeout=seconds)
            for task in late:
                task.cancel()

    def _complain(self, error: StoreError) -> None:
        """Say that the store fails, but not once a request: an outage is trouble enough."""
        now = time.monotonic()
        if now - self._complained_at > COMPLAIN_SECONDS:
            self._complained_at = now
            logger.warning("the store cannot decide (%s): %s", error.kind, error)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _insist(self, work: Callable[[], Awaitable[bool]], tried: asyncio.Event | None = None) -> None:
        """Do what is idempotent until it is done, or there is no use; `tried` is set after the first try."""
        for delay in (*SETTLE_RETRY_SECONDS, None):
            try:
                await work()
                return
            except StoreError as error:
                if delay is None or len(self._background) > LARGEST_BACKLOG:
                    logger.error("not settled (%s): %s", error.kind, error)
                    return
            finally:
                if tried is not None:
                    tried.set()
            await asyncio.sleep(delay)

    def _tell(self, admission: Admission, usage: Usage, status: int | None) -> None:
        decision = admission.decision
        event = Event(
            request_id=admission.request_id,
            identity=admission.label,
            tier=admission.tier,
            route=admission.route,
            mode=admission.mode,
            action=decision.action,
            reason=decision.reason,
            limits=tuple(dict.fromkeys(reading.limit.name for reading in decision.violated)),
            status=status,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            store_error=admission.store_error,
        )
        tell(self._hooks, event)


def _undecided(on_store_error: OnStoreError) -> Decision:
    if on_store_error is OnStoreError.ALLOW:
        return Decision(Action.ALLOW, Reason.STORE)
    wait_seconds = random.uniform(*STORE_RETRY_SECONDS)  # noqa: S311 - spreads clients, guards nothing
    return Decision(Action.DENY, Reason.STORE, (), int(wait_seconds * MICROSECONDS))


@dataclass(frozen=True, slots=True)
class Installation:
    """The store that the settings name, and how it names things: what the doors and the admin share."""

    settings: Settings
    keys: Keys
    store: RedisStore
    server: EmbeddedServer | None

    @classmethod
    def of(cls, settings: Settings, *, deadline_seconds: float | None = None) -> Self:
        """Put the store together; nothing is started yet. Raises `ConfigError`.

        `deadline_seconds` replaces that of requests.
        """
        pepper = settings.identity.pepper
        secret = pepper.get_secret_value().encode() if pepper else local_pepper(settings.data_dir)
        keys = Keys(secret)
        url = settings.store.redis_url
        server = None if url else EmbeddedServer(settings.data_dir)
        store = RedisStore(
            keys,
            url=url.get_secret_value() if url else None,
            server=server,
            deadline_seconds=deadline_seconds or settings.store.deadline_ms / 1000,
            reservation_seconds=settings.store.reservation_seconds,
        )
        return cls(settings, keys, store, server)
