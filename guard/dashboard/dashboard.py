"""The dashboard as an ASGI app: who may look, which page that is, and what it says when there is no answer.

    request ─► of a viewer? ─► the question of its page, within the deadline ─► the page, or the same as JSON
                   │ no                     │ the store does not answer
                   └─► login                └─► 503: what was known last, and since when

Everything in it is read-only but for orders, which have to be turned on and need a token of the role
`operate` (guard/dashboard/orders.py).
"""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, cast

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from guard.admin.asking import Asker, damage_apart
from guard.core.calendars import MICROSECONDS
from guard.dashboard.contents import PAGES
from guard.dashboard.desk import Desk
from guard.dashboard.doors import Doors
from guard.dashboard.headers import HEADERS
from guard.dashboard.pages import LastKnown
from guard.dashboard.queries import Query
from guard.dashboard.rendering import environment
from guard.dashboard.sessions import PURPOSE, Sessions
from guard.dashboard.showing import Showing
from guard.dashboard.statics import Statics
from guard.errors import ConfigError, StoreError, UnknownCampaignError, UnknownHolderError
from guard.words import moment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from guard.clock import Clock
    from guard.dashboard.pages import Page
    from guard.dashboard.sessions import Authenticate, Viewer
    from guard.settings.root import Settings

logger = logging.getLogger("guard")

DEADLINE_SECONDS = 3.0
"""Within this a page has its answer, or says that the store does not answer."""

MOST_RECORDS = 2_000
"""Maximum number of identities that a page looks through, the latest used first."""


class Dashboard:
    """Serves the dashboard; raises `ConfigError` where the settings cannot work or have no token.

    `config` is a path, settings, or nothing for what `guard.load` finds. Viewers log in with a token of
    `[admin]`. Where the app around it knows who is asking, `authenticate` is given the scope of each request,
    and returns a `Viewer`, or `None` for somebody who may not look. With `orders`, viewers with the role
    `operate` may give orders. A page has its answer within `deadline_seconds`, or says that it has none.

    Mounted in an app, it does not see the server's lifespan: call `aclose` when the app ends.
    """

    def __init__(
        self,
        config: str | Path | Settings | None = None,
        *,
        orders: bool = False,
        authenticate: Authenticate | None = None,
        deadline_seconds: float = DEADLINE_SECONDS,
        clock: Clock | None = None,
    ) -> None:
        self._asker = Asker(config, deadline_seconds=deadline_seconds, clock=clock, most_records=MOST_RECORDS)
        if authenticate is None and not self._asker.settings.admin.tokens:
            raise ConfigError(
                "admin.tokens is empty, so nobody could log in: `guard admin token new NAME` makes a token, "
                "and prints the lines for the settings"
            )
        sessions = Sessions(self._asker.secret(PURPOSE), self._asker.clock)
        statics = Statics()
        self._showing = Showing(environment(), statics, sessions, orders=orders)
        self._doors = Doors(self._showing, sessions, self._asker.settings, authenticate)
        self._known = LastKnown()
        self._app: ASGIApp = self._starlette(statics, sessions)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one scope."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._asker.follow():
            self._doors.adopt(self._asker.settings)
        self._showing.fault = self._asker.fault

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, with_headers)

    async def aclose(self) -> None:
        """Close the store; done for you where the server's lifespan reaches us."""
        await self._asker.aclose()

    def _starlette(self, statics: Statics, sessions: Sessions) -> Starlette:
        @asynccontextmanager
        async def closing(_: Starlette) -> AsyncIterator[None]:
            yield
            await self.aclose()

        desk = Desk(self._asker, self._showing, self._doors, sessions)
        pages = [Route(path, self._endpoint(page)) for page in PAGES for path in page.paths]
        routes = [
            Route("/static/{name}", statics.answer),
            Route("/login", self._doors.login, methods=["GET", "POST"]),
            Route("/orders/{order}", desk.order, methods=["GET", "POST"]),
            Route("/logout", self._doors.logout, methods=["POST"]),
            *pages,
        ]
        handlers = {HTTPException: self._refused, Exception: self._failed}
        app = Starlette(routes=routes, exception_handlers=handlers, lifespan=closing)
        # A redirect to the other path would name the host that the client has named.
        app.router.redirect_slashes = False
        return app

    def _endpoint(self, page: Page) -> Callable[[Request], object]:
        async def answer(request: Request) -> Response:
            viewer = self._doors.viewer(request)
            if viewer is None:
                return self._doors.ask_to_log_in(request)
            response = await self._page(page, request, viewer)
            self._doors.renew(request, response, viewer)
            return response

        return answer

    async def _page(self, page: Page, request: Request, viewer: Viewer) -> Response:
        url = f"{request.url.path}?{request.url.query}"
        query = Query({**request.query_params, **request.path_params})
        try:
            with damage_apart() as damaged:
                answer = await self._asker.ask(lambda operator: page.ask(operator, query))
        except StoreError as error:
            return self._without_store(page, request, viewer, url, error)
        except (UnknownHolderError, UnknownCampaignError) as error:
            raise HTTPException(404, str(error)) from error
        except ConfigError as error:  # a file that the settings name cannot be read any more
            raise HTTPException(503, str(error)) from error
        except ValueError as error:
            raise HTTPException(422, str(error)) from error
        if answer.to:
            return RedirectResponse(f"{request.scope['root_path']}{answer.to}", 303)
        self._known.keep(url, answer, self._asker.clock.date_us())
        return self._showing.page(page, answer, request, viewer, damaged=tuple(damaged))

    def _without_store(
        self, page: Page, request: Request, viewer: Viewer, url: str, error: StoreError
    ) -> Response:
        """What was known last, with a word on how old it is."""
        logger.warning("the dashboard has no answer (%s): %s", error.kind, error)
        kept = self._known.of(url)
        headers = {"retry-after": "5"}
        if kept is None:
            why = f"The store does not answer ({error.kind}): {error}"
            return self._showing.error(503, why, request, viewer, headers)
        since = moment(kept.at_us / MICROSECONDS)
        response = self._showing.page(page, kept.answer, request, viewer, status=503, since=since)
        response.headers.update(headers)
        return response

    async def _refused(self, request: Request, error: Exception) -> Response:
        refused = cast("HTTPException", error)
        viewer = self._doors.viewer(request)
        return self._showing.error(refused.status_code, refused.detail, request, viewer, refused.headers)

    async def _failed(self, request: Request, error: Exception) -> Response:
        return self._showing.error(500, "This is a fault of guard's; the log says more.", request, None)
