"""`guard traffic`: what happened in the last hours, as a chart or by name."""

from __future__ import annotations

import time
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from guard.cli import output
from guard.cli.app import Config, Json, ask_store, seconds_of
from guard.core.rollups import DAY, NOVELTY_UNIT, Dimension, Measure
from guard.words import dollars, moment, period

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from guard.admin import Operator, Traffic

MOST_LINES = 24
"""Maximum number of steps of a chart, where nobody names a step."""

BAR = 24
"""How long the longest bar is, in letters: `#` were forwarded, `x` refused."""

COLUMNS = ("admitted", "refused", "would refuse", "failed", "tokens in", "out", "cost", "novelty")
OPTIONAL = ("novelty", "failed", "would refuse", "out", "cost", "tokens in")
"""The columns that a narrow terminal has no room for, the first one first."""

MEASURES = (
    *(Measure.ADMITTED, Measure.REFUSED, Measure.WOULD_REFUSE, Measure.FAILED),
    *(Measure.INPUT_TOKENS, Measure.OUTPUT_TOKENS, Measure.COST, Measure.NOVELTY),
)


class ByName(StrEnum):
    """What `--by` takes."""

    LIMIT = "limit"
    TIER = "tier"
    MODEL = "model"
    REASON = "reason"
    ACTION = "action"
    BAND = "band"
    ERROR = "error"


def traffic(
    config: Config = None,
    *,
    since: Annotated[str, typer.Option(help="How far back, such as 30m, 6h or 7d; 35d at most.")] = "6h",
    step: Annotated[str | None, typer.Option(help="How long a step is, such as 1m, 15m or 1d.")] = None,
    by: Annotated[ByName | None, typer.Option("--by", help="Add up by name, in place of a chart.")] = None,
    json: Json = False,
) -> None:
    """Show what was admitted and refused in the last hours.

    Sums are a few seconds old.
    """
    length = int(seconds_of(since))
    step_seconds = _step(length) if step is None else int(seconds_of(step))

    async def ask(operator: Operator) -> Traffic:
        if not operator.sums_up:
            output.complain("nothing is summed up: the settings say `rollups.enabled = false`")
        return await operator.traffic(time.time() - length, step=step_seconds)

    found = ask_store(config, ask)
    if json:
        from guard.admin.json.rollups import traffic_json

        output.print_json(traffic_json(found))
        return
    console = output.console()
    for line in _total_lines(found):
        console.print(line, markup=False, soft_wrap=True)
    rows = list(_names(found, Dimension(by)) if by is not None else _steps(found))
    first = (by.value,) if by is not None else ("from (UTC)", "")
    if rows:
        columns = (*first, *COLUMNS)
        console.print(output.table("", columns, rows, right=len(COLUMNS), optional=OPTIONAL))


def _step(length: int) -> int:
    from guard.admin.rollups import STEPS

    return next((step for step in STEPS if step * MOST_LINES >= length), STEPS[-1])


def _total_lines(found: Traffic) -> Iterator[str]:
    """All of it, in a few lines."""
    total = found.total
    yield f"{moment(found.since)} to {moment(found.until)}, in steps of {period(found.step_seconds)}"
    forwarded, refused = total.of(Measure.ADMITTED), total.of(Measure.REFUSED)
    tried = total.of(Measure.WOULD_REFUSE)
    if not (forwarded or refused or tried or total.of(Measure.FAILED)):
        yield "No request has come."
        return
    cost = total.of(Measure.COST)
    shadowed = f"{tried} would be refused (shadow), " if tried else ""
    yield (
        f"{forwarded} admitted, {refused} refused, {shadowed}{total.of(Measure.FAILED)} failed; "
        f"{total.of(Measure.INPUT_TOKENS)} input and {total.of(Measure.OUTPUT_TOKENS)} output tokens"
        f"{f', {dollars(cost)}' if cost else ''}"
    )
    median, most = total.own_seconds(0.5), total.own_seconds(0.95)
    if median is not None and most is not None:
        yield f"guard's own time: half of the requests within {_ms(median)}, 95 % within {_ms(most)}"


def _ms(seconds: float) -> str:
    return "any time" if seconds == float("inf") else f"{seconds * 1000:g} ms"


def _steps(found: Traffic) -> Iterator[tuple[str, ...]]:
    """A line for each step, with a bar; none where nothing happened."""
    if not any(bucket.sums.counts for bucket in found.buckets):
        return
    lines = [(bucket.at, bucket.sums.by(Dimension.ALL).get("", {})) for bucket in found.buckets]
    most = max(1, *(sum(map(counts.get, _REQUESTS, [0] * 3)) for _, counts in lines))
    days = found.until - found.since > DAY
    for at, counts in lines:
        told = moment(at)
        forwarded = counts.get(Measure.ADMITTED, 0) + counts.get(Measure.WOULD_REFUSE, 0)
        refused = counts.get(Measure.REFUSED, 0)
        whole, part = _length(forwarded + refused, most), _length(refused, most)
        bar = "#" * (whole - part) + "x" * part
        yield told[5:16].replace("T", " ") if days else told[11:16], bar, *_cells(counts)


_REQUESTS = (Measure.ADMITTED, Measure.REFUSED, Measure.WOULD_REFUSE)


def _length(count: int, most: int) -> int:
    """How long a bar is: at least one letter where there is anything."""
    return max(1, round(count / most * BAR)) if count else 0


def _names(found: Traffic, dimension: Dimension) -> Iterator[tuple[str, ...]]:
    """A line for each name, the one with most requests first."""
    names = found.total.by(dimension)

    def requests(name: str) -> int:
        return sum(names[name].get(each, 0) for each in (*_REQUESTS, Measure.FAILED))

    for name in sorted(names, key=lambda name: (-requests(name), name)):
        yield name, *_cells(names[name])


def _cells(counts: Mapping[Measure, int]) -> tuple[str, ...]:
    """Numbers, under `COLUMNS`."""
    return tuple(_cell(each, counts.get(each, 0)) for each in MEASURES)


def _cell(measure: Measure, count: int) -> str:
    if not count:
        return ""
    match measure:
        case Measure.COST:
            return dollars(count)
        case Measure.NOVELTY:
            return f"{count / NOVELTY_UNIT:.1f}"
    return str(count)
