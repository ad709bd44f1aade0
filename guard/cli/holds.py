"""`guard holds` and `guard release`: who is held for review, and how that ends."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from guard import words
from guard.cli import output
from guard.cli.app import Config, HolderText, Json, Until, ask_store, seconds_left, unseen_by
from guard.cli.orders import By, DryRun, tell

if TYPE_CHECKING:
    from guard.admin import Act, Operator, Unseen
    from guard.core.holds import Held
    from guard.core.identity import Holder

DAYS_CLEARED = "30d"


def holds(config: Config = None, *, json: Json = False) -> None:
    """List who is held for review, and since when.

    `guard release` ends a hold, and so does `guard block`.
    """

    async def ask(operator: Operator) -> list[tuple[Holder, Held]]:
        return await operator.reviews.held()

    found = ask_store(config, ask)
    if json:
        from guard.admin.json.records import hold_json

        output.print_json([hold_json(holder, held) for holder, held in found])
        return
    if not found:
        output.console().print("Nobody is held.")
        return
    now_us = time.time() * 1e6
    rows = [
        (
            output.short(str(holder)),
            held.receipt,
            held.band,
            ", ".join(held.groups),
            words.span(max(0.0, now_us - held.since_us) / 1e6),
            words.span(max(0.0, held.until_us - now_us) / 1e6),
        )
        for holder, held in found
    ]
    columns = ("holder", "receipt", "band", "groups", "held for", "ends in")
    output.console().print(output.table("", columns, rows, right=2, optional=("groups", "band")))


def release(
    holder: HolderText,
    config: Config = None,
    *,
    duration: Annotated[
        str | None,
        typer.Option(
            "--for", help=f"How long it is cleared, such as 12h or 7d; `ever` for good. [{DAYS_CLEARED}]"
        ),
    ] = None,
    until: Until = None,
    reason: Annotated[str, typer.Option(help="Why; shown by `guard show`, never to the caller.")] = "",
    by: By = None,
    dry_run: DryRun = False,
) -> None:
    """Serve a holder again that is held, and clear it for a time.

    HOLDER may also be the receipt that its client was given.
    What spoke against it until now then refuses it nothing; limits that its risk cuts stay cut.
    """
    seconds = seconds_left(duration, until, otherwise=DAYS_CLEARED)

    async def ask(operator: Operator) -> tuple[Holder, Act, list[Holder], bool, Unseen | None]:
        found = await operator.resolve(holder)
        act = await operator.orders.release(found, seconds, reason)
        held = [other for other, _ in await operator.reviews.held() if other.parts[0] == found]
        unseen = None if _was_held(act) else await unseen_by(operator, found)
        return found, act, held, await operator.may_hold(found), unseen

    found, act, others, may_hold, unseen = ask_store(config, ask, by=by, dry_run=dry_run)
    tell(act, f"{found} {_said(act)}.", dry_run=dry_run)
    output.note_unseen(unseen)
    if act.after["review"] is not None and not may_hold:
        output.complain("no rung of its tier has `hold = true`, so nobody asks whether it is cleared")
    if others:
        output.complain(f"its end users have holds of their own: {', '.join(map(str, others))}")


def _was_held(act: Act) -> bool:
    review = act.before["review"]
    return review is not None and bool(review["held"])


def _said(act: Act) -> str:
    was = "is no longer held" if _was_held(act) else "was not held"
    cleared = act.after["review"]
    if cleared is None:
        return f"{was}; nothing speaks against it"
    return f"{was}; cleared of {', '.join(cleared['groups'])} {words.until_us(act.until_us)}"
