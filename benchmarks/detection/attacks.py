"""The attackers: what each asks for (a stream of exchanges), and when.

Items come from the side's instruction sets. An attacker takes one set that is large enough for its queries,
or all of them, in an order of its own, and begins again from the start when it is through.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.detection import answers, timing
from benchmarks.detection.accounts import Caller
from benchmarks.detection.sources import Part
from benchmarks.detection.stage import Variety
from benchmarks.detection.traffic import Exchange

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.detection.sources import Record
    from benchmarks.detection.stage import Stage
    from benchmarks.detection.traffic import Line


@dataclass(frozen=True, slots=True)
class Style:
    """The parameters that a harvester settles on."""

    system: str = ""
    temperature: float | None = None
    max_tokens: int | None = None


def plain(stage: Stage) -> Iterator[Exchange]:
    """Each item as it stands."""
    style = _style(stage)
    for record in items(stage):
        yield _ask(stage, record, record.prompt, style)


def templated(stage: Stage) -> Iterator[Exchange]:
    """One fixed prompt wrapped round each item."""
    style, frame = _style(stage), _wrapping(stage)
    for record in items(stage):
        yield _ask(stage, record, frame.replace("{question}", record.prompt), style)


def items(stage: Stage, part: Part = Part.DISTILL) -> Iterator[Record]:
    """The attacker's records, over and over."""
    rng, pool = stage.rng, stage.pool(part)
    large = [records for records in pool.sources.values() if len(records) >= stage.queries]
    records = list(rng.choice(large) if large and rng.random() < 0.8 else pool.records)
    while True:
        rng.shuffle(records)
        yield from records


def fast(stage: Stage) -> Iterator[float]:
    """Thousands a day, all day."""
    return timing.poisson(stage.rng, stage.rng.uniform(1_000, 20_000))


def slow(stage: Stage) -> Iterator[float]:
    """6 to 30 a day, as the accounts of the published campaigns do."""
    per_day, rng = stage.rng.uniform(6, 30), stage.rng
    if rng.random() < 0.5:
        return timing.steady(rng, per_day)
    return timing.human(rng, per_day, stage.account.zone_hours)


def _style(stage: Stage) -> Style:
    rng = stage.rng
    return Style(
        stage.frame("assistant").format(company=stage.frame("companies")) if rng.random() < 0.3 else "",
        rng.choice((None, 0.0, 0.7, 1.0)),
        rng.choice((None, 1024, 2048, 4096)),
    )


def _ask(stage: Stage, record: Record, text: str, style: Style) -> Exchange:
    return Exchange(
        [("user", text)],
        answers.to(stage.rng, record, typical=1000),
        system=style.system,
        temperature=style.temperature,
        max_tokens=style.max_tokens,
        label="attack",
    )


def _wrapping(stage: Stage) -> str:
    who, what = stage.frame("wrap_who"), stage.frame("wrap_what")
    return stage.frame("wrap_form").replace("{who}", who).replace("{what}", what).strip()


def _attack(
    name: str,
    asking: Callable[[Stage], Iterator[Exchange]],
    when: Callable[[Stage], Iterator[float]],
    *,
    only_openai: bool = False,
) -> Variety:
    def act(stage: Stage) -> Iterator[Line]:
        return map(stage.line, when(stage), asking(stage))

    return Variety(name, "attack", act, Caller.PROGRAM, only_openai=only_openai)


ATTACKS: tuple[Variety, ...] = (
    _attack("bulk", plain, fast),
    _attack("low-and-slow", plain, slow),
    _attack("templated", templated, fast),
    _attack("templated-slow", templated, slow),
)
