"""Health of `guard serve` for whoever restarts it and sends it traffic.

    /-/live     200 as long as the process answers at all: whatever else is down, a restart would not mend it
    /-/ready    200 where requests can be served; 503 where the backend takes no connection, or where the
                store does not answer and every tier denies without it

Both are unlimited, ask for no credential, and say one word. What stands behind the word is for the metrics
port, which shows the token that it shares with the workers: {"ready": true, "store": "degraded", "backend":
"ok"}. A worker that drains takes no connection, and so is not ready.
"""

from __future__ import annotations

import asyncio
import hmac
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse, PlainTextResponse, Response

from guard.http.reach import takes_a_connection

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Receive, Scope, Send
    from yarl import URL

LIVE, READY = "/-/live", "/-/ready"

PROBE_VARIABLE = "ASGI_GUARD_PROBE"
"""Names the token of the metrics port in the environment of the workers."""

PROBE_HEADER = "x-guard-probe"

KEPT_SECONDS = 1.0
"""A report is given again for so long, so that probes are no way to load the backend."""


class Health(StrEnum):
    """How a part does. A degraded store does not answer, but requests are served without it."""

    OK = "ok"
    DEGRADED = "degraded"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Report:
    """Whether requests can be served, and why not."""

    ready: bool
    store: Health
    backend: Health


class HealthRoutes:
    """Answers the two paths, and passes all others on to the app.

    `store` says how the store does. `public` opens the paths to everybody, `token` to the metrics port.
    """

    def __init__(
        self,
        app: ASGIApp,
        store: Callable[[], Health],
        backend: URL,
        *,
        public: bool,
        token: str | None = None,
    ) -> None:
        self._app = app
        self._store = store
        self._backend = backend
        self._public = public
        self._token = token
        self._asking = asyncio.Lock()
        self._report: Report | None = None
        self._reported_seconds = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one scope."""
        ours = scope["type"] == "http" and scope["path"] in (LIVE, READY)
        trusted = ours and self._trusts(scope)
        if not ours or not (self._public or trusted):
            await self._app(scope, receive, send)
            return
        await (await self._answer(scope, trusted=trusted))(scope, receive, send)

    async def report(self) -> Report:
        """How things stand, or stood up to `KEPT_SECONDS` ago."""
        async with self._asking:
            now = asyncio.get_running_loop().time()
            if self._report is None or now - self._reported_seconds > KEPT_SECONDS:
                store, backend = self._store(), await self._backend_health()
                self._report = Report(Health.DOWN not in (store, backend), store, backend)
                self._reported_seconds = asyncio.get_running_loop().time()
            return self._report

    async def _answer(self, scope: Scope, *, trusted: bool) -> Response:
        headers = {"cache-control": "no-store"}
        if scope["method"] not in ("GET", "HEAD"):
            return PlainTextResponse("use GET\n", 405, {**headers, "allow": "GET, HEAD"})
        if scope["path"] == LIVE:
            return PlainTextResponse("live\n", headers=headers)
        report = await self.report()
        status = 200 if report.ready else 503
        if trusted:
            return JSONResponse(asdict(report), status, headers)
        return PlainTextResponse("ready\n" if report.ready else "not ready\n", status, headers)

    def _trusts(self, scope: Scope) -> bool:
        shown = dict(scope["headers"]).get(PROBE_HEADER.encode(), b"")
        return self._token is not None and hmac.compare_digest(shown, self._token.encode())

    async def _backend_health(self) -> Health:
        """Whether the backend takes a connection."""
        reached = await takes_a_connection(self._backend.host, self._backend.port)
        return Health.OK if reached else Health.DOWN
