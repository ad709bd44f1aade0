"""What happens now: the traffic of the last minutes, who is busiest, and how guard itself does."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from guard.core.calendars import MICROSECONDS
from guard.core.modes import mildest
from guard.core.rollups import MINUTE

if TYPE_CHECKING:
    from guard.admin.operator import Operator
    from guard.admin.rollups import Busiest, By, Traffic
    from guard.core.modes import Mode

MINUTES = 15
"""How far back the traffic goes."""


@dataclass(frozen=True, slots=True)
class Look:
    """How things stand `at` a moment (Unix seconds): the mode that holds, how many processes serve, how many
    holders are held and how many campaigns have consequences, the traffic of the last `MINUTES` by the
    minute, and the busiest of this hour.
    """

    at: float
    mode: Mode
    processes: int
    held: int
    campaigns: int
    traffic: Traffic
    busiest: Busiest


async def look(operator: Operator, by: By, count: int) -> Look:
    """One look; raises `StoreError`."""
    now = operator.now()
    traffic, busiest, control, held, campaigns = await asyncio.gather(
        operator.traffic(now - (MINUTES - 1) * MINUTE, step=MINUTE),
        operator.busiest(by, limit=count, hours=1),
        operator.control(),
        operator.reviews.held(),
        operator.campaigns.all(),
    )
    counting = sum(each.verdict(int(now * MICROSECONDS)).counts for each in campaigns)
    mode = mildest(control.mode, operator.mode_of_settings)
    return Look(now, mode, control.workers, len(held), counting, traffic, busiest)
