"""What is wrong with a settings file, in one line each: where, what, and what would be right."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from guard.settings.environment import ENVIRONMENT_PREFIX, paths, section_in
from guard.settings.root import Settings
from guard.settings.spelling import in_words, suggestion

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from pydantic_core import ErrorDetails
    from pydantic_settings import SettingsError


def explain(file: Path | None, values: Mapping[str, Any], detail: ErrorDetails) -> str:
    """One line: where, what, and what would be right."""
    location = tuple(part for part in detail["loc"] if part != "[key]")
    message = in_words(detail)
    match detail["type"]:
        case "extra_forbidden" | "unexpected_keyword_argument":
            message += _elsewhere(location) or suggestion(str(location[-1]), _siblings(location))
        case "string_pattern_mismatch":
            message = "must be lower-case letters, digits, `-` and `_`, at most 32 of them"
    if not location:
        return f"{file or 'the settings'}: {message}"
    given = _given(values, location)
    variable = f"{ENVIRONMENT_PREFIX}{'__'.join(map(str, location)).upper()}"
    if (
        file is None
        or variable in map(str.upper, os.environ)
        or (given is None and detail["type"] != "missing")
    ):
        return f"{variable}: {message}"
    # What stands under a name that we do not know may be a secret; a number is none.
    unknown = detail["type"] in ("extra_forbidden", "unexpected_keyword_argument")
    harmless = int | float if unknown else str | int | float
    shown = isinstance(given, harmless) and not _secret(location)
    return f"{file}: {_dotted(location)}{f' = {given!r}' if shown else ''}: {message}"


def explain_json(error: SettingsError) -> str:
    """Name the variable whose value is not JSON, by the value that could not be read."""
    value = getattr(error.__cause__, "doc", None)
    named = [
        variable
        for variable, given in os.environ.items()
        if given == value and variable.upper().startswith(ENVIRONMENT_PREFIX)
    ]
    where = ", ".join(named) or "the environment"
    return f"{where}: a list or a section must be given as JSON, such as '[\"10.0.0.0/8\"]'"


def _dotted(location: Iterable[int | str]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _given(values: Any, location: Iterable[int | str]) -> Any:
    for part in location:
        try:
            values = values[part]
        except (KeyError, IndexError, TypeError):
            return None
    return values


_SECRET = frozenset(
    {"pepper", "secret", "old_secret", "redis_url", "headers", "url", "webhook", "webhook_headers", "sha256"}
)


def _secret(location: Iterable[int | str]) -> bool:
    return not _SECRET.isdisjoint(map(str, location))


def _siblings(location: tuple[int | str, ...]) -> list[str]:
    """The settings that could have stood where an unknown one stands."""
    model: Any = Settings
    for part in location[:-1]:
        if isinstance(part, int) or not isinstance(model, type) or not issubclass(model, BaseModel):
            continue
        field = model.model_fields.get(part)
        if field is None:
            continue
        model = section_in(field.annotation)
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []


def _elsewhere(location: tuple[int | str, ...]) -> str:
    """What to say of a setting that exists, only not where it stands."""
    name = str(location[-1])
    found = [path for path in paths(Settings) if path[-1] == name]
    if len(location) > 1 and (name,) in found:
        return f"; `{name}` must stand above the first [table] of the file"
    names = [".".join(path) for path in found]
    return f"; did you mean {' or '.join(f'`{each}`' for each in names)}?" if names else ""
