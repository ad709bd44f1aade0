"""What an app says of a caller: whose session it is, say, which guard cannot know."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guard.core.identity import ADDRESSES, CHOSEN, FOUND, ONE_HOLDER, Attribute
from guard.errors import ConfigError
from guard.identity.caller import LONGEST_NAME, is_name

if TYPE_CHECKING:
    from collections.abc import Mapping

_TOLD = {each.value: each for each in Attribute if each not in ADDRESSES | CHOSEN | FOUND | ONE_HOLDER}
"""All but where a caller is, which the connection says, and what it asks, which the request says."""


def vouched_in(told: Mapping[str, str | int | None]) -> dict[Attribute, str]:
    """The attributes that an app names, without those that it names `None`; raises `ConfigError`."""
    found = {}
    for name, value in told.items():
        if name not in _TOLD:
            raise ConfigError(f"`identify` names {name!r}, and an app may name {', '.join(_TOLD)}")
        if value is None:
            continue
        text = str(value) if type(value) is int else value
        if not isinstance(text, str) or not is_name(text):
            raise ConfigError(
                f"`identify` must give {name} as a name of 1 to {LONGEST_NAME} printable characters, or None"
            )
        found[_TOLD[name]] = text
    return found
