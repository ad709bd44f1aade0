"""The trace that a request belongs to, which is known where a log line is written.

Without OpenTelemetry it is that of the header `traceparent` (https://www.w3.org/TR/trace-context/), taken at
its word: it names a trace, and nothing follows from it.
"""

from __future__ import annotations

import re
from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import ASGIApp, Receive, Scope, Send

TRACED = "guard.traced"
"""The name in the scope of a request that is followed already, and of how it is."""

TRACE_ID: ContextVar[str | None] = ContextVar("guard_trace_id", default=None)
"""The id of the trace of the request that is served now, 32 hex digits."""

_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


class Tracing(Protocol):
    """Follows requests."""

    async def serve(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Have an app serve one request, in a scope that has `TRACED`."""


class Traced(Protocol):
    """How one request is followed that is admitted."""

    def forwarded(self, scope: Scope, dialect: str | None, model: str | None) -> Scope:
        """It is forwarded now, with this scope; `model` is the client's own word."""


class TraceIds:
    """Knows the trace of a request by its header alone."""

    async def serve(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Have an app serve one request."""
        TRACE_ID.set(trace_id_of(scope["headers"]))
        await app({**scope, TRACED: None}, receive, send)


def trace_id_of(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The id of the trace that headers name; `None` where they name none, or several."""
    given = [value for name, value in headers if name.lower() == b"traceparent"]
    found = _TRACEPARENT.fullmatch(given[0]) if len(given) == 1 else None
    return None if found is None else found[1].decode("ascii")
