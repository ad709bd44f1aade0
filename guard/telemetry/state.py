"""How a process that serves does, told to hooks once in `reload_seconds`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from guard.core.modes import Mode


@dataclass(frozen=True, slots=True)
class Analyst:
    """How the analyst does, as this process sees it.

    `pending` transcripts were handed over and have no outcome yet; `losses` counts how often the connection
    to it was lost since this process began.
    """

    connected: bool
    pending: int
    losses: int


@dataclass(frozen=True, slots=True)
class State:
    """How this process does.

    `in_flight` are admitted requests whose answers are not over; `unsettled` is work on the books that is
    under way or is tried again; `debts` are limits of holders that owe what was admitted without the store.
    `store_seconds` is how long the store took to answer when it was last asked, `None` where it did not.
    `store_up` is whether it did, and no request has found it failing since. `switch` is the kill switch, and
    `mode` what holds. `generation` is the number of the settings, which each `guard reload` raises;
    `settings_current` is false where the file has been changed to what cannot work. `analyst` is `None` where
    nobody reads.
    """

    in_flight: int
    unsettled: int
    debts: int
    store_up: bool
    store_seconds: float | None
    mode: Mode
    switch: Mode
    generation: int
    settings_current: bool
    analyst: Analyst | None
