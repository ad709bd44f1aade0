"""What everything that is told of holders is held against: how honest ones come out, in a versioned file.

A reference has the scores that enumerations are told by (guard/detection/traits.py), and for each signal and
stratum a table of what a statistic is worth (guard/detection/tables.py).

**No payout, no suspicion.** Who draws next to nothing cannot be copying the model, whatever its queries look
like. So what the signals about content say counts as far as a holder's answers pay out: in full from
`ENOUGH_PAYOUT` units an answer on, and a tenth of it at a tenth of that.

guard ships a reference made from simulated traffic of real prompts and answers
(`guard/detection/reference.json`; the file says which). `guard calibrate` makes one from an operator's own
traffic.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass, field
from importlib import resources
from typing import TYPE_CHECKING, Any

from guard.core.signals import Signal
from guard.detection.layout import Drawn
from guard.detection.place import Distribution
from guard.detection.signals import STATISTICS
from guard.detection.tables import Stratum, Table, stratum_of, unheard
from guard.detection.traits import Score
from guard.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from guard.detection.profile import Profile

FORMAT = 4

ENOUGH_PAYOUT = 0.03
"""Units that an answer of a holder pays out on average, from which on what its content says counts in full.

Measured on real answers, after 150 of one holder: labels .001, answers from documents .007 to .04, narrow
apps .01 to .03; instruction sets .04 to .8 (`make payouts`).
"""

WEIGHED_BY_PAYOUT = frozenset({Signal.ENUMERATION, Signal.MIXTURE, Signal.DISTANCE})


UNHEARD = frozenset({Signal.REFUSED, Signal.BOUND})
"""What backends say by themselves. Those of a simulation say nothing, and so the reference that guard ships
has no tables of these: see `unheard`."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of a holder at a moment: what each signal reads, how the holder asks, and the share of
    what its content says that counts for what its answers pay out.
    """

    statistics: Mapping[Signal, float]
    stratum: Stratum
    drawn: float


@dataclass(frozen=True, slots=True)
class Provenance:
    """What a reference was calibrated on: a log of so many days, its first and last moment as dates, and the
    SHA-256 of its lines; `made` is the day on which that was done, and `guard` the version that did it.
    """

    made: str
    guard: str
    since: str
    until: str
    days: float
    identities: int
    queries: int
    log_sha256: str


@dataclass(frozen=True, slots=True)
class Reference:
    """What every signal is worth; `origin` says from which traffic, and `holders` from how many holders.

    `tables` are those of the strata that have one, and of any. `scores` are what enumerations and mixtures
    are told by. One that an operator has calibrated says how.
    """

    origin: str
    holders: int
    tables: Mapping[Signal, Mapping[Stratum, Table]]
    scores: Mapping[Signal, Score] = field(default_factory=dict)
    place: Distribution | None = None
    calibrated: Provenance | None = None

    def evidence(self, profile: Profile) -> dict[Signal, float]:
        """What a profile says, in decibans; signals that say nothing are left out."""
        return self.weigh(self.see(profile))

    def see(self, profile: Profile) -> Seen:
        """What is known of a holder."""
        return see(profile, self.scores, self.place)

    def weigh(self, seen: Seen) -> dict[Signal, float]:
        """What this says, in decibans; signals that say nothing are left out."""
        found = {}
        for signal, statistic in seen.statistics.items():
            worth = self.worth(signal, seen.stratum, statistic)
            if signal in WEIGHED_BY_PAYOUT:
                worth *= seen.drawn
            if worth > 0:
                found[signal] = worth
        return found

    def worth(self, signal: Signal, stratum: Stratum, statistic: float) -> float:
        """What a statistic of a signal says in a stratum, in decibans."""
        return min((table.worth(statistic) for table in self._held_against(signal, stratum)), default=0.0)

    def share(self, signal: Signal, stratum: Stratum, statistic: float) -> float:
        """The share of honest holders that ever show as much: the p-value of a statistic in a stratum; 1 for
        a signal of which nothing is known.
        """
        return max((table.share(statistic) for table in self._held_against(signal, stratum)), default=1.0)

    def _held_against(self, signal: Signal, stratum: Stratum) -> list[Table]:
        """How honest holders come out in a signal: those of a stratum, if it has a table, and all of them."""
        tables = self.tables.get(signal, {})
        return [tables[each] for each in {stratum: None, Stratum.ANY: None} if each in tables]

    def dump(self) -> str:
        """As JSON, the same for what is the same, and line by line to be compared with another."""
        return json.dumps(
            {
                "format": FORMAT,
                "origin": self.origin,
                "holders": self.holders,
                "scores": {signal.value: each.dump() for signal, each in self.scores.items()},
                "signals": {
                    signal.value: {stratum.value: table.dump() for stratum, table in tables.items()}
                    for signal, tables in self.tables.items()
                },
                "place": self.place and self.place.dump(),
                "calibrated": self.calibrated and asdict(self.calibrated),
            },
            indent=1,
            sort_keys=True,
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
            known[signal]: {Stratum(stratum): Table.of(each) for stratum, each in tables.items()}
            for signal, tables in fields["signals"].items()
            if signal in known
        }
        tables |= {signal: {Stratum.ANY: unheard(signal)} for signal in UNHEARD - tables.keys()}
        scores = {Signal(signal): Score.of(each) for signal, each in fields["scores"].items()}
        place = Distribution.of(fields["place"]) if fields["place"] else None
        calibrated = Provenance(**fields["calibrated"]) if fields.get("calibrated") else None
        return cls(str(fields["origin"]), int(fields["holders"]), tables, scores, place, calibrated)


def see(profile: Profile, scores: Mapping[Signal, Score], place: Distribution | None = None) -> Seen:
    """What is known of a holder, told by these scores, and from where honest holders lie."""
    found = {}
    for signal, read in (*STATISTICS.items(), *((s, each.statistic) for s, each in scores.items())):
        statistic = read(profile)
        if statistic is not None:
            found[signal] = statistic
    distance = place.distance(profile) if place is not None else None
    if distance is not None:
        found[Signal.DISTANCE] = distance
    return Seen(found, stratum_of(profile), min(1.0, profile.drawn(Drawn.PAID) / ENOUGH_PAYOUT))
