"""Guard's own answers: refusals, and errors of requests that cannot be judged."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from starlette.responses import Response

from guard.core.decision import Action, Reason
from guard.dialects.base import Refusal
from guard.dialects.ratelimit import ratelimit_fields, violated_policies
from guard.dialects.words import duration, refused_by
from guard.errors import MethodError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from guard.core.decision import Decision
    from guard.dialects.base import Voice
    from guard.engine.admission import Admission
    from guard.errors import BackendError, RequestError


class Refuser:
    """Makes guard's own answers to one request."""

    def __init__(self, voice: Voice, request_id: str) -> None:
        self.voice = voice
        self.request_id = request_id

    def error(self, error: RequestError) -> Response:
        """The answer to a request that cannot be judged."""
        code = _CODES.get(error.status, "invalid_request")
        wait_us = 1_000_000 if error.status in (429, 503) else None
        refusal = Refusal(error.status, error.message, code, error.param, retry_after_us=wait_us)
        return self._response(refusal, [("allow", error.allow)] if isinstance(error, MethodError) else ())

    def backend_failed(self, error: BackendError) -> Response:
        """The answer when the backend gave none."""
        return self._response(Refusal(error.status, str(error), "backend_failed"))

    def refusal(self, admission: Admission, receipt: str) -> Response:
        """The answer to a request that was refused, with a receipt of that."""
        decision = admission.decision
        unit = decision.violated[0].limit.unit if decision.violated else None
        if decision.action is Action.CHALLENGE:
            refusal = Refusal(403, decision.rung.challenge, "verification_required", receipt=receipt)
            return self._response(refusal, self.limit_headers(decision))
        if decision.action is Action.HOLD:
            refusal = Refusal(403, decision.notice, "account_held", receipt=receipt)
            return self._response(refusal, self.limit_headers(decision))
        # A deny for risk is told as a quota that is used up.
        used_up = decision.reason in (Reason.QUOTA, Reason.RISK)
        status, code, message = _REFUSALS[decision.reason or Reason.QUOTA]
        if used_up:
            limit = refused_by(decision.visible)
            message = f"{message}: {limit}." if limit else f"{message}."
            if decision.retry_after_us is not None:
                message = f"{message} Please try again in {duration(decision.retry_after_us)}."
        refusal = Refusal(
            status,
            message,
            code,
            None,
            unit,
            decision.retry_after_us,
            violated_policies(decision.visible) if used_up else (),
            receipt,
        )
        return self._response(refusal, self.limit_headers(decision))

    def limit_headers(self, decision: Decision) -> list[tuple[str, str]]:
        """How the limits stand, for any answer: in this API's own words, and in those of the IETF's draft."""
        visible = decision.visible
        return [*self.voice.limit_headers(visible, datetime.now(UTC)), *ratelimit_fields(visible)]

    def _response(self, refusal: Refusal, headers: Iterable[tuple[str, str]] = ()) -> Response:
        answer = self.voice.refuse(refusal, self.request_id)
        # Also where this API has another name for it: the log's lines are found by it.
        own = {"cache-control": "no-store", "x-request-id": self.request_id}
        if refusal.receipt is not None:
            own["guard-receipt"] = refusal.receipt
        return Response(answer.body, answer.status, {**dict(answer.headers), **dict(headers), **own})


_REFUSALS = {
    Reason.QUOTA: (429, "rate_limit_exceeded", "Rate limit reached"),
    Reason.RISK: (429, "rate_limit_exceeded", "Rate limit reached"),
    Reason.TOO_LARGE: (
        413,
        "request_too_large",
        "This request is larger than your limits ever allow; make it smaller.",
    ),
    Reason.BLOCKED: (403, "access_blocked", "Access is blocked."),
    Reason.STORE: (
        503,
        "temporarily_unavailable",
        "The service is temporarily unavailable. Please try again.",
    ),
}

_CODES = {
    401: "invalid_api_key",
    403: "access_denied",
    404: "unknown_path",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "request_too_large",
    415: "unsupported_encoding",
    429: "rate_limit_exceeded",
    503: "temporarily_unavailable",
}
