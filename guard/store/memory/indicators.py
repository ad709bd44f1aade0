"""What other operators have said of campaigns, and what was seen of it here, in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guard.core.indicators import Imported, Indicator, Sighted, room_for

if TYPE_CHECKING:
    from collections.abc import Mapping


class MemoryIndicators:
    """Keeps indicators for one process."""

    def __init__(self) -> None:
        self._imported = Imported()
        self._sighted: dict[str, Sighted] = {}

    async def imported(self, version: int = -1) -> Imported | None:
        """What others have said; `None` where nothing has changed since this version."""
        return None if version == self._imported.version else self._imported

    async def keep_indicators(self, before: Imported, after: Mapping[str, Indicator], now_us: int) -> bool:
        """Write down what others have said by now."""
        left = room_for(after, now_us)
        if before.version != self._imported.version:
            return False
        self._imported = Imported(before.version + 1, left)
        self._sighted = {name: each for name, each in self._sighted.items() if name in left}
        return True

    async def sighted(self) -> dict[str, Sighted]:
        """What was seen here of indicators, by their ids."""
        return dict(self._sighted)

    async def keep_sighted(self, sighted: Mapping[str, Sighted]) -> None:
        """Write down what was seen of these; what is no more is left out."""
        known = self._imported.indicators
        self._sighted.update({name: each for name, each in sighted.items() if name in known})
