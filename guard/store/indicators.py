"""How indicators, and what was sighted of them, are written down."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

from guard.core.indicators import Indicator, Sighted, Thing, is_shared_digest
from guard.core.kept import read_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")

_TEXTS = ("id", "group", "producer", "called", "by", "reason")
_NUMBERS = ("confidence", "since_us", "until_us", "modified_us", "at_us")


def write(value: Indicator | Sighted) -> bytes:
    """As JSON."""
    return json.dumps(asdict(value), separators=(",", ":")).encode()


def read_indicator(text: bytes) -> Indicator:
    """From JSON; raises `ValueError`."""

    def read(fields: Mapping[str, Any]) -> Indicator:
        if not is_shared_digest(fields["digest"]):
            raise ValueError
        said: dict[str, Any] = {name: str(fields[name]) for name in _TEXTS}
        said |= {name: int(fields[name]) for name in _NUMBERS}
        return Indicator(thing=Thing(fields["thing"]), digest=fields["digest"], **said)

    return _read(text, read)


def read_sighted(text: bytes) -> Sighted:
    """From JSON; raises `ValueError`."""
    return _read(
        text,
        lambda fields: Sighted(
            int(fields["first_us"]), int(fields["last_us"]), int(fields["queries"]), bool(fields["common"])
        ),
    )


def _read(text: bytes, of: Callable[[Mapping[str, Any]], T]) -> T:
    try:
        return of(read_json(text))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise ValueError(f"an indicator that cannot be read: {type(error).__name__}") from None
