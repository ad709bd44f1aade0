"""What happened to a request, told to whoever watches. A hook watches; it never steers."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Protocol

from guard.core.decision import Action
from guard.core.evidence import Band

if TYPE_CHECKING:
    from collections.abc import Iterable

    from guard.core.decision import Reason
    from guard.core.evidence import Group
    from guard.core.modes import Mode
    from guard.core.policy import OnStoreError

logger = logging.getLogger("guard")


@dataclass(frozen=True, slots=True)
class Event:
    """One request, when it is over and has been settled, or could not be at the first try.

    It names the identity by its label, which holds no credential and no address, and it never holds the
    text of a query. `action` is what was decided; in mode `shadow` a refusal was forwarded all the same.
    `limits` names the violated ones. `status` is what the client got, `None` where it left first.

    `store_error` is the kind of error where the store could not decide, and `on_store_error` what was done
    then. `body_read` is false where the request was refused before its body was read.
    `expired_reservations` are those of requests that died, which this one gave back. `cost` is in
    micro-dollars. `risk` is in decibans, and `groups` are those of the signals behind it. `novelty` is what
    the diversity budgets were charged, in their unit; `None` where there is none, or the store has not said.
    `unseen` counts the queries, since the event before, that the analysis had no time for.
    """

    request_id: str
    identity: str
    tier: str
    route: str
    mode: Mode
    action: Action
    reason: Reason | None
    limits: tuple[str, ...]
    status: int | None
    input_tokens: int
    output_tokens: int
    store_error: str | None
    on_store_error: OnStoreError | None = None
    body_read: bool = True
    expired_reservations: int = 0
    cost: int = 0
    risk: float = 0.0
    band: Band = Band.LOW
    groups: tuple[Group, ...] = ()
    novelty: float | None = None
    unseen: int = 0


class Hook(Protocol):
    """Something that watches."""

    def __call__(self, event: Event, /) -> None:
        """Take in one event; must not block, and what it raises is logged and dropped."""


def log_event(event: Event) -> None:
    """One JSON line in the log `guard`: of what was refused or narrowed at level INFO, else at DEBUG."""
    level = logging.DEBUG if event.action is Action.ALLOW else logging.INFO
    if logger.isEnabledFor(level):
        logger.log(level, "%s", json.dumps(asdict(event)))


def tell(hooks: Iterable[Hook], event: Event) -> None:
    """Hand an event to every hook."""
    for hook in hooks:
        try:
            hook(event)
        except Exception:  # a watcher's fault must not become the request's
            logger.exception("a telemetry hook failed")
