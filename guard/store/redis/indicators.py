"""What other operators have said of campaigns, and what was seen of it here, as it is kept in Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

from guard.core.indicators import LONGEST_SECONDS, Imported, Indicator, Sighted, room_for
from guard.errors import StoreError
from guard.store.indicators import read_indicator, read_sighted, write
from guard.store.redis.keys import INDICATORS, SIGHTED
from guard.store.redis.scripts import Script
from guard.store.redis.tolerant import TolerantStore

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")

INDICATE = Script.load("indicate")
SIGHT = Script.load("sight")


class RedisIndicators(TolerantStore):
    """Keeps `MOST_INDICATORS` of them at most, each until it is over."""

    async def imported(self, version: int = -1) -> Imported | None:
        """What others have said; `None` where nothing has changed since this version."""
        try:
            async with self.asking() as client:
                text = cast("bytes | None", await client.hget(INDICATORS, "version")) or b""
        except StoreError as error:
            self.note_damage("the indicators", error)
            text = b""
        known = int(text) if text.isdigit() else 0
        if known == version:
            return None
        kept = await self._hash("the indicators", INDICATORS)
        kept.pop(b"version", None)
        return Imported(known, self._each("the indicator", kept, read_indicator))

    async def keep_indicators(self, before: Imported, after: Mapping[str, Indicator], now_us: int) -> bool:
        """Write down what others have said by now; `False` where somebody else has written something since
        `before`. What is over goes.
        """
        self._refuse_foreign()
        left = room_for(after, now_us)
        until_us = max((each.until_us for each in left.values()), default=now_us)
        life_ms = min(LONGEST_SECONDS * 1000, max(1, (until_us - now_us) // 1000))
        told: list[str | bytes | int] = [before.version, life_ms]
        for name, each in left.items():
            if before.indicators.get(name) != each:
                told += [name, write(each)]
        for name in before.indicators.keys() - left.keys():
            told += [name, b""]
        async with self.asking() as client:
            reply = await cast("Any", client.eval(INDICATE.text, 2, INDICATORS, SIGHTED, *told))
        return bool(reply)

    async def sighted(self) -> dict[str, Sighted]:
        """What was seen here of indicators, by their ids."""
        kept = await self._hash("what was sighted of indicators", SIGHTED)
        return self._each("what was sighted of the indicator", kept, read_sighted)

    async def keep_sighted(self, sighted: Mapping[str, Sighted]) -> None:
        """Write down what was seen of these; what is no more is left out."""
        if sighted:
            told: list[str | bytes | int] = []
            for name, each in sighted.items():
                told += [name, write(each)]
            await self._run(SIGHT, [INDICATORS, SIGHTED], told)

    def _each(self, what: str, kept: Mapping[bytes, bytes], read: Callable[[bytes], T]) -> dict[str, T]:
        found = {}
        for field, text in kept.items():
            name = field.decode(errors="replace")
            try:
                found[name] = read(text)
            except ValueError as error:
                self.damaged[f"{what} {name}"] = str(error)
        return found
