"""`guard appeal`: what a receipt says that somebody was given with a refusal."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from guard import words
from guard.cli import output
from guard.cli.app import Config, Json, ask_store
from guard.cli.evidence import sheet_report
from guard.cli.reports import print_report
from guard.core.decision import Action, Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from guard.admin import Appeal, Operator
    from guard.receipts import Refused

_REASONS = {
    Reason.QUOTA: "the limit {limit} had no room",
    Reason.TOO_LARGE: "the limit {limit} is smaller than this request",
    Reason.BLOCKED: "it was blocked",
    Reason.STORE: "the store did not answer",
    Reason.RISK: "its risk was too high",
}
_ACTIONS = {
    Action.HOLD: "it was held for review, because of its risk",
    Action.CHALLENGE: "it was to verify itself, because of its risk",
}


def appeal(
    receipt: Annotated[
        str | None,
        typer.Argument(
            metavar="RECEIPT",
            help="What the client got as `guard-receipt`, or was told with a hold; else standard input.",
        ),
    ] = None,
    config: Config = None,
    *,
    json: Json = False,
) -> None:
    """Print what a receipt says: who was refused, when and why.

    And what is known of that caller now, and which orders help.
    """
    given = (sys.stdin.readline() if receipt is None else receipt).split()
    if not given:
        raise typer.BadParameter("give a receipt, or have it on standard input")
    text = given[-1]  # of a whole header too

    async def ask(operator: Operator) -> Appeal:
        return await operator.appeal(text)

    found = ask_store(config, ask)
    now = time.time()
    if json:
        from guard.admin.json.evidence import appeal_json

        output.print_json(appeal_json(found, now))
        return
    for line in _refused_lines(found.refused) if found.refused else ():
        output.console().print(words.printable(line), markup=False, soft_wrap=True)
    if found.refused and found.sheet:
        output.console().print()
    if found.sheet is None:
        output.console().print("Nothing is known of it any more.")
    else:
        print_report(sheet_report(found.sheet, now))


def _refused_lines(refused: Refused) -> Iterator[str]:
    yield f"{refused.label} was refused at {words.moment(refused.at_us / 1e6)}: {_why(refused)}."
    yield f"The request was {refused.request_id}; the log has it under this id."


def _why(refused: Refused) -> str:
    told = _ACTIONS.get(refused.action) or _REASONS[refused.reason]
    return told.format(limit=refused.limit or "of the settings")
