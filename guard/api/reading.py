"""What a request asks with: a query string or a body that can be read in one way only."""

from __future__ import annotations

import asyncio
import re
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from pydantic import ValidationError

from guard.api.taken import WrongInputError
from guard.dialects.strict import parse_object
from guard.errors import QueryError

if TYPE_CHECKING:
    from starlette.requests import Request

    from guard.api.operations import Operation, Taken

MOST_BODY = 65_536
"""Bytes of a body."""

BODY_SECONDS = 10.0
"""How long a body may take."""

MOST_PARAMETERS = 32

IDEMPOTENCY_KEY = "Idempotency-Key"

IDEMPOTENCY_KEY_FORM = "^[!-~]{1,255}$"

_JSON = re.compile(r"application/json(?: *; *charset=\"?utf-8\"?)?", re.IGNORECASE)


async def taken_from(operation: Operation, request: Request) -> Taken:
    """What an operation is given; raises `QueryError` (400, 408, 413, 415) and `WrongInputError`."""
    if operation.method == "POST":
        if request.scope["query_string"]:
            raise WrongInputError(dict.fromkeys(_names(request), "write it into the body"))
        body = await _body(request)
        parse_object(body)  # in which what can be read in two ways is an error
        read = partial(operation.takes.model_validate_json, body, strict=True)
    else:
        read = partial(operation.takes.model_validate, _parameters(request))
    try:
        return read()
    except ValidationError as error:
        raise WrongInputError.of(error.errors(include_url=False, include_input=False)) from None


def idempotency_key_of(operation: Operation, request: Request) -> str | None:
    """What an order is given with that is carried out once, if it is; raises `WrongInputError`."""
    given = request.headers.getlist(IDEMPOTENCY_KEY) if operation.once else []
    if not given:
        return None
    if len(given) > 1 or re.fullmatch(IDEMPOTENCY_KEY_FORM, given[0]) is None:
        raise WrongInputError({IDEMPOTENCY_KEY: "must be 1 to 255 visible ASCII characters, once"})
    return given[0]


def _parameters(request: Request) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in _pairs(request):
        if name in values:
            raise WrongInputError({name: "is given twice"})
        values[name] = value
    return values


def _names(request: Request) -> list[str]:
    return [name for name, _ in _pairs(request)]


def _pairs(request: Request) -> list[tuple[str, str]]:
    try:
        return parse_qsl(
            request.scope["query_string"].decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=MOST_PARAMETERS,
        )
    except ValueError as error:  # UnicodeError too
        raise QueryError(f"The query string cannot be read: {error}.") from None


async def _body(request: Request) -> bytes:
    said = request.headers.getlist("content-type")
    if len(said) != 1 or _JSON.fullmatch(said[0].strip()) is None or "content-encoding" in request.headers:
        raise QueryError("Send the body as JSON in UTF-8, with `Content-Type: application/json`.", status=415)
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MOST_BODY:
                    raise QueryError(f"A body has at most {MOST_BODY} bytes.", status=413)
    except TimeoutError:
        raise QueryError(f"The body did not come within {BODY_SECONDS:.0f} s.", status=408) from None
    return bytes(body)
