"""Login and logout, and who asks for a page."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse

from guard.admin.addresses import address_of
from guard.admin.tokens import Tokens
from guard.dashboard.forms import read_form, refuse_foreign
from guard.dashboard.sessions import IDLE_SECONDS
from guard.dashboard.showing import wants_json
from guard.errors import CredentialError, TooManyTriesError

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from guard.dashboard.sessions import Authenticate, Sessions, Viewer
    from guard.dashboard.showing import Showing
    from guard.settings.root import Settings

COOKIE = "guard_dashboard"

_HERE = re.compile(r"/(?![/\\])[!-\[\]-~]*")
"""A path of ours: one slash, no backslash, nothing that a header could not carry."""


class Doors:
    """Lets in who has a token of the settings, or whom the app around knows."""

    def __init__(
        self, showing: Showing, sessions: Sessions, settings: Settings, authenticate: Authenticate | None
    ) -> None:
        self._showing = showing
        self._sessions = sessions
        self._authenticate = authenticate
        self._settings = settings
        self.tokens = Tokens(settings.admin.tokens)

    def adopt(self, settings: Settings) -> None:
        """Go by other settings from now on: who has a token that is not in these is out."""
        self._settings, self.tokens = settings, Tokens(settings.admin.tokens, self.tokens.tries)

    def viewer(self, request: Request) -> Viewer | None:
        """Who asks; `None` for somebody who may not look."""
        if self._authenticate is not None:
            return self._authenticate(request.scope)
        return self._sessions.viewer(request.cookies.get(COOKIE, ""), self.tokens.known)

    def ask_to_log_in(self, request: Request) -> Response:
        """What somebody gets who may not look."""
        if self._authenticate is not None:
            raise HTTPException(403, "You may not look at this.")
        if wants_json(request):
            raise HTTPException(401, "Log in first: the cookie of a session is missing or over.")
        root = request.scope["root_path"]
        path = request.scope["path"].removeprefix(root)
        wanted = f"{path}?{request.url.query}" if request.url.query else path
        return RedirectResponse(f"{root}/login?to={quote(wanted)}", 303)

    async def login(self, request: Request) -> Response:
        """Show the form for a token, or take the token and begin a session."""
        if self._authenticate is not None:
            raise HTTPException(404, "Nobody logs in here: the app around it says who you are.")
        if request.method != "POST":
            return self._showing.login(request, 200, to=_here(request.query_params.get("to", "/")))
        refuse_foreign(request)
        form = await read_form(request)
        to = _here(form.get("to", "/"))
        try:
            token = self.tokens.check(
                form.get("token", "").strip(), address_of(request.scope, self._settings.identity)
            )
        except TooManyTriesError as error:
            wait = str(int(error.wait_seconds) + 1)
            why = f"Too many wrong tokens came from your network. Try again in {wait} s."
            response = self._showing.login(request, 429, why=why, to=to)
            response.headers["retry-after"] = wait
            return response
        except CredentialError:
            return self._showing.login(request, 401, why="This token is not known.", to=to)
        response = RedirectResponse(f"{request.scope['root_path']}{to}", 303)
        self._set_cookie(request, response, self._sessions.begin(token))
        return response

    async def logout(self, request: Request) -> Response:
        """End a session."""
        refuse_foreign(request)
        viewer, form = self.viewer(request), await read_form(request)
        response = RedirectResponse(f"{request.scope['root_path']}/login", 303)
        if viewer is not None and self._authenticate is None:
            if not self._sessions.may_send(viewer, form.get("form_token", "")):
                raise HTTPException(403, "This form is of another session.")
            self._sessions.end(viewer)
            response.delete_cookie(COOKIE, path=_root(request))
        return response

    def renew(self, request: Request, response: Response, viewer: Viewer) -> None:
        """Have a session that is in use go on."""
        renewed = self._sessions.renewed(viewer) if self._authenticate is None else None
        if renewed is not None:
            self._set_cookie(request, response, renewed)

    def _set_cookie(self, request: Request, response: Response, viewer: Viewer) -> None:
        response.set_cookie(
            COOKIE,
            self._sessions.cookie(viewer, self.tokens.known),
            max_age=IDLE_SECONDS,
            path=_root(request),
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="strict",
        )


def _root(request: Request) -> str:
    return request.scope["root_path"] or "/"


def _here(path: str) -> str:
    """Where to go after a login: a path of ours, or the first page."""
    return path if _HERE.fullmatch(path) else "/"
