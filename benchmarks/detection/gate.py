"""guard with its default settings before a model: its engine and its analyst, on a store in memory.

It is `guard replay`, asked line by line, so that whoever asks can wait as a refusal says. What one is held
against is a reference that knows none of the sources that the lines are made of.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from guard.admin.replay import Replay
from guard.admin.traffic import Line as LogLine
from guard.admin.traffic import Response
from guard.core.calendars import MICROSECONDS
from guard.core.decision import FORWARDED
from guard.core.identity import Attribute, Holder
from guard.core.limits import Unit
from guard.core.query import Usage
from guard.core.uses import Declared, Use
from guard.settings.root import FileSettings

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.detection.traffic import Line
    from guard.admin.replay import Result


class Gate:
    """One guard, for callers that come in time order.

    `reference` names a file; without it, it is what guard ships. `uses` are what operators were told of
    users. Raises `ConfigError`.
    """

    def __init__(self, reference: Path | None = None, uses: dict[str, str] | None = None) -> None:
        settings = FileSettings()
        detection = settings.detection.model_copy(update={"reference": reference})
        declared = {Holder(Attribute.USER, user): Declared(Use(use)) for user, use in (uses or {}).items()}
        self._replay = Replay(settings.model_copy(update={"detection": detection}), declared)
        self._asked = 0

    async def ask(self, line: Line, now_us: int, *, user: str | None = None) -> Result:
        """What comes of a request, of a `user` that a gateway vouches for, or else of whoever has its key."""
        self._asked += 1
        usage = line.response["usage"]
        return await self._replay.run(
            LogLine(
                self._asked,
                str(self._asked),
                now_us / MICROSECONDS,
                now_us,
                "POST",
                line.path,
                headers=tuple((name.encode(), value.encode()) for name, value in line.headers.items()),
                client=line.client,
                attributes={} if user is None else {Attribute.USER: user},
                body=line.body,
                response=Response(
                    200,
                    Usage(usage["input_tokens"], usage["output_tokens"], reported=True),
                    line.response["text"],
                ),
            )
        )


def answered(result: Result) -> bool:
    """Whether the model was asked."""
    return result.action in FORWARDED


def diversity_limits() -> frozenset[str]:
    """The names of the limits that hold what is drawn."""
    return frozenset(
        limit.name
        for tier in FileSettings().policy().tiers.values()
        for limit in tier.limits
        if limit.unit == Unit.NOVELTY
    )


def at_address(line: Line, address: str) -> Line:
    """The same from elsewhere."""
    return replace(line, client=(address, line.client[1]))
