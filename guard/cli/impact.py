"""What a change would have done to the last hours, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guard.cli import output
from guard.words import counted, dollars

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from guard.admin import Impact, Loss
    from guard.core.excess import Between

SECONDS_AN_HOUR = 3_600


def print_impact(impact: Impact) -> None:
    """Print what a change would have done, with whom it would have hit most."""
    console = output.console()
    for line in _lines(impact):
        console.print(output.printable(line), markup=False, soft_wrap=True)
    limits = [(name, *_cells(loss)) for name, loss in impact.by_limit.items()]
    if len(limits) > 1:
        console.print(output.table("", ("limit", *COLUMNS), limits, right=len(COLUMNS), optional=("cost",)))
    hits = [
        (output.short(hit.label), hit.limit or "", str(hit.use.requests), *_cells(hit.loss))
        for hit in impact.hits
    ]
    if hits:
        columns = ("whose", "limit", "forwarded", *COLUMNS)
        console.print(output.table("", columns, hits, right=1 + len(COLUMNS), optional=("limit", "cost")))
    for note in impact.notes:
        output.complain(note)


COLUMNS = ("would refuse", "tokens", "cost")


def _cells(loss: Loss) -> tuple[str, ...]:
    """What would have been refused, under `COLUMNS`."""
    return (_range(loss.requests), _range(loss.tokens), _range(loss.cost, _money) if loss.cost.most else "")


def _lines(impact: Impact) -> Iterator[str]:
    hours = (impact.until - impact.since) // SECONDS_AN_HOUR
    use, loss = impact.forwarded, impact.loss
    were = "was" if use.requests == 1 else "were"
    yield (
        f"In the last {counted(hours, 'hour')} {counted(use.requests, 'request')} {were} forwarded, "
        f"{use.refused} refused."
    )
    if not loss.requests.most:
        yield f"None of them would have been refused{_of_whom_it_is_known(impact)}."
    else:
        share = "" if not use.requests else f" ({_range(loss.requests.times(100 / use.requests), _percent)})"
        cost = f", {_range(loss.cost, _money)}" if loss.cost.most else ""
        yield (
            f"Of them {_range(loss.requests)} would have been refused{share}, of "
            f"{_range(impact.identities)} {'identity' if impact.identities.most == 1 else 'identities'}: "
            f"{_range(loss.tokens)} tokens{cost}."
        )
    if impact.unknown.requests:
        yield (
            f"Of {counted(impact.unknown.requests, 'request')} it is not known who sent them: "
            "they are not in these numbers."
        )


def _of_whom_it_is_known(impact: Impact) -> str:
    return ", as far as it is known who sent them" if impact.unknown.requests else ""


def _range(number: Between, shown: Callable[[float], str] = "{:.0f}".format) -> str:
    """A number, or its bounds: `12`, `3 to 5`, `up to 7`."""
    least, most = shown(number.least), shown(number.most)
    if least == most:
        return most
    return f"{least} to {most}" if number.least else f"up to {most}"


def _percent(number: float) -> str:
    return f"{number:.1f} %"


def _money(number: float) -> str:
    return dollars(round(number))
