"""Errors as problem details (RFC 9457): a plain title, what is wrong, and with which field."""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import TYPE_CHECKING, NotRequired

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from typing_extensions import TypedDict

from guard.api.taken import WrongInputError
from guard.errors import (
    DAMAGED,
    ConfigError,
    CredentialError,
    KeyOrderError,
    RepeatedOrderError,
    RequestError,
    StoreError,
    TooManyTriesError,
    UnknownCampaignError,
    UnknownHolderError,
    UnknownReceiptError,
    UnknownRequestError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"

PAGE = "https://github.com/asgi-guard/asgi-guard/blob/main/docs/admin-api.md"
"""What says more of each type of problem, under its title."""

RETRY_SECONDS = 2
"""When to ask again where the store does not answer."""

NO_TOKEN = "No valid token"  # noqa: S105 - a title
WRONG_ROLE = "Wrong role"
WRONG_INPUT = "Wrong input"
TOO_MANY_TRIES = "Too many wrong tokens"
STORE_DOWN = "Store down"
STORE_DAMAGED = "Damaged in the store"
INTERNAL = "Internal error"
NOT_FOUND = {
    UnknownHolderError: "Unknown holder",
    UnknownCampaignError: "Unknown campaign",
    UnknownReceiptError: "Unknown receipt",
    UnknownRequestError: "Unknown request",
}
NOT_WITH_THESE_SETTINGS = "Not with these settings"
NOT_AS_THE_KEY_STANDS = "Not as the key stands"
GIVEN_BEFORE = "Given before"

TITLES = (
    *(NO_TOKEN, WRONG_ROLE, *NOT_FOUND.values(), NOT_WITH_THESE_SETTINGS, NOT_AS_THE_KEY_STANDS),
    *(GIVEN_BEFORE, WRONG_INPUT, TOO_MANY_TRIES),
    *(INTERNAL, STORE_DAMAGED, STORE_DOWN),
)
"""Every title; other problems say no more than their status."""


class WrongField(TypedDict):
    """What is wrong with one field."""

    field: str
    detail: str


class Problem(TypedDict):
    """What went wrong. `errors` are there where fields of the request are wrong."""

    type: str
    title: str
    status: int
    detail: str
    errors: NotRequired[list[WrongField]]


class RoleError(RequestError):
    """The token may ask, and not order."""

    def __init__(self) -> None:
        super().__init__(
            "This token has the role `read`; orders need one with the role `operate`.", status=403
        )


def answer_to(error: Exception) -> Response:
    """What is told of an error. Of one that is a mistake in guard, no more than that."""
    for kind, title in NOT_FOUND.items():
        if isinstance(error, kind):
            return _problem(404, title, str(error))
    match error:
        case WrongInputError():
            errors: list[WrongField] = [{"field": name, "detail": what} for name, what in error.wrong.items()]
            return _problem(422, WRONG_INPUT, str(error), errors=errors)
        case RoleError():
            return _problem(403, WRONG_ROLE, str(error))
        case TooManyTriesError():
            wait = str(math.ceil(error.wait_seconds))
            return _problem(429, TOO_MANY_TRIES, str(error), {"retry-after": wait})
        case CredentialError():
            challenge = {"www-authenticate": 'Bearer realm="guard"'}
            return _problem(401, NO_TOKEN, str(error), challenge)
        case RequestError():
            return _problem(error.status, None, str(error))
        case HTTPException():
            return _problem(error.status_code, None, error.detail, error.headers)
        case ConfigError():
            return _problem(409, NOT_WITH_THESE_SETTINGS, str(error))
        case KeyOrderError():
            return _problem(409, NOT_AS_THE_KEY_STANDS, str(error))
        case RepeatedOrderError():
            return _problem(409, GIVEN_BEFORE, str(error))
        case StoreError() if error.kind == DAMAGED:
            return _problem(500, STORE_DAMAGED, str(error))
        case StoreError():
            detail = f"The store does not answer ({error.kind}): {error}"
            return _problem(503, STORE_DOWN, detail, {"retry-after": str(RETRY_SECONDS)})
    return _problem(500, INTERNAL, "This is a fault of guard's; its log says more.")


def _problem(
    status: int,
    title: str | None,
    detail: str,
    headers: Mapping[str, str] | None = None,
    errors: Sequence[WrongField] = (),
) -> Response:
    body: Problem = {
        "type": "about:blank" if title is None else f"{PAGE}#{title.lower().replace(' ', '-')}",
        "title": title or HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    if errors:
        body["errors"] = list(errors)
    return JSONResponse(body, status, headers, MEDIA_TYPE)
