"""What holds for all: the kill switch, and whether all is well."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import TypedDict

from guard.core.modes import Mode, mildest

if TYPE_CHECKING:
    from guard.store.port import Control


class ControlJson(TypedDict):
    """The mode that holds, what the kill switch and the settings say, how many processes serve, and how often
    they were told to read their settings again.
    """

    mode: Mode
    switch: Mode
    settings: Mode
    processes: int
    generation: int


class HealthJson(TypedDict):
    """Whether all is well, and if not, what is the matter."""

    well: bool
    warnings: list[str]
    control: ControlJson


def control_json(control: Control, settings: Mode) -> ControlJson:
    """What holds, where the settings say this."""
    return {
        "mode": mildest(control.mode, settings),
        "switch": control.mode,
        "settings": settings,
        "processes": control.workers,
        "generation": control.generation,
    }
