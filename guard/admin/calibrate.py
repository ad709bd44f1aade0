"""What signals are worth, from an operator's own honest traffic; and what that will cost honest callers.

From the most that each identity of a survey showed of a signal follow the signal's tables, in which the
shipped ones count for a bounded number of holders more (guard/detection/tables.py). How many honest callers
would be bothered is not judged on those from whom the tables were made: the identities are cut into five
parts, and each part is judged by tables made from the other four.

**Thresholds** are those at which a stated share of honest identities is ever `high`. Of n identities that
were judged so, at most k with (k + 1) / (n + 1) of that share may reach it, since the next one is as likely
to come out anywhere among them. So for one in a hundred it takes 99. Of fewer none may, and since ten
decibans more are ten times as rare, the threshold is above the most suspect by as many as are missing, and
never below that of the settings.

    of 199 identities the most suspect come out at 22, 19, 14, 9 …    `high` for 1 % is above 19: k = 1
    of 60 at 22, 19, 14, 9 …                                          above 22 + 10·log₁₀(100 / 61) = 24.1
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from math import floor, log10
from typing import TYPE_CHECKING, NamedTuple

from guard.admin.budgets import LEAST_DAYS, Budget
from guard.admin.intervals import bounds
from guard.admin.trace import PLACED_IDENTITIES, SIGNALS, Trace, place_of
from guard.core.calendars import MICROSECONDS
from guard.core.evidence import GROUP_CAP, SPEAKING, Band, Weights, merge, risk
from guard.core.signals import Signal
from guard.detection.reference import Provenance, Reference
from guard.detection.signals import LEAST_QUERIES
from guard.detection.tables import LEAST_HOLDERS, Stratum, table
from guard.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from guard.admin.survey import Survey
    from guard.core.evidence import Mark
    from guard.detection.place import Distribution
    from guard.detection.tables import Table

LEAST_IDENTITIES = 20
"""From fewer identities nothing is calibrated."""

FOLDS = 5

BANDS = (Band.ELEVATED, Band.HIGH, Band.CRITICAL)

LEVELS = (10, 20, 25)
"""Of these worths, in decibans, it is said from which statistic on a signal has them."""

WANTED_IDENTITIES = 300
"""Where none of this number is refused, fewer than one in a hundred are (the rule of three)."""

HONEST_HIGH = 0.01
"""The share of honest identities that may ever be `high`, where nothing else is said."""

TIMES_ELEVATED, TIMES_CRITICAL = 5, 0.1
"""How many times as many may ever be `elevated`, and `critical`."""

STEP = 0.5
"""Thresholds are multiples of this, in decibans."""


class Worst(NamedTuple):
    """The most risk that an identity ever had, in decibans: in all, and of what two groups or more said."""

    decibans: float
    of_two: float

    def reaches(self, band: Band, weights: Weights) -> bool:
        """Whether it would ever have been in this band, or in a worse one."""
        critical = self.of_two >= weights.critical
        match band:
            case Band.CRITICAL:
                return critical
            case Band.HIGH:
                return critical or self.decibans >= weights.high
        return critical or self.decibans >= weights.elevated


@dataclass(frozen=True, slots=True)
class Calibration:
    """A reference, and what it will cost, on identities that it was not made from.

    `worst` is how each came out, by name. `present` are the thresholds of the settings, and `proposed` those
    for a share of `honest_high`. `own` is how many identities each table for any stratum is made from.
    """

    reference: Reference
    survey: Survey
    worst: Mapping[str, Worst]
    present: Weights
    proposed: Weights
    honest_high: float
    own: Mapping[Signal, int]
    budgets: tuple[Budget, ...]

    @property
    def identities(self) -> int:
        """How many there are."""
        return len(self.worst)

    def reached(self, band: Band, weights: Weights) -> list[str]:
        """The identities that would ever have been in a band or a worse one, the worst first."""
        found = [name for name, each in self.worst.items() if each.reaches(band, weights)]
        return sorted(found, key=lambda name: (-self.worst[name].decibans, name))

    def bounds(self, band: Band, weights: Weights) -> tuple[float, float]:
        """Between which shares of all honest identities reach a band, at 95 %."""
        return bounds(len(self.reached(band, weights)), self.identities)

    @property
    def cautions(self) -> Iterator[str]:
        """What cannot be said, because of how little there is."""
        survey = self.survey
        if self.identities < WANTED_IDENTITIES:
            yield (
                f"With {self.identities} identities, a false-positive rate below {3 / self.identities:.1%} "
                f"cannot be shown (rule of three). {WANTED_IDENTITIES} identities are needed for 1 %."
            )
        if survey.days < LEAST_DAYS:
            yield (
                f"The log spans {survey.days:.1f} days. Take {LEAST_DAYS} or more: people and programs have "
                "weeks, and evidence lasts for days."
            )
        if survey.unanswered:
            yield (
                f"{survey.unanswered} of {survey.queries} queries have no answer in the log: all of their "
                "tokens are taken for new, and budgets for too large. Log answers."
            )


def calibrate(
    present: Weights,
    found: Survey,
    origin: str,
    shipped: Reference,
    *,
    made: str,
    log_sha256: str,
    honest_high: float = HONEST_HIGH,
) -> Calibration:
    """Make a reference from a survey, and judge it by the settings' `present` weights, on the day that it is
    `made`; raises `ConfigError` where there is too little.
    """
    known = found.known
    if len(known) < LEAST_IDENTITIES:
        raise ConfigError(
            f"{origin} has {len(known)} identities with {LEAST_QUERIES} queries or more; "
            f"{LEAST_IDENTITIES} are needed to calibrate, and {WANTED_IDENTITIES} to promise much"
        )
    parts = [[(name, trace) for name, trace in known if _part(name) == part] for part in range(FOLDS)]
    traces = [trace for _, trace in known]
    place = place_of(traces)
    worst: dict[str, Worst] = {}
    for part in parts:
        judged = [trace for _, trace in part]
        _place(traces, _place_without(judged, traces) if place is not None else None)
        tables = _tables(_others(judged, traces), shipped)
        reference = Reference(origin, len(traces) - len(part), tables)
        worst |= {name: worst_of(trace, reference, present) for name, trace in part}
    for part in parts:
        judged = [trace for _, trace in part]
        # Its own queries would draw the mean towards it, as they cannot for those who come later.
        _place(judged, _place_without(judged, traces) if place is not None else None)
    calibrated = Provenance(
        made,
        version("asgi-guard"),
        since=_day(found.since_us),
        until=_day(found.until_us),
        days=round(found.days, 2),
        identities=len(traces),
        queries=found.queries,
        log_sha256=log_sha256,
    )
    reference = Reference(origin, len(traces), _tables(traces, shipped), shipped.scores, place, calibrated)
    return Calibration(
        reference,
        found,
        dict(sorted(worst.items())),
        present,
        thresholds(list(worst.values()), honest_high, present),
        honest_high,
        {signal: len(_most(traces, signal, Stratum.ANY)) for signal in reference.tables},
        tuple(Budget.of(tier, limit, each, found.days) for (tier, limit), each in found.budgets),
    )


def _day(us: int) -> str:
    return f"{datetime.fromtimestamp(us / MICROSECONDS, UTC):%Y-%m-%d}"


def _part(name: str) -> int:
    return zlib.crc32(name.encode()) % FOLDS


def _others(part: Sequence[Trace], traces: Sequence[Trace]) -> list[Trace]:
    left_out = set(map(id, part))
    return [trace for trace in traces if id(trace) not in left_out]


def _place(traces: Iterable[Trace], place: Distribution | None) -> None:
    for trace in traces:
        trace.place(place)


def _place_without(part: Sequence[Trace], traces: Sequence[Trace]) -> Distribution | None:
    """Where all but a part of the identities lie."""
    return place_of(_others(part, traces), PLACED_IDENTITIES // 2)


def _most(traces: Iterable[Trace], signal: Signal, stratum: Stratum) -> list[float]:
    """The most of a signal that each identity showed in a stratum which is not excused from it."""
    found = (trace.most(stratum).get(signal) for trace in traces if signal not in trace.excused)
    return [each for each in found if each is not None]


def _tables(traces: Sequence[Trace], shipped: Reference) -> dict[Signal, dict[Stratum, Table]]:
    tables: dict[Signal, dict[Stratum, Table]] = {}
    for signal in SIGNALS:
        # Distances are from the operator's own mean, of which no other traffic says anything.
        known = {} if signal is Signal.DISTANCE else shipped.tables.get(signal, {})
        for stratum in Stratum:
            own, base = _most(traces, signal, stratum), known.get(stratum) or known.get(Stratum.ANY)
            least = LEAST_IDENTITIES if stratum is Stratum.ANY else LEAST_HOLDERS
            if base is not None and own:
                made = base.with_own(own)
            elif base is None and len(own) >= least:
                made = table(signal, own)
            elif stratum in known:
                made = known[stratum]
            else:
                continue
            tables.setdefault(signal, {})[stratum] = made
    return tables


def worst_of(trace: Trace, reference: Reference, weights: Weights) -> Worst:
    """The most risk that an identity would ever have had, with its evidence fading as time goes by."""
    marks: Mapping[Signal, Mark] = {}
    most = of_two = 0.0
    for moment in trace.moments:
        for seen in moment.seen():
            marks = merge(marks, reference.weigh(seen), moment.end_us, weights.half_life_us)
        found = risk(marks, moment.end_us, weights, excused=trace.excused)
        most = max(most, found.decibans)
        if len(found.groups) >= 2:
            of_two = max(of_two, found.decibans)
    return Worst(most, of_two)


def thresholds(worst: Sequence[Worst], honest_high: float, present: Weights) -> Weights:
    """Those for this share of honest `high`, up to a half, from how honest identities came out; where they
    are too few to show it, not below the present ones.
    """

    def least(read: Callable[[Worst], float], times: float, now: float) -> float:
        values = sorted(map(read, worst), reverse=True)
        wanted = min(0.5, times * honest_high) * (len(values) + 1)
        allowed = floor(wanted) - 1
        if allowed >= 0:
            return max(SPEAKING, _above(values[allowed]))
        return max(now, _above(values[0] - 10 * log10(wanted)))

    # One group says no more than its cap: above that, one group alone would never be `high`.
    elevated = min(GROUP_CAP - STEP, least(lambda each: each.decibans, TIMES_ELEVATED, present.elevated))
    high = min(GROUP_CAP, max(elevated + STEP, least(lambda each: each.decibans, 1, present.high)))
    critical = max(high + STEP, least(lambda each: each.of_two, TIMES_CRITICAL, present.critical))
    return replace(present, elevated=elevated, high=high, critical=critical)


def _above(decibans: float) -> float:
    return STEP * floor(decibans / STEP) + STEP
