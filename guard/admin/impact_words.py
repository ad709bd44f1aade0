"""What a change would have done to the last hours, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guard.core.rollups import HOUR
from guard.words import counted, dollars

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from guard.admin.impact import Impact
    from guard.core.excess import Between


def impact_lines(impact: Impact) -> Iterator[str]:
    """How many requests of how many identities would have been refused, of all that were forwarded."""
    hours = (impact.until - impact.since) // HOUR
    use, loss = impact.forwarded, impact.loss
    were = "was" if use.requests == 1 else "were"
    yield (
        f"In the last {counted(hours, 'hour')} {counted(use.requests, 'request')} {were} forwarded, "
        f"{use.refused} refused."
    )
    if not loss.requests.most:
        yield f"None of them would have been refused{_of_whom_it_is_known(impact)}."
    else:
        share = "" if not use.requests else f" ({ranged(loss.requests.times(100 / use.requests), _percent)})"
        cost = f", {ranged(loss.cost, money)}" if loss.cost.most else ""
        yield (
            f"Of them {ranged(loss.requests)} would have been refused{share}, of "
            f"{ranged(impact.identities)} {'identity' if impact.identities.most == 1 else 'identities'}: "
            f"{ranged(loss.tokens)} tokens{cost}."
        )
    if impact.unknown.requests:
        yield (
            f"Of {counted(impact.unknown.requests, 'request')} it is not known who sent them: "
            "they are not in these numbers."
        )


def ranged(number: Between, shown: Callable[[float], str] = "{:.0f}".format) -> str:
    """A number, or its bounds: `12`, `3 to 5`, `up to 7`."""
    least, most = shown(number.least), shown(number.most)
    if least == most:
        return most
    return f"{least} to {most}" if number.least else f"up to {most}"


def money(number: float) -> str:
    """An amount of micro-dollars: `$14.20`."""
    return dollars(round(number))


def _of_whom_it_is_known(impact: Impact) -> str:
    return ", as far as it is known who sent them" if impact.unknown.requests else ""


def _percent(number: float) -> str:
    return f"{number:.1f} %"
