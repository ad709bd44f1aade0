"""What the scripts are asked and what they answer, as Redis takes and gives it."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from guard.core.calendars import boundaries
from guard.core.limits import Charge, Reading, Unit
from guard.core.novelty import NOWHERE
from guard.store.marks import read_marks
from guard.store.port import LARGEST_AMOUNT, Block, Verdict

if TYPE_CHECKING:
    from collections.abc import (
        Sequence,
    )

    from guard.core.limits import Limit, Window


def nothing_of(charges: Sequence[Charge]) -> tuple[Charge, ...]:
    """The same charges with nothing in them: what takes a reservation back."""
    return tuple(replace(charge, amount=0, spare=0, ground=NOWHERE) for charge in charges)


def limit_arguments(charges: Sequence[Charge], now_us: int) -> list[str]:
    """Each limit in one argument: the client's cost goes by their number."""
    return [
        f"{charge.enforced:d} {charge.limit.pending:d} {round(1000 * charge.left)} "
        f"{min(charge.amount - charge.spare, LARGEST_AMOUNT)} {min(charge.amount, LARGEST_AMOUNT)}"
        f"{_places(charge)}"
        f"{_shape(charge.limit) if charge.limit.zone is None else _dated_shape(charge.limit, now_us)}"
        for charge in charges
    ]


def _places(charge: Charge) -> str:
    if charge.limit.unit != Unit.NOVELTY:
        return ""
    return f"/{','.join(map(str, charge.ground.places))}"


@lru_cache(maxsize=1024)
def _shape(limit: Limit) -> str:
    return "".join(f" {limit.algorithm} {_window(each)}" for each in limit.windows)


def _dated_shape(limit: Limit, now_us: int) -> str:
    """That of calendar windows, with the boundaries round the present moment."""
    now_us = now_us or time.time_ns() // 1000
    return "".join(
        f" {limit.algorithm} {_window(each)}:{':'.join(map(str, boundaries(each.span, limit.zone, now_us)))}"
        for each in limit.windows
        if each.span is not None and limit.zone is not None
    )


def _window(window: Window) -> str:
    return f"{window.period_us} {window.count} {window.burst}"


def verdict_of(reply: list[Any], charges: Sequence[Charge]) -> Verdict:
    """What the script that admits has answered to these charges."""
    admitted, room, blocked_us, expired, marks, *numbers = reply
    windows = [(charge, window) for charge in charges for window in charge.limit.windows]
    readings, exempt = [], set()
    for (charge, window), (count, burst, remaining, reset_us, wait_us, amount) in zip(
        windows, zip(*(numbers[place::6] for place in range(6)), strict=True), strict=True
    ):
        if count < 0:
            exempt.add(charge)
            continue
        if (count, burst) != (window.count, window.burst):
            window = replace(window, count=count, burst=burst)
        wait = None if wait_us < 0 else wait_us
        readings.append(
            Reading(charge.limit, window, charge.holder, remaining, reset_us, wait, charge.enforced, amount)
        )
    charged = (each for each in charges if (room or each.enforced) and each not in exempt)
    return Verdict(
        admitted=bool(admitted),
        charged=tuple(charged) if admitted else (),
        block=None if blocked_us < 0 else Block(blocked_us or None),
        readings=tuple(readings),
        expired=expired,
        marks=read_marks(marks),
    )
