"""What the times of a group tell: whether its members take over from each other, and what else they do.

A hand-over is a tie: only who sends the same work through all of them knows that one of them was refused.
The rest is told, and ties nobody. People who share a computer or a queue of tickets take turns; a class
begins together; and the users of an app go to a new model together, when its owner changes one line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from guard.campaigns.following import after_entering, after_leaving, after_refusals
from guard.campaigns.pivot import pivot
from guard.core.campaigns import Finding, Tie, TieKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guard.campaigns.following import Follow
    from guard.campaigns.window import Seen, Window

LEAST_SHARE = 0.6
"""So large a share of the members has to have a part in it."""


class Timing(NamedTuple):
    """The ties that the times of a group say, and what else speaks for it; `dispatched` are the parties that
    a hand-over brings in, and hardly anything else.
    """

    ties: tuple[Tie, ...] = ()
    speaks_for: tuple[Finding, ...] = ()
    dispatched: frozenset[str] = frozenset()


def timing(members: Sequence[Seen], window: Window) -> Timing:
    """What the times of these tell."""
    times = window.rhythms.of(members)
    parties = len({member.party for member in members})
    ties, findings = [], []
    handed = after_refusals(times)
    if handed.decibans and len(handed.parties) >= LEAST_SHARE * parties:
        ties.append(_tie(TieKind.HANDOVER, handed, parties))
        findings.append(_finding(handed, "refusals of one of them another came"))
    turns = after_leaving(times)
    if turns.decibans and len(turns.parties) >= LEAST_SHARE * parties:
        findings.append(_finding(turns, "times that one of them had left another came"))
    crowds = after_entering(times)
    if crowds.decibans and len(crowds.parties) >= LEAST_SHARE * parties:
        findings.append(_finding(crowds, "times that one of them had come another came"))
    moved = pivot(members, window)
    if moved is not None:
        text = (
            f"{moved.share:.0%} of their queries of a day asked a model that they had hardly asked before, "
            f"and {moved.others:.0%} of others'"
        )
        findings.append(Finding(text))
    return Timing(tuple(ties), tuple(findings), handed.mostly)


def _tie(kind: TieKind, found: Follow, parties: int) -> Tie:
    return Tie(kind, "", len(found.parties), found.decibans * len(found.parties) / parties)


def _finding(found: Follow, what: str) -> Finding:
    minutes = found.within_us // 60_000_000
    text = (
        f"after {found.followed} of {found.events} {what} within {minutes} min, "
        f"where {found.expected:g} would by chance"
    )
    return Finding(text, found.decibans)
