"""What a stream has told of a thought bit by bit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from guard.dialects.pieces import CONTROL, is_id

if TYPE_CHECKING:
    from guard.dialects.strict import Json


class Gathered:
    """Fields that come in pieces: texts are joined, and so are items of a list that have one index and type;
    of anything else the last counts.
    """

    def __init__(self) -> None:
        self._fields: dict[str, Any] = {}

    def add(self, fields: Json) -> None:
        """Take in the next piece."""
        for name, value in fields.items():
            if isinstance(value, str) and name not in CONTROL and not is_id(name):
                known = self._fields.get(name)
                if isinstance(known, list):
                    known.append(value)
                else:
                    self._fields[name] = [value]
            elif isinstance(value, list):
                items = self._fields.setdefault(name, _Items())
                if isinstance(items, _Items):
                    items.add(value)
            elif value is not None or name not in self._fields:
                self._fields[name] = value

    def joined(self) -> Json:
        """What has come so far."""
        return {name: _joined(value) for name, value in self._fields.items()}


class _Items:
    def __init__(self) -> None:
        self._items: list[Any] = []
        self._places: dict[tuple[object, int], Gathered] = {}

    def add(self, items: list[Any]) -> None:
        for item in items:
            index = item.get("index") if isinstance(item, dict) else None
            if not isinstance(index, int):
                self._items.append(item)
                continue
            place = str(item.get("type")), index
            if place not in self._places:
                self._places[place] = Gathered()
                self._items.append(self._places[place])
            self._places[place].add(item)

    def joined(self) -> list[Any]:
        return [item.joined() if isinstance(item, Gathered) else item for item in self._items]


def _joined(value: Any) -> Any:
    if isinstance(value, list):
        return "".join(value)
    return value.joined() if isinstance(value, _Items) else value
