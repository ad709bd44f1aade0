"""Declared uses from a file beside a traffic log: one JSON object a line (docs/replay.md)."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

from guard.core.calendars import MICROSECONDS
from guard.core.identity import Holder
from guard.core.uses import Declared, Use
from guard.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


def read_declared(path: Path) -> dict[Holder, Declared]:
    """The uses of a file, `{"identity": "key:nightly", "use": "evaluation"}` a line; raises `ConfigError`.

    `identity` is any holder. `until` is optional, a moment in ISO 8601 with its time zone; without it a use
    holds for good.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8") from error
    found: dict[Holder, Declared] = {}
    for number, text in enumerate(lines, start=1):
        if not text.strip():
            continue
        try:
            holder, declared = _read(text)
            if holder in found:
                raise ValueError(f"identity = {str(holder)!r} was declared before")
        except ValueError as error:
            raise ConfigError(f"{path}: line {number}: {error}") from error
        found[holder] = declared
    return found


def _read(text: str) -> tuple[Holder, Declared]:
    """One line; raises `ValueError`."""
    fields = json.loads(text)
    if not isinstance(fields, dict):
        raise ValueError('an object is expected, such as {"identity": "key:nightly", "use": "evaluation"}')
    for name in fields:
        if name not in ("identity", "use", "until"):
            raise ValueError(f"{name}: no such field; there are identity, use, until")
    holder = Holder.parse(_text(fields, "identity"))
    use = _text(fields, "use")
    if use not in set(Use):
        raise ValueError(f"use = {use!r}: must be one of {', '.join(Use)}")
    until_us = None
    if fields.get("until") is not None:
        until_us = _moment_us(_text(fields, "until"))
    return holder, Declared(Use(use), until_us)


def _moment_us(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ValueError(f"until = {text!r}: must be a moment such as 2027-01-31T00:00:00Z")
    return int(moment.timestamp() * MICROSECONDS)


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise ValueError(f"{name} = {value!r}: must be a text")
    return value
