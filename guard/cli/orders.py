"""The plain orders, and what all verbs that change something have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from guard import words
from guard.cli import output
from guard.cli.app import Config, HolderText, Until, ask_store, seconds_left, unseen_by
from guard.cli.impact import print_impact
from guard.core.holds import Held
from guard.core.modes import Mode, mildest

if TYPE_CHECKING:
    from guard.admin import Act, Impact, Operator, Record, Unseen
    from guard.core.holds import Review

By = Annotated[str | None, typer.Option("--by", help="Who says so; else the user of this machine.")]
Reason = Annotated[str, typer.Option(help="Why; kept with the order, and never told to a caller.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would change, and change nothing.")]
Foreseen = Annotated[
    bool, typer.Option("--dry-run", help="Change nothing; say what it would have done to the last day.")
]


def tell(act: Act, sentence: str, *, dry_run: bool = False) -> None:
    """Print what an order has done, and what it has changed, old -> new; of a `dry_run`, only what it would
    change.
    """
    from guard.audit.words import changed

    changes = changed(act.before, act.after)
    if dry_run:
        print(words.printable(f"{act.verb} {act.subject} would change {'this:' if changes else 'nothing.'}"))
    else:
        print(words.printable(sentence))
    for each in changes:
        print(words.printable(f"  {each}"))


def span(duration: str | None, until: str | None, *, otherwise: str, ever: str = "for good") -> str:
    """How long something holds, in the words of the options `--for` and `--until`."""
    if until is not None:
        return f"until {until}"
    duration = duration or otherwise
    return ever if duration == "ever" else f"for {duration}"


def block(
    holder: HolderText,
    config: Config = None,
    *,
    duration: Annotated[
        str | None, typer.Option("--for", help="How long, such as 30m, 12h or 7d; `ever` for good. [1d]")
    ] = None,
    until: Until = None,
    reason: Annotated[str, typer.Option(help="Why; shown by `guard show`, never to the caller.")] = "",
    by: By = None,
    dry_run: Foreseen = False,
) -> None:
    """Refuse every request of a holder.

    A hold on it is over with that.
    """
    seconds = seconds_left(duration, until, otherwise="1d")

    async def ask(operator: Operator) -> tuple[str, Act, Unseen | None, Impact | None]:
        found = await operator.resolve(holder)
        act = await operator.orders.block(found, seconds, reason)
        impact = await operator.impact_of_block(found) if dry_run else None
        return str(found), act, await unseen_by(operator, found), impact

    name, act, unseen, impact = ask_store(config, ask, by=by, dry_run=dry_run)
    blocked = "would be blocked" if dry_run else "is blocked"
    tell(act, f"{name} {blocked} {span(duration, until, otherwise='1d')}.")
    output.note_unseen(unseen)
    if impact is not None:
        print_impact(impact)


def unblock(
    holder: HolderText, config: Config = None, *, reason: Reason = "", by: By = None, dry_run: DryRun = False
) -> None:
    """Lift the block on a holder."""

    async def ask(operator: Operator) -> tuple[str, Act, Unseen | None]:
        found = await operator.resolve(holder)
        act = await operator.orders.unblock(found, reason)
        return str(found), act, None if act.changed else await unseen_by(operator, found)

    name, act, unseen = ask_store(config, ask, by=by, dry_run=dry_run)
    tell(act, f"{name} {'is no longer blocked' if act.changed else 'was not blocked'}.", dry_run=dry_run)
    output.note_unseen(unseen)


def reset(
    holder: HolderText, config: Config = None, *, reason: Reason = "", by: By = None, dry_run: DryRun = False
) -> None:
    """Clear what a holder has used of its limits.

    Its record, its blocks and its evidence stay.
    """

    async def ask(operator: Operator) -> tuple[str, Act, list[Record], Unseen | None]:
        found = await operator.resolve(holder)
        act, members = await operator.orders.reset(found, reason), await operator.members(found)
        return str(found), act, members, None if act.changed else await unseen_by(operator, found)

    name, act, members, unseen = ask_store(config, ask, by=by, dry_run=dry_run)
    used = words.counted(len(act.before["used"]), "limit")
    sentence = f"Reset {used} of {name}." if act.changed else f"{name} has no recorded usage."
    tell(act, sentence, dry_run=dry_run)
    output.note_unseen(unseen)
    output.note_members(members)


def forgive(
    holder: HolderText, config: Config = None, *, reason: Reason = "", by: By = None, dry_run: DryRun = False
) -> None:
    """Clear the evidence against a holder, and its profile.

    What it has used of its limits stands, and so does a hold.
    """

    async def ask(operator: Operator) -> tuple[str, Act, list[Record], Review | None, Unseen | None]:
        found = await operator.resolve(holder)
        act, members = await operator.orders.forgive(found, reason), await operator.members(found)
        unseen = None if act.changed else await unseen_by(operator, found)
        return str(found), act, members, await operator.reviews.of(found), unseen

    name, act, members, review, unseen = ask_store(config, ask, by=by, dry_run=dry_run)
    forgiven = act.before["evidence"]
    sentence = f"{name} has no recorded behaviour." if forgiven is None else _forgiven(name, forgiven)
    tell(act, sentence, dry_run=dry_run)
    output.note_unseen(unseen)
    if isinstance(review, Held):
        output.complain(f"it is held all the same; `guard release {name}` ends that")
    output.note_members(members)


def _forgiven(name: str, forgiven: dict[str, Any]) -> str:
    signals = ", ".join(forgiven["signals"])
    said = f"signals {signals}" if signals else "no signal"
    queries = words.counted(forgiven["queries"], "query", "queries")
    risk = f"risk {forgiven['risk_decibans']:.0f} dB ({forgiven['band']})"
    return f"Cleared {name}: {risk}, {said}, profile of {queries}."


def mode(
    wanted: Annotated[
        Mode | None, typer.Argument(metavar="MODE", help="enforce, shadow or off; without it, tell.")
    ] = None,
    config: Config = None,
    *,
    reason: Reason = "",
    by: By = None,
    dry_run: DryRun = False,
) -> None:
    """Show the kill switch, or set it to MODE.

    No process enforces more than MODE, within two seconds.
    `enforce` lets the settings hold again.
    """

    async def ask(operator: Operator) -> tuple[Act | None, Mode, Mode]:
        act = None if wanted is None else await operator.orders.set_mode(wanted, reason)
        return act, await operator.mode(), operator.mode_of_settings

    act, switch, settings = ask_store(config, ask, remind=False, by=by, dry_run=dry_run)
    said = (
        ""
        if settings is Mode.ENFORCE
        else f"; the settings say {settings}: {mildest(switch, settings)} holds"
    )
    sentence = f"The kill switch is at {switch}{said}."
    if act is None:
        print(sentence)
    else:
        tell(act, sentence, dry_run=dry_run)


def reload(config: Config = None, *, reason: Reason = "", by: By = None, dry_run: DryRun = False) -> None:
    """Have every process read its settings again.

    On every machine that shares this store.
    A process whose settings cannot work keeps its last good ones, and says so in its log.
    """

    async def ask(operator: Operator) -> Act:
        return await operator.orders.reload(reason)

    act = ask_store(config, ask, by=by, dry_run=dry_run)
    count = act.after["processes"]
    their = "its" if count == 1 else "their"
    sentence = f"{words.counted(count, 'process', 'processes')} will read {their} settings again."
    tell(act, sentence, dry_run=dry_run)
