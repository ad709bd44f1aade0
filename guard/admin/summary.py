"""What a replay came to: who reached which band, how soon, and by which signals."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any

from guard.admin.replay import ERROR, Result
from guard.admin.traffic import Label
from guard.core.evidence import NO_RISK, Band

if TYPE_CHECKING:
    from collections.abc import Iterable

    from guard.core.evidence import Risk
    from guard.core.signals import Signal

BANDS = tuple(Band)
"""From the mildest to the worst."""


@dataclass(slots=True)
class Course:
    """How one identity fared: its requests, and which of them was the first in each band that it reached.

    `worst` is the highest risk that it had, and `signals` are those behind it. `labels` are those of its
    lines: one that is labelled an attack makes it an attacker.
    """

    requests: int = 0
    reached: dict[Band, int] = field(default_factory=dict)
    worst: Risk = NO_RISK
    signals: tuple[tuple[Signal, float], ...] = ()
    labels: set[Label] = field(default_factory=set)

    @property
    def label(self) -> Label | None:
        """What it is known to be."""
        if Label.ATTACK in self.labels:
            return Label.ATTACK
        return Label.BENIGN if self.labels else None

    @property
    def band(self) -> Band:
        """The highest that it reached."""
        return max(self.reached, key=BANDS.index, default=Band.LOW)

    def add(self, result: Result) -> None:
        """Take in one of its requests."""
        self.requests += 1
        if result.label is not None:
            self.labels.add(result.label)
        # Whoever is high has been through elevated too, if only for a moment.
        for band in BANDS[: BANDS.index(result.band) + 1]:
            self.reached.setdefault(band, self.requests)
        if result.risk.decibans > self.worst.decibans:
            self.worst, self.signals = result.risk, result.signals


@dataclass(slots=True)
class Summary:
    """Adds up the results of a replay; its size goes by the number of identities, not of requests."""

    requests: int = 0
    estimated: int = 0
    actions: Counter[tuple[str, str]] = field(default_factory=Counter)
    limits: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    courses: dict[str, Course] = field(default_factory=dict)

    def add(self, result: Result) -> None:
        """Take in one result."""
        self.requests += 1
        self.estimated += result.estimated
        self.actions[result.action, result.mode] += 1
        self.limits.update(result.limits)
        if result.action == ERROR:
            self.errors[result.reason or ""] += 1
        if result.identity is not None:
            self.courses.setdefault(result.identity, Course()).add(result)

    def join(self, other: Summary) -> None:
        """Take in the summary of other lines, of other identities."""
        self.requests += other.requests
        self.estimated += other.estimated
        self.actions += other.actions
        self.limits += other.limits
        self.errors += other.errors
        self.courses |= other.courses

    def reached(self, band: Band, label: Label | None = None) -> int:
        """How many identities, of this label if one is given, ever reached a band."""
        return sum(band in course.reached for course in self._of(label))

    def highest(self, label: Label) -> dict[Band, float]:
        """The share of the identities of a label by the highest band that each reached."""
        highest = Counter(course.band for course in self._of(label))
        return {band: highest[band] / max(1, highest.total()) for band in BANDS}

    def known(self, label: Label) -> int:
        """How many identities have this label."""
        return sum(1 for _ in self._of(label))

    def queries_to(self, band: Band, label: Label) -> float | None:
        """The median number of requests with which the identities of a label that reached a band did so."""
        counts = [course.reached[band] for course in self._of(label) if band in course.reached]
        return median(counts) if counts else None

    def top(self, count: int = 10) -> list[tuple[str, Course]]:
        """The identities of the highest risk."""
        risky = ((name, course) for name, course in self.courses.items() if course.worst.decibans > 0)
        return sorted(risky, key=lambda each: (-each[1].worst.decibans, each[0]))[:count]

    def json(self) -> dict[str, Any]:
        """As data."""
        labels = [label for label in Label if self.known(label)]
        return {
            "requests": self.requests,
            "estimated": self.estimated,
            "identities": len(self.courses),
            "actions": [
                {"action": action, "mode": mode, "requests": count}
                for (action, mode), count in sorted(self.actions.items())
            ],
            "limits": dict(sorted(self.limits.items())),
            "errors": dict(sorted(self.errors.items())),
            "reached": {band: self.reached(band) for band in BANDS},
            "labels": {
                label: {
                    "identities": self.known(label),
                    "highest": {band: round(share, 6) for band, share in self.highest(label).items()},
                    "median_queries_to": {band: self.queries_to(band, label) for band in BANDS[1:]},
                }
                for label in labels
            },
            "top": [
                {
                    "identity": name,
                    "requests": course.requests,
                    "risk": round(course.worst.decibans, 2),
                    "band": course.band,
                    "label": course.label,
                    "signals": {signal: round(decibans, 2) for signal, decibans in course.signals},
                }
                for name, course in self.top()
            ],
        }

    def _of(self, label: Label | None) -> Iterable[Course]:
        return (course for course in self.courses.values() if label is None or course.label is label)
