"""Where a list goes on: the place of the last line of a page, as a text that clients hand back unread."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from enum import StrEnum
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from guard.admin.sheets import Place
from guard.api.taken import WrongInputError


class Order(StrEnum):
    """What a list of identities goes by: the latest used, or most tokens or risk among these, first."""

    LATEST = "latest"
    TOKENS = "tokens"
    RISK = "risk"


Offset = Annotated[int, Field(ge=0, lt=1 << 53)]

_KNOWN: TypeAdapter[tuple[Order, Place | int]] = TypeAdapter(tuple[Order, Place | Offset])


def cursor_of(order: Order, after: Place | int) -> str:
    """Where a list goes on: behind a place, or after so many."""
    return urlsafe_b64encode(json.dumps((order, after)).encode()).decode()


def after_of(cursor: str, order: Order) -> Place | int | None:
    """Where a page begins, `None` for the first; raises `WrongInputError` for a cursor of another list."""
    if not cursor:
        return None
    try:
        found, after = _KNOWN.validate_json(urlsafe_b64decode(cursor.encode("ascii")), strict=True)
    except (ValueError, ValidationError):  # binascii.Error and UnicodeError too
        found, after = None, None
    if found is not order or isinstance(after, int) != (order is Order.LATEST):
        raise WrongInputError({"after": f"is no `next` of a list by {order}"})
    return after
