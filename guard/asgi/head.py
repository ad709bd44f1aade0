"""What stands before the body of a request, read in one way: whoever calls, and the headers that go on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guard.core.policy import WEBSOCKET
from guard.errors import RequestError
from guard.http.headers import other_methods, sends_body
from guard.http.parameters import check_parameters, methods_in

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope

    from guard.core.policy import Route
    from guard.identity.identifier import Identifier, Judged


def method_of(scope: Scope) -> str:
    """The method that routes and limits go by."""
    return WEBSOCKET if scope["type"] == "websocket" else str(scope["method"])


def methods_of(scope: Scope) -> tuple[str, ...]:
    """The method of a request, then those that an app might take it for."""
    query: bytes = scope.get("query_string", b"")
    return (method_of(scope), *other_methods(scope["headers"]), *methods_in(query))


def read_head(scope: Scope, route: Route, identifier: Identifier) -> Judged:
    """Who is calling, and the headers that go on; raises `RequestError` (400, 401, 414)."""
    headers = scope["headers"]
    if not route.takes_body(method_of(scope)) and sends_body(headers):
        raise RequestError("A request with this method has no body here.")
    in_query = check_parameters(scope.get("query_string", b""), route)
    return identifier.judge(headers, scope.get("client"), in_query=in_query)


def without_body(receive: Receive) -> Receive:
    """A `receive` that gives no body, whatever comes."""

    async def receive_nothing() -> Message:
        message = await receive()
        if message["type"] != "http.request":
            return message
        return {"type": "http.request", "body": b"", "more_body": False}

    return receive_nothing
