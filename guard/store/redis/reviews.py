"""How the review of a holder is written down among the operator's terms (terms.lua), behind its end:

held RECEIPT BAND GROUPS SINCE LABEL          such as `held req_1f content,intent high 1770000000000000 key:a`
cleared GROUPS SINCE REASON                   such as `cleared content 1770000000000000 a known customer`

Since when is in µs, and the label is the holder's name as the operator sees it. Groups are joined by commas,
`-` for none.
"""

from __future__ import annotations

from guard.core.evidence import Band
from guard.core.holds import Cleared, Held, Review
from guard.core.kept import moment_in
from guard.core.signals import Group

_NO_GROUPS = "-"


def write_review(review: Review, label: str) -> str:
    """A review as text, without its end."""
    if isinstance(review, Held):
        return f"held {review.receipt} {review.band} {_joined(review.groups)} {review.since_us} {label}"
    return f"cleared {_joined(review.groups)} {review.since_us} {review.reason}"


def read_review(term: bytes) -> tuple[Review | None, str]:
    """A review behind its end in µs (0: for good), and the label of whom it holds, if it holds anybody.

    Scripts refuse whoever is `held`, so that is a hold also where the rest of it cannot be read, or names
    what this version does not know. All else that cannot be read is no review.
    """
    until, kind, rest = (*term.decode(errors="replace").split(" ", 2), "", "")[:3]
    until_us = moment_in(until)
    if until_us is None:
        return None, ""
    if kind == "held":
        receipt, band, groups, since, label = (*rest.split(" ", 4), *[""] * 4)[:5]
        known = Band(band) if band in set(Band) else Band.HIGH
        return Held(receipt, known, _groups(groups), moment_in(since) or 0, until_us), label
    groups, since, reason = (*rest.split(" ", 2), "", "")[:3]
    since_us = moment_in(since)
    if kind != "cleared" or since_us is None:
        return None, ""
    return Cleared(_groups(groups), since_us, until_us or None, reason), ""


def is_whole(term: bytes) -> bool:
    """Whether a review is one as this version writes it."""
    review, label = read_review(term)
    return review is not None and term.partition(b" ")[2] == write_review(review, label).encode()


def _joined(groups: tuple[Group, ...]) -> str:
    return ",".join(groups) or _NO_GROUPS


def _groups(text: str) -> tuple[Group, ...]:
    return tuple(Group(name) for name in text.split(",") if name in set(Group))
