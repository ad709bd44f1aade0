"""The API as an ASGI app: who asks, what, and what is answered.

    request ─► a token? ─► an operation? ─► may the token? ─► can it be read? ─► the store, within a deadline
                │ 401, 429     │ 404, 405       │ 403             │ 400, 413, 415, 422    │ 503

Nothing is told without a token, not even which paths there are, but for `/-/live`. A token comes in the
header `Authorization` alone, and bodies are JSON by their `Content-Type`: no page of another site can send
either without asking first, and no answer says that it may.
"""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from functools import cache, partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

from guard.admin.addresses import address_of
from guard.admin.asking import DEADLINE_SECONDS, Asker, damage_apart
from guard.admin.tokens import Tokens
from guard.api.history import HISTORY
from guard.api.keys import KEYS
from guard.api.openapi import document
from guard.api.operations import Asked
from guard.api.orders import ORDERS, OrderBody
from guard.api.problems import RoleError, answer_to
from guard.api.questions import QUESTIONS
from guard.api.reading import idempotency_key_of, taken_from
from guard.errors import ConfigError, CredentialError, GuardError, RequestError
from guard.telemetry.lines import limited

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from pathlib import Path

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import Message, Receive, Scope, Send

    from guard.admin import Operator
    from guard.api.operations import Operation
    from guard.settings.admin import AdminTokenSettings
    from guard.settings.root import Settings

LIVE = "/-/live"

DESCRIPTION = "/openapi.json"

OPERATIONS = (*QUESTIONS, *HISTORY, *ORDERS, *KEYS)

HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}

DAMAGED = "guard-damaged"
"""The header that names what could not be read in Redis, percent-encoded."""

MOST_DAMAGE = 10
"""Maximum number of damaged values that it names."""

MOST_RECORDS = 2_000
"""Maximum number of identities that one question looks through, those used last."""

NO_TOKENS = (
    "nobody may ask: there is no [[admin.tokens]] in the settings; `guard admin token new NAME` makes a token"
)


class AdminAPI:
    """Answers the operator's questions and carries out orders, for whoever has a token of `[admin]`.

        app.mount("/guard", AdminAPI("guard.toml"))

    `config` is a path, a `Settings`, or nothing for what `guard.load` finds; a file that changes is read
    again. Raises `ConfigError` for settings that cannot work, and where they have no token. A question is
    answered within `deadline_seconds`, or with 503. The paths are those of docs/openapi.json. What is mounted
    does not see the lifespan of the server: call `aclose` when the app ends.
    """

    def __init__(
        self, config: str | Path | Settings | None = None, *, deadline_seconds: float = DEADLINE_SECONDS
    ) -> None:
        self._asker = Asker(config, deadline_seconds=deadline_seconds, most_records=MOST_RECORDS)
        self._tokens = Tokens(self._asker.settings.admin.tokens)
        if not self._tokens:
            raise ConfigError(NO_TOKENS)
        self._router = self._starlette()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one scope."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
            return
        if scope["type"] == "lifespan":
            await self._router(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        if _path(scope) != LIVE:
            try:
                scope["guard.token"] = self._token(scope)
            except RequestError as error:
                limited.log(logging.WARNING, "admin", "the admin API has refused a request: %s", error)
                await answer_to(error)(scope, receive, send_with_headers)
                return
        await self._router(scope, receive, send_with_headers)

    async def aclose(self) -> None:
        """Close the store; done for you where the server's lifespan reaches us."""
        await self._asker.aclose()

    def _token(self, scope: Scope) -> AdminTokenSettings:
        """Whose token a request has; raises `CredentialError` and `TooManyTriesError`."""
        if self._asker.follow():
            self._tokens = Tokens(self._asker.settings.admin.tokens, self._tokens.tries)
        given = Headers(scope=scope).getlist("authorization")
        scheme, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
        if scheme.lower() != "bearer" or not token:
            raise CredentialError("Send a token as `Authorization: Bearer TOKEN`, once.", status=401)
        return self._tokens.check(token.strip(" "), address_of(scope, self._asker.settings.identity))

    def _starlette(self) -> Starlette:
        @asynccontextmanager
        async def closing(_: Starlette) -> AsyncIterator[None]:
            yield
            await self.aclose()

        routes = [
            Route(LIVE, _live, methods=["GET"]),
            Route(DESCRIPTION, _describe, methods=["GET"]),
            *(Route(each.where, self._endpoint(each), methods=[each.method]) for each in OPERATIONS),
        ]
        handlers = {HTTPException: _refused, GuardError: _refused, Exception: _failed}
        app = Starlette(routes=routes, exception_handlers=handlers, lifespan=closing)
        # A redirect would name the host that the client has named.
        app.router.redirect_slashes = False
        return app

    def _endpoint(self, operation: Operation) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            token: AdminTokenSettings = request.scope["guard.token"]
            if not token.role.may(operation.role):
                raise RoleError
            taken, key = await taken_from(operation, request), idempotency_key_of(operation, request)
            settings, fault, now_us = self._asker.settings, self._asker.fault, self._asker.clock.date_us()

            async def ask(operator: Operator) -> object:
                asked = Asked(operator, settings, fault, token.name, now_us)
                if key is None or (isinstance(taken, OrderBody) and taken.dry_run):
                    return await operation.answer(asked, taken)
                return await operator.once.give(token.name, key, partial(operation.answer, asked, taken))

            with damage_apart() as damaged:
                found = await (self._asker.order(ask) if operation.is_order else self._asker.ask(ask))
            return JSONResponse(found, headers=_damage(damaged))

        return answer


async def _live(_: Request) -> Response:
    """Whether this process answers at all."""
    return PlainTextResponse("live\n")


async def _describe(_: Request) -> Response:
    """What can be asked and ordered, as OpenAPI."""
    return JSONResponse(_description())


@cache
def _description() -> dict[str, Any]:
    return document(OPERATIONS)


async def _refused(_: Request, error: Exception) -> Response:
    return answer_to(error)


async def _failed(_: Request, error: Exception) -> Response:
    return answer_to(error)


def _damage(damaged: Mapping[str, str]) -> dict[str, str]:
    """The header for what could not be read, where there is anything."""
    return {DAMAGED: ", ".join(quote(what) for what in list(damaged)[:MOST_DAMAGE])} if damaged else {}


def _path(scope: Scope) -> str:
    """The path below the one that this is mounted at."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))
