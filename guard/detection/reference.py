"""What a statistic is worth: calibrated on how honest holders come out, and kept in a versioned file.

For each signal the reference knows the statistics at which the benign holders' p-value falls to certain
levels. Each holder of the benign traffic counts once, by the worst that it ever showed, so that a p-value
says *how many honest holders ever look like this*, however long they are watched.

    2,000 honest holders; the worst that they showed of a signal: .02 at most for 1,900, .10 for 1,998
    .02 → p = .05, 13 dB     .10 → p = .001, 30 dB     in between by interpolation

Beyond the worst of all there is no data, only a judgement: `Signal.per_ten` says how far a statistic has to
go on for each ten decibans more. It is also all that there is where no honest holder shows anything.

guard ships a reference made from simulated traffic of real prompts (`guard/detection/reference.json`; the
file says which). `guard calibrate` makes one from an operator's own traffic.
"""

from __future__ import annotations

import json
import secrets
from bisect import bisect_left
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from itertools import pairwise
from math import log10
from typing import TYPE_CHECKING, Any

import numpy as np

from guard.core.evidence import FAINTEST
from guard.core.signals import Group, Signal
from guard.detection.layout import PLACES, Sum
from guard.detection.likeness import Likeness
from guard.detection.profile import HORIZON
from guard.detection.signals import LEAST_QUERIES, STATISTICS
from guard.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from guard.detection.profile import Profile

FORMAT = 2

MOST_WORTH = 40.0
"""The most that a table makes of a statistic."""

MOST_OF_THE_WEAK = 20.0
"""The most that a weak signal says, in decibans: an honest life is longer than any simulated one."""

STEP = 1.0
"""The distance between the knots of a table, in decibans."""


@dataclass(frozen=True, slots=True)
class Table:
    """The decibans of one signal: `statistics` in rising order and what each is worth."""

    statistics: tuple[float, ...]
    decibans: tuple[float, ...]
    per_ten: float

    def worth(self, statistic: float) -> float:
        """What a statistic says, 0 to `MOST_WORTH`."""
        place = bisect_left(self.statistics, statistic)
        if place == 0:
            return 0.0
        below, worth = self.statistics[place - 1], self.decibans[place - 1]
        if place == len(self.statistics):
            return min(MOST_WORTH, worth + (statistic - below) / self.per_ten * 10)
        share = (statistic - below) / (self.statistics[place] - below)
        return min(MOST_WORTH, worth + share * (self.decibans[place] - worth))

    def statistic(self, decibans: float) -> float:
        """The least statistic that is worth this."""
        if decibans > self.decibans[-1]:
            return self.statistics[-1] + (decibans - self.decibans[-1]) / 10 * self.per_ten
        return float(np.interp(decibans, self.decibans, self.statistics))

    def holders(self, count: int) -> NDArray[np.float64]:
        """The worst that `count` honest holders showed by this table, the worst first.

        Of those below its first knot no more is known than that, and they count as if they were on it.
        """
        decibans = -10 * np.log10(np.arange(2, count + 2) / (count + 1))
        worst: NDArray[np.float64] = np.interp(decibans, self.decibans, self.statistics)
        return worst


@dataclass(frozen=True, slots=True)
class Distribution:
    """Where honest holders lie on average, and how far from it in each of `PLACES` directions: the variance
    between holders, and of one query within a holder.
    """

    mean: NDArray[np.float64]
    between: NDArray[np.float64]
    within: NDArray[np.float64]

    def distance(self, profile: Profile) -> float | None:
        """How far a holder's queries lie from those of honest holders, on average and in standard deviations;
        about 1 for an honest one.

        The maximum mean discrepancy with a linear kernel, each direction by its own spread: in published
        tests the best detector of attackers whose queries come from elsewhere (arXiv 2606.05725), and blind
        to those who ask what others ask. Evasion: mixing in nine honest queries for each.
        """
        queries = float(profile.sums[Sum.QUERIES])
        return self.distance_of(profile.mean, queries) if queries >= LEAST_QUERIES else None

    def distance_of(self, mean: NDArray[np.float32], queries: float) -> float:
        """Likewise, of a profile's mean and the weight of the queries behind it."""
        mean = mean * (HORIZON / queries)
        spread = self.between + self.within / independent(queries)
        return float(np.sqrt(np.mean((mean - self.mean) ** 2 / spread)))


@dataclass(frozen=True, slots=True)
class Reference:
    """What every signal is worth; `origin` says from which traffic.

    `likenesses` are what enumerations and mixtures are told by, which the tables of these signals hold for.
    """

    origin: str
    holders: int
    tables: Mapping[Signal, Table]
    likenesses: Mapping[Signal, Likeness] = field(default_factory=dict)
    place: Distribution | None = None

    def evidence(self, profile: Profile) -> dict[Signal, float]:
        """What a profile says, in decibans; signals that say nothing are left out."""
        return self.weigh(self.statistics(profile))

    def weigh(self, statistics: Mapping[Signal, float]) -> dict[Signal, float]:
        """What these statistics say, in decibans; signals that say nothing are left out."""
        found = {}
        looks = _looks(tuple(self.tables))
        for signal, statistic in statistics.items():
            table = self.tables.get(signal)
            worth = table.worth(statistic) if table is not None else 0.0
            if worth > looks[signal.group]:
                most = MOST_OF_THE_WEAK if signal.weak else MOST_WORTH
                found[signal] = min(most, worth - looks[signal.group])
        return found

    def looks(self, group: Group) -> float:
        """How much less a signal is worth for being one of several, in decibans: the strongest of a group
        counts, and the strongest of several is strong more often than one by itself (Bonferroni).
        """
        return _looks(tuple(self.tables))[group]

    def statistics(self, profile: Profile) -> dict[Signal, float]:
        """What each signal reads, as far as enough is known."""
        return statistics(profile, self.likenesses, self.place)

    def dump(self) -> str:
        """As JSON."""
        place = self.place
        return json.dumps(
            {
                "format": FORMAT,
                "origin": self.origin,
                "holders": self.holders,
                "signals": {
                    signal.value: {
                        "statistics": [round(number, 5) for number in table.statistics],
                        "decibans": [round(number, 3) for number in table.decibans],
                        "per_ten": table.per_ten,
                    }
                    for signal, table in self.tables.items()
                },
                "likenesses": {signal.value: each.dump() for signal, each in self.likenesses.items()},
                "place": place
                and {
                    name: [float(f"{number:.5g}") for number in numbers]
                    for name, numbers in (
                        ("mean", place.mean),
                        ("between", place.between),
                        ("within", place.within),
                    )
                },
            },
            indent=1,
        )

    def save(self, file: Path) -> None:
        """Write it whole or not at all; raises `ConfigError`."""
        draft = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
        try:
            try:
                draft.write_text(self.dump() + "\n", "utf-8")
                draft.replace(file)
            finally:
                draft.unlink(missing_ok=True)
        except OSError as error:
            raise ConfigError(f"{file}: {error.strerror}") from error

    @classmethod
    def load(cls, file: Path | None = None) -> Reference:
        """From a file, or the one that guard ships; raises `ConfigError`."""
        name = str(file or "the reference that guard ships")
        try:
            if file is None:
                text = resources.files("guard.detection").joinpath("reference.json").read_text("utf-8")
            else:
                text = file.read_text("utf-8")
            return cls._of(json.loads(text), name)
        except OSError as error:
            raise ConfigError(f"{name}: {error.strerror}; `guard calibrate` writes such a file") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(f"{name} is not a reference that `guard calibrate` wrote: {error}") from error

    @classmethod
    def _of(cls, fields: Mapping[str, Any], name: str) -> Reference:
        if fields["format"] != FORMAT:
            raise ConfigError(
                f"{name} has format {fields['format']!r}, and this version reads {FORMAT}: calibrate anew"
            )
        known = {signal.value: signal for signal in Signal}
        tables = {
            known[signal]: _table_of(each) for signal, each in fields["signals"].items() if signal in known
        }
        likenesses = {Signal(signal): Likeness.of(each) for signal, each in fields["likenesses"].items()}
        place = fields["place"] and _place_of(fields["place"])
        return cls(str(fields["origin"]), int(fields["holders"]), tables, likenesses, place or None)


@cache
def _looks(signals: tuple[Signal, ...]) -> dict[Group, float]:
    return {group: 10 * log10(max(1, sum(each.group is group for each in signals))) for group in Group}


def statistics(
    profile: Profile, likenesses: Mapping[Signal, Likeness], place: Distribution | None = None
) -> dict[Signal, float]:
    """What each signal reads in a profile, as far as enough is known."""
    found = {}
    for signal, read in (*STATISTICS.items(), *((s, each.statistic) for s, each in likenesses.items())):
        statistic = read(profile)
        if statistic is not None:
            found[signal] = statistic
    distance = place.distance(profile) if place is not None else None
    if distance is not None:
        found[Signal.DISTANCE] = distance
    return found


def table(signal: Signal, worst: Sequence[float], weights: Sequence[float] | None = None) -> Table:
    """The table of a signal from the worst that each honest holder showed of it.

    `weights` are how much each holder counts; all alike without them. The p-value of a statistic is the
    weight of the holders that showed as much, with one more holder who always does (Davison and Hinkley,
    1997), so that it is never 0.
    """
    values = np.array(worst, float)
    counted = np.ones(len(values)) if weights is None else np.array(weights, float)
    counted = counted * len(values) / counted.sum()
    least, per_ten = float(values.min()), signal.per_ten
    # What was never seen is as rare as one holder more would make it.
    rarest = min(MOST_WORTH, 10 * log10(len(values) + 1))
    knots = [(least, 0.0)]
    for statistic in np.unique(values)[1:]:
        p = (counted[values >= statistic].sum() + 1) / (len(values) + 1)
        steepest = FAINTEST + 20 * (float(statistic) - least) / per_ten
        worth = max(knots[-1][1], min(-10 * log10(p), steepest))
        if worth >= knots[-1][1] + STEP or statistic == values.max():
            knots.append((float(statistic), worth))
    beyond = least + (rarest - FAINTEST) * per_ten / 20
    if beyond > values.max() and rarest > knots[-1][1]:
        knots.append((beyond, rarest))
    return Table(tuple(knot[0] for knot in knots), tuple(knot[1] for knot in knots), per_ten)


def _table_of(fields: Mapping[str, Any]) -> Table:
    statistics = _numbers(fields["statistics"], least=1, rising=True)
    decibans = _numbers(fields["decibans"], least=1, rising=True)
    (per_ten,) = _numbers([fields["per_ten"]], least=1)
    if len(decibans) != len(statistics):
        raise ValueError(f"{len(statistics)} decibans expected, one a statistic, not {decibans!r}")
    if decibans[0] < 0:
        raise ValueError(f"decibans must be 0 or more: {decibans!r}")
    if per_ten <= 0:
        raise ValueError(f"per_ten must be above 0, not {per_ten!r}")
    return Table(statistics, decibans, per_ten)


def _place_of(fields: Mapping[str, Any]) -> Distribution:
    mean, between, within = (
        np.array(_numbers(fields[part], least=PLACES)) for part in ("mean", "between", "within")
    )
    if not {len(mean), len(between), len(within)} == {PLACES}:
        raise ValueError(f"a place has {PLACES} numbers in each part")
    if min(between.min(), within.min()) <= 0:
        raise ValueError("variances must be above 0")
    return Distribution(mean, between, within)


def independent(queries: float) -> float:
    """Of how many independent queries the mean varies as much as that of a profile, by the weight of the
    queries behind it (Kish's effective size of a sample): of all while there are few, in the end of twice
    the horizon.
    """
    return queries * 2 / (2 - queries / HORIZON)


def _numbers(values: Iterable[Any], *, least: int, rising: bool = False) -> tuple[float, ...]:
    numbers = tuple(float(value) for value in values)
    if len(numbers) < least or not np.isfinite(numbers).all():
        raise ValueError(f"{least} numbers expected, not {numbers!r}")
    if rising and any(after < before for before, after in pairwise(numbers)):
        raise ValueError(f"numbers must rise: {numbers!r}")
    return numbers
