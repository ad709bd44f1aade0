"""JSON as it is kept: whoever can write to the store may have put anything there."""

from __future__ import annotations

import json
from typing import Any

MOST_NESTED = 32
"""How deep values may be nested: deeper than guard writes any, and not too deep to walk through."""

LAST_US = 253_402_300_799_999_999
"""The last moment that a date can be written for, the end of the year 9999, in Unix microseconds."""


def read_json(text: bytes) -> Any:
    """The value of a text; raises `ValueError` for what is no JSON, is nested too deeply, or
    has half of a surrogate pair."""
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if text.count(b"[") + text.count(b"{") > MOST_NESTED:
        _refuse_nested(value)
    if b"\\ud" in text.lower():  # half of a surrogate pair has no UTF-8: a `UnicodeError`
        json.dumps(value, ensure_ascii=False).encode()
    return value


def read_moment(value: object) -> int:
    """Unix microseconds; raises `ValueError` for what is no moment of a date that can be written."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= LAST_US:
        raise ValueError(f"{str(value)[:40]!r} is no moment")
    return value


def moment_in(text: str) -> int | None:
    """The Unix microseconds that a text in Redis says, as its scripts read them; `None` where it says none.

    One that no date can be written for is the last that one can be.
    """
    if not (text.isascii() and text.isdigit()):
        return None
    return min(int(text), LAST_US) if len(text) <= _MOST_DIGITS else LAST_US


_MOST_DIGITS = 20

MOST_COUNTED = (1 << 63) - 1
"""More than anything is counted up to: Redis itself counts no further."""


def read_count(value: float | str | bytes) -> int:
    """A number that Redis has counted up to; raises `ValueError` for what is none."""
    try:
        count = int(value)
    except OverflowError:
        raise ValueError("an infinite number") from None
    if not 0 <= count <= MOST_COUNTED:
        raise ValueError("a number that nothing is counted up to")
    return count


def _refuse_nested(value: Any) -> None:
    level = [value]
    for _ in range(MOST_NESTED + 1):
        level = [
            part
            for each in level
            if isinstance(each, dict | list)
            for part in (each.values() if isinstance(each, dict) else each)
        ]
    if level:
        raise ValueError("nested too deeply")
