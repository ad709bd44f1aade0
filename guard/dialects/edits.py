"""Changes to a JSON object, each made in a copy: where there is nothing to change, the object itself comes
back, so that whoever asks whether anything was changed may ask `is`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from guard.dialects.strict import Json


def without(fields: Json, names: Collection[str]) -> Json:
    """Without the fields of these names."""
    if not any(name in fields for name in names):
        return fields
    return {name: value for name, value in fields.items() if name not in names}


def changed(fields: Json, name: str, *, value: object) -> Json:
    """With this value for a field."""
    same = name in fields and type(fields[name]) is type(value) and fields[name] == value
    return fields if same else {**fields, name: value}


def inside(fields: Json, name: str, edit: Callable[[Json], Json]) -> Json:
    """With the object of this name edited, where there is one."""
    inner = fields.get(name)
    if not isinstance(inner, dict):
        return fields
    edited = edit(inner)
    return fields if edited is inner else {**fields, name: edited}


def each(fields: Json, name: str, edit: Callable[[Json], Json | None]) -> Json:
    """With each object in the list of this name edited, and left out where `edit` gives `None`."""
    return each_placed(fields, name, lambda _, item: edit(item))


def each_placed(fields: Json, name: str, edit: Callable[[int, Json], Json | None]) -> Json:
    """Likewise, where `edit` is given the place of each too."""
    items = fields.get(name)
    if not isinstance(items, list):
        return fields
    edited = [edit(place, item) if isinstance(item, dict) else item for place, item in enumerate(items)]
    if all(one is other for one, other in zip(items, edited, strict=True)):
        return fields
    return {**fields, name: [item for item in edited if item is not None]}


def text(fields: Json, name: str, edit: Callable[[str], str]) -> Json:
    """With the string of this name edited, where there is one."""
    said = fields.get(name)
    return changed(fields, name, value=edit(said)) if isinstance(said, str) else fields


def capped(fields: Json, names: Iterable[str], most: int) -> Json:
    """With no number of these names above the most."""
    over = {
        name: most
        for name in names
        if isinstance(value := fields.get(name), int | float) and not isinstance(value, bool) and value > most
    }
    return {**fields, **over} if over else fields


def unlisted(fields: Json, name: str, value: str) -> Json:
    """Without a value in the list of this name."""
    items = fields.get(name)
    if not isinstance(items, list) or value not in items:
        return fields
    return {**fields, name: [item for item in items if item != value]}
