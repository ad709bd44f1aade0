"""What the log says of a store that fails: one line at first, one a minute while it lasts, one at its end.

    12:00:00  the store fails (connection): Error 111 connecting to 10.0.0.1:6379; requests now go by
              on_store_error = local
    12:01:00  the store still fails (connection): Error 111 …; requests since the last line that went by
              on_store_error = local: 5120
    12:01:20  the store answers again after 80 s; requests that went by on_store_error = local: 6800, debts
              that were charged: 12

It has come to an end when the engine heard from the store twice in a row and nothing failed in between, so
that a store which fails in some of its answers is one outage and not many.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from guard.engine.outage.breaker import OPEN

if TYPE_CHECKING:
    from collections.abc import Callable

    from guard.errors import StoreError

logger = logging.getLogger("guard")

REMIND_SECONDS = 60.0


@dataclass(slots=True)
class _Failing:
    """An outage that has not ended: since when, the last cause that is known, and what was counted."""

    since: float
    told_at: float
    cause: str
    requests: int = 0
    told_requests: int = 0
    charged: int = 0
    heard: bool = False


class Outage:
    """Follows one store for one engine.

    `seconds` is a clock that never runs backwards; `instead` says what becomes of requests, such as `local`.
    """

    def __init__(self, seconds: Callable[[], float], instead: Callable[[], str]) -> None:
        self._seconds = seconds
        self._instead = instead
        self._failing: _Failing | None = None

    @property
    def lasts(self) -> bool:
        """Whether there is one now."""
        return self._failing is not None

    def failed(self, error: StoreError, *, requests: int = 0) -> None:
        """A call failed, and this number of requests had to do without its answer."""
        now = self._seconds()
        cause = f"({error.kind}): {error}"
        failing = self._failing
        if failing is None:
            failing = self._failing = _Failing(now, now, cause)
            logger.warning(
                "the store fails %s; requests now go by on_store_error = %s", cause, self._instead()
            )
        failing.requests += requests
        failing.heard = False
        if error.kind != OPEN:
            failing.cause = cause
        if now - failing.told_at >= REMIND_SECONDS:
            logger.warning(
                "the store still fails %s; requests since the last line that went by on_store_error = %s: %d",
                failing.cause,
                self._instead(),
                failing.requests - failing.told_requests,
            )
            failing.told_at, failing.told_requests = now, failing.requests

    def charged(self) -> None:
        """A debt was charged."""
        if self._failing is not None:
            self._failing.charged += 1

    def heard(self) -> None:
        """The engine has heard from the store, and has no debts that it could charge."""
        failing = self._failing
        if failing is None:
            return
        if not failing.heard:
            failing.heard = True
            return
        self._failing = None
        logger.warning(
            "the store answers again after %.0f s; requests that went by on_store_error = %s: %d, "
            "debts that were charged: %d",
            self._seconds() - failing.since,
            self._instead(),
            failing.requests,
            failing.charged,
        )
