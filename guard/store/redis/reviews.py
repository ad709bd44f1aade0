"""How the review of a holder is written down among the operator's terms (terms.lua), behind its end:

held RECEIPT BAND GROUPS SINCE LABEL          such as `held req_1f content,intent high 1770000000000000 key:a`
cleared GROUPS SINCE REASON                   such as `cleared content 1770000000000000 a known customer`

Since when is in µs, and the label is the holder's name as the operator sees it. Groups are joined by commas,
`-` for none.
"""

from __future__ import annotations

from guard.core.evidence import Band
from guard.core.holds import Cleared, Held, Review
from guard.core.signals import Group

_NO_GROUPS = "-"


def write_review(review: Review, label: str) -> str:
    """A review as text, without its end."""
    if isinstance(review, Held):
        return f"held {review.receipt} {review.band} {_joined(review.groups)} {review.since_us} {label}"
    return f"cleared {_joined(review.groups)} {review.since_us} {review.reason}"


def read_review(term: str) -> tuple[Review, str]:
    """A review behind its end in µs (0: for good), and the label of whom it holds, if it holds anybody."""
    until, kind, rest = term.split(" ", 2)
    if kind == "held":
        receipt, band, groups, since, label = rest.split(" ", 4)
        return Held(receipt, Band(band), _groups(groups), int(since), int(until)), label
    groups, since, reason = rest.split(" ", 2)
    return Cleared(_groups(groups), int(since), int(until) or None, reason), ""


def _joined(groups: tuple[Group, ...]) -> str:
    return ",".join(groups) or _NO_GROUPS


def _groups(text: str) -> tuple[Group, ...]:
    return () if text == _NO_GROUPS else tuple(map(Group, text.split(",")))
