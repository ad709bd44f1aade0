"""What signals are worth, from an operator's own honest traffic; and what that will cost honest callers.

The log is read once, and every identity's life is kept as a `Trace`. From the worst that each identity showed
of a signal follows the signal's table (guard/detection/reference.py). How many honest callers would be
bothered is not judged on those from whom the tables were made: the identities are cut into five parts, and
each part is judged by tables made from the other four.

**Few identities.** A table from 30 identities knows nothing of what one honest caller in a hundred does. So
as long as there are fewer identities than behind the shipped reference, its own honest holders stand in for
those that are missing: with n of the operator's and N of the shipped, each of the N counts as (N - n) / N of
one. What is rare in the shipped traffic stays evidence, no more and no less, until the operator's own traffic
says better; from N identities on it speaks alone.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from math import isnan
from typing import TYPE_CHECKING, Any

from guard.admin.intervals import bounds
from guard.admin.reading import LineReader, pepper_of
from guard.admin.trace import PLACED_IDENTITIES, SIGNALS, Trace, place_of
from guard.admin.traffic import Label
from guard.analyst.lessons import Lessons
from guard.core.evidence import Band, merge, risk
from guard.core.identity import Attribute
from guard.core.policy import RouteAction
from guard.core.pseudonyms import Pseudonyms
from guard.core.signals import Signal
from guard.detection.profile import Profile
from guard.detection.reference import Reference, statistics, table
from guard.detection.signals import LEAST_QUERIES
from guard.errors import ConfigError, RequestError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from guard.admin.traffic import Line
    from guard.core.evidence import Mark, Weights
    from guard.core.identity import Holder
    from guard.core.uses import Declared
    from guard.detection.likeness import Likeness
    from guard.detection.reference import Distribution, Table
    from guard.settings.root import Settings

LEAST_IDENTITIES = 20
"""From fewer identities nothing is calibrated."""

FOLDS = 5

BANDS = (Band.ELEVATED, Band.HIGH, Band.CRITICAL)

WANTED_IDENTITIES = 300
"""Where none of this number is refused, fewer than one in a hundred are (the rule of three)."""


@dataclass(slots=True)
class Survey:
    """What a log has to say: the life of each identity, and how many lines were left out for what reason."""

    traces: dict[str, Trace] = field(default_factory=dict)
    queries: int = 0
    attacks: int = 0
    unread: int = 0

    @property
    def known(self) -> list[tuple[str, Trace]]:
        """The identities with queries enough to say how they behave, by name."""
        return sorted((name, trace) for name, trace in self.traces.items() if trace.queries >= LEAST_QUERIES)


@dataclass(frozen=True, slots=True)
class Calibration:
    """A reference, and what it will cost: how many of `identities` honest ones ever reach each band.

    `own` are the signals of which the operator's traffic alone says what they are worth.
    """

    reference: Reference
    survey: Survey
    identities: int
    reached: Mapping[Band, int]
    own: frozenset[Signal]

    def bounds(self, band: Band) -> tuple[float, float]:
        """Between which shares of all honest identities reach a band, at 95 %."""
        return bounds(self.reached[band], self.identities)

    @property
    def caution(self) -> str | None:
        """What cannot be said, because of how few identities there are."""
        if self.identities >= WANTED_IDENTITIES:
            return None
        return (
            f"With {self.identities} identities, a false-positive rate below {3 / self.identities:.1%} "
            f"cannot be shown (rule of three). {WANTED_IDENTITIES} identities are needed for 1 %."
        )

    def json(self) -> dict[str, Any]:
        """As data."""
        return {
            "identities": self.identities,
            "queries": self.survey.queries,
            "left_out": {
                "attack_lines": self.survey.attacks,
                "unread_lines": self.survey.unread,
                "small_identities": len(self.survey.traces) - self.identities,
            },
            "placed": self.reference.place is not None,
            "signals": {
                signal: {
                    "own": signal in self.own,
                    **{f"at_{level}": round(each.statistic(level), 5) for level in (10, 20, 25)},
                }
                for signal, each in self.reference.tables.items()
            },
            "false_positives": {
                band: {
                    "identities": self.reached[band],
                    "share": self.reached[band] / self.identities,
                    "at_least": self.bounds(band)[0],
                    "at_most": self.bounds(band)[1],
                }
                for band in BANDS
            },
            "caution": self.caution,
        }


def survey(
    settings: Settings,
    lines: Iterable[Line],
    declared: Mapping[Holder, Declared],
    likenesses: Mapping[Signal, Likeness],
) -> Survey:
    """Look at honest traffic, with these likenesses; raises `ConfigError`, and what the lines raise.

    Lines that are labelled attacks are left out, and what was answered with an error teaches nothing, as in
    live traffic.
    """
    keys = Pseudonyms(pepper_of(settings))
    reader = LineReader(settings, keys, declared)
    lessons = Lessons(keys, reader.rules.dialects)
    found = Survey()
    for line in lines:
        if line.label is Label.ATTACK:
            found.attacks += 1
            continue
        try:
            route, path = reader.route(line)
            if route.action is not RouteAction.GUARD:
                raise RequestError("not read")
            identity = reader.identity(line, route)
            query = reader.query(line, route, path, identity)
            usage, status = reader.answer(line, query, route, identity)
        except RequestError:
            query = None
        if query is None or status >= 400:
            found.unread += 1
            continue
        trusted = identity.attributes.get(Attribute.END_USER)
        identity = identity.asking(end_user=trusted or query.end_user)
        suspect = reader.policy.suspect(identity, line.now_us)
        trace = found.traces.setdefault(keys.label(suspect.holder), Trace())
        profile = Profile.read(trace.profile)
        before = profile.mean
        copies = reader.copies(line, query, route, path)
        lessons.teach(profile, lessons.read(suspect.holder, copies, usage, line.now_us))
        trace.add(profile, statistics(profile, likenesses), before, line.now_us)
        trace.profile, trace.excused = profile.write(), trace.excused | suspect.excused
        found.queries += 1
    return found


def calibrate(settings: Settings, found: Survey, origin: str, shipped: Reference) -> Calibration:
    """Make a reference from a survey, and judge it; raises `ConfigError` where there is too little."""
    known = found.known
    if len(known) < LEAST_IDENTITIES:
        raise ConfigError(
            f"{origin} has {len(known)} identities with {LEAST_QUERIES} queries or more; "
            f"{LEAST_IDENTITIES} are needed to calibrate, and {WANTED_IDENTITIES} to promise much"
        )
    weights = settings.detection.weights
    parts = [[trace for name, trace in known if _part(name) == part] for part in range(FOLDS)]
    traces = [trace for part in parts for trace in part]
    place = place_of(traces)
    reached = dict.fromkeys(BANDS, 0)
    for part in parts:
        others = [trace for each in parts if each is not part for trace in each]
        known_to_others = _place_without(part, traces) if place is not None else None
        for trace in traces:
            trace.place(known_to_others)
        reference = Reference(origin, len(others), _tables(others, shipped))
        for trace in part:
            band = _highest(trace, reference, weights)
            for each in BANDS[: BANDS.index(band) + 1 if band in BANDS else 0]:
                reached[each] += 1
    for part in parts:
        # Its own queries would draw the mean towards it, as they cannot for those who come later.
        known_to_others = _place_without(part, traces) if place is not None else None
        for trace in part:
            trace.place(known_to_others)
    tables = _tables(traces, shipped)
    reference = Reference(origin, len(traces), tables, shipped.likenesses, place)
    own = frozenset(signal for signal in tables if len(_worst(traces, signal)) >= shipped.holders)
    return Calibration(reference, found, len(traces), reached, own)


def _part(name: str) -> int:
    return zlib.crc32(name.encode()) % FOLDS


def _place_without(part: Sequence[Trace], traces: Sequence[Trace]) -> Distribution | None:
    """Where all but a part of the identities lie."""
    left_out = set(map(id, part))
    return place_of((trace for trace in traces if id(trace) not in left_out), PLACED_IDENTITIES // 2)


def _worst(traces: Iterable[Trace], signal: Signal) -> list[float]:
    """The worst of a signal that each identity showed which is not excused from it."""
    found = (trace.worst.get(signal) for trace in traces if signal not in trace.excused)
    return [each for each in found if each is not None]


def _tables(traces: Sequence[Trace], shipped: Reference) -> dict[Signal, Table]:
    tables: dict[Signal, Table] = {}
    for signal in SIGNALS:
        worst = _worst(traces, signal)
        known = shipped.tables.get(signal)
        missing = shipped.holders - len(worst)
        # Distances are from the operator's own mean, of which no other traffic says anything.
        if signal is not Signal.DISTANCE and known is not None and missing > 0:
            theirs = known.holders(shipped.holders)
            weights = [1.0] * len(worst) + [missing / shipped.holders] * shipped.holders
            tables[signal] = table(signal, [*worst, *theirs], weights)
        elif len(worst) >= LEAST_IDENTITIES:
            tables[signal] = table(signal, worst)
    return tables


def _highest(trace: Trace, reference: Reference, weights: Weights) -> Band:
    """The highest band that an identity would have reached, with its evidence fading as time goes by."""
    marks: Mapping[Signal, Mark] = {}
    highest = Band.LOW
    for moment in trace.moments:
        worst = {
            signal: float(value)
            for signal, value in zip(SIGNALS, moment.worst, strict=True)
            if not isnan(value)
        }
        marks = merge(marks, reference.weigh(worst), moment.end_us, weights.half_life_us)
        band = risk(marks, moment.end_us, weights, excused=trace.excused).band
        highest = max(highest, band, key=(Band.LOW, *BANDS).index)
    return highest
