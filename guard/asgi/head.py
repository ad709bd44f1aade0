"""What stands before the body of a request, read in one way: whoever calls, and the headers that go on."""

from __future__ import annotations

from inspect import isawaitable
from typing import TYPE_CHECKING

from guard.core.policy import WEBSOCKET
from guard.errors import RequestError
from guard.http.headers import other_methods, sends_body
from guard.http.parameters import check_parameters, methods_in
from guard.identity.identifier import NOTHING_VOUCHED
from guard.identity.vouched import vouched_in

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from typing import TypeAlias

    from starlette.types import Message, Receive, Scope

    from guard.core.identity import Attribute
    from guard.core.policy import Route
    from guard.identity.identifier import Identifier, Judged

    Told: TypeAlias = Mapping[str, str | int | None] | None
    Identify: TypeAlias = Callable[[Scope], Told | Awaitable[Told]]


def methods_of(scope: Scope) -> tuple[str, ...]:
    """The method that routes and limits go by, then those that an app might take the request for."""
    method = WEBSOCKET if scope["type"] == "websocket" else str(scope["method"])
    others = other_methods(scope["headers"])
    query: bytes = scope.get("query_string", b"")
    return (method, *others, *methods_in(query)) if query else (method, *others)


async def told_by(identify: Identify, scope: Scope) -> Mapping[Attribute, str]:
    """What the app says of a caller; raises `ConfigError` where that cannot be, and what the app raises."""
    told = identify(scope)
    if isawaitable(told):
        told = await told
    return NOTHING_VOUCHED if told is None else vouched_in(told)


def read_head(
    scope: Scope,
    route: Route,
    identifier: Identifier,
    vouched: Mapping[Attribute, str] = NOTHING_VOUCHED,
    *,
    takes_body: bool,
) -> Judged:
    """Who is calling, and the headers that go on; raises `RequestError` (400, 401, 414).

    `vouched` is what the app says of the caller.
    """
    headers = scope["headers"]
    if not takes_body and sends_body(headers):
        raise RequestError("A request with this method has no body here.")
    query: bytes = scope.get("query_string", b"")
    in_query = check_parameters(query, route) if query else ()
    return identifier.judge(headers, scope.get("client"), vouched, in_query=in_query)


def without_body(receive: Receive) -> Receive:
    """A `receive` that gives no body, whatever comes."""

    async def receive_nothing() -> Message:
        message = await receive()
        if message["type"] != "http.request":
            return message
        return {"type": "http.request", "body": b"", "more_body": False}

    return receive_nothing
