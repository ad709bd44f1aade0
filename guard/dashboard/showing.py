"""How an answer is shown: as a page, or as the JSON that the page is drawn from."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from starlette.responses import HTMLResponse, JSONResponse

from guard.dashboard.orders import ORDERS
from guard.settings.admin import Role

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jinja2 import Environment
    from starlette.requests import Request
    from starlette.responses import Response

    from guard.dashboard.pages import Answer, Page
    from guard.dashboard.sessions import Sessions, Viewer
    from guard.dashboard.statics import Statics

JSON_SUFFIX = ".json"


class Showing:
    """Draws pages for viewers. `fault` says what is wrong with the settings as they stand in their file."""

    def __init__(self, templates: Environment, statics: Statics, sessions: Sessions, *, orders: bool) -> None:
        self._templates = templates
        self._statics = statics
        self._sessions = sessions
        self._orders = orders
        self.fault = ""

    def page(
        self,
        page: Page,
        answer: Answer,
        request: Request,
        viewer: Viewer,
        *,
        status: int = 200,
        since: str | None = None,
        damaged: Sequence[str] = (),
    ) -> Response:
        """An answer; where it is an old one, `since` says of when. What is `damaged` in Redis lacks in it."""
        if wants_json(request):
            headers = {} if since is None else {"x-guard-known-at": since}
            return JSONResponse(answer.data, status, headers)
        shown = {"title": answer.title, "data": answer.data, "pictures": answer.pictures, "part": page.part}
        return self._html(page.template, request, viewer, status, since=since, damaged=damaged, **shown)

    def error(
        self,
        status: int,
        why: str,
        request: Request,
        viewer: Viewer | None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """That something went wrong, and what."""
        title = HTTPStatus(status).phrase
        if wants_json(request):
            problem = {"type": "about:blank", "title": title, "status": status, "detail": why}
            return JSONResponse(problem, status, headers, media_type="application/problem+json")
        response = self._html("error.html", request, viewer, status, title=title, why=why, part="")
        response.headers.update(headers or {})
        return response

    def login(self, request: Request, status: int, *, why: str = "", to: str = "/") -> Response:
        """The form for a token."""
        return self._html("login.html", request, None, status, title="Log in", why=why, to=to, part="")

    def order(self, request: Request, viewer: Viewer, status: int, **shown: Any) -> Response:
        """The form of an order, or what it would change."""
        return self._html("order.html", request, viewer, status, title=shown["order"].title, part="", **shown)

    def may_order(self, viewer: Viewer | None) -> bool:
        """Whether somebody may give orders here."""
        return viewer is not None and self._orders and viewer.role.may(Role.OPERATE)

    def _html(
        self, template: str, request: Request, viewer: Viewer | None, status: int, **shown: Any
    ) -> Response:
        text = self._templates.get_template(template).render(
            {"since": None, "damaged": (), **shown},
            done=ORDERS.get(request.query_params.get("done", "")),
            root=request.scope["root_path"],
            path=request.scope["path"].removeprefix(request.scope["root_path"]),
            query=request.url.query,
            viewer=viewer,
            may_order=self.may_order(viewer),
            form_token="" if viewer is None else self._sessions.form_token(viewer),
            fault=self.fault,
            version=self._statics.version,
        )
        return HTMLResponse(text, status)


def wants_json(request: Request) -> bool:
    """Whether a client asks for data: by the path, or by what it accepts."""
    accepted = request.headers.get("accept", "")
    return request.scope["path"].endswith(JSON_SUFFIX) or (
        "application/json" in accepted and "text/html" not in accepted
    )
