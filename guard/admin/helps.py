"""The orders that an operator may give next, and what each does.

Names in an order are quoted, since whoever is called so may have chosen them for a shell.
"""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING, TypeAlias

from guard.core.campaigns import Verdict
from guard.core.holds import Held

if TYPE_CHECKING:
    from collections.abc import Iterator

    from guard.admin.cases import Case
    from guard.admin.sheets import Sheet

Help: TypeAlias = tuple[str, str]
"""An order, and what it does."""


def case_helps(case: Case) -> Iterator[Help]:
    """The orders that an operator may give next, and what each does."""
    name, holder = quote(case.campaign.id), quote(str(case.holder))
    if case.verdict is not Verdict.CONFIRMED:
        yield f"guard verdict {name} confirmed --reason …", "its members share one budget"
    if case.verdict.counts:
        yield f"guard verdict {name} unrelated --reason …", "nothing follows for its members any more"
        yield f"guard clear {name} LABEL --reason …", "takes one member out for good"
    if case.word is not None:
        yield f"guard verdict {name} --drop", "has what guard says hold again"
    if case.block is None:
        yield f"guard block {holder} --for 7d", "refuses all members"
    else:
        yield f"guard unblock {holder}", "serves its members again"


def sheet_helps(sheet: Sheet, now: float) -> Iterator[Help]:
    """The orders that serve an innocent again, and what each does."""
    name = quote(sheet.label)
    if isinstance(sheet.review, Held):
        yield f"guard release {name} --for 30d", "serves it again, and clears it"
    for blocked, _ in sheet.blocks:
        yield f"guard unblock {quote(str(blocked))}", "lifts the block"
    for campaign in sheet.campaigns:
        if sheet.label in campaign.members and campaign.verdict(int(now * 1e6)).counts:
            campaign_id = quote(campaign.id)
            yield f"guard clear {campaign_id} {name} --reason …", "takes it out of the campaign, for good"
            yield f"guard verdict {campaign_id} unrelated --reason …", "nothing follows from the campaign"
    if sheet.suspicion is not None and sheet.suspicion.findings:
        yield f"guard forgive {name}", "forgets what speaks against it"
        yield "[[uses]] in the settings", "excuses what a declared use shows, such as an evaluation"
    for limit in dict.fromkeys(reading.limit.name for reading in sheet.readings if not reading.remaining):
        yield f"guard limits set {name} {quote(limit)} --rate …", "gives it more of this limit"
