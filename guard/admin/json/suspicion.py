"""What speaks against a holder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import TypedDict

from guard.core.atlas import TECHNIQUES
from guard.core.evidence import Band
from guard.core.signals import Group, Signal
from guard.core.uses import Use
from guard.words import moment

if TYPE_CHECKING:
    from guard.admin.habits import Habits
    from guard.admin.suspicion import Suspicion


class UseJson(TypedDict):
    """What a holder is declared to be for, until when or for good (`null`)."""

    use: Use
    until: str | None


class FindingJson(TypedDict):
    """A signal: what it said when it was seen, and what is left of that now, in decibans. One that is
    `excused` by a declared use counts for nothing. `atlas` are techniques of MITRE ATLAS.
    """

    signal: Signal
    group: Group
    means: str
    atlas: list[str]
    decibans: float
    decibans_when_seen: float
    at: str
    since: str
    excused: bool


class ToldJson(TypedDict):
    """What a signal goes by: what speaks for it and what against, and that one honest holder in `one_in` ever
    shows as much.
    """

    for_it: list[str]
    against_it: list[str]
    one_in: float


class HabitsJson(TypedDict):
    """How a holder has asked. Shares are from 0 to 1, `draws` and `pays` in units of a diversity budget."""

    queries: int
    on_first_day: int
    days: float
    busy_hours: int
    continued: float
    unrelated: float
    templated: float
    repeated: float
    new_words: float
    varying_pieces: float
    answer_tokens: float
    draws: float
    pays: float
    stratum: str
    told: dict[Signal, ToldJson]


class SuspicionJson(TypedDict):
    """What speaks against a holder now: its risk in decibans, what each group adds to it, and the signals."""

    holder: str
    risk_decibans: float
    band: Band
    groups: dict[Group, float]
    uses: list[UseJson]
    signals: list[FindingJson]
    habits: HabitsJson | None


def suspicion_json(suspicion: Suspicion) -> SuspicionJson:
    """What speaks against a holder."""
    return {
        "holder": str(suspicion.holder),
        "risk_decibans": suspicion.risk.decibans,
        "band": suspicion.risk.band,
        "groups": dict(suspicion.risk.groups),
        "uses": [
            {"use": each.use, "until": None if each.until_us is None else moment(each.until_us / 1e6)}
            for each in suspicion.uses
        ],
        "signals": [
            {
                "signal": finding.signal,
                "group": finding.group,
                "means": finding.signal.meaning,
                "atlas": list(TECHNIQUES[finding.signal]),
                "decibans": finding.left,
                "decibans_when_seen": finding.decibans,
                "at": moment(finding.at),
                "since": moment(finding.since),
                "excused": finding.excused,
            }
            for finding in suspicion.findings
        ],
        "habits": _habits_json(suspicion.habits) if suspicion.habits else None,
    }


def _habits_json(habits: Habits) -> HabitsJson:
    return {
        "queries": habits.queries,
        "on_first_day": habits.on_first_day,
        "days": habits.days,
        "busy_hours": habits.busy_hours,
        "continued": habits.continued,
        "unrelated": habits.unrelated,
        "templated": habits.templated,
        "repeated": habits.repeated,
        "new_words": habits.new_words,
        "varying_pieces": habits.varying_pieces,
        "answer_tokens": habits.answer_tokens,
        "draws": habits.draws,
        "pays": habits.pays,
        "stratum": habits.stratum,
        "told": {
            signal: {
                "for_it": list(told.for_it),
                "against_it": list(told.against_it),
                "one_in": told.one_in,
            }
            for signal, told in habits.told.items()
        },
    }
