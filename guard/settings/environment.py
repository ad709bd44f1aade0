"""The variables `GUARD_…`: which are settings, which are misspelt, and which belong to somebody else.

A misspelt setting is an error, since a misspelt limit is no limit. But the prefix is not guard's alone: an
image has its `GUARD_VERSION`, and Kubernetes sets `GUARD_PORT` and `GUARD_SERVICE_HOST` for a service of that
name. A name that is not close to any setting is left alone, and `guard check` and the log mention it.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from guard.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

ENVIRONMENT_PREFIX = "GUARD_"
CONFIG_VARIABLE = "GUARD_CONFIG"
"""Names the file where no argument does."""

NEAR = 0.8
"""Names whose `difflib` ratio is at least this are taken for the same one, misspelt."""

ANYBODYS = frozenset({"URL", "HOST", "PORT", "HEADERS", "SECRET", "USER", "ORG", "TIER", "MODE", "HIGH"})
"""Names of settings within sections that, without the section, may well mean something else."""

SECTION = "__"
"""Separates the levels of a setting."""


def refuse_misspelt(environment: Mapping[str, str], model: type[BaseModel]) -> None:
    """Raise `ConfigError` for a variable that is close to a setting and is none.

    pydantic-settings reports what is misspelt within a section, and overlooks the rest.
    """
    for variable in _foreign(environment, model):
        near = _near(variable, model)
        if near is not None:
            raise ConfigError(f"{variable}: no such setting; did you mean `{near}`?")


def unrelated(environment: Mapping[str, str], model: type[BaseModel]) -> list[str]:
    """The variables that begin like a setting and have nothing to do with any."""
    return [variable for variable in _foreign(environment, model) if _near(variable, model) is None]


def _foreign(environment: Mapping[str, str], model: type[BaseModel]) -> list[str]:
    """The variables whose first level is no setting."""
    names = [name.upper() for name in environment if name.upper().startswith(ENVIRONMENT_PREFIX)]
    own = {ENVIRONMENT_PREFIX + name.upper() for name in model.model_fields}
    return sorted(name for name in names if name != CONFIG_VARIABLE and name.partition(SECTION)[0] not in own)


def _near(variable: str, model: type[BaseModel]) -> str | None:
    """The setting that a variable is close to."""
    head, separator, rest = variable.partition(SECTION)
    known = [CONFIG_VARIABLE, *(ENVIRONMENT_PREFIX + name.upper() for name in model.model_fields)]
    found = _closest(head.rstrip("_"), known)
    if found is not None:
        return found + separator + rest
    named = [ENVIRONMENT_PREFIX + SECTION.join(path).upper() for path in paths(model)]
    # `GUARD_STORE_REDIS_URL`: the levels are there, and separated by one underscore.
    flat = {path.replace(SECTION, "_"): path for path in named}
    found = _closest(variable.replace(SECTION, "_"), flat)
    if found is not None:
        return flat[found]
    # `GUARD_REDIS_URL`: the section was left out.
    last = {path.rpartition(SECTION)[2]: path for path in named if SECTION in path}
    bare = variable.removeprefix(ENVIRONMENT_PREFIX)
    return None if bare in ANYBODYS else last.get(bare)


def _closest(name: str, known: Iterable[str]) -> str | None:
    """The name that this one is a misspelling of; the prefix, which all have, makes none more alike."""
    bare = name.removeprefix(ENVIRONMENT_PREFIX)
    others = {each.removeprefix(ENVIRONMENT_PREFIX): each for each in known}
    close = difflib.get_close_matches(bare, others, n=1, cutoff=NEAR)
    if close:
        return others[close[0]]
    # Two letters changed places: in a short name the ratio does not see that.
    return next((full for other, full in others.items() if sorted(other) == sorted(bare)), None)


def paths(model: type[BaseModel]) -> Iterator[tuple[str, ...]]:
    """Every setting that is not in a list or a table of the operator's own names."""
    for name, field in model.model_fields.items():
        section = section_in(field.annotation)
        if section is None or getattr(field.annotation, "__origin__", None) in (dict, tuple):
            yield (name,)
        else:
            yield from ((name, *path) for path in paths(section))


def section_in(annotation: Any) -> type[BaseModel] | None:
    """The section that a type holds, if any: `dict[str, TierSettings]` holds `TierSettings`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (section_in(argument) for argument in getattr(annotation, "__args__", ()))
    return next((model for model in found if model is not None), None)
