"""Where a list goes on: the place of the last line of a page, as a text that clients hand back unread."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from enum import StrEnum
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from guard.admin.sheets import Place
from guard.api.taken import WrongInputError

if TYPE_CHECKING:
    from guard.admin.sheets import Entry


class Order(StrEnum):
    """What a list of identities goes by, most first."""

    TOKENS = "tokens"
    RISK = "risk"


_PLACE = TypeAdapter(tuple[Order, Place])


def cursor_of(entry: Entry, order: Order) -> str:
    """Behind which entry the next page begins."""
    place = entry.place(by_risk=order is Order.RISK)
    return urlsafe_b64encode(json.dumps((order, place)).encode()).decode()


def place_of(cursor: str, order: Order) -> Place | None:
    """Where a page begins, `None` for the first; raises `WrongInputError` for a cursor of another list."""
    if not cursor:
        return None
    try:
        found, place = _PLACE.validate_json(urlsafe_b64decode(cursor.encode("ascii")))
    except (ValueError, ValidationError):  # binascii.Error and UnicodeError too
        found, place = None, None
    if found is not order:
        raise WrongInputError({"after": f"is no `next` of a list by {order}"})
    return place
