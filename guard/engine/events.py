"""The event of each request, for the hooks."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

from guard.core.calendars import MICROSECONDS
from guard.core.decision import Reason
from guard.core.identity import Attribute
from guard.core.limits import Unit, shown
from guard.core.policy import UNKNOWN_PATH, WEBSOCKET
from guard.engine.admission import LONGEST_METHOD
from guard.telemetry.events import (
    Event,
    Failure,
    Hold,
    Notice,
    Read,
    Told,
    detail_of,
    tell,
    tell_failure,
    tell_hold,
    tell_notice,
    tell_read,
)
from guard.telemetry.lines import bounded, limited

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import Scope

    from guard.core.sealed import Mismatch, MismatchReason
    from guard.engine.admission import Admission, Outcome
    from guard.errors import BackendError, RequestError
    from guard.telemetry.events import Hook

logger = logging.getLogger("guard")

MOST_UNKNOWN_TIERS = 100
"""Maximum number of tiers without a definition that are warned of, each once."""


class Notifier(Protocol):
    """Who tells others of what has happened. It must not block, nor ask anybody before it returns."""

    def over(self, admission: Admission) -> None:
        """A request that was decided on is over."""

    def held(self, hold: Hold) -> None:
        """A hold was placed."""


class Events:
    """Makes events, and hands them to the hooks, and what they are about to the notifier."""

    def __init__(self, hooks: Iterable[Hook]) -> None:
        self.notifier: Notifier | None = None
        self._hooks = tuple(hooks)
        self._unknown_tiers: set[str] = set()

    def over(
        self,
        outcome: Outcome,
        novelty: int | None = None,
        *,
        store_forgets: bool = False,
    ) -> None:
        """A request that was decided on is over."""
        admission, usage = outcome.admission, outcome.usage
        decision = admission.decision
        wait_us = decision.retry_after_us
        # A deny for risk only looks as if a limit were used up.
        violated = decision.violated if decision.reason not in _NO_LIMITS else ()
        event = Event(
            request_id=admission.request_id,
            identity=admission.label,
            tier=admission.tier,
            route=admission.route,
            mode=decision.mode,
            action=decision.action,
            reason=decision.reason,
            limits=tuple(dict.fromkeys([reading.limit.name for reading in violated])) if violated else (),
            status=outcome.status,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            store_error=admission.store_error,
            on_store_error=admission.on_store_error,
            body_read=admission.body_read,
            expired_reservations=admission.expired,
            cost=outcome.cost,
            risk=decision.risk.decibans,
            band=decision.risk.band,
            groups=tuple(decision.risk.groups),
            novelty=None if novelty is None else shown(Unit.NOVELTY, novelty),
            store_forgets=store_forgets,
            unknown_tier=self._unknown_tier(admission),
            method=admission.method,
            wait_seconds=None if wait_us is None else wait_us / MICROSECONDS,
            vouched_by=admission.identity.vouched_by,
            campaign=admission.campaign,
            mismatches=_reasons(admission.mismatches) if admission.mismatches else (),
            dialect=admission.dialect,
            model=admission.model,
            times=outcome.times,
        )
        tell(self._hooks, event)
        if self.notifier is not None:
            try:
                self.notifier.over(admission)
            except Exception:  # noqa: BLE001 - as with hooks
                limited.exception("notifier", "noting what to tell a web-hook failed")

    def read(self, admission: Admission, novelty: int | None, *, seen: bool) -> None:
        """An answer was read, or was to be."""
        units = None if novelty is None else shown(Unit.NOVELTY, novelty)
        read = Read(admission.request_id, admission.label, admission.tier, seen, units)
        tell_read(self._hooks, read)

    def held(self, hold: Hold) -> None:
        """A hold was placed."""
        tell_hold(self._hooks, hold)
        if self.notifier is not None:
            self.notifier.held(hold)

    def told(self, hold: Hold, told: Told) -> None:
        """A web-hook was told of it, or not."""
        tell_notice(self._hooks, Notice(hold, told))

    def failed(
        self,
        request_id: str,
        error: RequestError | BackendError,
        label: str | None,
        tier: str | None,
        route: str,
        scope: Scope,
    ) -> None:
        """A request has ended in an error."""
        failure = Failure(
            request_id=request_id,
            reason=error.reason,
            status=error.status,
            method=str(scope.get("method", WEBSOCKET))[:LONGEST_METHOD],
            route=route,
            path=bounded(scope["path"]) if route == UNKNOWN_PATH else None,
            identity=label,
            tier=tier,
            detail=detail_of(error),
        )
        tell_failure(self._hooks, failure)

    def _unknown_tier(self, admission: Admission) -> str | None:
        """The tier that a token or a gateway names and that the settings do not define, if it names one."""
        named = admission.identity.attributes.get(Attribute.TIER)
        if named is None or named == admission.tier:
            return None
        if named not in self._unknown_tiers and len(self._unknown_tiers) < MOST_UNKNOWN_TIERS:
            self._unknown_tiers.add(named)
            logger.warning(
                "tier %r, of %s, is not defined; tier %r holds for it",
                bounded(named),
                admission.label,
                admission.tier,
            )
        return named


_NO_LIMITS = (None, Reason.RISK)
"""Reasons for which no limit is named."""


def _reasons(mismatches: Iterable[Mismatch]) -> tuple[MismatchReason, ...]:
    return tuple(each.reason for each in mismatches)
